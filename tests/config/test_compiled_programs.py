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


@pytest.mark.end_to_end
def test_where_the_user_says(tmp_path):
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine")) == str(tmp_path / "mine")
    assert not (tmp_path / "cache").exists()


@pytest.mark.end_to_end
def test_nowhere(tmp_path):
    assert run(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false") == "None"
    (tmp_path / "cache").write_text("a file where the directory would be")
    assert run(tmp_path) == "None"


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
