import ml_dtypes
import numpy as np
import pytest

from gpt2_jax.weights.arrays import fault_of

TYPES = pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]
)
SIZE = (1 << 18) + 7  # more than one chunk


def values(dtype, last):
    array = np.ones(SIZE, dtype)
    array[-1] = last
    return array


@pytest.mark.fault(28)
@TYPES
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, -1])
def test_one_value_that_is_not_finite_is_found(dtype, odd, where):
    array = np.ones(SIZE, dtype)
    array[where] = odd
    fault = "holds values that are not finite"
    assert fault_of(array, may_be_zero=True) == fault
    assert fault_of(array.reshape(-1, 1).T, may_be_zero=False) == fault


@TYPES
def test_nothing_but_zeros_is_a_fault_where_it_may_not_be(dtype):
    array = np.zeros(SIZE, dtype)
    array[5] = -0.0
    assert fault_of(array, may_be_zero=False) == "is all zero"
    assert fault_of(array, may_be_zero=True) is None
    array[-1] = -0.5
    assert fault_of(array, may_be_zero=False) is None


@pytest.mark.parametrize("value", [3e38, -3e38, 1e20, 1e-30, -1e-45])
def test_squares_out_of_range_are_no_fault(value):
    # Their sum is infinite or zero, the values are not.
    assert fault_of(np.full(9, value, np.float32), may_be_zero=False) is None


def test_what_float32_cannot_hold_is_a_fault():
    assert fault_of(values(np.float64, 1e39), may_be_zero=True) is not None


def test_no_warning_and_no_change():
    array = values(np.float32, 3e38)
    before = array.copy()
    assert fault_of(array[::-1], may_be_zero=False) is None
    np.testing.assert_array_equal(array, before)
