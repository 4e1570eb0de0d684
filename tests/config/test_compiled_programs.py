"""Scripts keep their compiled programs where they are told to, and let go of them where there are many."""

import os
import subprocess
import sys

import jax
import pytest

from jaxflow.config import compiled_programs

PROGRAM = """
import jax
from jaxflow.config.compiled_programs import keep_compiled_programs
keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x + 1)(1.0)
print(jax.config.jax_compilation_cache_dir)
"""


def run(tmp_path, **variables) -> str:
    removed = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in removed}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), **variables}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.end_to_end
def test_in_the_cache_of_the_user(tmp_path):
    place = tmp_path / "cache" / "jaxflow" / "programs"
    for _ in range(2):  # made by the first run, found by the second
        assert run(tmp_path) == str(place)
        assert any(place.iterdir())
    # What a full disk has cut is made again, without a word.
    entry, *_ = place.glob("*-cache")
    whole = entry.stat().st_size
    entry.write_bytes(entry.read_bytes()[: whole // 2])
    run(tmp_path)
    assert entry.stat().st_size == pytest.approx(whole, rel=0.1)


@pytest.mark.end_to_end
def test_where_the_user_says(tmp_path):
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine")) == str(tmp_path / "mine")
    assert not (tmp_path / "cache").exists()


@pytest.mark.end_to_end
def test_nowhere(tmp_path):
    assert run(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false") == "None"
    (tmp_path / "cache").write_text("a file where the directory would be")
    assert run(tmp_path) == "None"


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A process that has as many mappings as one says, and notes what it lets go of."""

    class Process:
        released = 0

        def has(self, mappings):
            (tmp_path / "maps").write_text("a mapping\n" * mappings)

        def clear_caches(self):
            self.released += 1
            self.has(100)

    process = Process()
    process.has(100)
    monkeypatch.setattr(jax, "clear_caches", process.clear_caches)
    monkeypatch.setattr(compiled_programs, "MAPPINGS", tmp_path / "maps")
    monkeypatch.setattr(compiled_programs, "_shapes", set())
    return process


def test_memory_of_many_shapes_is_bounded(process):
    make_room = compiled_programs.make_room_for_programs
    most = 0
    for number in range(200):
        make_room("model", number)
        before = compiled_programs._mappings()
        process.has(before + 400)  # compiled
        most = max(most, before + 400)
        make_room("model", number)  # again, as in a loop
        assert compiled_programs._mappings() == before + 400
    assert 10 < process.released < 20
    assert most < 100 + compiled_programs.MORE_MAPPINGS + 2 * 400


def test_nothing_is_let_go_of_for_shapes_that_come_again(process):
    for number in range(100):
        compiled_programs.make_room_for_programs(number % 8)
        process.has(min(100 + 400 * (number + 1), 3_300) + 10 * number)  # what else the process does
    assert not process.released


def test_mappings_of_others_do_not_count(process):
    process.has(50_000)
    for number in range(12):
        compiled_programs.make_room_for_programs(number)
    assert not process.released


def test_where_mappings_cannot_be_counted_shapes_are(process, tmp_path):
    (tmp_path / "maps").unlink()
    for number in range(compiled_programs.MOST_SHAPES):
        compiled_programs.make_room_for_programs(number)
    assert not process.released
    compiled_programs.make_room_for_programs("new")
    assert process.released == 1


def test_too_many_are_let_go_of(tmp_path, monkeypatch):
    released, mappings = [], tmp_path / "maps"
    monkeypatch.setattr(jax, "clear_caches", lambda: released.append(True))
    monkeypatch.setattr(compiled_programs, "MAPPINGS", mappings)
    compiled_programs.release_compiled_programs(0)  # where they cannot be counted
    mappings.write_text("one\ntwo\n")
    compiled_programs.release_compiled_programs(2)
    assert not released
    compiled_programs.release_compiled_programs(1)
    assert released
