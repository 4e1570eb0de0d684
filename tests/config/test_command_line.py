import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from jax.errors import JaxRuntimeError
from pydantic import Field

from jaxflow import errors
from jaxflow.config import Spec
from jaxflow.config.command_line import ScriptParser, _exit_code, load_spec, override_arguments
from jaxflow.errors import InputError


class Fit(Spec):
    epochs: int = Field(default=10, ge=1, description="passes over the data")
    low: float = Field(default=0.0, description="lower end")


class Experiment(Spec):
    train: Fit = Field(default=Fit(epochs=50), description="how it is fitted")
    data: str = Field(description="name of the data set")


@pytest.fixture
def parser():
    parser = ScriptParser(prog="train.py")
    parser.add_argument("--config", required=True)
    parser.add_argument("--follow", action="store_true")
    override_arguments(parser, Experiment)
    return parser


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--confg", "a.yaml"], "unknown option --confg, did you mean --config?"),
        (["--config", "a.yaml", "--train.epoch=3"], "unknown option --train.epoch, did you mean --train.epochs?"),
        (["--config", "a.yaml", "--epochs", "3"], "unknown option --epochs, did you mean --train.epochs?"),
        (["--config", "a.yaml", "--zzz"], "unknown option --zzz"),
        (["--config", "a.yaml", "--foll"], "unknown option --foll, did you mean --follow?"),
        ([], "the following arguments are required: --config"),
        (["--config"], "argument --config: expected one argument"),
        (["--config", "a.yaml", "more"], "unrecognized arguments: more"),
        (["--config", "a.yaml", "--follow", "-1"], "unrecognized arguments: -1"),
        (
            ["--config", "a.yaml", "--train.epochs", "[1"],
            "argument --train.epochs: '[1' is not a YAML value (while parsing a flow sequence, "
            "expected ',' or ']', but got '<stream end>')",
        ),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(parser, arguments, sentence):
    with pytest.raises(InputError) as error:
        parser.parse_args(arguments)
    assert str(error.value) == f"{sentence}; train.py --help lists the options"


def test_what_stands_after_two_dashes_is_no_option():
    parser = ScriptParser()
    parser.add_argument("words", nargs="*")
    assert parser.parse_args(["a", "--", "--b"]).words == ["a", "--b"]


@pytest.mark.parametrize("text", ["-1", "-1e-3", "-.5", "-1.5E+2"])
def test_a_negative_number_is_a_value(parser, tmp_path, text):
    (tmp_path / "a.yaml").write_text("data: wine\n")
    namespace = parser.parse_args(["--config", str(tmp_path / "a.yaml"), "--train.low", text])
    assert load_spec(Experiment, namespace.config, namespace).train == Fit(epochs=50, low=float(text))


def test_arguments_come_from_the_process_by_default(parser, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "b.yaml"])
    assert parser.parse_args().config == "b.yaml"


