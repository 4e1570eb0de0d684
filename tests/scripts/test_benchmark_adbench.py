import csv
import importlib
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jaxflow.data import Dataset
from jaxflow.detection import FlowDetector, Percentile
from jaxflow.errors import InputError
from jaxflow.models import MAF, GaussianSpec
from jaxflow.training import FitSpec
from jaxflow.training.many import alike
from tests.scripts.script_modules import script_module


@pytest.fixture(scope="module")
def benchmark():
    return script_module("benchmark_adbench")


def made(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(1100, 3)), rng.normal(size=(150, 3)) + 3])
    x[500:560] = x[:60]  # copies
    return Dataset(f"adbench/{name}", x, np.repeat([0, 1], [1100, 150]), ("x0", "x1", "x2"))


@pytest.fixture
def loaded(benchmark, monkeypatch):
    """A data set in the place of those that would be downloaded; the names of those that were asked for."""
    asked = []

    def load(name):
        asked.append(name)
        return made(name)

    monkeypatch.setattr(benchmark, "load_adbench", load)
    return asked


def read(out):
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run(benchmark, out, *options):
    benchmark.main(["--datasets", "thyroid,wine", "--detectors", "gaussian,gmm", "--out", str(out), *options])
    return read(out)


def with_a_fault(entry, method, does):
    """The detector with other code in the place of a method, and the same settings."""

    def make(seed):
        detector = entry.make(seed)
        setattr(detector, method, does)
        return detector

    return entry._replace(make=make)


def test_every_cell_is_measured_once(benchmark, loaded, tmp_path, capsys):
    first = run(benchmark, tmp_path, "--seeds", "0")
    assert [(row["dataset"], row["detector"]) for row in first] == [
        ("thyroid", "gaussian"), ("thyroid", "gmm"), ("wine", "gaussian"), ("wine", "gmm")
    ]  # fmt: skip
    printed = capsys.readouterr()
    assert "4/4  wine, gmm, seed 0: ROC-AUC 0." in printed.err
    assert "Means over 2 sets" in printed.out
    loaded.clear()
    again = run(benchmark, tmp_path, "--seeds", "0,1")
    assert again[:4] == first
    assert "4 of 8 results stood in `results.csv` before" in (tmp_path / "summary.md").read_text()
    assert len(again) == 8
    for row in again:
        assert 0.95 < float(row["roc_auc"]) < 1
        assert 0 < float(row["copied"]) < 0.2
        assert row["roc_auc"] != row["roc_auc_new"]
        assert float(row["false_positive_rate"]) < 0.05 < float(row["recall"])
        assert int(row["n_train"]) == 440
        assert row["error"] == ""
    page = (tmp_path / "summary.md").read_text()
    assert "2 data set(s), 2 seed(s) each, protocol random" in page
    assert "| Gaussian mixture |" in page


def test_the_published_division_learns_from_all_its_rows(benchmark, loaded, tmp_path):
    for row in run(benchmark, tmp_path, "--seeds", "0", "--protocol", "dte"):
        assert int(row["n_train"]) == 550
        assert row["false_positive_rate"] == ""


def test_contaminated_rows_are_a_row_for_each_rate(benchmark, loaded, tmp_path):
    rows = run(benchmark, tmp_path, "--seeds", "0", "--protocol", "contaminated")
    assert [row["contamination"] for row in rows[:8:2]] == ["0.0", "0.01", "0.05", "0.1"]
    areas = [float(row["roc_auc"]) for row in rows[:8:2]]
    assert areas[0] > areas[-1]


def test_what_fails_is_a_row_with_its_error_until_it_is_tried_again(benchmark, loaded, tmp_path, monkeypatch, capsys):
    entry = benchmark.DETECTORS["gaussian"]
    broken = with_a_fault(entry, "anomaly_score", lambda X: np.full(len(X), np.nan))
    monkeypatch.setitem(benchmark.DETECTORS, "gaussian", broken)
    rows = run(benchmark, tmp_path, "--seeds", "0")
    assert rows[0]["error"] == "InputError: 700 of 700 scores are not numbers"
    assert rows[0]["roc_auc"] == ""
    assert "2 of 4 runs failed" in (tmp_path / "summary.md").read_text()
    monkeypatch.setitem(benchmark.DETECTORS, "gaussian", entry)
    assert run(benchmark, tmp_path, "--seeds", "0")[0]["error"]
    retried = run(benchmark, tmp_path, "--seeds", "0", "--retry")
    assert len(retried) == 4
    assert not any(row["error"] for row in retried)


def test_what_other_detectors_failed_at_stays_known_when_some_are_tried_again(benchmark, loaded, tmp_path, monkeypatch):
    def fail(X):
        raise MemoryError("whatever a library raises")

    for name in ("gaussian", "gmm"):
        monkeypatch.setitem(benchmark.DETECTORS, name, with_a_fault(benchmark.DETECTORS[name], "fitting", fail))
    with pytest.raises(InputError, match=r"no run worked: .*results\.csv has the errors, of which the first is Memory"):
        run(benchmark, tmp_path, "--seeds", "0")
    assert len(read(tmp_path)) == 4
    monkeypatch.undo()
    monkeypatch.setattr(benchmark, "load_adbench", lambda name: made(name))
    retried = run(benchmark, tmp_path, "--seeds", "0", "--retry", "--detectors", "gaussian")
    errors = {(row["detector"], row["dataset"]): row["error"] for row in retried}
    said = "MemoryError: whatever a library raises"
    assert errors == {("gaussian", d): "" for d in ("thyroid", "wine")} | {
        ("gmm", d): said for d in ("thyroid", "wine")
    }


