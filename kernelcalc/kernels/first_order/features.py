r"""What the kernels of a layer's features are at one neuron, as polynomials, and what they are on average.

With z the neuron's pre-activation, g = Tr Hz and κ = (Θ, Υ) its own tangent and Hessian kernels, the features α = σ(z) have

.. math::
    Σ^α_{12} = σ_1σ_2, \quad Θ^α_{12} = Θ_{12}\dot σ_1\dot σ_2, \quad Φ^α_{12} = g^α_1σ_2, \quad Ξ^α_{12} = g^α_1g^α_2, \quad
    g^α_1 = \dot σ_1 g_1 + Θ_{11}\ddot σ_1, \quad Υ^α_{12} = Υ_{12}\dot σ_1\dot σ_2 + Θ_{12}^2\ddot σ_1\ddot σ_2

(Υ^α without products of one Hessian and two gradients, whose mean is of order 1/n). Each is a sum of monomials: kernels
times derivatives of σ times g's. Given the layers before, (z, g) is Gaussian with covariances Σ, Φ, Ξ, and Stein's lemma

.. math::
    E[g_1 F] = \sum_γ Φ_{1γ} E[∂_γ F], \qquad E[g_1g_2 F] = Ξ_{12} E[F] + \sum_{γδ} Φ_{1γ}Φ_{2δ} E[∂_γ∂_δ F]

turns their means into sums of terms: kernels times expectations of derivatives of σ, which depend on Σ alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

Index = tuple[int, ...]
# σ^(order) at a point: (order, point).
Factor = tuple[int, int]
# A kernel's entry: its name and two points.
Entry = tuple[str, int, int]
SYMMETRIC = frozenset({"sigma", "theta", "upsilon", "xi"})
# Behind fresh weights a kernel is σ_w² times these multiples of features' kernels (Lemmas 3 and 4 of Jacot, Gabriel, Hongler).
BEHIND_WEIGHTS: dict[str, dict[str, int]] = {
    "sigma": {"sigma": 1},
    "theta": {"theta": 1, "sigma": 1},
    "phi": {"phi": 1},
    "upsilon": {"upsilon": 1, "theta": 2},
    "xi": {"xi": 1},
}


def entry(name: str, p1: int, p2: int) -> Entry:
    """One name for the two entries of a symmetric kernel."""
    return (name, p2, p1) if name in SYMMETRIC and p1 > p2 else (name, p1, p2)


@dataclass(frozen=True)
class Monomial:
    """Kernels of the neuron, times derivatives of σ at points, times g at points."""

    kernels: tuple[Entry, ...]
    factors: tuple[Factor, ...]
    g: Index = ()

    def __mul__(self, other: Monomial) -> Monomial:
        return Monomial(self.kernels + other.kernels, self.factors + other.factors, self.g + other.g)


@dataclass(frozen=True)
class Term:
    """Kernels, times E of the product of σ's derivatives differentiated at the points ``by``, over an integer."""

    kernels: tuple[Entry, ...]
    factors: tuple[Factor, ...]
    by: Index = ()
    divisor: int = 1


def laplacian(point: int) -> tuple[Monomial, ...]:
    """g^α, by the chain rule."""
    return Monomial((), ((1, point),), (point,)), Monomial((entry("theta", point, point),), ((2, point),))


def products(one: Iterable[Monomial], other: Iterable[Monomial]) -> tuple[Monomial, ...]:
    """The product of two sums of monomials."""
    return tuple(a * b for a, b in product(one, other))


def feature(name: str, p1: int, p2: int) -> tuple[Monomial, ...]:
    """The kernel of that name of the features, at one neuron."""
    if name == "phi":
        return products(laplacian(p1), (Monomial((), ((0, p2),)),))
    if name == "xi":
        return products(laplacian(p1), laplacian(p2))
    if name == "upsilon":
        theta = entry("theta", p1, p2)
        return Monomial((entry("upsilon", p1, p2),), ((1, p1), (1, p2))), Monomial((theta, theta), ((2, p1), (2, p2)))
    order = {"sigma": 0, "theta": 1}[name]
    return (Monomial((entry("theta", p1, p2),) * order, ((order, p1), (order, p2))),)


def averaged(monomials: Iterable[Monomial], points: Index) -> tuple[Term, ...]:
    """Their mean by Stein's lemma, one g after the other: it meets z at every point, or another g."""
    terms: list[Term] = []
    left: list[tuple[Monomial, Index]] = [(one, ()) for one in monomials]
    while left:
        one, by = left.pop()
        if not one.g:
            terms.append(Term(one.kernels, one.factors, by))
            continue
        p, *others = one.g
        for c in points:
            left.append((Monomial((*one.kernels, entry("phi", p, c)), one.factors, tuple(others)), (*by, c)))
        for n, other in enumerate(others):
            rest = tuple(others[:n] + others[n + 1 :])
            left.append((Monomial((*one.kernels, entry("xi", p, other)), one.factors, rest), by))
    return tuple(reversed(terms))


def slopes(terms: Iterable[Term], points: Index) -> dict[Entry, list[Term]]:
    r"""Derivatives by every kernel; ∂E[F]/∂Σ_γδ = E[∂_γ∂_δF], half of it for γ = δ."""
    found: dict[Entry, list[Term]] = {}
    for term in terms:
        for place, kernel in enumerate(term.kernels):
            others = term.kernels[:place] + term.kernels[place + 1 :]
            found.setdefault(kernel, []).append(Term(others, term.factors, term.by, term.divisor))
        for c, d in covariances(points):
            divisor = term.divisor * (2 if c == d else 1)
            found.setdefault(("sigma", c, d), []).append(Term(term.kernels, term.factors, (*term.by, c, d), divisor))
    return found


def covariances(points: Index) -> list[tuple[int, int]]:
    """Pairs of points, each once."""
    return [(c, d) for c, d in product(points, repeat=2) if c <= d]
