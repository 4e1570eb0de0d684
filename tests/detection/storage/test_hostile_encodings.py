"""Saved detectors of mixed tables whose description of the columns contradicts itself do not load."""

import json

import numpy as np
import pandas as pd
import pytest

from jaxflow.detection import GaussianDetector, load
from jaxflow.detection.storage.save_and_load import checksum_of
from jaxflow.errors import InputError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"load": rng.normal(size=200), "kind": rng.choice(["a", "b", "c"], 200)})
    place = tmp_path_factory.mktemp("saved") / "model"
    GaussianDetector().fit(cells).save(place)
    load(place)
    return place


def filled(value):
    return lambda values: values["encoding"][1].update(fill=value)


CHANGES = {
    "a category beyond the last": (filled(99.0), "fill = 99: expected the place of one of 3 categories"),
    "a category before the first": (filled(-7.0), "fill = -7: expected the place of one of 3 categories"),
    "between categories": (filled(0.5), "fill = 0.5: expected the place of one of 3 categories"),
    "a category twice": (
        lambda v: v["encoding"][1].update(categories=["a", "a", "c"]),
        "expected different cat",
    ),
    "a column twice": (lambda v: v.update(columns=["load", "load"]), "columns: load is there twice"),
    "another name": (lambda v: v["encoding"][0].update(name="x"), "expected one entry for each of 2 columns, in order"),
    "another order": (lambda v: v["encoding"].reverse(), "expected one entry for each of 2 columns, in order"),
    "fewer columns": (lambda v: v["encoding"].pop(), "expected one entry for each of 2 columns, in order"),
    "a context from elsewhere": (lambda v: v.update(columns_spec={"context": ["x"]}), "there is no column x"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_is_refused(saved, tmp_path, case):
    change, sentence = CHANGES[case]
    values = json.loads((saved / "detector.json").read_text())
    change(values)
    values["checksum"] = checksum_of(values)
    (tmp_path / "detector.json").write_text(json.dumps(values))
    (tmp_path / "weights.safetensors").write_bytes((saved / "weights.safetensors").read_bytes())
    with pytest.raises(InputError) as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert sentence in str(error.value)
