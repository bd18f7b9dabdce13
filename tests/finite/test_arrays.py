"""Arrays and numbers of a caller: what is kept, what is turned into floats, what is refused and how that is said."""

import numpy as np
import pytest

from kernelcalc.errors import InputError, NotFiniteError
from kernelcalc.finite.arrays import finite_array, finite_number, float_type, real_array, whole_number


def said(error, call, *arguments):
    with pytest.raises(error) as caught:
        call(*arguments)
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "float64"])
def test_real_numbers_keep_their_type(dtype):
    given = np.ones((2, 3), dtype=dtype)
    assert real_array(given, "X") is given
    assert finite_array(given, "X", dtype).dtype == dtype
    assert finite_array(given, "X").dtype == np.float64


def test_other_numbers_are_floats():
    found = real_array(np.array([1, 2.5], dtype=object), "X")
    assert (found.dtype, found.tolist()) == (np.dtype(np.float64), [1.0, 2.5])
    assert real_array([[1, 2]], "X").tolist() == [[1, 2]]
    given = np.ones(3)
    assert finite_array(given, "X") is given
    assert finite_array(given, "X", np.float32).dtype == np.float32


def test_what_is_no_real_number():
    for call in (real_array, finite_array):
        assert said(InputError, call, np.ones(2) * 1j, "Y") == "expected Y: real numbers, got dtype complex128"
        assert said(InputError, call, ["a"], "Y") == "expected Y: real numbers, got dtype <U1"
        assert said(InputError, call, np.array([object()]), "Y").startswith("expected Y")


@pytest.mark.parametrize(
    ("given", "dtype", "name"),
    [
        ([1.0, np.nan], np.float64, "float64"),
        ([1.0, -np.inf], np.float64, "float64"),
        ([1.0, 1e39], np.float32, "float32"),
    ],
)
def test_what_is_not_finite(given, dtype, name):
    text = f"expected Y: finite numbers, got NaN or infinity (as {name})"
    assert said(NotFiniteError, finite_array, given, "Y", dtype) == text


def test_number_types():
    assert float_type(np.float32) == float_type("float32") == float_type("f") == np.dtype(np.float32)
    assert float_type(float) == float_type(np.float64) == np.dtype(np.float64)
    for wrong in ("float16", int, "no type", [1], complex):
        assert said(InputError, float_type, wrong) == f"expected dtype float64 or float32, got dtype={wrong!r}"


def test_whole_numbers():
    for given in (8, 8.0, np.int8(8), np.float32(8), np.array(8)):
        found = whole_number(given, "steps")
        assert (found, type(found)) == (8, int)
    assert whole_number(-3.0, "steps") == -3
    for wrong in (2.5, np.float64(2.5), np.nan, np.inf, "8", None, [8]):
        assert said(InputError, whole_number, wrong, "steps") == f"expected steps: a whole number, got {wrong!r}"


def test_finite_numbers():
    for given in (2, 2.0, np.float32(2), np.array(2.0)):
        found = finite_number(given, "tol")
        assert (found, type(found)) == (2.0, float)
    for wrong in ("a", None, [1.0, 2.0], 1j, 10**400):
        assert said(InputError, finite_number, wrong, "tol") == f"expected tol: a real number, got {wrong!r}"
    for wrong in (np.nan, np.inf, -np.inf):
        assert said(NotFiniteError, finite_number, wrong, "tol") == f"expected tol: a finite number, got {wrong}"
