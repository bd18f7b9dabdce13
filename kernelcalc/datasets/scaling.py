"""Points brought to one norm, or left as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.arguments import check_name, finite
from kernelcalc.errors import InputError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


def rescale(X: ArrayLike, scale: str) -> Array:
    r"""Points on the sphere :math:`\|x\|^2 = n_0` (``"sphere"``), or as they are (``"raw"``).

    Raises
    ------
    InputError, NotFiniteError
        X that is no finite numbers; a zero point has no direction.
    ShapeError
        X that is no matrix.
    UnknownNameError
        Unknown scale.

    Examples
    --------
    >>> rescale([[3.0, 4.0]], "sphere").tolist()
    [[0.848528137423857, 1.131370849898476]]
    """
    x = finite(X, "X")
    check_name("a scale", scale, ("sphere", "raw"))
    if x.ndim != 2 or x.shape[1] == 0:
        raise ShapeError("X of the shape (N, n_in)", f"the shape {x.shape}")
    if scale == "raw":
        return x
    # The largest entry first: squares of huge or tiny points leave the range of float64.
    largest = np.abs(x).max(axis=1, keepdims=True)
    if (largest == 0).any():
        raise InputError("points that are not zero", f"zero in row {int(np.argmin(largest))}", "use scale='raw'")
    x = x / largest
    return x * (np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True))
