"""Folders of results: only what a run wrote is replaced or removed."""

import hashlib
import json
from pathlib import Path

import pytest

from jaxflow.data import DataSpec
from jaxflow.errors import InputError
from jaxflow.experiment.earlier_results import Results, files_there, made_of, require_own_results, weights_of

RINGS, WINE = (made_of("train.py", DataSpec(name=name), "maf") for name in ("rings", "wine"))
FIRST = {
    "metrics.json": "1",
    "report.md": "1",
    "history.csv": "epoch,train_loss,valid_loss,\n",
    "model/detector.json": "1",
    "model/weights.safetensors": "1",
    "figures/loss.png": "1",
    "tensorboard/events.out.tfevents.1": "1",
    "profile/plugins/profile/1/a.pb": "1",
}
SECOND = {
    "metrics.json": "2",
    "report.md": "2",
    "history.csv": "epoch,train_loss,valid_loss,\n",
    "model/detector.json": "2",
    "model/weights.safetensors": "2",
}


def plant(folder, contents):
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)


def results(folder, contents, results_of=RINGS, variants=()):
    """What a run does."""
    kept = Results(folder, files_there(folder), {"seed": 0}, results_of, variants)
    kept.begin()
    plant(folder, contents)
    kept.end()


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_an_earlier_run_alone_wrote_goes(tmp_path):
    results(tmp_path, FIRST)
    require_own_results(tmp_path, RINGS)
    results(tmp_path, SECOND)
    assert files(tmp_path) == {*SECOND, "provenance.json"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["model"]
    about = json.loads((tmp_path / "provenance.json").read_text())
    assert about["files"] == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in SECOND.items()}
    assert about["seed"] == 0


@pytest.mark.parametrize("mine", ["notes.txt", "figures/mine.png", "figures/loss.png", "tensorboard/mine", "mine/a"])
def test_what_the_user_keeps_or_changed_there_stays(tmp_path, mine):
    results(tmp_path, FIRST)
    plant(tmp_path, {mine: "mine"})
    results(tmp_path, SECOND)
    assert files(tmp_path) == {*SECOND, "provenance.json", mine}
    assert (tmp_path / mine).read_text() == "mine"


def test_names_that_lead_elsewhere_are_not_followed(tmp_path):
    out = tmp_path / "out"
    results(out, FIRST)
    plant(tmp_path, {"mine": "mine"})
    (out / "linked").symlink_to(tmp_path)
    about = json.loads((out / "provenance.json").read_text())
    checksum = hashlib.sha256(b"mine").hexdigest()
    about["files"] = dict.fromkeys(("../mine", str(tmp_path / "mine"), "", "linked/mine"), checksum)
    about["variants"] = ["..", "linked", 3]
    (out / "provenance.json").write_text(json.dumps(about))
    results(out, SECOND)
    assert (tmp_path / "mine").is_file()


def test_judgements_of_a_model_that_is_no_more_go(tmp_path):
    results(tmp_path, FIRST)
    judged = made_of("evaluate.py", DataSpec(name="rings"), "maf")
    results(tmp_path / "evaluation", {"metrics.json": "1"}, judged | {"weights": weights_of(tmp_path / "model")})
    results(tmp_path / "another", {"metrics.json": "1"}, judged | {"weights": "of another model"})
    plant(tmp_path, {"evaluation/notes.txt": "mine"})
    results(tmp_path, SECOND)
    mine = {"evaluation/notes.txt", "another/metrics.json", "another/provenance.json"}
    assert files(tmp_path) == {*SECOND, "provenance.json"} | mine


def test_variants_that_the_run_does_not_have_go(tmp_path):
    for name in ("deep", "wide", "independent"):
        results(tmp_path / name, FIRST)
    results(tmp_path, FIRST, variants=("deep", "wide"))
    results(tmp_path, SECOND, variants=("wide",))
    assert not (tmp_path / "deep").exists()
    assert files(tmp_path / "wide") == files(tmp_path / "independent") == {*FIRST, "provenance.json"}


def test_results_of_others_are_not_replaced_unasked(tmp_path):
    require_own_results(tmp_path / "new", RINGS)
    results(tmp_path, FIRST)
    require_own_results(tmp_path, RINGS)
    for other, said in (
        (WINE, r"train.py on wine \(maf\)"),
        (RINGS | {"model": "nsf"}, r"train.py on rings \(nsf\)"),
        (RINGS | {"by": "evaluate.py"}, r"evaluate.py on rings \(maf\)"),
        (RINGS | {"place": "elsewhere"}, "another file of that name"),
    ):
        with pytest.raises(
            InputError, match=rf"holds results of train.py on rings \(maf\), expected none or those of {said}"
        ):
            require_own_results(tmp_path, other)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    one, two = (made_of("train.py", DataSpec(path=tmp_path / name / "a.csv"), "maf") for name in ("one", "two"))
    assert one["data"] == two["data"] == "a.csv"
    assert one["place"] != two["place"]
    assert str(tmp_path) not in str(one)


@pytest.mark.parametrize("name", [*FIRST, "provenance.json", "history.jsonl", "figures/density.png"])
def test_what_no_run_wrote_is_not_replaced_unasked(tmp_path, name):
    plant(tmp_path, {name: "mine"})
    if name.startswith(("tensorboard", "profile")):  # runs add to these
        require_own_results(tmp_path, RINGS)
        return
    with pytest.raises(InputError, match=f"holds {name}, of which no provenance.json says what run it is of: give an"):
        require_own_results(tmp_path, RINGS)
    assert files(tmp_path) == {name}


def test_what_an_interrupted_run_left_is_no_hindrance(tmp_path):
    plant(tmp_path, {"history.csv": "epoch,train_loss,valid_loss,best_loss\n", "history.jsonl": '{"epoch": 1}\n'})
    require_own_results(tmp_path, RINGS)
    plant(tmp_path, {"history.csv": "", "history.jsonl": ""})
    require_own_results(tmp_path, RINGS)


@pytest.mark.parametrize("contents", ["", "[]", "{", '{"results_of": 3}', '{"files": []}', "[" * 100_000])
def test_what_is_no_account_is_taken_for_none(tmp_path, contents):
    plant(tmp_path, {"provenance.json": contents})
    with pytest.raises(InputError, match=r"holds provenance\.json"):
        require_own_results(tmp_path, RINGS)
    results(tmp_path, SECOND)
    require_own_results(tmp_path, RINGS)


def test_results_of_another_script_are_not_tidied_up(tmp_path):
    results(tmp_path, FIRST)
    results(tmp_path, {"metrics.json": "2"}, made_of("evaluate.py", DataSpec(name="wine"), "maf"))
    assert files(tmp_path) == {*FIRST, "provenance.json"}
    assert Path(tmp_path / "metrics.json").read_text() == "2"
