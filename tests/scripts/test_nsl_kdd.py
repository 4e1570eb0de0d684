"""The scripts on a split that the source of the data has made, with texts and kinds of attacks."""

import csv
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from jaxflow.data.sets import nsl_kdd

CONFIG = "data: {name: nsl_kdd}\nsplit: {protocol: published}\ncolumns: {tails: arcsinh}\nmodel: {kind: gaussian}\n"


def connections(seed: int, normal: int, attacks: dict[str, int]) -> str:
    """Lines of a file; attacks have higher counts, and ftp_write a service of its own."""
    rng = np.random.default_rng(seed)
    lines = []
    for attack in ["normal"] * normal + [name for name, count in attacks.items() for _ in range(count)]:
        service = "tftp_u" if attack == "ftp_write" else str(rng.choice(["http", "smtp"]))
        numbers = rng.normal(size=38).round(3) + (6 if attack == "neptune" else 0)
        lines.append(",".join(["0", "tcp", service, "SF", *map(str, numbers[:37]), attack, "21"]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXFLOW_DATA", str(tmp_path))
    (tmp_path / "nsl_kdd").mkdir()
    texts = [connections(0, 300, {"smurf": 20}), connections(1, 80, {"neptune": 12, "ftp_write": 4})]
    for file, text in zip(nsl_kdd.CONTENT_SHA256, texts, strict=True):
        (tmp_path / "nsl_kdd" / file).write_bytes(gzip.compress(text.encode()))
        monkeypatch.setitem(nsl_kdd.CONTENT_SHA256, file, hashlib.sha256(text.encode()).hexdigest())
    path = tmp_path / "full.yaml"
    path.write_text(CONFIG)
    return path


def test_compare_says_which_attacks_are_found_and_why(script, config, tmp_path):
    (tmp_path / "diagonal.yaml").write_text(CONFIG.replace("gaussian}", "gaussian, covariance: diagonal}"))
    script("compare", config, tmp_path / "diagonal.yaml", "--out", tmp_path / "out")
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "nsl_kdd: 300 normal rows to learn from, 96 test rows of which 16 are anomalies" in page
    assert "The test rows are those that the source of the data sets apart." in page
    families = page.partition("flagged, by family")[2].partition("##")[0]
    assert "| DoS | 12 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 |" in families
    assert "| R2L | 4 |" in families
    assert "| ftp_write | 4 |" in page.partition("flagged, by attack")[2]
    assert "family DoS, attack neptune" in page
    assert page.count("service = tftp_u (never seen)") == 2
    assert "| full | 0.000 | 0.2500 |" in page  # rows with a value never seen, normal ones and anomalies
    assert "the median score of full." in page
    with (tmp_path / "out" / "results.csv").open() as file:
        assert [row["detector"] for row in csv.DictReader(file)] == [
            *("5-NN distance", "5-NN distance, all rows", "isolation forest"),
            *("full", "diagonal"),
        ]


def test_train_and_evaluate_judge_on_the_published_rows(script, config, strict_json, tmp_path):
    out = tmp_path / "out"
    script("train", "--config", config, "--out", out)
    options = ["--data.name", "nsl_kdd", "--split.protocol", "published"]
    script("evaluate", "--model", out / "model", *options, "--out", tmp_path / "again")
    script("evaluate", "--model", out / "model", "--config", config)
    trained, again, configured = (
        strict_json(path / "metrics.json") for path in (out, tmp_path / "again", out / "evaluation")
    )
    assert (trained["n_train"], trained["n_test"], trained["n_anomalies"]) == (300, 96, 16)
    for found in (again, configured):
        assert all(found[key] == trained[key] for key in ("n_test", "roc_auc", "recall", "false_positive_rate"))


@pytest.mark.skipif(
    not (Path(os.environ.get("JAXFLOW_DATA", "/nowhere")) / "nsl_kdd").is_dir(), reason="needs $JAXFLOW_DATA/nsl_kdd"
)
def test_a_gaussian_finds_attacks(script, strict_json, tmp_path):
    configs = Path(__file__).parents[2] / "configs"
    script("train", "--config", configs / "nsl_kdd_gaussian.yaml", "--out", tmp_path)
    metrics = strict_json(tmp_path / "metrics.json")
    assert metrics["roc_auc"] > 0.95
    assert metrics["n_test"] == 22_544
