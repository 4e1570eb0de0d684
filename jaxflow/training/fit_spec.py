"""The hyperparameters of a fit."""

from typing import Literal

from pydantic import Field, model_validator

from jaxflow.config.spec import Spec


class FitSpec(Spec):
    """How a model is fitted by gradient steps: AdamW with warm-up, cosine decay and gradient clipping.

    Loshchilov and Hutter 2019 (AdamW) and 2017 (cosine decay). Weight decay acts on matrices alone, not on biases and
    scales. Input noise is drawn anew at every step and smooths the density that is learnt; of the regularisers compared
    by Rothfuss et al. 2019 for densities from few rows it did best. A moving average of the parameters (Polyak and
    Juditsky 1992) smooths the path of the steps; it begins with a short memory, min(decay, (1 + t) / (10 + t)) after t
    steps, so that it does not hold on to the first parameters.

    Trimming is for training rows of which some are not normal. Before each epoch, the first one too, all rows are
    scored under the parameters as they are (their moving average, if there is one), and those with the highest losses,
    `trim` of all weight, do not count in that epoch: the trimmed likelihood of Neykov et al. 2007, by the concentration
    steps of Rousseeuw and Van Driessen 1999. Rows that were left out may come back. The share should rather be above
    that of the rows one fears; of clean data it costs the outermost rows. The held-out loss is trimmed by the same
    share, since a few wild rows would decide it; training and held-out losses are means over the rows that are left.
    Rows from files are trimmed block by block, each before its steps and by the same share. A dense group of outliers
    is left out for good if it lies far from the centre, by which a model that has learned nothing yet ranks the rows;
    one that lies among normal rows is not found by its likelihood.

    >>> FitSpec(epochs=5).epochs
    5
    """

    epochs: int = Field(default=200, ge=1, le=1_000_000, description="largest number of passes over the training data")
    steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="largest number of training steps: with many rows there are fewer epochs, one at least (default: "
        "as many as the epochs have)",
    )
    batch_size: int = Field(default=128, ge=1, le=1_000_000_000, description="rows a step; all rows if there are fewer")
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1e9, description="peak learning rate, reached after the warm-up"
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises from 0"
    )
    final_learning_rate: float = Field(
        default=0.01, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )
    weight_decay: float = Field(default=1e-4, ge=0, le=1e9, description="decoupled weight decay of the weight matrices")
    clip_norm: float | None = Field(
        default=5.0, gt=0, le=1e30, description="largest norm of a step's gradient; null to leave it alone"
    )
    input_noise: float = Field(
        default=0.0,
        ge=0,
        le=1e30,
        description="standard deviation of the Gaussian noise added to the rows of each step",
    )
    final_input_noise: float = Field(
        default=1.0,
        ge=0,
        le=1e30,
        description="input noise at the end, as a share of that at the start; falls or rises linearly",
    )
    average_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of a moving average of the parameters that is judged and kept in their place; 0 for none",
    )
    trim: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="share of the training rows, those that fit worst, that each epoch leaves out; 0 for clean data",
    )
    precision: Literal["float32", "tf32", "bfloat16", "float64"] | None = Field(
        default=None,
        description="number type of the model and its fit, by default JAX's own, with all bits of matrix products; "
        "tf32 (GPUs, TPUs) and bfloat16 are float32 but for the factors of the networks' matrix products in training "
        "steps",
    )
    bad_steps: Literal["stop", "skip"] = Field(
        default="stop",
        description="what a loss or gradient that is not finite means: stop ends the fit, names the rows and keeps the "
        "best parameters; skip leaves the step out, counts it and goes on",
    )
    patience: int | None = Field(
        default=30,
        ge=1,
        le=1_000_000,
        description="stop after so many epochs without a lower held-out loss; null to never stop early",
    )

    @model_validator(mode="after")
    def _a_schedule_has_a_noise(self):
        if self.final_input_noise != 1 and not self.input_noise:
            raise ValueError(f"final_input_noise = {self.final_input_noise:g} needs an input_noise above 0")
        return self

    def for_rows(self, rows: int) -> "FitSpec":
        """Return this spec with no more epochs than `steps` allows for so many training rows."""
        if self.steps is None:
            return self
        epochs = max(1, round(self.steps / -(-rows // min(self.batch_size, rows))))
        return self.model_copy(update={"epochs": min(self.epochs, epochs)})
