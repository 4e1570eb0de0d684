"""Several devices for one fit.

A mesh has two axes: along `data` the rows of every batch are divided, along `member` the members of an ensemble. The
programs are those of one device; the compiler divides the work by where the arrays are (Xu et al. 2021, GSPMD), adds up
gradients over `data` and sends nothing at all along `member`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxflow.errors import InputError
from jaxflow.models import Model
from jaxflow.models.combined.ensemble import Ensemble

DATA, MEMBER = "data", "member"


def make_mesh(data: int | None = None, member: int = 1, *, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the axes `data` and `member`, for `fit`.

    Args:
        data: number of parts into which batches are divided; None for as many as the devices allow.
        member: number of parts into which the members of an ensemble are divided.
        devices: which to use; by default all that JAX sees.

    Raises:
        InputError: if there are not as many devices as that takes.
    """
    devices = jax.devices() if devices is None else list(devices)
    data = len(devices) // member if data is None and member > 0 else data
    if data is None or data < 1 or member < 1 or data * member > len(devices):
        raise InputError(f"a mesh of data = {data} and member = {member} does not fit {len(devices)} devices")
    grid = np.array(devices[: data * member], dtype=object).reshape(data, member)
    return Mesh(grid, (DATA, MEMBER), axis_types=(AxisType.Auto, AxisType.Auto))


def mesh_for(model: Model, devices: int) -> Mesh | None:
    """A mesh of that many devices that suits a model, None for one; -1 stands for all.

    As many as can be are given to members, which need not speak to each other; the others divide batches. Where several
    processes work together, all their devices divide batches: no process could read the members of another.

    Raises:
        InputError: if there are not as many devices.
    """
    available = jax.device_count()
    count = available if devices == -1 else devices
    if not 1 <= count <= available:
        raise InputError(f"devices = {devices}: expected between 1 and {available}, or -1 for all of them")
    if jax.process_count() > 1:
        if count < available:
            raise InputError(f"devices = {devices}: expected -1, all {available}, where processes work together")
        return make_mesh()
    if count == 1:
        return None
    member = math.gcd(model.members, count) if isinstance(model, Ensemble) else 1
    return make_mesh(count // member, member, devices=jax.devices()[:count])


def check_mesh(mesh: Mesh, model: Model) -> None:
    """Refuse a mesh that does not suit a model.

    Raises:
        InputError: if its axes are others, or do not divide the members of the model.
    """
    if mesh.axis_names != (DATA, MEMBER):
        raise InputError(f"the mesh has the axes {mesh.axis_names}, expected {(DATA, MEMBER)}; see make_mesh")
    members = model.members if isinstance(model, Ensemble) else 1
    if members % mesh.shape[MEMBER]:
        raise InputError(f"{members} members cannot be divided evenly among {mesh.shape[MEMBER]} devices")


def on_all(tree: Any, mesh: Mesh) -> Any:
    """Every array of the tree in full on every device."""
    return _put(tree, NamedSharding(mesh, PartitionSpec()))


def by_member(tree: Any, mesh: Mesh) -> Any:
    """Every array divided along its first axis, which counts members."""
    return _put(tree, NamedSharding(mesh, PartitionSpec(MEMBER)))


def _put(tree: Any, sharding: NamedSharding) -> Any:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda array: _across_hosts(array, sharding), tree)


def _across_hosts(array: Any, sharding: NamedSharding) -> jax.Array:
    """An array of which every process holds the same values, as one array of all processes."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = _across_hosts(jax.random.key_data(array), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    values = np.asarray(array)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def from_hosts(values: np.ndarray, mesh: Mesh) -> jax.Array:
    """The rows that each process holds, as many in each, as one array divided along its rows."""
    return jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec(DATA)), values)


def gathered(tree: Any, mesh: Mesh) -> Any:
    """Arrays inside a program, in full on every device."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def rows_divided(tree: Any, mesh: Mesh) -> Any:
    """Arrays (blocks, rows, ...) inside a program, divided along their rows."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(None, DATA)))


def at_home(tree: Any) -> Any:
    """Every array of the tree in full on the first device of this process alone."""
    if jax.process_count() > 1:
        tree = jax.tree.map(np.asarray, tree)
    return jax.device_put(tree, SingleDeviceSharding(jax.local_devices()[0]))
