"""What a release has renamed can be had by its former name for one more."""

import importlib
from typing import Any

import jax
import pytest
from sklearn.base import clone

import jaxflow.bijectors
import jaxflow.data
import jaxflow.errors
import jaxflow.models
import jaxflow.training
from jaxflow.detection import AnomalyDetector, FlowDetector
from jaxflow.models import Gaussian
from jaxflow.old_names import with_old_keywords


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


@with_old_keywords(colour="color")
def painted(thing: str, *, color: str = "red") -> str:
    return f"{color} {thing}"


def test_a_former_keyword_warns():
    former: Any = {"colour": "blue"}
    with pytest.warns(DeprecationWarning, match="colour is called color now"):
        assert painted("door", **former) == "blue door"
    assert painted("door", color="green") == "green door"
    with pytest.raises(TypeError, match=r"painted\(\) got both color and colour, its former name"):
        painted("door", color="green", **former)


def test_what_looks_at_fits_may_be_given_by_its_former_name():
    callback = jaxflow.training.Callback()
    former: Any = {"watchers": [callback]}
    with pytest.warns(DeprecationWarning, match="watchers is called callbacks now"):
        detector = AnomalyDetector(**former)
    assert detector.get_params()["callbacks"] == [callback]
    assert "watchers" not in detector.get_params()
    copied: Any = clone(FlowDetector(callbacks=(callback,)))
    assert type(copied.get_params()["callbacks"][0]) is type(callback)
    with pytest.warns(DeprecationWarning, match="watchers is called callbacks now"):
        detector.set_params(watchers=())
    assert detector.get_params()["callbacks"] == ()
    with (
        pytest.warns(DeprecationWarning, match="watchers is called callbacks now"),
        pytest.raises(jaxflow.errors.InputError, match="takes no callbacks"),
    ):
        jaxflow.training.fit(Gaussian(1), [[0.0], [1.0]], key=jax.random.key(0), **former)


def test_a_description_may_name_a_layer_as_it_was_called():
    spec = jaxflow.models.CustomFlow(layer="jaxflow.bijectors.Continuous")
    assert spec.layer == "jaxflow.bijectors.NeuralODE"
    spec.require_imported()
