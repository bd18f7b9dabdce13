"""Synthetic data: clusters, blobs, random patterns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_number, random_generator
from kernelcalc.datasets.scaling import rescale
from kernelcalc.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array


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
    spread = _positive("spread", spread)
    generator = random_generator(rng)
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

    Raises
    ------
    InputError
        A count that is no whole number of at least 1, a deviation that is not positive and finite.

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
    std = _positive("std", std)
    labels = np.arange(n, dtype=np.int64) % 2
    noise = random_generator(rng).standard_normal((n, 2))
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

    Raises
    ------
    InputError
        A count that is no whole number of at least 1.
    UnknownNameError
        Another scale.

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
    generator = random_generator(rng)
    points = rescale(generator.standard_normal((n, n_in)), scale)
    return points, generator.integers(0, classes, n)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"a whole number {name} ≥ 1", repr(value))
    return int(value)


def _positive(name: str, value: Any) -> float:
    number = check_number(name, value, -math.inf, finite=False)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"a finite {name} > 0", repr(value))
    return number
