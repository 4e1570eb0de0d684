"""The examples in the docstrings of public classes and functions print what they say."""

import doctest
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxflow
from jaxflow.detection import any_saved

ROOMS = ("networks", "bijectors", "models", "data", "training", "detection")
# They need a file, a download or a long fit. No class is to be added here.
WITHOUT = {
    *("AsdMachine", "Frame", "Callback", "Checkpoints", "LiveFile", "NpyFile", "Profiler", "SearchResult", "Source"),
    *("TableFiles", "TensorBoard", "Trial"),
}


def public(room):
    package = importlib.import_module(f"jaxflow.{room}")
    return {name: getattr(package, name) for name in package.__all__}


def classes():
    found = {name: member for room in ROOMS for name, member in public(room).items() if inspect.isclass(member)}
    # Union types of annotations are public too, and no classes.
    return {name: member for name, member in found.items() if member.__module__.startswith("jaxflow.")}


def has_example(member):
    return ">>>" in (member.__doc__ or "")


CLASSES = classes()


@pytest.fixture(scope="module")
def names():
    """What an example may use without an import, as a reader would have it."""
    imported = {name: member for room in ROOMS for name, member in public(room).items()}
    return {**imported, "jax": jax, "jnp": jnp, "np": np, "nnx": nnx, "jaxflow": jaxflow, "pytest": pytest}


def failures(text, names, name):
    """What the examples of a docstring print otherwise than it says."""
    told = []
    example = doctest.DocTestParser().get_doctest(text, dict(names), name, None, None)
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=told.append)
    return "".join(told)


@pytest.mark.parametrize("room", ROOMS)
def test_examples_print_what_they_say(room, names):
    shown = {name: member for name, member in public(room).items() if has_example(member)}
    assert shown
    assert "".join(failures(member.__doc__, names, name) for name, member in shown.items()) == ""


def test_the_example_of_saving(names):
    assert failures(any_saved.save.__doc__, names, "save") == ""


def test_every_public_class_has_an_example():
    assert {name for name, member in CLASSES.items() if not has_example(member)} == WITHOUT


def test_an_example_that_is_wrong_is_found(names):
    assert "Expected:\n    4" in failures(">>> 1 + 2\n4\n", names, "sum")
    assert "NameError" in failures(">>> unknown\n", names, "name")
