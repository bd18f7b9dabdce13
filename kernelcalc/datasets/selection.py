"""Which points are used and which are held out: in proportion to the classes, by a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import finite, floats, random_generator
from kernelcalc.arrays import plain
from kernelcalc.datasets.labels import label_vector, too_many_classes
from kernelcalc.errors import InputError, NotFiniteError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array


def balanced(
    X: ArrayLike, y: ArrayLike, per_class: int, classes: ArrayLike | None = None
) -> tuple[Array, NDArray[Any]]:
    """The first ``per_class`` points of every class, in their present order.

    Parameters
    ----------
    X : array_like, (N, n_in)
    y : array_like, (N,)
        Labels.
    per_class : int
        Points of each class.
    classes : array_like, optional
        Labels to keep; by default all that occur.

    Raises
    ------
    InputError
        A class with fewer points.
    ShapeError
        Not one label a point.

    Examples
    --------
    >>> balanced([[0.0], [1.0], [2.0], [3.0]], [7, 7, 5, 7], 1)
    (array([[0.], [2.]]), array([7, 5]))
    """
    points, labels = finite(X, "X"), label_vector(y)
    if points.ndim != 2 or len(points) != len(labels):
        raise ShapeError("points (N, n_in) and labels (N,)", f"{points.shape} and {labels.shape}")
    per_class = _whole("per_class", per_class, 1)
    chosen = []
    for label in np.unique(labels) if classes is None else np.unique(plain(classes, "classes")):
        rows = np.flatnonzero(labels == label)
        if len(rows) < per_class:
            raise InputError(f"at least {per_class} points of every class", f"{len(rows)} labelled {label}")
        chosen.append(rows[:per_class])
    if not chosen:
        raise InputError("at least one class", "none")
    order = np.sort(np.concatenate(chosen))
    return points[order], labels[order]


def choose(y: ArrayLike, n: int, *, rng: Any = 0) -> NDArray[np.int64]:
    """Rows of n points, each class in proportion to its size.

    Every class has its share of n, rounded, and at least one point where n reaches.

    Parameters
    ----------
    y : array_like, (N,) or (N, n_out)
        Labels or targets. Equal rows are a class; with more than N/2 different ones, or more than 20 with less than
        five points each, they are numbers, not classes, and the rows are drawn from all alike.
    n : int
        How many, 1 to N.
    rng : seed or Generator

    Returns
    -------
    rows : ndarray of int, (n,)
        In increasing order.

    Raises
    ------
    InputError
        n out of range.

    Examples
    --------
    >>> y = [0] * 60 + [1] * 30 + [2] * 10
    >>> np.bincount(np.array(y)[choose(y, 10)]).tolist()
    [6, 3, 1]
    """
    members, counts = _classes(y)
    n = _whole("n", n, 1, len(members))
    least = np.minimum(counts, 1) if n >= counts.size else np.zeros_like(counts)
    return _drawn(members, _shares(counts, n, least, counts), rng)


def split(y: ArrayLike, n_test: int, *, rng: Any = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows for training and rows held out, each class in proportion to its size in both.

    Every class has its share of the held-out points, rounded; no class is held out as a whole where that can be avoided.

    Parameters
    ----------
    y : array_like, (N,) or (N, n_out)
        As for :func:`choose`.
    n_test : int
        How many are held out, 0 to N − 1.
    rng : seed or Generator

    Returns
    -------
    train, test : ndarray of int, (N − n_test,) and (n_test,)
        In increasing order.

    Raises
    ------
    InputError
        n_test out of range.

    Examples
    --------
    >>> train, test = split([0, 0, 0, 0, 1, 1, 1, 1], 2)
    >>> len(train), (test // 4).tolist()
    (6, [0, 1])
    """
    members, counts = _classes(y)
    n_test = _whole("n_test", n_test, 0, len(members) - 1)
    most = counts - 1 if n_test <= len(members) - counts.size else counts
    test = _drawn(members, _shares(counts, n_test, np.zeros_like(counts), most), rng)
    return np.setdiff1d(np.arange(len(members)), test), test


def has_classes(y: ArrayLike) -> bool:
    """Whether :func:`choose` and :func:`split` see classes in these labels or targets.

    Raises
    ------
    ShapeError, NotFiniteError
        Labels that are not (N,) or (N, n_out), or hold NaN or infinity.
    """
    return _classes(y)[1].size > 1


def _classes(y: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The class of every row, and the size of every class."""
    labels = plain(y, "y")
    if labels.ndim not in (1, 2) or labels.size == 0:
        raise ShapeError("labels of the shape (N,) or (N, n_out)", f"the shape {labels.shape}")
    if labels.dtype.kind == "O" and labels.ndim == 2:
        labels = floats(labels, "labels y", "numbers")
    if labels.ndim == 1:
        labels = label_vector(y)
    elif labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise NotFiniteError("finite labels", "NaN or infinity", "leave rows without a label out")
    _, first, members = np.unique(labels, axis=0, return_index=True, return_inverse=True)
    if first.size > len(labels) / 2 or too_many_classes(first.size, len(labels)):
        return np.zeros(len(labels), dtype=np.int64), np.array([len(labels)])
    # In order of first appearance: the rows drawn do not depend on how classes are written.
    members = np.argsort(np.argsort(first))[members.ravel()]
    return members, np.bincount(members)


def _shares(counts: NDArray[np.int64], n: int, least: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.int64]:
    """n points divided in proportion to the counts, between bounds that allow it."""
    exact = n * counts / counts.sum()
    shares = np.clip(np.floor(exact).astype(np.int64), least, most)
    while shares.sum() != n:
        step = 1 if shares.sum() < n else -1
        open_ = shares < most if step > 0 else shares > least
        lack = np.where(open_, step * (exact - shares), -np.inf)
        shares[int(np.argmax(lack))] += step
    return shares


def _drawn(members: NDArray[np.int64], shares: NDArray[np.int64], rng: Any) -> NDArray[np.int64]:
    generator = random_generator(rng)
    rows = [generator.permutation(np.flatnonzero(members == c))[:share] for c, share in enumerate(shares)]
    return np.sort(np.concatenate(rows))


def _whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    wrong = isinstance(value, bool) or not isinstance(value, int | np.integer)
    if wrong or value < low or (high is not None and value > high):
        bounds = f"≥ {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"a whole number {name} {bounds}", repr(value))
    return int(value)
