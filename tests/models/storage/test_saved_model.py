"""Models by themselves are saved and loaded, bit for bit, and what could not be loaded is refused at once."""

import json
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import jaxflow
from jaxflow.bijectors import Chain, ElementwiseAffine
from jaxflow.detection import GaussianDetector
from jaxflow.errors import InputError
from jaxflow.models import (
    BNAF,
    CNF,
    IAF,
    MAF,
    NICE,
    NSF,
    AutoEncoderSpec,
    AutoregressiveNSF,
    CommitteeMember,
    CommitteeSpec,
    CustomFlow,
    EnsembleSpec,
    Flow,
    GaussianMixtureSpec,
    GaussianSpec,
    Glow,
    KernelDensitySpec,
    MixtureBase,
    PrincipalComponentsSpec,
    RealNVP,
    StandardNormal,
    StudentTBase,
    VariationalAutoEncoderSpec,
)
from jaxflow.models.named_arrays import state_arrays
from jaxflow.models.storage.saved_folder import checksum_of
from tests.bijectors.cases import shaken
from tests.bijectors.own_layer import NAME, own_layers
from tests.compiled import normal

DIM = 3
TINY = {"layers": 1, "hidden": (4,)}
SPECS = {
    "maf": MAF(**TINY, permutation="random", base=StudentTBase()),
    "maf_stacked": MAF(layers=13, hidden=(4,)),
    "maf_conditional": MAF(**TINY, context_dim=2, context_embedding=(3,)),
    "maf_dropout": MAF(layers=1, hidden=(4, 4), residual=True, dropout=0.1),
    "iaf": IAF(**TINY),
    "nice": NICE(**TINY),
    "realnvp": RealNVP(**TINY, normalization="batch_norm", dequantize="variational"),
    "glow": Glow(**TINY),
    "nsf": NSF(**TINY, base=MixtureBase(components=2)),
    "nsf_autoregressive": AutoregressiveNSF(**TINY),
    "bnaf": BNAF(layers=1, hidden_factor=2, hidden_layers=1),
    "cnf": CNF(hidden=(4,)),
    "custom": CustomFlow(layer=f"{NAME}.Cubic", layers=1),
    "gaussian": GaussianSpec(),
    "regression": GaussianSpec(context_dim=2),
    "mixture": GaussianMixtureSpec(components=2),
    "kernel_density": KernelDensitySpec(rows=4),
    "pca": PrincipalComponentsSpec(),
    "autoencoder": AutoEncoderSpec(hidden=(4,)),
    "vae": VariationalAutoEncoderSpec(hidden=(4,), draws=2),
    "ensemble": EnsembleSpec(member=NICE(**TINY), members=2),
    "committee": CommitteeSpec(members=(CommitteeMember(model=GaussianSpec()), CommitteeMember(model=MAF(**TINY)))),
}
TINY_MAF = MAF(**TINY)


@pytest.fixture(autouse=True)
def imported():
    own_layers()


def built(spec) -> Any:
    return shaken(spec.build(DIM, rngs=nnx.Rngs(3)))


def assert_equal(loaded, model):
    arrays, expected = state_arrays(loaded), state_arrays(model)
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert nnx.graphdef(loaded) == nnx.graphdef(model)


@pytest.mark.parametrize("name", SPECS)
def test_every_model_comes_back(name, tmp_path):
    model = built(SPECS[name])
    jaxflow.save(model, tmp_path / "model")
    assert_equal(jaxflow.load(tmp_path / "model"), model)


def test_it_says_the_same_and_can_be_saved_again(tmp_path):
    model = built(TINY_MAF)
    for place in (tmp_path / "one", tmp_path / "one", tmp_path / "other"):
        jaxflow.save(model, place)
        loaded = jaxflow.load(place)
        np.testing.assert_array_equal(loaded.log_prob(normal(0, (4, DIM))), model.log_prob(normal(0, (4, DIM))))
        model = loaded


def test_a_member_of_an_ensemble_is_a_model_of_its_own(tmp_path):
    member = built(SPECS["ensemble"]).take(1)
    jaxflow.save(member, tmp_path / "member")
    assert_equal(jaxflow.load(tmp_path / "member"), member)


