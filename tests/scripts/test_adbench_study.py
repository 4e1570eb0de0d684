import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxflow.data import Dataset
from jaxflow.data.sets.adbench import DEVELOPMENT_SETS
from jaxflow.errors import InputError
from tests.scripts.script_modules import script_module

SCRIPTS = Path(__file__).parents[2] / "scripts"
SETS = ("annthyroid", "breastw", "cardio", "thyroid", "wine")
# ROC-AUC of each set in the order above. The flow is the best on all sets but the last.
RUN = {"flow": [0.9, 0.8, 0.95, 0.7, 0.5], "gaussian": [0.8, 0.7, 0.9, 0.6, 0.6], "knn": [0.6, 0.6, 0.6, 0.5, 0.4]}
PUBLISHED = {"kNN": [61, 62, 59, 50, 41], "PlanarFlow": [50, 50.5, 50, 40, 30]}


@pytest.fixture(scope="module")
def scripts():
    names = ("adbench_study", "adbench.statistics", "adbench.comparison", "adbench.broken_flow", "benchmark_adbench")
    return {name: script_module(name) for name in names}


@pytest.fixture(scope="module")
def study(scripts):
    return scripts["adbench_study"]


@pytest.fixture(scope="module")
def statistics(scripts):
    return scripts["adbench.statistics"]


