"""The configs that come with the project."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from jaxflow.commands import train
from jaxflow.config.spec import parse_spec
from jaxflow.config.yaml_file import read_config
from jaxflow.data import load_dataset
from jaxflow.experiment.run import run_experiment
from jaxflow.experiment.spec import Experiment

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def experiment(name: str) -> Experiment:
    path = CONFIGS / f"{name}.yaml"
    return parse_spec(Experiment, read_config(path), str(path))


def test_the_configs_that_are_promised_are_there():
    promised = "quickstart gaussian_lesson fraud_autoencoder fraud_gaussian fraud_maf thyroid_maf two_moons_realnvp"
    assert set(promised.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_and_variant_is_an_experiment(name):
    made = experiment(name)
    assert made.detector().get_params()["random_state"] == made.seed
    for variant in made.variants:
        assert made.variant(variant, name) != made


def test_the_gaussian_lesson_reports_every_variant_with_its_figure(tmp_path, capsys):
    train.main(["--config", str(CONFIGS / "gaussian_lesson.yaml"), "--out", str(tmp_path), "--quiet"])
    report = (tmp_path / "report.md").read_text()
    for folder in (".", "subtle", "diagonal", "diagonal_subtle"):
        metrics = json.loads((tmp_path / folder / "metrics.json").read_text())
        assert metrics["n_train"] == metrics["n_test"] == 210
        assert metrics["n_anomalies"] == 10
        assert (tmp_path / folder / "figures" / "density.png").is_file()
        picture = "figures/density.png" if folder == "." else f"{folder}/figures/density.png"
        assert f"({picture})" in report
        row = next(
            line for line in report.splitlines() if line.startswith(f"| {'(main)' if folder == '.' else folder} |")
        )
        for value in (metrics["precision"], metrics["recall"]):
            assert f"{value:.4f}" in row
    # What lies nearer is harder to find.
    plain, subtle = (json.loads((tmp_path / f / "metrics.json").read_text()) for f in (".", "subtle"))
    assert subtle["roc_auc"] < plain["roc_auc"]
    assert "Variants side by side" in capsys.readouterr().out


@pytest.mark.parametrize("variant", [None, "subtle", "diagonal", "diagonal_subtle"])
def test_the_gaussian_lesson_is_the_closed_form(variant):
    made = (
        experiment("gaussian_lesson") if variant is None else experiment("gaussian_lesson").variant(variant, "lesson")
    )
    with jax.enable_x64(True):
        run = run_experiment(made)
        log_density = run.detector.score_samples(run.x)
    x = load_dataset(made.data, seed=made.seed).x
    np.testing.assert_array_equal(run.x, x)
    covariance = np.cov(x.T, bias=True)
    if variant is not None and variant.startswith("diagonal"):
        covariance = np.diag(np.diag(covariance))
    expected = stats.multivariate_normal(x.mean(axis=0), covariance).logpdf(x)
    np.testing.assert_allclose(log_density, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(log_density, expected, rtol=1e-10)
    assert np.sum(run.scores > run.detector.threshold_) == pytest.approx(0.05 * 210, abs=1)


def test_the_quickstart_finds_malignant_tumours():
    run = run_experiment(experiment("quickstart"))
    assert run.metrics is not None
    assert run.metrics.roc_auc is not None
    assert run.metrics.roc_auc >= 0.97
