"""Directories that somebody made to do harm: they never load, run no code, and take no memory.

Whoever changes a file can make its checksums fit, so each case is tried as it is and with checksums that fit.
"""

import copy
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as unpack
from safetensors.numpy import save as pack

from jaxflow.detection import AutoencoderDetector, FlowDetector, GaussianDetector, Percentile, load
from jaxflow.detection.storage import save_and_load as saving
from jaxflow.errors import InputError
from jaxflow.models import MAF, AutoEncoderSpec, PrincipalComponentsSpec, VariationalAutoEncoderSpec
from jaxflow.models.storage.untrusted_files import MOST_JSON_BYTES
from jaxflow.training import FitSpec
from tests.trials import most_memory

MOST_MEMORY = 1 << 28
TRAIN = FitSpec(epochs=1, batch_size=64)
MEDIAN = Percentile(percentile=50)  # the rows are few
DETECTORS = {
    "gaussian": GaussianDetector(threshold=MEDIAN),
    "flow": FlowDetector(MAF(layers=1, hidden=(4,), permutation="random"), train=TRAIN, threshold=MEDIAN),
    "autoencoder": AutoencoderDetector(AutoEncoderSpec(hidden=(4,)), train=TRAIN, threshold=MEDIAN),
    "vae": AutoencoderDetector(
        VariationalAutoEncoderSpec(hidden=(4,), draws=4),
        train=TRAIN,
        threshold=MEDIAN,
        calibration_folds=0,
    ),
    "pca": GaussianDetector(PrincipalComponentsSpec(), threshold=MEDIAN),
}


class Saved:
    """A saved detector taken apart, to be changed and written again."""

    def __init__(self, place: Path):
        self.description = json.loads((place / "detector.json").read_text())
        self.weights = (place / "weights.safetensors").read_bytes()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {name: array.copy() for name, array in unpack(self.weights).items()}

    @arrays.setter
    def arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.weights = pack(arrays)

    @property
    def header(self) -> dict:
        length = int.from_bytes(self.weights[:8], "little")
        return json.loads(self.weights[8 : 8 + length])

    def with_header(self, header: dict | bytes, length: int | None = None) -> None:
        """Replace the header of the weights, and leave the numbers."""
        old = int.from_bytes(self.weights[:8], "little")
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        size = len(text) if length is None else length
        self.weights = size.to_bytes(8, "little") + text + self.weights[8 + old :]

    def write(self, place: Path, *, sign: bool) -> Path:
        values = dict(self.description)
        if sign:
            values["weights_sha256"] = hashlib.sha256(self.weights).hexdigest()
            values["checksum"] = saving.checksum_of(values)
        place.mkdir()
        (place / "detector.json").write_text(json.dumps(values))
        (place / "weights.safetensors").write_bytes(self.weights)
        return place


@pytest.fixture(scope="module")
def originals(tmp_path_factory, fresh):
    x = np.random.default_rng(0).normal(size=(60, 3)) * [1.0, 1e3, 1e-3]
    x = np.column_stack([x, np.full(60, 7.0)])  # a constant column, so that the preprocessing has both kinds of arrays
    folder = tmp_path_factory.mktemp("saved")
    for name, detector in DETECTORS.items():
        fresh(detector).fit(x).save(folder / name)
    return folder


@pytest.fixture
def saved(originals):
    """Makes `Saved("gaussian")`."""
    return lambda name: Saved(originals / name)


def refusal(place: Path) -> str:
    """What `load` has to say; it says it in one line and without taking much memory."""
    most_memory()
    before = most_memory()
    with pytest.raises(InputError) as error:
        load(place)
    assert most_memory() - before < MOST_MEMORY
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 2000
    return str(error.value)


def test_a_detector_taken_apart_and_put_together_loads(saved, tmp_path):
    """So that a refusal is one of what was changed."""
    for name in DETECTORS:
        again = saved(name)
        again.arrays = again.arrays
        load(again.write(tmp_path / name, sign=True))