@pytest.fixture
def runs(scripts, tmp_path):
    """Writes the results of runs; options of the study that name them."""
    kind: Any = scripts["benchmark_adbench"].Result

    def result(name, detector, protocol, rate, seed, area):
        # The two seeds lie as far above the figure as below it.
        area += 0.01 * (1 - 2 * seed)
        areas = {"roc_auc": area, "pr_auc": area - 0.1, "f1": area - 0.2}
        return kind(name, detector, protocol, rate, seed, fit_seconds=1.0 + seed, score_seconds=0.5, **areas)

    def write(protocol, change=lambda results: results):
        rates = (0.0, 0.1) if protocol == "contaminated" else (0.0,)
        results = [
            result(name, detector, protocol, rate, seed, area - rate)
            for detector, areas in RUN.items()
            for name, area in zip(SETS, areas, strict=True)
            for rate in rates
            for seed in (0, 1)
        ]
        file = tmp_path / protocol / "results.csv"
        file.parent.mkdir(exist_ok=True)
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([kind._fields, *change(results)])

    for protocol in ("dte", "random"):
        write(protocol)
    with (tmp_path / "published.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["dataset", "method", "roc_auc", "pr_auc", "f1"])
        for method, areas in PUBLISHED.items():
            writer.writerows([name, method, area, area - 10, area - 20] for name, area in zip(SETS, areas, strict=True))
    options = ["--dte", tmp_path / "dte", "--random", tmp_path / "random", "--published", tmp_path / "published.csv"]
    return write, [str(option) for option in (*options, "--out", tmp_path / "out")]


def test_tables_and_figures_of_known_ranks(study, runs, tmp_path, capsys):
    write, options = runs
    short = "InputError: too few anomalies"
    write(
        "contaminated",
        lambda results: [
            result._replace(error=short) if result.dataset == "wine" and result.contamination else result
            for result in results
        ],
    )
    study.main([*options, "--contaminated", str(tmp_path / "contaminated"), "--flow-sets", ""])
    printed = capsys.readouterr()
    assert "no --flow-sets" in printed.err
    assert "Means, published division, 5 sets" in printed.out
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "2 seeds under the published division, 2 under random halves" in page
    assert "PlanarFlow on annthyroid, PlanarFlow on cardio) are scores that are the same for all rows" in page
    # kNN of the run is the published one, so there are four methods to rank: flow 1, 1, 1, 1, 2.
    assert "Mean ranks of 4 methods, published division, 5 sets" in page
    assert "| jaxflow: committee (default) | 1.20 | 1.20 | 1.20 |" in page
    assert "| jaxflow: Gaussian | 1.80 | 1.80 | 1.80 |" in page
    assert "| kNN | 3.00 |" in page
    assert "| PlanarFlow | 4.00 |" in page
    # q = 2.569 for four methods (Demšar 2006, table 5a), times the root of 4 * 5 / (6 * 5).
    assert "| Nemenyi critical difference at 0.05 | 2.10 |" in page
    assert "| kNN (PyOD) | run here | 54.00 [" in page
    assert "| +23.00 [+1" in page
    # All of five differences in one direction, 2 / 2^5, times the three methods.
    assert "| kNN | 5 / 0 | 0.062 | 0.19 |" in page
    assert "| jaxflow: Gaussian | 4 / 1 |" in page
    assert "| mean | 77.00 | 72.00 | 54.60 | 44.10 |" in page
    assert "| jaxflow: Gaussian | 1.5 | 0.5 | 1.5 | 0.5 |" in page
    assert "| jaxflow: committee (default) | 83.75 | 73.75 | 73.75 | 63.75 |" in page
    assert f"| contaminated | wine | flow at 10%, seed 0: {short} |" in page
    with (tmp_path / "out" / "by_set.csv").open(newline="") as file:
        cells = {(row["division"], row["dataset"], row["method"]): row for row in csv.DictReader(file)}
    assert len(cells) == 5 * (5 + 3)
    assert float(cells["random", "wine", "knn"]["roc_auc"]) == pytest.approx(100 * RUN["knn"][SETS.index("wine")])
    for name in ("means", "critical_difference", "contamination"):
        assert f"({name}.png)" in page
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000


def test_tables_are_over_what_all_detectors_did(study, runs, tmp_path):
    write, options = runs

    def change(results):
        done = [result for result in results if (result.dataset, result.detector) != ("cardio", "knn")]
        done = [result for result in done if (result.dataset, result.detector, result.seed) != ("wine", "flow", 1)]
        return [result._replace(error="a, b") if result.dataset == "breastw" else result for result in done]

    write("dte", change)
    file = tmp_path / "published.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith("thyroid,kNN")))
    study.main([*options, "--flow-sets="])
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "Means, published division, 2 sets" in page
    assert "1 to 2 seeds under the published division, 2 under random halves" in page
    assert "| published | cardio | no result of knn yet |" in page
    assert "| published | breastw | flow, seed 0: a, b |" in page
    assert "| published | thyroid | kNN: no published figures |" in page
    assert "| wine | 51.00 | 61.00 |" in page


def test_means_without_copies_are_over_sets_that_have_other_rows_of_both_kinds(study, runs, tmp_path):
    write, options = runs

    def change(results):
        known = [
            result._replace(roc_auc_new=result.roc_auc - 0.3, pr_auc_new=result.pr_auc - 0.3) for result in results
        ]
        none = {"roc_auc_new": None, "pr_auc_new": None}
        return [one._replace(**none) if (one.dataset, one.seed) == ("wine", 1) else one for one in known]

    write("dte", change)
    study.main([*options, "--flow-sets="])
    page = (tmp_path / "out" / "summary.md").read_text()
    table = page.split("Means, published division, without test rows that equal a training row, 4 sets")[1]
    table = table.split("##")[0].splitlines()
    assert table[2] == "| method | figures | ROC-AUC | default minus it, ROC-AUC | PR-AUC | default minus it, PR-AUC |"
    # Those of RUN without the set wine, less 30.
    assert table[4].startswith("| jaxflow: committee (default) | jaxflow | 53.75 [")
    assert "| kNN (PyOD) | run here | 27.50 [" in table[6]
    why = "with some seed all normal test rows, or all anomalies, are copies of training rows"
    assert f"| published division, without copies | wine | {why} |" in page
    assert "Means, random halves, without" not in page


def test_some_of_the_detectors(study, runs, tmp_path):
    _, options = runs
    study.main([*options, "--flow-sets=", "--detectors", "flow,gaussian"])
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "| jaxflow: Gaussian |" in page
    assert "(PyOD)" not in page
    with pytest.raises(InputError, match="--detectors gaussian: expected flow among them"):
        study.main([*options, "--flow-sets=", "--detectors", "gaussian"])
    with pytest.raises(InputError, match=r"--detectors lof: .*dte/results\.csv has no results of it"):
        study.main([*options, "--flow-sets=", "--detectors", "flow,lof"])


@pytest.mark.parametrize("sets", [1, 3])
def test_a_run_that_has_only_begun(study, runs, tmp_path, sets):
    write, options = runs
    for protocol in ("dte", "random"):
        write(
            protocol,
            lambda results: [
                result for result in results if result.dataset in SETS[:sets] and result.detector != "gaussian"
            ],
        )
    study.main([*options, "--flow-sets="])
    page = (tmp_path / "out" / "summary.md").read_text()
    # Of two methods, which are all of the other run, or of one set there is nothing to test.
    assert page.count("| Friedman test, p | - | - | - |") == (2 if sets == 1 else 1)
    assert ("critical_difference.png" in page) == (sets == 3)
    assert (tmp_path / "out" / "means.png").is_file()


def test_published_figures_in_the_repository(study, scripts):
    published = scripts["adbench.comparison"].read_published(study.PUBLISHED_FILE)
    assert len(published) == 26
    development = DEVELOPMENT_SETS
    assert all(len(cells) == 47 and set(development) <= set(cells) for cells in published.values())
    # The means that the tables' authors' best method and kNN have on these sets.
    for method, areas in (("DTE-NP", (86.7, 65.2, 61.0)), ("kNN", (86.6, 64.9, 60.1))):
        cells = [list(published[method][name].values()) for name in development]
        np.testing.assert_allclose(np.mean(cells, axis=0), areas, atol=0.05)


def test_critical_differences_of_the_textbook(statistics):
    """Demšar 2006, table 5a, and the example of section 3.2.2."""
    known = {2: 1.960, 3: 2.343, 5: 2.728, 10: 3.164}
    for methods, quantile in known.items():
        assert statistics.nemenyi_quantile(methods) == pytest.approx(quantile, abs=1e-3)
    assert statistics.critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)
    assert statistics.critical_difference(5, 30) == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 30)), abs=1e-3)


