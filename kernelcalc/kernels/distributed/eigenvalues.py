"""Top eigenvalues of a Gram matrix that is never in memory as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kernelcalc.arguments import check_count, check_number, random_generator
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, NotFiniteError, PrecisionError, ShapeError
from kernelcalc.kernels.distributed.engine import require
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

EIGEN_METHODS = ("randomized", "lanczos")
# Columns beside the wanted ones. Halko, Martinsson, Tropp (2011) take 5 to 10; kernels of digits took 5 to 8 passes with 10,
# 5 to 7 with 20, 5 to 6 with 30, and a column costs less than a pass.
OVERSAMPLING = 20
# Blocks of columns kept, with their products: the space is compressed to half of them when it is full.
BLOCKS_KEPT = 4


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EigenPairs(Result):
    r"""Approximate eigenpairs :math:`(θ_i, v_i)` of a symmetric matrix, the largest first.

    Attributes
    ----------
    values : ndarray, (k,)
    vectors : ndarray, (N, k)
        Orthonormal columns.
    residuals : ndarray, (k,)
        :math:`\|A v_i - θ_i v_i\|_2`: within this distance of θ_i there is an eigenvalue of A (Weinstein's bound; rounding
        adds about :math:`ε\|A\|_2`).
    passes : int
        How often the matrix was read.
    """

    DIMENSIONS = axes(values="rank", residuals="rank", vectors="point rank")
    TABLE: ClassVar[str] = "rank"

    values: Array
    vectors: Array
    residuals: Array
    passes: int

    def others(self, squared_norm: float) -> float:
        r"""Bound on all eigenvalues that are not listed, from :math:`\|A\|_F^2` (the second trace moment).

        With V the vectors, those of A differ from those of its compression to V and the complement of V by at most the
        norm R of the residuals, and :math:`\|A\|_F^2 \ge Σ θ_i^2 + \|(Id - VV^T) A (Id - VV^T)\|_F^2`.

        Raises
        ------
        InputError
            No number of at least 0.

        Examples
        --------
        >>> found = top_eigenvalues(np.diag([3.0, 2.0, 1.0]), 1)
        >>> round(found.others(14.0), 6)
        2.236068
        """
        rest = max(check_number("squared_norm", squared_norm) - float(np.sum(self.values**2)), 0.0)
        return float(np.sqrt(rest) + np.linalg.norm(self.residuals))


class BlockProducts:
    """Products of a square matrix in blocks with columns in memory, counted; they are finite or refused."""

    def __init__(self, matrix: Any) -> None:
        self.matrix: Any = square(matrix)
        self.size: int = self.matrix.shape[0]
        self.passes: int = 0

    def __call__(self, columns: Array) -> Array:
        return self.beside(columns)[0]

    def beside(self, columns: Array, *others: Any) -> tuple[Any, ...]:
        """The product, and from the same pass other dask collections.

        Raises
        ------
        NotFiniteError
            For NaN or infinity in the matrix, which no finite column hides.
        """
        dask, da = (require(module, "products with dask arrays") for module in ("dask", "dask.array"))
        self.passes += 1
        right = da.from_array(np.asarray(columns, dtype=np.float64), chunks=(self.matrix.chunks[1], -1))
        # inf − inf and inf · 0, which dask would warn of, become the error below
        with np.errstate(invalid="ignore", over="ignore"):
            product, *rest = dask.compute(self.matrix @ right, *others)
        if not np.isfinite(product).all():
            row = int(np.flatnonzero(~np.isfinite(product).all(axis=1))[0])
            raise NotFiniteError("finite numbers in the matrix", f"NaN or infinity in row {row}")
        return np.asarray(product), *rest


def square(matrix: Any) -> Any:
    """A square matrix as a dask array whose rows and columns are cut alike.

    Raises
    ------
    ShapeError
        It is not square.
    """
    da = require("dask.array", "matrices in blocks")
    array = da.asarray(matrix)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise ShapeError("a square matrix", f"shape {array.shape}", "use kernels of one data set")
    rows, columns = array.chunks
    return array if rows == columns else array.rechunk((rows, rows))


def kernel_operator(matrix: Any) -> Any:
    """The products of a square matrix in blocks as a SciPy ``LinearOperator``.

    Parameters
    ----------
    matrix : dask array, (N, N)
        Symmetric, for example ``K.theta``. A product reads every block once; kernels that are not stored are computed again
        for every product.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        With ``matvec`` and ``matmat``; several columns at once cost one pass.

    Raises
    ------
    ShapeError
        It is not square.

    Examples
    --------
    >>> operator = kernel_operator(np.diag([1.0, 2.0]))
    >>> operator @ np.ones(2)
    array([1., 2.])
    """
    return _operator(BlockProducts(matrix))


def _operator(products: BlockProducts) -> Any:
    from scipy.sparse.linalg import LinearOperator

    def column(v: Array) -> Array:
        return products(np.reshape(v, (-1, 1)))[:, 0]

    shape = (products.size, products.size)
    return LinearOperator(
        shape, matvec=column, rmatvec=column, matmat=products, rmatmat=products, dtype=np.dtype(np.float64)
    )


@watched("a smaller count and a larger tol are faster")
def top_eigenvalues(
    matrix: Any, count: int = 10, *, method: str = "randomized", tol: float = 1e-8, max_passes: int = 200, rng: Any = 0
) -> EigenPairs:
    r"""Largest eigenvalues and eigenvectors of a symmetric positive semidefinite matrix in blocks.

    Either method passes over the matrix several times (five to seven for kernels of images with the defaults, see
    ``passes`` of the result). A pass over a stored matrix reads 8 N² bytes; over one that is not stored it computes all blocks
    of that kernel again: write it first (:func:`~kernelcalc.kernels.distributed.write_kernels`), or ``K.theta.persist()``
    if it fits in the workers' memory. In this process are held 64 N (count + 20) bytes of columns and their products.

    Parameters
    ----------
    matrix : dask array, (N, N)
        For example ``K.theta``; the nonzero spectrum of I under MSE is that of Θ/N, n_L times.
    count : int
        How many, at most N.
    method : {"randomized", "lanczos"}
        A Krylov space of blocks of columns from a random start, which reads the matrix once a block, or SciPy's implicitly
        restarted Lanczos, which holds fewer columns in memory but reads the matrix once for each of them.
    tol : float
        Stop once every residual is below tol times the largest eigenvalue. The error of a value is about the square of its
        residual over the distance to the next eigenvalue, so 1e-5 saves passes where vectors are not needed.
    max_passes : int
        The randomised method ends here at the latest; its result then says so by its residuals. For Lanczos the most restarts.
    rng : int or Generator
        Seed of the start.

    Returns
    -------
    EigenPairs
        With a-posteriori residual bounds, computed from the products themselves.

    Raises
    ------
    InputError, ShapeError
        Arguments outside the above.
    NotFiniteError
        For NaN or infinity in the matrix.
    PrecisionError
        Lanczos did not converge.

    References
    ----------
    Halko, Martinsson, Tropp, SIAM Review 53 (2011); Musco, Musco, NIPS 2015 (randomised block Krylov methods);
    Lehoucq, Sorensen, Yang, ARPACK Users' Guide (1998).

    Examples
    --------
    >>> matrix = np.diag(np.arange(50.0))
    >>> top_eigenvalues(matrix, 3).values.round(6), top_eigenvalues(matrix, 3, method="lanczos").values.round(6)
    (array([49., 48., 47.]), array([49., 48., 47.]))
    """
    products = BlockProducts(matrix)
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 1 <= count <= products.size:
        raise InputError(f"count, a whole number from 1 to {products.size}", repr(count))
    if not isinstance(method, str) or method not in EIGEN_METHODS:
        raise InputError(" or ".join(map(repr, EIGEN_METHODS)), repr(method))
    check_count("max_passes", max_passes, 1)
    tol = check_number("tol", tol)
    if tol >= 1:
        raise InputError("tol, a number from 0 to below 1", repr(tol))
    generator = random_generator(rng)
    # Lanczos needs a space larger than what it looks for.
    if method == "lanczos" and count < products.size - 1:
        return _lanczos(products, int(count), tol, max_passes, generator)
    return _block_krylov(products, int(count), tol, max_passes, generator)


def _block_krylov(
    products: BlockProducts, count: int, tol: float, max_passes: int, rng: np.random.Generator
) -> EigenPairs:
    width = min(products.size, count + OVERSAMPLING)
    basis = np.linalg.qr(rng.standard_normal((products.size, width)))[0]
    image = products(basis)
    while True:
        values, turn = _ritz(basis, image)
        found = _pairs(basis, image, values[:count], turn[:, :count], products.passes)
        done = found.residuals.max() <= tol * abs(found.values[0]) or products.passes >= max_passes
        if done or basis.shape[1] == products.size:
            return found
        if basis.shape[1] + width > BLOCKS_KEPT * width:
            kept = turn[:, : BLOCKS_KEPT // 2 * width]
            basis, image = basis @ kept, image @ kept
            values, turn = values[: kept.shape[1]], np.eye(kept.shape[1])
        # The residuals are what the space lacks of the next block of A's Krylov space.
        lacking = image @ turn[:, :width] - (basis @ turn[:, :width]) * values[:width]
        new = _orthonormal(lacking, basis)
        basis, image = np.hstack([basis, new]), np.hstack([image, products(new)])


def _orthonormal(columns: Array, basis: Array) -> Array:
    """Orthonormal columns, at most as many as there is room for, orthogonal to the basis."""
    columns = columns[:, : len(basis) - basis.shape[1]]
    # Twice is enough (Parlett); small columns are mostly rounding the first time.
    for _ in range(3):
        columns = np.linalg.qr(columns - basis @ (basis.T @ columns))[0]
    return columns


def _ritz(basis: Array, image: Array) -> tuple[Array, Array]:
    """Eigenvalues, largest first, and eigenvectors of A within the span of the basis, given A times the basis."""
    small = basis.T @ image
    values, turn = np.linalg.eigh((small + small.T) / 2)
    return values[::-1], turn[:, ::-1]


def _pairs(basis: Array, image: Array, values: Array, turn: Array, passes: int) -> EigenPairs:
    vectors = basis @ turn
    residuals = np.linalg.norm(image @ turn - vectors * values, axis=0)
    return EigenPairs(values=values, vectors=vectors, residuals=residuals, passes=passes)


def _lanczos(products: BlockProducts, count: int, tol: float, restarts: int, rng: np.random.Generator) -> EigenPairs:
    from scipy.sparse.linalg import ArpackError, eigsh

    start = rng.standard_normal(products.size)
    try:
        _, vectors = eigsh(_operator(products), count, which="LA", tol=tol, maxiter=restarts, v0=start)
    except ArpackError as error:
        raise PrecisionError(f"Lanczos found no {count} eigenvalues to {tol:g}: {error}") from error
    vectors = np.linalg.qr(vectors)[0]
    image = products(vectors)
    return _pairs(vectors, image, *_ritz(vectors, image), products.passes)
