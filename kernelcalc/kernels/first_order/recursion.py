r"""The recursion of the first order in 1/n, layer by layer, for every number type.

All hidden widths are n, or n/r_ℓ each. Given the layers before, the neurons of a layer are independent and alike, (z, g)
Gaussian with covariances that are averages over the layer before. So everything is a function of such averages, the slow
variables :math:`s = (\hatΣ, \hatΘ, \hatΦ, \hatΥ, \hatΞ)` (what these functions are:
:mod:`kernelcalc.kernels.first_order.features`), and one step is the delta method. With C = σ_w², features' kernels
:math:`K^α` (polynomials of one neuron) and their means :math:`m_K(s)`, expectations at the limit,

.. math::
    \mathcal C^+(K, K') &= C^2 \Big[ r\,\mathrm{Cov}(K^α, K'^α)
        + \sum_{uv} \frac{∂m_K}{∂u}\, \mathcal C(u, v)\, \frac{∂m_{K'}}{∂v} \Big] \\
    K^{1+} &= C \Big[ \sum_u \frac{∂m_K}{∂u} u^1
        + \tfrac12 \sum_{uv} \frac{∂^2 m_K}{∂u∂v}\, \mathcal C_=(u, v) \Big]

:math:`\mathcal C` is n Cov of the kernels of two different neurons; :math:`\mathcal C_=` that of one neuron, larger by what
couples two neurons (:mod:`kernelcalc.kernels.first_order.coupled`). In the literature's letters
:math:`V = \mathcal C(Σ, Σ)`, :math:`D = \mathcal C(Θ, Σ)`, :math:`A = \mathcal C(Θ, Θ)`, :math:`W = \mathcal C(Φ, Σ)`; new
here are :math:`U = \mathcal C(Υ, Σ)`, :math:`M = \mathcal C(Θ, Φ)`, :math:`X = \mathcal C(Φ, Φ)`,
:math:`Z = \mathcal C(Ξ, Σ)`. Each formula, term by term, and its derivation: the documentation's page on finite width.

References
----------
Yaida (2019), "Non-Gaussian processes and neural networks at finite widths"; Roberts, Yaida, Hanin (2022), "The Principles of
Deep Learning Theory", chapters 4, 8 and 11; Guillen, Misof, Gerken (2025), arXiv 2508.11522 (Σ and Θ, for any inputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from kernelcalc.kernels.first_order.features import (
    BEHIND_WEIGHTS,
    Entry,
    Factor,
    Index,
    Monomial,
    Term,
    averaged,
    entry,
    feature,
    products,
    slopes,
)

Tensor = Mapping[Index, Any]


class Expectations(Protocol):
    """The expectations of one nonlinearity in one number type."""

    def __call__(self, row: Index, row_derivative: int, column: Index, column_derivative: int) -> Any:
        """E of the derivative of a product at x times that of one at x'; the orders of the factors are sorted."""


def is_zero(value: Any) -> bool:
    """Whether it is an exact zero, the integer."""
    return isinstance(value, int) and value == 0


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """The limit's kernels and what is of first order, before a nonlinearity.

    Exact zeros are the integer 0: the first layer of weights is Gaussian at any width.

    Attributes
    ----------
    limits, first : mapping of entries
        A kernel, and the coefficient of 1/n of its mean.
    between : mapping of two sorted entries
        n Cov of the kernels of two different neurons, which is that of their means given the layers before.
    f, b, e, r, t, q : mapping of four points
        Means of what couples two different neurons, see :class:`kernelcalc.kernels.first_order.coupled.Coupled`.
    """

    limits: Mapping[Entry, Any]
    first: Mapping[Entry, Any]
    between: Mapping[tuple[Entry, Entry], Any]
    f: Tensor
    b: Tensor
    e: Tensor
    r: Tensor
    t: Tensor
    q: Tensor

    def covariance(self, one: Entry, other: Entry) -> Any:
        """n Cov of the kernels of two different neurons."""
        return self.between[(one, other) if one <= other else (other, one)]

    def own_covariance(self, one: Entry, other: Entry) -> Any:
        """n Cov of the kernels of one neuron, products of its z and g being meant by Σ, Φ and Ξ.

        What couples two neurons i ≠ j adds its value for both ways to name the second factor's neurons.
        """
        coupled = {"theta theta": self.b, "theta sigma": self.f, "theta phi": self.e, "upsilon sigma": self.r}
        total = self.covariance(one, other)
        (name, p1, p2), (second, p3, p4) = (one, other) if f"{one[0]} {other[0]}" in coupled else (other, one)
        tensor = coupled.get(f"{name} {second}")
        if tensor is None:
            return total
        crossed = (p2, p3, p1, p4) if second == "phi" else (p1, p4, p2, p3)
        return total + tensor[p1, p3, p2, p4] + tensor[crossed]


