"""Fits made alike are the fits made alone."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from jaxflow import training
from jaxflow.detection import FlowDetector, GaussianDetector, Percentile
from jaxflow.detection import fit_alike as fit_detectors_alike
from jaxflow.errors import InputError, NonFiniteLoss
from jaxflow.models import MAF, CommitteeSpec, EnsembleSpec, Gaussian
from jaxflow.models.named_arrays import state_arrays
from jaxflow.training import FitSpec, fit, fit_alike
from jaxflow.training.fit import fitting
from jaxflow.training.many import alike, members
from jaxflow.training.many.alike import carry_out_alike
from jaxflow.training.ways.request import FitRequest
from tests.models.small_committee import SMALL_COMMITTEE

SPEC = FitSpec(epochs=4, batch_size=32, learning_rate=1e-2)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def programs(monkeypatch):
    """How many fits each epoch's program was called with."""
    counts: list[int] = []
    advance = alike.advance_members

    def counted(states, *arguments, **options):
        counts.append(len(states.stopped))
        return advance(states, *arguments, **options)

    monkeypatch.setattr(alike, "advance_members", counted)
    return counts


def asked(seed: int, n: int = 70, dim: int = 2, scale: float = 1.0, model: Any = None) -> tuple[Any, Any, Any, Any]:
    """A model, its rows, its held-out rows and the key of its fit."""
    rng = np.random.default_rng(seed)
    if model is None:
        model = MAF(layers=2, hidden=(8,), normalization="act_norm").build(dim, rngs=nnx.Rngs(seed))
    x = scale * rng.normal(1.0, 2.0, size=(n, dim))
    return model, x, rng.normal(1.0, 2.0, size=(30, dim)), jax.random.key(seed)


def all_alike(fits, **options):
    models, train, valid, keys = zip(*fits, strict=True)
    return fit_alike(models, train, valid, SPEC, keys=keys, **options)


def alone(model, train, valid, key, spec: FitSpec | None = SPEC):
    return fit(model, train, valid, spec, key=key)


