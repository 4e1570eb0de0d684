"""The hyperparameters of a fit."""

from pydantic import Field

from jaxflow.config.spec import Spec


class FitSpec(Spec):
    """How a model is fitted by gradient steps: AdamW with warm-up, cosine decay and gradient clipping.

    Loshchilov and Hutter 2019 (AdamW) and 2017 (cosine decay). Weight decay acts on matrices alone, not on biases and
    scales. Input noise is drawn anew at every step and smooths the density that is learnt; of the regularisers compared
    by Rothfuss et al. 2019 for densities from few rows it did best.
    """

    epochs: int = Field(default=200, ge=1, description="largest number of passes over the training data")
    batch_size: int = Field(default=128, ge=1, description="rows a step; all rows if there are fewer")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate, reached after the warm-up")
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises from 0"
    )
    final_learning_rate: float = Field(
        default=0.01, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="decoupled weight decay of the weight matrices")
    clip_norm: float | None = Field(
        default=5.0, gt=0, description="largest norm of a step's gradient; null to leave it alone"
    )
    input_noise: float = Field(
        default=0.0, ge=0, description="standard deviation of the Gaussian noise added to the rows of each step"
    )
    patience: int | None = Field(
        default=30,
        ge=1,
        description="stop after so many epochs without a lower held-out loss; null to never stop early",
    )
