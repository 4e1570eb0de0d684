"""Tables of the calibration study, by rule and by data set."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

RATES = (0.05, 0.01, 0.001)
MODELS = ("flow", "Gaussian")
RULES = ("training percentile", "split-conformal", "POT", "default")

Shares: TypeAlias = dict[tuple[str, str, float], dict[str, float]]
Table: TypeAlias = tuple[str, list[str], list[list[str]]]


def pooled(results: Sequence[Any]) -> Shares:
    """For each model, rule and rate the share of unseen normal rows that were flagged on each set, seeds together."""
    counts: dict[tuple[str, str, float], dict[str, np.ndarray]] = {}
    for result in results:
        sets = counts.setdefault((result.model, result.rule, result.rate), {})
        sets[result.set] = sets.get(result.set, np.zeros(2)) + np.array([result.flagged, result.n_test])
    return {key: {name: float(a / b) for name, (a, b) in sets.items()} for key, sets in counts.items()}


def tables(results: Sequence[Any]) -> list[Table]:
    """First the rules beside each other, then for each rate the sets."""
    shares = pooled(results)
    header = ["model, rule"]
    for rate in RATES:
        header += [f"median at {rate:.3g}", "off by", "mean", "within a factor 2"]
    rows = []
    for model in MODELS:
        for rule in RULES:
            row = [f"{model}, {rule}"]
            for rate in RATES:
                values = np.array(list(shares[model, rule, rate].values()))
                median = float(np.median(values))
                near = int(np.sum((values >= rate / 2) & (values <= 2 * rate)))
                row += [percent(median), factor(median, rate), percent(values.mean()), f"{near} of {len(values)}"]
            rows.append(row)
    found = [("Realised false-positive rates over the data sets", header, rows)]
    firsts = {result.set: result for result in results if result.model == MODELS[0] and result.rule == RULES[-1]}
    for rate in RATES:
        header = ["set", "normal rows to learn from", "calibration scores of the default"]
        header += [f"{model}, {rule}" for model in MODELS for rule in RULES]
        rows = []
        for name, first in sorted(firsts.items()):
            branch = next(r.branch for r in results if (r.set, r.rule, r.rate) == (name, RULES[-1], rate))
            scores = f"{first.n_calibration:,} {first.source.replace('_', '-')}, {branch}"
            cells = [percent(shares[model, rule, rate][name]) for model in MODELS for rule in RULES]
            rows.append([name, f"{first.n_train:,}", scores, *cells])
        found.append((f"By set, {rate:.3g} asked for", header, rows))
    return found


def summary(results: Sequence[Any], epochs: int, most_rows: int, earlier: int = 0) -> str:
    """A paragraph that says what the numbers are, of which an `earlier` run had measured some."""
    sets, seeds = {result.set for result in results}, {result.seed for result in results}
    default = [pooled(results)[model, RULES[-1], 0.01] for model in MODELS]
    medians = [float(np.median(list(values.values()))) for values in default]
    flow, gaussian = (f"{percent(median)} ({factor(median, 0.01)})" for median in medians)
    text = (
        f"{len(sets)} data sets of ADBench, {len(seeds)} random split(s) each: half of the normal rows (of "
        f"{most_rows:,} at most) to learn from and to calibrate with, the other half unseen, no anomaly anywhere. A "
        "number is the share of unseen normal rows that is flagged, the seeds of a set together. The flow is an affine "
        f"masked autoregressive flow of 5 layers with hidden layers of 64, 64, {epochs} epochs at most with patience "
        "10, batches of 256, input noise 0.1; the Gaussian has a full covariance. Training percentile: of the scores "
        "of the rows learned from. Split-conformal and peaks over threshold (POT): a fifth of the rows held out. "
        "Default: what a detector does that is given nothing but the rate: held-out rows where they are 100 at least "
        "and otherwise five out-of-fold models; the conformal quantile where the scores support the rate and otherwise "
        f"their tail. The median of the default at 1 % is {flow} for the flow and {gaussian} for the Gaussian. Off by: "
        "the factor between realised and asked for, below 1 where fewer are flagged. Where a set has few unseen rows, "
        "0.1 % of them is less than one row."
    )
    if earlier:
        text += f" {earlier} of {len(results)} results stood in `results.csv` before, from runs that ended earlier."
    return text


def percent(share: float) -> str:
    """A share in percent with three significant digits."""
    return f"{100 * share:.3g} %"


def factor(share: float, rate: float) -> str:
    """How many times the rate a share is."""
    return f"x {share / rate:.2g}"
