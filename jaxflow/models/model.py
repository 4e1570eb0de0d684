"""Contracts of models and of densities."""

from abc import abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, Shaped
from pydantic import Field

from jaxflow.config.spec import Spec
from jaxflow.errors import InputError
from jaxflow.models.normals import Normals
from jaxflow.networks.mlp import check_context, for_each_context
from jaxflow.networks.planned import Planned
from jaxflow.whole_numbers import draw_shape

# Of a hidden layer. A square one at the upper limit takes 1 GiB.
Width = Annotated[int, Field(ge=1, le=16_384)]
MOST_LAYERS = 100  # of those; the time to compile them grows faster than their number
MOST_DRAWS = 1 << 16  # with which a row is scored
MOST_COMPONENTS = 16_384  # of a mixture
# Of context features.
ContextWidth = Annotated[int, Field(ge=0, le=16_384)]


# How the share of each feature in a row's score is found; `models.score_terms` describes them.
TermsMethod: TypeAlias = Literal["chain_rule", "conditional", "squared_error", "reconstruction", "replacement"]

# How `training.fit` fits a model: by lowering its loss, by its own `fit_directly`, or by fitting its members, which are
# fitted all in one program, as by an `Ensemble`, or one after the other, as by a `Committee`.
WayOfFitting: TypeAlias = Literal["gradient_steps", "itself", "members_together", "members_in_turn"]


