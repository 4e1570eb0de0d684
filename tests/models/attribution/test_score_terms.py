from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from jaxflow.bijectors import Affine, Chain, ElementwiseAffine, MaskedAutoregressive, Permutation, Reverse
from jaxflow.errors import InputError
from jaxflow.models import (
    BNAF,
    IAF,
    MAF,
    NICE,
    AutoEncoder,
    AutoregressiveNSF,
    Dequantized,
    Ensemble,
    EnsembleSpec,
    Flow,
    Gaussian,
    GaussianMixture,
    MixtureBase,
    PrincipalComponents,
    RealNVP,
    StandardNormal,
    StudentTBase,
    VariationalAutoEncoder,
    score_terms,
    term_methods,
)
from jaxflow.models.attribution.chain_rule import chain_rule_terms
from jaxflow.models.attribution.replacement import candidate_values, replacement_terms
from jaxflow.networks import MaskedMLP
from tests.compiled import normal

DIM = 4


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@partial(jax.jit, static_argnames=("graph", "method", "sources"))
def _terms_and_scores(state, x, context, candidates, *, graph, method, sources):
    model = nnx.merge(graph, state)
    terms = score_terms(model, x, context, method=method, sources=sources, candidates=candidates)
    return terms, model.score(x, context)


def terms_and_scores(model, x, context=None, *, method="auto", sources=None, candidates=None):
    graph, state = nnx.split(model)
    return _terms_and_scores(state, x, context, candidates, graph=graph, method=method, sources=sources)


def shaken(module, scale=0.3):
    """The module with parameters off their start, where most layers are the identity."""
    rng = np.random.default_rng(0)
    state = nnx.state(module, nnx.Param)
    nnx.update(module, jax.tree.map(lambda p: p + scale * rng.normal(size=p.shape).astype(p.dtype), state))
    return module


def single(order, rngs):
    """One autoregressive layer in an order of its own, seen through reorderings and a scale."""
    network = MaskedMLP(DIM, 2, (8,), order=order, context_dim=1, rngs=rngs)
    layer = MaskedAutoregressive(Affine(), network)
    inner = Chain([Permutation(np.array([2, 0, 3, 1])), ElementwiseAffine(DIM), Reverse()])
    return Flow(StandardNormal(DIM), Chain([Reverse(), layer, inner]), context_dim=1)


FACTORISING = {
    "maf": MAF(layers=1, hidden=(8,), normalization="act_norm"),
    "student": MAF(layers=1, hidden=(8,), base=StudentTBase(), normalization="batch_norm"),
    "iaf": IAF(layers=1, hidden=(8,)),
    "bnaf": BNAF(layers=1),
    "spline": AutoregressiveNSF(layers=1, hidden=(8,)),
}


@pytest.mark.parametrize("name", FACTORISING)
def test_chain_rule_terms_sum_to_the_score_and_look_at_earlier_features_only(name):
    model = shaken(FACTORISING[name].build(DIM, rngs=nnx.Rngs(0)))
    x = 2 * normal(1, (6, DIM))
    terms, scores = terms_and_scores(model, x)
    np.testing.assert_allclose(jnp.sum(terms, axis=-1), scores, rtol=1e-9)
    assert term_methods(model)[0] == "chain_rule"
    # The default order is from the first to the last: a feature tells nothing about those before it.
    changed, _ = terms_and_scores(model, x.at[:, 2].add(1.0))
    np.testing.assert_allclose(changed[:, :2], terms[:, :2], rtol=1e-12)
    assert np.all(np.abs(changed[:, 2:] - terms[:, 2:]) > 1e-6)


def test_each_chain_rule_term_is_a_density_of_its_feature():
    model = shaken(single(np.arange(DIM), nnx.Rngs(0)))
    grid = np.linspace(-30, 30, 2001)
    context = jnp.full((len(grid), 1), 0.5)
    x = np.tile(np.asarray(normal(2, (DIM,))), (len(grid), 1))
    for feature in range(DIM):
        line = x.copy()
        line[:, feature] = grid
        terms, scores = terms_and_scores(model, jnp.asarray(line), context)
        np.testing.assert_allclose(jnp.sum(terms, axis=-1), scores, rtol=1e-9)
        assert np.trapezoid(np.exp(-np.asarray(terms)[:, feature]), grid) == pytest.approx(1, abs=1e-3)


