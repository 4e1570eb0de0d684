import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from jaxflow.data.preprocessing.steps import DropConstant, MinMax, Preprocessing, PreprocessingStep, Standardize
from jaxflow.errors import InputError

CHAINS = [
    [],
    [Standardize()],
    [MinMax()],
    [DropConstant()],
    [DropConstant(), Standardize()],
    [Standardize(), DropConstant()],
    [MinMax(), DropConstant(), Standardize(), MinMax()],
]


@st.composite
def tables(draw):
    """Training data with columns of very different units, some of them constant, and at least one that is not."""
    rows, dim = draw(st.integers(2, 8)), draw(st.integers(1, 5))
    # Sixteenths are exact, so that a column is constant or spreads by a thousandth of its values at least.
    x = draw(hnp.arrays(np.int64, (rows, dim), elements=st.integers(-1000, 1000))) / 16.0
    constant = draw(hnp.arrays(np.bool_, dim))
    x[:, constant] = x[0, constant]
    x[:2, 0] = -1.0, 1.0
    return x * 10.0 ** draw(hnp.arrays(np.int64, dim, elements=st.integers(-4, 4)))


@settings(deadline=None)
@given(tables(), st.sampled_from(CHAINS))
def test_inverse_undoes_transform_and_the_other_way_round(x, steps):
    preprocessing = Preprocessing.fit(steps, x)
    z = preprocessing.transform(x)
    assert z.shape == (len(x), preprocessing.dim_out)
    assert (np.abs(preprocessing.inverse_transform(z) - x) <= 1e-12 * np.abs(x).max(axis=0)).all()
    z = np.linspace(-3.0, 3.0, 4 * preprocessing.dim_out).reshape(4, preprocessing.dim_out)
    np.testing.assert_allclose(preprocessing.transform(preprocessing.inverse_transform(z)), z, atol=1e-8)


@settings(deadline=None)
@given(tables(), st.sampled_from(CHAINS))
def test_log_det_is_that_of_the_numeric_jacobian_over_the_kept_columns(x, steps):
    preprocessing = Preprocessing.fit(steps, x)
    # The map is affine, so a difference quotient is exact; a step as wide as the values keeps rounding away.
    step = np.maximum(np.abs(x).max(axis=0), 1e-4)
    difference = preprocessing.transform(np.diag(step)) - preprocessing.transform(np.zeros_like(step))
    jacobian = (difference / step[:, None])[preprocessing.kept].T
    sign, log_det = np.linalg.slogdet(jacobian)
    assert sign == 1
    assert preprocessing.log_det == pytest.approx(log_det, abs=1e-8)


@settings(deadline=None)
@given(tables(), st.sampled_from(CHAINS))
def test_restored_bit_for_bit(x, steps):
    preprocessing = Preprocessing.fit(steps, x)
    restored = Preprocessing.from_arrays(steps, preprocessing.arrays(), x.shape[1])
    z = preprocessing.transform(x)
    assert restored.transform(x).tobytes() == z.tobytes()
    assert restored.inverse_transform(z).tobytes() == preprocessing.inverse_transform(z).tobytes()
    assert restored.log_det == preprocessing.log_det
    assert restored.kept.tolist() == preprocessing.kept.tolist()
    assert (restored.dim_in, restored.dim_out) == (preprocessing.dim_in, preprocessing.dim_out)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(3.0, [1.0, 50.0, 0.01], (40, 3))


@pytest.mark.parametrize(("step", "reference"), [(Standardize(), StandardScaler()), (MinMax(), MinMaxScaler())])
def test_equals_scikit_learn(x, step, reference):
    reference.fit(x)
    new = x[:5] * 1.7
    np.testing.assert_allclose(Preprocessing.fit([step], x).transform(new), reference.transform(new), rtol=1e-12)


def test_density_in_data_units():
    # z = (x - 5) / 3 of x ~ N(5, 3^2) is N(0, 1), whose log-density plus log_det must be that of x.
    x = np.array([[2.0], [8.0]])
    preprocessing = Preprocessing.fit([Standardize()], x)
    new = np.array([[4.0]])
    log_p_z = -0.5 * preprocessing.transform(new)[0, 0] ** 2 - 0.5 * np.log(2 * np.pi)
    log_p_x = -0.5 * ((4.0 - 5.0) / 3.0) ** 2 - np.log(3.0) - 0.5 * np.log(2 * np.pi)
    assert log_p_z + preprocessing.log_det == pytest.approx(log_p_x, abs=1e-14)


@pytest.mark.parametrize("step", [Standardize(), MinMax()])
def test_a_constant_column_has_scale_one(step):
    # The mean of 0.1 taken seven times is not 0.1, and its standard deviation is not 0.
    x = np.stack([np.full(7, 0.1), np.arange(7.0)], axis=1)
    preprocessing = Preprocessing.fit([step], x)
    np.testing.assert_array_equal(preprocessing.transform(x)[:, 0], 0.0)
    assert preprocessing.transform(np.array([[2.1, 0.0]]))[0, 0] == 2.0
    assert preprocessing.log_det == -np.log(preprocessing.arrays()["0.scale"][1])


