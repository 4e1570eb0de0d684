"""Names of an earlier release, which work on for one more, with a warning."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def with_old_names(
    package: str, names: Mapping[str, str], attribute: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """Return a package's `__getattr__` that knows former names too.

    Args:
        package: the package's own name.
        names: the name of today for each former one.
        attribute: the `__getattr__` that the package has otherwise.
    """

    def __getattr__(name: str) -> Any:
        if name in names:
            today = names[name]
            warnings.warn(f"{package}.{name} is called {package}.{today} now", DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[package], today)
        if attribute is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return attribute(name)

    return __getattr__
