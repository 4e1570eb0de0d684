"""On accelerators too, what is judged keeps all bits: read in the programs that are lowered for them, without any."""

import re
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxflow.detection import GaussianDetector, Percentile
from jaxflow.detection.scoring.frozen_model import FrozenModel
from jaxflow.detection.scoring.score_in_chunks import _draw, _score
from jaxflow.detection.storage.export import exported_program
from jaxflow.models import (
    BNAF,
    CNF,
    IAF,
    MAF,
    AutoEncoderSpec,
    AutoregressiveNSF,
    CommitteeSpec,
    EnsembleSpec,
    GaussianMixtureSpec,
    GaussianSpec,
    Glow,
    KernelDensitySpec,
    PrincipalComponentsSpec,
    RealNVP,
    VariationalAutoEncoderSpec,
)
from jaxflow.models.classical.linear_gaussian import LinearGaussian
from jaxflow.training import FitSpec
from jaxflow.training.engine.batch import Batch
from jaxflow.training.engine.epoch import run_epoch, start

DIM = 3
SPECS = {
    "maf": MAF(layers=2, hidden=(8,), permutation="lu"),
    "maf_wide": MAF(layers=1, hidden=(256,)),
    "maf_jacobi": MAF(layers=1, hidden=(8,), sampling="jacobi"),
    "iaf": IAF(layers=1, hidden=(8,)),
    "realnvp": RealNVP(layers=2, hidden=(8, 8), residual=True),
    "glow": Glow(layers=2, hidden=(8,)),
    "nsf_autoregressive": AutoregressiveNSF(layers=1, hidden=(8,), bins=4),
    "bnaf": BNAF(layers=1, hidden_factor=2),
    "cnf": CNF(hidden=(8,)),
    "gaussian": GaussianSpec(),
    "gmm": GaussianMixtureSpec(components=2),
    "kernel_density": KernelDensitySpec(rows=8),
    "pca": PrincipalComponentsSpec(),
    "autoencoder": AutoEncoderSpec(hidden=(8,)),
    "vae": VariationalAutoEncoderSpec(hidden=(8,)),
    "ensemble": EnsembleSpec(member=MAF(layers=1, hidden=(8,)), members=2),
    "committee": CommitteeSpec(),
}
ALL_BITS = "HIGHEST"


def program(function, *arguments, platforms=("cuda", "tpu")):
    """The text of a function lowered for GPUs and TPUs."""
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=platforms).as_text()


def product_lines(text):
    return [line for line in text.splitlines() if "stablehlo.dot_general" in line]


def precision_of(line):
    """The precisions of the factors of a product; "DEFAULT" where the program says none."""
    match = re.search(r"precision = \[(\w+), (\w+)\]", line)
    return match.groups() if match else ("DEFAULT",)


def precisions(text):
    """The precisions of all matrix products in a program."""
    return {precision for line in product_lines(text) for precision in precision_of(line)}


@pytest.mark.parametrize("name", SPECS)
def test_scores_keep_all_bits(name):
    frozen = FrozenModel.of(SPECS[name].build(DIM, rngs=nnx.Rngs(0)))
    # The solver of a continuous flow calls Python, which cannot be lowered for a machine that is not there.
    platforms = ("cpu",) if name == "cnf" else ("cuda", "tpu")
    text = program(partial(_score, frozen), jnp.zeros((4, DIM)), None, platforms=platforms)
    assert precisions(text) <= {ALL_BITS}


@pytest.mark.parametrize("name", ["maf", "maf_jacobi", "iaf", "glow", "bnaf", "gaussian", "committee"])
def test_draws_keep_all_bits(name):
    frozen = FrozenModel.of(SPECS[name].build(DIM, rngs=nnx.Rngs(0)))
    assert precisions(program(partial(_draw, frozen, shape=(4,)), jax.random.key(0), None)) <= {ALL_BITS}


def test_a_linear_gaussian_keeps_all_bits():
    model = LinearGaussian(DIM, 2)
    assert precisions(program(model.score, jnp.zeros((4, DIM)), jnp.zeros((4, 2)))) == {ALL_BITS}


@pytest.mark.parametrize("setting", ["tensorfloat32", "bfloat16"])
def test_what_a_user_of_jax_asks_for_reaches_the_model_but_not_what_is_judged(setting):
    model = SPECS["realnvp"].build(DIM, rngs=nnx.Rngs(0))
    with jax.default_matmul_precision(setting):
        assert ALL_BITS not in precisions(program(model.log_prob, jnp.zeros((4, DIM))))
        judged = program(partial(_score, FrozenModel.of(model)), jnp.zeros((4, DIM)), None)
        assert precisions(judged) == {ALL_BITS}


@pytest.mark.parametrize(
    ("precision", "in_steps"), [(None, set()), ("float32", set()), ("tf32", {"HIGH"}), ("bfloat16", {"DEFAULT"})]
)
def test_steps_have_the_precision_asked_for_and_held_out_losses_all_bits(precision, in_steps):
    spec = FitSpec(precision=precision, batch_size=4)
    plan, state = start(SPECS["realnvp"].build(DIM, rngs=nnx.Rngs(0)), spec, 8, jax.random.key(0))
    rows = Batch(jnp.zeros((8, DIM)), jnp.ones(8))

    def products(valid):
        text = run_epoch.trace(state, rows, valid, plan=plan).lower(lowering_platforms=("cuda",)).as_text()
        return Counter(precision for line in product_lines(text) for precision in precision_of(line))

    without, held_out = products(None), products(rows)
    # Without held-out rows all that keeps all bits is the norm of the gradient.
    assert set(without) == in_steps | {ALL_BITS}
    assert held_out[ALL_BITS] > without[ALL_BITS]
    assert {name: held_out[name] for name in in_steps} == {name: without[name] for name in in_steps}


def test_exported_programs_keep_all_bits():
    rows = np.random.default_rng(0).normal(size=(50, DIM))
    detector = GaussianDetector(PrincipalComponentsSpec(), threshold=Percentile()).fit(rows)
    assert precisions(exported_program(detector).mlir_module()) == {ALL_BITS}
