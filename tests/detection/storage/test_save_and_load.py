import copy
import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save
from sklearn.exceptions import NotFittedError

import jaxflow
from jaxflow.atomic_write import exchanged
from jaxflow.data import MinMax
from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import (
    AutoencoderDetector,
    BestF1,
    FlowDetector,
    GaussianDetector,
    GivenThreshold,
    Percentile,
    TargetFalsePositiveRate,
    load,
)
from jaxflow.detection.storage import save_and_load as saving
from jaxflow.detection.storage.save_and_load import FORMAT_VERSION, require_free_place
from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    EnsembleSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    KernelDensitySpec,
    PrincipalComponentsSpec,
    RealNVP,
    VariationalAutoEncoderSpec,
)
from jaxflow.models.named_arrays import state_arrays
from jaxflow.models.storage import saved_folder
from jaxflow.training import FitSpec
from tests.models.small_committee import SMALL_COMMITTEE

TRAIN = FitSpec(epochs=1, batch_size=64)


def rows(seed=0, n=60):
    return np.random.default_rng(seed).normal(size=(n, 3)) * [1.0, 1e3, 1e-3]


def names_in(folder):
    """Of everything in a folder and below."""
    return sorted(path.name for path in folder.rglob("*"))


def assert_same(first, second):
    """Every fitted attribute equal, bit for bit."""
    names = {name for name in vars(first) if name.endswith("_")}
    assert names == {name for name in vars(second) if name.endswith("_")}
    for name in names - {"model_", "inputs_", "history_"}:
        one, other = getattr(first, name), getattr(second, name)
        assert type(one) is type(other), name
        np.testing.assert_array_equal(one, other)
    for one, other in (
        (state_arrays(first.model_), state_arrays(second.model_)),
        (first.preprocessing_.arrays(), second.preprocessing_.arrays()),
    ):
        assert one.keys() == other.keys()
        for name, array in one.items():
            assert array.dtype == other[name].dtype
            np.testing.assert_array_equal(array, other[name])
    assert first.preprocessing_.steps == second.preprocessing_.steps
    assert first.inputs_.encoding == second.inputs_.encoding


def test_everything_comes_back(fresh, fitted, tmp_path):
    detector, asked = fitted.detector, fitted.unseen
    detector.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert type(again) is type(detector)
    assert_same(detector, again)
    assert repr(again.history_) == repr(detector.history_)
    for method in ("anomaly_score", "score_samples", "decision_function", "predict", "p_values"):
        np.testing.assert_array_equal(getattr(again, method)(asked), getattr(detector, method)(asked))
    # A default comes back as what it stands for.
    assert again.get_params(deep=False) == detector.get_params(deep=False) | {"model": detector.model_spec_}
    # What was loaded can be fitted again, and gives the same.
    assert_same(fresh(again).fit(fitted.x), detector)
    assert names_in(tmp_path) == ["detector.json", "model", "weights.safetensors"]


@pytest.mark.parametrize(
    "detector",
    [
        FlowDetector(
            EnsembleSpec(member=MAF(layers=1, hidden=(4,)), members=3, combination="tail"),
            train=TRAIN,
            random_state=3,
            calibration_folds=0,
        ),
        FlowDetector(
            RealNVP(layers=2, hidden=(4,), normalization="act_norm", permutation="random"),
            train=TRAIN,
            random_state=3,
            calibration_folds=0,
        ),
        GaussianDetector(GaussianMixtureSpec(components=2), preprocessing=(MinMax(),)),
        GaussianDetector(GaussianSpec(covariance="ledoit_wolf"), preprocessing=(), random_state=None),
        GaussianDetector(calibration_fraction=0.0, random_state=np.random.RandomState(0)),
        GaussianDetector(calibration_folds=7),
        FlowDetector(SMALL_COMMITTEE, train=TRAIN, calibration_folds=0),
        GaussianDetector(KernelDensitySpec(rows=20)),
        AutoencoderDetector(
            VariationalAutoEncoderSpec(hidden=(4,), score="importance"), train=TRAIN, calibration_folds=0
        ),
        GaussianDetector(PrincipalComponentsSpec(variance=0.5)),
        GaussianDetector(PrincipalComponentsSpec(components=2, score="mahalanobis")),
    ],
    ids=[
        "ensemble",
        "realnvp",
        "mixture",
        "no-steps",
        "state",
        "folds",
        "committee",
        "kernel",
        "vae",
        "pca",
        "distance",
    ],
)
def test_other_models_come_back(fresh, detector, tmp_path):
    detector = fresh(detector, threshold=Percentile(percentile=90)).fit(rows())
    detector.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert_same(detector, again)
    np.testing.assert_array_equal(again.anomaly_score(rows(1)), detector.anomaly_score(rows(1)))
    seed = detector.random_state
    assert again.random_state == (seed if isinstance(seed, int) else None)


