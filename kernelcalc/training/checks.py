"""What every function of training asks of kernels, labels, times and counts, with one message each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, floats, shown
from kernelcalc.errors import InputError, NotFiniteError, ShapeError, SmoothnessError
from kernelcalc.kernels.state import KERNEL_NAMES

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array

# Relative accuracy the kernels promise; departures beyond it are not rounding.
KERNEL_ACCURACY = 1e-10
# Its square times a kernel is still a float64.
_LARGEST_LABEL = 1e150
_NOT_SYMMETRIC = ("phi", "lam")


def gram(kernels: Any, name: str, n: int | None = None) -> Array:
    """The (N, N) array ``kernels.name``, checked by :func:`square`.

    Raises
    ------
    InputError
        No such array.
    """
    value = getattr(kernels, name, None)
    if value is None:
        raise InputError(f"kernels with the array {name}", f"{type(kernels).__name__} without it", "use net.kernels(X)")
    return square(value, name, n)


def square(values: ArrayLike, name: str, n: int | None = None) -> Array:
    """The kernel ``name`` as an array (N, N) of finite numbers, exactly symmetric unless it is Φ or Λ.

    Raises
    ------
    ShapeError, NotFiniteError
        Another shape, NaN or infinity.
    InputError
        Entries that differ from their mirror image by more than the accuracy of kernels.
    """
    matrix = floats(values, f"a kernel {name}", "an array of numbers")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ShapeError(f"a square kernel {name}", f"the shape {matrix.shape}", "use net.kernels(X) without X2")
    if n is not None and len(matrix) != n:
        raise ShapeError(
            f"a kernel {name} of the shape ({n}, {n})",
            f"the shape {matrix.shape}",
            "one row a label, as in all kernels",
        )
    if not np.isfinite(matrix).all():
        raise NotFiniteError(f"a finite kernel {name}", "NaN or infinity")
    if name in _NOT_SYMMETRIC or (matrix == matrix.T).all():
        return matrix
    asymmetry, scale = np.abs(matrix - matrix.T).max(), np.abs(matrix).max()
    if asymmetry > KERNEL_ACCURACY * scale:
        raise InputError(
            f"a symmetric kernel {name}", f"entries that differ by {asymmetry:.3g} from their mirror image"
        )
    return (matrix + matrix.T) / 2


def with_defined_kernels(kernels: Any) -> Any:
    """The kernels; of a nonlinearity that is not smooth with Φ, Λ, Υ, Ξ set to zero, so that S drops out.

    Raises
    ------
    SmoothnessError
        Not even Θ exists.
    """
    known = defined(kernels)
    if "xi" in known:
        return kernels
    if "theta" not in known:
        raise SmoothnessError("a continuous nonlinearity", "one that jumps", "use erf or probit for a smooth step")
    zero = np.zeros(np.shape(kernels.theta))
    return SimpleNamespace(**{name: getattr(kernels, name) if name in known else zero for name in KERNEL_NAMES})


def defined(kernels: Any) -> tuple[str, ...]:
    """The names of the kernels there are.

    Raises
    ------
    InputError
        None at all: something else than kernels.
    """
    names = getattr(kernels, "available", None)
    if names is None:
        names = tuple(name for name in KERNEL_NAMES if getattr(kernels, name, None) is not None)
    if not names:
        raise InputError("kernels, such as net.kernels(X)", shown(kernels))
    return tuple(names)


def columns(values: ArrayLike, n: int | None = None, n_out: int | None = None, what: str = "Y") -> Array:
    """Labels or targets (N,) or (N, n_out) as finite columns (N, n_out).

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        Not numbers; another shape; NaN or infinity.
    """
    if n_out is not None:
        check_count("n_out", n_out, 1)
    given = floats(values, what, "numbers (of class names kernelcalc.datasets.one_hot makes them)")
    wrong = given.ndim not in (1, 2) or given.size == 0 or (n is not None and len(given) != n)
    if wrong or (n_out is not None and given[0].size != n_out):
        rows, outputs = n if n is not None else "N", n_out if n_out is not None else "n_out"
        flat = f"({rows},) or " if n_out in (None, 1) else ""
        raise ShapeError(f"{what} of the shape {flat}({rows}, {outputs})", f"the shape {given.shape}")
    if not np.isfinite(given).all():
        raise NotFiniteError(f"finite {what}", "NaN or infinity")
    if np.abs(given).max() > _LARGEST_LABEL:
        raise NotFiniteError(
            f"{what} whose squares are finite numbers", f"{np.abs(given).max():.3g}", "scale them down"
        )
    return given.reshape(len(given), -1)


def times_of(times: ArrayLike, *, endless: bool) -> Array:
    """Times ≥ 0 as an array (T,); infinity is the end of training where it is known (``endless``).

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        Not numbers or negative; another shape; NaN, or infinity where it is not known.
    """
    t = np.atleast_1d(floats(times, "times", "a sequence of numbers"))
    if t.ndim != 1 or t.size == 0:
        raise ShapeError("times of the shape (T,), T ≥ 1", f"the shape {t.shape}")
    if np.isnan(t).any():
        raise NotFiniteError("times ≥ 0", "NaN")
    if (t < 0).any():
        raise InputError("times ≥ 0", f"{t.min():g}", "training starts at t = 0")
    if not endless and np.isinf(t).any():
        raise NotFiniteError("finite times", "infinity", "the end of training exists in closed form for the MSE only")
    return t


def sorted_times(times: ArrayLike) -> tuple[Array, NDArray[np.intp]]:
    """Finite times, increasing and each once, and where in them each of the given ones is."""
    unique, where = np.unique(times_of(times, endless=False), return_inverse=True)
    return unique, where


def levels_of(levels: ArrayLike, *, ends: bool = True) -> Array:
    """Levels of quantiles, between 0 and 1, with these or without (``ends``).

    Raises
    ------
    InputError
        Not numbers, or outside.
    """
    given = floats(levels, "levels", "numbers between 0 and 1")
    inside = (given >= 0) & (given <= 1) if ends else (given > 0) & (given < 1)
    if not inside.all():
        raise InputError("levels between 0 and 1", f"{levels!r}")
    return given
