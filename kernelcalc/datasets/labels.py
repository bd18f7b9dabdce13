"""Labels as a vector, and targets made of them."""

from __future__ import annotations

from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import shown
from kernelcalc.arrays import plain
from kernelcalc.errors import InputError, NotFiniteError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array


# Chosen, not derived: no more classes than these are classes however few the points, more of them with so many points each.
_MOST_CLASSES = 20
_LEAST_MEMBERS = 5


def label_vector(y: ArrayLike) -> NDArray[Any]:
    """Labels as a vector of numbers or of text.

    Parameters
    ----------
    y : array_like, (N,) or (N, 1)

    Raises
    ------
    ShapeError
        Another shape, or no label.
    InputError
        Numbers and text mixed, masked or missing labels, other objects.
    NotFiniteError
        NaN or infinity.

    Examples
    --------
    >>> label_vector([["b"], ["a"]])
    array(['b', 'a'], dtype='<U1')
    >>> label_vector(["a", 1])
    Traceback (most recent call last):
        ...
    kernelcalc.errors.InputError: expected labels that are all numbers or all text, got 'a' in row 0 and 1 in row 1
    """
    labels = plain(y, "y")
    if isinstance(y, list | tuple) and labels.dtype.kind in "US":
        # NumPy makes text of a number beside a text.
        labels = np.array(y, dtype=object)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.size == 0:
        raise ShapeError("labels of the shape (N,)", f"the shape {labels.shape}")
    if labels.dtype.kind in "OT":
        labels = _of_one_kind(labels.astype(object))
    if labels.dtype.kind not in "biufUS":
        raise InputError("labels that are numbers or text", f"dtype {labels.dtype}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.flatnonzero(~np.isfinite(labels))[0])
        raise NotFiniteError("finite labels", f"{labels[row]} in row {row}", "leave rows without a label out")
    return labels


def _of_one_kind(labels: NDArray[np.object_]) -> NDArray[Any]:
    kinds: dict[str, tuple[int, Any]] = {}
    for row, label in enumerate(labels):
        kind = "text" if isinstance(label, str | bytes) else "number" if isinstance(label, Number) else "other"
        if kind == "other":
            raise InputError("labels that are numbers or text", f"{label!r} in row {row}")
        kinds.setdefault(kind, (row, label))
    if len(kinds) > 1:
        both = " and ".join(f"{label!r} in row {row}" for row, label in kinds.values())
        raise InputError("labels that are all numbers or all text", both)
    return np.array(labels.tolist())


def are_classes(y: ArrayLike) -> bool:
    """Whether labels name classes: text, or one whole number a point that is not a measurement.

    More than 20 different numbers, with less than five points each, are one.

    Raises
    ------
    InputError, NotFiniteError
        As :func:`label_vector`.

    Examples
    --------
    >>> are_classes(np.array([0.0, 1.0])), are_classes(np.array([0.5, 1.0])), are_classes(np.array([[0.0, 1.0]]))
    (True, False, False)
    """
    labels = plain(y, "y")
    if labels.dtype.kind not in "biufUSOT" or labels.ndim == 0:
        raise InputError("labels y, an array of numbers or text", shown(y))
    if labels.ndim > 2 or (labels.ndim == 2 and labels.shape[1] != 1):
        return False
    labels = label_vector(labels) if labels.size else labels.ravel()
    if labels.dtype.kind in "US":
        return True
    different = np.unique(labels).size
    whole = labels.dtype.kind != "f" or bool(np.equal(np.mod(labels, 1), 0).all())
    return whole and not too_many_classes(different, len(labels))


def too_many_classes(different: int, n: int) -> bool:
    """Whether so many different labels of n points are measurements.

    Examples
    --------
    >>> too_many_classes(10, 12), too_many_classes(100, 500), too_many_classes(214, 442)
    (False, False, True)
    """
    return different > _MOST_CLASSES and different > n / _LEAST_MEMBERS


def one_hot(y: ArrayLike) -> Array:
    """Targets 0 or 1, one column for each class, in sorted order of the classes.

    Parameters
    ----------
    y : array_like, (N,) or (N, 1)
        Labels, all numbers or all text.

    Raises
    ------
    ShapeError, InputError, NotFiniteError
        As :func:`label_vector`.

    Examples
    --------
    >>> one_hot([3, 5, 3]).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    labels = label_vector(y)
    return (labels[:, None] == np.unique(labels)).astype(np.float64)


def parity(y: ArrayLike) -> Array:
    """Targets +1 for even and -1 for odd labels; labels that are ±1 already stay as they are.

    Parameters
    ----------
    y : array_like, (N,) or (N, 1)
        Whole numbers ≥ 0, or 1 and −1.

    Raises
    ------
    ShapeError, InputError, NotFiniteError
        As :func:`label_vector`; labels that are not whole numbers, or negative ones other than −1 beside 1.

    Examples
    --------
    >>> parity([3, 4]).tolist(), parity([1, -1]).tolist()
    ([-1.0, 1.0], [1.0, -1.0])
    """
    labels = label_vector(y)
    hint = "parity is for digits; try one-hot targets"
    if labels.dtype.kind not in "biuf" or not np.equal(np.mod(labels, 1), 0).all():
        raise InputError("whole-number labels", f"{labels[0].item()!r}, ...", hint)
    values = labels.astype(np.float64)
    if (values < 0).any():
        if not np.isin(values, (-1.0, 1.0)).all():
            raise InputError("labels that are whole numbers ≥ 0, or 1 and -1", f"{values.min():g}", hint)
        return values
    return 1.0 - 2.0 * np.mod(values, 2)
