r"""The recursion of the first order in 1/n, layer by layer, for every number type.

All hidden widths are n, or n/r_ℓ each. Indices 1, 2, 3, 4 number data points, here 0 for x and 1 for x'. With
:math:`C = σ_w^2`, expectations at the limit's Σ, and for a product F of derivatives of σ

.. math::
    h(F)_{γδ} = \tfrac12 E[∂_γ∂_δ F], \qquad f(F)_{γδεζ} = \tfrac14 E[∂_γ∂_δ∂_ε∂_ζ F],

a dot being the sum over pairs of points, n times the covariances of finite kernels obey

.. math::
    V^+_{1234} &= C^2 [r\,\mathrm{Cov}(σ_1σ_2, σ_3σ_4) + h(σ_1σ_2)·V·h(σ_3σ_4)] \\
    D^+_{1234} &= V^+_{1234} + P_{12,34} \\
    A^+_{1234} &= V^+_{1234} + P_{12,34} + P_{34,12} + C^2 [Θ_{12}Θ_{34} (r\,\mathrm{Cov}(\dot σ_1\dot σ_2, \dot σ_3\dot σ_4)
        + h(\dot σ_1\dot σ_2)·V·h(\dot σ_3\dot σ_4)) \\ &\quad + E[\dot σ_1\dot σ_2] E[\dot σ_3\dot σ_4] A_{1234}
        + Θ_{12} E[\dot σ_3\dot σ_4]\, h(\dot σ_1\dot σ_2)·D_{34} + Θ_{34} E[\dot σ_1\dot σ_2]\, h(\dot σ_3\dot σ_4)·D_{12}] \\
    P_{12,34} &= C^2 [Θ_{12} (r\,\mathrm{Cov}(\dot σ_1\dot σ_2, σ_3σ_4) + h(\dot σ_1\dot σ_2)·V·h(σ_3σ_4))
        + E[\dot σ_1\dot σ_2]\, h(σ_3σ_4)·D_{12}] \\
    F^+_{1324} &= C^2 [r\,Θ_{12} E[\dot σ_1σ_3\dot σ_2σ_4] + \sum_{γδ} E[∂_γ(\dot σ_1σ_3)] E[∂_δ(\dot σ_2σ_4)] F_{1γ2δ}] \\
    B^+_{1324} &= C^2 [r\,Θ_{12}Θ_{34} E[\dot σ_1\dot σ_3\dot σ_2\dot σ_4]
        + E[\dot σ_1\dot σ_3] E[\dot σ_2\dot σ_4] B_{1324}]

V belongs to two entries of Σ̂; D to Θ̂_ii,12 with z_j3 z_j4, A to Θ̂_ii,12 with Θ̂_jj,34, F to Θ̂_ij,12 with z_i3 z_j4, B to
Θ̂_ij,12 with Θ̂_ij,34 (i ≠ j neurons), W to Φ̂_12 with Σ̂_34. The corrections of the means are

.. math::
    G^+_{12} &= C [h(σ_1σ_2)·G + \tfrac12 f(σ_1σ_2)·V] \\
    Θ^{1+}_{12} &= G^+_{12} + C [E_{11}Θ^1_{12} + Θ_{12} (h(\dot σ_1\dot σ_2)·G + \tfrac12 f(\dot σ_1\dot σ_2)·V)
        + \sum_{γδ} h(\dot σ_1\dot σ_2)_{γδ} (D_{12γδ} + F_{1γ2δ} + F_{1δ2γ})]

and those of Φ and W in :meth:`Layer.phi` and :meth:`Layer.w`.

References
----------
Yaida (2019), "Non-Gaussian processes and neural networks at finite widths"; Roberts, Yaida, Hanin (2022), "The Principles of
Deep Learning Theory", chapters 4 and 8; Guillen, Misof, Gerken (2025), arXiv 2508.11522 (the same for any inputs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Protocol

Index = tuple[int, ...]
Factor = tuple[int, int]
Tensor = Mapping[Index, Any]


class Expectations(Protocol):
    """The expectations of one nonlinearity in one number type."""

    def __call__(self, row: Index, row_derivative: int, column: Index, column_derivative: int) -> Any:
        """E of the derivative of a product at x times that of one at x'; the orders of the factors are sorted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """The limit's kernels and the first-order tensors before a nonlinearity, by indices of points.

    Exact zeros are the integer 0: the first layer of weights is Gaussian at any width.
    """

    sigma: Tensor
    theta: Tensor
    phi: Tensor
    v: Tensor = field(default_factory=dict)
    d: Tensor = field(default_factory=dict)
    a: Tensor = field(default_factory=dict)
    f: Tensor = field(default_factory=dict)
    b: Tensor = field(default_factory=dict)
    w: Tensor = field(default_factory=dict)
    sigma_1: Tensor = field(default_factory=dict)
    theta_1: Tensor = field(default_factory=dict)
    phi_1: Tensor = field(default_factory=dict)


def _times(pairs: Iterable[tuple[Any, Callable[[], Any]]], divisor: int = 1) -> Any:
    """Σ value · factor() / divisor, without the factors of exact zeros."""
    total: Any = 0
    for value, factor in pairs:
        if not (isinstance(value, int) and value == 0):
            total = total + value * factor()
    return total if isinstance(total, int) else total / divisor


class Contractions:
    """Expectations of products at one nonlinearity, and their sums with the tensors before it.

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
    two: tuple[Index, ...]

    def __init__(self, state: State, expect: Expectations, weight: Any, ratio: Any, points: Index) -> None:
        self.state, self.expect, self.weight, self.ratio = state, expect, weight, ratio
        self.points = points
        self.two = tuple(product(points, repeat=2))
        self._made: dict[tuple[str, Index], Any] = {}

    def e(self, factors: Iterable[Factor], derivatives: Iterable[int] = ()) -> Any:
        """E of the product of σ^(order) at points, (order, point) each, differentiated at these points."""
        sides: tuple[list[int], list[int]] = ([], [])
        for order, point in factors:
            sides[point].append(order)
        count = [0, 0]
        for point in derivatives:
            count[point] += 1
        if any(times and not side for times, side in zip(count, sides, strict=True)):
            return 0
        return self.expect(tuple(sorted(sides[0])), count[0], tuple(sorted(sides[1])), count[1])

    def covariance(self, one: tuple[Factor, ...], other: tuple[Factor, ...]) -> Any:
        """Cov of two products."""
        return self.e(one + other) - self.e(one) * self.e(other)

    def h_dot(self, factors: tuple[Factor, ...], matrix: Callable[[int, int], Any], by: Index = ()) -> Any:
        """h(∂_by F)·M."""
        return _times(((matrix(*gd), partial(self.e, factors, (*by, *gd))) for gd in self.two), divisor=2)

    def f_dot_v(self, factors: tuple[Factor, ...], by: Index = ()) -> Any:
        """f(∂_by F)·V."""
        fours = product(self.points, repeat=4)
        return _times(
            ((self.state.v.get(four, 0), partial(self.e, factors, (*by, *four))) for four in fours), divisor=4
        )

    def h_v_h(self, one: tuple[Factor, ...], other: tuple[Factor, ...], by: Index = ()) -> Any:
        """h(∂_by F)·V·h(F')."""
        v = self.state.v
        return self.h_dot(one, lambda g, d: self.h_dot(other, lambda e, z: v.get((g, d, e, z), 0)), by)

    def once(self, name: str, index: Index, formula: Callable[[], Any]) -> Any:
        """A value that several entries share."""
        if (name, index) not in self._made:
            self._made[name, index] = formula()
        return self._made[name, index]

    def shift(self, factors: tuple[Factor, ...], by: Index = ()) -> Any:
        """h(∂_by F)·G + ½ f(∂_by F)·V: n times how E ∂_by F moves with the width."""
        return self.h_dot(factors, lambda g, d: self.state.sigma_1.get((g, d), 0), by) + self.f_dot_v(factors, by) / 2


