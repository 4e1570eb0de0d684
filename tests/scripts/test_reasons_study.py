import csv

import numpy as np
import pytest

from jaxflow.errors import InputError
from scripts import reasons_study


def write_machine(folder, number):
    """Three metrics that go together and one that does not, which twice are moved apart."""
    rng = np.random.default_rng(number)
    common = rng.normal(size=(400, 1))
    rows = np.concatenate([common + 0.2 * rng.normal(size=(400, 3)), rng.normal(size=(400, 1))], axis=1)
    train, test, labels = rows[:300], rows[300:], np.zeros(100, np.uint8)
    for start, stop, metrics in ((10, 20, [1]), (50, 54, [0, 3])):
        test[start:stop, metrics] += 6
        labels[start:stop] = 1
    np.savez(folder / f"omi-{number}.npz", train=train, test=test, test_label=labels)
    (folder / f"omi-{number}_interpretation.txt").write_text("10-19:2\n50-53:1,4")


@pytest.mark.end_to_end
def test_what_was_moved_is_named(tmp_path, capsys):
    for number in (1, 2):
        write_machine(tmp_path, number)
    out = tmp_path / "out"
    reasons_study.main(["--machines", "1", "2", "--epochs", "1", "--data", str(tmp_path), "--out", str(out)])
    with (out / "reasons.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 2 * 2
    alone = [line for line in lines if line["reasons_from"].startswith("each metric alone")]
    assert [(line["machine"], line["first_row"], line["last_row"], line["metrics"]) for line in alone] == [
        (machine, *place) for machine in ("asd/omi-1", "asd/omi-2") for place in (("10", "19", "1"), ("50", "53", "2"))
    ]
    assert all(line["calibrated_hit_rate_100"] == "1.0" for line in alone)
    random = [line["calibrated_hit_rate_100"] for line in lines if line["reasons_from"] == "random order"]
    assert random == ["0.25", "0.5"] * 2
    page = (out / "summary.md").read_text()
    assert "2 machines, 4 anomalies of 28 rows" in page
    assert (out / "hit_rate.png").is_file()
    assert f"summary: {out / 'summary.md'}" in capsys.readouterr().out


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(InputError, match="--epochs 0: expected at least 1"):
        reasons_study.main(["--epochs", "0", "--data", str(tmp_path)])
    with pytest.raises(InputError, match=r"omi-3.npz is missing"):
        reasons_study.main(["--machines", "3", "--data", str(tmp_path)])
