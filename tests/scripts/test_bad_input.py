"""Every mistake that a user can make ends in one clear line, and nothing is half-written."""

import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxflow.data.tables.frame import as_frame
from jaxflow.detection import AutoencoderDetector, GaussianDetector, Percentile
from jaxflow.detection.serving.json_lines import LONGEST_LINE
from jaxflow.errors import InputError
from jaxflow.models import AutoEncoderSpec
from jaxflow.training import FitSpec

HEADER = "speed,weight,heat,label\n"
GOOD = "".join(f"{i},{i * i},{i % 7},{int(i > 40)}\n" for i in range(50))
CONFIG = "data: {path: FOLDER/good.csv}\nmodel: {kind: gaussian}\n"


@pytest.fixture(scope="module")
def models():
    x = as_frame(np.random.default_rng(0).normal(size=(40, 3)), ("speed", "weight", "heat"))
    gaussian = GaussianDetector(threshold=Percentile()).fit(x)
    autoencoder = AutoencoderDetector(AutoEncoderSpec(hidden=(2,)), train=FitSpec(epochs=1), threshold=Percentile())
    autoencoder.fit(x)
    return gaussian, autoencoder


@pytest.fixture
def folder(models, tmp_path):
    """A folder with everything that could be right or wrong."""
    gaussian, autoencoder = models
    gaussian.save(tmp_path / "model")
    autoencoder.save(tmp_path / "autoencoder")
    for name in ("truncated", "newer", "halved"):
        shutil.copytree(tmp_path / "model", tmp_path / name)
    weights = tmp_path / "truncated" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    description = tmp_path / "newer" / "detector.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"format_version": 99}))
    (tmp_path / "halved" / "weights.safetensors").unlink()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "model").mkdir()
    (tmp_path / "notes" / "model" / "mine.txt").write_text("mine")
    for name, text in {
        "good.csv": HEADER + GOOD,
        "text.csv": HEADER + GOOD + "fast,1,1,0\n",
        "nan.csv": HEADER + GOOD + "1,nan,1,0\n",
        "hole.csv": HEADER + GOOD + "1,,1,0\n",
        "infinite.csv": HEADER + GOOD + "1,1,inf,0\n",
        "ragged.csv": HEADER + GOOD + "1,1,0\n",
        "empty.csv": "",
        "header.csv": HEADER,
        "labels.csv": HEADER + GOOD + "1,1,1,2\n",
        "unlabelled.csv": "speed,weight,heat\n" + "".join(f"{i},{i * i},{i % 7}\n" for i in range(50)),
        "narrow.csv": "speed,heat,label\n1,1,0\n2,2,1\n",
        "one.csv": HEADER + "1,1,1,0\n2,2,2,1\n",
        "three.csv": HEADER + "1,1,1,0\n2,1,2,0\n3,2,2,0\n",
        "constant.csv": HEADER + "1,1,1,0\n" * 30,
        "collinear.csv": HEADER + "".join(f"{i},{2 * i},{i % 7},0\n" for i in range(50)),
        "anomalies.csv": HEADER + "1,1,1,1\n2,2,2,1\n",
        "file.txt": "mine",
        "good.yaml": CONFIG,
        "empty.yaml": "",
        "broken.yaml": "data: {path: [\n",
        "list.yaml": "- data\n",
        "unknown.yaml": CONFIG + "modle: {}\n",
        "range.yaml": CONFIG + "detection: {calibration_fraction: 2}\n",
        "variant.yaml": CONFIG + "variants: {deep: {model.layers: 3}}\n",
    }.items():
        (tmp_path / name).write_text(text.replace("FOLDER", str(tmp_path)))
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 this is none PAR1")
    return tmp_path


TRAIN = "train --config good.yaml --out out"
EVALUATE = "evaluate --model model --out out"
SCORE = "score --model model --output out.csv --input"
SAMPLE = "sample --model model --count 5 --output out.csv"
EXPORT = "export --model model --output out.zip"

