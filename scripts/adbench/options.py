"""Options of the scripts about ADBench."""

from jaxflow.config.command_line import ScriptParser
from jaxflow.data.sets.adbench import DEVELOPMENT_SETS, adbench_files
from jaxflow.errors import InputError


def add_datasets_and_seeds(parser: ScriptParser, *, seeds: str = "0,1,2,3,4") -> None:
    """The options --datasets and --seeds."""
    parser.add_argument(
        "--datasets",
        default=",".join(DEVELOPMENT_SETS),
        help="names with commas between, or all (default: 21 of the 43)",
    )
    parser.add_argument("--seeds", default=seeds, help=f"whole numbers with commas between (default: {seeds})")


def datasets_of(text: str) -> tuple[str, ...]:
    """The data sets of --datasets.

    Raises:
        InputError: if there is none, or one that is not in ADBench.
    """
    if text == "all":
        return tuple(adbench_files())
    names = names_of("--datasets", text)
    for name in names:
        if name not in adbench_files():
            raise InputError(f"--datasets {name}: expected all, or some of {', '.join(adbench_files())}")
    return names


def seeds_of(text: str) -> tuple[int, ...]:
    """The numbers of --seeds.

    Raises:
        InputError: if there is none, or one that is not a whole number from 0 to 2^32 - 1, as numpy wants them.
    """
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in names_of("--seeds", text)))
    except ValueError:
        raise InputError(f"--seeds {text}: expected whole numbers with commas between") from None
    if min(seeds) < 0 or max(seeds) >= 2**32:
        raise InputError(f"--seeds {text}: expected numbers from 0 to {2**32 - 1}")
    return seeds


def names_of(option: str, text: str) -> tuple[str, ...]:
    """The names between the commas of an option, each once.

    Raises:
        InputError: if there is none.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise InputError(f"{option} {text!r}: expected a name at least")
    return names
