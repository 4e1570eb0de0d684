"""Where a flow in float32, fitted to heavy tails, finds back to the rows that it maps: README says it in words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.data.columns.columns_spec import Tails
from jaxflow.detection import FlowDetector, Percentile
from jaxflow.detection.doubts.doubtful_fit import DoubtfulFit
from jaxflow.models import MAF
from jaxflow.training import FitSpec

DIM = 4


def errors(tails: Tails) -> tuple[float, float]:
    """The largest relative errors of a round trip: of training rows, and of rows at 100 standard deviations."""
    rng = np.random.default_rng(0)
    rows = rng.standard_t(1.2, size=(1000, DIM))
    rows[:, 1] += 0.5 * rows[:, 0]
    directions = rng.normal(size=(200, DIM))
    far = 100 * rows.std(axis=0) * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    spec, train = MAF(layers=5, hidden=(32,)), FitSpec(epochs=20)
    columns = ColumnsSpec(tails=tails)
    detector = FlowDetector(spec, train=train, columns=columns, threshold=Percentile(), random_state=0).fit(rows)
    bijector = detector.model_.bijector

    @jax.jit
    def relative_error(z):
        return jnp.max(jnp.abs(bijector.forward(bijector.inverse(z)) - z) / jnp.maximum(1, jnp.abs(z)))

    near, distant = (jnp.asarray(detector.inputs_.model_rows(x)[0], jnp.float32) for x in (rows, far))
    return float(relative_error(near)), float(relative_error(distant))


def test_with_arcsinh_a_flow_finds_back_to_rows_far_out():
    near, far = errors("arcsinh")
    assert near < 1e-5
    assert far < 1e-3


def test_without_them_it_does_not():
    with pytest.warns(DoubtfulFit, match="values far out set the scale of 2 columns"):
        far = errors("none")[1]
    assert far > 1