CASES = {
    # train.py: the command line
    "train --out out": "expected a file to learn from, as in `jaxflow train mine.csv`, or a --config",
    f"{TRAIN} --model.layrs 3": "unknown option --model.layrs, did you mean --model.layers?; train.py --help lists",
    f"{TRAIN} --seed": "argument --seed: expected one argument; train.py --help lists the options",
    f"{TRAIN} --seed -1": "good.yaml and the options given: seed = -1: expected a value greater than or equal to 0",
    f"{TRAIN} --model.layers 3": "good.yaml and the options given: unknown key model.layers; expected one of kind, ",
    f"{TRAIN} --train.epochs 3": "good.yaml and the options given: train: expected no section train, as gaussian ",
    f"{TRAIN} --model.regularization 2": "good.yaml and the options given: model.regularization = 2: expected a value ",
    f"{TRAIN} --out file.txt": "file.txt cannot be written: ",
    f"{TRAIN} --out file.txt/out": "file.txt/out cannot be written: ",
    f"{TRAIN} --out notes": "notes/model is a directory that holds mine.txt, expected a saved detector or a new place",
    # train.py: the config
    f"{TRAIN} --checkpoint-seconds nan": "--checkpoint-seconds nan: expected a number from 0 on",
    f"{TRAIN} --checkpoint-seconds inf": "--checkpoint-seconds inf: expected a number from 0 on",
    "train --out out --config missing.yaml": "missing.yaml: there is no such file, expected a YAML file",
    "train --out out --config model": "model: this is a directory, expected a YAML file",
    "train --out out --config empty.yaml": "empty.yaml: the file is empty, expected a mapping of keys to values",
    "train --out out --config broken.yaml": "broken.yaml, line 2, column 1: ",
    "train --out out --config list.yaml": "list.yaml: the file holds a list, expected a mapping of keys to values",
    "train --out out --config unknown.yaml": "unknown.yaml: unknown key modle; did you mean model?",
    "train --out out --config range.yaml": "range.yaml: detection.calibration_fraction = 2: expected a value less ",
    "train --out out --config variant.yaml": "variant.yaml: variant deep: unknown key model.layers; expected one of",
    # train.py: the data
    f"{TRAIN} --data.name rings --data.path x.csv": "good.yaml and the options given: ",
    f"{TRAIN} --data.path missing.csv": "missing.csv: there is no such file",
    f"{TRAIN} --data.path file.txt": "file.txt: unknown extension, expected one of .csv, .csv.gz, .parquet, .npz",
    f"{TRAIN} --data.path text.csv": "text.csv: row 51, column speed is 'fast', expected a finite number",
    f"{TRAIN} --data.path nan.csv": "nan.csv: row 51, column weight is 'nan', expected a finite number",
    f"{TRAIN} --data.path hole.csv": "hole.csv: row 51, column weight is empty, expected a finite number",
    f"{TRAIN} --data.path infinite.csv": "infinite.csv: row 51, column heat is 'inf', expected a finite number",
    f"{TRAIN} --data.path ragged.csv": "ragged.csv: row 51 has 3 cells, expected 4 as in the header",
    f"{TRAIN} --data.path empty.csv": "empty.csv: there are no rows, expected a header line and at least one row",
    f"{TRAIN} --data.path header.csv": "header.csv: there are no rows, expected a header line and at least one row",
    f"{TRAIN} --data.path damaged.parquet": "damaged.parquet: cannot be read as Parquet (",
    f"{TRAIN} --data.path unlabelled.csv": "unlabelled.csv: label column label is missing; the columns are speed, ",
    f"{TRAIN} --data.path labels.csv": "labels.csv: row 51, column label is '2', expected 0 or 1",
    f"{TRAIN} --data.features speed,colour": "good.csv: column colour is missing; the columns are speed, weight, ",
    f"{TRAIN} --data.path one.csv": "one: 1 normal row, expected two at least to split",
    f"{TRAIN} --data.path three.csv": "n_samples = 1: expected at least 2 normal rows, to fit and to calibrate",
    f"{TRAIN} --data.path anomalies.csv": "anomalies: 0 normal rows, expected two at least to split",
    f"{TRAIN} --data.path constant.csv": "drop_constant: all 3 columns are constant, expected one at least that is ",
    f"{TRAIN} --data.path collinear.csv --model.regularization 0": "feature 1 of the training rows is constant or a ",
    f"{TRAIN} --model.kind realnvp --data.features speed": "realnvp needs at least 2 features to couple, n_fea",
    f"{TRAIN} --model.kind maf --model.context_dim 2": "context_dim = 2 of the model, but columns.context makes 0 ",
    f"{TRAIN} --detection.threshold.kind best_f1 --data.path unlabelled.csv --data.label null": "unlabelled has no la",
    # evaluate.py
    "evaluate": "the following arguments are required: --model; evaluate.py --help lists the options",
    f"{EVALUATE}": "the options given: data is missing",
    f"{EVALUATE} --data.path missing.csv": "missing.csv: there is no such file",
    f"{EVALUATE} --data.path unlabelled.csv": "unlabelled.csv: label column label is missing; ",
    f"{EVALUATE} --data.path unlabelled.csv --data.label null": "unlabelled has no labels to judge by, expected them ",
    f"{EVALUATE} --data.path labels.csv": "labels.csv: row 51, column label is '2', expected 0 or 1",
    f"{EVALUATE} --data.path narrow.csv": "narrow: 1 of the 3 columns that the detector needs are missing, the first ",
    f"{EVALUATE} --data.path good.csv --out file.txt": "file.txt cannot be written: ",
    f"{EVALUATE} --config missing.yaml": "missing.yaml: there is no such file, expected a YAML file",
    f"{EVALUATE} --config unknown.yaml": "unknown.yaml: unknown key modle; did you mean model?",
    f"{EVALUATE} --train.epochs 3": "unknown option --train.epochs",
    "evaluate --model missing --data.path good.csv": "missing is no directory, expected one with a saved detector",
    "evaluate --model truncated --data.path good.csv": "truncated/weights.safetensors is damaged: it is not the file ",
    "evaluate --model newer --data.path good.csv": "newer/detector.json has format 99, this jaxflow reads up to form",
    # score.py
    "score --model model": "give --input and --output, or --follow for JSON lines on standard input",
    "score --model model --input good.csv": "give --input and --output, or --follow for JSON lines on standard input",
    f"{SCORE} good.csv --follow": "--follow reads standard input and writes standard output, row by row: leave out ",
    f"{SCORE} good.csv --adaptive spot": "--adaptive spot follows a stream, expected --follow",
    f"{SCORE} good.csv --rate 0.01": "--rate 0.01 belongs to an adaptive threshold, expected --adaptive",
    "score --model model --follow --adaptive spot --depth 5": "--depth 5 belongs to --adaptive drift_spot, got spot",
    "score --model model --follow --adaptive spot --rate 0.5": "rate = 0.5: expected more than 0 and less than ",
    "score --model model --follow --adaptive pot": "argument --adaptive: invalid choice: 'pot'",
    f"{SCORE} missing.csv": "missing.csv: there is no such file",
    f"{SCORE} narrow.csv": "narrow.csv: column weight is missing; the columns are speed, heat, label",
    f"{SCORE} text.csv": "text.csv: row 51, column speed is 'fast', expected a finite number",
    f"{SCORE} text.csv --chunk-rows 7": "text.csv: row 51, column speed is 'fast', expected a finite number",
    f"{SCORE} nan.csv": "nan.csv: row 51, column weight is 'nan', expected a finite number",
    f"{SCORE} ragged.csv": "ragged.csv: row 51 has 3 cells, expected 4 as in the header",
    f"{SCORE} empty.csv": "empty.csv: there are no rows, expected a header line and at least one row below it",
    f"{SCORE} header.csv": "header.csv: there are no rows, expected a header line and at least one row below it",
    f"{SCORE} damaged.parquet": "damaged.parquet: cannot be read as Parquet (",
    f"{SCORE} file.txt": "file.txt: unknown extension, expected one of .csv, .csv.gz, .parquet",
    f"{SCORE} model": "model: there is no file in it, expected some that end in .csv or",
    f"{SCORE} good.csv --chunk-rows 0": "chunk_rows = 0: expected a whole number of at least 1",
    f"{SCORE} good.csv --reasons -1": "--reasons -1: expected at least 0",
    f"{SCORE} good.csv --reasons-method shapley": "argument --reasons-method: invalid choice: 'shapley' (choose from ",
    f"{SCORE} good.csv --chunk-rows many": "argument --chunk-rows: invalid int value: 'many'; score.py --help lists",
    f"{SCORE} good.csv --output out.xlsx": "out.xlsx: unknown extension, expected one of .csv, .parquet, .jsonl",
    f"{SCORE} good.csv --output file.txt/out.csv": "file.txt/out.csv cannot be written: ",
    f"{SCORE} good.csv --output good.csv": "--output good.csv: this is the input file, expected another one",
    f"{SCORE} good.csv --model missing": "missing is no directory, expected one with a saved detector",
    f"{SCORE} good.csv --model file.txt": "file.txt is no directory, expected one with a saved detector",
    f"{SCORE} good.csv --model truncated": "truncated/weights.safetensors is damaged: it is not the file that ",
    f"{SCORE} good.csv --model halved": "halved/weights.safetensors is missing",
    f"{SCORE} good.csv --model newer": "newer/detector.json has format 99, this jaxflow reads up to format 3: it ",
    f"{SCORE} good.csv --model notes": "notes/detector.json is missing",
    f"{SCORE} good.csv --modle model": "unknown option --modle, did you mean --model?; score.py --help lists the ",
    # sample.py
    "sample --model model --output out.csv": "--count is missing: expected the number of rows to draw",
    f"{SAMPLE} --count 0": "--count 0: expected at least 1",
    f"{SAMPLE} --count few": "argument --count: invalid int value: 'few'; sample.py --help lists the options",
    f"{SAMPLE} --seed -1": "--seed -1: expected a whole number from 0 to 2147483647",
    f"{SAMPLE} --output out.txt": "out.txt: unknown extension, expected one of .csv, .parquet, .jsonl",
    f"{SAMPLE} --output file.txt/out.csv": "file.txt/out.csv cannot be written: ",
    f"{SAMPLE} --model autoencoder": "AutoencoderDetector cannot draw rows: AutoEncoder is no density",
    f"{SAMPLE} --model newer": "newer/detector.json has format 99, this jaxflow reads up to format 3: it needs a newer",
    f"{SAMPLE} --model truncated": "truncated/weights.safetensors is damaged: it is not the file that detector.json ",
    # export.py
    "export --model model": "the following arguments are required: --output; export.py --help lists the options",
    f"{EXPORT} --output file.txt/out.zip": "file.txt/out.zip cannot be written: ",
    f"{EXPORT} --output notes": "notes cannot be written: Is a directory",
    f"{EXPORT} --model missing": "missing is no directory, expected one with a saved detector",
    f"{EXPORT} --import no_such_module": "--import no_such_module: No module named 'no_such_module'",
}


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("command", CASES)
def test_is_refused_in_one_sentence(script, folder, monkeypatch, capsys, command):
    monkeypatch.chdir(folder)
    before = contents(folder)
    with pytest.raises(InputError) as error:
        script(*command.split())
    sentence = str(error.value)
    # `train` writes the full path where the config does.
    assert sentence.replace(f"{folder}/", "").startswith(CASES[command])
    assert "\n" not in sentence
    assert contents(folder) == before
    assert capsys.readouterr().out == ""