def setting(*path_and_value):
    """Set a value in the description: `setting("model", "hidden", [1])`."""
    *path, key, value = path_and_value

    def change(saved):
        values = saved.description
        for part in path:
            values = values[part]
        values[key] = value

    return change


def without(key):
    return lambda saved: saved.description.pop(key)


HUGE_KERNELS = {"kind": "kernel_density", "rows": 1 << 24}
HUGE_WIDTHS = [16_384] * 3
NESTED: list = []
for _ in range(500):
    NESTED = [NESTED]

# Which detector, the change of its description, and how the refusal ends once the checksums fit.
DESCRIPTIONS = {
    "format 0": ("gaussian", setting("format_version", 0), "format_version = 0: expected a value greater than or"),
    "format -1": ("gaussian", setting("format_version", -1), "format_version = -1: expected a value greater than or"),
    "format true": (
        "gaussian",
        setting("format_version", True),
        "detector.json is damaged: it names no format_version",
    ),
    "format 1.0": ("gaussian", setting("format_version", 1.0), "detector.json is damaged: it names no format_version"),
    "newer format": ("gaussian", setting("format_version", 10**300), "it needs a newer jaxflow"),
    "no format": ("gaussian", without("format_version"), "is damaged: it names no format_version"),
    "unknown detector": ("gaussian", setting("detector", "../../os.system"), "detector = '../../os.system': expected"),
    "a detector's name with a NUL": ("gaussian", setting("detector", "\0"), "expected one of FlowDetector, Gauss"),
    "another detector": (
        "gaussian",
        setting("detector", "FlowDetector"),
        "expected FlowSpec, EnsembleSpec or CommitteeSpec",
    ),
    "unknown key": ("gaussian", setting("\x1b[2J\n", 1), "unknown key \\x1b[2J ; expected one of"),
    "a key without end": ("gaussian", setting("k" * 10**6, 1), "unknown key kkk"),
    "no columns": ("gaussian", setting("columns", []), "columns = []: expected 4 names"),
    "columns no text": ("gaussian", setting("columns", [1, 2, 3, 4]), "columns[0] = 1: expected text"),
    "many features": ("gaussian", setting("n_features", 10**15), "expected 1000000000000000 names"),
    "many digits": ("gaussian", setting("n_features", 10**4000), "n_features"),
    "features true": ("gaussian", setting("n_features", True), "n_features = true: expected a number, not true or"),
    "other features": (
        "gaussian",
        lambda saved: saved.description.update(n_features=1, columns=["a"]),
        "encoding: expected one entry for each of 1 columns, in order",
    ),
    "threshold nan": ("gaussian", setting("threshold", "nan"), "threshold = nan: expected a number, or an infinity"),
    "threshold text": ("gaussian", setting("threshold", "1; import os"), "threshold = '1; import os': expected a num"),
    "fraction 2": ("gaussian", setting("calibration_fraction", 2.0), "calibration_fraction = 2.0: expected a number"),
    "no fraction": ("flow", setting("validation_fraction", None), "validation_fraction = None: expected a number"),
    "brackets in brackets": ("gaussian", setting("model", NESTED), "model"),
    "a rule of another kind": ("gaussian", setting("threshold_rule", {"kind": "eval"}), "threshold_rule.kind = 'eval'"),
    "a step of another kind": (
        "gaussian",
        setting("preprocessing", [{"kind": "pickle"}]),
        "expected one of standardize",
    ),
    "steps left out": ("gaussian", setting("preprocessing", []), "belongs to none of the 0 steps"),
    "another float type": ("flow", setting("float_type", "float64"), "expected int64"),
    "no float type": ("flow", setting("float_type", "object"), "float_type = 'object': expected "),
    "a layer of os": ("flow", setting("model", {"kind": "custom", "layer": "os.system"}), "expected a subclass of"),
    "a layer to import": (
        "flow",
        setting("model", {"kind": "custom", "layer": "planted.Layer"}),
        "import planted first",
    ),
    "a layer in an ensemble": (
        "flow",
        setting("model", {"kind": "ensemble", "member": {"kind": "custom", "layer": "planted.Layer"}}),
        "import planted first",
    ),
    "a layer that a package would import": (
        "flow",
        setting("model", {"kind": "custom", "layer": "scipy.planted"}),
        "import scipy first",
    ),
    "a layer that cannot be made": (
        "flow",
        setting("model", {"kind": "custom", "layer": "jaxflow.bijectors.Permutation", "options": {"order": "x"}}),
        "weights.safetensors is damaged: ",
    ),
    "hidden layers that would take 4 TB": (
        "flow",
        lambda saved: saved.description["model"].update(layers=1000, hidden=HUGE_WIDTHS),
        "has shape (4,), expected (16384,)",
    ),
    "an ensemble of those": (
        "flow",
        setting(
            "model",
            {"kind": "ensemble", "members": 1024, "member": {"kind": "maf", "layers": 1000, "hidden": HUGE_WIDTHS}},
        ),
        "the array member.bijector.layers.0.conditioner.degrees is missing",
    ),
    "hidden layers without end": (
        "flow",
        lambda saved: saved.description["model"].update(hidden=[1] * 100_000),
        "expected at most 100 items, got 100000",
    ),
    "a base that would take 4 TB": (
        "flow",
        lambda saved: saved.description["model"].update(base={"kind": "mixture", "components": 10**11}),
        "model.base.components = 100000000000: expected a value less than or equal to 16384",
    ),
    "draws that would take 4 TB": (
        "flow",
        lambda saved: saved.description["model"].update(dequantize="uniform", draws=10**12),
        "model.draws = 1000000000000: expected a value less than or equal to 65536",
    ),
    "a mixture of 4 TB": (
        "gaussian",
        setting("model", {"kind": "gaussian_mixture", "components": 10**11}),
        "model.components = 100000000000: expected a value less than or equal to 16384",
    ),
    "kernels of 4 TB": (
        "gaussian",
        setting("model", HUGE_KERNELS),
        "weights.safetensors is damaged: ",
    ),
    "a committee of those": (
        "flow",
        setting("model", {"kind": "committee", "members": [{"model": HUGE_KERNELS}] * 9}),
        "weights.safetensors is damaged: ",
    ),
    "a layer in a committee": (
        "flow",
        setting("model", {"kind": "committee", "members": [{"model": {"kind": "custom", "layer": "planted.Layer"}}]}),
        "import planted first",
    ),
    "a latent of 4 TB": ("autoencoder", setting("model", "latent", 10**12), "model.latent = 1000000000000: expected"),
    "a latent beyond numbers": ("autoencoder", setting("model", "latent", 10**40), "model.latent = 1000000000000000"),
    "a wide latent": ("autoencoder", setting("model", "latent", 16_384), "has shape (4, 1), expected (4, 16384)"),
    "a variational latent of 4 TB": ("vae", setting("model", "latent", 10**12), "model.latent = 1000000000000: exp"),
    "variational draws of 4 TB": ("vae", setting("model", "draws", 10**12), "model.draws = 1000000000000: expected a"),
    "variational widths of 1 GiB": (
        "vae",
        setting("model", "hidden", HUGE_WIDTHS),
        "weights.safetensors is damaged: ",
    ),
    "an unknown score": ("vae", setting("model", "score", "log_prob"), "model.score = 'log_prob': expected "),
    "a variance without a floor": ("vae", setting("model", "variance_floor", 0), "model.variance_floor = 0: expected "),
    "an autoencoder in place of a variational one": (
        "vae",
        setting("model", {"kind": "autoencoder", "hidden": [4]}),
        "weights.safetensors is damaged: ",
    ),
    "a variational autoencoder of a detector of Gaussians": (
        "pca",
        setting("model", {"kind": "vae"}),
        "expected GaussianSpec, GaussianMixtureSpec, KernelDensitySpec or PrincipalComponentsSpec",
    ),
    "a variational autoencoder that fills gaps": (
        "vae",
        setting("columns_spec", {"missing": "model"}),
        "needs a density, and vae is none",
    ),
    "components that fill gaps": (
        "pca",
        setting("columns_spec", {"missing": "model"}),
        "needs a density, and pca is none",
    ),
    "more components than features": ("pca", setting("model", "components", 3), "components = 3 of 3 features"),
    "components without end": ("pca", setting("model", "components", 10**40), "model.components = 10000000000000"),
}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Modules that leave a mark when they are imported."""
    marks = tmp_path / "marks"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "planted.py").write_text(f"open({str(marks)!r}, 'w')\nclass Layer: pass\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield
    assert not marks.exists()
    assert "planted" not in sys.modules


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_changed_description_is_refused(saved, planted, tmp_path, case):
    name, change, sentence = DESCRIPTIONS[case]
    changed = saved(name)
    changed.description = copy.deepcopy(changed.description)
    change(changed)
    assert str(tmp_path / "unsigned") in refusal(changed.write(tmp_path / "unsigned", sign=False))
    assert sentence in refusal(changed.write(tmp_path / "signed", sign=True))


TEXTS = {
    "a key twice": (lambda text: text.replace("{", '{"threshold": "1e9", ', 1), "is no JSON (a key comes twice)"),
    "a key twice within": (lambda text: text.replace('"kind"', '"kind": "maf", "kind"', 1), "(a key comes twice)"),
    "NaN": (lambda text: text.replace('"n_train": 60', '"n_train": NaN'), "is no JSON (it holds NaN)"),
    "Infinity": (lambda text: text.replace('"n_train": 60', '"n_train": Infinity'), "is no JSON (it holds Infinity)"),
    "a number beyond floats": (
        lambda text: text.replace('"n_train": 60', '"n_train": 1e999'),
        "n_train = inf: expected",
    ),
    "digits without end": (lambda text: text.replace('"n_train": 60', f'"n_train": {"9" * 10**5}'), "is no JSON (Exc"),
    "brackets without end": (lambda text: text.replace('"n_train": 60', f'"n_train": {"[" * 10**6}'), "is no JSON ("),
    "two values": (lambda text: text + text, "is no JSON (Extra data"),
    "nothing": (lambda text: "", "is no JSON (Expecting value"),
    "half of a letter": (lambda text: text.replace('"x0"', '"\\ud800"'), "the text '\\ud800' is half of a letter"),
    "half of a letter in a key": (
        lambda text: text.replace('"n_train"', '"\\uDFFF"'),
        "the text '\\udfff' is half of a letter",
    ),
    "values without end": (
        lambda text: text.replace('"n_train": 60', f'"n_train": [{"1," * (1 << 21)}1]'),
        "values, expected at most",
    ),
    "too long": (lambda text: text + " " * MOST_JSON_BYTES, f"expected at most {MOST_JSON_BYTES}"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_description_that_is_not_plain_json_is_refused(saved, tmp_path, case):
    place = saved("gaussian").write(tmp_path / "model", sign=True)
    change, sentence = TEXTS[case]
    text = (place / "detector.json").read_text()
    changed = change(text)
    assert changed != text
    (place / "detector.json").write_text(changed)
    assert sentence in refusal(place)


def array(name, value):
    """Replace one array, or leave it out."""

    def change(saved):
        arrays = saved.arrays
        if value is None:
            del arrays[name]
        else:
            arrays[name] = np.asarray(value(arrays.get(name)), order="C")
        saved.arrays = arrays

    return change


def nan(values):
    return np.where(np.arange(values.size).reshape(values.shape) == 0, np.nan, values).astype(values.dtype)


KERNEL, SHIFT, KEPT, FILL = (
    "model.bijector.layers.0.conditioner.linears.0.kernel",
    *(f"preprocessing.{name}" for name in ("1.shift", "0.kept", "0.fill")),
)
SCORES, EPOCH = "calibration.scores", "history.0.epoch"
ONE_OF_EACH = (KERNEL, SHIFT, KEPT, FILL, SCORES, EPOCH)

ARRAYS = {
    **{f"{name} left out": (name, None) for name in ONE_OF_EACH},
    **{f"{name} float16": (name, lambda a: a.astype(np.float16)) for name in ONE_OF_EACH},
    **{f"{name} int8": (name, lambda a: a.astype(np.int8)) for name in ONE_OF_EACH},
    **{f"{name} bool": (name, lambda a: a.astype(bool)) for name in ONE_OF_EACH},
    **{f"{name} empty": (name, lambda a: a[:0]) for name in ONE_OF_EACH},
    **{f"{name} with an axis more": (name, lambda a: a[None]) for name in ONE_OF_EACH},
    **{f"{name} a number": (name, lambda a: a.ravel()[0]) for name in ONE_OF_EACH},
    **{f"{name} longer": (name, lambda a: np.repeat(a, 2, axis=0)) for name in (KERNEL, SHIFT, KEPT, FILL, EPOCH)},
    **{f"{name} nan": (name, nan) for name in (KERNEL, SHIFT, FILL, SCORES)},
    **{f"{name} infinite": (name, lambda a: a * np.inf) for name in (KERNEL, SHIFT)},
    "a kernel transposed": (KERNEL, lambda a: a.T),
    "a kernel in float64": (KERNEL, lambda a: a.astype(np.float64)),
    "a scale of 0": ("preprocessing.1.scale", lambda a: 0 * a),
    "a scale below 0": ("preprocessing.1.scale", lambda a: -a),
    "columns that are not there": (KEPT, lambda a: a + 10**15),
    "columns below 0": (KEPT, lambda a: a - 1),
    "columns twice": (KEPT, lambda a: 0 * a),
    "labels for no scores": ("calibration.labels", lambda _: np.zeros(3, np.int64)),
    "labels of their own": ("calibration.labels", lambda _: np.full(12, 2)),
    "labels as numbers": ("calibration.labels", lambda _: np.zeros(12)),
    "a history of something": ("history.0.epoch.absent.more", lambda _: np.ones(1)),
    "more calibration": ("calibration.weights", lambda _: np.zeros(12)),
    "an array of nothing": ("extra", lambda _: np.zeros(3)),
    **{
        f"an array named {name!r}": (name, lambda _: np.zeros(3))
        for name in ("../../model", "/etc/passwd", "model.\0", "", ".", "model.", "model.../x", "calibration.../x")
    },
    "an array with a name without end": ("model." + "x" * 10**6, lambda _: np.zeros(3)),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_changed_arrays_are_refused(saved, tmp_path, case):
    name, value = ARRAYS[case]
    changed = saved("flow")
    array(name, value)(changed)
    assert "is not the file that detector.json describes" in refusal(changed.write(tmp_path / "unsigned", sign=False))
    sentence = refusal(changed.write(tmp_path / "signed", sign=True))
    assert sentence.startswith(f"{tmp_path}/signed/weights.safetensors is damaged: ")


def each(change):
    """A change of the header's entry of every array."""

    def with_change(saved):
        header = saved.header
        for entry in header.values():
            change(entry)
        saved.with_header(header)

    return with_change


