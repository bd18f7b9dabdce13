r"""Kernels of data on a sphere: the scalar form h(ρ) and its Mercer eigenvalues.

For inputs with |x|² = n_0 r² a kernel depends on their cosine ρ alone,

.. math:: h(ρ) = \sum_k λ_k\, N(d, k)\, P_k(ρ), \qquad λ_k = E[h(ρ) P_k(ρ)],

with the Gegenbauer polynomials P_k of dimension d, P_k(1) = 1, and ρ the cosine of two independent uniform points of
S^{d−1}. The λ_k are the eigenvalues of the integral operator of h on the uniform probability measure, N(d, k) their
multiplicities, and Σ λ_k N(d, k) = h(1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from kernelcalc.arguments import check_count, check_number
from kernelcalc.errors import PrecisionError
from kernelcalc.expressions import exact as algebra
from kernelcalc.expressions.atoms import exact_numbers
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.kernels.network import check_network
from kernelcalc.kernels.symbolic.code import to_numpy
from kernelcalc.kernels.symbolic.kernels import kernel, squared
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

rho: Any = sp.Symbol("rho", real=True)


@watched("a smaller depth is faster, and kernels in numbers")
def on_sphere(name: str, net: Any, *, radius2: Any = 1, sigma_w: Any = None, beta: Any = None) -> sp.Expr:
    r"""h(ρ): a limiting kernel at inputs of |x|² = |x'|² = n_0 · ``radius2`` and cosine ρ.

    Raises
    ------
    UnknownNameError
        Another kernel.
    SmoothnessError
        The nonlinearity has too few derivatives for it.
    InputError
        A network with positions.
    ExpressionError
        ``radius2`` that is no number.

    Examples
    --------
    >>> import kernelcalc as kc
    >>> on_sphere("sigma", kc.MLP("erf", depth=2, beta=0))
    2*asin(2*rho/3)/pi
    """
    check_network(net)
    sigma_w2 = squared(net.sigma_w if sigma_w is None else sigma_w)
    beta2 = squared(net.beta if beta is None else beta)
    expr = kernel(name, net, sigma_w=sigma_w, beta=beta)
    scale = sigma_w2 * exact_numbers(to_sympy(radius2))
    diagonal = scale + beta2
    return expr.subs({algebra.q: diagonal, algebra.qp: diagonal, algebra.c: scale * rho + beta2}, simultaneous=True)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MercerSpectrum(Result):
    """Eigenvalues λ_k and multiplicities N(d, k), k = 0..kmax, of a kernel on S^{d−1}.

    ``error`` bounds the change of the eigenvalues between the last two quadrature rules.
    """

    DIMENSIONS = axes(eigenvalues="degree", multiplicities="degree")

    dimension: int
    eigenvalues: NDArray[np.float64]
    multiplicities: tuple[int, ...]
    error: float

    @property
    def trace(self) -> float:
        """Σ_k λ_k N(d, k), which tends to h(1) as kmax grows."""
        return math.fsum(v * m for v, m in zip(self.eigenvalues, self.multiplicities, strict=True))


def multiplicity(dimension: int, k: int) -> int:
    """Number of spherical harmonics of degree k on S^{d−1}.

    Raises
    ------
    InputError
        No whole numbers d ≥ 1 and k ≥ 0.

    Examples
    --------
    >>> [multiplicity(3, k) for k in range(4)], [multiplicity(2, k) for k in range(3)]
    ([1, 3, 5, 7], [1, 2, 2])
    """
    check_count("dimension", dimension, 1)
    check_count("k", k, 0)
    if k == 0:
        return 1
    return math.comb(dimension + k - 1, k) - (math.comb(dimension + k - 3, k - 2) if k > 1 else 0)


@watched("a smaller kmax and a larger rtol are faster")
def mercer(h: sp.Expr | Callable[..., Any], dimension: int, kmax: int = 20, *, rtol: float = 1e-12) -> MercerSpectrum:
    r"""Mercer eigenvalues of h(ρ) on the sphere S^{d−1} with the uniform probability measure.

    Integrates in the angle θ = arccos ρ, in which every kernel here is smooth (relu's has √(1−ρ) terms in ρ).

    Parameters
    ----------
    h : sympy.Expr or callable
        An expression in :data:`rho`, or a function of an array of cosines.
    dimension : int
        d ≥ 2, the number of input components.
    kmax : int
        Last degree.
    rtol : float
        Tolerance relative to the largest eigenvalue.

    Raises
    ------
    PrecisionError
        If 4096 nodes do not reach the tolerance.
    InputError
        A dimension below 2, or ``kmax`` < 0; ``h`` that is neither an expression nor a function.

    Examples
    --------
    >>> spectrum = mercer(rho**2, dimension=3, kmax=3)
    >>> spectrum.eigenvalues.round(12) + 0.0
    array([0.33333333, 0.        , 0.13333333, 0.        ])
    >>> round(spectrum.trace, 12)
    1.0
    """
    check_count("dimension", dimension, 2)
    check_count("kmax", kmax, 0)
    rtol = check_number("rtol", rtol)
    function = h if callable(h) and not isinstance(h, sp.Expr) else to_numpy(h, (rho,))
    before = None
    nodes = max(64, 2 * kmax)
    while nodes <= 4096:
        values = _gegenbauer(function, dimension, kmax, nodes)
        if before is not None:
            error = float(np.abs(values - before).max())
            if error <= rtol * float(np.abs(values).max()):
                values.flags.writeable = False
                counts = tuple(multiplicity(dimension, k) for k in range(kmax + 1))
                return MercerSpectrum(dimension=dimension, eigenvalues=values, multiplicities=counts, error=error)
        before, nodes = values, 2 * nodes
    raise PrecisionError(f"the eigenvalues in dimension {dimension} did not settle to {rtol} with 4096 nodes")


def _gegenbauer(function: Callable[..., Any], d: int, kmax: int, nodes: int) -> NDArray[np.float64]:
    t, w = np.polynomial.legendre.leggauss(nodes)
    theta = (t + 1) * (np.pi / 2)
    cosine = np.cos(theta)
    # sin^{d−2} is narrow in high dimension; its logarithm keeps the normalisation from underflowing.
    log_measure = (d - 2) * np.log(np.sin(theta))
    measure = w * np.exp(log_measure - log_measure.max())
    weighted = measure / measure.sum() * np.asarray(function(cosine), dtype=float)
    out = np.empty(kmax + 1)
    before, current = np.ones_like(cosine), cosine.copy()
    for k in range(kmax + 1):
        out[k] = weighted @ before
        before, current = current, ((2 * k + d) * cosine * current - (k + 1) * before) / (k + d - 1)
    return out
