"""Categories as context by an embedding that is learned with the flow."""

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest

from jaxflow.data import ColumnsSpec
from jaxflow.detection import FlowDetector, load
from jaxflow.models import MAF, RealNVP
from jaxflow.training import FitSpec

LEVELS = {"cellar": 5.0, "kitchen": 20.0, "roof": 45.0, "yard": 10.0}


def rooms(seed=0, n=1200):
    """A temperature and a humidity that follow the room; names of rooms are no numbers in any order."""
    rng = np.random.default_rng(seed)
    room = rng.choice(list(LEVELS), n)
    level = np.array([LEVELS[name] for name in room])
    temperature = level + rng.normal(size=n)
    return {"room": room, "temperature": temperature, "humidity": 80 - temperature + 2 * rng.normal(size=n)}


def table(room, temperature):
    return {"room": [room], "temperature": [temperature], "humidity": [80 - temperature]}


@pytest.mark.parametrize("spec", [MAF, RealNVP])
def test_a_reading_is_judged_by_its_room(spec, tmp_path):
    columns = ColumnsSpec(context=("room",))
    detector = FlowDetector(
        spec(layers=3, hidden=(32,), context_embedding=(16, 2)),
        columns=columns,
        train=FitSpec(epochs=60, batch_size=64, learning_rate=0.01),
    ).fit(pa.table(rooms()))
    # Four rooms become three indicators (the first has none), these two numbers, and those shift and scale every layer.
    assert (detector.inputs_.dim, detector.inputs_.context_dim) == (2, 3)
    assert detector.model_.embedding(jnp.eye(3)).shape == (3, 2)
    for name, level in LEVELS.items():
        for other in LEVELS:
            flag = detector.predict(pa.table(table(other, level)))[0]
            assert flag == (1 if name == other else -1), f"{level} degrees in the {other}"
    nowhere = pa.table(table("attic", 20.0))
    assert detector.predict(nowhere)[0] == -1
    first = detector.explain(nowhere).top(1)[0][0]
    assert str(first) == "room = attic (never seen)"
    top = detector.explain(pa.table(table("cellar", 45.0))).top(3)[0]
    assert {reason.column for reason in top[:2]} == {"temperature", "humidity"}
    asked = pa.table(rooms(1, 50))
    assert np.mean(detector.predict(asked) == 1) > 0.9
    detector.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").anomaly_score(asked), detector.anomaly_score(asked))
