"""What a release has renamed can be had by its former name for one more."""

import importlib

import pytest

import jaxflow.bijectors
import jaxflow.data
import jaxflow.models
import jaxflow.training


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        (jaxflow.bijectors, "RationalQuadratic", "RationalQuadraticSpline"),
        (jaxflow.bijectors, "Continuous", "NeuralODE"),
        (jaxflow.training, "Watcher", "Callback"),
        (jaxflow.training, "Trace", "Profiler"),
    ],
)
def test_a_former_name_warns(package, old, new):
    with pytest.warns(DeprecationWarning, match=f"{package.__name__}.{old} is called {package.__name__}.{new} now"):
        assert getattr(package, old) is getattr(package, new)
    assert old not in package.__all__


@pytest.mark.parametrize(
    ("package", "name", "home"),
    [
        (jaxflow.models, "state_arrays", "jaxflow.models.named_arrays"),
        (jaxflow.models, "weighted_mean", "jaxflow.models.model"),
        (jaxflow.models, "AnyBaseSpec", "jaxflow.models.flows.base_specs"),
        (jaxflow.data, "hold_out", "jaxflow.data.splits"),
    ],
)
def test_a_name_that_is_public_no_more_warns(package, name, home):
    with pytest.warns(
        DeprecationWarning, match=f"{package.__name__}.{name} is no public name any more: it is in {home}"
    ):
        assert getattr(package, name) is getattr(importlib.import_module(home), name)
    assert name not in package.__all__


@pytest.mark.parametrize("package", [jaxflow.bijectors, jaxflow.data, jaxflow.models, jaxflow.training])
def test_a_name_that_never_was_is_refused(package):
    with pytest.raises(AttributeError, match="NoSuch"):
        package.NoSuch  # noqa: B018
