r"""What couples two different neurons i ≠ j of a layer: means of products that the weights behind make of order 1/n.

With Q_ijk,123 = ∇z_j(2)ᵀ Hz_i(1) ∇z_k(3) (the literature's dNTK), n times

.. math::
    F_{1324} = E[\hatΘ_{ij,12} z_{i3} z_{j4}], \quad B_{1324} = E[\hatΘ_{ij,12}\hatΘ_{ij,34}], \quad
    E_{1324} = E[\hatΘ_{ij,12} g_{i3} z_{j4}], \quad R_{1324} = E[\hatΥ_{ij,12} z_{i3} z_{j4}], \\
    T_{1234} = E[\hat Q_{ijj,123} z_{i4}], \quad Q_{1234} = E[\hat Q_{iij,123} z_{j4}] .

Each has the terms of one neuron of the layer before (with r), and those of two of its neurons, which the same tensors before
couple: with one insertion of a tensor the expectation falls into one factor a neuron.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from kernelcalc.kernels.first_order.features import Factor, Monomial, entry, feature, laplacian, products
from kernelcalc.kernels.first_order.recursion import Layer, Tensor


def _two(order: int, p1: int, other: int, p2: int) -> tuple[Factor, Factor]:
    """σ^(order)_p1 σ^(other)_p2."""
    return (order, p1), (other, p2)


class Coupled(Layer):
    """The tensors behind one nonlinearity and its weights; indices stand in the order of the formulas' subscripts."""

    def _theta(self, p1: int, p2: int) -> Any:
        return self.state.limits[entry("theta", p1, p2)]

    def _both(self, tensor: Tensor, p1: int, p2: int, one: tuple[Factor, ...], other: tuple[Factor, ...]) -> Any:
        """Σ_γδ E[∂_γF] E[∂_δF'] tensor_1γ2δ."""
        terms = (
            self.carried(tensor[p1, c, p2, d], (one, (c,)), (other, (d,))) for c, d in product(self.points, repeat=2)
        )
        return sum(terms)

    def f(self, p1: int, p3: int, p2: int, p4: int) -> Any:
        r"""F.

        .. math::
            F^+_{1324} = C^2 \Big[ r\,Θ_{12} E[\dot σ_1σ_3\dot σ_2σ_4]
                + \sum_{γδ} E[∂_γ(\dot σ_1σ_3)] E[∂_δ(\dot σ_2σ_4)] F_{1γ2δ} \Big]
        """
        one, other = _two(1, p1, 0, p3), _two(1, p2, 0, p4)
        own = self._theta(p1, p2) * self.expectation(one + other)
        return self.weight**2 * (self.ratio * own + self._both(self.state.f, p1, p2, one, other))

    def b(self, p1: int, p3: int, p2: int, p4: int) -> Any:
        r"""B.

        .. math::
            B^+_{1324} = C^2 [ r\,Θ_{12}Θ_{34} E[\dot σ_1\dot σ_3\dot σ_2\dot σ_4]
                + E[\dot σ_1\dot σ_3] E[\dot σ_2\dot σ_4] B_{1324} ]
        """
        one, other = _two(1, p1, 1, p3), _two(1, p2, 1, p4)
        own = self._theta(p1, p2) * self._theta(p3, p4) * self.expectation(one + other)
        before = self.carried(self.state.b[p1, p3, p2, p4], (one, ()), (other, ()))
        return self.weight**2 * (self.ratio * own + before)

    def e(self, p1: int, p3: int, p2: int, p4: int) -> Any:
        r"""E.

        .. math::
            E^+_{1324} = C^2 \Big[ r\,Θ_{12} E[\dot σ_1 g^α_3\dot σ_2σ_4] + \sum_δ E[∂_δ(\dot σ_2σ_4)] \Big(
                E[\dot σ_1\dot σ_3] E_{132δ} + \sum_γ F_{1γ2δ} \Big( \sum_ε Φ_{3ε} E[∂_γ∂_ε(\dot σ_1\dot σ_3)]
                + Θ_{33} E[∂_γ(\dot σ_1\ddot σ_3)] \Big) \Big) \Big]
        """
        s, slope, bend, other = self.state, _two(1, p1, 1, p3), _two(1, p1, 2, p3), _two(1, p2, 0, p4)
        own = self._theta(p1, p2) * self.mean(products(laplacian(p3), [Monomial((), ((1, p1), *other))]))
        before: Any = 0
        for d in self.points:
            before = before + self.carried(s.e[p1, p3, p2, d], (slope, ()), (other, (d,)))
            for c in self.points:
                f = s.f[p1, c, p2, d]
                before = before + self._theta(p3, p3) * self.carried(f, (bend, (c,)), (other, (d,)))
                for k in self.points:
                    moved = self.carried(f, (slope, (c, k)), (other, (d,)))
                    before = before + s.limits["phi", p3, k] * moved
        return self.weight**2 * (self.ratio * own + before)

    def r(self, p1: int, p3: int, p2: int, p4: int) -> Any:
        r"""R.

        .. math::
            R^+_{1324} = C^2 \Big[ r\,E[Υ^α_{12}σ_3σ_4] + \sum_{γδ} E[∂_γ(\dot σ_1σ_3)] E[∂_δ(\dot σ_2σ_4)] R_{1γ2δ}
                + E[\ddot σ_1σ_3] E[\ddot σ_2σ_4] B_{1122} \\ + \sum_γ \big( E[∂_γ(\dot σ_1σ_3)] E[\ddot σ_2σ_4] T_{122γ}
                + E[\ddot σ_1σ_3] E[∂_γ(\dot σ_2σ_4)] T_{211γ} \big) \Big]
        """
        s, one, other = self.state, _two(1, p1, 0, p3), _two(1, p2, 0, p4)
        bend, other_bend = _two(2, p1, 0, p3), _two(2, p2, 0, p4)
        before = self._both(s.r, p1, p2, one, other)
        before = before + self.carried(s.b[p1, p1, p2, p2], (bend, ()), (other_bend, ()))
        for c in self.points:
            before = before + self.carried(s.t[p1, p2, p2, c], (one, (c,)), (other_bend, ()))
            before = before + self.carried(s.t[p2, p1, p1, c], (bend, ()), (other, (c,)))
        own = self.mean(products(feature("upsilon", p1, p2), feature("sigma", p3, p4)))
        return self.weight**2 * (self.ratio * own + before)

    def t(self, p1: int, p2: int, p3: int, p4: int) -> Any:
        r"""T.

        .. math::
            T^+_{1234} = C^2 \Big[ r\,Θ_{12}Θ_{13} E[\ddot σ_1\dot σ_2\dot σ_3σ_4] + E[\dot σ_2\dot σ_3] \Big(
                \sum_γ E[∂_γ(\dot σ_1σ_4)] T_{123γ} + E[\ddot σ_1σ_4] B_{1123} \Big) \Big]
        """
        s, slope, slopes = self.state, _two(1, p1, 0, p4), _two(1, p2, 1, p3)
        before = self.carried(s.b[p1, p1, p2, p3], (_two(2, p1, 0, p4), ()), (slopes, ()))
        for c in self.points:
            before = before + self.carried(s.t[p1, p2, p3, c], (slope, (c,)), (slopes, ()))
        return self.weight**2 * (self.ratio * self._one_neuron(p1, p2, p3, p4) + before)

    def q(self, p1: int, p2: int, p3: int, p4: int) -> Any:
        r"""Q.

        .. math::
            Q^+_{1234} = F^+_{1234} + C^2 \Big[ r\,Θ_{12}Θ_{13} E[\ddot σ_1\dot σ_2\dot σ_3σ_4]
                + \sum_δ E[∂_δ(\dot σ_3σ_4)] \Big( E[\dot σ_1\dot σ_2] Q_{123δ}
                + Θ_{12} \sum_γ E[∂_γ(\ddot σ_1\dot σ_2)] F_{1γ3δ} \Big) \Big]

        F⁺ comes from the derivatives in the layer's own weights; its subscripts are those of Q here.
        """
        s, other = self.state, _two(1, p3, 0, p4)
        before = self._theta(p1, p2) * self._both(s.f, p1, p3, _two(2, p1, 1, p2), other)
        for d in self.points:
            before = before + self.carried(s.q[p1, p2, p3, d], (_two(1, p1, 1, p2), ()), (other, (d,)))
        own = self.ratio * self._one_neuron(p1, p2, p3, p4)
        return self.f(p1, p2, p3, p4) + self.weight**2 * (own + before)

    def _one_neuron(self, *points: int) -> Any:
        """Θ12 Θ13 E[σ̈1 σ̇2 σ̇3 σ4]."""
        p1, p2, p3, p4 = points
        factors = ((2, p1), (1, p2), (1, p3), (0, p4))
        return self._theta(p1, p2) * self._theta(p1, p3) * self.expectation(factors)
