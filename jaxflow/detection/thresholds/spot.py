"""Thresholds for a stream of scores, which learn from it as it comes: SPOT, and DSPOT for streams that drift."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Shaped

from jaxflow.detection.thresholds.generalized_pareto import Tail, fit_tail
from jaxflow.detection.thresholds.rule import checked_scores
from jaxflow.detection.thresholds.truncated_tail import fit_truncated
from jaxflow.errors import InputError, counted

MOST_EXCESSES = 10_000  # when a stream has brought so many, their older half is forgotten: memory stays bounded
GROWTH = 0.02  # the tail is fitted again when it has so many more excesses: the work per score stays bounded


class Spot:
    """Streaming peaks over threshold: alarms of a given rate, from a tail that is fitted anew as the stream goes on.

    >>> spot = Spot(np.sin(np.arange(500.0)) ** 2, rate=0.01)
    >>> spot.step(0.5), spot.step(9.0)
    (False, True)

    A score above `threshold` is an alarm and is forgotten. One that is not but lies above `level` becomes part of the
    tail, whose quantile of the rate is the threshold from then on (Siffer et al. 2017, "Anomaly detection in streams
    with extreme value theory", algorithms 1 and 2). Infinite scores are legal: +inf is an alarm.

    In three points it departs from the paper. Scores above the threshold never come into the tail, so what is there is
    a truncated sample, and is fitted as one (`fit_truncated`); taken for a whole one, it ends lower with every fit, and
    on simulated streams two to five times as many alarms come as asked for. And the tail is fitted again only when it
    has grown by a fiftieth, with the counts alone brought up to date before, so that the time of a step does not grow
    with the stream. Nor does the memory: of 10,000 excesses since the first scores the older half is forgotten, though
    still counted.

    Args:
        scores: anomaly scores of normal rows that the model has not seen, to begin with, (n,); for instance a
            detector's `calibration_scores_`.
        rate: the probability of an alarm for a normal row.
        level: share of the first scores that lies below the tail; of few scores less, so that 10 make up the tail.

    Attributes:
        threshold: scores above it are alarms, in units of the score.
        level: where the tail begins, in units of the score; does not change.
        rate: as given.
        count: scores learned from, the first ones included and alarms not.

    Raises:
        InputError: if rate or level are out of range, a score is NaN, or the scores have no tail to learn.
    """

    def __init__(self, scores: Shaped[np.ndarray, "..."], *, rate: float = 1e-3, level: float = 0.98):
        if not 0 < level < 1:
            raise InputError(f"level = {level!r}: expected more than 0 and less than 1")
        if not 0 < rate < 1 - level:
            raise InputError(f"rate = {rate!r}: expected more than 0 and less than 1 - level = {1 - level:g}")
        scores = checked_scores(scores)
        tail = fit_tail(scores, 1 - level)
        if tail is None:
            raise InputError(
                f"{counted(scores.size, 'score')} {'has' if scores.size == 1 else 'have'} no tail to learn, expected "
                "several different finite ones"
            )
        bounded = np.sort(scores[scores < np.inf])
        self._below = bounded[bounded <= tail.level]
        excesses = scores[(scores > tail.level) & (scores < np.inf)] - tail.level
        self.rate, self.level, self.count, self._beyond = float(rate), tail.level, bounded.size, excesses.size
        self._set_tail(np.stack([excesses, np.full(excesses.size, np.inf)]), excesses.size, tail.shape, tail.scale)
        self.threshold = tail.quantile(self.rate)

    @property
    def excesses(self) -> Float[np.ndarray, "k"]:
        """Return by how much the scores in the tail exceed `level`."""
        return self._tail[0, : self._filled].copy()

    def p_value(self, score: float) -> float:
        """The probability of a normal row's score to be higher, as far as has been learned: below the rate for alarms.

        Above the level it is that of the tail, and 0 where the tail has an end; below, that of the first scores.
        """
        # The tail as the threshold was taken from it, so that the two never disagree.
        tail = Tail(self.level, 1.0, self._shape, self._scale)
        share = min(self.rate / max(tail.beyond(self.threshold), self.rate), 1.0)
        if score > self.level:
            return share * tail.beyond(score)
        below = np.searchsorted(self._below, score, side="right") / max(self._below.size, 1)
        return float(share + (1 - share) * (1 - below))

    def step(self, score: float) -> bool:
        """Whether this score is an alarm; if not, learn from it.

        Raises:
            InputError: if it is NaN.
        """
        if np.isnan(score):
            raise InputError("score = nan: expected a number")
        if score > self.threshold:
            return True
        self.count += 1
        if score > self.level:
            self._learn(score - self.level)
        return False

    def run(self, scores: Shaped[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """`step` for one score after the other."""
        return np.array([self.step(float(score)) for score in scores], bool)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that has been learned, as plain arrays; `from_arrays` brings it back."""
        return {
            "tail": self._tail[:, : self._filled].copy(),
            "numbers": np.array([self.rate, self.level, self.threshold, self._shape, self._scale]),
            "counts": np.array([self.count, self._beyond, self._fitted], np.int64),
            "below": self._below.copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Spot":
        """The object whose `arrays` these are; it goes on as that one would.

        Raises:
            InputError: if an array is missing, or they do not fit together.
        """
        tail, numbers, counts, below = (_array(arrays, name) for name in ("tail", "numbers", "counts", "below"))
        shapes = tail.ndim == 2 and len(tail) == 2 and numbers.shape == (5,) and counts.shape == (3,)
        if not shapes or below.ndim != 1 or not 1 <= counts[2] <= tail.shape[1] <= counts[1] <= counts[0]:
            raise InputError("the arrays of a Spot do not fit together, expected those that its method arrays gives")
        valid = np.isfinite(numbers).all() and numbers[4] > 0 and np.isfinite(tail[0]).all()
        valid = valid and (below <= numbers[1]).all() and (np.sort(below) == below).all()
        if not valid or not (tail[0] > 0).all() or not (tail[1] >= tail[0]).all():
            raise InputError(
                "the arrays of a Spot hold numbers out of range, expected those that its method arrays gives"
            )
        spot = cls.__new__(cls)
        spot.rate, spot.level, spot.threshold, shape, scale = (float(number) for number in numbers)
        spot.count, spot._beyond, spot._below = int(counts[0]), int(counts[1]), np.array(below, float)
        spot._set_tail(np.array(tail, float), int(counts[2]), shape, scale)
        return spot

    def _set_tail(self, tail: Float[np.ndarray, "2 k"], fitted: int, shape: float, scale: float) -> None:
        # Excesses, and below each the limit that it had to be under; there may be room at the end. The first scores had
        # none, and are never forgotten: of truncated ones alone it cannot be told how the tail goes on.
        self._tail, self._filled, self._fitted = tail, tail.shape[1], fitted
        self._first = int(np.isinf(tail[1]).sum())
        self._shape, self._scale = shape, scale

    def _learn(self, excess: float) -> None:
        if self._filled >= self._first + MOST_EXCESSES:
            tail = self._tail[:, : self._filled]
            tail = np.concatenate([tail[:, : self._first], tail[:, self._filled - MOST_EXCESSES // 2 :]], axis=1)
            self._set_tail(tail, tail.shape[1], self._shape, self._scale)
        if self._filled == self._tail.shape[1]:
            self._tail = np.concatenate([self._tail, np.empty_like(self._tail)], axis=1)
        self._tail[:, self._filled] = excess, self.threshold - self.level
        self._filled, self._beyond = self._filled + 1, self._beyond + 1
        if self._filled >= self._fitted * (1 + GROWTH):
            excesses, limits = self._tail[:, : self._filled]
            self._shape, self._scale = fit_truncated(excesses, limits, (self._shape, self._scale))
            self._fitted = self._filled
        # Of the scores learned from, this share is in the tail; of all, those above the threshold have to be added.
        share = self._beyond / self.count * (1 - self.rate) + self.rate
        self.threshold = Tail(self.level, share, self._shape, self._scale).quantile(self.rate)


class DriftSpot:
    """`Spot` for a stream whose scores drift: it looks at how far each is above the mean of those before it.

    >>> drifting = 0.1 * np.arange(500.0) + np.sin(np.arange(500.0)) ** 2
    >>> spot = DriftSpot(drifting, rate=0.01, depth=20)
    >>> spot.step(50.5), spot.step(90.0)
    (False, True)

    A score less the mean of the last `depth` scores that were no alarms is what `Spot` is given (DSPOT: Siffer et al.
    2017, algorithm 3), so an alarm moves neither the tail nor the mean. Infinite scores have no part in the mean.

    Args:
        scores: the first scores of the stream, in its order, (n,) with n greater than `depth`; of normal rows that the
            model has not seen.
        depth: how many scores the mean is of: few enough that they hardly drift.
        rate, level: as in `Spot`.

    Attributes:
        spot: what learns from the differences.

    Raises:
        InputError: as `Spot`, and if there are not more finite scores than `depth`.
    """

    def __init__(self, scores: Shaped[np.ndarray, "..."], *, depth: int = 100, rate: float = 1e-3, level: float = 0.98):
        if depth < 1:
            raise InputError(f"depth = {depth!r}: expected at least 1")
        scores = checked_scores(scores)
        scores = scores[np.isfinite(scores)]
        if scores.size <= depth:
            raise InputError(f"{scores.size} finite scores: expected more than depth = {depth}")
        means = np.lib.stride_tricks.sliding_window_view(scores, depth).mean(axis=1)
        self.spot = Spot(scores[depth:] - means[:-1], rate=rate, level=level)
        self._window, self._next = scores[-depth:].copy(), 0
        self._sum = float(self._window.sum())

    @property
    def mean(self) -> float:
        """The mean of the last `depth` scores that were no alarms."""
        return self._sum / self._window.size

    @property
    def threshold(self) -> float:
        """The score above which the next one is an alarm."""
        return self.mean + self.spot.threshold

    def p_value(self, score: float) -> float:
        """The probability of a normal row's score to be higher now, as far as has been learned; see `Spot.p_value`."""
        return self.spot.p_value(score - self.mean)

    def step(self, score: float) -> bool:
        """Whether this score is an alarm; if not, learn from it.

        Raises:
            InputError: if it is NaN.
        """
        alarm = self.spot.step(score - self.mean)
        if not alarm and np.isfinite(score):
            self._sum += score - float(self._window[self._next])
            self._window[self._next] = score
            self._next = (self._next + 1) % self._window.size
            if self._next == 0:
                self._sum = float(self._window.sum())  # what rounding has added up is forgotten
        return alarm

    def run(self, scores: Shaped[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """`step` for one score after the other."""
        return np.array([self.step(float(score)) for score in scores], bool)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that has been learned, as plain arrays; `from_arrays` brings it back."""
        place = {"next": np.array(self._next), "sum": np.array(self._sum)}
        return self.spot.arrays() | {"window": self._window.copy()} | place

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "DriftSpot":
        """The object whose `arrays` these are; it goes on as that one would.

        Raises:
            InputError: if an array is missing, or they do not fit together.
        """
        window, place, total = (_array(arrays, name) for name in ("window", "next", "sum"))
        fits = window.ndim == 1 and place.shape == total.shape == ()
        if not fits or not np.isfinite(window).all() or not np.isfinite(total) or not 0 <= place < window.size:
            raise InputError(
                "the arrays of a DriftSpot do not fit together: expected those that its method arrays gives"
            )
        drift = cls.__new__(cls)
        drift.spot = Spot.from_arrays(arrays)
        drift._window, drift._next, drift._sum = np.array(window, float), int(place), float(total)
        return drift


def _array(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"the array {name} is missing")
    return np.asarray(arrays[name])
