"""What a spec says of the arrays of a model before it is built is what the model then has."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

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
    GaussianMixtureSpec,
    GaussianSpec,
    Glow,
    KernelDensitySpec,
    LogisticBase,
    MixtureBase,
    NormalBase,
    PrincipalComponentsSpec,
    RealNVP,
    StudentTBase,
    UniformBase,
    VariationalAutoEncoderSpec,
)
from jaxflow.models.model_size import require_memory
from jaxflow.models.named_arrays import require_planned, restore_state, state_arrays
from jaxflow.networks.planned import PlannedArray, dtype_of

SMALL = st.integers(1, 3)
BASES = st.one_of(
    st.sampled_from([NormalBase(), StudentTBase(), UniformBase(), LogisticBase()]),
    st.builds(MixtureBase, components=SMALL),
)
NOISES = ("none", "uniform", "variational")


@st.composite
def flows(draw, contexts=True):
    """A flow and the number of features for which it can be built."""
    dim = draw(st.integers(2, 4))
    context = {}
    if contexts and draw(st.booleans()):
        context = {"context_dim": draw(SMALL), "context_embedding": tuple(draw(st.lists(SMALL, max_size=2)))}
    noise = draw(st.one_of(st.sampled_from(NOISES), st.tuples(*[st.sampled_from(NOISES)] * dim)))
    common = {
        **context,
        "layers": draw(st.sampled_from([1, 2, 12, 13])),
        "permutation": draw(st.sampled_from(["reverse", "random", "lu"])),
        "normalization": draw(st.sampled_from(["none", "act_norm", "batch_norm"])),
        "base": draw(BASES),
        "dequantize": noise,
        "draws": 16 if set([noise] if isinstance(noise, str) else noise) == {"none"} else draw(SMALL),
    }
    kind = draw(st.sampled_from([MAF, IAF, NICE, RealNVP, Glow, NSF, AutoregressiveNSF, BNAF, CNF]))
    if kind is Glow:
        del common["permutation"]
    if kind is BNAF:
        return BNAF(**common, hidden_factor=draw(SMALL), hidden_layers=draw(SMALL)), dim
    if kind is CNF:
        return CNF(**common, hidden=(2,) * draw(SMALL), probes=draw(st.one_of(st.none(), SMALL))), dim
    residual = draw(st.booleans())
    hidden = (
        (draw(SMALL),) * draw(st.integers(2, 3)) if residual else tuple(draw(st.lists(SMALL, min_size=1, max_size=3)))
    )
    dropout = 0.1 if residual and kind is not IAF and draw(st.booleans()) else 0.0
    return kind(**common, hidden=hidden, residual=residual, dropout=dropout), dim


@st.composite
def others(draw):
    """Any other model, and the number of features."""
    dim = draw(st.integers(2, 4))
    encoders = {
        "hidden": tuple(draw(st.lists(SMALL, max_size=2))),
        "latent": draw(st.one_of(st.none(), SMALL)),
        "context_dim": draw(st.integers(0, 2)),
    }
    member, _ = draw(flows(contexts=False).filter(lambda made: not isinstance(made[0].dequantize, tuple)))
    specs = [
        GaussianSpec(
            covariance=draw(st.sampled_from(["full", "diagonal", "robust"])), context_dim=draw(st.integers(0, 2))
        ),
        GaussianMixtureSpec(components=draw(SMALL), covariance=draw(st.sampled_from(["full", "diagonal"]))),
        KernelDensitySpec(rows=draw(SMALL)),
        PrincipalComponentsSpec(components=draw(st.one_of(st.none(), st.just(1)))),
        AutoEncoderSpec(**encoders),
        VariationalAutoEncoderSpec(**encoders, draws=draw(SMALL)),
        CustomFlow(
            layer="jaxflow.bijectors.Sylvester", options=(("rank", draw(st.integers(1, 2))),), layers=draw(SMALL)
        ),
        EnsembleSpec(member=member, members=draw(SMALL)),
        CommitteeSpec(
            members=(CommitteeMember(model=member), CommitteeMember(model=GaussianSpec(), view="rank_gaussian"))
        ),
    ]
    return draw(st.sampled_from(specs)), dim


@settings(max_examples=40, deadline=None)
@given(st.one_of(flows(), others()))
def test_the_plan_of_a_model_names_its_arrays(made):
    spec, dim = made
    planned = list(spec.planned(dim))
    module = nnx.eval_shape(lambda: spec.build(dim, rngs=nnx.Rngs(0)))
    variables = nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.RngState)))
    expected = {
        ".".join(map(str, path)): (value.get_value().shape, value.get_value().dtype) for path, value in variables
    }
    assert {name: (shape, dtype_of(dtype)) for name, shape, dtype in planned} == expected
    assert len(planned) == len(expected)


def test_a_plan_follows_the_type_of_numbers():
    spec = MAF(layers=1, hidden=(2,))
    found = {}
    for wide in (False, True):
        with jax.enable_x64(wide):
            arrays = state_arrays(spec.build(2, rngs=nnx.Rngs(0)))
            require_planned(spec.planned(2), arrays)
            found[wide] = {name: array.dtype for name, array in arrays.items()}
    assert found[False] != found[True]


DEEP = MAF(layers=11, hidden=(1,) * 100)
HUGE = {
    "deep": DEEP,
    "wide": MAF(layers=1000, hidden=(16_384,) * 100),
    "ensemble": EnsembleSpec(member=DEEP, members=1024),
    "committee": CommitteeSpec(members=(CommitteeMember(model=DEEP),) * 64),
    "blocks": BNAF(layers=11, hidden_layers=100, hidden_factor=1024),
    "base": MAF(base=MixtureBase(components=16_384), layers=11, hidden=(1,) * 100),
    "embedding": MAF(context_dim=16_384, context_embedding=(16_384,) * 100),
    "kernels": KernelDensitySpec(rows=1 << 24),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_plan_is_read_no_further_than_the_arrays_reach(case):
    read = 0

    def counted():
        nonlocal read
        for one in HUGE[case].planned(3):
            read += 1
            yield one

    arrays = state_arrays(MAF(layers=2, hidden=(2,)).build(3, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError):
        require_planned(counted(), arrays)
    assert read <= len(arrays) + 1


def test_differences_are_named():
    arrays = state_arrays(MAF(layers=1, hidden=(2,)).build(3, rngs=nnx.Rngs(0)))
    planned = [PlannedArray(name, array.shape, str(array.dtype)) for name, array in arrays.items()]
    require_planned(planned, arrays)
    name, shape, dtype = planned[0]
    for changed, sentence in (
        ([PlannedArray(name, (*shape, 2), dtype), *planned[1:]], "has shape"),
        ([PlannedArray(name, shape, "float16"), *planned[1:]], "expected float16"),
        (planned[1:], "belongs to no part of this model"),
        ([*planned, PlannedArray("more", (), "bool")], "the array more is missing"),
    ):
        with pytest.raises(InputError, match=sentence):
            require_planned(changed, arrays)
    array = arrays[name] = arrays[name].astype(np.float32)
    array.flat[0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        require_planned([PlannedArray(name, shape, "float32"), *planned[1:]], arrays)


def test_restoring_checks_the_same():
    model = MAF(layers=1, hidden=(2,)).build(3, rngs=nnx.Rngs(0))
    arrays = state_arrays(model)
    for changed in (dict(itertools.islice(arrays.items(), 1)), arrays | {"more": np.zeros(1)}):
        with pytest.raises(InputError):
            restore_state(model, changed)


def test_a_model_that_no_memory_holds_is_refused_before_it_is_built():
    with pytest.raises(InputError, match=r"a model of 3 features as described would have [\d,]+ numbers, which take"):
        require_memory(HUGE["wide"], 3)
    require_memory(MAF(), 3)
    require_memory(CommitteeSpec(), 3)
