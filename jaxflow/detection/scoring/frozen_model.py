"""A model as it is now, for programs that are called often."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from flax import nnx

from jaxflow.models.model import Model


class Structure:
    """All of a model but its arrays.

    What it is made of is compared once with what a program was compiled for; flax would do so in every call, which for
    a model of many modules takes longer than to score a row.
    """

    def __init__(self, graph: Any, tree: Any):
        self.graph, self.tree = graph, tree
        self._hash = hash((graph, tree))

    def __hash__(self) -> int:
        """Return the hash of the structure, computed once."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Whether programs compiled for the one serve the other."""
        if self is other or not isinstance(other, Structure):
            return self is other
        return (self.graph, self.tree) == (other.graph, other.tree)


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["structure"])
@dataclass(frozen=True, eq=False)
class FrozenModel:
    """A model taken apart, as an argument of compiled programs; what becomes of the model later is not seen.

    Attributes:
        arrays: its arrays.
        structure: how they make it.
    """

    arrays: Any
    structure: Structure

    @classmethod
    def of(cls, model: "Model | FrozenModel") -> "FrozenModel":
        """The model taken apart, unless it is already."""
        if isinstance(model, FrozenModel):
            return model
        graph, state = nnx.split(model)
        arrays, tree = jax.tree.flatten(state)
        return cls(arrays, Structure(graph, tree))

    @property
    def state(self) -> Any:
        """Return the model's arrays by their names."""
        return jax.tree.unflatten(self.structure.tree, self.arrays)

    @property
    def model(self) -> Any:
        """The model put together again; in a program, of that program's arrays."""
        return nnx.merge(self.structure.graph, self.state)
