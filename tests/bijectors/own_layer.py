"""The layer that the page on own layers shows, as a module of the name given there."""

import re
import sys
import types
from pathlib import Path

NAME = "my_layers"
PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "own-layer.md"


def blocks(language: str) -> list[str]:
    """The code blocks of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def own_layers() -> types.ModuleType:
    """The module, made from the page."""
    if NAME not in sys.modules:
        module = types.ModuleType(NAME)
        exec(blocks("python")[0], module.__dict__)
        sys.modules[NAME] = module
    return sys.modules[NAME]
