"""What all models share: how they take rows, contexts and the shape of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    NICE,
    AutoEncoderSpec,
    Committee,
    Density,
    DirectlyFitted,
    EnsembleSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    KernelDensitySpec,
    PrincipalComponentsSpec,
    VariationalAutoEncoderSpec,
    score_terms,
)

DIM, CONTEXT_DIM = 3, 2
SMALL = {"layers": 1, "hidden": (8,)}


def committee():
    return Committee(("as_given", "arcsinh"), [spec.build(DIM, rngs=nnx.Rngs(0)) for spec in (GaussianSpec(),) * 2])


UNCONDITIONAL = {
    "gaussian": GaussianSpec(),
    "mixture": GaussianMixtureSpec(components=2),
    "kernel_density": KernelDensitySpec(rows=4),
    "pca": PrincipalComponentsSpec(),
    "autoencoder": AutoEncoderSpec(hidden=(4,)),
    "vae": VariationalAutoEncoderSpec(hidden=(4,), draws=2),
    "flow": MAF(**SMALL),
    "dequantized": MAF(**SMALL, dequantize="uniform"),
    "ensemble": EnsembleSpec(member=NICE(**SMALL), members=2),
    "committee": None,
}
CONDITIONAL = {
    "linear_gaussian": GaussianSpec(context_dim=CONTEXT_DIM),
    "autoencoder": AutoEncoderSpec(hidden=(4,), context_dim=CONTEXT_DIM),
    "vae": VariationalAutoEncoderSpec(hidden=(4,), draws=2, context_dim=CONTEXT_DIM),
    "flow": MAF(**SMALL, context_dim=CONTEXT_DIM),
    "embedded": MAF(**SMALL, context_dim=CONTEXT_DIM, context_embedding=(4,)),
    "dequantized": MAF(**SMALL, dequantize="variational", context_dim=CONTEXT_DIM),
    "ensemble": EnsembleSpec(member=NICE(**SMALL, context_dim=CONTEXT_DIM), members=2),
}


def built(specs, name):
    return committee() if specs[name] is None else specs[name].build(DIM, rngs=nnx.Rngs(0))


def judging(model):
    """The ways of giving a model rows that see to the shapes before type checkers do, as these tests have them."""
    ways = [model.score, lambda x, c: model.loss(x, None, c)]
    return ways + ([model.log_prob] if hasattr(model, "log_prob") else [])


def all_ways(model):
    """The others besides."""
    names = ("encode", "reconstruct", "lower_bound", "importance_bound", "kl_divergence", "without_context")
    terms = [lambda x, c: score_terms(model, x, c, candidates=jnp.ones((2, x.shape[-1])))]
    return judging(model) + terms + [getattr(model, name) for name in names if hasattr(model, name)]


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_another_width_and_a_context_are_refused_in_the_same_words(name):
    model = built(UNCONDITIONAL, name)
    for shape in ((2, DIM + 1), (2, 1), (DIM + 2,), (2, 0), ()):
        for judge in all_ways(model) if shape else judging(model):
            with pytest.raises(InputError) as error:
                judge(jnp.ones(shape), None)
            assert str(error.value) == f"rows have the shape {shape}, expected (..., {DIM})"
    for judge in all_ways(model):
        with pytest.raises(InputError, match=rf"^expected a context of 0 features, got {CONTEXT_DIM}$"):
            judge(jnp.ones((2, DIM)), jnp.ones((2, CONTEXT_DIM)))
    if hasattr(model, "sample"):
        with pytest.raises(InputError, match=rf"^expected a context of 0 features, got {CONTEXT_DIM}$"):
            model.sample(jax.random.key(0), (2,), jnp.ones((2, CONTEXT_DIM)))
    if isinstance(model, DirectlyFitted):
        with pytest.raises(InputError, match=r"^rows have the shape \(9, 1\), expected"):
            model.fit_directly(jnp.ones((9, 1)), key=jax.random.key(0))
        with pytest.raises(InputError, match=r"^expected a context of 0 features, got 1$"):
            model.fit_directly(jnp.ones((9, DIM)), None, jnp.ones((9, 1)), key=jax.random.key(0))


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_missing_or_wrong_context_is_refused_in_the_same_words(name):
    model = built(CONDITIONAL, name)
    draw = [lambda x, c: model.sample(jax.random.key(0), (2,), c)] if hasattr(model, "sample") else []
    for judge in all_ways(model) + draw:
        for context, given in ((None, 0), (jnp.ones((2, 1)), 1), (jnp.ones((2, 3)), 3)):
            with pytest.raises(InputError, match=rf"^expected a context of {CONTEXT_DIM} features, got {given}$"):
                judge(jnp.ones((2, DIM)), context)
    for judge in judging(model):
        with pytest.raises(InputError) as error:
            judge(jnp.ones((4, DIM)), jnp.ones((5, CONTEXT_DIM)))
        shapes = f"rows have the shape (4, {DIM}) and their context (5, {CONTEXT_DIM})"
        assert str(error.value) == f"{shapes}, expected leading axes that broadcast"


@pytest.mark.parametrize("name", CONDITIONAL)
def test_leading_axes_of_rows_and_contexts_broadcast(name):
    model = built(CONDITIONAL, name)
    judges = [model.score, *([model.log_prob] if isinstance(model, Density) else [])]
    for rows, contexts, batch in (((), (5,), (5,)), ((4, 1), (1, 5), (4, 5)), ((4, 1), (5,), (4, 5)), ((4,), (), (4,))):
        x, context = jnp.ones((*rows, DIM)), jnp.ones((*contexts, CONTEXT_DIM))
        assert {jax.eval_shape(judge, x, context).shape for judge in judges} == {batch}
        terms = jax.eval_shape(lambda x, c: score_terms(model, x, c, candidates=jnp.ones((2, DIM))), x, context)
        assert terms.shape == (*batch, DIM)


@pytest.mark.parametrize("name", ["linear_gaussian", "flow"])
def test_one_row_under_many_contexts_has_the_values_of_as_many_rows(name):
    model = built(CONDITIONAL, name)
    rng = np.random.default_rng(0)
    for variable in jax.tree.leaves(nnx.state(model), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)):
        if jnp.issubdtype(variable.dtype, jnp.floating) and variable.shape != (DIM, DIM):
            variable.set_value(variable[...] + jnp.asarray(rng.normal(size=variable.shape), variable.dtype))
    score = nnx.jit(lambda model, x, context: model.score(x, context))
    x, context = rng.normal(size=(4, 1, DIM)), rng.normal(size=(5, CONTEXT_DIM))
    wide = np.broadcast_to(x, (4, 5, DIM)), np.broadcast_to(context, (4, 5, CONTEXT_DIM))
    expected = score(model, *wide)
    assert len(np.unique(np.asarray(expected))) == 20
    np.testing.assert_allclose(score(model, x, context), expected, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in UNCONDITIONAL if hasattr(built(UNCONDITIONAL, name), "sample")])
def test_draws_take_any_whole_number_or_shape_of_such(name):
    model, key = built(UNCONDITIONAL, name), jax.random.key(0)
    for shape, expected in ((5, (5,)), (np.int64(5), (5,)), ((np.int32(2), 4), (2, 4)), ([2], (2,)), ((), ())):
        assert jax.eval_shape(lambda key, shape=shape: model.sample(key, shape), key).shape == (*expected, DIM)
    for shape in (2.5, "3", -1, True, (2, 1.0), ("3",), None):
        with pytest.raises(InputError, match=r"^sample_shape = .*: expected a whole number of at least 0, or a tuple"):
            model.sample(key, shape)
