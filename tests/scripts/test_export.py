import json
import zipfile

import jax
import jax.export
import numpy as np
import pytest

from jaxflow.detection import load
from tests.scripts.conftest import FEATURES, make_rows


def test_the_program_scores_as_the_saved_detector_does(script, gaussian, tmp_path, capsys):
    script("export", "--model", gaussian, "--output", tmp_path / "new" / "detector.zip")
    assert capsys.readouterr().out == f"exported: {tmp_path / 'new' / 'detector.zip'}\n"
    with zipfile.ZipFile(tmp_path / "new" / "detector.zip") as file:
        about = json.loads(file.read("detector.json"))
        program = jax.export.deserialize(bytearray(file.read("program")))
    assert [column["name"] for column in about["columns"]] == list(FEATURES)
    x = make_rows(2, 20, 5)[0]
    with jax.enable_x64(True):
        answers = jax.device_get(program.call(x))
    detector = load(gaussian)
    np.testing.assert_allclose(answers["score"], detector.anomaly_score(x), rtol=1e-5)
    np.testing.assert_array_equal(answers["anomaly"], detector.predict(x) == -1)


def test_help_says_where_to_read_on(script, capsys):
    with pytest.raises(SystemExit):
        script("export", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--output FILE where to write, such as out/detector.zip" in shown
    assert "jaxflow/detection/storage/export.py shows how to score with the file" in shown