class Model(nnx.Module):
    """Something that can be fitted and that gives each row a score: the higher, the more anomalous.

    >>> model = Gaussian(2)
    >>> isinstance(model, Model), model.score(jnp.zeros(2)).round(3)
    (True, Array(1.838, dtype=float32))

    Attributes:
        dim: number of features.
        context_dim: number of context features; 0 for an unconditional model.
        spec: the hyperparameters that it was built by; None for one that was put together by hand.
        way_of_fitting: how `training.fit` fits models of this class.
    """

    way_of_fitting: ClassVar[WayOfFitting] = "gradient_steps"

    dim: int
    context_dim: int
    spec: "ModelSpec | None" = None

    def aligned(self, x: Any, context: Any = None) -> tuple[Shaped[Array, "*batch dim"], Shaped[Array, "..."] | None]:
        """Rows and their context as arrays, the rows repeated along the leading axes of a context that has more.

        Every method that takes rows begins with it. It looks at shapes alone, so a compiled program has nothing of it.

        Raises:
            InputError: if rows or context have another width than the model's, a context is missing or unwanted, or
                the leading axes of the two do not broadcast.
        """
        x = jnp.asarray(x)
        if x.shape[-1:] != (self.dim,):
            raise InputError(f"rows have the shape {x.shape}, expected (..., {self.dim})")
        context = self._checked(context)
        return for_each_context(x, context), context

    def asked(self, sample_shape: Any, context: Any) -> tuple[tuple[int, ...], Shaped[Array, "..."] | None]:
        """The leading axes of draws, before those of the context, and the context as an array.

        Raises:
            InputError: if `sample_shape` is neither a whole number nor a tuple of such, or the context as in `aligned`.
        """
        return draw_shape(sample_shape), self._checked(context)

    def _checked(self, context: Any) -> Shaped[Array, "..."] | None:
        context = None if context is None else jnp.asarray(context)
        check_context(context, self.context_dim)
        return context

    @abstractmethod
    def loss(
        self,
        x: Float[Array, "batch dim"],
        weight: Float[Array, "batch"] | None = None,
        context: Float[Array, "batch context_dim"] | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, ""]:
        """The quantity that fitting lowers: a weighted mean over the batch."""

    @abstractmethod
    def score(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch"]:
        """How anomalous each row is; higher is more anomalous. Leading axes of rows and context broadcast."""

    def losses(
        self, x: Float[Array, "batch dim"], context: Float[Array, "batch context_dim"] | None = None
    ) -> Float[Array, "batch"]:
        """The loss of each row by itself, as it is outside training steps: `loss` without `rngs` is their mean.

        The score, unless a model says otherwise. By it the rows are chosen that a trimmed fit leaves out.
        """
        return self.score(x, context)

    @property
    def term_methods(self) -> tuple[TermsMethod, ...]:
        """The methods by which `score_terms` explains models of this class, the default first."""
        return ("replacement",)

    def feature_terms(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch dim"]:
        """Each feature's term by the method "squared_error" or "reconstruction", where `term_methods` has one of them.

        Raises:
            NotImplementedError: if the class has neither.
        """
        raise NotImplementedError(f"{type(self).__name__} has no terms of its own")

    def as_conditional(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> "tuple[Model, Float[Array, '*batch dim']]":
        """A Gaussian or a mixture of such, and the rows as it takes them, for the method "conditional".

        Most that have the method are that themselves.

        Raises:
            NotImplementedError: if `term_methods` does not have that method.
        """
        if "conditional" in self.term_methods:
            return self, x
        raise NotImplementedError(f"{type(self).__name__} has no conditional densities in closed form")

    def prepare(self, x: Float[Array | np.ndarray, "n dim"]) -> None:
        """Look at all training rows on the host, before anything is compiled, and set what it takes, in place.

        Most models have nothing to look at.
        """

    @property
    def prepared(self) -> bool:
        """Whether the model has looked at the training rows, or has no need to."""
        return True

    def initialize(
        self,
        x: Float[Array, "n dim"],
        weight: Float[Array, "n"] | None = None,
        context: Float[Array, "n context_dim"] | None = None,
        *,
        key: PRNGKeyArray,
    ) -> None:
        """Set whatever depends on the training data before the first step, in place. Most models have nothing.

        A model that holds a module with a true attribute `follows_data` is given the whole training set here once more
        after each epoch.
        """


class Density(Model):
    """A model whose score is the negative log-density: `score(x) = -log p(x)`.

    >>> density = Gaussian(2)
    >>> isinstance(density, Density), density.log_prob(jnp.zeros(2)).round(3)
    (True, Array(-1.838, dtype=float32))

    Attributes:
        scores_in_nats: whether scores are those, in nats, so that another unit of the data shifts them all alike; an
            ensemble may score otherwise.
    """

    scores_in_nats: bool = True

    @abstractmethod
    def log_prob(
        self, x: Float[Array, "*#batch dim"], context: Float[Array, "*#batch context_dim"] | None = None
    ) -> Float[Array, "*batch"]:
        """Log-density in nats; -inf off the support. Leading axes of rows and context broadcast."""

    @abstractmethod
    def sample(
        self,
        key: PRNGKeyArray,
        sample_shape: Any = (),
        context: Float[Array, "*batch context_dim"] | None = None,
    ) -> Float[Array, "*sample dim"]:
        """Draws of shape `sample_shape + context.shape[:-1] + (dim,)`; a whole number is a shape of one axis."""

    def score(self, x, context=None):
        """The negative log-density in nats."""
        return -self.log_prob(x, context)

    def as_normals(self) -> Normals | None:
        """The density as a weighted sum of normal ones, whose marginals have a closed form; None if it is no such."""
        return None

    def loss(self, x, weight=None, context=None, rngs=None):
        """Weighted mean of the negative log-density in nats: the maximum-likelihood objective."""
        return weighted_mean(-self.log_prob(x, context), weight)


class DirectlyFitted(Model):
    """A model that computes its own fit, in closed form or by its own iteration, instead of by gradient steps.

    >>> model = Gaussian(1)
    >>> model.fit_directly(jnp.array([[1.0], [3.0]]), key=jax.random.key(0)).shape
    (1,)
    >>> model.mean[...]
    Array([2.], dtype=float32)
    """

    way_of_fitting: ClassVar[WayOfFitting] = "itself"

    @abstractmethod
    def fit_directly(
        self,
        x: Float[Array, "n dim"],
        weight: Float[Array, "n"] | None = None,
        context: Float[Array, "n context_dim"] | None = None,
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, "iterations"]:
        """Set the parameters from the data, in place.

        Args:
            x: training rows.
            weight: how much each row counts; only ratios between weights matter, and a row of weight 0 is ignored.
            context: their context; None for a model without.
            key: what is drawn on the way comes from it.

        Returns:
            The training loss after each iteration, the mean negative log-density in nats of a density.

        Raises:
            InputError: if there is a context that the model does not take, or a row or weight cannot be used. A failed
                fit leaves the model as it was.
        """


class ModelSpec(Spec):
    """The hyperparameters of a model; `build` makes the module.

    >>> isinstance(MAF(), ModelSpec), MAF.fits_itself, GaussianSpec.fits_itself
    (True, False, True)

    Attributes:
        fits_itself: whether the model computes its own fit, without gradient steps.
        takes_context: whether it may be conditional, by a field `context_dim`.
        is_density: whether its scores are negative log-densities in nats.
    """

    fits_itself: ClassVar[bool] = False
    takes_context: ClassVar[bool] = True
    is_density: ClassVar[bool] = True

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Let what a class builds know by which spec, from which alone a saved model can be made again."""
        super().__pydantic_init_subclass__(**options)
        if "build" in vars(cls):
            cls.build = _with_spec(cls.build)

    @abstractmethod
    def build(self, dim: int, *, rngs: nnx.Rngs) -> Model:
        """The model for data of `dim` features, freshly initialised from `rngs`."""

    @abstractmethod
    def planned(self, dim: int) -> Planned:
        """The arrays of what `build` makes, parameters and buffers alike, without making it."""

    def for_rows(self, count: int) -> Any:
        """Return this spec for a model that is fitted to `count` rows: with no more places for rows than it needs."""
        return self

    def require_imported(self) -> None:
        """Refuse what `build` could make only by importing a module that is not part of this package.

        Raises:
            InputError: if there is such a module, and it has not been imported yet.
        """


def _with_spec(build: Callable[..., Model]) -> Callable[..., Model]:
    @wraps(build)
    def build_with_spec(spec: ModelSpec, dim: int, *, rngs: nnx.Rngs) -> Model:
        model = build(spec, dim, rngs=rngs)
        model.spec = spec
        return model

    return build_with_spec


def weighted_mean(values: Float[Array, "batch"], weight: Float[Array, "batch"] | None) -> Float[Array, ""]:
    """Mean of `values` under non-negative weights; rows of weight zero do not count, whatever their value."""
    if weight is None:
        return jnp.mean(values)
    # A row that only pads the last batch may have any value, an infinite one too; 0 * inf would be NaN.
    kept = jnp.where(weight > 0, values, 0.0)
    return jnp.sum(weight * kept) / jnp.maximum(jnp.sum(weight), jnp.finfo(values.dtype).tiny)
