"""Directories of checkpoints: what was not written by a fit keeps its place."""

import pytest

from jaxflow.errors import InputError
from jaxflow.training.monitoring.kept_checkpoints import (
    discard,
    discard_unfinished,
    has_checkpoints,
    require_place_for_checkpoints,
)

WHOLE = (
    "_CHECKPOINT_METADATA",
    "commit_success.txt",
    "fit/metadata",
    "fit/commit_success.txt",
    "state/_METADATA",
    "state/_sharding",
    "state/manifest.ocdbt",
    "state/d/0123",
    "state/array_metadatas/process_0",
    "state/ocdbt.process_0/manifest.ocdbt",
    "state/ocdbt.process_0/d/0123",
)
BEGUN = (
    "_CHECKPOINT_METADATA",
    "fit.orbax-checkpoint-tmp/metadata",
    "state.orbax-checkpoint-tmp/ocdbt.process_0/d/0123",
)


def plant(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def kept(tmp_path):
    """Two checkpoints, one of a committee's member, and what an interruption left."""
    plant(tmp_path / "kept" / "5", *WHOLE)
    plant(tmp_path / "kept" / "10", *WHOLE)
    plant(tmp_path / "kept" / "3" / "7", *WHOLE)
    plant(tmp_path / "kept" / "11.orbax-checkpoint-tmp", *BEGUN)
    plant(tmp_path / "kept" / "4" / "8.orbax-checkpoint-tmp-123", *BEGUN)
    (tmp_path / "kept" / "12.orbax-checkpoint-tmp").mkdir()
    return tmp_path / "kept"


def test_what_a_fit_wrote_goes(kept):
    assert has_checkpoints(kept)
    require_place_for_checkpoints(kept)
    discard(kept)
    assert not kept.exists()
    discard(kept)  # there is nothing


def test_what_was_not_finished_goes_alone(kept):
    discard_unfinished(kept)
    assert sorted(child.name for child in kept.iterdir()) == ["10", "3", "5"]
    assert files(kept / "5") == set(WHOLE)


@pytest.mark.parametrize(
    "mine",
    [
        "notes.txt",
        "5.txt",
        "5/notes.txt",
        "5/state/notes.txt",
        "3/notes.txt",
        "3/7/fit/notes",
        "old/5/weights.bin",
        "11.orbax-checkpoint-tmp/default/theirs",
        "9/model.bin",
        ".hidden",
    ],
)
def test_what_lies_beside_keeps_its_place(kept, mine):
    plant(kept, mine)
    discard(kept)
    assert mine in files(kept)
    assert not has_checkpoints(kept)
    assert files(kept) <= {mine} | (
        {f"11.orbax-checkpoint-tmp/{name}" for name in BEGUN} if "theirs" in mine else set()
    )


@pytest.mark.parametrize("theirs", [("5/default/manifest.ocdbt", "5/_CHECKPOINT_METADATA"), ("5/epoch.pt",), ("1",)])
def test_checkpoints_of_others_are_neither_taken_nor_removed(tmp_path, theirs):
    plant(tmp_path, *theirs)
    assert not has_checkpoints(tmp_path)
    with pytest.raises(InputError, match=r"holds \d, which has the name of a checkpoint and is none that"):
        require_place_for_checkpoints(tmp_path)
    discard(tmp_path)
    assert files(tmp_path) == set(theirs)


def test_links_are_not_followed(kept, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "5").symlink_to(kept / "5")
    assert not has_checkpoints(tmp_path / "out")
    discard(tmp_path / "out")
    assert files(kept / "5") == set(WHOLE)


def test_a_link_to_a_directory_is_a_name_of_it(kept, tmp_path):
    linked = tmp_path / "linked"
    linked.symlink_to(kept)
    assert has_checkpoints(linked)
    require_place_for_checkpoints(linked)
    discard_unfinished(linked)
    assert sorted(child.name for child in kept.iterdir()) == ["10", "3", "5"]
    discard(linked)
    assert linked.is_symlink()
    assert list(kept.iterdir()) == []
    require_place_for_checkpoints(linked)


def test_a_file_is_no_place(tmp_path):
    plant(tmp_path, "checkpoints")
    with pytest.raises(InputError, match="checkpoints is a file, expected a directory for checkpoints or a new place"):
        require_place_for_checkpoints(tmp_path / "checkpoints")
    discard(tmp_path / "checkpoints")
    assert files(tmp_path) == {"checkpoints"}
