import re

import numpy as np
import pytest

from jaxflow.detection import load

SECONDS = {"fit_seconds", "score_seconds"}


def without_seconds(metrics):
    return {name: value for name, value in metrics.items() if name not in SECONDS}


@pytest.mark.end_to_end
def test_the_config_gives_the_metrics_of_its_training(script, trained, strict_json, tmp_path, capsys):
    # Training ran in a process of its own: nothing but the files connects the two.
    script("evaluate", "--model", trained.model, "--config", trained.config, "--out", tmp_path / "out")
    found, expected = strict_json(tmp_path / "out" / "metrics.json"), strict_json(trained.out / "metrics.json")
    assert without_seconds(found) == without_seconds(expected)
    assert found["fit_seconds"] is None
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    figures = {f"figures/{name}.png" for name in ("scores", "roc", "precision_recall", "confusion", "reasons")}
    assert files == figures | {"metrics.json", "report.md", "provenance.json"}
    links = re.findall(r"\]\(([^)]+)\)", (tmp_path / "out" / "report.md").read_text())
    assert set(links) == figures
    out = capsys.readouterr().out
    assert "machines: FlowDetector" in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'out' / 'report.md'}"


@pytest.mark.parametrize(
    "sections",
    [
        "detection: {threshold: {kind: best_f1}, labelled_fraction: 0.5}",
        "split: {protocol: unsupervised}",
        "split: {test_fraction: 0.25}\nseed: 4",
    ],
)
def test_other_protocols_give_the_metrics_of_their_training_too(script, strict_json, tmp_path, sections):
    config, out = tmp_path / "rings.yaml", tmp_path / "out"
    config.write_text("data: {name: rings, size: 200}\nmodel: {kind: gaussian}\n" + sections)
    script("train", "--config", config, "--out", out)
    script("evaluate", "--model", out / "model", "--config", config)
    found, expected = strict_json(out / "evaluation" / "metrics.json"), strict_json(out / "metrics.json")
    assert without_seconds(found) == without_seconds(expected)


def test_any_labelled_file_will_do(script, gaussian, machines, strict_json, tmp_path):
    x = machines(tmp_path / "new.csv", seed=7, normal=30, anomalies=6)
    script("evaluate", "--model", gaussian, "--data.path", tmp_path / "new.csv")
    # Beside the model unless told otherwise.
    metrics = strict_json(tmp_path / "evaluation" / "metrics.json")
    detector = load(gaussian)
    flagged = detector.predict(x) == -1
    assert (metrics["n_train"], metrics["n_test"], metrics["n_anomalies"]) == (200, 36, 6)
    assert metrics["recall"] == flagged[30:].mean()
    assert metrics["false_positive_rate"] == flagged[:30].mean()
    assert metrics["threshold"] == detector.threshold_


def test_columns_are_found_by_name(script, gaussian, machines, strict_json, tmp_path):
    x = machines(tmp_path / "new.csv", seed=7)
    script("evaluate", "--model", gaussian, "--data.path", tmp_path / "new.csv", "--out", tmp_path / "one")
    lines = ["heat,more,broken,weight,speed"]
    lines += [f"{c!r},1.5,{int(i >= 50)},{b!r},{a!r}" for i, (a, b, c) in enumerate(x.tolist())]
    (tmp_path / "other.csv").write_text("\n".join(lines))
    options = ["--data.path", tmp_path / "other.csv", "--data.label", "broken", "--out", tmp_path / "two"]
    script("evaluate", "--model", gaussian, *options)
    one, two = (strict_json(tmp_path / name / "metrics.json") for name in ("one", "two"))
    assert without_seconds(one) == without_seconds(two)


def test_columns_that_the_detector_does_not_use_may_hold_anything(script, gaussian, machines, strict_json, tmp_path):
    x = machines(tmp_path / "new.csv", seed=7)
    script("evaluate", "--model", gaussian, "--data.path", tmp_path / "new.csv", "--out", tmp_path / "one")
    others = {"note": "broken, perhaps", "day": "2024-01-01", "gap": "", "far": "inf"}
    lines = [",".join([*others, "heat", "label", "weight", "speed"])]
    cells = ",".join(f'"{cell}"' for cell in others.values())
    lines += [f"{cells},{c!r},{int(i >= 50)},{b!r},{a!r}" for i, (a, b, c) in enumerate(x.tolist())]
    (tmp_path / "other.csv").write_text("\n".join(lines))
    config = tmp_path / "a.yaml"
    config.write_text(f"data: {{path: {tmp_path / 'other.csv'}}}\nmodel: {{kind: gaussian}}\n")
    script("evaluate", "--model", gaussian, "--data.path", tmp_path / "other.csv", "--out", tmp_path / "two")
    one, two = (strict_json(tmp_path / name / "metrics.json") for name in ("one", "two"))
    assert without_seconds(one) == without_seconds(two)
    script("evaluate", "--model", gaussian, "--config", config, "--out", tmp_path / "three")
    answers = tmp_path / "answers.csv"
    script("score", "--model", gaussian, "--input", tmp_path / "other.csv", "--output", answers)
    assert len(answers.read_text().splitlines()) == len(lines)


def test_a_split_can_be_asked_for(script, gaussian, machines, strict_json, tmp_path):
    machines(tmp_path / "new.csv", seed=7, normal=40, anomalies=5)
    options = ["--data.path", tmp_path / "new.csv", "--split.test_fraction", "0.25", "--out", tmp_path / "out"]
    script("evaluate", "--model", gaussian, *options)
    assert strict_json(tmp_path / "out" / "metrics.json")["n_test"] == 15
    assert strict_json(tmp_path / "out" / "provenance.json")["seed"] == 0


def test_options_change_the_data_of_the_config(script, gaussian, machines, strict_json, tmp_path):
    machines(tmp_path / "a.csv", seed=7, normal=40)
    machines(tmp_path / "b.csv", seed=8, normal=60)
    config = tmp_path / "a.yaml"
    # The model and the rest of the config have no part in it.
    config.write_text(f"data: {{path: {tmp_path / 'a.csv'}}}\nmodel: {{kind: realnvp}}\n")
    options = ["--data.path", tmp_path / "b.csv", "--split.test_fraction", "0.9", "--out", tmp_path / "out"]
    script("evaluate", "--model", gaussian, "--config", config, *options)
    assert strict_json(tmp_path / "out" / "metrics.json")["n_test"] == 54 + 5


def test_one_class_alone_is_judged_as_far_as_it_goes(script, gaussian, machines, strict_json, tmp_path):
    machines(tmp_path / "new.csv", normal=20, anomalies=0)
    script("evaluate", "--model", gaussian, "--data.path", tmp_path / "new.csv")
    metrics = strict_json(tmp_path / "evaluation" / "metrics.json")
    assert metrics["roc_auc"] is None
    assert np.isfinite(metrics["false_positive_rate"])