def overlapping(saved):
    header = saved.header
    last = max(header.values(), key=lambda entry: entry["data_offsets"][0])
    start, end = last["data_offsets"]
    last["data_offsets"] = [0, end - start]
    saved.with_header(header)


def twice(saved):
    text = json.dumps(saved.header)
    name, entry = next(iter(saved.header.items()))
    saved.with_header((text[:-1] + f", {json.dumps(name)}: {json.dumps(entry)}}}").encode())


HEADERS = {
    "shapes of a TB": each(lambda entry: entry.update(shape=[10**12])),
    "shapes beyond numbers": each(lambda entry: entry.update(shape=[10**12] * 9)),
    "shapes below 0": each(lambda entry: entry.update(shape=[-1])),
    "shapes of text": each(lambda entry: entry.update(shape=["1"])),
    "offsets beyond the file": each(lambda entry: entry.update(data_offsets=[0, 10**15])),
    "offsets below 0": each(lambda entry: entry.update(data_offsets=[-8, 8])),
    "offsets the other way": each(lambda entry: entry.update(data_offsets=entry["data_offsets"][::-1])),
    "all offsets the same": each(lambda entry: entry.update(data_offsets=[0, 8])),
    "offsets that overlap": overlapping,
    "a type of 8 bits": each(lambda entry: entry.update(dtype="F8_E4M3")),
    "a type unknown": each(lambda entry: entry.update(dtype="object")),
    "a type of text": each(lambda entry: entry.update(dtype="__reduce__")),
    "an array twice": twice,
    "a header longer than the file": lambda saved: saved.with_header(saved.header, length=10**9),
    "a header of all memory": lambda saved: saved.with_header(saved.header, length=2**64 - 1),
    "a header of nothing": lambda saved: saved.with_header(b"", length=0),
    "a header of brackets": lambda saved: saved.with_header(b"[" * 10**6),
    "a header that is a list": lambda saved: saved.with_header(b"[]"),
    "a header that is no text": lambda saved: saved.with_header(b"\xff" * 64),
    "a header of no arrays": lambda saved: saved.with_header({}),
    "bytes behind the end": lambda saved: setattr(saved, "weights", saved.weights + b"\0" * 8),
    "bytes missing": lambda saved: setattr(saved, "weights", saved.weights[:-8]),
    "three bytes": lambda saved: setattr(saved, "weights", b"\0\0\0"),
    "a pickle": lambda saved: setattr(saved, "weights", b"cos\nsystem\n(S'touch marks'\ntR."),
}


