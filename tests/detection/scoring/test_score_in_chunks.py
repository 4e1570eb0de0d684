from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.detection.scoring import score_in_chunks as scoring
from jaxflow.detection.scoring.score_in_chunks import draw_rows, score_rows
from jaxflow.models.model import Density
from jaxflow.networks.buffer import Buffer


class Product(Density):
    """Scores a row by its sum times a number."""

    def __init__(self, factor: float = 1.0):
        self.dim = 2
        self.context_dim = 0
        self.factor = Buffer(jnp.asarray(factor))

    def log_prob(self, x, context=None):
        return -jnp.sum(x, axis=-1) * self.factor[...]

    def sample(self, key, sample_shape=(), context=None):
        return jax.random.uniform(key, (*sample_shape, 2))


class Explosive(Product):
    """NaN far out, as a flow whose inverse explodes until infinity meets minus infinity."""

    def log_prob(self, x, context=None):
        return jnp.where(jnp.abs(x[..., 0]) > 1e3, jnp.nan, super().log_prob(x))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 64)


@pytest.mark.parametrize("rows", [0, 1, 2, 63, 64, 65, 128, 129, 200])
def test_every_row_gets_its_own_score(small_chunks, rows):
    z = np.arange(2.0 * rows).reshape(rows, 2)
    scores = score_rows(Product(), z)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, z.sum(axis=1))


def test_every_row_is_scored_in_its_own_context(small_chunks):
    class Given(Product):
        def log_prob(self, x, context=None):
            assert context is not None
            return super().log_prob(x) + context[..., 0]

    z, context = np.arange(300.0).reshape(150, 2), 1000 * np.arange(150.0)[:, None]
    np.testing.assert_array_equal(score_rows(Given(), z, context), z.sum(axis=1) - context[:, 0])


def test_few_programs_serve_any_number_of_rows():
    model = Product(3.0)
    score_rows(model, np.zeros((64, 2)))
    compiled: Any = scoring._score
    before = compiled._cache_size()
    for rows in range(1, 64):
        score_rows(model, np.zeros((rows, 2)))
    assert compiled._cache_size() == before
    for rows in (65, 100, 128, 70):
        score_rows(model, np.zeros((rows, 2)))
    assert compiled._cache_size() == before + 1
    # A model of the same structure needs no program of its own.
    score_rows(Product(4.0), np.zeros((1, 2)))
    assert compiled._cache_size() == before + 1


def test_infinite_scores_are_kept():
    z = np.array([[1e30, 1.0], [-1e30, 1.0], [1.0, 1.0]])
    np.testing.assert_array_equal(score_rows(Product(1e38), z), [np.inf, -np.inf, np.float32(2e38)])


def test_infinite_values_count_as_very_large():
    scores = score_rows(Product(), np.array([[np.inf, 0.0], [-np.inf, 0.0], [1e300, 0.0], [1e12, 0.0]]))
    assert scores[0] == scores[2] == -scores[1] > scores[3] > 9e11


def test_a_row_that_overflows_is_infinitely_far():
    z = np.array([[1.0, 1.0], [1e6, 1e6], [3.0, 3.0]])
    np.testing.assert_array_equal(score_rows(Explosive(), z), [2.0, np.inf, 6.0])


def test_a_broken_model_is_no_anomaly():
    with pytest.raises(FloatingPointError, match="the model's array factor is not finite, so it cannot score"):
        score_rows(Product(np.nan), np.ones((3, 2)))


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_draws_come_in_chunks_and_differ(small_chunks, count):
    draws = draw_rows(Product(), jax.random.key(0), count)
    assert draws.shape == (count, 2)
    assert draws.dtype == np.float64
    assert len(np.unique(draws)) == 2 * count
    np.testing.assert_array_equal(draws, draw_rows(Product(), jax.random.key(0), count))
    if count:
        assert (draws != draw_rows(Product(), jax.random.key(1), count)).all()
