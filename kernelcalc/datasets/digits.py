"""Real digits that come with the package."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.datasets.scaling import rescale
from kernelcalc.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array


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
    average-pooled over 2 × 2 blocks. They are in random order.

    Examples
    --------
    >>> X, labels = mnist14(4)
    >>> X.shape, (X**2).sum(axis=1).round(9).tolist()
    ((4, 196), [196.0, 196.0, 196.0, 196.0])
    """
    return _stored("mnist14_256.npz", n, scale)


def mnist28(n: int = 2000, *, scale: str = "sphere") -> tuple[Array, NDArray[np.int64]]:
    r"""The first n of 2000 handwritten digits, 28 × 28 pixels: the size that experiments in the literature have.

    Parameters
    ----------
    n : int
        Number of digits, 1 to 2000.
    scale : {"sphere", "raw"}
        As for :func:`mnist14`, with :math:`n_0 = 784`.

    Returns
    -------
    X : ndarray, (n, 784)
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
    MNIST database of handwritten digits, Y. LeCun, C. Cortes, C. J. C. Burges, licence CC BY-SA 3.0; images of its test
    set as they are, in random order.

    Examples
    --------
    >>> X, labels = mnist28(3)
    >>> X.shape, (X**2).sum(axis=1).round(9).tolist(), labels.tolist()
    ((3, 784), [784.0, 784.0, 784.0], [4, 3, 9])
    """
    return _stored("mnist28_2000.npz", n, scale)


def _stored(name: str, n: int, scale: str) -> tuple[Array, NDArray[np.int64]]:
    with files("kernelcalc").joinpath(f"data/{name}").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        images, labels = stored["images"], stored["labels"]
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or not 1 <= n <= len(images):
        raise InputError(f"n, a whole number from 1 to {len(images)}", f"n={n!r}")
    points = images[:n].reshape(n, -1) / 255.0
    return rescale(points, scale), labels[:n].astype(np.int64)
