"""A flow of layers that live outside the package."""

import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from pydantic import Field, field_validator, model_validator

from jaxflow.bijectors import Bijector
from jaxflow.errors import InputError, shown
from jaxflow.models.flows.flow_spec import FlowSpec
from jaxflow.networks.planned import PlannedArray

# Of an option: what a seed may be, and more than any number of units or layers.
Whole = Annotated[int, Field(ge=-(1 << 32), le=1 << 32)]
Real = Annotated[float, Field(ge=-1e300, le=1e300)]
Text = Annotated[str, Field(max_length=1000)]
Scalar: TypeAlias = bool | Whole | Real | Text | None
MOST_OPTIONS = 100
MOST_DRAWS = 1000  # of initial weights that one layer may ask for
# Saved models may name a layer of the package as an earlier release did.
FORMER = {"jaxflow.bijectors.Continuous": "jaxflow.bijectors.NeuralODE"}
# Of whole numbers and lists among the options of the package's own layers.
MOST_OF_OWN, MOST_IN_OWN_LIST = 16_384, 100


class CustomFlow(FlowSpec):
    """A flow whose layers are made by a class of yours, named by its import path.

    The class is called as `Layer(dim, **options, rngs=rngs)` for each layer; with a context, as `Layer(dim,
    context_dim=context_dim, **options, rngs=rngs)`.

    A saved model names the class, and loading the model does not import it: importing a module runs its code. Import it
    first.

    >>> type(CustomFlow(layer="jaxflow.bijectors.LULinear").build(3, rngs=nnx.Rngs(0))).__name__
    'Flow'
    """

    kind: Literal["custom"] = "custom"
    layer: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="import path of its class, such as my_layers.Cubic",
    )
    options: tuple[tuple[str, Scalar | tuple[Scalar, ...]], ...] = Field(
        default=(), max_length=MOST_OPTIONS, description="further arguments of the class"
    )

    @field_validator("layer")
    @classmethod
    def _by_its_name_of_today(cls, value: str) -> str:
        return FORMER.get(value, value)

    @field_validator("options", mode="before")
    @classmethod
    def _as_pairs(cls, value: Any) -> Any:
        # A mapping cannot be part of a spec, which is hashable; in a config it reads better.
        return tuple(value.items()) if isinstance(value, dict) else value

    @field_validator("options")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        names = [name for name, _ in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{shown(name)} is there twice, expected each option once")
        return value

    @model_validator(mode="after")
    def _options_of_our_layers_in_range(self):
        # A layer of the user's may take any arguments, but those of this package are there for every file to name.
        layer = vars(sys.modules.get(self.layer.rpartition(".")[0]) or object).get(self.layer.rpartition(".")[2])
        if not (isinstance(layer, type) and issubclass(layer, Bijector) and layer.__module__.startswith("jaxflow.")):
            return self
        for name, value in self.options:
            least, most = layer.option_ranges.get(name, (-MOST_OF_OWN, MOST_OF_OWN))
            values = value if isinstance(value, tuple) else (value,)
            if len(values) > MOST_IN_OWN_LIST:
                raise ValueError(f"options.{name} must have at most {MOST_IN_OWN_LIST} entries, got {len(values)}")
            for one in values:
                if isinstance(one, int | float) and not least <= one <= most:
                    raise ValueError(f"options.{name} must be from {least:g} to {most:g}, got {one:g}")
        return self

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
        layer: Any = self.import_layer()
        arguments = {**self._context(), **dict(self.options), "rngs": rngs}
        # A class that defines no constructor has that of `object`, whose signature promises too much.
        constructor = (lambda self: None) if layer.__init__ is object.__init__ else layer.__init__
        try:
            inspect.signature(constructor).bind(None, dim, **arguments)
        except TypeError as error:
            called = ", ".join(["dim", *(f"{name}=..." for name in arguments)])
            raise InputError(f"layer = {self.layer!r} cannot be made as {self.layer}({called}): {error}") from None
        return layer(dim, **arguments)

    def planned_layer(self, dim, index) -> Iterator[PlannedArray]:
        """The arrays of one layer: those that the class says, or else a layer is traced, computing no numbers.

        Raises:
            InputError: while the arrays are read, if no such layer can be made.
        """
        try:
            # What a class says is true of itself; one that it is the base of may have more.
            if "planned" in vars(layer := self.import_layer()):
                planned: Any = vars(layer)["planned"].__func__
                known = inspect.signature(planned).parameters
                given = {**self._context(), **dict(self.options)}
                yield from planned(dim, **{name: value for name, value in given.items() if name in known})
            else:
                # FrozenModel, so hashable.
                yield from _traced_arrays(self, dim, str(jnp.result_type(float)))  # pyright: ignore[reportArgumentType]
        except (InputError, MemoryError):
            raise
        except Exception as error:
            # What a description asks for may fail anywhere: in a size that no array can have, in arguments of a layer.
            reason = (str(error).splitlines() or [""])[0]
            raise InputError(f"no model can be built as described ({type(error).__name__}: {reason:.200})") from error

    def _context(self) -> dict[str, int]:
        return {"context_dim": self.layer_context_dim} if self.context_dim else {}


@lru_cache(maxsize=16)
def _traced_arrays(spec: CustomFlow, dim: int, float_type: str) -> tuple[PlannedArray, ...]:
    """The arrays of a layer, under a default type of numbers which is known to be `float_type`."""

    def state(key: jax.Array) -> Any:
        layer = spec.transforming_layer(dim, 0, rngs=_LimitedRngs(key))
        return nnx.state(layer, nnx.Not(nnx.RngState))

    found = nnx.to_flat_state(jax.eval_shape(state, jax.random.key(0)))
    return tuple(
        PlannedArray(".".join(map(str, path)), variable.get_value().shape, str(variable.get_value().dtype))
        for path, variable in found
    )


class _LimitedRngs(nnx.Rngs):
    """Random keys, but not for a number of arrays that would never be made."""

    def __init__(self, key: jax.Array):
        super().__init__(key)
        self._draws = 0

    def __getattr__(self, name: str):
        if not name.startswith("_"):
            self._draws += 1
            if self._draws > MOST_DRAWS:
                raise InputError(f"a layer asks for more than {MOST_DRAWS} random keys, expected fewer")
        return super().__getattr__(name)
