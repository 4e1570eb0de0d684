"""Simulated card transactions with fraud (Kaggle, card_transdata.csv)."""

import gzip
import hashlib
import zlib

from jaxflow.data.dataset import Dataset
from jaxflow.data.download import DATA_VARIABLE, local_file
from jaxflow.data.tabular import read_table
from jaxflow.errors import InputError

FILE = "card_transdata_49999.csv.gz"
CONTENT_SHA256 = "114f954e34616e1118b9763dd71a52beb89d60206a87438ce2b85875ec661d2d"
"""Of the CSV inside: compressing the same rows again gives another file."""


def load_card_transdata() -> Dataset:
    """The first 49,999 rows, seven features and the label `fraud` (8.63 % of the rows).

    Raises:
        InputError: when `$JAXFLOW_DATA` does not have the file, which has no stable address to download it from, or the
            file has other rows.
    """
    path = local_file("card_transdata", FILE)
    if path is None or not path.is_file():
        place = f"${DATA_VARIABLE}/card_transdata/{FILE}" if path is None else str(path)
        raise InputError(
            f"card_transdata: {place} is missing; put the header and the first 49,999 rows of Kaggle's "
            "card_transdata.csv there (head -n 50000 card_transdata.csv | gzip)"
        )
    try:
        with gzip.open(path) as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as gzip ({error})") from None
    if got != CONTENT_SHA256:
        raise InputError(f"{path}: SHA-256 of the uncompressed CSV is {got}, expected {CONTENT_SHA256}")
    found = read_table(path, label="fraud")
    return Dataset("card_transdata", found.x, found.y, found.feature_names)