def assert_close(found, expected):
    for ours, theirs in zip(state_arrays(found.model).values(), state_arrays(expected.model).values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    for name in ("train_loss", "valid_loss"):
        assert found.history.column(name) == pytest.approx(expected.history.column(name), rel=1e-9)


@pytest.mark.parametrize("in_turn", [True, False])
def test_each_fit_is_what_it_is_alone(programs, monkeypatch, in_turn):
    monkeypatch.setattr(alike, "take_turns", lambda: in_turn)
    fits = [asked(0), asked(1, n=90), asked(2), asked(3, dim=3), asked(4)]
    for found, one in zip(all_alike(fits), fits, strict=True):
        assert_close(found, alone(*one))
    assert set(programs) == {3}


def test_every_kind_of_model_is_fitted_as_it_is_alone(programs):
    ensemble = EnsembleSpec(member=MAF(layers=1, hidden=(8,)), members=2).build(2, rngs=nnx.Rngs(0))
    spec = CommitteeSpec(members=SMALL_COMMITTEE.members[2:4])
    committees = [spec.build(2, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    fits = [asked(seed, model=model) for seed, model in enumerate([*committees, ensemble])]
    for found, one in zip(all_alike(fits), fits, strict=True):
        assert_close(found, alone(*one))
    assert set(programs) == {2}  # at the flow of the two committees

    (found,) = fit_alike([Gaussian(2)], [fits[0][1]], keys=[fits[0][3]])
    expected = fit(Gaussian(2), fits[0][1], key=fits[0][3])
    np.testing.assert_array_equal(found.model.mean[...], expected.model.mean[...])


def test_one_that_fails_leaves_the_others(programs):
    fits = [asked(0), asked(1, scale=1e200), asked(2), asked(3, model=Gaussian(3)), asked(4)]
    found = all_alike(fits, return_errors=True)
    assert [type(result).__name__ for result in found] == [
        "FitResult",
        "NonFiniteLoss",
        "FitResult",
        "InputError",
        "FitResult",
    ]
    assert set(programs) == {4}
    with pytest.raises(NonFiniteLoss, match="epoch 1, step 1"):
        all_alike(fits)


def test_an_error_of_a_program_is_that_of_each_fit_in_it(monkeypatch):
    def failing(*arguments, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(alike, "advance_members", failing)
    found = all_alike([asked(0), asked(1), asked(2, n=90)], return_errors=True)
    assert [str(result) for result in found[:2]] == ["out of memory"] * 2
    assert_close(found[2], alone(*asked(2, n=90)))


def test_fits_of_several_models_meet_at_each(programs):
    def both(seed: int):
        first = yield from fitting(request(seed))
        second = yield from fitting(request(seed + 1))
        return first, second

    def request(seed: int) -> FitRequest:
        model, train, valid, key = asked(seed)
        return FitRequest(model, train, valid, SPEC, key)

    def one(seed: int):
        return ((yield from fitting(request(seed))),)

    found: list[Any] = carry_out_alike([both(0), both(2), one(5)])
    assert {*programs} == {2, 3}
    assert [len(result.history.rows) for results in found for result in results] == [4] * 5


def test_what_cannot_be_shared_is_fitted_by_itself(programs, capsys):
    requests = [FitRequest(*asked(seed)[:3], SPEC, jax.random.key(seed), progress=not seed) for seed in (0, 1)]
    assert len(carry_out_alike([fitting(request) for request in requests])) == 2
    assert not programs
    assert "epoch" in capsys.readouterr().err


def test_an_interruption_ends_all(monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(alike, "run_epochs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        all_alike([asked(0), asked(1), asked(2)])


def test_as_many_rows_as_models_are_wanted():
    with pytest.raises(InputError, match="keys holds 1, expected one for each of 2 models"):
        fit_alike([Gaussian(1)] * 2, [[[0.0]], [[1.0]]], keys=[jax.random.key(0)])
    with pytest.raises(InputError, match="tables holds 1, expected one for each of 0 detectors"):
        fit_detectors_alike([], [[[0.0]]])
    detector = GaussianDetector()
    with pytest.raises(InputError, match="detectors holds one twice"):
        fit_detectors_alike([detector, detector], [[[0.0]], [[1.0]]])


def detector(**changes: Any) -> FlowDetector:
    return FlowDetector(
        SMALL_COMMITTEE,
        **{
            "train": FitSpec(epochs=2, batch_size=64),
            "threshold": Percentile(percentile=50),
            "calibration_fraction": 0.0,
            **changes,
        },
    )


def test_committees_of_data_of_one_size_class(programs):
    tables = [np.random.default_rng(seed).normal(size=(n, 3)) for seed, n in enumerate((300, 304, 200))]
    detectors = [detector() for _ in tables]
    assert fit_detectors_alike(detectors, tables) == [None] * 3
    assert set(programs) == {2}
    for one, x in zip(detectors, tables, strict=True):
        np.testing.assert_allclose(one.anomaly_score(x), detector().fit(x).anomaly_score(x), rtol=1e-6)


def test_detectors_have_the_float_type_and_the_errors_of_their_own():
    flow = MAF(layers=1, hidden=(8,))
    x = np.random.default_rng(0).normal(size=(60, 2))

    def made():
        common = {"calibration_folds": 2, "threshold": Percentile(percentile=50)}
        few = FitSpec(epochs=2, batch_size=64)
        return [
            FlowDetector(flow, train=few.model_copy(update={"precision": "float64"}), **common),
            FlowDetector(flow, train=few.model_copy(update={"precision": "float32"}), **common),
            GaussianDetector(),
            GaussianDetector(MAF()),
        ]

    detectors = made()
    errors = fit_detectors_alike(detectors, [x, x, x[:1], x], return_errors=True)
    assert errors[:2] == [None, None]
    assert "n_samples = 1" in str(errors[2])
    assert "model of GaussianDetector" in str(errors[3])
    assert [one.float_type_ for one in detectors[:2]] == ["float64", "float32"]
    for one, expected in zip(detectors[:2], made(), strict=False):
        np.testing.assert_array_equal(one.calibration_scores_, expected.fit(x).calibration_scores_)
    with pytest.raises(InputError, match="model of GaussianDetector"):
        fit_detectors_alike(made()[3:], [x])


def test_side_by_side_of_an_earlier_release_does_one_job_after_the_other():
    with pytest.warns(DeprecationWarning, match="fit_alike"):
        assert training.side_by_side([lambda: 1, lambda: 2]) == [1, 2]


def test_members_take_turns_on_cpus():
    assert members.take_turns() is (jax.default_backend() == "cpu")
