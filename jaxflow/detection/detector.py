"""Detectors: preprocessing, a model and a calibrated threshold behind scikit-learn's interface."""

import os
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np
import pyarrow as pa
from flax import nnx
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted, check_random_state

from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.dataset import listed
from jaxflow.data.encoding import Encoding
from jaxflow.data.preprocessing.steps import Preprocessing, PreprocessingStep
from jaxflow.data.tables.frame import Frame, as_frame, is_table
from jaxflow.data.tables.table_form import TableForm
from jaxflow.detection.calibration.contamination import contamination_of
from jaxflow.detection.calibration.out_of_fold import out_of_fold_scores
from jaxflow.detection.calibration.p_values import PValues
from jaxflow.detection.check_parameters import checked_parameters, checked_rule, columns_spec
from jaxflow.detection.doubts.doubtful_fit import DoubtfulFit, out_of_reach
from jaxflow.detection.doubts.far_values import far_values
from jaxflow.detection.doubts.few_rows import suited
from jaxflow.detection.doubts.lone_categories import lone_categories
from jaxflow.detection.explain.explain_mixin import Explaining
from jaxflow.detection.fit_from_source import rows_of_source
from jaxflow.detection.fit_model import FitOptions, ModelRows, ModelRowsInMemory, fit_keeping_best
from jaxflow.detection.fit_rows import FitRows, rows_in_memory
from jaxflow.detection.numbered_rows import NumberedRows
from jaxflow.detection.scoring.read_rows import read_rows
from jaxflow.detection.scoring.row_scorer import RowScorer
from jaxflow.detection.scoring.score_in_chunks import draw_rows
from jaxflow.detection.scoring.table_encoder import Inputs
from jaxflow.detection.spec_parameters import NestedParameters
from jaxflow.detection.storage.save_and_load import save_detector
from jaxflow.detection.thresholds.any_rule import ThresholdRule, checked_labels
from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.models import CommitteeSpec
from jaxflow.models.model import Density, ModelSpec
from jaxflow.models.model_size import require_memory
from jaxflow.old_names import former_method
from jaxflow.training.engine.precision import float_type, floats_of
from jaxflow.training.feeding.sources import Source
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import Checkpoints
from jaxflow.training.ways.epochs import Fitting, fit_alone
from jaxflow.whole_numbers import MOST_DRAWS, whole_number


