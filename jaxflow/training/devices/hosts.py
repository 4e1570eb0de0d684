"""Several processes, on one machine or on many, that fit one model together."""

from argparse import Namespace

import jax
import numpy as np

from jaxflow.errors import InputError


def join_hosts(coordinator: str | None = None, processes: int | None = None, process_id: int | None = None) -> None:
    """Make this process one of several; before anything else is asked of JAX.

    Without arguments JAX finds the others by itself under Slurm, Open MPI and Kubernetes and on TPU pods.

    Args:
        coordinator: address and port of the process with the number 0, such as "10.0.0.1:1234".
        processes: how many there are.
        process_id: the number of this one, from 0.

    Raises:
        InputError: if only some of the arguments are given, they do not fit together, or the others are not found.
    """
    given = {"coordinator": coordinator, "processes": processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise InputError(f"{', '.join(missing)} must be given too, or none of {', '.join(given)}")
    if processes is not None and process_id is not None and not 0 <= process_id < processes:
        raise InputError(f"process_id = {process_id}: expected between 0 and {processes - 1}, as there are {processes}")
    try:
        jax.distributed.initialize(coordinator, processes, process_id)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the other processes were not found: {' '.join(str(error).split()):.300}") from error


def join_as_told(options: Namespace) -> None:
    """`join_hosts` as the options of `ScriptParser.add_distributed` say, if they say so.

    Raises:
        InputError: as `join_hosts`, and if something is said about other processes without --distributed.
    """
    details = {"coordinator": options.coordinator, "processes": options.processes, "process_id": options.process_id}
    if options.distributed:
        join_hosts(**details)
    elif given := [f"--{name.replace('_', '-')}" for name, value in details.items() if value is not None]:
        raise InputError(f"{', '.join(given)}: expected no value without --distributed")


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def any_host(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is true in any process; every process must ask at the same time."""
    if jax.process_count() == 1:
        return flags
    from jax.experimental import multihost_utils

    return tuple(bool(flag) for flag in multihost_utils.process_allgather(np.array(flags)).any(axis=0))


def wait_for_all(where: str) -> None:
    """Wait until every process has come here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)
