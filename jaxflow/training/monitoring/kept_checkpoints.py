"""Directories of checkpoints: what in them a fit of jaxflow has written, and its removal.

A directory may hold other things too, which stay as they are: whoever names it may have had one of that name before.
It may be a link to where there is more room, which stays; links in it are among the other things.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jaxflow.errors import InputError

UNFINISHED, DISCARDED = ".orbax-checkpoint-tmp", ".discarded"
MARKS = frozenset({"_CHECKPOINT_METADATA", "commit_success.txt"})
# What Orbax makes of the two parts of a checkpoint.
PARTS = {
    "fit": re.compile(r"metadata|commit_success\.txt"),
    "state": re.compile(
        r"_METADATA|_sharding|_strings\.json|array_metadatas|commit_success\.txt|d|manifest\.ocdbt|ocdbt\.process_\d+"
    ),
}


def has_checkpoints(directory: Path) -> bool:
    """Whether a directory holds a checkpoint that a fit has finished, or those of a committee's members do."""
    return any(_checkpoints(directory))


def require_place_for_checkpoints(directory: Path) -> None:
    """Check that a fit may keep its checkpoints in a directory.

    Raises:
        InputError: if it is a file, or holds what would be taken for a checkpoint and is none.
    """
    if not directory.is_dir():
        if directory.exists() or directory.is_symlink():
            raise InputError(f"{directory} is a file, expected a directory for checkpoints or a new place")
        return
    for child in sorted(directory.iterdir()):
        if child.name.isdigit() and not (_is_checkpoint(child) or _is_member(child)):
            raise InputError(
                f"{directory} holds {child.name}, which has the name of a checkpoint and is none that jaxflow wrote: "
                "move it, or give another place"
            )


def discard(directory: Path) -> None:
    """Remove checkpoints that are no longer needed; what an interruption leaves of them is no checkpoint any more.

    All else in the directory stays, and the directory itself if there is such, or if it is a link.
    """
    for folder in list(_checkpoints(directory)):
        if _foreign(folder):
            _remove(folder)
        else:
            gone = folder.with_name(folder.name + DISCARDED)
            _remove(gone)  # an earlier interruption
            with suppress(OSError):
                folder.rename(gone)
    discard_unfinished(directory)


def discard_unfinished(directory: Path, patience: float = 0.0) -> None:
    """Remove what an interruption has left of checkpoints, and the directory if nothing else is in it.

    Args:
        directory: of the checkpoints.
        patience: seconds for which threads may write to what is to be removed.
    """
    started = time.monotonic()
    _discard_unfinished(directory)
    while time.monotonic() - started < patience:
        time.sleep(0.1)
        _discard_unfinished(directory)


def _discard_unfinished(directory: Path) -> None:
    place = directory.resolve()
    members = [child for child in _children(place) if child.name.isdigit() and not _is_checkpoint(child)]
    for folder in (*members, place):
        for child in _children(folder):
            if _is_left_over(child):
                _remove(child)
        if folder != place or not directory.is_symlink():  # a link would lead nowhere
            with suppress(OSError):
                folder.rmdir()


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _checkpoints(directory: Path) -> Iterator[Path]:
    for child in _children(directory.resolve()):
        if _is_checkpoint(child):
            yield child
        elif child.name.isdigit():
            yield from filter(_is_checkpoint, _children(child))


def _is_checkpoint(folder: Path) -> bool:
    """Whether it is a whole one; those that are unfinished have longer names."""
    whole = folder.name.isdigit() and not folder.is_symlink()
    return whole and (folder / "_CHECKPOINT_METADATA").is_file() and (folder / "fit" / "metadata").is_file()


def _is_member(folder: Path) -> bool:
    """Whether it is the directory of a committee's member."""
    return folder.is_dir() and all(_is_checkpoint(child) or _is_left_over(child) for child in _children(folder))


def _is_left_over(folder: Path) -> bool:
    number, dot, rest = folder.name.partition(".")
    named = number.isdigit() and (f"{dot}{rest}".startswith(UNFINISHED) or f"{dot}{rest}" == DISCARDED)
    return named and folder.is_dir() and not folder.is_symlink() and not _foreign(folder)


def _part(folder: Path) -> re.Pattern[str] | None:
    """Return which files may lie in a part of a checkpoint; None if it is no such part."""
    return PARTS.get(folder.name.partition(".")[0]) if folder.is_dir() and not folder.is_symlink() else None


def _foreign(folder: Path) -> bool:
    """Whether a checkpoint's folder holds anything that Orbax did not put there."""
    for child in _children(folder):
        part = _part(child)
        if part is None and child.name not in MARKS:
            return True
        if part is not None and not all(
            part.fullmatch(file.name.partition(UNFINISHED)[0]) for file in _children(child)
        ):
            return True
    return False


def _belongs(file: Path, part: re.Pattern[str]) -> bool:
    return part.fullmatch(file.name.partition(UNFINISHED)[0]) is not None


def _remove(folder: Path) -> None:
    """Remove what is Orbax's of a checkpoint, beginning with what makes it one."""
    for child in _children(folder):
        part = _part(child)
        if part is not None:
            for file in _children(child):
                if _belongs(file, part):
                    _remove_whole(file)
            with suppress(OSError):
                child.rmdir()
    for name in MARKS:
        _remove_whole(folder / name)
    with suppress(OSError):
        folder.rmdir()


def _remove_whole(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