def test_ranks_and_what_is_joined(statistics):
    values = np.array([[90.0, 80, 70], [60, 60, 50], [10, 20, 30]])
    np.testing.assert_array_equal(statistics.ranks(values), [[1, 2, 3], [1.5, 1.5, 3], [3, 2, 1]])
    assert statistics.cliques(np.array([1.0, 1.5, 2.2, 4.0, 2.4]), 1.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert statistics.cliques(np.array([3.0, 1.0]), 1.0) == []
    # Three sets that agree on three methods: a chi-square of 6 with 2 degrees of freedom.
    assert statistics.friedman(np.tile([3.0, 2, 1], (3, 1))) == pytest.approx(np.exp(-3))
    assert statistics.friedman(values[:, :2]) is None
    assert statistics.friedman(np.ones((4, 3))) is None


def test_tests_and_their_correction(statistics):
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.5]) == [1, 1]
    assert statistics.holm([]) == []
    # All of six differences in one direction: two of 2^6 signs are as extreme.
    assert statistics.signed_rank(np.arange(1.0, 7)) == pytest.approx(2 / 64)
    assert statistics.signed_rank(np.zeros(6)) == 1
    assert statistics.signed_rank(np.array([1.0, -2, 3, -4, 5, 0])) > 0.5


def test_intervals_cover_and_are_paired(statistics):
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        low, high = statistics.interval(statistics.resampled_means(rng.normal(3.0, 1, (40, 1)), 500, seed))
        covered += int(low[0] <= 3 <= high[0])
    assert 180 <= covered <= 198
    sets = rng.normal(50, 20, 30)
    means = statistics.resampled_means(np.stack([sets + 1, sets], axis=1))
    assert means.shape == (10_000, 2)
    np.testing.assert_allclose(statistics.interval(means[:, 0] - means[:, 1]), 1.0)
    assert np.ptp(statistics.interval(means[:, 0])) > 5
    np.testing.assert_array_equal(means, statistics.resampled_means(np.stack([sets + 1, sets], axis=1)))


