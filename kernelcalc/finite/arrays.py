"""Arrays and numbers of a caller, checked before anything is computed from them."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from kernelcalc.arguments import floats
from kernelcalc.arrays import AnyArray, plain
from kernelcalc.errors import InputError, NotFiniteError

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def real_array(values: Any, what: str) -> AnyArray:
    """The values as real numbers (NumPy's booleans, integers or floats), of their own type and not copied.

    Numbers that NumPy holds as objects, as of a DataFrame with nullable columns, become float64.

    Raises
    ------
    InputError
        Complex numbers, text, other objects, rows of different lengths, masked entries.
    """
    array = plain(values, what)
    if array.dtype.kind == "O":
        array = floats(array, what, "numbers")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: real numbers", f"dtype {array.dtype}")
    return array


def finite_array(values: Any, what: str, dtype: Any = np.float64) -> AnyArray:
    """The values as finite numbers of that type; copied only where the type differs.

    Raises
    ------
    InputError
        As :func:`real_array`.
    NotFiniteError
        NaN, infinity, or numbers too large for the type.
    """
    with np.errstate(over="ignore"):
        array = real_array(values, what).astype(dtype, copy=False)
    if not np.isfinite(array).all():
        raise NotFiniteError(f"{what}: finite numbers", f"NaN or infinity (as {np.dtype(dtype).name})")
    return array


def float_type(dtype: Any) -> np.dtype[Any]:
    """The number type of a network.

    Raises
    ------
    InputError
        Other than float64 and float32.
    """
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in FLOATS:
        raise InputError("dtype float64 or float32", f"dtype={dtype!r}")
    return found


def whole_number(value: Any, what: str) -> int:
    """The value as int; 8 and 8.0 are whole numbers.

    Raises
    ------
    InputError
        Anything else, such as 2.5.
    """
    try:
        number = int(value) if isinstance(value, float | np.floating) and float(value).is_integer() else None
        return operator.index(value) if number is None else number
    except TypeError as error:
        raise InputError(f"{what}: a whole number", repr(value)) from error


def finite_number(value: Any, what: str) -> float:
    """The value as finite float.

    Raises
    ------
    InputError
        Not a real number.
    NotFiniteError
        NaN or infinity.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what}: a real number", repr(value)) from error
    if not math.isfinite(number):
        raise NotFiniteError(f"{what}: a finite number", str(number))
    return number