@pytest.fixture(scope="module")
def _gaussian():
    return GaussianDetector(threshold=Percentile()).fit(rows())


@pytest.fixture
def gaussian(fresh, _gaussian):
    detector = fresh(_gaussian)
    vars(detector).update(vars(_gaussian))
    return detector


@pytest.mark.parametrize("rule", [BestF1(), GivenThreshold(value=2.5), TargetFalsePositiveRate(rate=0.3)])
def test_the_threshold_is_saved_as_it_is_now(gaussian, tmp_path, rule):
    labels = (np.arange(30) > 25).astype(int)
    gaussian.calibrate(rows(2, 30), labels, rule)
    gaussian.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert_same(gaussian, again)
    assert again.threshold_rule_ == rule
    np.testing.assert_array_equal(again.calibration_labels_, labels)
    # The stored scores serve another threshold, too.
    again.set_threshold(Percentile(percentile=50))
    assert again.threshold_ == gaussian.set_threshold(Percentile(percentile=50)).threshold_


def test_an_older_format_is_refused(gaussian, tmp_path):
    gaussian.save(tmp_path / "model")
    change_description(tmp_path / "model", reseal=True, format_version=2)
    with pytest.raises(InputError, match="has format 2, this jaxflow reads format 3: fit and save it again"):
        load(tmp_path / "model")


def test_an_infinite_threshold_comes_back(gaussian, tmp_path):
    gaussian._decide(Percentile(percentile=50), np.array([np.inf, np.inf]), None)
    gaussian.save(tmp_path / "model")
    assert load(tmp_path / "model").threshold_ == np.inf


def test_names_of_columns_come_back(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 3))
    gaussian = GaussianDetector(threshold=Percentile(percentile=50)).fit(as_frame(x, ("a", "b", "größe")))
    gaussian.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.columns_ == ("a", "b", "größe")
    assert not hasattr(again, "feature_names_in_")
    gaussian.feature_names_in_ = np.array(gaussian.columns_, dtype=object)
    gaussian.save(tmp_path / "model")
    assert list(load(tmp_path / "model").feature_names_in_) == ["a", "b", "größe"]


def test_parameters_changed_after_the_fit_do_not_matter(gaussian, tmp_path):
    gaussian.set_params(model=GaussianMixtureSpec(components=3))
    gaussian.save(tmp_path / "model")
    assert load(tmp_path / "model").model == GaussianSpec()


def test_jaxflow_load_reads_detectors_too(gaussian, tmp_path):
    gaussian.save(tmp_path / "model")
    again = jaxflow.load(tmp_path / "model")
    np.testing.assert_array_equal(again.anomaly_score(rows(1)), gaussian.anomaly_score(rows(1)))


def test_an_older_save_is_replaced(gaussian, tmp_path):
    gaussian.save(tmp_path / "model")
    gaussian.set_threshold(GivenThreshold(value=1.0)).save(tmp_path / "model")
    assert load(tmp_path / "model").threshold_ == 1.0
    assert names_in(tmp_path) == ["detector.json", "model", "weights.safetensors"]


def test_an_empty_directory_and_missing_parents_are_fine(gaussian, tmp_path):
    (tmp_path / "empty").mkdir()
    gaussian.save(tmp_path / "empty")
    gaussian.save(str(tmp_path / "a" / "b" / "model"))
    assert load(tmp_path / "empty").threshold_ == load(str(tmp_path / "a" / "b" / "model")).threshold_


def test_a_link_to_a_directory_stays_a_link(gaussian, tmp_path):
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "place")
    for _ in range(2):
        gaussian.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert load(tmp_path / "place").threshold_ == gaussian.threshold_