def test_an_ensemble_averages_the_members_that_count():
    model = Ensemble(lambda rngs: FACTORISING["maf"].build(DIM, rngs=rngs), 3, rngs=nnx.Rngs(0))
    shaken(model)
    kept = np.array([True, False, True])
    model.replace_members(model.member, kept)
    x = normal(3, (5, DIM))
    terms, scores = terms_and_scores(model, x)
    members = [terms_and_scores(model.take(index), x)[0] for index in (0, 2)]
    np.testing.assert_allclose(terms, np.mean(members, axis=0), rtol=1e-9)
    np.testing.assert_allclose(jnp.sum(terms, axis=-1), scores, rtol=1e-9)


@pytest.mark.parametrize("layers", [1, 13])
def test_members_with_random_orders_begin_at_different_features(layers):
    member = MAF(layers=layers, hidden=(8,), permutation="random")
    model: Any = EnsembleSpec(member=member, members=6).build(DIM, rngs=nnx.Rngs(0))
    nearest_to_the_data = model.member.bijector.layers[-1]
    assert isinstance(nearest_to_the_data, Permutation)
    assert len({tuple(order) for order in np.asarray(nearest_to_the_data.order[...]).tolist()}) > 2
    if layers > 1:
        return
    x = normal(3, (5, DIM))
    shaken(model)
    terms, scores = terms_and_scores(model, x)
    np.testing.assert_allclose(jnp.sum(terms, axis=-1), scores, rtol=1e-9)
    looks_at = set()
    for index in range(3):
        one = model.take(index)
        changed = jnp.stack([terms_and_scores(one, x.at[:, feature].add(1.0))[0] for feature in range(DIM)])
        seen = np.any(np.abs(changed - terms_and_scores(one, x)[0]) > 1e-9, axis=1)
        # Whatever the order, the features see 1, 2, ... of them.
        assert sorted(seen.sum(axis=0).tolist()) == [1, 2, 3, 4]
        looks_at.add(int(seen.sum(axis=0).argmin()))
    assert len(looks_at) > 1


@pytest.mark.parametrize("permutation", ["reverse", "random"])
@pytest.mark.parametrize("members", [0, 2])
def test_dequantized_terms_sum_to_the_score(members, permutation):
    grids = ("none", "uniform", "uniform", "none")

    def make(rngs):
        spec = MAF(layers=1, hidden=(8,), permutation=permutation, dequantize=grids, draws=4)
        return spec.build(DIM, rngs=rngs)

    model: Any = Ensemble(make, members, rngs=nnx.Rngs(0)) if members else make(nnx.Rngs(0))
    x = jnp.round(2 * normal(3, (20, DIM)), 0) * jnp.array([1.0, 0.5, 3.0, 1.0])
    model.prepare(x)
    shaken(model)
    terms, scores = terms_and_scores(model, x)
    assert term_methods(model) == ("chain_rule", "replacement")
    np.testing.assert_allclose(jnp.sum(terms, axis=-1), scores, rtol=1e-9)
    bounds = model.each(lambda member: member.lower_bound(x)).mean(axis=0) if members else model.lower_bound(x)
    assert np.max(scores + bounds) < 0  # the draws matter, so that the sum is that of the score alone
    for index in range(max(members, 1)):
        one = model.take(index) if members else model
        changed = jnp.stack([terms_and_scores(one, x.at[:, feature].add(3.0))[0] for feature in range(DIM)])
        seen = np.any(np.abs(changed - terms_and_scores(one, x)[0]) > 1e-9, axis=1)
        # In the order in which they are visited, the features change the terms of 4, 3, 2 and 1 of them.
        assert sorted(seen.sum(axis=1).tolist()) == [1, 2, 3, 4]


def test_learned_noise_has_no_terms_in_order():
    learned = MAF(layers=1, hidden=(8,), dequantize="variational").build(DIM, rngs=nnx.Rngs(0))
    assert term_methods(learned) == ("replacement",)