def test_results_of_other_settings_are_not_added_to(benchmark, loaded, tmp_path, monkeypatch):
    detectors = script_module("adbench.detectors")
    choice = ("--seeds", "0", "--datasets", "wine")
    before = run(benchmark, tmp_path, *choice)
    record = json.loads((tmp_path / "detectors.json").read_text())
    assert record["gmm"]["library"].startswith("jaxflow ")
    assert "rows_each=20" in record["gmm"]["settings"]["model"]
    assert len(record["gmm"]["commits"]) == 1

    other = detectors.Entry("Gaussian", detectors._ours(GaussianSpec(regularization=0.5)))
    monkeypatch.setitem(detectors.DETECTORS, "gaussian", other)
    said = r"detectors\.json: the results of gaussian were made with model .*0\.001.* and now it is .*0\.5"
    with pytest.raises(InputError, match=said):
        run(benchmark, tmp_path, *choice)
    assert read(tmp_path) == before

    choice = ("--seeds", "0", "--datasets", "wine", "--detectors", "gaussian")
    (row,) = run(benchmark, tmp_path, *choice, "--anew")[-1:]
    assert [row["detector"] for row in read(tmp_path)] == ["gmm", "gaussian"]
    assert row["roc_auc"] != before[0]["roc_auc"]
    after = json.loads((tmp_path / "detectors.json").read_text())
    assert "regularization=0.5" in after["gaussian"]["settings"]["model"]
    assert after["gmm"] == record["gmm"]

    (tmp_path / "detectors.json").unlink()
    with pytest.raises(InputError, match=r"does not say how the results of gaussian beside it were made: .*--anew"):
        run(benchmark, tmp_path, *choice)
    (tmp_path / "detectors.json").write_text('{"gaussian": 3}')
    with pytest.raises(InputError, match=r"detectors\.json does not say how results were made .*another --out"):
        run(benchmark, tmp_path, *choice)


def test_detectors_of_others_rank_the_rows_of_a_simple_set(benchmark, loaded, tmp_path, monkeypatch):
    flows = importlib.import_module("adbench.broken_flow")
    few = flows.PUBLISHED_FIT.model_copy(update={"epochs": 3})
    detectors = importlib.import_module("adbench.detectors")
    monkeypatch.setattr(detectors, "fitted_planar_flow", partial(flows.fitted_planar_flow, spec=few))
    for row in run(benchmark, tmp_path, "--seeds", "0", "--datasets", "wine", "--detectors", "gmm8_regularized,planar"):
        assert row["error"] == ""
        assert float(row["roc_auc"]) > 0.95


def test_the_published_flow_can_be_scored_as_it_was(monkeypatch):
    detectors, flows = importlib.import_module("adbench.detectors"), importlib.import_module("adbench.broken_flow")
    few = flows.PUBLISHED_FIT.model_copy(update={"epochs": 3})
    monkeypatch.setattr(detectors, "fitted_planar_flow", partial(flows.fitted_planar_flow, spec=few))
    x = np.random.default_rng(0).normal(size=(300, 2)) * [1, 3]
    found = {}
    for name in ("planar", "planar_broken"):
        detector = detectors.DETECTORS[name].make(0)
        found[name] = detector.fit(x).anomaly_score(x)
    base, log_det = flows.log_density_parts(detector.detector.model, detector.scaler.transform(x))
    np.testing.assert_allclose(found["planar"], -(base + log_det), rtol=1e-5)
    np.testing.assert_allclose(found["planar_broken"], -(np.mean(base) + log_det), rtol=1e-5)


def test_a_table_says_over_how_many_sets_figures_without_copies_are(benchmark):
    tables, figures = script_module("adbench.tables").tables, dict.fromkeys(("roc_auc", "pr_auc", "f1"), 0.5)
    times = {"fit_seconds": 1.0, "score_seconds": 1.0}
    some = [benchmark.Result(name, "knn", "dte", 0.0, 0, **figures, **times) for name in ("thyroid", "wine")]
    some[0] = some[0]._replace(roc_auc_new=0.7, pr_auc_new=0.6)
    title, header, (row,) = tables(some, {"knn": "kNN"})[0]
    assert title == "Means over 2 sets that all detectors did"
    assert header[4:6] == ["ROC-AUC, no copies (1 set)", "PR-AUC, no copies (1 set)"]
    assert row[1:6] == ["50.00", "50.00", "50.00", "70.00", "60.00"]


