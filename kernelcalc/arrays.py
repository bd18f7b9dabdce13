"""What all folders say about arrays: types, the distance of 1 to the next number, and what counts as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelcalc.errors import InputError, KernelcalcError, ShapeError

Array = NDArray[np.float64]
# single precision, whole numbers and objects as well
AnyArray = np.ndarray[Any, Any]

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
    if isinstance(values, np.ma.MaskedArray):
        masked = int(np.ma.count_masked(values))
    elif isinstance(values, list | tuple):
        masked = sum(int(np.ma.count_masked(part)) for part in values if isinstance(part, np.ma.MaskedArray))
    else:
        masked = 0
    if masked:
        raise InputError(
            f"{what} without masked entries", f"{masked} masked", f"leave them out or fill them, {what}.filled(...)"
        )
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    elif hasattr(values, "toarray"):
        raise InputError(f"{what} as an array", f"a sparse {type(values).__name__}", f"use {what}.toarray()")
    try:
        return np.asarray(values)
    except KernelcalcError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{what} as an array", f"{type(values).__name__}: {error}") from error
