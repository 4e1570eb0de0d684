"""The command line that all verbs and scripts share: options from specs, one line for every mistake, and exit codes."""

import argparse
import errno
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jax.errors import JaxRuntimeError

from jaxflow.config.compiled_programs import keep_compiled_programs
from jaxflow.config.ending import INTERRUPTED, end_on_signals, last_words
from jaxflow.config.overrides import collect_overrides, merge, override_arguments
from jaxflow.config.printing import output_failure, print_for_scripts, say, use_standard_streams
from jaxflow.config.spec import parse_spec
from jaxflow.config.yaml_file import read_config
from jaxflow.errors import InputError, Preempted, meant

__all__ = [
    "ScriptParser",
    "collect_overrides",
    "command_given",
    "import_modules",
    "load_spec",
    "merge",
    "override_arguments",
    "program",
    "read_config",
    "run_script",
]

# Exit codes. The last is what a shell reports for a program ended by SIGPIPE.
BAD_INPUT = 2
FAILED_SYSTEM_CALL = 1
BROKEN_PIPE = 141


class ScriptParser(argparse.ArgumentParser):
    """An argument parser whose complaints are `InputError`s of one sentence, without the usage of every option.

    Options must be written in full. A value may be a negative number in any notation (`--data.low -1e-3`).
    """

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse `args`, or the command line of the process.

        Raises:
            InputError: for an unknown option, with the closest one there is; for a missing or malformed value; for
                an option or argument that is missing or unexpected.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        self._refuse_unknown_options(arguments)
        return super().parse_args(self._with_negative_numbers_joined(arguments), namespace)

    def add_saved_model(self) -> None:
        """Add --model, for a directory, and --import, for modules whose layers it uses (see `import_modules`)."""
        self.add_argument(
            "--model",
            type=Path,
            required=True,
            metavar="DIR",
            help="directory of the saved detector, such as out/quickstart/model",
        )
        self.add_argument(
            "--import",
            dest="modules",
            action="append",
            default=[],
            metavar="MODULE",
            help="import this module first: a model with layers of your own needs theirs (may be repeated)",
        )

    def add_reasons_method(self) -> None:
        """Add --reasons-method: what suits the model best, or the one way that every model has."""
        self.add_argument(
            "--reasons-method",
            choices=("auto", "replacement"),
            default="auto",
            help="where reasons come from: auto for what the model gives by itself (squared errors of an autoencoder, "
            "densities of Gaussians and flows), replacement for how much the score falls when a column takes its best "
            "normal value, which takes longer and for autoencoders is more to the point (default: auto)",
        )

    def add_overwrite(self) -> None:
        """Add --overwrite, for results of other data or models."""
        self.add_argument(
            "--overwrite",
            action="store_true",
            help="replace what is in the directory of the results even if it is of other data or another kind of model",
        )

    def add_distributed(self) -> None:
        """Add --distributed, and what it may need to be told."""
        self.add_argument(
            "--distributed",
            action="store_true",
            help="work together with other processes that run the same command; under Slurm, Open MPI and Kubernetes "
            "and on TPU pods they find each other",
        )
        self.add_argument(
            "--coordinator", metavar="HOST:PORT", help="elsewhere: address of process 0 and a free port there"
        )
        self.add_argument("--processes", type=int, metavar="N", help="elsewhere: number of processes")
        self.add_argument("--process-id", type=int, metavar="I", help="elsewhere: number of this process, from 0")

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to say as an `InputError`."""
        raise InputError(f"{message}; {self.prog} --help lists the options")

    def _refuse_unknown_options(self, arguments: list[str]) -> None:
        # argparse itself would take a beginning of an option for the option, and would first ask for required
        # options, even where the user misspelt exactly those.
        known = self._option_string_actions
        for argument in arguments:
            if argument == "--":
                return
            option = argument.partition("=")[0]
            if re.fullmatch(r"--\S+", option) and option not in known:
                raise InputError(f"unknown option {option}{meant(option, known)}; {self.prog} --help lists the options")

    def _with_negative_numbers_joined(self, arguments: list[str]) -> list[str]:
        """`--low -1e-3` as `--low=-1e-3`: argparse takes a value in this notation for an option of its own."""
        joined: list[str] = []
        for argument in arguments:
            action = self._option_string_actions.get(joined[-1]) if joined else None
            if action is not None and action.nargs != 0 and re.match(r"-\.?\d", argument):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return joined


def load_spec(spec_type: Any, path: str | os.PathLike[str], namespace: argparse.Namespace) -> Any:
    """Read a configuration file, change what the options say, and build the spec.

    Args:
        spec_type: the spec class, or a union of spec classes told apart by their `kind`; the same that
            `override_arguments` was given.
        path: the YAML file.
        namespace: the parsed command line.

    Raises:
        InputError: as `read_config`, `merge` and `parse_spec` do.
    """
    overrides = collect_overrides(namespace)
    source = f"{path} and the options given" if overrides else str(path)
    return parse_spec(spec_type, merge(read_config(path), overrides, spec_type), source)


def program(verb: str) -> str:
    """Name by which the user called a verb: `jaxflow train`, or `train.py` where it is a script."""
    return f"jaxflow {verb}" if sys.argv[0] == f"jaxflow {verb}" else f"{verb}.py"


def command_given(verb: str, arguments: Sequence[str] | None) -> list[str]:
    """Return the words of the command that runs a verb, for records of how a result came about.

    Args:
        verb: what was run.
        arguments: what its main function was given; None for the command line of the process.
    """
    if arguments is not None:
        return ["python", f"scripts/{verb}.py", *arguments]
    if sys.argv[0] == f"jaxflow {verb}":
        return ["jaxflow", verb, *sys.argv[1:]]
    return ["python", *sys.argv]


def run_script(main: Callable[[Sequence[str] | None], None]) -> NoReturn:
    """Run the main function of a script and leave the process.

    What the user can mend ends in one line on standard error: an `InputError` with exit code 2, a failed system call
    (a disk that is full, a file that may not be written) with 1, Ctrl-C with 130, SIGTERM and SIGHUP with 143 and 129.
    A fit that SIGTERM stopped and that has saved its state ends with 0. Streams that are closed or full do not keep a
    script from its work; where standard output took less than there was, the code is 1 at the end, and 141 without a
    word where its reader went away (`... | head`). Anything else is a defect of jaxflow and keeps its traceback.
    Compiled programs are kept for the next run, see `keep_compiled_programs`.

    Args:
        main: called with None, which means the command line of the process.
    """
    use_standard_streams()
    print_for_scripts()
    end_on_signals()
    keep_compiled_programs()
    code = _exit_code(main)
    sys.stdout.flush()
    if not code and (failure := output_failure()) is not None:
        if failure.errno == errno.EPIPE:
            code = BROKEN_PIPE
        else:
            code = _complain(f"error: standard output cannot be written: {failure.strerror}", FAILED_SYSTEM_CALL)
    sys.exit(code)


def _exit_code(main: Callable[[Sequence[str] | None], None]) -> Any:
    try:
        main(None)
    except SystemExit as leaving:  # --help, --version
        return leaving.code
    except InputError as error:
        return _complain(f"error: {error}", BAD_INPUT)
    except KeyboardInterrupt as stopped:
        return _complain(last_words("interrupted", stopped), INTERRUPTED)
    except Preempted as stopped:
        return _complain(f"{stopped}; --resume goes on from there", 0)
    except MemoryError as error:
        return _complain(f"error: not enough memory: {error}", FAILED_SYSTEM_CALL)
    except JaxRuntimeError as error:
        # JAX has no class of its own for what a device, or a host's allocator, has no room for.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _complain(f"error: not enough memory: {_first_line(error)}", FAILED_SYSTEM_CALL)
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        # Without an error number it is a library's own exception that happens to be an OSError.
        if error.errno is None:
            raise
        files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return _complain(f"error: {files}{': ' if files else ''}{error.strerror}", FAILED_SYSTEM_CALL)
    return 0


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _complain(message: str, code: int) -> int:
    say(message)
    return code


def import_modules(names: Sequence[str]) -> None:
    """Import modules by name.

    Raises:
        InputError: if one is not found or cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(f"--import {name}: {error}") from None
