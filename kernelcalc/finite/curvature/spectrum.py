r"""Spectra of symmetric operators on parameter vectors: dense, the ends, and the density.

The operators are those of :class:`~kernelcalc.finite.curvature.hessian.HessianSplit`, or anything symmetric with
``shape`` (P, P) and ``@`` with vectors (P,), for :func:`eigenvalues` with matrices (P, m): arrays, sparse arrays,
SciPy's linear operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arguments import check_name, flag, random_generator
from kernelcalc.errors import InputError, NotFiniteError, PrecisionError, ShapeError
from kernelcalc.finite.arrays import AnyArray, finite_array, finite_number, real_array, whole_number
from kernelcalc.finite.curvature.hessian import DENSE_LIMIT, CurvatureOperator
from kernelcalc.machine import LAPACK_BLOCK, blas_threads, one_blas_thread
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

SPECTRUM_ENDS = ("LA", "SA", "LM", "BE")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpectralDensity(Result):
    r"""Quadrature of the spectral density :math:`φ(λ) = \frac1P Σ_p δ(λ - λ_p)`.

    Attributes
    ----------
    nodes, weights : (probes, steps) arrays
        Gauss rule of every probe; each row of weights sums to 1 (steps after an early end have weight 0).
    size : int
        P.
    """

    DIMENSIONS = axes(nodes="probe step", weights="probe step")

    nodes: AnyArray
    weights: AnyArray
    size: int

    def moment(self, k: int) -> tuple[float, float]:
        """(1/P) Tr A^k and its standard error over the probes; a probe's own rule is exact up to k = 2·steps − 1.

        Raises
        ------
        InputError
            k that is no whole number of at least 0.
        """
        k = whole_number(k, "k")
        if k < 0:
            raise InputError("k of at least 0", f"k={k}")
        values = (self.weights * self.nodes**k).sum(axis=1)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return float(values.mean()), float(error)

    def density(self, grid: Any, width: float) -> AnyArray:
        """φ smoothed by a Gaussian of standard deviation ``width``, at the grid's points.

        Raises
        ------
        InputError
            A width that is not positive.
        NotFiniteError
            A grid or width of NaN or infinity.
        """
        width = finite_number(width, "width")
        if not width > 0:
            raise InputError("a positive width", f"width={width}")
        at = finite_array(grid, "grid")
        bumps = np.exp(-0.5 * ((at[..., None] - self.nodes.ravel()) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        return np.asarray(bumps @ self.weights.ravel() / len(self.nodes))


@watched("extreme_eigenvalues and spectral_density are faster")
def eigenvalues(operator: Any) -> AnyArray:
    """All eigenvalues, ascending, from the dense matrix.

    Raises
    ------
    InputError
        P above :data:`~kernelcalc.finite.curvature.hessian.DENSE_LIMIT`.
    ShapeError, NotFiniteError
        Not a square operator; NaN or infinity in its matrix.

    Examples
    --------
    >>> eigenvalues(np.array([[0.0, 1.0], [1.0, 0.0]])).round(12)
    array([-1.,  1.])
    """
    operator, p = _checked(operator)
    if p > DENSE_LIMIT:
        raise InputError(f"at most {DENSE_LIMIT} rows for a dense matrix", f"P={p}", "use extreme_eigenvalues")
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(operator, CurvatureOperator):
            matrix = operator.dense()
        else:
            matrix = np.asarray(operator @ np.eye(p))
            matrix = 0.5 * (matrix + matrix.T)
    _require_finite(matrix)
    with blas_threads(LAPACK_BLOCK * p**2):
        return np.linalg.eigvalsh(matrix)


@watched("a smaller count and a larger tol are faster")
def extreme_eigenvalues(
    operator: Any,
    count: int = 10,
    *,
    which: str = "LA",
    vectors: bool = False,
    tol: float = 0.0,
    rng: Any = 0,
) -> Any:
    """The ends of the spectrum by Lanczos (SciPy's ``eigsh``).

    Parameters
    ----------
    operator : CurvatureOperator or other
        H, I or S; or anything symmetric with ``shape`` and ``@``.
    count : int
        How many, less than P.
    which : "LA", "SA", "LM" or "BE"
        Largest, smallest, largest in magnitude, both ends.
    vectors : bool
        Also return the eigenvectors, (P, count).
    tol : float
        Relative accuracy; 0 is machine precision.
    rng : seed or numpy.random.Generator
        For the starting vector.

    Returns
    -------
    values : (count,) array, descending
    vectors : (P, count) array, if asked for

    Raises
    ------
    InputError, UnknownNameError
        A number of eigenvalues out of range, another end.
    ShapeError, NotFiniteError
        Not a square operator; NaN or infinity in a product.
    PrecisionError
        Lanczos' restarts ended before ``tol`` was reached.

    Examples
    --------
    >>> import numpy as np
    >>> from kernelcalc.finite import FiniteNetwork
    >>> fin = FiniteNetwork(weights=[np.ones((2, 1))], biases=[np.zeros(1)], activations=[], beta=0.0, sigma_w=2**0.5)
    >>> split = fin.curvature(np.array([[2.0, 0.0], [0.0, 1.0]]), np.zeros(2))
    >>> extreme_eigenvalues(split.h, 1).round(12)
    array([2.])
    """
    (operator, p), count = _checked(operator), whole_number(count, "count")
    if not 1 <= count < p:
        raise InputError(f"between 1 and P - 1 = {p - 1} eigenvalues", f"count={count}")
    check_name("an end of the spectrum", which, SPECTRUM_ENDS)
    vectors = flag("vectors", vectors)
    if finite_number(tol, "tol") < 0:
        raise InputError("tol >= 0", f"tol={tol}")
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    if isinstance(operator, CurvatureOperator):
        linear = operator.linear_operator()
    else:
        linear = LinearOperator((p, p), matvec=lambda v: operator @ v.ravel(), dtype=np.float64)
    start = random_generator(rng).standard_normal(p).astype(linear.dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        first = linear.matvec(start)
    _require_finite(first)
    if not first.any():
        # a random vector lies in the kernel only if all do; ARPACK refuses such a start
        zeros = np.zeros(count, dtype=linear.dtype)
        return (zeros, np.eye(p, count, dtype=linear.dtype)) if vectors else zeros
    options: Any = {"k": count, "which": which, "v0": start, "tol": tol, "return_eigenvectors": vectors}
    try:
        # the products have their own; what Lanczos does besides is bound by memory
        with one_blas_thread():
            found = eigsh(linear, **options)
    except ArpackNoConvergence as error:
        raise PrecisionError(
            f"{len(error.eigenvalues)} of {count} eigenvalues converged; raise tol or count"
        ) from error
    values = found[0] if vectors else found
    order = np.argsort(values)[::-1]
    return (values[order], found[1][:, order]) if vectors else values[order]


def _checked(operator: Any) -> tuple[Any, int]:
    """A (P, P) operator, as an array where it is one in disguise, and P."""
    if isinstance(operator, np.ndarray) or hasattr(operator, "detach"):
        operator = real_array(operator, "operator")
    shape = tuple(getattr(operator, "shape", ()))
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1 or not hasattr(operator, "__matmul__"):
        raise ShapeError("a symmetric operator with shape (P, P) and @", f"{type(operator).__name__} of shape {shape}")
    return operator, int(shape[0])


def _require_finite(values: AnyArray) -> None:
    if values.dtype.kind not in "biuf":
        raise InputError("a real operator", f"products of dtype {values.dtype}")
    if not np.isfinite(values).all():
        raise NotFiniteError("an operator with finite entries", "NaN or infinity in a product with it")


@watched("fewer steps and probes are faster")
def spectral_density(operator: Any, *, steps: int = 80, probes: int = 4, rng: Any = 0) -> SpectralDensity:
    """Stochastic Lanczos quadrature with full reorthogonalisation.

    Parameters
    ----------
    operator : CurvatureOperator or other
        H, I or S; or anything symmetric with ``shape`` and ``@``.
    steps : int
        Lanczos steps a probe; ``steps`` vectors of length P are kept.
    probes : int
        Number of random starting vectors (independent signs).
    rng : seed or numpy.random.Generator
        For these.

    Raises
    ------
    ShapeError
        An operator that is not (P, P) with P ≥ 1.
    InputError
        ``steps`` or ``probes`` below 1.
    NotFiniteError
        A product of NaN or infinity.

    References
    ----------
    Ubaru, Chen, Saad (SIAM J. Matrix Anal. Appl. 38, 2017). Golub, Welsch (Math. Comp. 23, 1969) for nodes and weights.
    """
    operator, p = _checked(operator)
    steps, probes = whole_number(steps, "steps"), whole_number(probes, "probes")
    if steps < 1 or probes < 1:
        raise InputError("steps >= 1 and probes >= 1", f"steps={steps}, probes={probes}")
    generator = random_generator(rng)
    steps = min(steps, p)
    nodes, weights = np.zeros((probes, steps)), np.zeros((probes, steps))
    for i in range(probes):
        start = generator.choice(np.array([-1.0, 1.0]), size=p)
        with one_blas_thread():
            values, mass = _lanczos_rule(operator, start / np.sqrt(p), steps)
        nodes[i, : len(values)], weights[i, : len(values)] = values, mass
    return SpectralDensity(nodes=nodes, weights=weights, size=p)


def _norm(w: AnyArray) -> float:
    """‖w‖, by BLAS, whose sum of squares neither overflows nor underflows."""
    from scipy.linalg import norm

    return float(norm(w, check_finite=False))


def _orthogonal(w: AnyArray, basis: AnyArray) -> tuple[AnyArray, float]:
    """w without its part along the rows of the basis, and its norm.

    A second time only where the first took more than some 30 % of it: otherwise it is orthogonal to working precision
    already (Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30, 1976; twice is enough by Kahan and Parlett).
    """
    before = _norm(w)
    w = w - basis.T @ (basis @ w)
    norm = _norm(w)
    if norm < np.sqrt(0.5) * before:
        w = w - basis.T @ (basis @ w)
        norm = _norm(w)
    return w, norm


def _lanczos_rule(operator: Any, start: AnyArray, steps: int) -> tuple[AnyArray, AnyArray]:
    from scipy.linalg import eigh_tridiagonal

    basis = np.empty((steps, start.size))
    diagonal: list[float] = []
    side: list[float] = []
    v = start
    scale = 0.0
    for j in range(steps):
        basis[j] = v
        with np.errstate(over="ignore", invalid="ignore"):
            w = np.asarray(operator @ v)
        _require_finite(w)
        w = w.astype(np.float64, copy=False)
        diagonal.append(float(v @ w))
        scale = max(scale, _norm(w))
        w, beta = _orthogonal(w - basis[j] * diagonal[-1] - (basis[j - 1] * side[-1] if side else 0.0), basis[: j + 1])
        # an invariant subspace: what is left is rounding
        if j == steps - 1 or beta <= 1e-13 * scale:
            break
        side.append(beta)
        v = w / beta
    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(side[: len(diagonal) - 1]))
    return values, vectors[0] ** 2
