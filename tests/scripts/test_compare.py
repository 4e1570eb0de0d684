import csv

import numpy as np
import pytest
import yaml

from jaxflow.commands import compare
from jaxflow.errors import InputError

GAUSSIAN = {"data": {"name": "breast_cancer"}, "model": {"kind": "gaussian"}, "seed": 3}


def config(folder, name, **changes):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**GAUSSIAN, **changes}))
    return str(path)


def test_detectors_are_put_side_by_side_on_the_same_rows(tmp_path, capsys):
    full = config(tmp_path, "full")
    diagonal = config(tmp_path, "diagonal", model={"kind": "gaussian", "covariance": "diagonal"})
    compare.main([full, diagonal, "--out", str(tmp_path / "out"), "--title", "Tumours"])
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = {row["detector"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["5-NN distance", "5-NN distance, all rows", "isolation forest", "full", "diagonal"]
    assert all(0.5 < float(row["roc_auc"]) <= 1 for row in rows.values())
    assert rows["full"]["roc_auc"] != rows["diagonal"]["roc_auc"]
    page = (tmp_path / "out" / "summary.md").read_text()
    assert page.startswith("# Tumours")
    assert "scores the rows to learn from with 5 further models, each fitted without those it scores" in page
    for picture in ("roc.png", "precision_recall.png"):
        assert picture in page
        assert (tmp_path / "out" / picture).is_file()
    assert "5-NN distance" in capsys.readouterr().out


def test_repeats_have_seeds_and_rows_of_their_own(tmp_path, capsys):
    detection = {"calibration_fraction": 0.5, "calibration_folds": 0}
    given = config(tmp_path, "full", detection=detection)
    compare.main([given, "--out", str(tmp_path / "out"), "--repeats", "3"])
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["seed"]) for row in rows] == [3] * 4 + [4] * 4 + [5] * 4
    for name in ("5-NN distance", "5-NN distance, all rows", "isolation forest", "full"):
        assert len({row["roc_auc"] for row in rows if row["detector"] == name}) == 3
    first, second = rows[:2]
    assert first["roc_auc"] != second["roc_auc"]  # learned from half as many rows
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "means over 3 seeds, 3 to 5" in page
    areas = np.array([float(row["roc_auc"]) for row in rows if row["detector"] == "full"])
    assert f"| full | {areas.mean():.4f} ± {areas.std(ddof=1):.4f} |" in page
    assert " ± " in capsys.readouterr().out
    # The first of several is what it is alone.
    compare.main([given, "--out", str(tmp_path / "alone")])
    with (tmp_path / "alone" / "results.csv").open() as file:
        alone = list(csv.DictReader(file))
    for one, other in zip(alone, rows[:4], strict=True):
        assert {name: value for name, value in one.items() if "seconds" not in name} == {
            name: value for name, value in other.items() if "seconds" not in name
        }
    with pytest.raises(InputError, match="--repeats 0: expected at least 1"):
        compare.main([given, "--repeats", "0"])


@pytest.mark.parametrize(
    ("part", "value"), [("seed", 4), ("data", {"name": "digits"}), ("split", {"test_fraction": 0.3})]
)
def test_configs_that_disagree_are_refused(tmp_path, part, value):
    with pytest.raises(InputError, match=f"other.yaml: its {part} differs"):
        compare.main(
            [config(tmp_path, "one"), config(tmp_path, "other", **{part: value}), "--out", str(tmp_path / "out")]
        )
    assert not (tmp_path / "out").exists()


def test_a_common_rule_sets_every_threshold(tmp_path, capsys):
    rule = {"kind": "percentile", "percentile": 70}
    detection = {"threshold": rule, "calibration_fraction": 0.5, "calibration_folds": 0}
    compare.main([config(tmp_path, "one", detection=detection), "--out", str(tmp_path / "out")])
    with (tmp_path / "out" / "results.csv").open() as file:
        rates = [float(row["false_positive_rate"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.3, 0.3, 0.3, 0.3], abs=0.1)
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "sets 50% of the rows to learn from aside" in page
    assert "the rule percentile (percentile = 70.0) takes its threshold" in page


def test_rules_that_differ_or_see_labels_are_refused(tmp_path):
    one = config(tmp_path, "one")
    for name, detection, message in [
        ("rate", {"threshold": {"kind": "target_fpr", "rate": 0.2}}, "its detection.threshold differs from that of"),
        ("share", {"calibration_fraction": 0.5}, "its detection.calibration_fraction differs from that of"),
        ("folds", {"calibration_folds": 3}, "its detection.calibration_folds differs from that of"),
        (
            "f1",
            {"threshold": {"kind": "best_f1"}},
            "threshold.kind = 'best_f1': expected one such as percentile",
        ),
    ]:
        other = config(tmp_path, name, detection=detection)
        with pytest.raises(InputError, match=f"{name}.yaml: .*{message}"):
            compare.main([one, other, "--out", str(tmp_path / "out")])


def test_two_configs_of_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="there is a config named one already"):
        compare.main([config(tmp_path, "one"), config(tmp_path / "other", "one"), "--out", str(tmp_path / "out")])


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="out is a file, expected a directory"):
        compare.main([config(tmp_path, "one"), "--out", str(tmp_path / "out")])


def test_peers_see_columns_as_the_configs_do_if_these_agree(tmp_path):
    def areas(out, *tails):
        configs = [config(tmp_path, f"{out}{i}", columns={"tails": tail}) for i, tail in enumerate(tails)]
        compare.main([*configs, "--out", str(tmp_path / out)])
        with (tmp_path / out / "results.csv").open() as file:
            return [float(row["roc_auc"]) for row in csv.DictReader(file)][:2]

    plain, ranked = areas("plain", "none"), areas("ranked", "rank_gaussian")
    assert plain != ranked
    assert areas("both", "rank_gaussian", "rank_gaussian") == ranked
    assert areas("mixed", "rank_gaussian", "none") == plain
