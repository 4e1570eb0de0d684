"""Experiments whose rows come from files through a buffer."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxflow.config.spec import parse_spec
from jaxflow.errors import InputError
from jaxflow.experiment.run import StoppedRun, experiment_rows, experiment_split, run_experiment
from jaxflow.experiment.spec import Experiment

NAMES = ("a", "b", "c")
FLOW = {"kind": "maf", "layers": 1, "hidden": [8]}


def rows(n: int = 600) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 3))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows").mkdir()
    for number, part in enumerate(np.array_split(rows(), 2)):
        table = pa.table(dict(zip(NAMES, part.T, strict=True)))
        parquet.write_table(table, tmp_path / "rows" / f"{number}.parquet", row_group_size=100)
    return tmp_path / "rows"


def experiment(path, model=None, **sections) -> Experiment:
    data = {"path": str(path), "stream": True, "buffer_rows": 200} | sections.pop("data", {})
    train = {"epochs": 2, "batch_size": 32} if model is None else None
    return parse_spec(Experiment, {"data": data, "model": model or FLOW, "train": train} | sections, "here")


def test_a_run_holds_rows_out_for_the_test_and_learns_from_the_others(folder):
    run = run_experiment(experiment(folder, split={"test_fraction": 0.25}))
    assert run.metrics is None
    assert (run.x.shape, run.n_train, run.detector.columns_) == ((150, 3), 450, NAMES)
    assert np.isfinite(run.scores).all()
    prepared = experiment_rows(experiment(folder, split={"test_fraction": 0.25}))
    source = prepared.x_train
    learnt = np.concatenate([source.read(chunk) for chunk in range(len(source.lengths))])
    together = np.concatenate([learnt, prepared.x_test.x])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(rows(), axis=0))


def test_columns_can_be_chosen_and_arrays_streamed(folder, tmp_path):
    run = run_experiment(experiment(folder, data={"features": ["c", "a"]}))
    assert run.detector.columns_ == ("c", "a")
    np.save(tmp_path / "rows.npy", rows())
    assert run_experiment(experiment(tmp_path / "rows.npy")).detector.columns_ == ("x0", "x1", "x2")


def test_a_poisoned_row_is_named_by_its_number_in_its_file(tmp_path):
    x = rows()
    x[::100] = 1e30
    np.save(tmp_path / "rows.npy", x)
    sections = {"preprocessing": [], "detection": {"validation_fraction": 0.0}}
    with pytest.raises(StoppedRun, match=r"the first is .*rows\.npy: index \d00\)") as caught:
        run_experiment(experiment(tmp_path / "rows.npy", data={"buffer_rows": 1000}, **sections))
    named = str(caught.value).split("because of row")[1].split(" of the source")[0].strip("s ").split(", ")
    assert all(int(row) % 100 == 0 for row in named)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"label": "a"}}, "label = a: expected no value, as all rows of a stream count as normal"),
        ({"data": {"stream": False}}, "buffer_rows = 200: expected no value, as it is an option of stream"),
        ({"data": {"path": None, "name": "wine"}}, "stream: expected no value, as wine is small"),
        ({"split": {"protocol": "unsupervised"}}, "split.protocol = unsupervised: expected normal_only"),
        ({"model": {"kind": "gaussian"}}, "data.stream: a gaussian is fitted to rows in memory"),
        ({"data": {"features": ["a", "d"]}}, "column d is missing"),
        ({"detection": {"threshold": {"kind": "best_f1"}}}, "best_f1 needs labels, and a source has none"),
    ],
)
def test_what_a_stream_cannot_give_is_refused(folder, sections, message):
    with pytest.raises(InputError, match=message):
        run_experiment(experiment(folder, **sections))


def test_data_that_is_not_there_or_too_small_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"gone: there is no such file"):
        run_experiment(experiment(tmp_path / "gone"))
    np.save(tmp_path / "one.npy", rows(1))
    with pytest.raises(InputError, match=r"one\.npy: 1 row, expected two at least to split"):
        run_experiment(experiment(tmp_path / "one.npy"))
    with pytest.raises(InputError, match=r"the columns of .*one\.npy have no names"):
        run_experiment(experiment(tmp_path / "one.npy", data={"features": ["a"]}))


def test_a_column_of_labels_is_not_taken_for_a_feature(tmp_path):
    table = pa.table({"a": rows()[:, 0], "label": np.zeros(600)})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=100)
    with pytest.raises(InputError, match="there is a column label, and all rows of a stream count as normal"):
        run_experiment(experiment(tmp_path / "rows.parquet"))
    assert run_experiment(experiment(tmp_path / "rows.parquet", data={"features": ["a"]})).detector.columns_ == ("a",)


def test_only_a_fit_takes_a_stream(folder):
    with pytest.raises(InputError, match="a stream is not read into memory"):
        experiment_split(experiment(folder))