def test_f1_expects_equal_scores_in_any_order(benchmark):
    oracle_f1 = importlib.import_module("adbench.attempt").oracle_f1
    y = np.array([1, 1, 0, 0, 0])
    assert oracle_f1(y, np.array([5.0, 4, 3, 2, 1])) == 1
    assert oracle_f1(y, np.array([5.0, 1, 3, 2, 1])) == 0.5
    assert oracle_f1(y, np.zeros(5)) == pytest.approx(2 / 5)
    assert oracle_f1(y, np.array([1.0, 0, 0, 0, 0])) == pytest.approx((1 + 1 / 4) / 2)


def test_what_is_not_installed_is_named_before_anything_is_fitted(benchmark, loaded, tmp_path, monkeypatch):
    detectors = importlib.import_module("adbench.detectors")

    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="pyod")

    monkeypatch.setattr(detectors, "import_module", absent)
    with pytest.raises(InputError, match=r"detector knn needs pyod, .*pip install 'jaxflow\[bench\]'"):
        benchmark.main(["--datasets", "wine", "--detectors", "gaussian,knn", "--out", str(tmp_path)])
    assert not loaded
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--datasets", "wine,beer", "--datasets beer: expected all, or some of "),
        ("--detectors", "flow,magic", "--detectors magic: expected some of flow, "),
        ("--detectors", ",", "--detectors ',': expected a name at least"),
        ("--seeds", "0,one", "--seeds 0,one: expected whole numbers"),
        ("--seeds", "-1", "--seeds -1: expected numbers from 0 to 4294967295"),
        ("--seeds", "0,4294967296", "--seeds 0,4294967296: expected numbers from 0 to 4294967295"),
        ("--together", "0", "--together 0: expected 1 to 64"),
    ],
)
def test_refusals(benchmark, loaded, tmp_path, option, value, message):
    with pytest.raises(InputError, match=message):
        benchmark.main([f"{option}={value}", "--out", str(tmp_path)])
    for text in (b"a,b\n1,2\n", b"\xff\xfe\x00"):
        (tmp_path / "results.csv").write_bytes(text)
        with pytest.raises(InputError, match=r"results.csv is not a table of benchmark_adbench.py"):
            benchmark.main(["--detectors", "gaussian", "--out", str(tmp_path)])


def test_together_the_same_is_found(benchmark, loaded, tmp_path, capsys):
    alone = run(benchmark, tmp_path / "alone", "--seeds", "0,1")
    together = run(benchmark, tmp_path / "together", "--seeds", "0,1", "--together", "3")
    assert [(row["detector"], row["dataset"], row["seed"]) for row in together] == [
        (detector, dataset, seed)
        for detector in ("gaussian", "gmm")
        for dataset in ("thyroid", "wine")
        for seed in "01"
    ]
    assert sorted(row["roc_auc"] for row in together) == sorted(row["roc_auc"] for row in alone)
    # Never of two detectors: the times of fits made together are shared.
    times = [row["fit_seconds"] for row in together]
    assert [times.count(time) for time in times] == [3, 3, 3, 1, 3, 3, 3, 1]
    assert "8/8  wine, gmm, seed 1: ROC-AUC 0." in capsys.readouterr().err


def test_flows_fitted_together_are_one_program_and_give_the_same(benchmark, loaded, tmp_path, monkeypatch):
    together, made_as_one = [], alike._made_as_one
    monkeypatch.setattr(alike, "_made_as_one", lambda fits: together.append(len(fits)) or made_as_one(fits))
    few = FitSpec(epochs=2, batch_size=64)
    small = benchmark.DETECTORS["maf"]._replace(
        make=lambda seed: FlowDetector(
            MAF(layers=1, hidden=(8,)),
            train=few,
            threshold=Percentile(percentile=50),
            calibration_fraction=0.0,
            random_state=seed,
        )
    )
    monkeypatch.setitem(benchmark.DETECTORS, "maf", small)
    chosen = ("--detectors", "maf", "--seeds", "0,1", "--datasets", "wine")
    found = [run(benchmark, tmp_path / size, *chosen, "--together", size) for size in ("1", "2")]
    assert together == [1, 1, 2]
    areas = [[float(row["roc_auc"]) for row in rows] for rows in found]
    np.testing.assert_allclose(areas[0], areas[1], atol=1e-3)
    assert areas[0][0] != areas[0][1]


@pytest.mark.parametrize("name", ["thyroid", "wilt"])
def test_detectors_of_pyod_agree_with_the_published_cells(benchmark, tmp_path, name):
    pytest.importorskip("pyod")
    if not (Path(os.environ.get("JAXFLOW_DATA", "missing")) / "adbench").is_dir():
        pytest.skip("needs $JAXFLOW_DATA/adbench")
    file = Path(__file__).parents[2] / "results/adbench/published.csv"
    published = script_module("adbench.comparison").read_published(file)
    chosen = ("--datasets", name, "--detectors", "knn,lof,hbos", "--seeds", "0", "--protocol", "dte")
    for row, method in zip(run(benchmark, tmp_path, *chosen), ("kNN", "LOF", "HBOS"), strict=True):
        assert 100 * float(row["roc_auc"]) == pytest.approx(published[method][name]["roc_auc"], abs=0.05)
