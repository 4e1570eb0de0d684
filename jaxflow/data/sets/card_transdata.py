"""Simulated card transactions with fraud (Kaggle, card_transdata.csv)."""

import io

import numpy as np
import pyarrow as pa
from pyarrow import csv

from jaxflow.data.dataset import Dataset
from jaxflow.data.sets.placed_file import gzip_content, placed_file

FILE = "card_transdata_49999.csv.gz"
LABEL = "fraud"
CONTENT_SHA256 = "114f954e34616e1118b9763dd71a52beb89d60206a87438ce2b85875ec661d2d"
"""Of the CSV inside: compressing the same rows again gives another file."""


def load_card_transdata() -> Dataset:
    """The first 49,999 rows, seven features and the label `fraud` (8.63 % of the rows).

    Raises:
        InputError: when `$JAXFLOW_DATA` does not have the file, which has no stable address to download it from, or the
            file has other rows.
    """
    advice = (
        "put the header and the first 49,999 rows of Kaggle's card_transdata.csv there "
        "(head -n 50000 card_transdata.csv | gzip)"
    )
    content = gzip_content(placed_file("card_transdata", FILE, advice), CONTENT_SHA256, "CSV")
    # What the checksum is of, not the file once more, which may have changed.
    table = csv.read_csv(io.BytesIO(content))
    names = tuple(name for name in table.column_names if name != LABEL)
    x = np.stack([table.column(name).cast(pa.float64()).to_numpy() for name in names], axis=1)
    return Dataset("card_transdata", x, table.column(LABEL).cast(pa.int64()).to_numpy(), names)
