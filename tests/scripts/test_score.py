import gzip
import io
import json
import subprocess
import sys

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from jaxflow.detection import load
from jaxflow.errors import InputError


def read(path):
    if path.suffix == ".csv":
        return pyarrow.csv.read_csv(path).to_pydict()
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pydict()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {name: [row[name] for row in rows] for name in rows[0]}


def assert_answers(answers, detector, x):
    scores = detector.anomaly_score(x)
    assert list(answers) == ["row", "score", "p_value", "anomaly"]
    assert answers["row"] == list(range(1, len(x) + 1))
    # Chunks of other sizes run through other compiled programs, and float32 may differ in its last digits.
    np.testing.assert_allclose(answers["score"], scores, rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(answers["p_value"], detector.p_values(x), atol=0.02)
    decided = abs(scores - detector.threshold_) > 1e-4
    np.testing.assert_array_equal(np.array(answers["anomaly"])[decided], (detector.predict(x) == -1)[decided])


@pytest.mark.end_to_end
@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 65536])
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_answers_are_those_of_the_detector(script, trained, detector, machines, tmp_path, kind, chunk_rows):
    x = machines(tmp_path / "new.csv", seed=5, normal=100, anomalies=30)
    source = tmp_path / f"new.{kind}"
    if kind == "csv.gz":
        source.write_bytes(gzip.compress((tmp_path / "new.csv").read_bytes()))
    elif kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(tmp_path / "new.csv"), source)
    output = tmp_path / "answers.csv"
    script("score", "--model", trained.model, "--input", source, "--output", output, "--chunk-rows", chunk_rows)
    assert_answers(read(output), detector, x)
    if chunk_rows == 65536:
        np.testing.assert_array_equal(read(output)["score"], detector.anomaly_score(x))


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_every_format_says_the_same(script, gaussian, machines, tmp_path, capsys, name):
    x = machines(tmp_path / "new.csv")
    script("score", "--model", gaussian, "--input", tmp_path / "new.csv", "--output", tmp_path / name)
    detector = load(gaussian)
    answers = read(tmp_path / name)
    np.testing.assert_array_equal(answers["score"], detector.anomaly_score(x))
    np.testing.assert_array_equal(answers["p_value"], detector.p_values(x))
    np.testing.assert_array_equal(answers["anomaly"], detector.predict(x) == -1)
    assert_answers(answers, detector, x)
    flagged = np.sum(detector.predict(x) == -1)
    assert 0 < flagged < 55
    out, err = capsys.readouterr()
    assert out == f"{flagged} of 55 rows flagged; answers: {tmp_path / name}\n"
    assert err == ""  # the count of rows is for terminals


def test_a_terminal_sees_the_rows_go_by(script, gaussian, machines, tmp_path, capsys, monkeypatch):
    machines(tmp_path / "new.csv")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    options = ["--output", tmp_path / "a.csv", "--chunk-rows", "30"]
    script("score", "--model", gaussian, "--input", tmp_path / "new.csv", *options)
    assert capsys.readouterr().err == "\r30 rows scored\r55 rows scored\n"


def test_columns_are_found_by_name_and_others_are_not_looked_at(script, gaussian, machines, tmp_path):
    x = machines(tmp_path / "new.csv")
    lines = ["heat,note,weight,speed"] + [f"{c!r},some text,{b!r},{a!r}" for a, b, c in x.tolist()]
    (tmp_path / "other.csv").write_text("\n".join(lines))
    script("score", "--model", gaussian, "--input", tmp_path / "other.csv", "--output", tmp_path / "a.parquet")
    np.testing.assert_array_equal(read(tmp_path / "a.parquet")["score"], load(gaussian).anomaly_score(x))


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (["--data.separator", "~"], ("~", ".", "utf-8")),
        (["--data.separator", ":"], (":", ".", "utf-8")),
        (["--data.separator", r"\x01"], ("\x01", ".", "utf-8")),
        (["--data.separator", "semicolon", "--data.decimal", "comma"], (";", ",", "utf-8")),
        (["--data.encoding", "utf-16-le", "--data.separator", "|"], ("|", ".", "utf-16-le")),
        (["--data.encoding", "cp500"], (",", ".", "cp500")),
    ],
)
def test_how_a_csv_file_is_written_is_said(script, gaussian, machines, tmp_path, said, written):
    x = machines(tmp_path / "new.csv")
    separator, decimal, encoding = written
    text = (tmp_path / "new.csv").read_text().translate(str.maketrans({",": separator, ".": decimal}))
    (tmp_path / "new.csv").write_bytes(text.encode(encoding))
    script("score", "--model", gaussian, "--input", tmp_path / "new.csv", "--output", tmp_path / "a.parquet", *said)
    np.testing.assert_array_equal(read(tmp_path / "a.parquet")["score"], load(gaussian).anomaly_score(x))
    wrong = ["--data.separator", "tab", "--data.encoding", "ascii"]
    with pytest.raises(InputError, match=r"new\.csv: "):
        script("score", "--model", gaussian, "--input", tmp_path / "new.csv", "--output", tmp_path / "b.csv", *wrong)


