"""The detectors of `benchmark_adbench.py`, each in one configuration for all data sets.

Those of PyOD have the defaults of their authors, as in the published tables, and are imported when they are built,
since PyOD need not be installed.
"""

import contextlib
import io
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from adbench.broken_flow import LAYERS, PUBLISHED_FIT, broken_score, fitted_planar_flow, log_density_parts, right_score
from jaxflow.data import ColumnsSpec, DropConstant, Standardize
from jaxflow.detection import AutoencoderDetector, Detector, FlowDetector, GaussianDetector, Percentile
from jaxflow.errors import InputError
from jaxflow.models import (
    MAF,
    NSF,
    AutoEncoderSpec,
    CommitteeSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    KernelDensitySpec,
    ModelSpec,
    PrincipalComponentsSpec,
    RealNVP,
    VariationalAutoEncoderSpec,
)
from jaxflow.training import FitSpec
from jaxflow.training.many.committee import COMMITTEE_FIT

TRIM = 0.1
OCSVM_ROWS = 10_000  # its kernel matrix has the square of as many entries


class Competitor(Protocol):
    """Contract of what is compared: fitted to rows taken as normal, then asked how anomalous others are."""

    def fit(self, X: Any) -> Any:
        """Learn from rows, all taken as normal."""

    def anomaly_score(self, X: Any) -> Float[np.ndarray, "n"]:
        """Higher is more anomalous."""
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters it is built with, by name."""
        ...


class Entry(NamedTuple):
    """Entry of a detector: its name in tables, what makes it from a seed, and whose it is."""

    title: str
    make: Callable[[int], Competitor]
    library: str = "jaxflow"


class Standardized:
    """A detector of another library, on columns standardised with the training rows as in the published tables.

    Args:
        described: what it is and its settings, in words.
        make: builds it for a number of columns.
        most_rows: of the training rows that it is given; of more, as many are drawn.
        seed: draws them.
    """

    def __init__(self, described: str, make: Callable[[int], Any], most_rows: int | None, seed: int):
        self.described = described
        self.make = make
        self.most_rows = most_rows
        self.seed = seed

    def fit(self, X):
        """Standardise and fit; what the library prints is not shown."""
        if self.most_rows is not None and len(X) > self.most_rows:
            X = X[np.random.default_rng(self.seed).choice(len(X), self.most_rows, replace=False)]
        self.scaler = StandardScaler().fit(X)
        self.detector = self.make(X.shape[1])
        with _quiet():
            self.detector.fit(self.scaler.transform(X))
        return self

    def anomaly_score(self, X):
        """The library's own score."""
        with _quiet():
            return np.asarray(self.detector.decision_function(self.scaler.transform(X)), np.float64)

    def get_params(self, deep=True):
        """Return the library's detector in words, and the other parameters by name."""
        return {"detector": self.described, "most_rows": self.most_rows, "random_state": self.seed}