def test_columns_on_a_grid_are_visited_in_the_order_of_the_conditioner():
    order = np.array([2, 0, 3, 1])
    network = MaskedMLP(DIM, 2, (8,), order=order, rngs=nnx.Rngs(0))
    flow = Flow(StandardNormal(DIM), MaskedAutoregressive(Affine(), network))
    model = Dequantized(flow, "uniform", draws=4, rngs=nnx.Rngs(1))
    x = jnp.round(2 * normal(3, (20, DIM)), 0)
    model.prepare(x)
    shaken(model)
    terms, scores = terms_and_scores(model, x)
    np.testing.assert_allclose(jnp.sum(terms, axis=-1), scores, rtol=1e-9)
    for place, feature in enumerate(order):
        changed = terms_and_scores(model, x.at[:, feature].add(1.0))[0]
        same = np.all(np.abs(changed - terms) < 1e-12, axis=0)
        assert set(np.flatnonzero(same)) == set(order[:place].tolist())


def correlated_gaussian(kind: Any = "full"):
    rng = np.random.default_rng(4)
    mix = np.eye(DIM) + 0.5 * rng.normal(size=(DIM, DIM))
    model = Gaussian(DIM, kind)
    model.fit_directly(jnp.asarray(rng.normal(size=(60, DIM)) @ mix + 1), key=jax.random.key(0))
    return model


