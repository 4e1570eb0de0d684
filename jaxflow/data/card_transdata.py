"""Simulated card transactions with fraud (Kaggle, card_transdata.csv)."""

from jaxflow.data.dataset import Dataset
from jaxflow.data.placed_file import gzip_content, placed_file
from jaxflow.data.tabular import read_table

FILE = "card_transdata_49999.csv.gz"
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
    path = placed_file("card_transdata", FILE, advice)
    gzip_content(path, CONTENT_SHA256, "CSV")
    found = read_table(path, label="fraud")
    return Dataset("card_transdata", found.x, found.y, found.feature_names)
