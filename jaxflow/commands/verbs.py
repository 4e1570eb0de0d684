"""The `jaxflow` command: it finds the verb, which is imported when it is asked for, and hands it the rest."""

import importlib
import sys
from importlib.metadata import version
from typing import NoReturn

from jaxflow.errors import meant

VERBS = {
    "inspect": "show what the columns of a file hold, and a config to begin with",
    "train": "fit a detector to a file or a data set, and judge it",
    "score": "score the rows of files, or of a stream of JSON lines",
    "evaluate": "judge a saved detector on labelled rows",
    "sample": "draw rows from the density of a saved detector",
    "export": "write a saved detector to one file that scores with JAX alone",
    "compare": "run several experiments on the same rows, and put them side by side",
}
"""What each verb does; its module in this folder has its name."""

BAD_INPUT = 2

HELP = """\
usage: jaxflow VERB [options]

Learn what normal data looks like, and flag what is improbable.

{verbs}

jaxflow VERB --help lists the options of a verb, jaxflow --version says which version this is.
"""


def main() -> NoReturn:
    """Run the verb that the command line names, and leave the process.

    A verb that there is not ends in one line on standard error and exit code 2, before anything large is imported.
    """
    asked = sys.argv[1] if len(sys.argv) > 1 else None
    if asked in (None, "-h", "--help", "help"):
        width = max(map(len, VERBS))
        verbs = "\n".join(f"  {verb:{width}}  {does}" for verb, does in VERBS.items())
        print(HELP.format(verbs=verbs), end="")
        sys.exit(BAD_INPUT if asked is None else 0)
    if asked == "--version":
        print(f"jaxflow {version('jaxflow')}")
        sys.exit(0)
    if asked not in VERBS:
        hint = meant(asked, VERBS)
        what = "option" if asked.startswith("-") else "verb"
        print(f"error: unknown {what} {asked!r:.60}{hint}; jaxflow --help lists the verbs", file=sys.stderr)
        sys.exit(BAD_INPUT)
    sys.argv = [f"jaxflow {asked}", *sys.argv[2:]]
    run_verb(asked)


def run_verb(verb: str) -> NoReturn:
    """Run a verb with the options of the command line, and leave the process.

    Args:
        verb: one of `VERBS`.
    """
    from jaxflow.config.command_line import run_script  # JAX comes with it

    # Imported within, so that Ctrl-C while it takes its seconds ends in one line too.
    run_script(lambda arguments: importlib.import_module(f"jaxflow.commands.{verb}").main(arguments))
