import csv

import pytest
import yaml

from jaxflow.errors import InputError
from scripts import compare

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
    assert list(rows) == ["5-NN distance", "full", "diagonal"]
    assert all(0.5 < float(row["roc_auc"]) <= 1 for row in rows.values())
    assert rows["full"]["roc_auc"] != rows["diagonal"]["roc_auc"]
    page = (tmp_path / "out" / "summary.md").read_text()
    assert page.startswith("# Tumours")
    for picture in ("roc.png", "precision_recall.png"):
        assert picture in page
        assert (tmp_path / "out" / picture).is_file()
    assert "5-NN distance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "value"), [("seed", 4), ("data", {"name": "digits"}), ("split", {"test_fraction": 0.3})]
)
def test_configs_that_disagree_are_refused(tmp_path, part, value):
    with pytest.raises(InputError, match=f"other.yaml: its {part} differs"):
        compare.main(
            [config(tmp_path, "one"), config(tmp_path, "other", **{part: value}), "--out", str(tmp_path / "out")]
        )
    assert not (tmp_path / "out").exists()