class Layer:
    """One nonlinearity and the weights behind it: means and covariances.

    Parameters
    ----------
    state : State
        Before the nonlinearity.
    expect : Expectations
        At the state's Σ.
    weight : number
        C = σ_w² of the weights behind.
    ratio : number
        r = n/n_ℓ of the neurons of this nonlinearity.
    points : tuple of int
        (0, 1) for a pair, (0,) for one point.
    """

    state: State
    expect: Expectations
    weight: Any
    ratio: Any
    points: Index

    def __init__(self, state: State, expect: Expectations, weight: Any, ratio: Any, points: Index) -> None:
        self.state, self.expect, self.weight, self.ratio = state, expect, weight, ratio
        self.points = points
        self._known: dict[Any, Any] = {}

    def once(self, key: Any, formula: Callable[[], Any]) -> Any:
        """A value that several formulas share."""
        if key not in self._known:
            self._known[key] = formula()
        return self._known[key]

    def expectation(self, factors: Iterable[Factor], by: Iterable[int] = ()) -> Any:
        """E of the product of σ^(order) at points, (order, point) each, differentiated at these points."""
        sides: tuple[list[int], list[int]] = ([], [])
        for order, point in factors:
            sides[point].append(order)
        count = [0, 0]
        for point in by:
            count[point] += 1
        if any(times and not side for times, side in zip(count, sides, strict=True)):
            return 0
        return self.expect(tuple(sorted(sides[0])), count[0], tuple(sorted(sides[1])), count[1])

    def carried(self, value: Any, *expected: tuple[tuple[Factor, ...], Index]) -> Any:
        """A value times expectations, which an exact zero does not ask for."""
        for factors, by in () if is_zero(value) else expected:
            value = value * self.expectation(factors, by)
        return value

    def value(self, terms: Iterable[Term]) -> Any:
        """Their sum in the limit."""
        total: Any = 0
        for term in terms:
            limits = [self.state.limits[kernel] for kernel in term.kernels]
            if any(map(is_zero, limits)):
                continue
            made = math.prod(limits, start=self.expectation(term.factors, term.by))
            total = total + (made if term.divisor == 1 else made / term.divisor)
        return total

    def mean(self, monomials: tuple[Monomial, ...]) -> Any:
        """E in the limit."""
        return self.once(monomials, lambda: self.value(averaged(monomials, self.points)))

    def covariance(self, one: Entry, other: Entry) -> Any:
        """n Cov of the averages of two features' kernels over the layer: noise of its neurons, and of the layers before."""
        left, right = feature(*one), feature(*other)
        total = self.ratio * (self.mean(products(left, right)) - self.mean(left) * self.mean(right))
        for u in self._slopes(one):
            for v in self._slopes(other):
                before = self.state.covariance(u, v)
                if not is_zero(before):
                    total = total + self._slope(one, u) * before * self._slope(other, v)
        return total

    def _slopes(self, kernel: Entry) -> dict[Entry, list[Term]]:
        return slopes(averaged(feature(*kernel), self.points), self.points)

    def _slope(self, kernel: Entry, by: Entry) -> Any:
        """∂m_K/∂u."""
        return self.once((kernel, by), lambda: self.value(self._slopes(kernel)[by]))

    def first(self, kernel: Entry) -> Any:
        """n times what the mean of a features' kernel deviates by: Taylor to second order in the slow variables."""
        total = self._hessian_along_gradients(*kernel[1:]) if kernel[0] == "upsilon" else 0
        for u, terms in self._slopes(kernel).items():
            moved = self.state.first[u]
            if not is_zero(moved):
                total = total + moved * self._slope(kernel, u)
            for v, again in slopes(terms, self.points).items():
                before = self.state.own_covariance(u, v)
                if not is_zero(before):
                    total = total + before * self.value(again) / 2
        return total

    def _hessian_along_gradients(self, p1: int, p2: int) -> Any:
        r"""n E[\dot σ_1\ddot σ_2 Q_{iii,122} + \ddot σ_1\dot σ_2 Q_{iii,211}], Q_ijk,123 = ∇z_j(2)ᵀ Hz_i(1) ∇z_k(3)."""
        total: Any = 0
        for one, other in ((p1, p2), (p2, p1)):
            for c in self.points:
                at = one, other, other, c
                moved = self.state.t[at] + 2 * self.state.q[at]
                total = total + self.carried(moved, (((1, one), (2, other)), (c,)))
        return total

    def limit_behind(self, name: str, p1: int, p2: int, bias: Any) -> Any:
        """A kernel behind the weights in the limit; ``bias`` is β²."""
        parts = BEHIND_WEIGHTS[name].items()
        total = self.weight * sum(times * self.mean(feature(one, p1, p2)) for one, times in parts)
        return total + bias if "sigma" in BEHIND_WEIGHTS[name] else total

    def first_behind(self, name: str, p1: int, p2: int) -> Any:
        """n times what its mean deviates by."""
        return self.weight * sum(
            times * self.once(("first", kernel), partial(self.first, kernel))
            for kernel, times in _parts((name, p1, p2))
        )

    def between_behind(self, one: Entry, other: Entry) -> Any:
        """n Cov of two kernels behind the weights, of different neurons."""
        total: Any = 0
        for left, times in _parts(one):
            for right, again in _parts(other):
                pair = min(left, right), max(left, right)
                total = total + times * again * self.once(("covariance", pair), partial(self.covariance, *pair))
        return self.weight**2 * total


def _parts(kernel: Entry) -> list[tuple[Entry, int]]:
    """The features' kernels that make a kernel behind the weights, and how often each."""
    name, *points = kernel
    return [(entry(one, *points), times) for one, times in BEHIND_WEIGHTS[name].items()]
