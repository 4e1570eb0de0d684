"""The classical data sets of ADBench (Han et al. 2022)."""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jaxflow.data.dataset import Dataset
from jaxflow.data.sets.download import fetch
from jaxflow.data.tables.read_table import read_table

BASE_URL = "https://raw.githubusercontent.com/Minqi824/ADBench/main/adbench/datasets/Classical"

# The sets at hand while detectors were designed; others judge what was tuned to these.
DEVELOPMENT_SETS = (
    "annthyroid", "breastw", "cardio", "cover", "fault", "glass", "ionosphere", "letter", "mammography", "mnist",
    "optdigits", "pendigits", "pima", "satellite", "shuttle", "smtp", "spambase", "thyroid", "vowels", "wilt", "wine",
)  # fmt: skip


class AdbenchFile(NamedTuple):
    """A line of `adbench_files.csv`: the file's name and its SHA-256."""

    file: str
    sha256: str


@cache
def adbench_files() -> dict[str, AdbenchFile]:
    """The data sets that are known, by name."""
    with Path(__file__).with_name("adbench_files.csv").open(newline="") as stream:
        return {row["name"]: AdbenchFile(row["file"], row["sha256"]) for row in csv.DictReader(stream)}


def load_adbench(name: str, base_url: str = BASE_URL) -> Dataset:
    """A data set of ADBench by its name without `adbench/`, its columns called x0, x1, ...

    Args:
        name: a key of `adbench_files()`.
        base_url: the URL of the directory to download it from when `$JAXFLOW_DATA/adbench` does not have it.

    Raises:
        InputError: when the file cannot be had or its checksum is wrong.
    """
    file, sha256 = adbench_files()[name]
    found = read_table(fetch(file, sha256, folder="adbench", base_url=base_url), label="y")
    return Dataset(f"adbench/{name}", found.x, found.y, found.feature_names)