def test_the_published_score_is_the_log_determinant(scripts):
    flows = scripts["adbench.broken_flow"]
    rng = np.random.default_rng(0)
    base, log_det = rng.normal(size=2500), rng.normal(size=2500)
    broken, right = flows.broken_score(base, log_det), flows.right_score(base, log_det)
    np.testing.assert_allclose(broken, -(base + log_det[:, None]).mean(axis=1))
    np.testing.assert_allclose(right, -base - log_det)
    correlation: Any = spearmanr
    assert correlation(broken, -log_det).statistic == pytest.approx(1)
    assert correlation(right, -log_det).statistic < 0.9


def test_one_fit_is_scored_in_both_ways(scripts, study, runs, tmp_path, monkeypatch):
    flows = scripts["adbench.broken_flow"]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(1100, 2)) * [1, 2], rng.normal(size=(100, 2)) * 5 + 4])
    dataset = Dataset("adbench/wine", x, np.repeat([0, 1], [1100, 100]), ("a", "b"))
    few = flows.PUBLISHED_FIT.model_copy(update={"epochs": 3})
    monkeypatch.setattr(study, "load_adbench", lambda name: dataset)
    monkeypatch.setattr(study, "demonstrate", lambda dataset, seed: flows.demonstrate(dataset, seed, few))
    divide, asked = flows.benchmark_split, []
    monkeypatch.setattr(flows, "benchmark_split", lambda *how: asked.append(how[1:]) or divide(*how))
    found = study.flow_scores(["wine"], 1)
    assert asked == [("dte", 0)]
    assert found[0].dataset == "wine"
    assert found[0].correlation == pytest.approx(1, abs=1e-4)
    assert found[0].roc_auc > 90
    assert abs(found[0].roc_auc - found[0].broken_roc_auc) > 1
    monkeypatch.setattr(study, "flow_scores", lambda names, seeds: found)
    study.main(runs[1])
    page = (tmp_path / "out" / "summary.md").read_text()
    assert f"| wine | 1.0000 | 30.00 | {found[0].broken_roc_auc:.2f} | {found[0].roc_auc:.2f} | 20.00 |" in page
    assert "was scored by -log|det J| alone" in page


def test_what_is_missing_is_refused(study, runs, tmp_path):
    write, options = runs
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--random .*empty: there is no .*empty/results.csv, expected what"):
        study.main([*options, "--random", str(tmp_path / "empty")])
    with pytest.raises(InputError, match=r"--dte .*random: .*results.csv has no results of protocol dte"):
        study.main([*options, "--dte", str(tmp_path / "random")])
    with pytest.raises(InputError, match="--flow-sets beer: expected some of"):
        study.main([*options, "--flow-sets", "wine,beer"])
    with pytest.raises(InputError, match="--flow-seeds 0: expected at least 1"):
        study.main([*options, "--flow-seeds", "0"])
    write("random", lambda results: [result for result in results if result.detector != "flow"])
    with pytest.raises(InputError, match=r"results\.csv has no results of the detector flow"):
        study.main([*options, "--flow-sets="])
    write("random", lambda results: [result._replace(error="E: e") for result in results])
    with pytest.raises(InputError, match=r"--random .*: there is no set that all detectors did: annthyroid: flow, "):
        study.main([*options, "--flow-sets="])
    write("random", lambda results: [result._replace(detector="magic") for result in results])
    with pytest.raises(InputError, match=r"results\.csv has results of magic, expected"):
        study.main([*options, "--flow-sets="])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("a,b\n1,2\n", "expected the columns dataset, method, roc_auc, pr_auc, f1"),
        ("dataset,method,roc_auc,pr_auc,f1\nwine,kNN,1,2,many\n", "line 2: could not convert string to float: 'many'"),
        ("dataset,method,roc_auc,pr_auc,f1\nwine,kNN,1\n", "line 2: "),
        ("dataset,method,roc_auc,pr_auc,f1\nwine,kNN\udcff,1,2,3\n", "can't decode byte 0xff"),
    ],
)
def test_published_tables_that_are_none(study, runs, tmp_path, text, message):
    file = tmp_path / "published.csv"
    file.unlink()
    if text is not None:
        file.write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=rf"--published .*published\.csv.*{message}"):
        study.main([*runs[1], "--flow-sets="])
