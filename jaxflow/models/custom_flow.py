"""A flow of layers that live outside the package."""

import importlib
import inspect
import sys
from typing import Any, Literal, TypeAlias

from flax import nnx
from pydantic import Field, field_validator

from jaxflow.bijectors import Bijector
from jaxflow.errors import InputError
from jaxflow.models.flow_spec import FlowSpec

Scalar: TypeAlias = bool | int | float | str | None


class CustomFlow(FlowSpec):
    """A flow whose layers are made by a class of yours, named by its import path.

    The class is called as `Layer(dim, **options, rngs=rngs)` for each layer; with a context, as `Layer(dim,
    context_dim=context_dim, **options, rngs=rngs)`.

    A saved model names the class, and loading the model does not import it: importing a module runs its code. Import it
    first.
    """

    kind: Literal["custom"] = "custom"
    layer: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="import path of its class, such as my_layers.Cubic",
    )
    options: tuple[tuple[str, Scalar | tuple[Scalar, ...]], ...] = Field(
        default=(), description="further arguments of the class"
    )

    @field_validator("options", mode="before")
    @classmethod
    def _as_pairs(cls, value: Any) -> Any:
        # A mapping cannot be part of a spec, which is hashable; in a config it reads better.
        return tuple(value.items()) if isinstance(value, dict) else value

    def import_layer(self) -> type[Bijector]:
        """Import the class.

        Raises:
            InputError: if there is no such class or it is no bijector.
        """
        module, _, name = self.layer.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"layer = {self.layer!r} cannot be imported: {error}") from None
        if not (isinstance(found, type) and issubclass(found, Bijector)):
            raise InputError(f"layer = {self.layer!r} is {found!r}, expected a subclass of jaxflow.bijectors.Bijector")
        return found

    def require_imported(self) -> None:
        """Refuse a layer that is not there yet, because nobody who runs the program has imported its module.

        Raises:
            InputError: if it is not there, or is no bijector.
        """
        module, _, name = self.layer.rpartition(".")
        # Not `getattr`: a package may answer it by importing a module of that name.
        if name not in vars(sys.modules.get(module) or object):
            raise InputError(
                f"the model has layers of the class {self.layer}; loading a model imports nothing by itself, so import "
                f"{module} first"
            )
        self.import_layer()

    def transforming_layer(self, dim, index, *, rngs: nnx.Rngs):
        """One layer of the class."""
        context = {"context_dim": self.layer_context_dim} if self.context_dim else {}
        layer: Any = self.import_layer()
        arguments = {**context, **dict(self.options), "rngs": rngs}
        # A class that defines no constructor has that of `object`, whose signature promises too much.
        constructor = (lambda self: None) if layer.__init__ is object.__init__ else layer.__init__
        try:
            inspect.signature(constructor).bind(None, dim, **arguments)
        except TypeError as error:
            called = ", ".join(["dim", *(f"{name}=..." for name in arguments)])
            raise InputError(f"layer = {self.layer!r} cannot be made as {self.layer}({called}): {error}") from None
        return layer(dim, **arguments)