def test_a_fit_that_diverges_leaves_its_history_alone(script, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = contents(folder)
    options = "--model.kind autoencoder --model.hidden 2 --train.input_noise 1e30 --train.epochs 1"
    with pytest.raises(
        InputError, match=r"^good: the loss or its gradient was not finite in epoch 1, step 1, for every row of that"
    ):
        script(*f"{TRAIN} {options} --detection.validation_fraction 0".split())
    left = {path.relative_to(folder).as_posix() for path in contents(folder).keys() - before.keys()}
    assert left == {"out", "out/history.csv", "out/history.jsonl"}
    assert capsys.readouterr().out == ""


LINES = {
    b"speed": "line 2 of standard input is no JSON: Expecting value at column 1",
    b'{"speed": 1,': "line 2 of standard input is no JSON: ",
    b"[1, 2, 3]": "line 2 of standard input: expected an object of column names and numbers, got [1, 2, 3]",
    b'{"speed": 1, "heat": 1}': "line 2 of standard input: column weight is missing",
    b'{"speed": "1", "weight": 1, "heat": 1}': "line 2 of standard input: column speed is '1', expected a finite num",
    b'{"speed": NaN, "weight": 1, "heat": 1}': "line 2 of standard input: column speed is nan, expected a finite num",
    b'{"speed": 1e999, "weight": 1, "heat": 1}': "line 2 of standard input: column speed is inf, expected a finite ",
    b'{"speed": null, "weight": 1, "heat": 1}': "line 2 of standard input: column speed is None, expected a finite ",
    b'{"speed": 1, "weight": 1, "heat": 1, "speed": 2}': "line 2 of standard input is no JSON: the key 'speed' ",
    b'{"speed": \xff}': "line 2 of standard input is no JSON: 'utf-8' codec can't decode byte 0xff",
    b"[" * 100_000: "line 2 of standard input is no JSON: ",
    b"[" * 300 + b"]" * 300: "line 2 of standard input: expected an object of column names and numbers, got [[[",
    b'{"speed": ' + b"1" * 5000 + b', "weight": 1, "heat": 1}': "line 2 of standard input: column speed is inf, exp",
    b'{"speed": -' + b"9" * 310 + b', "weight": 1, "heat": 1}': "line 2 of standard input: column speed is -inf, exp",
    b"1" * (2 * LONGEST_LINE + 5): f"line 2 of standard input is longer than {LONGEST_LINE} bytes",
}


@pytest.mark.parametrize("line", LINES, ids=[str(line[:20]) for line in LINES])
def test_a_bad_line_is_answered_and_does_not_end_the_stream(script, folder, monkeypatch, capsys, line):
    good = b'{"speed": 1, "weight": 2, "heat": 3}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + good + line + b"\n\n" + good)))
    with pytest.raises(InputError) as refused:
        script("score", "--model", folder / "model", "--follow")
    assert str(refused.value) == "1 of 3 lines of standard input could not be scored, their answers say why"
    answers = [json.loads(answer) for answer in capsys.readouterr().out.splitlines()]
    assert answers[0] == answers[2]
    assert list(answers[0]) == ["score", "p_value", "anomaly", "reasons"]
    (sentence,) = answers[1].values()
    assert list(answers[1]) == ["error"]
    assert sentence.startswith(LINES[line])
    assert "\n" not in sentence


def test_a_closed_standard_input_is_said_to_be_closed(script, folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="--follow: standard input is closed, expected a stream of JSON lines"):
        script("score", "--model", folder / "model", "--follow")


@pytest.mark.end_to_end
def test_a_process_ends_in_one_line_and_a_code(start, folder):
    commands = {
        f"{TRAIN} --data.path text.csv": "error: text.csv: row 51, column speed is 'fast', expected a finite number",
        f"{EVALUATE} --data.path narrow.csv": "error: narrow: 1 of the 3 columns that the detector needs are missing",
        f"{SCORE} text.csv --chunk-rows 7": "error: text.csv: row 51, column speed is 'fast', expected a finite number",
        "score --model model --follow": "error: 1 of 1 lines of standard input could not be scored, their answers ",
        f"{SAMPLE} --model truncated": "error: truncated/weights.safetensors is damaged: it is not the file that ",
    }
    before = contents(folder)
    processes = [start(*command.split(), cwd=folder, stdin=subprocess.PIPE) for command in commands]
    for process, (command, sentence) in zip(processes, commands.items(), strict=True):
        stdout, stderr = process.communicate("bad\n", timeout=300)
        assert stderr.splitlines()[-1].startswith(sentence)
        # Beside it stands only what train.py says before it begins, and score.py when it is ready for a stream.
        others = [line for line in stderr.splitlines()[:-1] if line != "ready"]
        assert [line for line in others if not re.match(r"(good|text\.csv): gaussian on ", line)] == []
        assert "Traceback" not in stderr
        assert process.returncode == 2
        assert stdout.startswith('{"error": "line 1 of ') if "--follow" in command else stdout == ""
    assert contents(folder) == before
