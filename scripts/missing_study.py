"""Measure how many normal rows with gaps are flagged, by number of missing values, where 5 % are asked for.

Rows are simulated: normal ones of which each feature depends on some others, and bent ones, whose features lie on
parabolas over the first. A detector with `columns.missing = model` learns from complete rows, and unseen ones lose
values at random. Writes `summary.md`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

from jaxflow.config.command_line import ScriptParser, run_script
from jaxflow.data import ColumnsSpec
from jaxflow.detection import Detector, FlowDetector, GaussianDetector
from jaxflow.errors import InputError
from jaxflow.evaluation import print_table, provenance, write_report
from jaxflow.models import MAF
from jaxflow.training import FitSpec

NAME = "missing_study.py"
RATE = 0.05  # the default of detectors
CASES = (  # detector, rows, features, and how many times the rows that are asked for it is given
    ("Gaussian", "normal", 20, 1),
    ("Gaussian", "normal", 100, 1),
    ("Gaussian", "normal", 300, 1),
    ("Gaussian", "normal", 300, 10),
    ("flow", "normal", 20, 1),
    ("flow", "bent", 20, 1),
)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the features missing; the last leaves one
PATTERNS = 40  # sets of missing features for each number of them
HEADER = [
    "detector",
    "rows",
    "features",
    "missing",
    "flagged",
    "of a Gaussian exactly",
    "mean score less that of complete rows",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fit, measure, write."""
    parser = ScriptParser(prog=NAME, description=__doc__)
    parser.add_argument("--rows", type=int, default=5000, help="rows to learn from and calibrate with (default: 5000)")
    parser.add_argument("--test-rows", type=int, default=2000, help="unseen rows (default: 2000)")
    parser.add_argument("--epochs", type=int, default=40, help="most epochs of a flow (default: 40)")
    parser.add_argument("--features", type=int, default=300, help="leave out cases of more features (default: 300)")
    parser.add_argument("--out", type=Path, default=Path("out/missing"), help="where to write (default: out/missing)")
    options = parser.parse_args(arguments)
    for name, least in (("rows", 50), ("test_rows", PATTERNS), ("epochs", 1), ("features", 20)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least {least}")
    made = provenance(["python", *(sys.argv if arguments is None else [f"scripts/{NAME}", *arguments])], 0)
    table = []
    for model, kind, features, times in CASES:
        if features <= options.features:
            table += measure(model, kind, features, times * options.rows, options)
            print(f"{model}, {kind} rows of {features} features", file=sys.stderr, flush=True)
    shown = ("Normal rows flagged, by number of missing values", HEADER, table)
    write_report(
        options.out / "summary.md",
        title="Normal rows with gaps: how many are flagged",
        summary=(
            f"{RATE:.0%} are asked for, on complete rows. Detectors with `columns.missing = model` learn from and "
            f"calibrate with complete simulated rows, and score {options.test_rows:,} unseen ones, of "
            f"which each lacks one of {PATTERNS} random sets of features. The score of a row with gaps is the mean of "
            "-log p over what the model expects there: the missing features add their mean and no deviation from it, "
            "so scores lie closer together and fewer rows are flagged the more is missing. "
            "Of a Gaussian exactly: the share by the chi-squared distributions of "
            "`jaxflow/detection/scoring/missing_values.py`. The "
            "last column, in nats, is 0 if the scores of rows that lack different features compare. What a model "
            "expects is less than what unseen rows score if it has few rows for its parameters, of a Gaussian by about "
            "d^2 / 2n nats where n rows are learned from: so much the lower are rows that lack nearly everything. "
            "Gaussian: full "
            f"covariance, closed form. Flow: affine masked autoregressive, 2 layers with one hidden layer of 32, "
            f"{options.epochs} epochs at most, 64 guesses a row. The share flagged is known to about "
            f"{100 * np.sqrt(RATE * (1 - RATE) * 5 / options.rows):.1f} percentage points, as the threshold is."
        ),
        tables=[shown],
        figures=[],
        provenance=made,
    )
    print_table(*shown)
    print(f"summary: {options.out / 'summary.md'}")


def measure(model: str, kind: str, features: int, rows: int, options: Any) -> list[list[str]]:
    """A line of the table for each number of missing values."""
    rng = np.random.default_rng(0)
    mixing = np.eye(features) + rng.normal(size=(features, features)) / np.sqrt(features)
    train, test = (simulated(kind, n, mixing, rng) for n in (rows, options.test_rows))
    detector = make_detector(model, options.epochs).fit(train)
    lines, complete = [], 0.0
    for missing in sorted({min(round(share * features), features - 1) for share in SHARES}):
        patterns = rng.permuted(np.tile(np.arange(features) < missing, (PATTERNS, 1)), axis=1)
        gaps = patterns[rng.integers(PATTERNS, size=len(test))]
        scores = detector.anomaly_score(np.where(gaps, np.nan, test))
        complete = complete if missing else float(scores.mean())
        flagged = float(np.mean(scores > detector.threshold_))
        exact = chi2.sf(chi2.isf(RATE, features) - missing, features - missing)
        lines.append(
            [
                model,
                f"{rows:,} {kind}",
                str(features),
                str(missing),
                f"{flagged:.2%}",
                f"{exact:.2%}",
                f"{scores.mean() - complete:+.2f}",
            ]
        )
    return lines


def simulated(kind: str, n: int, mixing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of as many features as `mixing` has columns."""
    rows = rng.normal(size=(n, len(mixing)))
    if kind == "normal":
        return rows @ mixing
    bends = np.resize([0.7, -0.7], len(mixing) - 1)
    return np.concatenate([rows[:, :1], bends * (rows[:, :1] ** 2 - 1) + 0.4 * rows[:, 1:]], axis=1)


def make_detector(model: str, epochs: int) -> Detector:
    """The detector of that name."""
    columns = ColumnsSpec(missing="model", infer=False)
    if model == "Gaussian":
        return GaussianDetector(columns=columns)
    train = FitSpec(epochs=epochs, batch_size=256, patience=5)
    return FlowDetector(MAF(layers=2, hidden=(32,)), train=train, columns=columns)


if __name__ == "__main__":
    run_script(main)
