"""Named errors and warnings.

Every error says what was expected, what came, and what to try. Errors about an argument are also :class:`ValueError`;
errors about a computation or the outside world are also :class:`RuntimeError`.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import ParamSpec, TypeVar, cast

# When each thread was last warned that it will take long.
SLOW_SAID: dict[int, float] = {}

P = ParamSpec("P")
R = TypeVar("R")


class KernelcalcError(Exception):
    """Base class of every error raised on purpose by kernelcalc."""

    def __reduce__(self) -> tuple[object, ...]:
        # The message is made from arguments that are not kept; errors of worker processes come back by it.
        return rebuilt, (type(self), str(self))


def rebuilt(kind: type[KernelcalcError], message: str) -> KernelcalcError:
    """An error of that class with that message, whatever its class makes messages of."""
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


class InputError(KernelcalcError, ValueError):
    """An argument is not what the function takes.

    Parameters
    ----------
    expected, got, hint : str
        Joined to one message: *expected* ..., *got* ..., *hint*.

    Examples
    --------
    >>> print(InputError("a depth of at least 1", "depth=0", "use depth=2 for one hidden layer"))
    expected a depth of at least 1, got depth=0; use depth=2 for one hidden layer
    """

    def __init__(self, expected: str, got: str = "", hint: str = "") -> None:
        message = f"expected {expected}"
        if got:
            message += f", got {got}"
        if hint:
            message += f"; {hint}"
        super().__init__(message)


class ShapeError(InputError):
    """Arrays whose shapes do not fit together."""


class NotFiniteError(InputError):
    """NaN or infinity where finite numbers are needed."""


class CovarianceError(InputError):
    """(q, q', c) is not a covariance: q < 0, q' < 0 or c² > q q'."""


class ExpressionError(InputError):
    """A text or SymPy expression that is not a function of one real symbol."""


class UnknownNameError(InputError):
    """A name that is not known; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(name).lower(), names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(names)}"
        super().__init__(f"the name of {kind}", repr(name), hint)


class SmoothnessError(InputError):
    """The nonlinearity lacks the derivatives the theory needs (σ ∈ C⁴ with bounded derivatives)."""


class DivergentExpectationError(InputError):
    """E[f(a)g(b)] is infinite or undefined for this covariance."""


class NotCertifiableError(InputError):
    """A function for which no rigorous enclosure is known: kinks, or an expression without provable bounds."""


class DataFileError(InputError):
    """A data file that cannot be read as points and labels."""


class PrecisionError(KernelcalcError, RuntimeError):
    """No method reached the asked accuracy."""


class IntegrationError(KernelcalcError, RuntimeError):
    """An integrator for the training dynamics failed."""


class WorkerError(KernelcalcError, RuntimeError):
    """A worker process ended before its work was done."""


class OutputFileError(KernelcalcError, RuntimeError):
    """An output file or folder cannot be written."""


class MissingExtraError(KernelcalcError, RuntimeError):
    """A feature needs an optional package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package}; install it with: pip install 'kernelcalc[{extra}]'")


class PrecisionWarning(UserWarning):
    """A value is returned whose error estimate exceeds the asked tolerance."""


class ResolutionWarning(PrecisionWarning):
    """Values of a function that cannot be seen through: features finer than where it was looked at would be missed."""


class SlowMethodWarning(UserWarning):
    """Many values need a slow method; the message says why and what would be faster."""


class AssumptionWarning(UserWarning):
    """An assumption of the theorems is not known to hold."""


def warn(message: str, kind: type[Warning]) -> None:
    """Warn at the line of the caller outside of this package, however deep inside the reason was found."""
    if kind is SlowMethodWarning:
        SLOW_SAID[threading.get_ident()] = time.monotonic()
    frame, level = inspect.currentframe(), 1
    # NumPy stands between where its errstate decorates a function
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("kernelcalc", "numpy"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, kind, stacklevel=level)


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Old names of a function's arguments, with the new ones; calls with an old name are refused and told the new one.

    Examples
    --------
    >>> @renamed(points="X")
    ... def norm(X):
    ...     return abs(X)
    >>> norm(points=3)
    Traceback (most recent call last):
        ...
    kernelcalc.errors.InputError: expected norm(X=...), got points=; the argument points is called X now
    """

    def refuse(function: str, old: str) -> None:
        new = names[old]
        raise InputError(f"{function}({new}=...)", f"{old}=", f"the argument {old} is called {new} now")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        def call(*args: P.args, **options: P.kwargs) -> R:
            for old in options.keys() & names.keys():
                refuse(function.__name__, old)
            return function(*args, **options)

        return at_home(call, function)

    return decorate


def at_home(call: Callable[P, R], function: Callable[P, R]) -> Callable[P, R]:
    """What wraps a function, in the function's own module, where doctest looks for what belongs to a module."""
    home = getattr(inspect.unwrap(function), "__globals__", globals())
    here = FunctionType(cast("FunctionType", call).__code__, home, closure=cast("FunctionType", call).__closure__)
    return cast("Callable[P, R]", functools.wraps(function)(here))