def test_a_spec_is_the_file_changed_by_the_options(parser, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("data: wine\ntrain: {epochs: 3, low: 1e-3}\n")
    namespace = parser.parse_args(["--config", str(path), "--train.epochs", "4"])
    assert load_spec(Experiment, path, namespace) == Experiment(data="wine", train=Fit(epochs=4, low=1e-3))


def test_a_mistake_in_the_result_names_where_it_came_from(parser, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("data: 3\n")
    with pytest.raises(InputError) as error:
        load_spec(Experiment, path, parser.parse_args(["--config", "a"]))
    assert str(error.value) == f"{path}: data = 3: expected text"
    with pytest.raises(InputError) as error:
        load_spec(Experiment, path, parser.parse_args(["--config", "a", "--data", "wine", "--train.epochs", "0"]))
    expected = "train.epochs = 0: expected a value greater than or equal to 1"
    assert str(error.value) == f"{path} and the options given: {expected}"


# jaxflow without what its __init__ imports: JAX, scikit-learn and all models take seconds, and no test here needs them.
PREAMBLE = f"""
import os, signal, sys, time, types

# A shell that runs its jobs in the background makes them deaf to Ctrl-C, and Python then leaves them so.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["jaxflow"] = types.ModuleType("jaxflow")
sys.modules["jaxflow"].__path__ = [{str(Path(errors.__file__).parent)!r}]
from jaxflow.config.command_line import *
from jaxflow.errors import InputError
"""


def start(tmp_path, body, redirection="", **pipes):
    script = tmp_path / "script.py"
    body = textwrap.indent(body, "    ")
    script.write_text(f"{PREAMBLE}\ndef main(arguments=None):\n{body}\n\nrun_script(main)\n")
    # What is printed waits in a buffer, as it does unless someone asks otherwise.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = ["sh", "-c", f'exec "$0" "$1" {redirection}', sys.executable, script]
    return subprocess.Popen(command, text=True, env=environment, stderr=subprocess.PIPE, cwd=tmp_path, **pipes)


@pytest.mark.parametrize(
    ("body", "code", "stdout", "stderr"),
    [
        ("print('done')", 0, "done\n", ""),
        ("raise InputError('a.csv: no')", 2, "", "error: a.csv: no\n"),
        ("raise InputError('a\\nb')", 2, "", "error: a b\n"),
        (
            "ScriptParser(prog='x').parse_args(['--y'])",
            2,
            "",
            "error: unknown option --y; x --help lists the options\n",
        ),
        ("open('/no/such')", 1, "", "error: /no/such: No such file or directory\n"),
        ("raise OSError(28, 'No space left on device')", 1, "", "error: No space left on device\n"),
        ("os.rename('/no/such', '/there')", 1, "", "error: /no/such -> /there: No such file or directory\n"),
        ("raise KeyboardInterrupt", 130, "", "interrupted\n"),
        ("print('x'); sys.exit(3)", 3, "x\n", ""),
    ],
)
@pytest.mark.end_to_end
def test_exit_codes(tmp_path, body, code, stdout, stderr):
    script = start(tmp_path, body, stdout=subprocess.PIPE)
    assert script.communicate(timeout=60) == (stdout, stderr)
    assert script.returncode == code


@pytest.mark.parametrize("body", ["raise ValueError('ours')", "raise OSError('of a library')"])
@pytest.mark.end_to_end
def test_a_defect_keeps_its_traceback(tmp_path, body):
    script = start(tmp_path, body, stdout=subprocess.PIPE)
    _, stderr = script.communicate(timeout=60)
    assert stderr.startswith("Traceback")
    assert stderr.splitlines()[-1] in ("ValueError: ours", "OSError: of a library")
    assert script.returncode == 1


@pytest.mark.parametrize("body", ["print('x' * 10)", "print('x' * 10**6)", "ScriptParser().parse_args(['--help'])"])
@pytest.mark.end_to_end
def test_a_reader_that_goes_away_ends_the_script_quietly(tmp_path, body):
    script = start(tmp_path, f"sys.stdin.read()\n{body}", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert script.stdin
    assert script.stdout
    assert script.stderr
    with script.stderr as stderr:
        script.stdout.close()
        script.stdin.close()
        assert stderr.read() == ""
    assert script.wait(timeout=60) == 141


# A script as they all are: it opens files, says what it does, prints results, and its library prints too.
WORK = """
import contextlib
from pathlib import Path
from jaxflow.config.printing import say, show
with open("answers.txt", "w") as file:
    say("at work")
    with contextlib.suppress(OSError):
        os.write(2, b"a library's own words\\n")
    file.write("all of them")
    file.flush()
    show("done")
    sys.stdout.flush()
    file.write(", twice")
"""


@pytest.mark.parametrize(
    ("redirection", "code", "stdout", "stderr"),
    [
        (">&-", 0, "", "at work\na library's own words\n"),
        ("2>&-", 0, "done\n", ""),
        (">&- 2>&- <&-", 0, "", ""),
        ("2>/dev/full", 0, "done\n", ""),
        (
            ">/dev/full",
            1,
            "",
            "at work\na library's own words\nerror: standard output cannot be written: No space left on device\n",
        ),
        (">/dev/full 2>&1", 1, "", ""),
        (">/dev/full 2>&-", 1, "", ""),
    ],
)
@pytest.mark.end_to_end
def test_the_work_is_done_whatever_becomes_of_the_streams(tmp_path, redirection, code, stdout, stderr):
    script = start(tmp_path, WORK, stdout=subprocess.PIPE, redirection=redirection)
    assert script.communicate(timeout=60) == (stdout, stderr)
    assert script.returncode == code
    assert (tmp_path / "answers.txt").read_text() == "all of them, twice"


@pytest.mark.parametrize(
    ("redirection", "code", "stderr"),
    [
        (">&-", 2, "error: standard output is closed, expected a place for the answers\n"),
        (">/dev/full", 2, "error: standard output cannot be written: No space left on device\n"),
        (">&- 2>&-", 2, ""),
    ],
)
@pytest.mark.end_to_end
def test_answers_that_cannot_be_given_end_the_script(tmp_path, redirection, code, stderr):
    body = "from jaxflow.config.printing import answer\nwhile True:\n    answer('{}')"
    script = start(tmp_path, body, stdout=subprocess.PIPE, redirection=redirection)
    assert script.communicate(timeout=60) == ("", stderr)
    assert script.returncode == code


@pytest.mark.end_to_end
def test_what_ends_a_script_leaves_nothing_half_written(tmp_path):
    # The main thread is where Python cannot reach it, as it is while a compiled program runs.
    body = """
import ctypes
from jaxflow.atomic_write import replacing
from jaxflow.config.ending import advising
with replacing("answers.csv") as temporary, advising(lambda: "there is a way on"):
    temporary.write_text("half")
    print("ready", flush=True)
    mutex = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)  # waits for itself
"""
    for number, said in ((signal.SIGTERM, "terminated"), (signal.SIGHUP, "terminated"), (signal.SIGINT, "interrupted")):
        script = start(tmp_path, body, stdout=subprocess.PIPE)
        assert script.stdout
        assert script.stdout.readline() == "ready\n"
        assert len(list(tmp_path.glob(".answers.csv.*"))) == 1
        started = time.monotonic()
        script.send_signal(number)
        assert script.communicate(timeout=60) == ("", f"{said}; there is a way on\n")
        assert script.returncode == 128 + number
        assert time.monotonic() - started < 20
        assert [file.name for file in tmp_path.iterdir()] == ["script.py"]


@pytest.mark.end_to_end
def test_ctrl_c_while_a_line_is_written_does_not_write_it_twice(tmp_path):
    body = """
import os, signal
def write(descriptor, data, real=os.write):
    os.write = real
    size = real(descriptor, data)
    signal.raise_signal(signal.SIGINT)
    return size
os.write = write
print("a line", flush=True)
signal.pause()
"""
    script = start(tmp_path, body, stdout=subprocess.PIPE)
    assert script.communicate(timeout=60) == ("a line\n", "interrupted\n")
    assert script.returncode == 130


@pytest.mark.end_to_end
def test_ctrl_c_ends_in_one_line(tmp_path):
    body = """
from jaxflow.config.ending import advising
with advising(lambda: "there is a way on"):
    print("ready", flush=True)
    time.sleep(60)
"""
    script = start(tmp_path, body, stdout=subprocess.PIPE)
    assert script.stdout
    assert script.stdout.readline() == "ready\n"
    started = time.monotonic()
    script.send_signal(signal.SIGINT)
    assert script.communicate(timeout=120) == ("", "interrupted; there is a way on\n")
    assert script.returncode == 130
    assert time.monotonic() - started < 20


def test_what_no_memory_holds_is_said_in_one_line(capsys):
    def fail(message):
        def main(_):
            raise JaxRuntimeError(message)

        return main

    assert _exit_code(fail("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nAllocations: ...")) == 1
    error = capsys.readouterr().err
    assert error == "error: not enough memory: RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\n"
    with pytest.raises(JaxRuntimeError):  # any other is a defect
        _exit_code(fail("INTERNAL: what XLA did not foresee"))
