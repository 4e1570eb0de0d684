"""Hyperparameters within a detector's specs by scikit-learn's names, such as `model__layers`."""

from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator

from jaxflow.config.spec import Spec, parse_spec
from jaxflow.detection.check_parameters import default_spec
from jaxflow.errors import InputError
from jaxflow.old_names import with_old_keywords


class NestedParameters(BaseEstimator):
    """An estimator whose parameters may be specs, which searches reach into.

    A spec never changes, so setting one of its values puts another spec in its place: two estimators that share one do
    not disturb each other.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; if `deep` also what their specs hold, as `model__layers`."""
        parameters = super().get_params(deep=deep)
        if deep:
            for name, value in super().get_params(deep=False).items():
                parameters |= _within(name, value)
        return parameters

    @with_old_keywords(watchers="callbacks")
    def set_params(self, **params: Any) -> Any:
        """Set parameters by name, and values within specs as `model__layers=3`; of a default too, where it is None.

        Raises:
            ValueError: if there is no such parameter; in particular an `InputError` if a spec does not hold such a
                value, or it is wrong.
        """
        plain, nested = _divided(params)
        super().set_params(**plain)
        known = super().get_params(deep=False)
        for name, changes in nested.items():
            if name not in known:
                raise InputError(
                    f"{type(self).__name__} has no parameter {name}; its parameters are {', '.join(known)}"
                )
            spec = default_spec(self, name) if known[name] is None else known[name]
            if not isinstance(spec, Spec):
                raise InputError(
                    f"{name}__{next(iter(changes))}: {name} = {spec!r} of {type(self).__name__} holds no parameters"
                )
            setattr(self, name, _changed(spec, changes, f"{name} of {type(self).__name__}"))
        return self


def _divided(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The values by names without `__`, and for each name before the first `__` those by what comes after it."""
    plain: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        name, within, rest = key.partition("__")
        if within:
            nested.setdefault(name, {})[rest] = value
        else:
            plain[key] = value
    return plain, nested


def _within(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Spec):
        return {}
    found = {}
    for key, inner in value:
        found[f"{name}__{key}"] = inner
        found |= _within(f"{name}__{key}", inner)
    return found


def _changed(spec: Spec, changes: Mapping[str, Any], source: str) -> Spec:
    """The spec with other values, checked as those of a config are."""
    own, nested = _divided(changes)
    values = dict(spec) | own
    for name, inner in nested.items():
        if not isinstance(values.get(name), Spec):
            raise InputError(f"{source}: {name} holds no parameters such as {next(iter(inner))}")
        values[name] = _changed(values[name], inner, f"{source}: {name}")
    return parse_spec(type(spec), values, source)
