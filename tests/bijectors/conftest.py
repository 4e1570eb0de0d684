import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    """Properties are proven in float64, so that a mistake cannot hide behind rounding."""
    with jax.enable_x64(True):
        yield
