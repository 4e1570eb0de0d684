"""Names of an earlier release, which work on for one more, with a warning."""

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def with_old_names(
    package: str,
    names: Mapping[str, str],
    attribute: Callable[[str], Any] | None = None,
    *,
    homes: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[str], Any]:
    """Return a package's `__getattr__` that knows former names too.

    Args:
        package: the package's own name.
        names: the name of today for each former one.
        attribute: the `__getattr__` that the package has otherwise.
        homes: the module where each name lives that the package no longer has.
    """

    def __getattr__(name: str) -> Any:
        if name in names:
            today = names[name]
            warnings.warn(f"{package}.{name} is called {package}.{today} now", DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[package], today)
        if name in homes:
            warnings.warn(
                f"{package}.{name} is no public name any more: it is in {homes[name]}", DeprecationWarning, stacklevel=2
            )
            return getattr(importlib.import_module(homes[name]), name)
        if attribute is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return attribute(name)

    return __getattr__


def former_method(name: str) -> Callable[..., Any]:
    """Return a method that is called `name` no longer but `_name`, as it is of no use but to the package itself."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        kind = type(self).__name__
        warnings.warn(f"{kind}.{name} is no public name any more", DeprecationWarning, stacklevel=2)
        return getattr(self, f"_{name}")(*args, **options)

    return method


def with_old_keywords(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator by which a function takes keywords by former names too.

    Its signature is that of the function, so that scikit-learn finds the names of today.

    Args:
        names: the keyword of today for each former one.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def called(*arguments: P.args, **keywords: P.kwargs) -> T:
            for former in names.keys() & keywords.keys():
                today = names[former]
                if today in keywords:
                    raise TypeError(f"{function.__qualname__}() got both {today} and {former}, its former name")
                warnings.warn(f"{former} is called {today} now", DeprecationWarning, stacklevel=2)
                keywords[today] = keywords.pop(former)
            return function(*arguments, **keywords)

        return called

    return decorate
