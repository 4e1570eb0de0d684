"""Rules that choose a threshold on labelled validation data."""

import math
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from jaxflow.detection.thresholds.rule import Threshold, ThresholdRule, checked_labels, checked_scores
from jaxflow.errors import InputError


class Cuts(NamedTuple):
    """Counts of what each threshold flags on labelled rows: entry i stands for flagging the i + 1 highest scores.

    Attributes:
        ranked: the scores, highest first.
        hits: anomalies among those flagged.
        flagged: rows flagged, i + 1.
        anomalies: how many there are in all.
        possible: whether a threshold can do that: rows of equal score are flagged together, so a cut can only lie where
            the score changes; and nothing lies below minus infinity.
    """

    ranked: Float[np.ndarray, "n"]
    hits: Int[np.ndarray, "n"]
    flagged: Int[np.ndarray, "n"]
    anomalies: int
    possible: Bool[np.ndarray, "n"]

    def threshold(self, index: int) -> float:
        """The middle between the lowest score flagged and the highest not flagged.

        If nothing is left, the next number below the lowest score.
        """
        above = float(self.ranked[index])
        if index == len(self.ranked) - 1:
            return math.nextafter(above, -math.inf)
        below = float(self.ranked[index + 1])
        middle = below / 2 + above / 2
        # The middle of two neighbouring numbers is one of them, and that of a finite and an infinite one is infinite.
        return middle if below < middle < above else below


class LabelledRule(ThresholdRule):
    """A rule that needs scores of normal rows and of anomalies, and their labels."""

    needs_labels: ClassVar[bool] = True

    def cuts(self, scores, labels) -> Cuts:
        """All thresholds there are.

        Raises:
            InputError: as `derive`, and if the labels are all equal.
        """
        scores = checked_scores(scores)
        if labels is None:
            raise InputError(f"{self.kind} needs labels: give it a labelled validation set")
        labels = checked_labels(labels, scores)
        if labels.min() == labels.max():
            raise InputError(
                f"{self.kind} needs normal rows and anomalies, and all {labels.size} labels are {labels[0]}"
            )
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        possible = ranked > -np.inf
        possible[:-1] &= ranked[:-1] != ranked[1:]
        return Cuts(ranked, np.cumsum(labels[order]), np.arange(1, scores.size + 1), int(labels.sum()), possible)


class BestF1(LabelledRule):
    """The threshold with the highest F1 on labelled validation data; of several, the one that flags the fewest rows.

    >>> BestF1().threshold(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]))
    2.5

    F1 = 2 TP / (2 TP + FP + FN), a row being flagged when its score is greater than the threshold
    """

    kind: Literal["best_f1"] = "best_f1"

    def derive(self, scores, labels=None):
        """The cut between two neighbouring scores with the highest F1."""
        cuts = self.cuts(scores, labels)
        f1 = np.where(cuts.possible, 2 * cuts.hits / (cuts.flagged + cuts.anomalies), -1.0)
        return Threshold(cuts.threshold(int(np.argmax(f1))), len(cuts.ranked))


class TargetPrecision(LabelledRule):
    """The threshold that flags as many rows as it can while the given share of them are anomalies.

    >>> TargetPrecision(precision=1.0).threshold(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1]))
    3.5

    precision = TP / (TP + FP) on labelled validation data; it holds for unseen rows as far as their share of anomalies
    is the same. Where no threshold reaches it, the one of highest precision is taken, with a warning.
    """

    kind: Literal["target_precision"] = "target_precision"
    precision: float = Field(default=0.9, gt=0, le=1, description="share of the flagged rows that are to be anomalies")

    def derive(self, scores, labels=None):
        """The lowest cut that reaches the precision."""
        cuts = self.cuts(scores, labels)
        return _reaching(cuts, cuts.hits / cuts.flagged, "precision", self.precision, place=-1)


class TargetRecall(LabelledRule):
    """The threshold that flags as few rows as it can while the given share of the anomalies is among them.

    >>> TargetRecall(recall=1.0).threshold(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1]))
    1.5

    recall = TP / (TP + FN) on labelled validation data. Flagging every row always reaches it, unless an anomaly has a
    score of minus infinity; the highest recall there is is then taken, with a warning.
    """

    kind: Literal["target_recall"] = "target_recall"
    recall: float = Field(default=0.9, gt=0, le=1, description="share of the anomalies that are to be flagged")

    def derive(self, scores, labels=None):
        """The highest cut that reaches the recall."""
        cuts = self.cuts(scores, labels)
        return _reaching(cuts, cuts.hits / cuts.anomalies, "recall", self.recall, place=0)


def _reaching(cuts: Cuts, shares: Float[np.ndarray, "n"], what: str, wanted: float, place: int) -> Threshold:
    """The highest cut (place 0) or the lowest (-1) that reaches a share; if none does, the highest share there is."""
    shares = np.where(cuts.possible, shares, -1.0)
    best = shares.max()
    index = int(np.flatnonzero(shares >= min(wanted, best))[place])
    missed = f"no threshold reaches a {what} of {wanted:g} on the labelled rows: the highest is {max(best, 0):.3g}"
    return Threshold(cuts.threshold(index), len(cuts.ranked), doubts=() if best >= wanted else (missed,))
