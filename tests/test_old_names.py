"""What a release has renamed can be had by its former name for one more."""

import pytest

import jaxflow.bijectors
import jaxflow.training


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        (jaxflow.bijectors, "RationalQuadratic", "RationalQuadraticSpline"),
        (jaxflow.training, "Watcher", "Callback"),
        (jaxflow.training, "Trace", "Profiler"),
    ],
)
def test_a_former_name_warns(package, old, new):
    with pytest.warns(DeprecationWarning, match=f"{package.__name__}.{old} is called {package.__name__}.{new} now"):
        assert getattr(package, old) is getattr(package, new)
    assert old not in package.__all__


@pytest.mark.parametrize("package", [jaxflow.bijectors, jaxflow.training])
def test_a_name_that_never_was_is_refused(package):
    with pytest.raises(AttributeError, match="NoSuch"):
        package.NoSuch  # noqa: B018
