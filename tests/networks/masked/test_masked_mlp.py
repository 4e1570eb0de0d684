"""The network sees what its masks allow, all of it and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.networks import MaskedMLP
from jaxflow.networks.masked.masked_walk import walk
from tests.compiled import normal

DIM = 5
# Features 1 and 2 depend on feature 0, feature 4 on 1 and 2, feature 3 on nothing.
GRAPH = np.zeros((DIM, DIM), bool)
GRAPH[[1, 2, 4, 4], [0, 0, 1, 2]] = True
VARIANTS = {
    "plain": {},
    "three hidden layers": {"hidden": (24, 16, 24)},
    "residual": {"residual": True, "hidden": (32, 32, 32)},
    "random degrees": {"hidden_degrees": "random", "hidden": (200, 200)},
    "narrow": {"hidden": (2,)},
    "tanh": {"activation": "tanh"},
}


def network(order=None, context_dim=0, **options) -> MaskedMLP:
    made = MaskedMLP(DIM, 2, **{"hidden": (32, 32), **options}, order=order, context_dim=context_dim, rngs=nnx.Rngs(0))
    # The last layer starts at zero, where every Jacobian vanishes and every mask would pass.
    made.linears[-1].kernel[...] = normal(1, made.linears[-1].kernel.shape)
    return made


def sensitivity(made: MaskedMLP) -> tuple[np.ndarray, np.ndarray]:
    """Largest |d parameters / d features| and |d parameters / d context| over random points."""
    x = normal(2, (100, DIM))
    context = normal(3, (100, made.context_dim))

    def parameters(x, context):
        return made(x, context if made.context_dim else None)

    by_x, by_context = jax.jit(jax.vmap(jax.jacobian(parameters, argnums=(0, 1))))(x, context)
    return np.abs(by_x).max(axis=(0, 2)), np.abs(by_context).max(axis=(0, 2))


@pytest.mark.parametrize("order", [None, [3, 0, 4, 1, 2]])
@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_depend_only_on_features_visited_before(name, order):
    by_x, _ = sensitivity(network(None if order is None else np.array(order), **VARIANTS[name]))
    rank = np.argsort(np.arange(DIM) if order is None else np.array(order))
    allowed = rank[None, :] < rank[:, None]
    assert np.all(by_x[~allowed] == 0)
    if name != "narrow":  # two units cannot carry every feature
        assert np.all(by_x[allowed] > 0)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("hidden", [(16, 16), (4, 4)])
def test_with_a_graph_parameters_depend_on_parents_alone(hidden, residual):
    by_x, by_context = sensitivity(
        network(adjacency=GRAPH, hidden=hidden, residual=residual, context_dim=2, activation="tanh")
    )
    np.testing.assert_array_equal(by_x > 0, GRAPH)
    assert np.all(by_context > 0)


def test_a_graph_is_walked_level_by_level():
    made = network(adjacency=GRAPH)
    assert made.degrees[...].tolist() == [1, 2, 2, 1, 3]
    assert made.steps == 3
    assert made.features_per_step == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"adjacency": np.eye(DIM, dtype=bool)}, r"cycle among features \[0, 1, 2, 3, 4\]"),
        ({"adjacency": GRAPH | GRAPH.T}, r"cycle among features \[0, 1, 2, 4\]"),
        ({"adjacency": GRAPH, "hidden": (2,)}, "2 hidden units cannot serve 3 different sets of parents"),
        ({"adjacency": GRAPH, "order": np.arange(DIM)}, "an order or an adjacency, not both"),
        ({"adjacency": np.zeros((2, 2), bool)}, r"adjacency must have the shape \(5, 5\), got \(2, 2\)"),
        ({"order": np.array([0, 0, 1, 2, 3])}, r"order must be a permutation of 0\.\.4, got \[0, 0, 1, 2, 3\]"),
        ({"order": np.array([1, 0])}, r"order must be a permutation of 0\.\.4, got \[1, 0\]"),
    ],
)
def test_wirings_that_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        network(**options)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "narrow"])
def test_every_parameter_sees_the_whole_context(name):
    by_x, by_context = sensitivity(network(context_dim=3, **VARIANTS[name]))
    assert np.all(by_context > 0)
    assert np.all(by_x[np.triu_indices(DIM)] == 0)


def test_one_feature_has_constant_parameters_without_context():
    made = MaskedMLP(1, 2, (8,), rngs=nnx.Rngs(0))
    made.linears[-1].kernel[...] += 1.0
    assert np.all(made(jnp.array([[0.0], [5.0]])) == made(jnp.array([[1.0], [-3.0]])))


def test_outputs_start_at_zero():
    made = MaskedMLP(DIM, 3, (16,), rngs=nnx.Rngs(0))
    assert np.all(made(normal(0, (4, 2, DIM))) == np.zeros((4, 2, DIM, 3)))


def test_refusals():
    with pytest.raises(ValueError, match="at least one width"):
        MaskedMLP(DIM, 2, (), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="one width"):
        MaskedMLP(DIM, 2, (8, 9), residual=True, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="context of 2 features, got 0"):
        MaskedMLP(DIM, 2, (8,), context_dim=2, rngs=nnx.Rngs(0))(jnp.zeros(DIM))


def test_members_of_a_vmap_have_their_own_masks():
    def member(key):
        order = jax.random.permutation(key, DIM)
        return nnx.split(MaskedMLP(DIM, 2, (8,), order=order, rngs=nnx.Rngs(key)), nnx.Param, ...)[1:]

    _, buffers = jax.vmap(member)(jax.random.split(jax.random.key(0), 4))
    degrees = np.asarray(nnx.to_pure_dict(buffers)["degrees"])
    assert degrees.shape == (4, DIM)
    assert len({tuple(row) for row in degrees.tolist()}) > 1


def test_dropout_acts_in_training_alone_and_keeps_the_masks():
    network = MaskedMLP(4, 2, (32, 32), residual=True, dropout=0.3, rngs=nnx.Rngs(0))
    network.linears[-1].kernel[...] = jnp.ones_like(network.linears[-1].kernel[...])
    x = jnp.arange(4.0)
    still = network(x)
    np.testing.assert_array_equal(network(x), still)
    network.train()
    first, second = network(x), network(x)
    assert not np.allclose(first[3], second[3])
    seen = np.asarray(jax.jacobian(lambda x: nnx.clone(network)(x)[:, 0])(x)) != 0
    assert not np.any(np.triu(seen))
    with pytest.raises(ValueError, match="while dropout is on"):
        walk(network, lambda z, parameters: (z, z), x)
    network.eval()
    np.testing.assert_array_equal(network(x), still)


def test_dropout_needs_residual_blocks():
    with pytest.raises(ValueError, match=r"dropout acts in residual blocks, got dropout = 0\.3 without them"):
        MaskedMLP(4, 2, (32, 32), dropout=0.3, rngs=nnx.Rngs(0))
