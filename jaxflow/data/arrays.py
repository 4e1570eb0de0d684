"""Array types of code that serves numpy on the host and JAX in an exported program."""

from typing import TypeVar

import numpy as np
from jaxtyping import Array

# An array of either kind; what comes out is of the kind that went in. The functions that do the work come from
# `x.__array_namespace__()`, which is numpy or jax.numpy. JAX has to be in double precision.
AnyArray = TypeVar("AnyArray", np.ndarray, Array)
