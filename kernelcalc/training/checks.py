"""What every function of training asks of kernels, labels, times and counts, with one message each."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import plain
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
    if "xi" in kernels.available:
        return kernels
    if "theta" not in kernels.available:
        raise SmoothnessError("a continuous nonlinearity", "one that jumps", "use erf or probit for a smooth step")
    zero = np.zeros(kernels.shape)
    return SimpleNamespace(
        **{name: getattr(kernels, name) if name in kernels.available else zero for name in KERNEL_NAMES}
    )


def columns(values: ArrayLike, n: int | None = None, n_out: int | None = None, what: str = "Y") -> Array:
    """Labels or targets (N,) or (N, n_out) as finite columns (N, n_out).

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        Not numbers; another shape; NaN or infinity.
    """
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


def check_count(name: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number of at least ``least``.

    Raises
    ------
    InputError
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}, a whole number of at least {least}", f"{value!r}")


def check_number(name: str, value: Any, least: float = 0.0, *, finite: bool = True) -> float:
    """The number, refused below ``least``, when NaN, and when infinite unless ``finite`` is False.

    Raises
    ------
    InputError
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}, a number of at least {least:g}", f"{value!r}") from error
    if not number >= least or (finite and math.isinf(number)):
        raise InputError(f"{name}, a{' finite' if finite else ''} number of at least {least:g}", f"{value!r}")
    return number


def generator(rng: Any) -> np.random.Generator:
    """A random generator from a seed or a generator.

    Raises
    ------
    InputError
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise InputError("rng, a seed (a whole number ≥ 0) or a numpy.random.Generator", f"{rng!r}") from error


def floats(values: ArrayLike, what: str, expected: str) -> Array:
    """The values as float64.

    Raises
    ------
    InputError
        They are not numbers, complex ones, or some are masked.
    """
    given = plain(values, what)
    if given.dtype.kind in "cmMV":
        raise InputError(f"{what}: real numbers", f"dtype {given.dtype}", "pass numbers")
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}, {expected}", type(values).__name__) from error


def finite(values: ArrayLike, what: str) -> Array:
    """The values as float64.

    Raises
    ------
    InputError
        As :func:`floats`.
    NotFiniteError
        NaN or infinity.
    """
    given = floats(values, what, "numbers")
    if not np.isfinite(given).all():
        raise NotFiniteError(f"{what}, finite numbers", "NaN or infinity")
    return given
