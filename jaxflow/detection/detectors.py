"""The detectors, and loading whichever was saved."""

import os
from collections.abc import Sequence
from typing import Any

from jaxflow.data.columns.columns_spec import ColumnsSpec
from jaxflow.data.preprocessing.steps import PreprocessingStep
from jaxflow.detection.detector import Detector
from jaxflow.detection.storage.save_and_load import load_detector
from jaxflow.detection.thresholds.any_rule import ThresholdRule
from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    AutoEncoderSpec,
    CommitteeSpec,
    GaussianSpec,
    ModelSpec,
)
from jaxflow.old_names import with_old_keywords
from jaxflow.training.fit_spec import FitSpec
from jaxflow.training.monitoring.callbacks import Callback
from jaxflow.training.monitoring.checkpoints import Checkpoints


class AnomalyDetector(Detector):
    """Flags rows that a model fitted to normal rows finds improbable, whatever kind of model that is.

    >>> AnomalyDetector().get_params()["calibration_fraction"]
    0.2

    Args:
        model: the spec of the model, of any kind; by default a `CommitteeSpec`, the best on tables of many kinds. It
            keeps up to 10,000 of the rows; a flow alone (`FlowDetector`) is quicker to score and smaller to save.
        train: how it is fitted by gradient steps; by default `FitSpec()`, for a committee its own. None for models that
            fit themselves, to which `validation_fraction`, `progress`, `devices`, `checkpoints` and `callbacks` mean
            nothing either.
        columns: what the columns hold, which are the context of the others, and what becomes of missing values; by
            default all is inferred, there is no context, and no value may be missing.
        preprocessing: steps before the model; by default constant columns are dropped and the others standardised.
        threshold: the threshold rule; by default a false-positive rate of 5 % on held-out normal rows.
        validation_fraction: share of the rows left after calibration that chooses the best epoch; 0 for none.
        calibration_fraction: share of the rows that calibrates the threshold and is never seen by the model. With 0
            the training rows' own scores are used, which are too low for a flexible model.
        calibration_folds: into how many folds the rows are divided to calibrate the threshold instead; 0 for never. The
            model then learns from all rows, and the calibration scores are those of further models, each fitted without
            the rows of one fold, of that fold's rows (cross-conformal: Vovk 2015; the one-sided scores of CV+: Barber
            et al. 2021). None means 5 folds where the held-out part would have fewer than 100 rows, and none otherwise.
            Held-out rows have the guarantee of split-conformal prediction. This has none, as one threshold serves all
            rows: were each unseen row compared with every fold's own model, as CV+ does, at most twice the rate would
            be flagged on average, and a little more (Barber et al., theorem 4); here that holds as far as those models
            score alike with the one in use. As they learn from fewer rows, their scores tend to be too high, and fewer
            rows than the rate are flagged.
        random_state: seed of the splits, the initial weights and the fit.
        progress: show a progress bar on standard error.
        devices: number of devices to fit on; -1 for all.
        checkpoints: where the state of the fit is saved now and then; None to save nothing.
        callbacks: are told of every epoch while the fit lasts; see `training.fit`.
    """

    @with_old_keywords(watchers="callbacks")
    def __init__(
        self,
        model: ModelSpec | None = None,
        *,
        train: FitSpec | None = None,
        columns: ColumnsSpec | None = None,
        preprocessing: Sequence[PreprocessingStep] | None = None,
        threshold: ThresholdRule | None = None,
        validation_fraction: float = 0.1,
        calibration_fraction: float = 0.2,
        calibration_folds: int | None = None,
        random_state: Any = 0,
        progress: bool = False,
        devices: int = 1,
        checkpoints: Checkpoints | None = None,
        callbacks: Sequence[Callback] = (),
    ):
        self.model = model
        self.train = train
        self.columns = columns
        self.preprocessing = preprocessing
        self.threshold = threshold
        self.validation_fraction = validation_fraction
        self.calibration_fraction = calibration_fraction
        self.calibration_folds = calibration_folds
        self.random_state = random_state
        self.progress = progress
        self.devices = devices
        self.checkpoints = checkpoints
        self.callbacks = callbacks

    def _model_spec(self):
        spec = CommitteeSpec() if self.model is None else self.model
        return _expect(self, spec, isinstance(spec, ModelSpec), "the spec of a model, such as MAF()")


