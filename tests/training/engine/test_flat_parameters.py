import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.training.engine import flat_parameters as flat


def test_flatten_and_unflatten_are_inverse():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.asarray(7.0), jnp.zeros((0, 4))]}
    layout = flat.layout_of(tree)
    flattened = flat.flatten(tree)
    assert [array.tolist() for array in flattened] == [[0, 1, 2, 3, 4, 5, 7]]
    restored = flat.unflatten(flattened, layout)
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, restored, tree)


def test_equal_trees_have_equal_hashable_layouts():
    first, second = ({"a": jnp.full((2, 3), value)} for value in (0.0, 1.0))
    assert flat.layout_of(first) == flat.layout_of(second)
    assert hash(flat.layout_of(first)) == hash(flat.layout_of(second))


def test_large_arrays_stay_by_themselves(monkeypatch):
    monkeypatch.setattr(flat, "LARGE", 6)
    tree = [jnp.arange(6.0).reshape(2, 3), jnp.ones(2), jnp.full((3, 3), 5.0), jnp.zeros(1)]
    layout = flat.layout_of(tree)
    flattened = flat.flatten(tree)
    assert [array.shape for array in flattened] == [(3,), (2, 3), (3, 3)]
    jax.tree.map(np.testing.assert_array_equal, flat.unflatten(flattened, layout), tree)


def test_no_parameters_at_all():
    assert [array.shape for array in flat.flatten({})] == [(0,)]


def test_mixed_types_are_refused():
    with pytest.raises(ValueError, match="share one type, got float16, float32"):
        flat.layout_of([jnp.zeros(2, jnp.float16), jnp.zeros(2, jnp.float32)])
