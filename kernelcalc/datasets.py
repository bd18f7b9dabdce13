"""Embedded real data, synthetic clusters, targets, and data files of the user."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import DataFileError, InputError, NotFiniteError, ShapeError, UnknownNameError

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array

POINT_NAMES = ("X", "x", "images", "data")
LABEL_NAMES = ("y", "Y", "labels", "label", "target", "targets")


def mnist14(n: int = 256, *, scale: str = "sphere") -> tuple[Array, NDArray[np.int64]]:
    r"""The first n of 256 handwritten digits, 14 × 14 pixels.

    Parameters
    ----------
    n : int
        Number of digits, 1 to 256.
    scale : {"sphere", "raw"}
        ``"sphere"``: every point has :math:`\|x\|^2 = n_0 = 196`, so that Σ(x, x) of the first layer is the same for
        all; ``"raw"``: pixels in [0, 1].

    Returns
    -------
    X : ndarray, (n, 196)
        Points.
    labels : ndarray of int, (n,)
        Digits 0 to 9.

    Raises
    ------
    InputError
        n out of range.
    UnknownNameError
        Unknown scale.

    Notes
    -----
    MNIST database of handwritten digits, Y. LeCun, C. Cortes, C. J. C. Burges, licence CC BY-SA 3.0; 28 × 28 images
    average-pooled over 2 × 2 blocks.

    Examples
    --------
    >>> X, labels = mnist14(4)
    >>> X.shape, (X**2).sum(axis=1).round(9).tolist()
    ((4, 196), [196.0, 196.0, 196.0, 196.0])
    """
    with files("kernelcalc").joinpath("data/mnist14_256.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        images, labels = stored["images"], stored["labels"]
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or not 1 <= n <= len(images):
        raise InputError(f"n, a whole number from 1 to {len(images)}", f"n={n!r}")
    points = images[:n].reshape(n, -1) / 255.0
    return rescale(points, scale), labels[:n].astype(np.int64)


def gaussian_clusters(
    n: int, clusters: int = 2, n_in: int = 100, *, spread: float = 1.0, rng: Any = 0
) -> tuple[Array, NDArray[np.int64]]:
    r"""Points of Gaussian clusters around Gaussian centres, normalised together to mean 0 and variance 1.

    .. math:: x_i = \frac{m_{c(i)} + s\, ξ_i - μ}{τ}, \qquad m_c, ξ_i \sim N(0, \mathrm{Id}),

    with s the spread and μ, τ the mean and the standard deviation of all coordinates of all points.

    Parameters
    ----------
    n : int
        Number of points; cluster c has those with index ≡ c modulo ``clusters``.
    clusters, n_in : int
        Number of clusters, number of inputs.
    spread : float
        Standard deviation inside a cluster, the centres' coordinates having 1.
    rng : seed or Generator
        Draws centres first, then points.

    Returns
    -------
    X : ndarray, (n, n_in)
    labels : ndarray of int, (n,)
        The cluster, 0 to clusters − 1.

    Raises
    ------
    InputError
        Fewer points than clusters, a spread that is not positive and finite.

    References
    ----------
    Sagun, Evci, Güney, Dauphin, Bottou (2017), Section 3.1 and Appendix A.

    Examples
    --------
    >>> X, labels = gaussian_clusters(6, 3, 50, spread=1e-6)
    >>> labels.tolist(), np.linalg.matrix_rank(X, tol=1e-3).item(), X.std().round(12).item()
    ([0, 1, 2, 0, 1, 2], 3, 1.0)
    """
    n, clusters, n_in = _count("n", n), _count("clusters", clusters), _count("n_in", n_in)
    if n < clusters:
        raise InputError(f"at least one point for each of {clusters} clusters", f"n={n}")
    _positive("spread", spread)
    generator = np.random.default_rng(rng)
    labels = np.arange(n, dtype=np.int64) % clusters
    centres = generator.standard_normal((clusters, n_in))
    points = centres[labels] + spread * generator.standard_normal((n, n_in))
    return (points - points.mean()) / points.std(), labels


def two_blobs(n: int = 100, *, std: float = 0.5, rng: Any = 0) -> tuple[Array, NDArray[np.int64]]:
    """Points of the plane in two Gaussian blobs, centred at (1, 1) and (−1, −1), in turn; not rescaled.

    Parameters
    ----------
    n : int
        Number of points.
    std : float
        Standard deviation of each coordinate; the centres are 2√2/std standard deviations apart.
    rng : seed or Generator

    References
    ----------
    Sagun, Bottou, LeCun (2016), Section 3.

    Examples
    --------
    >>> X, labels = two_blobs(4, std=1e-9)
    >>> X.round(6).tolist(), labels.tolist()
    ([[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]], [0, 1, 0, 1])
    """
    n = _count("n", n)
    _positive("std", std)
    labels = np.arange(n, dtype=np.int64) % 2
    noise = np.random.default_rng(rng).standard_normal((n, 2))
    return (1.0 - 2.0 * labels)[:, None] + std * noise, labels


def random_patterns(
    n: int, n_in: int = 196, classes: int = 10, *, scale: str = "sphere", rng: Any = 0
) -> tuple[Array, NDArray[np.int64]]:
    """Points of independent N(0, 1) coordinates with labels drawn independently of them: data with nothing to learn.

    Parameters
    ----------
    n, n_in, classes : int
        Number of points, inputs, classes.
    scale : {"sphere", "raw"}
        As for :func:`mnist14`.
    rng : seed or Generator

    References
    ----------
    Sagun, Bottou, LeCun (2016), Section 2.2.

    Examples
    --------
    >>> X, labels = random_patterns(50, 20, 3)
    >>> (X**2).sum(axis=1).round(9).max().item(), sorted(set(labels.tolist()))
    (20.0, [0, 1, 2])
    """
    n, n_in, classes = _count("n", n), _count("n_in", n_in), _count("classes", classes)
    generator = np.random.default_rng(rng)
    points = rescale(generator.standard_normal((n, n_in)), scale)
    return points, generator.integers(0, classes, n)


def balanced(
    points: ArrayLike, labels: ArrayLike, per_class: int, classes: ArrayLike | None = None
) -> tuple[Array, NDArray[Any]]:
    """The first ``per_class`` points of every class, in their present order.

    Parameters
    ----------
    points : array_like, (N, n_in)
    labels : array_like, (N,)
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
    x, y = np.asarray(points, dtype=np.float64), _label_vector(labels)
    if x.ndim != 2 or len(x) != len(y):
        raise ShapeError("points (N, n_in) and labels (N,)", f"{x.shape} and {y.shape}")
    per_class = _count("per_class", per_class)
    chosen = []
    for label in np.unique(y) if classes is None else np.unique(np.asarray(classes)):
        rows = np.flatnonzero(y == label)
        if len(rows) < per_class:
            raise InputError(f"at least {per_class} points of every class", f"{len(rows)} labelled {label}")
        chosen.append(rows[:per_class])
    order = np.sort(np.concatenate(chosen))
    return x[order], y[order]


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"a whole number {name} ≥ 1", repr(value))
    return int(value)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"a finite {name} > 0", repr(value))


