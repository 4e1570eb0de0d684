"""Fits side by side are the fits made alone."""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.detection import FlowDetector, Percentile
from jaxflow.errors import NonFiniteLoss
from jaxflow.models import MAF
from jaxflow.models.named_arrays import state_arrays
from jaxflow.training import FitResult, FitSpec, fit, side_by_side
from jaxflow.training.many import members
from tests.models.small_committee import SMALL_COMMITTEE

MODULE = sys.modules["jaxflow.training.many.side_by_side"]  # the package has a function of that name
SPEC = FitSpec(epochs=4, batch_size=32, learning_rate=1e-2)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def programs(monkeypatch):
    """How many fits each epoch's program was called with."""
    counts: list[int] = []
    advance = MODULE.advance_members

    def counted(states, *arguments, **options):
        counts.append(len(states.stopped))
        return advance(states, *arguments, **options)

    monkeypatch.setattr(MODULE, "advance_members", counted)
    return counts


def job(seed: int, n: int = 70, dim: int = 2, scale: float = 1.0, spec: FitSpec = SPEC):
    rng = np.random.default_rng(seed)
    model = MAF(layers=2, hidden=(8,), normalization="act_norm").build(dim, rngs=nnx.Rngs(seed))
    x = scale * rng.normal(1.0, 2.0, size=(n, dim))
    return partial(fit, model, x, rng.normal(1.0, 2.0, size=(30, dim)), spec, key=jax.random.key(seed))


@pytest.mark.parametrize("in_turn", [True, False])
def test_each_fit_is_what_it_is_alone(programs, monkeypatch, in_turn):
    monkeypatch.setattr(MODULE, "take_turns", lambda: in_turn)
    jobs = [job(0), job(1, n=90), job(2), job(3, dim=3), job(4)]
    for found, alone in zip(side_by_side(jobs), [one() for one in jobs], strict=True):
        for ours, expected in zip(state_arrays(found.model).values(), state_arrays(alone.model).values(), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)
        assert found.history.column("valid_loss") == pytest.approx(alone.history.column("valid_loss"), rel=1e-9)
    assert set(programs) == {3}


def test_one_that_fails_leaves_the_others(programs):
    ended = []

    def noted(one):
        result = one()
        ended.append(result)
        return result

    jobs = [job(0), job(1, scale=1e200), job(2), lambda: 1 / 0]
    with pytest.raises(NonFiniteLoss, match="epoch 1, step 1"):
        side_by_side([partial(noted, one) for one in jobs])
    assert len(ended) == 2
    assert set(programs) == {3}


def test_jobs_of_several_fits_meet_at_each(programs):
    def both(seed: int) -> tuple[FitResult, FitResult]:
        return job(seed)(), job(seed + 1)()

    found: list[Any] = side_by_side([partial(both, 0), partial(both, 2), job(5)])
    assert {*programs} == {2, 3}
    for result in (*found[0], *found[1], found[2]):
        assert len(result.history.rows) == 4


def test_what_cannot_be_shared_is_fitted_by_itself(programs, capsys):
    side_by_side([job(0), partial(job(1), progress=True)])
    assert not programs
    assert "epoch" in capsys.readouterr().err


def test_an_interruption_ends_all(monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "run_epochs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side([job(0), job(1), job(2)])


def test_committees_of_data_of_one_size_class(programs):
    def detector():
        return FlowDetector(
            SMALL_COMMITTEE,
            train=FitSpec(epochs=2, batch_size=64),
            threshold=Percentile(percentile=50),
            calibration_fraction=0.0,
        )

    tables = [np.random.default_rng(seed).normal(size=(n, 3)) for seed, n in enumerate((300, 304, 200))]
    found = side_by_side([partial(detector().fit, x) for x in tables])
    assert set(programs) == {2}
    for one, x in zip(found, tables, strict=True):
        np.testing.assert_allclose(one.anomaly_score(x), detector().fit(x).anomaly_score(x), rtol=1e-6)


def test_one_job_is_called_as_it_is():
    assert side_by_side([]) == []
    assert side_by_side([lambda: jnp.asarray(1.0).dtype]) == [jnp.float64]
    assert members.take_turns() is (jax.default_backend() == "cpu")