class RegularizedMixture:
    """A Gaussian mixture of scikit-learn with a ridge; a component for every so many rows, eight at most."""

    ROWS_EACH, MOST, RIDGE = 20, 8, 1e-2

    def __init__(self, seed: int):
        self.seed = seed

    def fit(self, X):
        """Fit by expectation maximisation."""
        components = max(1, min(self.MOST, len(X) // self.ROWS_EACH))
        self.mixture = GaussianMixture(components, reg_covar=self.RIDGE, random_state=self.seed).fit(X)

    def decision_function(self, X):
        """The negative log-density."""
        return -self.mixture.score_samples(X)


class Planar:
    """The published flow with its published settings (`broken_flow`), scored by its density or as published."""

    def __init__(self, seed: int, as_published: bool = False):
        self.seed = seed
        self.score = broken_score if as_published else right_score

    def fit(self, X):
        """Fit ten planar layers."""
        self.model = fitted_planar_flow(X, self.seed)

    def decision_function(self, X):
        """The negative log-density, or what was published in its place."""
        return self.score(*log_density_parts(self.model, X))


@contextlib.contextmanager
def _quiet():
    out, err = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        warnings.simplefilter("ignore")
        yield


def _ours(spec: ModelSpec, *, trim: float = 0.0, noise: float = 0.1) -> Callable[[int], Detector]:
    """A detector of jaxflow that lets its model have all rows; nobody looks at its own threshold.

    Numbers are taken as they are: columns of few values are smoothed by noise instead of dequantized, and columns that
    are constant in training are left out without the rule that flags their other values, which is no model's score.
    `noise` is added to the rows of gradient steps, but not to those of a committee, which has its own.
    """

    def make(seed: int) -> Detector:
        common: dict[str, Any] = {
            "columns": ColumnsSpec(infer=False),
            "preprocessing": (DropConstant(never_seen="ignore"), Standardize()),
            "threshold": Percentile(),
            "calibration_fraction": 0.0,
            "random_state": seed,
        }
        if spec.fits_itself:
            return GaussianDetector(spec, **common)
        if isinstance(spec, CommitteeSpec):
            return FlowDetector(spec, train=COMMITTEE_FIT.model_copy(update={"trim": trim}), **common)
        common["train"] = FitSpec(
            epochs=1000, steps=1500, learning_rate=2e-3, input_noise=noise, patience=None, trim=trim
        )
        if not spec.is_density:
            return AutoencoderDetector(spec, **common)
        return FlowDetector(spec, **common)

    return make


def _pyod(title: str, name: str, module: str, kind: str, *, seeded: bool = True, columns: str = "", **options: Any):
    """A detector of PyOD; `columns` is the name of the argument that wants their number."""

    def make(seed: int) -> Standardized:
        try:
            found = getattr(import_module(f"pyod.models.{module}"), kind)
        except ImportError as error:
            raise InputError(
                f"detector {name} needs {error.name or 'pyod'}, which is not installed: pip install torch, "
                "then pip install 'jaxflow[bench]'"
            ) from None
        seeds = {"random_state": seed} if seeded else {}

        def build(dim: int) -> Any:
            return found(**options, **seeds, **({columns: dim} if columns else {}))

        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        most_rows = OCSVM_ROWS if name == "ocsvm" else None
        return Standardized(f"pyod.models.{module}.{kind}({given})", build, most_rows, seed)

    return Entry(f"{title} (PyOD)", make, "PyOD")


def _others(described: str, make: Callable[[int], Any]) -> Callable[[int], Standardized]:
    return lambda seed: Standardized(described, lambda _: make(seed), None, seed)


DEFAULT = CommitteeSpec()
WIDE = (256, 128)  # of autoencoders; what narrower ones gave is in results/adbench/study.md
PLANAR = f"{LAYERS} planar layers, {PUBLISHED_FIT!r}"
REGULARIZED = (
    f"GaussianMixture of a component for {RegularizedMixture.ROWS_EACH} rows, at most {RegularizedMixture.MOST}, "
    f"reg_covar={RegularizedMixture.RIDGE}"
)

DETECTORS: dict[str, Entry] = {
    "flow": Entry("committee (default)", _ours(DEFAULT)),
    "flow_trimmed": Entry(f"committee (default), {TRIM:.0%} trimmed", _ours(DEFAULT, trim=TRIM)),
    "maf": Entry("MAF", _ours(MAF())),
    "maf_trimmed": Entry(f"MAF, {TRIM:.0%} trimmed", _ours(MAF(), trim=TRIM)),
    "nsf": Entry("NSF", _ours(NSF())),
    "realnvp": Entry("RealNVP", _ours(RealNVP())),
    "gaussian": Entry("Gaussian", _ours(GaussianSpec(regularization=1e-3))),
    "gmm": Entry("Gaussian mixture", _ours(GaussianMixtureSpec(rows_each=20))),
    "kernel": Entry("kernel density", _ours(KernelDensitySpec())),
    "pca": Entry("PCA, reconstruction error", _ours(PrincipalComponentsSpec())),
    "pca_mahalanobis": Entry(
        "PCA, Mahalanobis distance", _ours(PrincipalComponentsSpec(variance=0.99, score="mahalanobis"))
    ),
    "autoencoder": Entry("autoencoder", _ours(AutoEncoderSpec(hidden=WIDE), noise=0.3)),
    "vae": Entry("VAE, reconstruction probability", _ours(VariationalAutoEncoderSpec(hidden=WIDE), noise=0.0)),
    "vae_elbo": Entry("VAE, ELBO", _ours(VariationalAutoEncoderSpec(hidden=WIDE, score="elbo"), noise=0.0)),
    "planar": Entry("PlanarFlow, corrected score", _others(PLANAR, Planar), "DTE"),
    "planar_broken": Entry(
        "PlanarFlow, scored as published",
        _others(f"{PLANAR}, scored by -log|det J|", lambda seed: Planar(seed, as_published=True)),
        "DTE",
    ),
    "gmm8_regularized": Entry(
        "GMM-8, regularised (scikit-learn)", _others(REGULARIZED, RegularizedMixture), "scikit-learn"
    ),
    "knn": _pyod("kNN", "knn", "knn", "KNN", seeded=False),
    "lof": _pyod("LOF", "lof", "lof", "LOF", seeded=False),
    "iforest": _pyod("isolation forest", "iforest", "iforest", "IForest"),
    "ocsvm": _pyod(f"OCSVM, at most {OCSVM_ROWS:,} rows", "ocsvm", "ocsvm", "OCSVM", seeded=False),
    "hbos": _pyod("HBOS", "hbos", "hbos", "HBOS", seeded=False),
    "ecod": _pyod("ECOD", "ecod", "ecod", "ECOD", seeded=False),
    "gmm8": _pyod("GMM-8", "gmm8", "gmm", "GMM", n_components=8),
    "autoencoder_pyod": _pyod("AutoEncoder", "autoencoder_pyod", "auto_encoder", "AutoEncoder", verbose=0),
    "vae_pyod": _pyod("VAE", "vae_pyod", "vae", "VAE", verbose=0),
    "deep_svdd": _pyod("DeepSVDD", "deep_svdd", "deep_svdd", "DeepSVDD", columns="n_features", verbose=0),
    "lunar": _pyod("LUNAR", "lunar", "lunar", "LUNAR"),
}