def rescale(points: ArrayLike, scale: str) -> Array:
    r"""Points on the sphere :math:`\|x\|^2 = n_0` (``"sphere"``), or as they are (``"raw"``).

    Raises
    ------
    InputError
        A zero point has no direction.
    UnknownNameError
        Unknown scale.

    Examples
    --------
    >>> rescale([[3.0, 4.0]], "sphere").tolist()
    [[0.848528137423857, 1.131370849898476]]
    """
    x = np.array(points, dtype=np.float64)
    if scale == "raw":
        return x
    if scale != "sphere":
        raise UnknownNameError("a scale", scale, ("sphere", "raw"))
    # The largest entry first: squares of huge or tiny points leave the range of float64.
    largest = np.abs(x).max(axis=1, keepdims=True)
    if (largest == 0).any():
        raise InputError("points that are not zero", f"zero in row {int(np.argmin(largest))}", "use scale='raw'")
    x /= largest
    return x * (np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True))


def one_hot(labels: ArrayLike) -> Array:
    """Targets 0 or 1, one column for each class, in sorted order of the classes.

    Examples
    --------
    >>> one_hot([3, 5, 3]).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    y = _label_vector(labels)
    return (y[:, None] == np.unique(y)).astype(np.float64)


def parity(labels: ArrayLike) -> Array:
    """Targets +1 for even and -1 for odd labels.

    Raises
    ------
    InputError
        Labels that are not whole numbers.

    Examples
    --------
    >>> parity([3, 4]).tolist()
    [-1.0, 1.0]
    """
    y = _label_vector(labels)
    if y.dtype.kind not in "biuf" or not np.equal(np.mod(y, 1), 0).all():
        raise InputError("whole-number labels", f"{y[0]!r}, ...", "parity is for digits; try one-hot targets")
    return 1.0 - 2.0 * np.mod(y, 2).astype(np.float64)


def load(path: str | os.PathLike[str], *, labels: str | None = None) -> tuple[Array, NDArray[Any]]:
    """Points and labels from an ``.npz`` or ``.csv`` file.

    ``.npz``: points under one of the names X, x, images, data (shape (N, ...), flattened to (N, n_0)), labels under
    ``labels`` or one of y, Y, labels, label, target, targets. ``.csv``: comma-separated numbers, with or without a
    header line; the labels are the column named ``labels`` (or numbered, from 0), by default a column with one of the
    names above, else the last. Nothing in a file is ever executed: pickled arrays are refused.

    Parameters
    ----------
    path : path-like
        File to read.
    labels : str, optional
        Name (or, in a CSV file, number) of the labels.

    Returns
    -------
    X : ndarray, (N, n_0)
    labels : ndarray, (N,) or (N, n_out)

    Raises
    ------
    DataFileError
        A file that cannot be read as points and labels.
    NotFiniteError
        NaN or infinity in the file.
    """
    path = Path(path)
    readers = {".npz": _load_npz, ".csv": _load_csv}
    if path.suffix.lower() not in readers:
        raise DataFileError("a file ending in .npz or .csv", str(path))
    if not path.is_file():
        raise DataFileError("an existing data file", str(path))
    points, y = readers[path.suffix.lower()](path, labels)
    if len(points) == 0 or points.size == 0:
        raise DataFileError("at least one data point", f"none in {path}")
    if len(y) != len(points):
        raise DataFileError("as many labels as points", f"{len(y)} labels and {len(points)} points in {path}")
    for name, array in (("points", points), ("labels", y)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise NotFiniteError(f"finite {name}", f"NaN or infinity in row {row} of {path}")
    return points, y


def _load_npz(path: Path, labels: str | None) -> tuple[Array, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise DataFileError("an .npz file of plain arrays", f"{path}: {error}") from error
    points = _named(arrays, POINT_NAMES, "points", path)
    y = _named(arrays, LABEL_NAMES if labels is None else (labels,), "labels", path)
    if points.dtype.kind not in "biuf" or points.ndim < 2:
        raise DataFileError("points as numbers of the shape (N, ...)", f"{points.dtype} {points.shape} in {path}")
    if y.ndim not in (1, 2):
        raise DataFileError("labels of the shape (N,) or (N, n_out)", f"the shape {y.shape} in {path}")
    return points.reshape(len(points), math.prod(points.shape[1:])).astype(np.float64), y


def _named(arrays: dict[str, NDArray[Any]], names: tuple[str, ...], what: str, path: Path) -> NDArray[Any]:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataFileError(f"an array of {what} named {' or '.join(names)}", f"{', '.join(arrays) or 'none'} in {path}")


def _load_csv(path: Path, labels: str | None) -> tuple[Array, NDArray[Any]]:
    import csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataFileError("a CSV file in UTF-8", f"{path}: {error}") from error
    if not rows:
        raise DataFileError("at least one data point", f"an empty file {path}")
    header = None if all(_is_number(cell) for cell in rows[0]) else [cell.strip() for cell in rows.pop(0)]
    width = len(header) if header else len(rows[0])
    if width < 2:
        raise DataFileError("at least two columns, points and labels", f"{width} in {path}")
    for number, row in enumerate(rows):
        if len(row) != width:
            raise DataFileError(f"{width} columns in every row", f"{len(row)} in data row {number} of {path}")
    column = _label_column(header, width, labels, path)
    y = [row.pop(column).strip() for row in rows]
    try:
        points = np.array(rows, dtype=np.float64).reshape(len(rows), width - 1)
    except ValueError as error:
        raise DataFileError("numbers", f"{error} in {path}") from error
    numeric = all(_is_number(cell) for cell in y)
    return points, np.array(y, dtype=np.float64) if numeric else np.array(y)


def _label_column(header: list[str] | None, width: int, labels: str | None, path: Path) -> int:
    if labels is None:
        return next((header.index(name) for name in LABEL_NAMES if name in header), width - 1) if header else width - 1
    if header and labels in header:
        return header.index(labels)
    if labels.lstrip("-").isdigit() and -width <= int(labels) < width:
        return int(labels) % width
    raise DataFileError(
        f"a column {labels!r} of labels",
        f"{', '.join(header) if header else f'{width} columns without names'} in {path}",
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label_vector(labels: ArrayLike) -> NDArray[Any]:
    y = np.asarray(labels)
    if y.ndim != 1 or y.size == 0:
        raise ShapeError("labels of the shape (N,)", f"the shape {y.shape}")
    return y
