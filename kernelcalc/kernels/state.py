r"""One layer step of all limiting kernels, written once for every number type.

The step uses nothing but ``+`` and ``*``, so the same code runs on float64 arrays, mpmath numbers, ball arithmetic and
SymPy symbols. Which kernels are carried is said by which fields are not ``None``.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 (Σ, Θ) and Appendix C, Lemmas 3 to 5 (Φ, Λ, Υ, Ξ), with the index of Σ̇ and
Σ̈ in Υ as in the proof of Lemma 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KERNEL_NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")

# What a kernel at the pairs (x, x') of one layer reads at the pairs of the layer before (itself included). "phi_t" and
# "lam_t" are Φ(x', x) and Λ(x', x).
NEEDS: dict[str, frozenset[str]] = {
    "sigma": frozenset({"sigma"}),
    "theta": frozenset({"sigma", "theta"}),
    "phi": frozenset({"sigma", "phi"}),
    "phi_t": frozenset({"sigma", "phi_t"}),
    "lam": frozenset({"sigma", "theta", "phi", "lam"}),
    "lam_t": frozenset({"sigma", "theta", "phi_t", "lam_t"}),
    "upsilon": frozenset({"sigma", "theta", "upsilon"}),
    "xi": frozenset({"sigma", "phi", "phi_t", "xi"}),
}
TRANSPOSED = {"phi": "phi_t", "lam": "lam_t"}

# The expectations E_ij = E[σ^(i)(a) σ^(j)(b)] that a step of one kernel costs; Θ contains the next layer's Σ.
COSTS: dict[str, tuple[tuple[int, int], ...]] = {
    "sigma": ((0, 0),),
    "theta": ((0, 0), (1, 1)),
    "phi": ((1, 1), (2, 0)),
    "phi_t": ((1, 1), (0, 2)),
    "lam": ((1, 1), (2, 2), (2, 0), (3, 1)),
    "lam_t": ((1, 1), (2, 2), (0, 2), (1, 3)),
    "upsilon": ((1, 1), (2, 2)),
    "xi": ((1, 1), (2, 2), (3, 1), (1, 3)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class PairKernels:
    """The kernels at pairs (x, x'); ``phi_t`` and ``lam_t`` are Φ(x', x) and Λ(x', x)."""

    sigma: Any
    theta: Any = None
    phi: Any = None
    phi_t: Any = None
    lam: Any = None
    lam_t: Any = None
    upsilon: Any = None
    xi: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class DiagonalKernels:
    """Σ, Θ, Φ at (x, x), one value a point; ``theta`` and ``phi`` may be ``None`` where nothing needs them."""

    sigma: Any
    theta: Any = None
    phi: Any = None


def with_transposes(names: Iterable[str]) -> frozenset[str]:
    """These kernels and, for those that are not symmetric, their transposes."""
    known = frozenset(names)
    return known | {TRANSPOSED[name] for name in known & TRANSPOSED.keys()}


def needed_at_pairs(names: Iterable[str]) -> frozenset[str]:
    """All that must be carried at the pairs (x, x') through the hidden layers to obtain ``names``.

    Examples
    --------
    >>> sorted(needed_at_pairs(["phi"]))
    ['phi', 'sigma']
    """
    return frozenset().union(*(NEEDS[name] for name in names))


def needed_on_diagonal(names: Iterable[str]) -> frozenset[str]:
    """All that must be carried at (x, x): Σ, and for Φ, Λ and Ξ also Θ and Φ."""
    more = {"phi", "phi_t", "lam", "lam_t", "xi"} & set(names)
    return frozenset({"sigma", "theta", "phi"} if more else {"sigma"})


def closure(names: Iterable[str]) -> frozenset[str]:
    """All that both need, with the transposes: what is carried where nothing is to be gained by less."""
    wanted = with_transposes(names)
    return needed_at_pairs(wanted) | needed_on_diagonal(wanted)


def expectation_orders(carried: frozenset[str]) -> tuple[tuple[int, int], ...]:
    """Derivative orders (i, j) of the expectations one step needs to carry these kernels."""
    return tuple(sorted({order for name in carried for order in COSTS[name]}))


def first_layer(sigma: Any, carried: frozenset[str], zero: Any = 0) -> PairKernels:
    """Kernels of the depth-1 (linear) network: Θ = Σ, Φ = Λ = Υ = Ξ = 0."""

    def start(name: str, value: Any) -> Any:
        return value if name in carried else None

    return PairKernels(
        sigma=sigma,
        theta=start("theta", sigma),
        phi=start("phi", zero),
        phi_t=start("phi_t", zero),
        lam=start("lam", zero),
        lam_t=start("lam_t", zero),
        upsilon=start("upsilon", zero),
        xi=start("xi", zero),
    )


def diagonal_of(k: PairKernels) -> DiagonalKernels:
    """Read a :class:`PairKernels` whose pairs are (x, x) as diagonal."""
    return DiagonalKernels(sigma=k.sigma, theta=k.theta, phi=k.phi)


def layer_step(
    k: PairKernels,
    row: DiagonalKernels,
    column: DiagonalKernels,
    e: dict[tuple[int, int], Any],
    sigma_w2: Any,
    beta2: Any,
    names: frozenset[str] | None = None,
) -> PairKernels:
    r"""Kernels of layer ℓ+1 from those of layer ℓ.

    With :math:`E_{ij} = E[σ^{(i)}(a) σ^{(j)}(b)]` at the covariance Σ of layer ℓ, and every right-hand side at layer ℓ,

    .. math::
        Σ^+ &= σ_w^2 E_{00} + β^2, \qquad Θ^+ = σ_w^2 Θ E_{11} + Σ^+ \\
        Φ^+ &= σ_w^2 [Φ E_{11} + (Φ_{xx} + Θ_{xx}) E_{20}] \\
        Λ^+ &= σ_w^2 [Λ E_{11} + Θ (Φ E_{22} + Φ_{xx} E_{31}) + Φ E_{11} + Φ_{xx} E_{20} + Θ_{xx} Θ E_{31}
               + Θ_{xx} E_{20}] \\
        Υ^+ &= σ_w^2 [Υ E_{11} + Θ^2 E_{22} + 2 Θ E_{11}] \\
        Ξ^+ &= σ_w^2 [Ξ E_{11} + (Φ Φ^T + Φ_{xx} Φ_{x'x'}) E_{22} + Φ Φ_{x'x'} E_{13} + Φ_{xx} Φ^T E_{31} \\
            &\quad + Θ_{x'x'} (Φ_{xx} E_{22} + Φ E_{13}) + Θ_{xx} (Φ_{x'x'} E_{22} + Φ^T E_{31})
               + Θ_{xx} Θ_{x'x'} E_{22}]

    Parameters
    ----------
    k : PairKernels
        Layer ℓ at the pairs (x, x'), any number type.
    row, column : DiagonalKernels
        Layer ℓ at (x, x) and at (x', x'), shaped to broadcast with the pairs.
    e : dict
        ``e[i, j]`` = E_ij for the orders of :func:`expectation_orders`.
    sigma_w2, beta2
        σ_w² and β².
    names : set of str, optional
        Which kernels of layer ℓ+1 to compute, among those that layer ℓ has; all of them by default.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 and Appendix C, Lemmas 3, 4 and 5.
    """

    def asked(name: str) -> bool:
        return getattr(k, name) is not None and (names is None or name in names)

    sigma = theta = phi = phi_t = lam = lam_t = upsilon = xi = None
    if asked("sigma") or asked("theta"):
        sigma = sigma_w2 * e[0, 0] + beta2
    if asked("theta"):
        theta = sigma_w2 * (k.theta * e[1, 1]) + sigma
    if asked("phi"):
        phi = sigma_w2 * _phi_bracket(k.phi, row, e[1, 1], e[2, 0])
    if asked("phi_t"):
        phi_t = sigma_w2 * _phi_bracket(k.phi_t, column, e[1, 1], e[0, 2])
    if asked("lam"):
        lam = sigma_w2 * _lam_bracket(k.lam, k.theta, k.phi, row, e[1, 1], e[2, 2], e[2, 0], e[3, 1])
    if asked("lam_t"):
        lam_t = sigma_w2 * _lam_bracket(k.lam_t, k.theta, k.phi_t, column, e[1, 1], e[2, 2], e[0, 2], e[1, 3])
    if asked("upsilon"):
        upsilon = sigma_w2 * (k.upsilon * e[1, 1] + k.theta * (k.theta * e[2, 2] + 2 * e[1, 1]))
    if asked("xi"):
        # (Φ_xx + Θ_xx) and (Φ_x'x' + Θ_x'x') gather all but the first two terms.
        at_row, at_column = row.phi + row.theta, column.phi + column.theta
        xi = sigma_w2 * (
            k.xi * e[1, 1]
            + (k.phi * k.phi_t + at_row * at_column) * e[2, 2]
            + at_column * k.phi * e[1, 3]
            + at_row * k.phi_t * e[3, 1]
        )
    return PairKernels(sigma=sigma, theta=theta, phi=phi, phi_t=phi_t, lam=lam, lam_t=lam_t, upsilon=upsilon, xi=xi)


def _phi_bracket(phi: Any, at: DiagonalKernels, e11: Any, e20: Any) -> Any:
    return phi * e11 + (at.phi + at.theta) * e20


def _lam_bracket(lam: Any, theta: Any, phi: Any, at: DiagonalKernels, e11: Any, e22: Any, e20: Any, e31: Any) -> Any:
    # Φ_xx and Θ_xx enter Λ only through their sum.
    total = at.phi + at.theta
    return lam * e11 + theta * (phi * e22 + total * e31) + phi * e11 + total * e20
