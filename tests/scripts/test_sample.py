import json

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from jaxflow.detection import load

FEATURES = ["speed", "weight", "heat"]


def read(path):
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return np.array([[row[name] for name in FEATURES] for row in rows])
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.parquet.read_table(path)
    assert table.column_names == FEATURES
    return np.column_stack([column.to_numpy() for column in table.columns])


@pytest.mark.end_to_end
def test_draws_are_repeatable_and_in_data_units(script, trained, detector, tmp_path, capsys):
    outputs = [tmp_path / "a.csv", tmp_path / "b.parquet", tmp_path / "c.jsonl"]
    for output in outputs:
        script("sample", "--model", trained.model, "--count", "500", "--output", output)
    assert capsys.readouterr().out.splitlines()[0] == f"500 rows drawn: {outputs[0]}"
    first, *others = map(read, outputs)
    assert first.shape == (500, 3)
    for other in others:
        np.testing.assert_array_equal(first, other)
    np.testing.assert_array_equal(first, detector.sample(500, 0))
    # Units: those of the table, where the three columns differ by a factor of ten million.
    x, y = trained.test_rows
    normal = x[y == 0]
    assert (abs(first.mean(axis=0) - normal.mean(axis=0)) < 0.5 * normal.std(axis=0)).all()
    assert (abs(np.log(first.std(axis=0) / normal.std(axis=0))) < 0.5).all()
    assert (detector.predict(first) == 1).mean() > 0.6


def test_another_seed_draws_other_rows(script, gaussian, tmp_path):
    for name, seed in (("a.csv", 0), ("b.csv", 1), ("c.csv", 1)):
        script("sample", "--model", gaussian, "--count", "20", "--output", tmp_path / name, "--seed", seed)
    a, b, c = (read(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv"))
    assert (a != b).all()
    np.testing.assert_array_equal(b, c)


def test_what_was_drawn_can_be_scored(script, gaussian, tmp_path):
    script("sample", "--model", gaussian, "--count", "300", "--output", tmp_path / "drawn.parquet")
    options = ["--input", tmp_path / "drawn.parquet", "--output", tmp_path / "answers.parquet"]
    script("score", "--model", gaussian, *options)
    answers = pyarrow.parquet.read_table(tmp_path / "answers.parquet").to_pydict()
    # The density that draws also scores: its own rows are flagged as often as normal ones.
    assert np.mean(answers["anomaly"]) < 0.15
    np.testing.assert_array_equal(answers["score"], load(gaussian).anomaly_score(read(tmp_path / "drawn.parquet")))
