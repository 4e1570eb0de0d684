"""Saved models whose descriptions or files have been changed at random, tried one after the other in one process.

Run as a program, in a process of its own: no case may take more memory than it is given, which is little, or raise
anything but `InputError`.
"""

import copy
import hashlib
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from jaxflow.detection import load
from jaxflow.detection.storage import save_and_load as saving
from jaxflow.errors import InputError
from jaxflow.models import AnyModelSpec

MOST_SECONDS = 2.0  # of processor time, to refuse
MOST_MEMORY = 300 << 20
HUGE = (17, 100, 1000, 1024, 16_384, 65_536, 10**6, 10**9, 10**12, 10**15, 10**30, 1e300, -1, 0)
DEEP = {"kind": "maf", "layers": 11, "hidden": [1] * 100}
FLOWS: list[dict[str, Any]] = [
    {"kind": "maf", "layers": 1, "hidden": [4]},
    {"kind": "iaf", "hidden": [4]},
    {"kind": "nice"},
    {"kind": "realnvp", "context_dim": 2, "context_embedding": [4, 3]},
    {"kind": "glow"},
    {"kind": "nsf", "dequantize": "variational"},
    {"kind": "nsf_autoregressive", "base": {"kind": "student_t"}},
    {"kind": "bnaf"},
    {"kind": "cnf", "probes": 2},
    {"kind": "maf", "base": {"kind": "mixture"}},
    {"kind": "maf", "residual": True},
    DEEP,
    {"kind": "maf", "layers": 1000, "hidden": [16_384] * 100},
    {"kind": "bnaf", "layers": 11, "hidden_layers": 100, "hidden_factor": 1024},
    {"kind": "cnf", "layers": 11, "hidden": [16_384] * 100},
    {"kind": "realnvp", "layers": 1000, "residual": True, "hidden": [16_384] * 100},
    *(
        {"kind": "custom", "layer": f"jaxflow.bijectors.{name}", "options": options}
        for name, options in (
            ("BlockAutoregressive", [["layers", 3], ["hidden_factor", 1]]),
            ("NeuralODE", [["hidden", [3, 3]], ["probes", 2], ["max_steps", 64], ["rtol", 1e-3]]),
            ("Householder", [["reflections", 2]]),
            ("Sylvester", [["rank", 1]]),
            ("block_autoregressive.BlockAutoregressive", [["layers", 100]]),
            ("stack.Stack", [["depth", 2]]),
            ("Chain", [["layers", [1, 2]]]),
        )
    ),
]
MODELS = [
    *FLOWS,
    {"kind": "gaussian"},
    {"kind": "gaussian", "context_dim": 1},
    {"kind": "gaussian_mixture"},
    {"kind": "kernel_density"},
    {"kind": "pca"},
    {"kind": "autoencoder", "latent": 2},
    {"kind": "vae", "latent": 2},
]


def whole(model: dict[str, Any]) -> dict[str, Any]:
    """The description of a model with all its fields, as a saved one has them."""
    return TypeAdapter(AnyModelSpec).validate_python(model).model_dump(mode="json")


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in [(*at, key), *places(one, (*at, key))]]


def with_value(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy in which something else stands there."""
    changed = copy.deepcopy(value)
    around = changed
    for key in place[:-1]:
        around = around[key]
    around[place[-1]] = new
    return changed


def huge_model(rng: random.Random) -> dict[str, Any]:
    """A model of a kind drawn at random, in which something, wherever it stands, is large or deep."""
    model = whole(rng.choice(MODELS))
    if model["kind"] in {flow["kind"] for flow in FLOWS} and rng.random() < 0.5:
        members = rng.choice((1, 2, 64, 1024))
        if rng.random() < 0.5:
            model = whole({"kind": "ensemble", "member": model, "members": members})
        else:
            model = {"kind": "committee", "members": [{"model": model, "view": "as_given"}] * min(members, 64)}
    for _ in range(rng.choice((0, 1, 1, 1, 2, 5))):
        place = rng.choice(places(model))
        value: Any = model
        for key in place:
            value = value[key]
        new: Any = rng.choice(HUGE)
        if isinstance(value, dict):
            new = rng.choice((DEEP, whole(rng.choice(MODELS)), {"kind": "mixture", "components": 16_384}))
        elif isinstance(value, list):
            new = rng.choice(([new] * rng.choice((1, 3, 100, 1000)), value * 64, value * 1000))
        model = with_value(model, place, new)
    return model


def write(place: Path, description: dict[str, Any], weights: bytes) -> Path:
    """A directory with these two files, whose checksums fit."""
    place.mkdir(exist_ok=True)
    values = description | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    values["checksum"] = saving.checksum_of(values)
    (place / "detector.json").write_text(json.dumps(values))
    (place / "weights.safetensors").write_bytes(weights)
    return place


def limit_memory() -> None:
    """Let the process have so much more memory than it has now, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def refusal(place: Path, changed: Any) -> str:
    """What `load` has to say; nothing if it loads."""
    try:
        load(place)
    except InputError as error:
        return str(error)
    except BaseException as error:
        raise AssertionError(f"{json.dumps(changed)[:3000]}: {error!r}") from error
    return ""


def main(saved: Path, place: Path, seed: int, count: int) -> None:
    """Try models; print how many were refused, and how long the slowest took."""
    rng, slowest, refused = random.Random(seed), 0.0, 0
    description = json.loads((saved / "detector.json").read_text())
    weights = (saved / "weights.safetensors").read_bytes()
    load(write(place, description, weights))
    limit_memory()
    for _ in range(count):
        model = huge_model(rng)
        write(place, description | {"model": model}, weights)
        before = time.process_time()
        sentence = refusal(place, model)
        taken = time.process_time() - before
        assert "\n" not in sentence
        assert len(sentence) < 2000, sentence[:3000]
        refused += bool(sentence)
        assert taken < MOST_SECONDS, (taken, json.dumps(model)[:3000])
        slowest = max(slowest, taken)
    print(json.dumps({"refused": refused, "slowest": slowest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
