"""What every function asks of plain arguments: numbers, counts, names, paths; with one message each."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import plain
from kernelcalc.errors import InputError, NotFiniteError, UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Characters of a value in a message.
_LONGEST_SHOWN = 40


def check_count(name: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number of at least ``least``.

    Raises
    ------
    InputError
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}, a whole number of at least {least}", shown(value))


def check_number(name: str, value: Any, least: float = 0.0, *, finite: bool = True) -> float:
    """The number, refused below ``least``, when NaN, and when infinite unless ``finite`` is False; a text is none.

    Raises
    ------
    InputError
    """
    bound = "" if least == -math.inf else f" of at least {least:g}"
    expected = f"{name}, a{' finite' if finite else ''} number{bound}"
    # float reads texts, and arrays of one number
    if isinstance(value, str | bytes) or getattr(value, "ndim", 0) > 0:
        raise InputError(expected, shown(value))
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(expected, shown(value)) from error
    if not number >= least or (finite and math.isinf(number)):
        raise InputError(expected, shown(value))
    return number


def flag(name: str, value: Any) -> bool:
    """The value as True or False; None is False.

    Raises
    ------
    InputError
        What Python would take for one of them all the same, such as "no".

    Examples
    --------
    >>> flag("progress", np.True_), flag("progress", 0)
    (True, False)
    >>> flag("progress", "no")
    Traceback (most recent call last):
        ...
    kernelcalc.errors.InputError: expected progress, True or False, got 'no'
    """
    if value is None or isinstance(value, bool | np.bool_) or (isinstance(value, Integral) and value in (0, 1)):
        return bool(value)
    raise InputError(f"{name}, True or False", shown(value))


def random_generator(rng: Any) -> np.random.Generator:
    """A random generator from a seed or a generator.

    Raises
    ------
    InputError
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise InputError("rng, a seed (a whole number ≥ 0) or a numpy.random.Generator", shown(rng)) from error


def check_can(name: str, value: Any, method: str, expected: str) -> None:
    """Refuse what has no such method; None stands for no object and passes.

    Raises
    ------
    InputError
    """
    if value is not None and not callable(getattr(value, method, None)):
        raise InputError(f"{name}, {expected}", shown(value))


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
    # None would become NaN
    if given.dtype.kind == "O" and any(value is None for value in given.ravel()):
        raise InputError(f"{what}, {expected}", "None")
    try:
        return np.asarray(given, dtype=np.float64)
    except OverflowError as error:
        raise InputError(f"{what}, numbers below 1.8e308", "a larger one") from error
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


def counts(name: str, values: Any, least: int) -> tuple[int, ...]:
    """Whole numbers of at least ``least``, such as widths.

    Raises
    ------
    InputError
        No sequence, or something else in it.

    Examples
    --------
    >>> counts("widths", np.array([30, 25]), 1)
    (30, 25)
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise InputError(f"{name}, a sequence of whole numbers of at least {least}", shown(values))
    found = tuple(values)
    for value in found:
        check_count(name, value, least)
    return tuple(int(value) for value in found)


def check_name(kind: str, name: Any, known: Collection[str]) -> None:
    """Refuse what is none of the names.

    Raises
    ------
    UnknownNameError
        Also for what cannot be a name, such as a list.
    """
    if not isinstance(name, str) or name not in known:
        raise UnknownNameError(kind, name, known)


def path_of(path: Any, what: str = "path") -> Path:
    """The path.

    Raises
    ------
    InputError
        Neither a text nor a path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{what}, the name of a file or folder", shown(path))
    return Path(path)


def shown(value: Any) -> str:
    """A value in a message: short ones as they are typed, others by what they are.

    Examples
    --------
    >>> shown(3.5), shown(None), shown(np.zeros(1000)), shown({})
    ('3.5', 'None', 'ndarray of shape (1000,)', '{}')
    """
    if isinstance(value, np.ndarray):
        return f"ndarray of shape {value.shape}"
    try:
        text = repr(value)
    except ValueError:
        # a whole number of more digits than Python writes
        return type(value).__name__
    return text if len(text) <= _LONGEST_SHOWN and " at 0x" not in text else type(value).__name__
