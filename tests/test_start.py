"""How soon a program can begin: what `import jaxflow` loads, and what only comes when it is used."""

import subprocess
import sys

import pytest

import jaxflow

HEAVY = {
    *("distrax", "tensorflow_probability", "orbax", "scipy", "sklearn", "pyarrow", "pandas"),
    *("matplotlib", "requests", "diffrax", "tensorboardX"),
}


def loaded_after(statement):
    """The packages that a process has loaded after a statement."""
    program = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.end_to_end
def test_the_package_alone_loads_next_to_nothing():
    assert loaded_after("import jaxflow") & (HEAVY | {"jax", "flax", "optax", "numpy", "pydantic"}) == set()


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("statement", "needed"),
    [
        ("from jaxflow import Flow", {"scipy"}),
        ("from jaxflow.bijectors import Chain", {"scipy"}),
        ("from jaxflow import fit", {"scipy", "pyarrow"}),
        ("from jaxflow import FlowDetector", {"scipy", "sklearn", "pyarrow", "pandas"}),
    ],
)
def test_what_is_heavy_comes_when_it_is_needed(statement, needed):
    assert loaded_after(statement) & HEAVY <= needed


@pytest.mark.end_to_end
def test_the_first_density_may_be_computed_within_a_trace():
    program = """
import jax, jax.numpy as jnp
from flax import nnx
from jaxflow.models import MAF
flow = MAF(layers=1, hidden=(4,)).build(2, rngs=nnx.Rngs(0))
assert "distrax" not in sys.modules
traced = jax.jit(lambda x: flow.log_prob(x))(jnp.ones((3, 2)))
assert bool(jnp.allclose(traced, flow.log_prob(jnp.ones((3, 2))), atol=1e-6))
"""
    assert "distrax" in loaded_after(program)


def test_every_name_can_be_had():
    for room in (jaxflow, jaxflow.data, jaxflow.detection, jaxflow.evaluation, jaxflow.models, jaxflow.training):
        assert set(room.__all__) <= set(dir(room))
        for name in room.__all__:
            assert getattr(room, name) is not None
    assert callable(jaxflow.training.fit)
    assert callable(jaxflow.training.search)
    assert callable(jaxflow.training.fit_alike)


@pytest.mark.parametrize("name", ["no_such", "Flows"])
def test_a_name_that_there_is_not_is_refused(name):
    with pytest.raises(AttributeError, match=name):
        getattr(jaxflow, name)
