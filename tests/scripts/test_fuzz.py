"""Whatever a file or a stream holds: an answer for every row, or one sentence and exit code 2; nothing half-written.

2,000 files and streams are tried, on a detector of numbers and on one with texts, gaps and a context. Not all of them
are malformed, but a stream has several lines: of 1,500 files and 1,850 lines about 1,170 and 1,200 are refused.

`JAXFLOW_FUZZ=50 .venv/bin/python -m pytest tests/scripts/test_fuzz.py` tries fifty times as many inputs, others each
time.
"""

import contextlib
import gzip
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxflow.commands import score
from jaxflow.config import command_line
from jaxflow.data import ColumnsSpec
from jaxflow.data.columns.columns_spec import ColumnSpec
from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import GaussianDetector
from tests.scripts.conftest import FEATURES, make_rows
from tests.trials import REFUSED, TIMES, TRIED, counted, damaged_bytes, inputs, limited

# A saved detector and how it is asked for reasons.
MODELS = st.sampled_from([("numbers", ()), ("mixed", ()), ("mixed", ("--reasons", "2"))])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two saved detectors: one of numbers, the other with gaps, texts and a context."""
    place = tmp_path_factory.mktemp("fuzz")
    x, rng = make_rows(1, 200, 0)[0], np.random.default_rng(0)
    detector = GaussianDetector().fit(as_frame(x, FEATURES))
    detector.save(place / "numbers")
    speed = np.where(rng.random(200) < 0.1, np.nan, x[:, 0])
    cells = [speed, rng.choice(["a", "1", "é"], 200), rng.uniform(0, 24, 200)]
    columns = ColumnsSpec(
        types={FEATURES[2]: ColumnSpec(kind="circular", period=24)}, context=(FEATURES[2],), missing="median"
    )
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in zip(FEATURES, cells, strict=True)})
    GaussianDetector(columns=columns).fit(table).save(place / "mixed")
    return place


class Ended:
    """How `scripts/score.py` ended, run in this process as from a command line."""

    def __init__(self, *arguments: Any, stdin: bytes = b""):
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            # Of this process are the streams, what ends it, and the programs it has compiled.
            for name in ("keep_compiled_programs", "use_standard_streams", "print_for_scripts", "end_on_signals"):
                patch.setattr(command_line, name, lambda: None)
            patch.setattr(sys, "argv", ["score.py", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as leaving:
                command_line.run_script(score.main)
        self.code, self.out, self.err = leaving.value.code, out.getvalue(), err.getvalue()
        if "--follow" in arguments:
            assert self.err.startswith("ready\n")
            self.err = self.err[len("ready\n") :]
        assert self.code in (0, 2)
        if self.code == 2:
            assert self.err.startswith("error: ")
            assert self.err.count("\n") == 1
            assert self.err[:-1].isprintable()
        else:
            assert self.err == ""


def answers_of(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    if path.suffix == ".csv":
        return pyarrow.csv.read_csv(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_file(
    test: str,
    place: Path,
    model: tuple[str, tuple[str, ...]],
    name: str,
    content: bytes,
    output: str,
    rows: int | None = None,
) -> bool:
    """Score a file of this content; whether it was answered, which it then was row by row."""
    source, answers = place / name, place / f"answers{output}"
    source.write_bytes(content)
    answers.write_bytes(b"the answers of an earlier run")
    before = sorted(place.iterdir())
    with limited(test, len(content)):
        ended = Ended("--model", place / model[0], "--input", source, "--output", answers, *model[1])
    counted(test, 1, ended.code == 2)
    # Neither a temporary file nor a partial one.
    assert sorted(place.iterdir()) == before
    source.unlink()
    if ended.code == 2:
        assert answers.read_bytes() == b"the answers of an earlier run"
        assert ended.out == ""
        return False
    found = answers_of(answers)
    assert [answer["row"] for answer in found] == list(range(1, len(found) + 1))
    assert len(found) > 0
    assert rows is None or len(found) == rows
    for answer in found:
        check_answer(answer)
        assert ("reasons" in answer) == bool(model[1])
        # One is named at least; a text may hold whatever a cell does, but on one line.
        assert not model[1] or bool(answer["reasons"]) == bool(answer["anomaly"])
        assert (answer.get("reasons") or "").isprintable()
    return True


def check_answer(answer: dict) -> None:
    assert not math.isnan(float(answer["score"]))
    assert 0 < answer["p_value"] <= 1
    assert answer["anomaly"] in (0, 1)


OUTPUTS = st.sampled_from([".csv", ".parquet", ".jsonl"])
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["0", "-0.0", "1e308", "-1.7e308", "5e-324", "1E5", "+1", ".5", "1.", " 1", "1 "]),
)
BAD_CELLS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            *(
                "",
                "nan",
                "NaN",
                "inf",
                "-Infinity",
                "1e999",
                "null",
                "NA",
                "#N/A",
                "true",
                "False",
                "fast",
                "1,5",
                "1,234",
                "$12.5",
                "12%",
                "1;2",
            ),
            *(
                "0x10",
                "1_000",
                "\u0661",
                "1e",
                "--1",
                "2020-01-01",
                '"1"',
                '"',
                '""',
                '"1',
                "'1'",
                "1\x00",
                "\ufeff1",
                "1\r",
            ),
            *("9" * 400, "1." + "0" * 400, "=1+1", "[1]", '{"a": 1}', "\x1b[2J", "é", "\u2028"),
        ]
    ),
)
HEADERS = st.one_of(
    st.just(list(FEATURES)),
    st.permutations([*FEATURES, "note"]),
    st.lists(st.one_of(st.sampled_from([*FEATURES, "", "1.5", "Speed"]), st.text(max_size=5)), max_size=6),
)


@st.composite
def csv_files(draw):
    """The text of a CSV file with something wrong in it, as bytes that may be wrong as well."""
    header = draw(HEADERS)
    width = len(header)
    rows = draw(st.lists(st.lists(NUMBERS, min_size=width, max_size=width), max_size=6))
    if rows:
        for _ in range(draw(st.integers(0, 2))):
            row = draw(st.sampled_from(rows))
            if row and draw(st.booleans()):
                row[draw(st.integers(0, len(row) - 1))] = draw(BAD_CELLS)
            elif draw(st.booleans()):
                row.append(draw(NUMBERS))
            elif row:
                row.pop()
    separator = draw(st.sampled_from([*",,,,,,,;;\t| ^"]))
    if draw(st.sampled_from([False, False, False, True])):  # a decimal comma, in quotes of two kinds
        quote = draw(st.sampled_from(['"', '"', "'", ""]))
        rows = [[f"{quote}{cell.replace('.', ',')}{quote}" for cell in row] for row in rows]
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n"]))
    text = end.join(separator.join(row) for row in [header, *rows]) + draw(st.sampled_from(["", end, "\x00", end * 3]))
    encoding = draw(st.sampled_from([*["utf-8"] * 6, "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037"]))
    return damaged_bytes(draw, text.encode(encoding, errors="replace"))


@inputs(600)
@given(MODELS, csv_files(), st.booleans(), OUTPUTS, st.data())
def test_csv(place, model, content, zipped, output, data):
    if zipped:
        content = damaged_bytes(data.draw, gzip.compress(content))
    check_file("csv", place, model, "rows.csv.gz" if zipped else "rows.csv", content, output)


# Files that are costly or odd to a reader of lines.
ODD = [
    *(b",".join(b"%d" % column for column in range(count)) + b"\n1,2" for count in (16_385, 100_000)),
    *(b"speed,weight,heat\n" + row for row in (b"," * 100_000, b'1,2,"3\n' * 9, b"1,2,3\r" * 9, b"\0" * 999, b"1 2 3")),
    *(b"speed;weight;heat\n" + row for row in (b"1,5;2;3\n" * 9 + b"1.5;2;3", b"1.000;2,000;3", b"$1;2%;3 kg")),
    *(b"sep=%s\nspeed;weight;heat\n1;2;3\n" % mark for mark in (b";", b",", b"", b'"', b"\0", b"\n")),
    *(gzip.compress(content) for content in (b"speed,weight,heat\n" + b"1,2,3\n" * 9, b"a" * 300_000, b"")),
]


@inputs(200)
@given(
    MODELS,
    st.one_of(st.binary(max_size=200), st.sampled_from(ODD)),
    st.sampled_from(["rows.csv", "rows.csv.gz", "rows.parquet"]),
    OUTPUTS,
)
def test_bytes_of_nothing(place, model, content, name, output):
    check_file("bytes", place, model, name, content, output)


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(table, written, **options)
    return written.getvalue()


def rows_of(count: int, **columns: Any) -> pa.Table:
    x = make_rows(2, count, 0)[0]
    return pa.table({name: pa.array(x[:, index]) for index, name in enumerate(FEATURES)} | columns)


GOOD = [
    parquet_file(rows_of(count, note=pa.array(["x"] * count)), **options)
    for count in (1, 30)
    for options in (
        {},
        {"compression": "none", "write_page_checksum": True},
        {"compression": "zstd", "use_dictionary": False, "row_group_size": 7},
        {"compression": "gzip", "data_page_version": "2.0", "version": "1.0"},
    )
]


@inputs(550)
@given(MODELS, st.sampled_from(GOOD), st.booleans(), OUTPUTS, st.data())
def test_damaged_parquet(place, model, content, footer, output, data):
    # The footer says what the rest is, so half of the damage goes there.
    start = max(0, len(content) - 900) if footer else 0
    content = content[:start] + damaged_bytes(data.draw, content[start:])
    check_file("damaged parquet", place, model, "rows.parquet", content, output)


ANY_COLUMN = st.one_of(
    st.lists(st.floats(), min_size=3, max_size=3).map(pa.array),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3).map(pa.array),
    st.lists(st.one_of(st.none(), st.floats(-1, 1)), min_size=3, max_size=3).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.text(max_size=3), min_size=3, max_size=3).map(pa.array),
    st.sampled_from(
        [
            pa.array([1, 2, 2**64 - 1], pa.uint64()),
            pa.array([1.0, 2.0, float("nan")], pa.float16()),
            pa.array([1, 2, 3]).cast(pa.decimal128(38, 2)),
            pa.array([10**70] * 3, pa.decimal256(76, 0)),
            pa.array([True, False, None]),
            pa.array([None] * 3),
            pa.array([[1.0], [2.0], []]),
            pa.array([{"a": 1.0}] * 3),
            pa.array([b"\xff"] * 3),
            pa.array([1, 2, 3], pa.timestamp("ns")),
            pa.array(["1", "2", "1"]).dictionary_encode(),
            pa.array([1.0, 2.0, 1.0]).dictionary_encode(),
        ]
    ),
)


COLUMNS = st.one_of(
    st.tuples(*(st.tuples(st.just(name), ANY_COLUMN) for name in FEATURES)),
    st.lists(st.tuples(st.sampled_from([*FEATURES, "note", "", "speed.a"]), ANY_COLUMN), max_size=6),
)


@inputs(150)
@given(MODELS, COLUMNS, OUTPUTS)
def test_parquet_of_other_columns(place, model, columns, output):
    table = pa.Table.from_arrays([column for _, column in columns], [name for name, _ in columns])
    check_file("other columns", place, model, "rows.parquet", parquet_file(table), output, rows=3)


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(),
        st.integers(),
        st.integers(10**300, 10**320),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


# Lines whose keys could be compared with each other one by one; in the last one a key comes twice.
MANY_KEYS = [
    b"{" + b", ".join(b'"%d": 1' % (key % different) for key in range(count)) + b"}"
    for count, different in ((20_000, 20_000), (200_000, 200_000), (200_000, 199_999))
]


@st.composite
def json_lines(draw):
    """One line: a record, or one with something wrong in it, or none."""
    kind = draw(
        st.sampled_from(["good", "bad cell", "bad cell", "bad cell", "other keys", "bytes", "value", "strange"])
    )
    record: dict[Any, Any] = dict.fromkeys(FEATURES, draw(st.floats(-1e300, 1e300)))
    if kind == "bytes":
        return draw(st.binary(max_size=40)).replace(b"\n", b"")
    if kind == "strange":
        return draw(
            st.sampled_from(
                [
                    *(b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900, b"1" * 5000, b"\xef\xbb\xbf{}"),
                    *(
                        b'{"speed": 1, "speed": 2, "weight": 1, "heat": 1}',
                        b'{"speed": ' + b"[" * 900 + b"]" * 900 + b"}",
                    ),
                    *(b"\x00", b"{}", b"null", b"NaN", b'"speed"', b"{'speed': 1}", b'{"\\ud800": 1}', b"{} {}", b"\r"),
                    b'{"speed": 1' + b"0" * 4200 + b', "weight": 1, "heat": 1}',
                    *MANY_KEYS,
                ]
            )
        )
    if kind == "value":
        return json.dumps(draw(JSON_VALUES)).encode()
    if kind == "bad cell":
        record[draw(st.sampled_from(FEATURES))] = draw(JSON_VALUES)
    if kind == "other keys":
        record |= draw(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3))
        record.pop(draw(st.sampled_from([*FEATURES, "none"])), None)
    return damaged_bytes(draw, json.dumps(record, ensure_ascii=draw(st.booleans())).encode(errors="replace"))


@inputs(500)
@given(MODELS, st.lists(json_lines(), max_size=5), st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n"]))
def test_json_lines(place, model, lines, end):
    lines = [line.replace(b"\n", b"") for line in lines]
    good = json.dumps(dict.fromkeys(FEATURES, 1.0)).encode()
    stream = end.join([*lines, good])
    with limited("lines", len(stream)):
        ended = Ended("--model", place / model[0], "--follow", *model[1], stdin=stream)
    answers = [json.loads(answer) for answer in ended.out.splitlines()]
    assert len(answers) == 1 + sum(bool(line.strip()) for line in lines)
    refused = [answer for answer in answers if "error" in answer]
    assert ended.code == (2 if refused else 0)
    counted("lines", len(answers), len(refused))
    for answer in answers:
        if answer in refused:
            assert list(answer) == ["error"]
            assert answer["error"].isprintable()
        else:
            check_answer(answer)
    assert answers[-1] not in refused


def test_answered_and_refused_alike_are_seen(place):
    """Of what the tests above check, both ends are reached."""
    numbers, mixed = ("numbers", ()), ("mixed", ("--reasons", "2"))
    assert check_file("both ends", place, numbers, "rows.csv", b"speed,weight,heat\n1,2,3\n", ".csv", rows=1)
    assert not check_file("both ends", place, numbers, "rows.csv", b"speed,weight,heat\n1,2,\n", ".csv")
    assert check_file("both ends", place, mixed, "rows.csv", b"speed,weight,heat\n,a,\n1,zebra,3\n", ".csv", rows=2)
    assert not check_file("both ends", place, mixed, "rows.csv", b"speed,weight,heat\nfast,a,3\n", ".csv")
    for model in (numbers, mixed):
        assert all(check_file("both ends", place, model, "rows.parquet", content, ".parquet") for content in GOOD)
    assert np.isfinite(make_rows(2, 3, 0)[0]).all()


def test_most_of_what_is_tried_is_refused():
    """That the tests above try what is malformed, and not only what looks odd."""
    tests = ("csv", "bytes", "damaged parquet", "other columns", "lines")
    if not all(TRIED[test] for test in tests):
        pytest.skip("not all of the tests above have run")
    assert sum(REFUSED[test] for test in tests) >= 2000 * TIMES, (TRIED, REFUSED)
