"""What all folders say about arrays: types, the distance of 1 to the next number, and what counts as one."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelcalc.errors import InputError, KernelcalcError, ShapeError

Array = NDArray[np.float64]
# single precision, whole numbers and objects as well
AnyArray = np.ndarray[Any, Any]

# Leading bits of a mantissa's 53 that tell data apart: files and machines differ in the last few.
DIGEST_BITS = 40

EPS = float(np.finfo(np.float64).eps)


def plain(values: Any, what: str) -> AnyArray:
    """The values as a NumPy array, of their own type; a PyTorch tensor that requires a gradient is detached.

    Parameters
    ----------
    values : array_like
        NumPy array, nested lists, DataFrame, tensor.
    what : str
        What the values are, for the messages.

    Raises
    ------
    InputError
        Masked entries, whose hidden numbers would be used; a sparse matrix.
    ShapeError
        Rows of different lengths.

    Examples
    --------
    >>> plain([1, 2], "X")
    array([1, 2])
    >>> plain(np.ma.masked_equal([1, 2], 2), "X")
    Traceback (most recent call last):
        ...
    kernelcalc.errors.InputError: expected X without masked entries, got 1 masked; leave them out or fill them, X.filled(...)
    """
    masked = _masked(values)
    if masked:
        raise InputError(
            f"{what} without masked entries", f"{masked} masked", f"leave them out or fill them, {what}.filled(...)"
        )
    if hasattr(values, "toarray"):
        raise InputError(f"{what} as an array", f"a sparse {type(values).__name__}", f"use {what}.toarray()")
    try:
        return np.asarray(_detached(values))
    except KernelcalcError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{what} as an array", f"{type(values).__name__}: {error}") from error


def _detached(values: Any) -> Any:
    """A tensor without its gradient, in a type that NumPy has; such tensors in a list too."""
    if hasattr(values, "detach"):
        values = values.detach()
        values = values.cpu() if hasattr(values, "cpu") else values
        return values.float() if "bfloat16" in str(getattr(values, "dtype", "")) else values
    if isinstance(values, list | tuple) and any(hasattr(value, "detach") for value in values):
        return [_detached(value) for value in values]
    return values


def _masked(values: Any) -> int:
    """Masked entries, of lists within each other too."""
    if isinstance(values, np.ma.MaskedArray):
        return int(np.ma.count_masked(values))
    return sum(map(_masked, values)) if isinstance(values, list | tuple) else 0


def shifted(values: AnyArray, count: int) -> AnyArray:
    """Row d has values[(i + d) mod n] for i < n: a view (count, n) of the values and a few of them once more.

    Examples
    --------
    >>> shifted(np.array([1.0, 2.0, 3.0]), 2).tolist()
    [[1.0, 2.0, 3.0], [2.0, 3.0, 1.0]]
    """
    longer = np.concatenate([values, values[: count - 1]])
    rows: AnyArray = np.ndarray((count, values.size), longer.dtype, longer, strides=2 * longer.strides)
    rows.flags.writeable = False
    return rows


def digest(*arrays: Any) -> str:
    """A short name of the contents: every number to 12 digits, whatever its size, and the shapes.

    Examples
    --------
    >>> digest([1e-11, 2e-11]) == digest([3e-11, 4e-11])
    False
    >>> digest([0.1 + 0.2]) == digest([0.3])
    True
    """
    found = hashlib.sha256()
    for values in arrays:
        given = plain(values, "data")
        try:
            if given.dtype.kind not in "biufO":
                raise TypeError
            array = given.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("data: real numbers", f"dtype {given.dtype}") from error
        mantissa, exponent = np.frexp(array)
        rounded = np.ldexp(np.rint(np.ldexp(mantissa, DIGEST_BITS)), exponent - DIGEST_BITS)
        found.update(f"{array.shape}".encode())
        # + 0.0 makes 0.0 of -0.0
        found.update((rounded + 0.0).astype("<f8").tobytes())
    return found.hexdigest()[:16]
