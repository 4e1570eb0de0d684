import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.detection import GaussianDetector, load
from jaxflow.errors import InputError

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


def mixed(n=300):
    rng = np.random.default_rng(0)
    place = rng.choice(["north, or so", '"south"', "01"], n).astype(object)
    place[rng.random(n) < 0.2] = None
    return pa.table(
        {
            "count": rng.integers(0, 5, n),
            "flag": rng.random(n) > 0.5,
            "place": pa.array(place).dictionary_encode(),
            "warmth": pa.array(np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)), from_pandas=True),
            "hour": rng.uniform(0, 24, n),
        }
    )


@pytest.mark.parametrize("extension", ["csv", "parquet", "jsonl"])
def test_files_of_draws_hold_what_the_table_held_and_can_be_scored(script, tmp_path, extension):
    table, output = mixed(), tmp_path / f"drawn.{extension}"
    detector = GaussianDetector(columns=ColumnsSpec(missing="median"), random_state=0).fit(table)
    detector.save(tmp_path / "model")
    script("sample", "--model", tmp_path / "model", "--count", "200", "--output", output)
    expected = detector.sample_table(200, 0)
    if extension == "jsonl":
        found = pa.Table.from_pylist([json.loads(line) for line in output.read_text().splitlines()])
    elif extension == "csv":
        convert = pyarrow.csv.ConvertOptions(column_types={"place": pa.string()}, strings_can_be_null=True)
        found = pyarrow.csv.read_csv(output, convert_options=convert)
    else:
        found = pyarrow.parquet.read_table(output)
    assert found.to_pydict() == expected.to_pydict()
    if extension != "jsonl":
        options = ["--input", output, "--output", tmp_path / "answers.parquet"]
        script("score", "--model", tmp_path / "model", *options)
        answers = pyarrow.parquet.read_table(tmp_path / "answers.parquet").to_pydict()
        np.testing.assert_allclose(answers["score"], detector.anomaly_score(expected), rtol=1e-12)
        assert np.mean(answers["anomaly"]) < 0.15


def test_draws_in_a_context_that_a_file_gives(script, tmp_path):
    table, output = mixed(), tmp_path / "drawn.parquet"
    columns = ColumnsSpec(missing="median", context=("place", "hour"))
    GaussianDetector(columns=columns, random_state=0).fit(table).save(tmp_path / "model")
    pyarrow.csv.write_csv(pa.table({"hour": [1.5, 2.5], "place": ['"south"', None]}), tmp_path / "context.csv")
    options = ["--model", tmp_path / "model", "--context", tmp_path / "context.csv", "--output", output]
    script("sample", *options)
    found = pyarrow.parquet.read_table(output)
    assert found.column_names == table.column_names
    assert found.select(["place", "hour"]).to_pydict() == {"place": ['"south"', None], "hour": [1.5, 2.5]}
    for extra, sentence in (
        (["--count", "3"], f"--context {tmp_path / 'context.csv'}: 2 rows, expected 1 or 3, as --count says"),
        (["--count", "0"], "--count 0: expected at least 1"),
    ):
        with pytest.raises(InputError) as error:
            script("sample", *options, *extra)
        assert str(error.value) == sentence


def test_draws_of_a_detector_fitted_to_a_file_have_the_types_of_the_file(script, tmp_path):
    table = mixed().append_column("label", pa.array(np.arange(300) % 10 == 0))
    for name in ("machines.parquet", "machines.csv"):
        folder, file = tmp_path / name.partition(".")[2], tmp_path / name
        if name.endswith(".csv"):
            plain = table.set_column(2, "place", table["place"].cast(pa.string()))
            pyarrow.csv.write_csv(plain, file)
        else:
            pyarrow.parquet.write_table(table, file)
        config = tmp_path / "config.yaml"
        config.write_text(f"data: {{path: {file}}}\nmodel: {{kind: gaussian}}\ncolumns: {{missing: median}}\n")
        script("train", "--config", config, "--out", folder)
        script("sample", "--model", folder / "model", "--count", "50", "--output", tmp_path / f"drawn-{name}")
    drawn = pyarrow.parquet.read_table(tmp_path / "drawn-machines.parquet")
    assert drawn.schema.names == ["count", "flag", "place", "warmth", "hour"]
    assert drawn.schema.types == [pa.int64(), pa.bool_(), pa.string(), pa.float64(), pa.float64()]
    assert pyarrow.csv.read_csv(tmp_path / "drawn-machines.csv").schema.types[:2] == [pa.int64(), pa.bool_()]