def test_models_in_training_and_in_either_float_type(tmp_path):
    dropping = built(SPECS["maf_dropout"])
    dropping.train()
    jaxflow.save(dropping, tmp_path / "dropping")
    dropping.eval()
    assert_equal(jaxflow.load(tmp_path / "dropping"), dropping)
    with jax.enable_x64(True):
        double = built(TINY_MAF)
        jaxflow.save(double, tmp_path / "double")
        assert_equal(jaxflow.load(tmp_path / "double"), double)
        single = jaxflow.load(tmp_path / "dropping")
        assert_equal(single, dropping)
        jaxflow.save(single, tmp_path / "single")
    assert_equal(jaxflow.load(tmp_path / "single"), dropping)
    with pytest.raises(InputError, match=r'in float64, and JAX computes in float32: call jax.config.update\("jax_en'):
        jaxflow.load(tmp_path / "double")


def test_load_tells_detectors_from_models(tmp_path):
    detector = GaussianDetector().fit(np.random.default_rng(0).normal(size=(50, 2)))
    jaxflow.save(detector, tmp_path / "detector")
    jaxflow.save(built(TINY_MAF), tmp_path / "model")
    assert isinstance(jaxflow.load(tmp_path / "detector"), GaussianDetector)
    assert isinstance(jaxflow.load(tmp_path / "model"), Flow)
    with pytest.raises(InputError, match=r"holds detector.json, expected a saved model or a new place$"):
        jaxflow.save(built(TINY_MAF), tmp_path / "detector")
    with pytest.raises(InputError, match=r"holds model.json, expected a saved detector or a new place$"):
        jaxflow.save(detector, tmp_path / "model")
    with pytest.raises(InputError, match=r"^int 1 cannot be saved, expected a model or a detector$"):
        jaxflow.save(1, tmp_path / "number")
    with pytest.raises(InputError, match=r"nowhere is no directory, expected one with a saved detector or model$"):
        jaxflow.load(tmp_path / "nowhere")


class OwnSpec(MAF):
    """A spec outside of the package."""


def changed():
    flow = built(TINY_MAF)
    flow.bijector = Chain([*flow.bijector.layers, ElementwiseAffine(DIM)])
    return flow


def other_activation():
    flow = built(TINY_MAF)
    flow.bijector = built(MAF(**TINY, activation="tanh")).bijector
    return flow


def not_finite():
    flow = built(NICE(**TINY))
    flow.bijector.layers[-1].shift[...] = np.full(DIM, np.nan)
    return flow


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: Flow(StandardNormal(DIM), ElementwiseAffine(DIM)),
            "put together by hand cannot be saved: build",
        ),
        (changed, "cannot be saved: the array bijector.layers.1.log_scale belongs to no part of this model"),
        (other_activation, "cannot be saved: its layers are no longer those that its spec builds"),
        (not_finite, "cannot be saved: the array .* holds values that are not finite"),
        (lambda: OwnSpec(**TINY, kind="maf").build(DIM, rngs=nnx.Rngs(0)), "that OwnSpec builds cannot be saved"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(make, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        jaxflow.save(make(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_layers_of_ones_own_are_not_imported(tmp_path, monkeypatch):
    jaxflow.save(built(SPECS["custom"]), tmp_path / "model")
    monkeypatch.delitem(__import__("sys").modules, NAME)
    with pytest.raises(InputError, match=f"model.json: the model has layers of the class {NAME}.Cubic; .* so import"):
        jaxflow.load(tmp_path / "model")


def edit(folder, **values):
    description = json.loads((folder / "model.json").read_text()) | values
    description["checksum"] = checksum_of(description)
    (folder / "model.json").write_text(json.dumps(description))


def test_what_was_changed_on_the_way_is_refused(tmp_path):
    folder = tmp_path / "model"
    jaxflow.save(built(TINY_MAF), folder)
    weights, description = ((folder / name).read_bytes() for name in ("weights.safetensors", "model.json"))
    (folder / "weights.safetensors").write_bytes(weights[:-1] + b"\0")
    with pytest.raises(InputError, match=r"weights.safetensors is damaged: it is not the file that model.json descr"):
        jaxflow.load(folder)
    (folder / "weights.safetensors").write_bytes(weights)
    (folder / "model.json").write_bytes(description.replace(b'"n_features": 3', b'"n_features": 4'))
    with pytest.raises(InputError, match=r"model.json is damaged: it was changed after it was written"):
        jaxflow.load(folder)
    for values, reason in [
        ({"n_features": 1 << 50}, "weights.safetensors is damaged: the array .* has shape .*, expected"),
        ({"format_version": 2}, "format 2, this jaxflow reads up to format 1: it needs a newer jaxflow"),
        ({"model": {"kind": "nonsense"}}, "kind = 'nonsense'"),
        ({"extra": 1}, "unknown key extra"),
    ]:
        (folder / "model.json").write_bytes(description)
        edit(folder, **values)
        with pytest.raises(InputError, match=reason):
            jaxflow.load(folder)