@pytest.mark.parametrize("case", HEADERS)
def test_changed_headers_are_refused(saved, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    changed = saved("gaussian")
    HEADERS[case](changed)
    assert "is not the file that detector.json describes" in refusal(changed.write(tmp_path / "unsigned", sign=False))
    sentence = refusal(changed.write(tmp_path / "signed", sign=True))
    assert sentence.startswith(f"{tmp_path}/signed/weights.safetensors is damaged: ")
    assert not (tmp_path / "marks").exists()


@pytest.mark.parametrize("name", ["detector.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "link to a device", "link to itself", "a TB of holes"])
def test_what_is_no_file_is_refused_at_once(saved, tmp_path, name, kind):
    place = saved("gaussian").write(tmp_path / "model", sign=True)
    file = place / name
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    elif kind == "a TB of holes":
        with file.open("wb") as opened:
            opened.truncate(1 << 40)
    else:
        file.symlink_to({"device": "/dev/zero", "link to a device": "/dev/stdin", "link to itself": file}[kind])
    assert refusal(place).startswith(f"{file} ")


def test_files_may_be_links(saved, tmp_path):
    """As in caches of downloaded models."""
    place = saved("gaussian").write(tmp_path / "model", sign=True)
    (tmp_path / "links").mkdir()
    for file in place.iterdir():
        (tmp_path / "links" / file.name).symlink_to(file)
    assert load(tmp_path / "links").threshold_ == load(place).threshold_


def test_files_of_other_names_are_not_looked_at(saved, tmp_path):
    place = saved("gaussian").write(tmp_path / "model", sign=True)
    (place / "weights.safetensors").rename(place / "weights.bin")
    assert refusal(place) == f"{place}/weights.safetensors is missing"
    (place / "weights.bin").rename(place / "weights.safetensors")
    (place / "detector.json").rename(place / "detector.pkl")
    assert refusal(place) == f"{place}/detector.json is missing"
    assert refusal(tmp_path / "\0").endswith("is no directory, expected one with a saved detector")


SCORE = """
    import sys
    import numpy as np
    from jaxflow.detection import load

    for place in sys.argv[2:]:
        print(load(place).anomaly_score(np.load(sys.argv[1])).tobytes().hex())
"""


@pytest.mark.end_to_end
def test_scores_are_the_same_in_a_fresh_process(originals, tmp_path):
    asked = np.random.default_rng(1).normal(size=(100, 4)) * [1.0, 1e3, 1e-3, 1.0]
    np.save(tmp_path / "rows.npy", asked)
    places = [str(originals / name) for name in DETECTORS]
    command = [sys.executable, "-c", textwrap.dedent(SCORE), str(tmp_path / "rows.npy"), *places]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [load(place).anomaly_score(asked).tobytes().hex() for place in places]
