import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import genpareto

from jaxflow.errors import InputError
from jaxflow.models import CommitteeMember, CommitteeSpec, KernelDensitySpec
from jaxflow.models.combined.surprise import SHAPE, negative_log_tail, score_tail
from jaxflow.training import FitSpec, fit
from jaxflow.training.engine.batch import Batch, filled_up
from tests.models.small_committee import FLOW, SMALL_COMMITTEE


def rows(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def test_rows_are_filled_up_with_copies_that_do_not_count():
    x, context = rows(0, 33), rows(1, 33)
    full = filled_up(Batch(x, None, context))
    np.testing.assert_array_equal(full.x, np.concatenate([x, x[:3]]))
    np.testing.assert_array_equal(full.context, np.concatenate([context, context[:3]]))
    np.testing.assert_array_equal(full.weight, [1.0] * 33 + [0.0] * 3)
    np.testing.assert_array_equal(filled_up(Batch(x, jnp.arange(33.0))).weight, [*range(33), 0, 0, 0])


def test_scores_that_are_not_counted_have_no_part_in_the_tail():
    scores = jnp.asarray([3.0, 1.0, np.inf, 2.0, 50.0, np.nan, 4.0])
    counted = jnp.asarray([True, True, True, True, False, False, True])
    for found, expected in zip(score_tail(scores, counted), score_tail(scores[counted]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_scores_that_are_no_finite_numbers_count_as_the_largest_finite_one():
    scores = np.random.default_rng(1).gamma(3.0, size=100)
    odd, as_if = scores.copy(), scores.copy()
    odd[:9] = [np.inf, np.nan, -np.inf] * 3
    as_if[:9] = scores[9:].max()
    for found, expected in zip(score_tail(jnp.asarray(odd)), score_tail(jnp.asarray(as_if)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    quantiles, excess = score_tail(jnp.full(5, jnp.inf))
    np.testing.assert_array_equal(quantiles, 0)
    assert excess > 0


def test_below_the_tail_a_score_is_as_rare_as_held_out_rows_say():
    known = np.random.default_rng(2).gamma(3.0, size=5000)
    quantiles, excess = score_tail(jnp.asarray(known))
    levels = (np.arange(512) + 0.5) / 512
    np.testing.assert_allclose(quantiles, np.quantile(known, levels), rtol=1e-4)
    asked = np.array([0, 10, 100, 400])
    found = negative_log_tail(quantiles[asked], quantiles, excess)
    np.testing.assert_allclose(found, -np.log(1 - levels[asked]), rtol=1e-4)


def test_beyond_the_last_tenth_the_tail_is_that_of_a_pareto_distribution_with_their_mean_excess():
    known = np.random.default_rng(0).gamma(3.0, size=5000)
    quantiles, excess = score_tail(jnp.asarray(known))
    start = np.quantile(known, 0.9)
    np.testing.assert_allclose(excess, np.mean(known[known > start] - start), rtol=1e-3)
    asked = start + np.array([0.5, 1.0, 10.0, 1e6]) * np.mean(known[known > start] - start)
    found = np.asarray(negative_log_tail(jnp.asarray(asked), quantiles, excess))
    tail = genpareto(SHAPE, loc=start, scale=(1 - SHAPE) * np.mean(known[known > start] - start))
    np.testing.assert_allclose(found, -np.log(0.1) - tail.logsf(asked), rtol=5e-3)
    exponential = negative_log_tail(jnp.asarray(asked), quantiles, excess, shape=0.0)
    np.testing.assert_allclose(exponential, -np.log(0.1) + (asked - start) / excess, rtol=5e-3)
    assert tail.mean() - start == pytest.approx(np.mean(known[known > start] - start))


def test_data_of_one_size_class_share_the_large_programs(compilations):
    spec = FitSpec(epochs=2, batch_size=32)

    def fitted(seed, n, held_out):
        model = SMALL_COMMITTEE.for_rows(n + held_out).build(3, rngs=nnx.Rngs(seed))
        return fit(model, rows(seed, n), rows(seed + 1, held_out), spec, key=jax.random.key(seed)).model

    with compilations() as first:
        fitted(0, 300, 40)
    with compilations() as second:
        model = fitted(2, 310, 39)
    assert len(first) > 50
    # What is left are checks, operation by operation, of arrays as they were given.
    assert len(second) < 20
    model.calibrate(jnp.asarray(rows(3, 39)))
    surprises = model.surprises(jnp.asarray(rows(3, 39)))
    np.testing.assert_allclose(np.mean(surprises, axis=1), 1, atol=0.15)  # as of a standard exponential variable


def committee(*models):
    return CommitteeSpec(members=tuple(CommitteeMember(model=one) for one in models)).build(3, rngs=nnx.Rngs(0))


def test_a_trimmed_committee_does_not_remember_anomalies_that_it_was_fitted_with():
    far = (np.random.default_rng(3).normal(size=(40, 3)) * 0.3 + 5).astype(np.float32)
    train, valid = np.concatenate([rows(0, 100), far[:6]]), np.concatenate([rows(1, 40), far[6:8]])

    def surprised(trim):
        """The share of normal rows that surprise the kernel density less than others of the far ones do."""
        model = committee(KernelDensitySpec(), FLOW)
        fitted = fit(model, train, valid, FitSpec(epochs=2, trim=trim), key=jax.random.key(0)).model
        normal, anomalies = (fitted.surprises(jnp.asarray(x))[0] for x in (rows(2, 200), far[8:]))
        return np.mean(np.asarray(anomalies)[:, None] > np.asarray(normal))

    assert surprised(0.0) < 0.95
    assert surprised(0.1) == 1


def test_a_committee_that_only_remembers_cannot_be_trimmed():
    with pytest.raises(InputError, match=r"^trim = 0\.1: rows are left out of a committee by members fitted by"):
        fit(committee(KernelDensitySpec()), rows(0, 50), rows(1, 10), FitSpec(trim=0.1), key=jax.random.key(0))
