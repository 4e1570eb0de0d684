"""Folders of results: whose they are, whether they may be replaced, and what of an earlier run goes when they are.

`provenance.json` says of what the results are (`results_of`) and which files the run wrote, with their checksums
(`files`). Nothing is removed that it does not name, or that has changed since.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxflow.atomic_write import write_json
from jaxflow.data import DataSpec
from jaxflow.errors import InputError

ABOUT = "provenance.json"
FIGURES = frozenset({"loss", "scores", "roc", "precision_recall", "confusion", "density", "reasons"})
PAGES = ("metrics.json", "report.md", ABOUT)
LIVE = ("history.csv", "history.jsonl")
WEIGHTS = "model/weights.safetensors"
MODEL = ("model/detector.json", WEIGHTS)
PICTURES = tuple(f"figures/{name}.png" for name in sorted(FIGURES))
COMPARED = ("by", "data", "place", "model")
WATCHED = ("tensorboard/events.out.tfevents.*", "profile/plugins/profile/*/*")
MOST_BYTES = 1 << 24  # of a page that says whose results they are


def made_of(by: str, data: DataSpec, model: str) -> dict[str, str]:
    """Return what results are of: script, data set, its file's place as a checksum, and kind of model."""
    if data.path is None:
        return {"by": by, "data": str(data.name), "place": "", "model": model}
    place = hashlib.sha256(os.fsencode(data.path.resolve())).hexdigest()
    return {"by": by, "data": data.path.name, "place": place, "model": model}


def require_own_results(folder: Path, results_of: Mapping[str, str]) -> None:
    """Check that results in a folder may be replaced: there are none, or they are of the same data and kind of model.

    Raises:
        InputError: if there are others, or files with the names of results that no run wrote.
    """
    helps = "give another --out, or --overwrite to replace"
    known = _about(folder).get("results_of")
    if isinstance(known, dict):
        if any(known.get(name) != results_of[name] for name in COMPARED):
            old, new = (
                f"{which.get('by')} on {which.get('data')} ({which.get('model')})" for which in (known, results_of)
            )
            other = "another file of that name" if old == new else new
            raise InputError(f"{folder} holds results of {old}, expected none or those of {other}: {helps} them")
        return
    for name in (*PAGES, *MODEL, *PICTURES, *LIVE):
        file = folder / name
        if (file.exists() or file.is_symlink()) and not (name in LIVE and _is_history(file)):
            raise InputError(f"{folder} holds {name}, of which no {ABOUT} says what run it is of: {helps} it")


class Results:
    """The results that a run leaves in a folder.

    Args:
        folder: where they are.
        there_before: what `files_there` said before the run wrote anything.
        provenance: how the run was made.
        results_of: what they are of, see `made_of`.
        variants: names of the folders in it with results of the run's variants.
    """

    def __init__(
        self,
        folder: Path,
        there_before: Mapping[str, tuple[int, int]],
        provenance: Mapping[str, Any],
        results_of: Mapping[str, str],
        variants: Iterable[str] = (),
    ):
        self.folder, self.provenance = folder, provenance
        self.about = {"results_of": dict(results_of), "variants": list(variants)}
        self.before, self.there_before = _about(folder), there_before

    def begin(self) -> None:
        """Say whose the results are, before the first of them is written."""
        write_json({**self.provenance, **self.about, "files": self.before.get("files", {})}, self.folder / ABOUT)

    def end(self) -> None:
        """Note what the run wrote, and remove what an earlier one did and this one did not.

        So do what `evaluate.py` said of a model that is no more, and variants that the run does not have.
        """
        there = files_there(self.folder)
        written = sorted(name for name in there if there[name] != self.there_before.get(name))
        files = {name: _digest_of(self.folder / name) for name in written}
        write_json({**self.provenance, **self.about, "files": files}, self.folder / ABOUT)
        before = self.before.get("results_of")
        if not isinstance(before, dict) or before.get("by") != self.about["results_of"]["by"]:
            return
        old = _names(self.before, "files")
        _remove_files(self.folder, {name: checksum for name, checksum in old.items() if name not in files})
        if old.get(WEIGHTS) != files.get(WEIGHTS):
            _remove_judgements(self.folder, old.get(WEIGHTS))
        gone = set(map(str, self.before.get("variants") or ())) - set(self.about["variants"])
        for name in sorted(filter(_is_inside, gone)):
            _remove_results(self.folder / name)


def files_there(folder: Path) -> dict[str, tuple[int, int]]:
    """Files in a folder that have the names of results, and what changes when one is written: inode and time."""
    files = [folder / name for name in (*PAGES[:-1], *LIVE, *MODEL, *PICTURES)]
    files += [file for pattern in WATCHED for file in folder.glob(pattern)]
    stats = {file: file.stat() for file in files if file.is_file() and not file.is_symlink()}
    return {str(file.relative_to(folder)): (stat.st_ino, stat.st_mtime_ns) for file, stat in stats.items()}


def weights_of(model: Path) -> str:
    """The checksum of a saved detector's weights."""
    return _digest_of(model / Path(WEIGHTS).name)


def _remove_judgements(folder: Path, weights: str | None) -> None:
    """Remove what `evaluate.py` said in this folder of a model that is no more."""
    for place in sorted(folder.iterdir()) if weights else ():
        if place.is_dir() and not place.is_symlink():
            judged = _about(place).get("results_of")
            if isinstance(judged, dict) and judged.get("weights") == weights:
                _remove_results(place)


def _remove_results(folder: Path) -> None:
    if folder.is_symlink():
        return
    about = _about(folder)
    files = _names(about, "files")
    if files:
        _remove_judgements(folder, files.get(WEIGHTS))
        (folder / ABOUT).unlink(missing_ok=True)
        _remove_files(folder, files)
        with suppress(OSError):
            folder.rmdir()


def _remove_files(folder: Path, files: Mapping[str, str]) -> None:
    """Remove files that are still as they were written, and folders that are empty then."""
    for name, checksum in files.items():
        file = folder / name
        if not _is_inside(name) or not file.is_file() or _digest_of(file) != checksum:
            continue
        if file.resolve() != folder.resolve() / name:  # behind a link
            continue
        with suppress(OSError):
            file.unlink()
            for parent in file.relative_to(folder).parents[:-1]:
                (folder / parent).rmdir()


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts != ()


def _about(folder: Path) -> dict[str, Any]:
    """The contents of a folder's `provenance.json`; nothing where there is none that a run wrote."""
    file = folder / ABOUT
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            return {}
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _names(about: Mapping[str, Any], key: str) -> dict[str, str]:
    found = about.get(key)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _is_history(file: Path) -> bool:
    """Whether a file is empty, or begins as the history of a fit does."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        start = stream.read(200)
    return not start or start.startswith((b"epoch,train_loss,valid_loss,", b'{"epoch": '))


def _digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
