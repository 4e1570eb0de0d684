"""The rows of an experiment whose data is streamed."""

import numpy as np
from jaxtyping import Float, Int

from jaxflow.data.splits import DEFAULT_TEST_FRACTION
from jaxflow.detection.fit_from_source import Remaining, take_rows
from jaxflow.errors import InputError, counted
from jaxflow.experiment.spec import Experiment
from jaxflow.training import NpyFile, Source, TableFiles
from jaxflow.training.feeding.sources import BUFFER_ROWS

TEST_ROWS = 100_000


def streamed_rows(
    experiment: Experiment,
) -> tuple[Source, Float[np.ndarray, "n_test dim"], Int[np.ndarray, "n_test"]]:
    """Return the rows to fit, and rows for the test held out at random with their numbers in the files, from 0.

    For the test are as many as the fraction that `split` says, 100,000 at most.

    Raises:
        InputError: if the files do not suit, or the experiment wants what a stream cannot give.
    """
    data, split = experiment.data, experiment.split
    assert data.path is not None
    if experiment.fits_itself:
        raise InputError(f"data.stream: a {experiment.model.kind} is fitted to rows in memory")
    if split.protocol != "normal_only":
        raise InputError(f"data.stream: split.protocol = {split.protocol}: expected normal_only")
    buffer_rows = BUFFER_ROWS if data.buffer_rows is None else data.buffer_rows
    if data.path.suffix.lower() == ".npy":
        if data.features is not None:
            raise InputError(f"data.features: expected no value, as the columns of {data.path} have no names")
        if (option := data.csv.given()) is not None:
            raise InputError(f"data.{option}: expected no value, as {data.path} is no CSV file")
        source: Source = NpyFile(data.path, buffer_rows=buffer_rows)
    else:
        source = TableFiles(data.path, data.features, buffer_rows=buffer_rows, csv=data.csv)
    if data.features is None and "label" in source.columns:
        raise InputError(
            f"{data.path}: there is a column label, and all rows of a stream count as normal: name the features"
        )
    fraction = DEFAULT_TEST_FRACTION if split.test_fraction is None else split.test_fraction
    count = min(TEST_ROWS, max(1, round(fraction * source.rows)))
    if count == source.rows:
        raise InputError(f"{data.path}: {counted(source.rows, 'row')}, expected two at least to split")
    tested = np.sort(np.random.default_rng(experiment.seed).choice(source.rows, count, replace=False))
    return Remaining(source, tested, lambda rows: rows, source.columns), take_rows(source, tested), tested
