r"""Spectra of symmetric operators on parameter vectors: dense, the ends, and the density.

The operators are those of :class:`~kernelcalc.finite.hessian.HessianSplit` (or anything with ``shape`` and ``@``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .hessian import CurvatureOperator
from .network import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectralDensity:
    r"""Quadrature of the spectral density :math:`φ(λ) = \frac1P Σ_p δ(λ - λ_p)`.

    Attributes
    ----------
    nodes, weights : (probes, steps) arrays
        Gauss rule of every probe; each row of weights sums to 1 (steps after an early end have weight 0).
    size : int
        P.
    """

    nodes: Array
    weights: Array
    size: int

    def moment(self, k: int) -> tuple[float, float]:
        """(1/P) Tr A^k and its standard error over the probes; a probe's own rule is exact up to k = 2·steps − 1."""
        values = (self.weights * self.nodes**k).sum(axis=1)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return float(values.mean()), float(error)

    def density(self, grid: Any, width: float) -> Array:
        """φ smoothed by a Gaussian of standard deviation ``width``, at the grid's points."""
        if not width > 0:
            raise InputError("a positive width", f"width={width}")
        at = np.asarray(grid, dtype=np.float64)
        bumps = np.exp(-0.5 * ((at[..., None] - self.nodes.ravel()) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        return np.asarray(bumps @ self.weights.ravel() / len(self.nodes))


def eigenvalues(operator: CurvatureOperator) -> Array:
    """All eigenvalues, ascending, from the dense matrix."""
    return np.linalg.eigvalsh(operator.dense())


def extreme_eigenvalues(
    operator: CurvatureOperator,
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
    operator : CurvatureOperator
        H, I or S.
    count : int
        How many.
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

    Examples
    --------
    >>> import numpy as np
    >>> from kernelcalc.finite import FiniteNetwork
    >>> fin = FiniteNetwork(weights=[np.ones((2, 1))], biases=[np.zeros(1)], activations=[], beta=0.0, sigma_w=2**0.5)
    >>> split = fin.curvature(np.array([[2.0, 0.0], [0.0, 1.0]]), np.zeros(2))
    >>> extreme_eigenvalues(split.h, 1).round(12)
    array([2.])
    """
    p = operator.shape[0]
    if not 1 <= count < p:
        raise InputError(f"between 1 and P - 1 = {p - 1} eigenvalues", f"count={count}")
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(rng).standard_normal(p)
    options: Any = {"k": count, "which": which, "v0": start, "tol": tol, "return_eigenvectors": vectors}
    found = eigsh(operator.linear_operator(), **options)
    values = found[0] if vectors else found
    order = np.argsort(values)[::-1]
    return (values[order], found[1][:, order]) if vectors else values[order]


def spectral_density(operator: CurvatureOperator, *, steps: int = 80, probes: int = 4, rng: Any = 0) -> SpectralDensity:
    """Stochastic Lanczos quadrature with full reorthogonalisation.

    Parameters
    ----------
    operator : CurvatureOperator
        H, I or S.
    steps : int
        Lanczos steps a probe; ``steps`` vectors of length P are kept.
    probes : int
        Number of random starting vectors (independent signs).
    rng : seed or numpy.random.Generator
        For these.

    References
    ----------
    Ubaru, Chen, Saad (SIAM J. Matrix Anal. Appl. 38, 2017). Golub, Welsch (Math. Comp. 23, 1969) for nodes and weights.
    """
    p = operator.shape[0]
    if steps < 1 or probes < 1:
        raise InputError("steps >= 1 and probes >= 1", f"steps={steps}, probes={probes}")
    generator = np.random.default_rng(rng)
    steps = min(steps, p)
    nodes, weights = np.zeros((probes, steps)), np.zeros((probes, steps))
    for i in range(probes):
        start = generator.choice(np.array([-1.0, 1.0]), size=p)
        values, mass = _lanczos_rule(operator, start / np.sqrt(p), steps)
        nodes[i, : len(values)], weights[i, : len(values)] = values, mass
    return SpectralDensity(nodes=nodes, weights=weights, size=p)


def _lanczos_rule(operator: Any, start: Array, steps: int) -> tuple[Array, Array]:
    from scipy.linalg import eigh_tridiagonal

    basis = np.empty((steps, start.size))
    diagonal, side = [], []
    v = start
    scale = 0.0
    for j in range(steps):
        basis[j] = v
        w = np.asarray(operator @ v, dtype=np.float64)
        diagonal.append(float(v @ w))
        scale = max(scale, float(np.linalg.norm(w)))
        # twice is enough (Kahan, Parlett): orthogonal to working precision
        for _ in range(2):
            w = w - basis[: j + 1].T @ (basis[: j + 1] @ w)
        beta = float(np.linalg.norm(w))
        # an invariant subspace: what is left is rounding
        if j == steps - 1 or beta <= 1e-13 * scale:
            break
        side.append(beta)
        v = w / beta
    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(side[: len(diagonal) - 1]))
    return values, vectors[0] ** 2
