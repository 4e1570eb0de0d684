"""Detectors: preprocessing, a model and a calibrated threshold behind scikit-learn's interface."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from jaxflow.data.preprocessing import DropConstant, Preprocessing, PreprocessingStep, Standardize
from jaxflow.data.splits import hold_out
from jaxflow.detection.scoring import score_rows
from jaxflow.detection.thresholds import BestF1, TargetFalsePositiveRate, ThresholdRule, checked_labels
from jaxflow.errors import InputError
from jaxflow.models.model import Density, Model, ModelSpec
from jaxflow.training.batch import Batch
from jaxflow.training.fit import FitResult, fit
from jaxflow.training.fit_spec import FitSpec

DEFAULT_STEPS = (DropConstant(), Standardize())
DEFAULT_RULE = TargetFalsePositiveRate()


class Detector(OutlierMixin, BaseEstimator):
    """What all detectors share.

    Fitting learns what normal rows look like: all rows given to `fit` are taken as normal. A part of them is held out
    and never seen by the model; its scores calibrate the threshold, because the scores of training rows are too low by
    far for any flexible model.

    Signs follow scikit-learn: `score_samples` and `decision_function` are higher for normal rows, and `predict` gives
    +1 for normal and -1 for anomalous. `anomaly_score` is the other way round: higher is more anomalous, and a row is
    flagged when its score is greater than `threshold_`.

    Attributes after `fit`:
        model_: the fitted model. preprocessing_: the fitted steps. history_: the fit, epoch by epoch.
        calibration_scores_: anomaly scores of the rows that calibrate. calibration_labels_: their labels, or None when
        all are normal. threshold_: the anomaly score above which a row is flagged. offset_: minus that.
        n_train_: number of rows given to `fit`. n_features_in_, feature_names_in_: as in scikit-learn. columns_: the names of the features; `feature_names_in_`
        where there are such, otherwise x0, x1, ... until someone who knows them sets them.
    """

    model: ModelSpec | None
    preprocessing: Sequence[PreprocessingStep] | None
    threshold: ThresholdRule | None
    calibration_fraction: float
    random_state: Any
    columns_: tuple[str, ...]

    @abstractmethod
    def _model_spec(self) -> ModelSpec:
        """The spec of the model, with this detector's default."""

    @abstractmethod
    def _fit_model(self, model: Model, rows: Float[np.ndarray, "n dim"], rng: np.random.Generator) -> FitResult:
        """Fit the model to preprocessed rows."""

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn from normal rows, and calibrate the threshold on some of them held out.

        Args:
            X: rows, shape (n, n_features).
            y: ignored, as in scikit-learn, unless the threshold rule needs labels (`BestF1`): then 0 = normal and
                1 = anomaly. The model learns from normal rows only; the threshold is chosen on the held-out normal
                rows and all anomalies.

        Raises:
            ValueError: if `X` is not a finite matrix with enough rows, or a parameter is out of range.
        """
        spec = self._model_spec()
        if getattr(spec, "context_dim", 0):
            raise InputError(f"a detector scores rows without context: context_dim = {spec.context_dim}, expected 0")
        if not 0 <= self.calibration_fraction < 1:
            raise InputError(f"calibration_fraction = {self.calibration_fraction}: expected at least 0 and less than 1")
        x = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(x.shape[1])])
        self.columns_ = tuple(str(name) for name in names)
        self.n_train_ = len(x)
        rule = DEFAULT_RULE if self.threshold is None else self.threshold
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))

        anomalies = x[:0]
        if isinstance(rule, BestF1):
            if y is None:
                raise InputError(
                    "the threshold rule best_f1 needs labels: fit(X, y) with y = 0 (normal) or 1 (anomaly)"
                )
            labels = checked_labels(np.asarray(y), np.zeros(len(x)))
            x, anomalies = x[labels == 0], x[labels == 1]
        learn, calibrate = np.arange(len(x)), np.arange(len(x))
        if self.calibration_fraction:
            learn, calibrate = hold_out(len(x), self.calibration_fraction, rng)

        steps = DEFAULT_STEPS if self.preprocessing is None else tuple(self.preprocessing)
        self.preprocessing_ = Preprocessing.fit(steps, x[learn])
        z = self.preprocessing_.transform(x[learn])
        model = spec.build(z.shape[1], rngs=nnx.Rngs(int(rng.integers(2**31))))
        self.model_, self.history_ = self._fit_model(model, z, rng)
        return self._calibrate(rule, np.concatenate([x[calibrate], anomalies]), len(anomalies))

    def _calibrate(self, rule: ThresholdRule, x: Float[np.ndarray, "n dim"], n_anomalies: int) -> Self:
        """Score rows, of which the last `n_anomalies` are anomalies, and take the threshold from the scores."""
        self.calibration_scores_ = self._score(x)
        labels = (np.arange(len(x)) >= len(x) - n_anomalies).astype(int)
        self.calibration_labels_ = labels if n_anomalies else None
        return self.set_threshold(rule)

    def calibrate(self, X: ArrayLike, y: ArrayLike | None = None, rule: ThresholdRule | None = None) -> Self:
        """Replace the calibration rows, and with them the threshold; the model stays as it is.

        Args:
            X: rows that the model has not seen, shape (n, n_features).
            y: their labels, 0 = normal and 1 = anomaly; None if all are normal.
            rule: the rule to use from now on; by default the one in use.
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        scores = self._score(x)
        labels = None if y is None else checked_labels(np.asarray(y), scores)
        self.calibration_scores_, self.calibration_labels_ = scores, labels
        return self.set_threshold(self.threshold_rule_ if rule is None else rule)

    def set_threshold(self, rule: ThresholdRule) -> Self:
        """Apply a threshold rule to the stored calibration scores; nothing is fitted or scored again."""
        check_is_fitted(self, "calibration_scores_")
        self.threshold_ = float(rule.threshold(self.calibration_scores_, self.calibration_labels_))
        self.threshold_rule_ = rule
        self.offset_ = -self.threshold_
        return self

    def anomaly_score(self, X: ArrayLike) -> Float[np.ndarray, "n"]:
        """How anomalous each row is; higher is more anomalous. For a density -log p(x), in nats and in data units."""
        check_is_fitted(self)
        return self._score(validate_data(self, X, dtype=np.float64, reset=False))

    def score_samples(self, X: ArrayLike) -> Float[np.ndarray, "n"]:
        """How normal each row is; for a density log p(x) in nats, over the columns that are not constant."""
        return -self.anomaly_score(X)

    def decision_function(self, X: ArrayLike) -> Float[np.ndarray, "n"]:
        """`score_samples - offset_`: negative for flagged rows."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> Int[np.ndarray, "n"]:
        """+1 for normal rows, -1 for flagged ones."""
        return np.where(self.anomaly_score(X) > self.threshold_, -1, 1)

    def p_values(self, X: ArrayLike) -> Float[np.ndarray, "n"]:
        """Conformal p-value of each row: the share of normal calibration scores at least as high, itself counted.

        (1 + #{calibration scores >= score}) / (n + 1), Bates et al. 2023, equation 3. Valid if the calibration rows
        were not seen by the model.
        """
        return self.p_values_of_scores(self.anomaly_score(X))

    def p_values_of_scores(self, scores: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """`p_values` for anomaly scores already at hand."""
        normal = self.calibration_scores_
        if self.calibration_labels_ is not None:
            normal = normal[self.calibration_labels_ == 0]
        below = np.searchsorted(np.sort(normal), scores, side="left")
        return (1 + normal.size - below) / (normal.size + 1)

    def sample(self, count: int, random_state: Any = None) -> Float[np.ndarray, "count n_features"]:
        """Draw rows from the fitted density, in data units.

        Raises:
            InputError: if the model is no density.
        """
        check_is_fitted(self)
        if not isinstance(self.model_, Density):
            raise InputError(f"{type(self).__name__} cannot draw rows: {type(self.model_).__name__} is no density")
        key = jax.random.key(check_random_state(random_state).randint(2**31 - 1))
        return self.preprocessing_.inverse_transform(np.asarray(self.model_.sample(key, (count,)), np.float64))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted detector to a directory; see `jaxflow.detection.saving`."""
        from jaxflow.detection.saving import save_detector  # saving knows all detectors, so it imports this module

        save_detector(self, path)

    def _score(self, x: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n"]:
        scores = score_rows(self.model_, self.preprocessing_.transform(x))
        # log p(x) = log p(z) + log |det dz/dx|: the density of the data, not of what preprocessing made of it.
        return scores - self.preprocessing_.log_det if isinstance(self.model_, Density) else scores


def fit_by_gradient(
    model: Model,
    rows: Float[np.ndarray, "n dim"],
    spec: FitSpec | None,
    validation_fraction: float,
    rng: np.random.Generator,
    progress: bool,
) -> FitResult:
    """Fit with some rows held out to choose the epoch; with a fraction of 0 the training loss chooses it."""
    if not 0 <= validation_fraction < 1:
        raise InputError(f"validation_fraction = {validation_fraction}: expected at least 0 and less than 1")
    train, valid = rows, None
    if validation_fraction:
        learn, held = hold_out(len(rows), validation_fraction, rng)
        train, valid = rows[learn], Batch(rows[held])
    key = jax.random.key(int(rng.integers(2**31)))
    return fit(model, Batch(train), valid, FitSpec() if spec is None else spec, key=key, progress=progress)
