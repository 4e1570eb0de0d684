import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.networks import MLP


def test_layers_and_activation_by_hand():
    network = MLP(2, 1, (3,), rngs=nnx.Rngs(0))
    first, second = network.layers
    x = jnp.array([[0.5, -1.0], [2.0, 3.0]])
    hidden = np.maximum(x @ first.kernel[...] + first.bias[...], 0)
    np.testing.assert_allclose(network(x), hidden @ second.kernel[...] + second.bias[...], rtol=1e-6)


def test_no_hidden_layer_is_a_linear_map():
    network = MLP(2, 1, (), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(network(jnp.array([2.0, 2.0])), 2 * network(jnp.array([1.0, 1.0])), rtol=1e-6)


def test_zero_last_starts_at_zero():
    assert np.all(MLP(2, 3, (8,), zero_last=True, rngs=nnx.Rngs(0))(jnp.ones((4, 2))) == 0)


def test_context_is_appended_and_repeated_for_leading_axes():
    network = MLP(2, 1, (8,), context_dim=3, rngs=nnx.Rngs(0))
    context = jnp.array([1.0, 2.0, 3.0])
    rows = network(jnp.ones((5, 2)), context)
    np.testing.assert_allclose(rows, jnp.broadcast_to(network(jnp.ones(2), context), (5, 1)), rtol=1e-6)
    assert not np.allclose(network(jnp.ones(2), context), network(jnp.ones(2), 2 * context))


@pytest.mark.parametrize("context", [None, jnp.ones((4, 2))])
def test_a_context_of_the_wrong_width_is_refused(context):
    with pytest.raises(ValueError, match="expected a context of 3 features"):
        MLP(2, 1, (8,), context_dim=3, rngs=nnx.Rngs(0))(jnp.ones((4, 2)), context)
