"""Provenance of a result: command, seed, versions and hardware, and nothing about who ran it."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import jax

PACKAGES = ("jaxflow", "jax", "flax", "optax", "numpy", "scikit-learn")


def provenance(command: Sequence[str], seed: int | None) -> dict[str, Any]:
    """Describe the run that is going on, as values that JSON can express.

    Args:
        command: the program and its arguments, as in `["python", *sys.argv]`. An absolute path inside the current
            directory becomes relative to it; of one elsewhere only the last part is kept, as `.../name`, so that
            no user's or machine's directories appear. Relative paths are shown as given.
        seed: the seed of the run; None when nothing in it is random.

    Returns:
        `command` (one line for a shell), `seed`, `versions` (of Python and of the packages that decide the numbers),
        `platform`, `cpu_count` (cores this process may use), `device_kind` and `device_count` (as jax reports them),
        `git_commit` and `git_uncommitted_changes` (None when jaxflow does not run from a checkout), `time_utc`
        (ISO 8601).
    """
    commit, changes = _checkout(Path(__file__).resolve().parents[2])
    return {
        "command": shlex.join(_without_private_paths(argument) for argument in command),
        "seed": seed,
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpu_count": _usable_cores(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "git_commit": commit,
        "git_uncommitted_changes": changes,
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _without_private_paths(argument: str) -> str:
    option, equals, value = argument.partition("=")
    if equals and not PurePath(argument).is_absolute():
        return option + equals + _shown_path(value)
    return _shown_path(argument)


def _shown_path(text: str) -> str:
    path = PurePath(text)
    if not path.is_absolute():
        return text
    here = Path.cwd()
    # The second form is the one to compare with when a parent of the current directory is a symbolic link.
    for candidate in (Path(text), Path(text).resolve()):
        if candidate.is_relative_to(here):
            return str(candidate.relative_to(here))
    return f".../{path.name}"


def _usable_cores() -> int | None:
    # Under a container or a batch system a process often has fewer cores than the machine.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _checkout(root: Path) -> tuple[str | None, bool | None]:
    """The commit of the checkout whose top is `root`, and whether its tracked files differ from that commit.

    Kept results do not count: they decide no number, and one is often written after another.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    # A package installed below somebody's project lies inside that project's repository, whose commit says nothing.
    if top is None or Path(top).resolve() != root:
        return None, None
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    if commit is None or changes is None:
        return None, None
    return commit, changes != ""


def _git(root: Path, *arguments: str) -> str | None:
    try:
        # Its index stays as it is: what ends the process half-way would leave a lock there.
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
