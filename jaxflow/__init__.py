"""Normalizing flows in pure JAX that learn the density of normal data and flag what is improbable.

The names are in `__init__.pyi`; each is imported when it is first used.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("jaxflow")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
