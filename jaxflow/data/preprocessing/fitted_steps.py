"""The two maps that a fitted preprocessing step can be."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from jaxflow.data.arrays import AnyArray
from jaxflow.errors import InputError


@dataclass(frozen=True, eq=False)
class Affine:
    """z = (x - shift) / scale, column by column, with scale > 0."""

    shift: Float64[np.ndarray, "dim"]
    scale: Float64[np.ndarray, "dim"]

    @classmethod
    def checked(cls, shift: Float64[np.ndarray, "dim"], scale: Float64[np.ndarray, "dim"], kind: str) -> "Affine":
        """The map, unless a column spreads so wide, or so little, that float64 cannot hold its shift or its scale.

        Raises:
            InputError: naming the first such column, counted from 1.
        """
        usable = np.isfinite(shift) & np.isfinite(scale) & (scale > 0)
        if not usable.all():
            column = np.flatnonzero(~usable)[0]
            raise InputError(
                f"{kind}: column {column + 1} has shift {shift[column]} and scale {scale[column]}, "
                "expected finite numbers and a positive scale"
            )
        return cls(shift, scale)

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray], dim: int, source: str) -> "Affine":
        """The map from its saved arrays `shift` and `scale`."""
        _require_arrays(arrays, ("shift", "scale"), source)
        shift, scale = (_saved(arrays, name, np.float64, (dim,), source) for name in ("shift", "scale"))
        return cls.checked(shift, scale, source)

    @property
    def dim_out(self) -> int:
        """Number of columns of z."""
        return len(self.shift)

    def transform(self, x: Float64[AnyArray, "*batch dim"]) -> Float64[AnyArray, "*batch dim"]:
        """(x - shift) / scale; what overflows is infinitely far."""
        with np.errstate(over="ignore"):
            return (x - self.shift) / self.scale

    def inverse_transform(self, z: Float64[np.ndarray, "*batch dim"]) -> Float64[np.ndarray, "*batch dim"]:
        """z * scale + shift; what overflows is infinitely far."""
        with np.errstate(over="ignore"):
            return z * self.scale + self.shift

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that `restored` needs, by name."""
        return {"shift": self.shift, "scale": self.scale}


@dataclass(frozen=True, eq=False)
class Selection:
    """z = x[kept]; going back, the other columns take the value that `fill` has for them."""

    kept: Int64[np.ndarray, "dim_out"]
    fill: Float64[np.ndarray, "dim"]

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray], dim: int, source: str) -> "Selection":
        """The map from its saved arrays `kept` and `fill`."""
        _require_arrays(arrays, ("kept", "fill"), source)
        fill = _saved(arrays, "fill", np.float64, (dim,), source)
        kept = _saved(arrays, "kept", np.int64, None, source)
        if kept.ndim != 1 or not kept.size or kept[0] < 0 or kept[-1] >= dim or (np.diff(kept) <= 0).any():
            raise InputError(f"{source}: kept is {kept.tolist()!s:.80}, expected ascending column numbers below {dim}")
        if not np.isfinite(fill).all():
            raise InputError(f"{source}: fill holds values that are not finite")
        return cls(kept, fill)

    @property
    def dim_out(self) -> int:
        """Number of columns of z."""
        return len(self.kept)

    def transform(self, x: Float64[AnyArray, "*batch dim"]) -> Float64[AnyArray, "*batch dim_out"]:
        """The kept columns."""
        return x[..., self.kept]

    def inverse_transform(self, z: Float64[np.ndarray, "*batch dim_out"]) -> Float64[np.ndarray, "*batch dim"]:
        """All columns, the dropped ones with their constant value."""
        x = np.broadcast_to(self.fill, (*z.shape[:-1], len(self.fill))).copy()
        x[..., self.kept] = z
        return x

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that `restored` needs, by name."""
        return {"kept": self.kept, "fill": self.fill}


def _require_arrays(arrays: Mapping[str, np.ndarray], names: tuple[str, ...], source: str) -> None:
    if set(arrays) != set(names):
        raise InputError(f"{source}: there are the arrays {sorted(arrays)}, expected {sorted(names)}")


def _saved(
    arrays: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...] | None, source: str
) -> np.ndarray:
    array = arrays[name]
    if array.dtype != dtype or (shape is not None and array.shape != shape):
        what = f"{np.dtype(dtype)}" + (f" of shape {shape}" if shape is not None else "")
        raise InputError(f"{source}: {name} is {array.dtype} of shape {array.shape}, expected {what}")
    return array