class Layer(Contractions):
    """One nonlinearity and the weights behind it: every formula of the recursion."""

    def v(self, p1: int, p2: int, p3: int, p4: int) -> Any:
        """n Cov of Σ̂_12 and Σ̂_34."""
        one, other = sorted(((min(p1, p2), max(p1, p2)), (min(p3, p4), max(p3, p4))))
        left, right = _pair(0, *one), _pair(0, *other)
        return self.once(
            "v",
            (*one, *other),
            lambda: self.weight**2 * (self.ratio * self.covariance(left, right) + self.h_v_h(left, right)),
        )

    def p(self, p1: int, p2: int, p3: int, p4: int) -> Any:
        """The part of Θ̂_12 that is not Σ̂_12, with Σ̂_34."""
        p1, p2, p3, p4 = min(p1, p2), max(p1, p2), min(p3, p4), max(p3, p4)
        dot, plain, s = _pair(1, p1, p2), _pair(0, p3, p4), self.state
        return self.once(
            "p",
            (p1, p2, p3, p4),
            lambda: (
                self.weight**2
                * (
                    s.theta[p1, p2] * (self.ratio * self.covariance(dot, plain) + self.h_v_h(dot, plain))
                    + self.e(dot) * self.h_dot(plain, lambda g, d: s.d.get((p1, p2, g, d), 0))
                )
            ),
        )

    def d(self, p1: int, p2: int, p3: int, p4: int) -> Any:
        """n Cov of Θ̂_ii,12 and z_j3 z_j4."""
        return self.v(p1, p2, p3, p4) + self.p(p1, p2, p3, p4)

    def a(self, p1: int, p2: int, p3: int, p4: int) -> Any:
        """n Cov of Θ̂_ii,12 and Θ̂_jj,34."""
        (p1, p2), (p3, p4) = sorted(((min(p1, p2), max(p1, p2)), (min(p3, p4), max(p3, p4))))
        one, other, s = _pair(1, p1, p2), _pair(1, p3, p4), self.state
        return self.once(
            "a",
            (p1, p2, p3, p4),
            lambda: (
                self.v(p1, p2, p3, p4)
                + self.p(p1, p2, p3, p4)
                + self.p(p3, p4, p1, p2)
                + self.weight**2
                * (
                    s.theta[p1, p2]
                    * s.theta[p3, p4]
                    * (self.ratio * self.covariance(one, other) + self.h_v_h(one, other))
                    + self.e(one) * self.e(other) * s.a.get((p1, p2, p3, p4), 0)
                    + s.theta[p1, p2] * self.e(other) * self.h_dot(one, lambda g, d: s.d.get((p3, p4, g, d), 0))
                    + s.theta[p3, p4] * self.e(one) * self.h_dot(other, lambda g, d: s.d.get((p1, p2, g, d), 0))
                )
            ),
        )

    def f(self, p1: int, p3: int, p2: int, p4: int) -> Any:
        """n E of Θ̂_ij,12 z_i3 z_j4; indices in the order 1, 3, 2, 4."""
        one, other, s = ((1, p1), (0, p3)), ((1, p2), (0, p4)), self.state
        return self.weight**2 * (
            self.ratio * s.theta[p1, p2] * self.e(one + other)
            + _times((s.f.get((p1, g, p2, d), 0), partial(self._slopes, (one, g), (other, d))) for g, d in self.two)
        )

    def _slopes(self, one: tuple[tuple[Factor, ...], int], other: tuple[tuple[Factor, ...], int]) -> Any:
        """E[∂_γ F] E[∂_δ F']."""
        return self.e(one[0], (one[1],)) * self.e(other[0], (other[1],))

    def b(self, p1: int, p3: int, p2: int, p4: int) -> Any:
        """n E of Θ̂_ij,12 Θ̂_ij,34; indices in the order 1, 3, 2, 4."""
        one, other, s = _pair(1, p1, p3), _pair(1, p2, p4), self.state
        return self.weight**2 * (
            self.ratio * s.theta[p1, p2] * s.theta[p3, p4] * self.e(one + other)
            + self.e(one) * self.e(other) * s.b.get((p1, p3, p2, p4), 0)
        )

    def sigma_1(self, p1: int, p2: int) -> Any:
        """n (E Σ̂ − Σ)."""
        return self.weight * self.shift(_pair(0, p1, p2))

    def theta_1(self, p1: int, p2: int) -> Any:
        """n (E Θ̂ − Θ)."""
        dot, s = _pair(1, p1, p2), self.state
        return self.sigma_1(p1, p2) + self.weight * (
            self.e(dot) * s.theta_1.get((p1, p2), 0)
            + s.theta[p1, p2] * self.shift(dot)
            + self.h_dot(dot, lambda g, d: self._with_values(p1, p2, g, d))
        )

    def _with_values(self, p1: int, p2: int, g: int, d: int) -> Any:
        s = self.state
        return s.d.get((p1, p2, g, d), 0) + s.f.get((p1, g, p2, d), 0) + s.f.get((p1, d, p2, g), 0)

    def phi_1(self, p1: int, p2: int) -> Any:
        r"""n (E Φ̂ − Φ), the row p1 being g's argument.

        .. math::
            Φ^{1+}_{12} = C \Big[ \sum_γ \big( e_γ Φ^1_{1γ} + Φ_{1γ} (h_γ·G + \tfrac12 f_γ·V) + h_γ·W_{1γ} \big)
                + E[\ddot σ_1σ_2] Θ^1_{11} + Θ_{11} (h(\ddot σ_1σ_2)·G + \tfrac12 f(\ddot σ_1σ_2)·V)
                + h(\ddot σ_1σ_2)·(D + F + F^T)_{11} \Big]

        with :math:`e_γ = E[∂_γ(\dot σ_1σ_2)]`, :math:`h_γ = h(∂_γ(\dot σ_1σ_2))`, f_γ likewise.
        """
        slope, bend, s = ((1, p1), (0, p2)), ((2, p1), (0, p2)), self.state
        total = self.e(bend) * s.theta_1.get((p1, p1), 0) + s.theta[p1, p1] * self.shift(bend)
        total = total + self.h_dot(bend, lambda g, d: self._with_values(p1, p1, g, d))
        for c in self.points:
            terms = (
                (s.phi_1.get((p1, c), 0), partial(self.e, slope, (c,))),
                (s.phi[p1, c], partial(self.shift, slope, (c,))),
            )
            total = total + _times(terms) + self.h_dot(slope, partial(self._w_of, p1, c), (c,))
        return self.weight * total

    def w(self, p1: int, p2: int, p3: int, p4: int) -> Any:
        r"""n Cov of Φ̂_12 and Σ̂_34.

        .. math::
            W^+_{12,34} = C^2 \Big[ r \Big( \sum_γ E[∂_γ(\dot σ_1σ_2σ_3σ_4)] Φ_{1γ} + Θ_{11} E[\ddot σ_1σ_2σ_3σ_4]
                - \big(\sum_γ e_γ Φ_{1γ} + Θ_{11} E[\ddot σ_1σ_2]\big) E[σ_3σ_4] \Big)
                + \sum_γ \big(Φ_{1γ}\, h_γ·V·h(σ_3σ_4) + e_γ W_{1γ}·h(σ_3σ_4)\big)
                + Θ_{11}\, h(\ddot σ_1σ_2)·V·h(σ_3σ_4) + E[\ddot σ_1σ_2]\, D_{11}·h(σ_3σ_4) \Big]
        """
        slope, bend, plain, s = ((1, p1), (0, p2)), ((2, p1), (0, p2)), _pair(0, p3, p4), self.state
        now = s.theta[p1, p1] * (self.e(bend + plain) - self.e(bend) * self.e(plain))
        later = s.theta[p1, p1] * self.h_v_h(bend, plain)
        later = later + self.e(bend) * self.h_dot(plain, lambda g, d: s.d.get((p1, p1, g, d), 0))
        for c in self.points:
            now = now + _times([(s.phi[p1, c], partial(self._slope_covariance, slope, plain, c))])
            held = self.h_dot(plain, partial(self._w_of, p1, c))
            terms = (s.phi[p1, c], partial(self.h_v_h, slope, plain, (c,))), (held, partial(self.e, slope, (c,)))
            later = later + _times(terms)
        return self.weight**2 * (self.ratio * now + later)

    def _w_of(self, p1: int, c: int, g: int, d: int) -> Any:
        return self.state.w.get((p1, c, g, d), 0)

    def _slope_covariance(self, slope: tuple[Factor, ...], plain: tuple[Factor, ...], c: int) -> Any:
        """E[∂_c(σ̇1σ2σ3σ4)] − E[∂_c(σ̇1σ2)] E[σ3σ4]."""
        return self.e(slope + plain, (c,)) - self.e(slope, (c,)) * self.e(plain)


def _pair(order: int, p1: int, p2: int) -> tuple[Factor, ...]:
    """σ^(order) at two points."""
    return ((order, p1), (order, p2))