class Detector(PValues, Explaining, OutlierMixin, NestedParameters):
    """Base of all detectors: fit on normal rows, calibrate on held-out ones, score, explain, save.

    >>> isinstance(GaussianDetector(), Detector), sorted(Detector.kinds)
    (True, ['AnomalyDetector', 'AutoencoderDetector', 'FlowDetector', 'GaussianDetector'])

    Fitting learns what normal rows look like: all rows given to `fit` are taken as normal. A part of them is held out
    and never seen by the model; its scores calibrate the threshold, because the scores of training rows are too low by
    far for any flexible model. Where that part would be small, all rows calibrate, each scored by a model that has not
    seen it (`calibration_folds`), and the model learns from all of them.

    Signs follow scikit-learn: `score_samples` and `decision_function` are higher for normal rows, and `predict` gives
    +1 for normal and -1 for anomalous. `anomaly_score` is the other way round: higher is more anomalous, and a row is
    flagged when its score is greater than `threshold_`.

    Attributes after `fit`:
        model_: the fitted model.
        float_type_: the type of its numbers, "float32" or "float64".
        model_spec_: the spec it was built from: the default where `model` is None, with the width of the context and
            the noise for columns on a grid filled in.
        inputs_: what becomes of the columns of a table: `encoding`, what each is taken for, and the fitted steps.
        table_form_: the library and the types of the table that was fitted, which draws have.
        history_: the fit, epoch by epoch.
        calibration_scores_: anomaly scores of the rows that calibrate.
        calibration_labels_: their labels; None when all are normal.
        calibration_source_: whose scores they are: "held_out" (of rows the model has not seen), "out_of_fold" (each by
            a model that has not seen the row), "training" (of the rows the model learned from), "given" (of rows given
            to `calibrate`).
        contamination_: the `ContaminationWarning` that `fit` gave as rows lie apart; None if it gave none, and after
            loading.
        doubts_: what `fit` warned of besides, as a `DoubtfulFit` each: rows that are few for the features, texts that
            are in one row each, values that set the scale of a column, a threshold beyond what rows can score.
            Empty after loading.
        threshold_rule_: the rule in use.
        threshold_: the anomaly score above which a row is flagged.
        offset_: minus that.
        n_train_: number of rows given to `fit`.
        n_features_in_, feature_names_in_: as in scikit-learn.
        normal_rows_: up to 1,000 of the rows that calibrate, kept to explain with; see `Explaining`.
        columns_: the names of the features; `feature_names_in_` where there are such, otherwise x0, x1, ... until
            someone who knows them sets them.
    """

    kinds: ClassVar[dict[str, type]] = {}
    """The detectors that can be saved and loaded, by the names of their classes."""

    keep_normal_rows = former_method("keep_normal_rows")
    normal_calibration_scores = former_method("normal_calibration_scores")
    p_values_of_scores = former_method("p_values_of_scores")

    model: ModelSpec | None
    columns: ColumnsSpec | None
    preprocessing: Sequence[PreprocessingStep] | None
    threshold: ThresholdRule | None
    calibration_fraction: float
    calibration_folds: int | None
    random_state: Any
    train: FitSpec | None
    validation_fraction: float
    progress: bool
    devices: int
    checkpoints: Checkpoints | None
    callbacks: Sequence[Callback]
    columns_: tuple[str, ...]
    doubts_: tuple[str, ...]
    inputs_: Inputs
    table_form_: TableForm
    n_features_in_: int
    feature_names_in_: np.ndarray

    @property
    def preprocessing_(self) -> Preprocessing:
        """The fitted steps."""
        return self.inputs_.preprocessing

    @abstractmethod
    def _model_spec(self) -> Any:
        """The spec of the model, with this detector's default."""

    def fit(self, X: Any, y: ArrayLike | None = None) -> "Detector":
        """Learn from normal rows, and calibrate the threshold on some of them held out.

        Args:
            X: rows, shape (n, n_features): an array, or a table of pandas, polars or pyarrow, whose columns may hold
                texts. For detectors that are fitted by gradient steps also a `training.Source` of rows that need not
                fit into memory.
            y: ignored, as in scikit-learn, unless the threshold rule needs labels (such as `BestF1`): then 0 = normal
                and 1 = anomaly. The model learns from normal rows only; the threshold is chosen on the held-out normal
                rows and all anomalies.

        Raises:
            ValueError: if `X` is not a finite matrix; in particular an `InputError` if it has too few rows or labels do
                not suit the rule, and if a parameter is of the wrong kind or out of range.
            NonFiniteLoss: if the fit ended at a loss that was not finite; it names epoch, step and rows of `X`. With
                the best parameters of the epochs before, if there are any, the detector is then ready for use; in place
                of out-of-fold scores it has those of the rows it learned from.
            FloatingPointError: if no epoch of the fit ended with a finite loss.
        """
        fitting = self.fitting(X, y)
        with floats_of(self.float_type_):
            fit_alone(fitting)
        return self

    def fitting(self, X: Any, y: ArrayLike | None = None) -> Fitting[None]:
        """Check the parameters, set `float_type_`, and return the fit, which is to be carried out in that type."""
        spec, steps, rule = checked_parameters(self, self._model_spec())
        self.doubts_ = ()
        self.float_type_ = float_type(self.train)
        return self._fit(spec, steps, rule, X, y)

    def _fit(
        self, spec: Any, steps: tuple[PreprocessingStep, ...], rule: ThresholdRule, X: Any, y: ArrayLike | None
    ) -> Fitting[None]:
        """Fit and calibrate; an error that ended the fit early comes last if the detector is ready for use."""
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        given = self._rows_of_fit(spec, rule, X, y, rng)
        encoding = Encoding.fit(given.frame[given.learn], columns_spec(self))
        rows = NumberedRows(encoding.codes(given.frame), given.numbers, given.data)
        learn, calibrating, normal = rows[given.learn], rows[given.calibrate], rows[given.normal]
        self.inputs_ = Inputs.fit(encoding, learn.codes, steps)
        self._suit(spec, given, normal.codes, learn.codes)

        stopped = yield from self._learn(learn, rng, streamed=given.streamed(self.inputs_, rows.codes))
        self._keep_normal_rows(calibrating.codes)
        source = "held_out" if given.held_out else "training"
        # What ended this fit early would end those of the folds; there is one model to keep, with what it learned from.
        if given.folds and stopped is None:
            source = "out_of_fold"
            scores, stopped = yield from out_of_fold_scores(self, calibrating, given.folds, rng)
        else:
            scores = self.scores_of_rows(calibrating.codes)

        of_normal, labels = scores, None
        if len(given.anomalies):
            scores = np.concatenate([scores, self.scores_of_rows(rows.codes[given.anomalies])])
            labels = np.repeat([0, 1], [len(calibrating), len(given.anomalies)])
        self._decide(rule, scores, labels, source)
        self._doubt(out_of_reach(self))
        self.contamination_ = contamination_of(self, normal, calibrating, of_normal)
        if stopped is not None:
            raise stopped

    def _rows_of_fit(
        self, spec: ModelSpec, rule: ThresholdRule, X: Any, y: ArrayLike | None, rng: np.random.Generator
    ) -> FitRows:
        """Read the rows, know their columns from now on, and give each row its part in the fit."""
        fractions = {
            "calibration_fraction": self.calibration_fraction,
            "calibration_folds": self.calibration_folds,
            "validation_fraction": self._validation_fraction(spec),
        }
        if isinstance(X, Source):
            given = rows_of_source(X, spec, rule, **fractions, rng=rng)
            self.columns_, self.n_features_in_ = X.columns, len(X.columns)
            self.table_form_ = TableForm.of(given.frame, given.frame)
        else:
            frame = read_rows(self, X, reset=True, allow_missing=columns_spec(self).missing != "refuse")
            self.table_form_ = TableForm.of(X, frame)
            given = rows_in_memory(frame, y, rule, **fractions, rng=rng)
        self.n_train_ = given.count
        return given

    def _validation_fraction(self, spec: ModelSpec) -> float:
        """The share of the rows that chooses the best epoch; 0 for a model that has no epochs."""
        return 0.0 if spec.fits_itself else self.validation_fraction

    def _suit(
        self, spec: Any, given: FitRows, x: Float[np.ndarray, "n columns"], learned: Float[np.ndarray, "m columns"]
    ) -> None:
        """Set the spec of the model for the rows it is fitted to, and say what is doubtful about them.

        Args:
            spec: as it was given.
            given: says how many rows are learned from.
            x: codes of the rows that are taken as normal.
            learned: codes of those that the inputs were fitted to.
        """
        spec = self.inputs_.adapted(spec).for_rows(given.learned)
        dims = self.inputs_.dim, self.inputs_.context_dim
        self.model_spec_, few = suited(spec, given.learned, given.fewest, *dims)
        self._doubt(few)
        self._doubt(lone_categories(self.inputs_, learned, columns_spec(self)))
        if not isinstance(spec, CommitteeSpec):  # whose members see the columns in other coordinates too
            self._doubt(far_values(self.inputs_, x, learned, columns_spec(self)))

    def _doubt(self, sentence: str | None) -> None:
        """Warn of what makes the fit doubtful, if anything does."""
        if sentence is not None:
            self.doubts_ = (*self.doubts_, sentence)
            warnings.warn(sentence, DoubtfulFit, stacklevel=6)

    def _learn(
        self,
        rows: NumberedRows,
        rng: np.random.Generator,
        *,
        reserve: Float[np.ndarray, "m columns"] | None = None,
        streamed: ModelRows | None = None,
    ) -> Fitting[NonFiniteLoss | None]:
        """Fit a new model; the error that ended the fit early if there is a model still.

        Args:
            rows: what it learns from, or with `streamed` what it is prepared with.
            rng: where the choice of rows, the initial weights and the key of the fit come from.
            reserve: codes of all rows of a fit of which this is one fold: the grids of columns are known from them, and
                what stands in gaps is theirs where no row of the fold has it.
            streamed: the rows that the model learns from where it reads them itself.
        """
        z, context = self.inputs_.training_rows(rows.codes, rng, reserve)
        require_memory(self.model_spec_, self.inputs_.dim)
        model = self.model_spec_.build(self.inputs_.dim, rngs=nnx.Rngs(int(rng.integers(2**31))))
        # All of them: some values may be missing in the part that is fitted.
        model.prepare(z if reserve is None else self.inputs_.model_rows(reserve)[0])
        learn = streamed
        if learn is None:
            share = self._validation_fraction(self.model_spec_)
            learn = ModelRowsInMemory(z, context, rows.numbers, rows.data, share)
        del z, context  # of a source they are many
        options = FitOptions(self.train, self.progress, self.devices, self.checkpoints, self.callbacks)
        result, stopped = yield from fit_keeping_best(model, learn, options, rng)
        self.model_, self.history_ = result
        self._scorer = RowScorer(self.model_, self.inputs_)
        return stopped

    def calibrate(self, X: Any, y: ArrayLike | None = None, rule: ThresholdRule | None = None) -> "Detector":
        """Replace the calibration rows, and with them the threshold; the model stays as it is.

        Args:
            X: rows that the model has not seen, shape (n, n_features).
            y: their labels, 0 = normal and 1 = anomaly; None if all are normal.
            rule: the rule to use from now on; by default the one in use.

        Raises:
            ValueError: if `X` is not a finite matrix of the columns that were fitted; in particular an `InputError` if
                labels are needed and missing or wrong. The detector then stays as it was.
        """
        check_is_fitted(self, "threshold_")
        x = self.codes(X)
        scores = self.scores_of_rows(x)
        labels = None if y is None else checked_labels(np.asarray(y), scores)
        self._decide(self.threshold_rule_ if rule is None else rule, scores, labels)
        normal = x if labels is None else x[labels == 0]
        if len(normal):
            self._keep_normal_rows(normal)
        return self

    def set_threshold(self, rule: ThresholdRule) -> "Detector":
        """Apply a threshold rule to the stored calibration scores; nothing is fitted or scored again.

        Raises:
            InputError: if `rule` is no rule, or needs labels that the calibration rows do not have.
        """
        check_is_fitted(self, "threshold_")
        return self._decide(rule, self.calibration_scores_, self.calibration_labels_, self.calibration_source_)

    def anomaly_score(self, X: Any) -> Float[np.ndarray, "n"]:
        """How anomalous each row is; higher is more anomalous, +inf where no number is high enough.

        For a density -log p(x) in nats, x in data units: multiplying a column by 10 adds log 10 to the score of every
        row. For an autoencoder the mean squared error of the reconstruction, in the units that preprocessing gives; for
        a model that is no density otherwise, what its class says, in these units.

        Raises:
            ValueError: if `X` is not a finite matrix of the columns that were fitted.
        """
        check_is_fitted(self, "threshold_")
        return self.scores_of_rows(self.codes(X))

    def score_samples(self, X: Any) -> Float[np.ndarray, "n"]:
        """How normal each row is; for a density log p(x) in nats, over the columns that are not constant."""
        return -self.anomaly_score(X)

    def score(self, X: Any, y: ArrayLike | None = None) -> float:
        """Mean of `score_samples`, by which scikit-learn's searches compare detectors on rows held out; y is ignored.

        For a density the mean log-likelihood in nats, comparable whatever the preprocessing as long as the same columns
        are constant; -inf if the density of any row is zero. For an autoencoder minus the mean squared error, in the
        units that preprocessing gives: comparable for one preprocessing only.
        """
        return float(np.mean(self.score_samples(X)))

    def decision_function(self, X: Any) -> Float[np.ndarray, "n"]:
        """`score_samples - offset_`: negative for flagged rows, and 0 for a row whose score is the threshold."""
        normality = self.score_samples(X)
        with np.errstate(invalid="ignore"):
            # Both may be infinite where a density is zero, and the difference of infinities would be NaN.
            return np.where(normality == self.offset_, 0.0, normality - self.offset_)

    def predict(self, X: Any) -> Int[np.ndarray, "n"]:
        """+1 for normal rows, -1 for flagged ones."""
        return np.where(self.anomaly_score(X) > self.threshold_, -1, 1)

    def sample(self, count: Any, random_state: Any = None, context: Any = None) -> Any:
        """Draw rows from the fitted density, in the form of the table that was fitted.

        A frame of pandas or polars, a table of pyarrow or an array, as given to `fit`, with the same columns and types.
        Numbers on a grid, such as counts and flags, and levels are the nearest of those that the training rows have,
        from the least to the largest; categories are among theirs; a column of whole numbers has such. Other columns
        are as the density has them, which may be beyond all that was seen. Columns that were constant are so again.
        With `columns.missing = median` a value is missing where the density says so, with `model` none is.

        Args:
            count: number of rows.
            random_state: the same seed draws the same rows; None draws others each time.
            context: for a detector with context columns, a table that has these columns (others are not looked at), or
                an array of them in their order, with one row for all draws or `count` rows; the draws have them too.

        Raises:
            InputError: if the model is no density, `count` is no whole number from 0 to 2**31 - 1, the context is
                missing, unwanted or does not suit, or the library of the table is not installed.
        """
        return self.table_form_.native(self.sample_table(count, random_state, context))

    def sample_table(self, count: Any, random_state: Any = None, context: Any = None) -> pa.Table:
        """Draw rows as `sample` does, as a table of pyarrow whatever was fitted.

        Raises:
            InputError: as `sample` does.
        """
        check_is_fitted(self, "threshold_")
        count = whole_number("count", count, most=MOST_DRAWS)
        if not isinstance(self.model_, Density):
            raise InputError(f"{type(self).__name__} cannot draw rows: {type(self.model_).__name__} is no density")
        given = self._context_of_draws(context, count)
        key = jax.random.key(check_random_state(random_state).randint(2**31 - 1))
        with floats_of(self.float_type_):
            draws = draw_rows(self.model_, key, count, None if given is None else self.inputs_.model_rows(given)[1])
        codes = self.inputs_.drawn_codes(draws, given)
        return self.table_form_.arrow(codes, self.inputs_.encoding.maps).rename_columns(list(self.columns_))

    def _context_of_draws(self, context: Any, count: int) -> Float[np.ndarray, "count n_features"] | None:
        names = [column.name for column in self.inputs_.encoding.maps if column.context]
        if not names and context is not None:
            raise InputError(f"context is given, but {type(self).__name__} has no context columns: leave it out")
        if not names:
            return None
        if context is None:
            raise InputError(
                f"{type(self).__name__} cannot draw rows by itself: they depend on the context columns "
                f"{listed(names)}, expected them as context"
            )
        frame = as_frame(context, None if is_table(context) or np.shape(context)[1:] != (len(names),) else names)
        if len(frame) not in (1, count):
            raise InputError(f"context has {len(frame)} rows, expected 1 or count, which is {count}")
        codes = self.inputs_.context_codes(frame)
        return codes if len(codes) == count else np.repeat(codes, count, axis=0)

    def scores_of_rows(self, x: Float[np.ndarray, "n n_features"]) -> Float[np.ndarray, "n"]:
        """The anomaly score of each row of a matrix of codes, as `codes` gives them, with the columns of `columns_`.

        For who scores rows that are encoded already: a table that is read once, scored and explained.

        Raises:
            InputError: if the rows have another width.
            FloatingPointError: if the model holds a parameter that is not finite.
        """
        with floats_of(self.float_type_):
            return self._row_scorer(x)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted detector to a directory; see `jaxflow.detection.storage.save_and_load.save_detector`."""
        save_detector(self, self.kinds, path)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write one file that scores with JAX alone, on CPUs, GPUs and TPUs; see `jaxflow.detection.storage.export`."""
        from jaxflow.detection.storage.export import export_detector  # most who import this need it not

        export_detector(self, path)

    def codes(self, X: Any) -> Float[np.ndarray, "n n_features"]:
        """The rows as numbers: places of categories instead of texts, NaN for what is missing.

        Raises:
            ValueError: if `X` does not have the columns that were fitted, or a value that cannot be scored.
        """
        check_is_fitted(self, "threshold_")
        return self.inputs_.encoding.codes(self._read(X))

    def _read(self, X: Any) -> Frame:
        """The rows, checked against the columns that were fitted."""
        return read_rows(self, X, reset=False, allow_missing=self.inputs_.encoding.missing != "refuse")

    @property
    def _row_scorer(self) -> RowScorer:
        """The scorer of the model in use: made once, and again where the model is another or was changed."""
        scorer: RowScorer | None = getattr(self, "_scorer", None)
        if scorer is None or not scorer.serves(self.model_, self.inputs_):
            scorer = self._scorer = RowScorer(self.model_, self.inputs_)
        return scorer

    def __getstate__(self):
        """Return what a pickle or a copy holds: all but the scorer, which is made again."""
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_scorer"}

    def __sklearn_tags__(self):
        """Return the facts that scikit-learn's own code wants to know of an estimator."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = columns_spec(self).missing != "refuse"
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _decide(
        self,
        rule: ThresholdRule,
        scores: Float[np.ndarray, "n"],
        labels: Int[np.ndarray, "n"] | None,
        source: str = "given",
    ) -> "Detector":
        # The rule comes first: when it refuses, the detector stays as it was.
        threshold = float(checked_rule(rule).threshold(scores, labels))
        self.calibration_scores_, self.calibration_labels_, self.calibration_source_ = scores, labels, source
        self.threshold_rule_, self.threshold_, self.offset_ = rule, threshold, -threshold
        return self
