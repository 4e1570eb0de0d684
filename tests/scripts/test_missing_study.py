import pytest

from jaxflow.errors import InputError
from tests.scripts.script_modules import script_module


@pytest.fixture(scope="module")
def study():
    return script_module("missing_study")


def test_shares_flagged_are_those_of_the_formula(study, monkeypatch, tmp_path, capsys):
    original = study.make_detector
    monkeypatch.setattr(study, "make_detector", lambda model, epochs: original("Gaussian", epochs))
    monkeypatch.setattr(study, "CASES", study.CASES[:1])
    study.main(["--rows", "2000", "--test-rows", "1000", "--out", str(tmp_path)])
    lines = [line.split(" | ") for line in (tmp_path / "summary.md").read_text().splitlines() if "2,000 normal" in line]
    assert [int(cells[3]) for cells in lines] == [0, 2, 5, 10, 15, 18, 19]
    for cells in lines:
        flagged, exact = (float(cells[column].strip(" %\\")) for column in (4, 5))
        assert flagged == pytest.approx(exact, abs=2.5)
        assert abs(float(cells[6].strip(" |"))) < 0.5
    assert "missing_study.py" in (tmp_path / "summary.md").read_text()
    assert "summary.md" in capsys.readouterr().out


def test_too_few_rows_are_refused(study, tmp_path):
    with pytest.raises(InputError, match="--test-rows 3: expected at least 40"):
        study.main(["--test-rows", "3", "--out", str(tmp_path)])