def conditional_log_density(x, block, mean, covariance):
    """By Schur complements and scipy, not by the precision."""
    rest = [feature for feature in range(len(mean)) if feature not in block]
    regression = covariance[np.ix_(block, rest)] @ np.linalg.inv(covariance[np.ix_(rest, rest)])
    left = covariance[np.ix_(block, block)] - regression @ covariance[np.ix_(rest, block)]
    means = mean[block] + (x[:, rest] - mean[rest]) @ regression.T
    return [
        scipy.stats.multivariate_normal(m, left).logpdf(row) for m, row in zip(means, x[:, block], strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["full", "diagonal"])
@pytest.mark.parametrize("blocks", [((0,), (1,), (2,), (3,)), ((1, 3), (0,), (2,))], ids=["single", "joint"])
def test_gaussian_terms_are_conditional_densities(kind, blocks):
    model = correlated_gaussian(kind)
    factor = np.asarray(model.factor[...])
    covariance = np.diag(factor**2) if kind == "diagonal" else factor @ factor.T
    x = 3 * np.asarray(normal(5, (7, DIM)))
    sources = tuple(next(i for i, block in enumerate(blocks) if feature in block) for feature in range(DIM))
    terms, _ = terms_and_scores(model, jnp.asarray(x), sources=sources)
    mean = np.asarray(model.mean[...])
    expected = [[-p for p in conditional_log_density(x, list(block), mean, covariance)] for block in blocks]
    np.testing.assert_allclose(terms, np.transpose(expected), rtol=1e-8)


def test_mixture_terms_are_conditional_densities():
    model = GaussianMixture(DIM, components=3)
    rng = np.random.default_rng(6)
    factors = np.tril(rng.normal(size=(3, DIM, DIM)), -1) + np.eye(DIM)
    weights, means = np.array([0.2, 0.5, 0.3]), rng.normal(size=(3, DIM))
    for variable, value in zip(
        (model.log_weights, model.means, model.factors), (np.log(weights), means, factors), strict=True
    ):
        variable.set_value(jnp.asarray(value))
    x = np.asarray(normal(7, (5, DIM)))

    def density(columns):
        parts = [
            scipy.stats.multivariate_normal(m[columns], (f @ f.T)[np.ix_(columns, columns)]).pdf(x[:, columns])
            for m, f in zip(means, factors, strict=True)
        ]
        return weights @ np.array(parts)

    everything = list(range(DIM))
    rest = [[1, 2, 3], [0, 2, 3], [0, 1]]
    expected = [np.log(density(others)) - np.log(density(everything)) for others in rest]
    terms, _ = terms_and_scores(model, jnp.asarray(x), sources=(0, 1, 2, 2))
    np.testing.assert_allclose(terms, np.transpose(expected), rtol=1e-8)


def test_autoencoder_terms_are_squared_errors():
    model = AutoEncoder(DIM, (8,), rngs=nnx.Rngs(0))
    x = normal(8, (5, DIM))
    terms, scores = terms_and_scores(model, x, sources=(0, 0, 1, 2))
    errors = np.asarray((x - model.reconstruct(x)) ** 2)
    np.testing.assert_allclose(terms, np.stack([errors[:, :2].sum(axis=1), errors[:, 2], errors[:, 3]], axis=1))
    np.testing.assert_allclose(jnp.sum(terms, axis=-1) / DIM, scores)


def test_variational_autoencoder_terms_are_log_densities_given_the_latent_features():
    model = VariationalAutoEncoder(DIM, (8,), draws=3, rngs=nnx.Rngs(0))
    assert term_methods(model) == ("reconstruction", "replacement")
    x = normal(8, (5, DIM))
    terms, scores = terms_and_scores(model, x, sources=(0, 0, 1, 2))
    own = np.asarray(model.feature_terms(x))
    np.testing.assert_allclose(terms, np.stack([own[:, :2].sum(axis=1), own[:, 2], own[:, 3]], axis=1))
    np.testing.assert_allclose(jnp.sum(terms, axis=-1), scores)


@pytest.mark.parametrize("score", ["reconstruction", "mahalanobis"])
def test_principal_component_terms_are_those_of_the_score(score):
    """Squared errors, or conditional densities under the normal density whose distance is the score."""
    model = PrincipalComponents(DIM, components=2, score=score)
    rows = np.random.default_rng(4).normal(size=(60, DIM)) @ np.random.default_rng(5).normal(size=(DIM, DIM))
    model.fit_directly(jnp.asarray(rows), key=jax.random.key(0))
    x = normal(8, (5, DIM))
    errors = np.asarray((x - model.reconstruct(x)) ** 2)
    terms, scores = terms_and_scores(model, x, method="squared_error")
    np.testing.assert_allclose(terms, errors)
    if score == "reconstruction":
        assert term_methods(model) == ("squared_error", "replacement")
        np.testing.assert_allclose(jnp.mean(terms, axis=-1), scores)
        return
    assert term_methods(model) == ("conditional", "squared_error", "replacement")
    factor = np.asarray(model.as_gaussian().factor[...])
    terms, _ = terms_and_scores(model, x)
    mean = np.asarray(model.mean[...])
    expected = [[-p for p in conditional_log_density(np.asarray(x), [i], mean, factor @ factor.T)] for i in range(DIM)]
    np.testing.assert_allclose(terms, np.transpose(expected), rtol=1e-8)


def test_replacement_terms_of_a_gaussian_are_half_squared_residuals():
    """Of a Gaussian the mode given the rest is known, and a fine grid finds it."""
    model = correlated_gaussian()
    x = np.asarray(normal(9, (5, DIM)))
    grid = np.tile(np.linspace(-12, 12, 4001)[:, None], (1, DIM))
    terms, _ = terms_and_scores(model, jnp.asarray(x), method="replacement", candidates=jnp.asarray(grid))
    factor = np.asarray(model.factor[...])
    precision = np.linalg.inv(factor @ factor.T)
    residual = (x - np.asarray(model.mean[...])) @ precision
    np.testing.assert_allclose(terms, 0.5 * residual**2 / np.diag(precision), atol=2e-3)


@pytest.mark.parametrize("spec", [MAF(layers=2, hidden=(8,)), RealNVP(layers=2, hidden=(8,))], ids=["maf", "realnvp"])
def test_replacement_terms_are_what_the_score_falls_by(spec):
    model = shaken(spec.build(DIM, rngs=nnx.Rngs(0)), 0.1)
    assert term_methods(model) == ("replacement",)
    x, candidates = normal(10, (5, DIM)), normal(11, (6, DIM))
    terms, scores = terms_and_scores(model, x, candidates=candidates, sources=(0, 1, 1, 2))
    graph, state = nnx.split(model)
    score = jax.jit(lambda rows: nnx.merge(graph, state).score(rows))
    for index, block in enumerate([[0], [1, 2], [3]]):
        replaced = [score(x.at[:, jnp.array(block)].set(values[jnp.array(block)])) for values in candidates]
        np.testing.assert_allclose(terms[:, index], scores - np.minimum(scores, np.min(replaced, axis=0)), atol=1e-9)


def test_no_replacement_helps_where_a_density_stays_zero():
    model = MAF(layers=2, hidden=(8,)).build(DIM, rngs=nnx.Rngs(0))
    x = jnp.zeros((3, DIM)).at[1, 0].set(jnp.inf).at[2, :2].set(jnp.inf)
    terms, _ = terms_and_scores(model, x, candidates=normal(11, (6, DIM)))
    assert np.asarray(terms[1]).tolist() == [np.inf, 0, 0, 0]
    assert np.asarray(terms[2]).tolist() == [0, 0, 0, 0]


def test_where_the_arithmetic_of_a_score_overflows_it_is_infinite():
    class Overflowing(AutoEncoder):
        def score(self, x, context=None):
            return jnp.where(jnp.any(x > 100, axis=-1), jnp.nan, jnp.sum(x, axis=-1))

    model = Overflowing(2, (4,), rngs=nnx.Rngs(0))
    x = jnp.array([[200.0, 1.0], [3.0, 1.0], [200.0, 200.0]])
    terms = replacement_terms(model, x, None, [[0], [1]], jnp.array([[0.0, 0.0], [1.0, 300.0]]))
    np.testing.assert_array_equal(terms, [[np.inf, 0], [3, 1], [0, 0]])


def test_terms_go_back_through_reorderings_that_do_not_commute():
    conditioner = MaskedMLP(3, 2, (8,), rngs=nnx.Rngs(0))
    layers = [
        MaskedAutoregressive(Affine(), conditioner),
        Permutation(np.array([1, 0, 2])),
        Permutation(np.array([1, 2, 0])),
    ]
    flow = shaken(Flow(StandardNormal(3), Chain(layers)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=3))
    slopes = np.asarray(jax.jacfwd(partial(chain_rule_terms, flow))(x))
    before = np.abs(slopes) > 1e-9
    seen: set[int] = set()
    for feature in np.argsort(before.sum(axis=1)):  # each term looks at its feature and at those of the terms before
        seen.add(int(feature))
        assert set(np.flatnonzero(before[feature])) == seen
    # Infinitely far out there is no density of any feature.
    assert np.isposinf(chain_rule_terms(flow, x.at[1].set(jnp.inf))).all()


def test_candidates_are_values_of_normal_rows():
    rng = np.random.default_rng(12)
    normal = np.stack([rng.normal(size=500), rng.integers(0, 3, 500), *np.eye(3)[rng.integers(0, 3, 500)].T], axis=1)
    chosen = candidate_values(normal, [[0], [1], [2, 3, 4]], 8)
    assert chosen.shape == (8, 5)
    assert np.all(np.isin(chosen[:, 0], normal[:, 0]))
    shares = np.mean(normal[:, :1] < chosen[:, 0], axis=0)
    np.testing.assert_allclose(shares, (np.arange(8) + 0.5) / 8, atol=0.003)
    assert set(chosen[:, 1]) == {0.0, 1.0, 2.0}
    # A value that many rows have stands for as many quantiles.
    often = np.where(np.arange(500) < 250, -5.0, rng.normal(size=500))[:, None]
    assert np.sum(candidate_values(often, [[0]], 8) == -5.0) == 4
    # One-hot columns are replaced together, by one of the three categories.
    assert {tuple(row) for row in chosen[:, 2:].tolist()} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


@pytest.mark.parametrize(
    ("model", "method", "words"),
    [
        (MAF(layers=2, hidden=(8,)), "chain_rule", "does not suit this Flow: expected auto or replacement"),
        (MAF(layers=1, permutation="lu"), "chain_rule", "does not suit this Flow"),
        (MAF(layers=1, base=MixtureBase()), "chain_rule", "does not suit this Flow"),
        (NICE(layers=1), "conditional", "does not suit this Flow: expected auto or replacement"),
        (MAF(layers=1), "conditional", "expected auto or chain_rule or replacement"),
        (MAF(layers=1), "shapley", "method = 'shapley': expected auto or one of chain_rule, conditional"),
        (MAF(layers=1), "replacement", "needs candidates"),
    ],
)
def test_what_a_model_does_not_have_is_refused(model, method, words):
    with pytest.raises(InputError, match=words):
        score_terms(model.build(DIM, rngs=nnx.Rngs(0)), jnp.zeros((2, DIM)), method=method)