def test_the_current_directory_can_be_the_place(gaussian, tmp_path, monkeypatch):
    gaussian.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    assert load(".").threshold_ == gaussian.threshold_


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["notes.txt"], "is a directory that holds notes.txt, expected a saved detector or a new place"),
        (["weights.safetensors"], "is a directory that holds weights.safetensors, expected a saved detector"),
        # A detector is there, but so is something that would be lost.
        (["detector.json", "weights.safetensors", "notes.txt"], "is a directory that holds notes.txt, expected"),
        (None, "is a file, expected a saved detector or a new place"),
    ],
)
def test_something_else_is_never_replaced(gaussian, tmp_path, files, sentence):
    place = tmp_path / "place"
    if files is None:
        place.write_text("mine")
    else:
        place.mkdir()
        for name in files:
            (place / name).write_text("mine")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    for save_to in (require_free_place, gaussian.save):
        with pytest.raises(InputError, match=sentence) as error:
            save_to(place)
        assert str(error.value).startswith(f"{place} ")
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_place_below_a_file_is_refused(gaussian, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file/model cannot be written: "):
        gaussian.save(tmp_path / "file" / "model")
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["mkdir", "write_bytes", "write_text", "exchange", "first rename", "second rename"])
def test_nothing_is_half_written(gaussian, tmp_path, monkeypatch, step):
    place = tmp_path / "model"
    gaussian.save(place)
    before = gaussian.threshold_
    failures = iter([step == "first rename", True])

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    rename = Path.rename

    def failing_rename(self, target):
        return full() if next(failures, False) else rename(self, target)

    if step.endswith("rename"):
        monkeypatch.setattr(saved_folder, "exchanged", lambda *_: False)
        monkeypatch.setattr(Path, "rename", failing_rename)
    elif step == "exchange":
        monkeypatch.setattr(saved_folder, "exchanged", full)
    else:
        monkeypatch.setattr(Path, step, full)
    gaussian.set_threshold(GivenThreshold(value=before + 1))
    with pytest.raises(InputError, match="model cannot be written: No space left on device"):
        gaussian.save(place)
    monkeypatch.undo()
    # The older one is still there, and nothing else.
    assert load(place).threshold_ == before
    assert names_in(tmp_path) == ["detector.json", "model", "weights.safetensors"]


def two_versions(detector):
    """Two detectors that differ in both files: in threshold and calibration scores."""
    versions = [copy.copy(detector) for _ in range(2)]
    for number, version in enumerate(versions):
        version.calibration_scores_ = detector.calibration_scores_ + number
        version.set_threshold(GivenThreshold(value=number))
    return versions


def test_a_reader_finds_the_old_detector_or_the_new_one(gaussian, tmp_path):
    """However often one takes the place of the other while it reads."""
    place, versions = tmp_path / "model", two_versions(gaussian)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    if not exchanged(tmp_path / "first", tmp_path / "second"):
        pytest.skip("this file system exchanges no directories")
    versions[0].save(place)

    def write():
        for number in range(100):
            versions[number % 2].save(place)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        found = load(place)
        wanted = versions[int(found.threshold_)].calibration_scores_
        np.testing.assert_array_equal(found.calibration_scores_, wanted)
    writer.join()
    assert names_in(tmp_path) == ["detector.json", "first", "model", "second", "weights.safetensors"]


def test_a_detector_that_comes_between_the_two_files_is_read_whole(gaussian, tmp_path, monkeypatch):
    place, (old, new) = tmp_path / "model", two_versions(gaussian)
    old.save(place)
    read, replaced = saving._read_description, []

    def read_then_replaced(file, kinds):
        description = read(file, kinds)
        if not replaced:
            replaced.append(new.save(place))
        return description

    monkeypatch.setattr(saving, "_read_description", read_then_replaced)
    found = load(place)
    assert found.threshold_ == new.threshold_
    np.testing.assert_array_equal(found.calibration_scores_, new.calibration_scores_)


def test_what_is_damaged_for_good_is_not_read_again_and_again(gaussian, tmp_path, monkeypatch):
    place = tmp_path / "model"
    gaussian.save(place)
    (place / "weights.safetensors").write_bytes(b"x")
    reads, read = [], saving._read_description
    monkeypatch.setattr(saving, "_read_description", lambda file, kinds: reads.append(file) or read(file, kinds))
    with pytest.raises(InputError, match="is damaged: it is not the file that"):
        load(place)
    assert len(reads) == 1