def test_dropped_columns_come_back_with_their_constant():
    x = np.array([[7.0, 1.0, -2.0, 5.0], [7.0, 2.0, -2.0, 4.0]])
    preprocessing = Preprocessing.fit([DropConstant()], x)
    assert preprocessing.kept.tolist() == [1, 3]
    assert (preprocessing.dim_in, preprocessing.dim_out) == (4, 2)
    np.testing.assert_array_equal(preprocessing.transform(x), x[:, [1, 3]])
    back = preprocessing.inverse_transform(np.array([[9.0, 8.0]]))
    np.testing.assert_array_equal(back, [[7.0, 9.0, -2.0, 8.0]])


def test_kept_indexes_the_columns_of_x_through_a_whole_chain():
    x = np.array([[7.0, 1.0, -2.0, 5.0], [7.0, 2.0, -2.0, 4.0]])
    steps = [DropConstant(), Standardize(), DropConstant()]
    assert Preprocessing.fit(steps, x).kept.tolist() == [1, 3]


def test_tiny_and_huge_spreads_are_standardised():
    x = np.array([[0.0, -1e200], [1e-200, 1e200]])
    np.testing.assert_allclose(Preprocessing.fit([Standardize()], x).transform(x), [[-1, -1], [1, 1]], rtol=1e-12)


def test_leading_axes_are_batch_and_everything_is_float64(x):
    preprocessing = Preprocessing.fit([Standardize()], x.astype(np.float32))
    windows = x[:12].reshape(3, 4, 3)
    z = preprocessing.transform(windows)
    assert z.shape == (3, 4, 3)
    np.testing.assert_array_equal(z.reshape(12, 3), preprocessing.transform(x[:12]))
    assert preprocessing.transform(x.astype(np.float32)).dtype == np.float64
    assert preprocessing.transform(np.ones((2, 3), np.int64)).dtype == np.float64


def test_input_is_left_alone(x):
    before = x.copy()
    for steps in CHAINS:
        preprocessing = Preprocessing.fit(steps, x)
        preprocessing.inverse_transform(preprocessing.transform(x))
    np.testing.assert_array_equal(x, before)


def test_steps_are_told_apart_by_their_kind():
    parsed = TypeAdapter(list[PreprocessingStep]).validate_python(
        [{"kind": "drop_constant"}, {"kind": "min_max"}, {"kind": "standardize"}]
    )
    assert parsed == [DropConstant(), MinMax(), Standardize()]


def test_refuses_another_number_of_columns(x):
    preprocessing = Preprocessing.fit([DropConstant()], np.insert(x, 0, 1.0, axis=1))
    with pytest.raises(InputError, match=r"^preprocessing: the data has 3 columns, expected 4$"):
        preprocessing.transform(x)
    with pytest.raises(InputError, match=r"^preprocessing: the transformed data has 4 columns, expected 3$"):
        preprocessing.inverse_transform(np.ones((2, 4)))


@pytest.mark.parametrize(
    ("steps", "x", "message"),
    [
        ([DropConstant()], np.ones((4, 2)), "all 2 columns are constant"),
        ([Standardize()], np.array([[1.0], [np.nan]]), "row 2, column 1 of the training data is nan"),
        ([Standardize()], np.array([[1.0, -np.inf]]), "row 1, column 2 of the training data is -inf"),
        ([Standardize()], np.ones((0, 2)), r"shape \(0, 2\)"),
        ([MinMax()], np.array([[1.0, -1e308], [2.0, 1e308]]), "min_max: column 2 has shift -1e[+]308 and scale inf"),
        (
            [Standardize()],
            np.array([[-1.7e308], [1.7e308], [1.7e308]]),
            "standardize: column 1 has shift .* and scale nan",
        ),
    ],
)
def test_refuses_to_fit(steps, x, message):
    with pytest.raises(InputError, match=message):
        Preprocessing.fit(steps, x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.kept": None}, r"step 0 \(drop_constant\): there are the arrays \['fill'\], expected \['fill', 'kept'\]"),
        ({"2.scale": np.ones(2)}, r"array 2.scale belongs to none of the 2 steps"),
        ({"1.scale": np.ones(3)}, r"step 1 \(standardize\): scale is float64 of shape \(3,\), expected .*\(2,\)"),
        ({"1.scale": np.ones(2, np.float32)}, r"step 1 \(standardize\): scale is float32"),
        ({"1.scale": np.array([1.0, 0.0])}, r"step 1 \(standardize\): column 2 has .* scale 0.0"),
        ({"1.shift": np.array([np.nan, 0.0])}, r"step 1 \(standardize\): column 1 has shift nan"),
        ({"0.kept": np.array([1, 4])}, r"kept is \[1, 4\], expected ascending column numbers below 3"),
        ({"0.kept": np.array([-1, 1])}, r"kept is \[-1, 1\]"),
        ({"0.kept": np.array([1, 1])}, r"kept is \[1, 1\]"),
        ({"0.kept": np.array([], np.int64)}, r"kept is \[\]"),
    ],
)
def test_refuses_damaged_arrays(change, message):
    steps = [DropConstant(), Standardize()]
    arrays = Preprocessing.fit(steps, np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 7.0]])).arrays()
    arrays = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    with pytest.raises(InputError, match=message):
        Preprocessing.from_arrays(steps, arrays, 3)