class FlowDetector(AnomalyDetector):
    """Flags rows of low density under a normalizing flow fitted to normal rows.

    >>> FlowDetector(MAF(layers=2), random_state=0).get_params()["model"].layers
    2

    `model` is a `FlowSpec` such as `MAF()`, the default, an `EnsembleSpec` of several, or a `CommitteeSpec` of flows
    and other densities. Parameters as in `AnomalyDetector`, methods and fitted attributes as in `Detector`.
    """

    def _model_spec(self):
        spec = MAF() if self.model is None else self.model
        suits = isinstance(spec, ModelSpec) and spec.is_density and not spec.fits_itself
        return _expect(self, spec, suits, "FlowSpec, EnsembleSpec or CommitteeSpec")


class AutoencoderDetector(AnomalyDetector):
    """Flags rows that an autoencoder fitted to normal rows reconstructs badly.

    >>> AutoencoderDetector(VariationalAutoEncoderSpec(latent=2)).get_params()["model"].latent
    2

    `model` is an `AutoEncoderSpec`, by default with its own defaults, or a `VariationalAutoEncoderSpec`, whose scores
    are negative log-densities, bounds or estimates, in nats of the features after preprocessing. Parameters as in
    `AnomalyDetector`, methods and fitted attributes as in `Detector`.
    """

    def _model_spec(self):
        spec = AutoEncoderSpec() if self.model is None else self.model
        suits = isinstance(spec, ModelSpec) and not spec.is_density and not spec.fits_itself
        return _expect(self, spec, suits, "AutoEncoderSpec or VariationalAutoEncoderSpec")


class GaussianDetector(AnomalyDetector):
    """Flags rows of low density under a Gaussian or a mixture of Gaussians, or off the principal components.

    >>> x = np.random.default_rng(0).normal(size=(600, 2))
    >>> GaussianDetector(random_state=0).fit(x).predict([[0.0, 0.0], [0.0, 9.0]])
    array([ 1, -1])

    Its models fit themselves, at once: what says how gradient steps are taken, shown and saved means nothing to them,
    and is no parameter here. Principal components are among these, as the directions of a Gaussian's covariance, and so
    they are here and not beside the autoencoders. Methods and fitted attributes as in `Detector`.

    Args:
        model: `GaussianSpec()` (the default; full, diagonal, shrunk or robust covariance), `GaussianMixtureSpec()`,
            `KernelDensitySpec()` or `PrincipalComponentsSpec()`.
        columns, preprocessing, threshold, calibration_fraction, calibration_folds, random_state: as in
            `AnomalyDetector`.
    """

    def __init__(
        self,
        model: ModelSpec | None = None,
        *,
        columns: ColumnsSpec | None = None,
        preprocessing: Sequence[PreprocessingStep] | None = None,
        threshold: ThresholdRule | None = None,
        calibration_fraction: float = 0.2,
        calibration_folds: int | None = None,
        random_state: Any = 0,
    ):
        super().__init__(
            model,
            columns=columns,
            preprocessing=preprocessing,
            threshold=threshold,
            validation_fraction=0.0,
            calibration_fraction=calibration_fraction,
            calibration_folds=calibration_folds,
            random_state=random_state,
        )

    def _model_spec(self):
        spec = GaussianSpec() if self.model is None else self.model
        expected = "GaussianSpec, GaussianMixtureSpec, KernelDensitySpec or PrincipalComponentsSpec"
        return _expect(self, spec, isinstance(spec, ModelSpec) and spec.fits_itself, expected)


def _expect(detector: Detector, spec: Any, suits: bool, expected: str) -> Any:
    if not suits:
        raise InputError(f"model of {type(detector).__name__} = {spec!r}: expected {expected}")
    return spec


DETECTORS = (FlowDetector, GaussianDetector, AutoencoderDetector, AnomalyDetector)
Detector.kinds |= {kind.__name__: kind for kind in DETECTORS}


def load(path: str | os.PathLike[str]) -> Detector:
    """Read a detector that `Detector.save` wrote, ready to score: its scores are equal, bit for bit.

    Loading runs no code from the files and imports nothing.

    Raises:
        InputError: if the directory or one of its files is missing, damaged or edited, or written in a newer format.
    """
    return load_detector(path, Detector.kinds)
