"""Which rows a model is fitted on and which rows it is judged on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from pydantic import Field, field_validator

from jaxflow.config.spec import Spec
from jaxflow.data.dataset import Dataset
from jaxflow.data.tables.frame import Frame
from jaxflow.errors import InputError, counted

DEFAULT_TEST_FRACTION = 0.5


class SplitSpec(Spec):
    """How a labelled data set becomes training and test data.

    >>> SplitSpec(test_fraction=0.2).test_fraction
    0.2
    """

    protocol: Literal["normal_only", "unsupervised", "published"] = Field(
        default="normal_only",
        description="normal_only: train on some of the normal rows, test on the others and all anomalies; "
        "unsupervised: train and test on all rows, labels unseen until the evaluation; published: test on the rows "
        "that the data set sets apart for that, train on the normal ones of the others",
    )
    test_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="fraction of the normal rows kept for the test (normal_only; default 0.5, and 0 without labels)",
    )

    @field_validator("test_fraction")
    @classmethod
    def _only_with_normal_only(cls, fraction: float | None, info: Any) -> float | None:
        protocol = info.data.get("protocol")
        if fraction is not None and protocol == "unsupervised":
            raise ValueError("expected no value, as protocol unsupervised tests on the rows it trains on")
        if fraction is not None and protocol == "published":
            raise ValueError("expected no value, as protocol published tests on the rows that the data set says")
        return fraction


@dataclass(frozen=True, eq=False)
class Split:
    """Training rows, and test rows with their labels.

    >>> len(split_dataset(load_dataset("two_moons"), SplitSpec()).x_train) > 0
    True

    Attributes:
        name: the data set's name.
        x_train: rows to fit, in the order of the data set.
        x_test: rows to score, in the order of the data set.
        y_test: 0 = normal, 1 = anomaly for each test row; None when the data set has no labels.
        feature_names: the columns.
        train_rows: the number of each training row in the data set, from 0.
        test_rows: likewise of each test row.
        categories: the texts of each column of texts, whose places are in `x_train` and `x_test`.
        kinds_test: what else the source says of each test row, see `Dataset.kinds`.
    """

    name: str
    x_train: Float64[np.ndarray, "n_train dim"]
    x_test: Float64[np.ndarray, "n_test dim"]
    y_test: Int64[np.ndarray, "n_test"] | None
    feature_names: tuple[str, ...]
    train_rows: Int64[np.ndarray, "n_train"]
    test_rows: Int64[np.ndarray, "n_test"]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kinds_test: Mapping[str, Shaped[np.ndarray, "n_test"]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    @property
    def train(self) -> Frame:
        """The training rows with the names of their columns."""
        return Frame(self.x_train, self.feature_names, self.categories, types=self.types)

    @property
    def test(self) -> Frame:
        """The test rows likewise."""
        return Frame(self.x_test, self.feature_names, self.categories, types=self.types)


def split_dataset(dataset: Dataset, spec: SplitSpec, *, seed: int = 0) -> Split:
    """Divide a data set for training and test.

    normal_only: the normal rows are divided at random; the training part has nothing else, the test part has the other
    normal rows and all anomalies. A data set without labels is taken as normal altogether; where no `test_fraction` is
    given, all of its rows are both parts, since there is nothing to judge by, and otherwise its test part has no labels
    either. unsupervised: all rows are both; nothing is random. published: the test part is what the data set
    sets apart for it, the training part the normal rows of the rest (all of them where there are no labels); the
    anomalies of the rest are left out, and nothing is random.

    Args:
        dataset: the rows and their labels.
        spec: the protocol.
        seed: the same seed gives the same split.

    Raises:
        InputError: when normal_only has fewer than two normal rows to divide, the data set sets no rows apart for
            protocol published, or no other row is normal.
    """
    rows = np.arange(len(dataset.x))
    normal = rows if dataset.y is None else np.flatnonzero(dataset.y == 0)
    unlabelled = dataset.y is None and spec.protocol == "normal_only" and spec.test_fraction is None
    if spec.protocol == "unsupervised" or unlabelled:
        train = test = rows
    elif spec.protocol == "published":
        if dataset.for_test is None:
            raise InputError(f"{dataset.name} sets no rows apart for the test, expected some for protocol published")
        train, test = normal[~dataset.for_test[normal]], np.flatnonzero(dataset.for_test)
        if not len(train):
            raise InputError(f"{dataset.name}: no row that is not for the test is normal, expected some to train on")
    else:
        if len(normal) < 2:
            raise InputError(f"{dataset.name}: {counted(len(normal), 'normal row')}, expected two at least to split")
        fraction = DEFAULT_TEST_FRACTION if spec.test_fraction is None else spec.test_fraction
        kept, _ = hold_out(len(normal), fraction, np.random.default_rng(seed))
        train = normal[kept]
        test = np.setdiff1d(rows, train, assume_unique=True)
    y_test = None if dataset.y is None else dataset.y[test]
    return Split(
        dataset.name,
        dataset.x[train],
        dataset.x[test],
        y_test,
        dataset.feature_names,
        train,
        test,
        dataset.categories,
        {name: kinds[test] for name, kinds in dataset.kinds.items()},
        dataset.types,
    )


def hold_out(
    n: int, fraction: float, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, "n_kept"], Int64[np.ndarray, "n_held"]]:
    """Divide the row numbers 0 .. n-1 at random, to hold some out for validation or calibration.

    Args:
        n: number of rows.
        fraction: how much to hold out, 0 < fraction < 1; fraction * n is rounded, and at least one row is on each side.
        rng: where the choice comes from.

    Returns:
        The row numbers that stay and those that are held out, both ascending and without a common one.

    Raises:
        InputError: when n < 2, or the fraction is out of range.
    """
    if n < 2:
        raise InputError(f"{counted(n, 'row')} to hold some out of, expected two at least")
    if not 0 < fraction < 1:
        raise InputError(f"fraction to hold out = {fraction}: expected more than 0 and less than 1")
    count = min(max(round(fraction * n), 1), n - 1)
    order = rng.permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])