def test_each_file_of_a_directory_is_answered_in_one_of_its_name(script, gaussian, machines, tmp_path):
    (tmp_path / "rows").mkdir()
    x = machines(tmp_path / "rows" / "new.2024.csv")
    machines(tmp_path / "rows" / "new.2025.csv")
    script("score", "--model", gaussian, "--input", tmp_path / "rows", "--output", tmp_path / "answers")
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["new.2024.csv", "new.2025.csv"]
    scores = [float(score) for score in read(tmp_path / "answers" / "new.2024.csv")["score"]]
    np.testing.assert_allclose(scores, load(gaussian).anomaly_score(x))
    with pytest.raises(InputError, match="this is a file, expected a directory, as the input is one"):
        script(
            "score", "--model", gaussian, "--input", tmp_path / "rows", "--output", tmp_path / "rows" / "new.2024.csv"
        )
    (tmp_path / "rows" / "broken.csv").write_text("speed\n1\n")
    with pytest.raises(InputError, match=r"broken\.csv: column"):
        script("score", "--model", gaussian, "--input", tmp_path / "rows", "--output", tmp_path / "answers")


def test_rows_far_outside_are_scored(script, gaussian, tmp_path):
    (tmp_path / "new.csv").write_text("speed,weight,heat\n10,-5e4,0\n1e308,-1e300,1e30\n")
    script("score", "--model", gaussian, "--input", tmp_path / "new.csv", "--output", tmp_path / "a.jsonl")
    near, far = (float(score) for score in read(tmp_path / "a.jsonl")["score"])
    assert far > 1e6 > near
    assert read(tmp_path / "a.jsonl")["anomaly"] == [0, 1]


@pytest.mark.end_to_end
def test_follow_answers_each_line_before_the_next_comes(start, trained, detector, machines, tmp_path):
    x = machines(tmp_path / "new.csv", seed=5, normal=3, anomalies=1)
    process = start("score", "--model", trained.model, "--follow", cwd=tmp_path, stdin=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    answers = []
    for speed, weight, heat in x.tolist():
        record = {"heat": heat, "note": "not looked at", "weight": weight, "speed": speed}
        process.stdin.write(json.dumps(record) + "\n\n")
        process.stdin.flush()
        answers.append(json.loads(process.stdout.readline()))
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "ready\n")
    assert [list(answer) for answer in answers] == [["score", "p_value", "anomaly", "reasons"]] * 4
    assert [len(answer["reasons"]) for answer in answers] == [3 * answer["anomaly"] for answer in answers]
    alone = [detector.anomaly_score(row[None])[0] for row in x]
    assert [answer["score"] for answer in answers] == alone
    assert [answer["anomaly"] for answer in answers] == [int(score > detector.threshold_) for score in alone]


def test_follow_has_no_chunks(script, gaussian):
    with pytest.raises(InputError, match="row by row: leave out --input, --output and --chunk-rows"):
        script("score", "--model", gaussian, "--follow", "--chunk-rows", "5")


def test_reasons_are_given_where_asked_for(script, gaussian, tmp_path, capsys, monkeypatch):
    (tmp_path / "new.csv").write_text("speed,weight,heat\n10,-5e4,0\n10,-5e4,1\n")
    detector = load(gaussian)
    (reasons,) = detector.explain(np.array([[10, -5e4, 1]])).top(2)
    columns = [reason.column for reason in reasons]
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        options = ["--output", tmp_path / name, "--reasons", "2"]
        script("score", "--model", gaussian, "--input", tmp_path / "new.csv", *options)
        assert read(tmp_path / name)["reasons"] == ["" if name == "a.csv" else None, "; ".join(map(str, reasons))]
    replaced = ["--output", tmp_path / "b.csv", "--reasons", "2", "--reasons-method", "replacement"]
    script("score", "--model", gaussian, "--input", tmp_path / "new.csv", *replaced)
    (reasons,) = detector.explain(np.array([[10, -5e4, 1]]), "replacement").top(2)
    assert read(tmp_path / "b.csv")["reasons"][1] == "; ".join(map(str, reasons))
    line = b'{"speed": 10, "weight": -5e4, "heat": 1}\n'
    for count in (0, 2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line)))
        capsys.readouterr()
        script("score", "--model", gaussian, "--follow", "--reasons", count)
        answer = json.loads(capsys.readouterr().out)
        assert answer["anomaly"] == 1
        assert [reason["column"] for reason in answer.get("reasons", [])] == columns[:count]
        assert ("reasons" in answer) == (count > 0)


def test_follow_in_any_language(script, gaussian, capsys, monkeypatch):
    line = '{"größe": 1, "speed": 10, "weight": -5e4, "heat": 0}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line.encode()), encoding="ascii"))
    script("score", "--model", gaussian, "--follow")
    assert json.loads(capsys.readouterr().out)["anomaly"] == 0


def test_follow_by_a_threshold_that_learns(script, gaussian, capsys, monkeypatch):
    line = b'{"speed": 10, "weight": -5e4, "heat": %d}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line % 0 + line % 1000)))
    options = ["--adaptive", "drift_spot", "--rate", "0.01", "--level", "0.9", "--depth", "20", "--reasons", "0"]
    script("score", "--model", gaussian, "--follow", *options)
    normal, strange = (json.loads(answer) for answer in capsys.readouterr().out.splitlines())
    assert list(normal) == ["score", "p_value", "anomaly", "threshold"]
    assert (normal["anomaly"], strange["anomaly"]) == (0, 1)
    assert normal["score"] <= normal["threshold"]
    assert strange["p_value"] < 0.01 < normal["p_value"]
