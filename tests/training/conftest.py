from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import pytest

from jaxflow.config import compiled_programs


@pytest.fixture
def compilations(monkeypatch) -> Callable[[], Any]:
    """A context in which programs that are compiled are counted: `with compilations() as names: ...; len(names)`.

    Within the test no program is let go of: how many others there are depends on the tests before it.
    """
    monkeypatch.setattr(compiled_programs, "MORE_MAPPINGS", 1_000_000)

    @contextmanager
    def counting() -> Iterator[list[str]]:
        names: list[str] = []

        def count(event: str, *details: Any, **more: Any) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                names.append(event)

        jax.monitoring.register_event_duration_secs_listener(count)
        try:
            yield names
        finally:
            jax.monitoring.unregister_event_duration_listener(count)

    return counting