def test_interrupted_while_writing_leaves_nothing(gaussian, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        gaussian.save(tmp_path / "model")
    assert names_in(tmp_path) == []


def test_what_is_not_fitted_cannot_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        GaussianDetector().save(tmp_path / "model")
    assert names_in(tmp_path) == []


def test_a_detector_of_another_class_cannot_be_saved(gaussian, tmp_path):
    class Mine(GaussianDetector):
        pass

    mine = Mine()
    vars(mine).update(vars(gaussian))
    with pytest.raises(InputError, match="a detector of type Mine cannot be saved, expected one of FlowDetector, "):
        mine.save(tmp_path / "model")


def change_description(place, reseal=False, **changes):
    """Edit detector.json; with `reseal` as somebody would who also makes the checksum fit."""
    file = place / "detector.json"
    values = json.loads(file.read_text())
    for name, value in changes.items():
        if value is None:
            del values[name]
        else:
            values[name] = value
    if reseal:
        values["checksum"] = saving.checksum_of(values)
    file.write_text(json.dumps(values))


def change_weights(place, change):
    """Edit weights.safetensors and make both checksums fit."""
    arrays = load_file(place / "weights.safetensors")
    change(arrays)
    weights = save(arrays)
    (place / "weights.safetensors").write_bytes(weights)
    change_description(place, reseal=True, weights_sha256=hashlib.sha256(weights).hexdigest())


def truncate(file, length):
    file.write_bytes(file.read_bytes()[:length])


def flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def other_weights(place):
    other = GaussianDetector(threshold=Percentile()).fit(rows(5))
    other.save(place.parent / "other")
    shutil.copy(place.parent / "other" / "weights.safetensors", place)


def not_safetensors(place):
    (place / "weights.safetensors").write_bytes(b"12345678 no tensors")
    change_description(place, reseal=True, weights_sha256=hashlib.sha256(b"12345678 no tensors").hexdigest())


def unlink(place, name):
    (place / name).unlink()


DAMAGE = {
    "no directory": (shutil.rmtree, "PLACE is no directory, expected one with a saved detector"),
    "no description": (lambda place: unlink(place, "detector.json"), "PLACE/detector.json is missing"),
    "no weights": (lambda place: unlink(place, "weights.safetensors"), "PLACE/weights.safetensors is missing"),
    "a directory for a file": (
        lambda place: (unlink(place, "weights.safetensors"), (place / "weights.safetensors").mkdir()),
        "PLACE/weights.safetensors cannot be read: Is a directory",
    ),
    "truncated weights": (
        lambda place: truncate(place / "weights.safetensors", 100),
        "PLACE/weights.safetensors is damaged: it is not the file that detector.json describes",
    ),
    "empty weights": (
        lambda place: truncate(place / "weights.safetensors", 0),
        "PLACE/weights.safetensors is damaged: it is not the file that detector.json describes",
    ),
    "one bit flipped": (
        lambda place: flip_a_bit(place / "weights.safetensors"),
        "PLACE/weights.safetensors is damaged: it is not the file that detector.json describes",
    ),
    "weights of another detector": (
        other_weights,
        "PLACE/weights.safetensors is damaged: it is not the file that detector.json describes",
    ),
    "truncated description": (
        lambda place: truncate(place / "detector.json", 200),
        "PLACE/detector.json is damaged: it is no JSON (",
    ),
    "description not UTF-8": (
        lambda place: (place / "detector.json").write_bytes(b"\xff\xfe"),
        "PLACE/detector.json is damaged: it is no JSON ('utf-8' codec can't decode",
    ),
    "description a list": (
        lambda place: (place / "detector.json").write_text("[1]"),
        "PLACE/detector.json is damaged: it names no format_version",
    ),
    "brackets in brackets": (
        lambda place: (place / "detector.json").write_text("[" * 100_000),
        "PLACE/detector.json is damaged: it is no JSON (",
    ),
    "newer format": (
        lambda place: change_description(place, format_version=4),
        "PLACE/detector.json has format 4, this jaxflow reads up to format 3: it needs a newer jaxflow",
    ),
    "no format": (
        lambda place: change_description(place, format_version=None),
        "PLACE/detector.json is damaged: it names no format_version",
    ),
    "format as text": (
        lambda place: change_description(place, format_version="1"),
        "PLACE/detector.json is damaged: it names no format_version",
    ),
    "format 0": (
        lambda place: change_description(place, format_version=0),
        "PLACE/detector.json: format_version = 0: ",
    ),
    "no threshold": (
        lambda place: change_description(place, threshold=None),
        "PLACE/detector.json: threshold is missing",
    ),
    "unknown key": (lambda place: change_description(place, secret=1), "PLACE/detector.json: unknown key secret; "),
    "unknown detector": (
        lambda place: change_description(place, reseal=True, detector="os.system"),
        "PLACE/detector.json: detector = 'os.system': expected one of FlowDetector, GaussianDetector, Autoencoder",
    ),
    "unknown model": (
        lambda place: change_description(place, model={"kind": "oracle"}),
        "PLACE/detector.json: model.kind = 'oracle': expected one of maf, ",
    ),
    "out of range": (
        lambda place: change_description(place, model={"kind": "gaussian", "regularization": -1}),
        "PLACE/detector.json: model.regularization = -1: expected a value greater than or equal to 0",
    ),
    "a threshold changed by hand": (
        lambda place: change_description(place, threshold="1.5"),
        "PLACE/detector.json is damaged: it was changed after it was written, its checksum does not match",
    ),
    "a model changed by hand": (
        lambda place: change_description(place, model={"kind": "gaussian", "covariance": "diagonal"}),
        "PLACE/detector.json is damaged: it was changed after it was written, its checksum does not match",
    ),
    "weights that do not fit the model": (
        lambda place: change_description(place, reseal=True, model={"kind": "gaussian", "covariance": "diagonal"}),
        "PLACE/weights.safetensors is damaged: the array factor has shape (3, 3), expected (3,)",
    ),
    "a model of another detector": (
        lambda place: change_description(place, reseal=True, detector="FlowDetector"),
        "PLACE/detector.json: model of FlowDetector = ",
    ),
    "columns of another number": (
        lambda place: change_description(place, reseal=True, columns=["a"]),
        "PLACE/detector.json: columns = ['a']: expected 3 names",
    ),
    "more folds than rows": (
        lambda place: change_description(place, reseal=True, calibration_folds=10**9),
        "PLACE/detector.json: calibration_folds = 1000000000: expected at most one for each of 60 rows",
    ),
    "a hole behind the weights": (
        lambda place: os.truncate(place / "weights.safetensors", 1 << 32),
        "PLACE/weights.safetensors is damaged: it has 4294967296 bytes, and its header speaks of ",
    ),
    "nothing but a hole": (
        lambda place: (truncate(place / "weights.safetensors", 0), os.truncate(place / "weights.safetensors", 1 << 32)),
        "PLACE/weights.safetensors is damaged: it has 4294967296 bytes, and its header speaks of no arrays",
    ),
    "a hole as a header": (
        lambda place: (
            (place / "weights.safetensors").write_bytes((1 << 31).to_bytes(8, "little")),
            os.truncate(place / "weights.safetensors", 1 << 32),
        ),
        "PLACE/weights.safetensors is damaged: it has 4294967296 bytes, and its header speaks of no arrays",
    ),
    "no safetensors": (not_safetensors, "PLACE/weights.safetensors is damaged: "),
    "no calibration scores": (
        lambda place: change_weights(place, lambda arrays: arrays.pop("calibration.scores")),
        "PLACE/weights.safetensors is damaged: the array calibration.scores is missing",
    ),
    "calibration scores in a table": (
        lambda place: change_weights(
            place, lambda arrays: arrays.update({"calibration.scores": arrays["calibration.scores"][None]})
        ),
        "PLACE/weights.safetensors is damaged: the array calibration.scores is float",
    ),
    "a model that is not finite": (
        lambda place: change_weights(place, lambda arrays: arrays["model.mean"].fill(np.nan)),
        "PLACE/weights.safetensors is damaged: the array mean holds values that are not finite",
    ),
    "no array of the model": (
        lambda place: change_weights(place, lambda arrays: arrays.pop("model.mean")),
        "PLACE/weights.safetensors is damaged: the array mean is missing",
    ),
    "no array of the preprocessing": (
        lambda place: change_weights(place, lambda arrays: arrays.pop("preprocessing.1.scale")),
        "PLACE/weights.safetensors is damaged: preprocessing step 1 (standardize): there are the arrays ['shift']",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence_that_names_the_file(gaussian, tmp_path, damage):
    place = tmp_path / "model"
    gaussian.save(place)
    change, sentence = DAMAGE[damage]
    change(place)
    with pytest.raises(InputError) as error:
        load(place)
    assert str(error.value).startswith(sentence.replace("PLACE", str(place)))
    assert "\n" not in str(error.value)


def test_nothing_is_pickled(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("pickle.dumps", lambda *_: pytest.fail("pickled"))
    monkeypatch.setattr("pickle.loads", lambda *_: pytest.fail("unpickled"))
    fitted.detector.save(tmp_path / "model")
    load(tmp_path / "model")
    description = json.loads((tmp_path / "model" / "detector.json").read_text())
    assert description["format_version"] == FORMAT_VERSION
    assert description["columns"] == ["x0", "x1", "x2"]


def test_a_detector_keeps_its_number_type_wherever_it_is_loaded(tmp_path):
    with jax.enable_x64(True):
        detector = FlowDetector(MAF(layers=1, hidden=(4,)), train=TRAIN, threshold=Percentile()).fit(rows())
        scores = detector.anomaly_score(rows(1))
        detector.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.float_type_ == "float64"
    np.testing.assert_array_equal(again.anomaly_score(rows(1)), scores)
    np.testing.assert_array_equal(detector.anomaly_score(rows(1)), scores)
    again.save(tmp_path / "copy")
    with jax.enable_x64(True):
        np.testing.assert_array_equal(load(tmp_path / "copy").anomaly_score(rows(1)), scores)
