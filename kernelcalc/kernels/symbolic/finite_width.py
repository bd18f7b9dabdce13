r"""Corrections of first order in 1/n at one point, as SymPy expressions, by the same recursion as the numbers."""

from __future__ import annotations

from typing import Any

import sympy as sp

from kernelcalc.activations.activation import ONE, Activation
from kernelcalc.arguments import check_name
from kernelcalc.expressions import exact as algebra
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.expressions.tidy import tidy
from kernelcalc.kernels.first_order.entries import READ
from kernelcalc.kernels.first_order.features import Index
from kernelcalc.kernels.first_order.layers import behind, first_state, hidden_layers
from kernelcalc.kernels.first_order.numbers import Cached
from kernelcalc.kernels.first_order.products import leibniz, product
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.symbolic.expectation import GaussianExpectation
from kernelcalc.kernels.symbolic.kernels import Symbols, expectation
from kernelcalc.patience import watched

# Operations up to which an expression is simplified (measured: beyond, seconds to minutes).
LONGEST_TIDIED = 300


@watched("a smaller depth is faster, and kernelcalc.finite_width in numbers")
def finite_width(name: str, net: Network, *, sigma_w: Any = None, beta: Any = None) -> sp.Expr:
    r"""A coefficient of 1/n at one point, in q = the first layer's Σ(x, x).

    Expectations without a closed form (E[erf⁴] is one) appear as
    :class:`~kernelcalc.kernels.symbolic.GaussianExpectation` objects.

    Parameters
    ----------
    name : str
        ``sigma``, ``theta``, ``phi``, ``theta_variance`` or another array of :class:`FiniteWidth`.
    net : Network
        A fully connected one.
    sigma_w, beta : number or sympy.Expr, optional
        In place of the net's numbers, for instance symbols.

    Raises
    ------
    UnknownNameError, InputError
        No such array; a network that is not fully connected.
    SmoothnessError, DivergentExpectationError
        If it needs a derivative that does not exist.

    References
    ----------
    Roberts, Yaida, Hanin (2022), chapters 4 and 8; see :mod:`kernelcalc.kernels.first_order.recursion`.

    Examples
    --------
    Three linear layers: Θ̂ has no bias, n Var Θ̂ is a polynomial.

    >>> import kernelcalc as kc
    >>> net = kc.MLP("x", depth=3, beta=0)
    >>> finite_width("theta", net), finite_width("theta_variance", net)
    (0, 20*q**2)
    """
    check_name("an array of the first order", name, READ)
    hidden = hidden_layers(net, ())
    numbers = Symbols(sigma_w, beta)
    state = first_state({(0, 0): algebra.q})
    for layer in hidden:
        state = behind(layer, state, _AtPoint(layer.activation, state.limits["sigma", 0, 0]), numbers, (0,))
    found = to_sympy(READ[name](state, 0, 0))
    return _tidied(found)


def _tidied(found: sp.Expr) -> sp.Expr:
    """Short expressions in their simplest form; long ones would only take minutes."""
    return tidy(found) if not found.has(GaussianExpectation) and found.count_ops() <= LONGEST_TIDIED else found


class _AtPoint(Cached):
    """SymPy expressions at one point."""

    def __init__(self, act: Activation, sigma: sp.Expr) -> None:
        super().__init__(act)
        self.sigma = sigma

    def __call__(self, row: Index, row_derivative: int, column: Index, column_derivative: int) -> sp.Expr:
        """E of the derivative of a product; of two smooth factors by Leibniz' rule, as E[σ^(i)(a) σ^(j)(a)]."""
        if self.act.kinks or len(row) != 2:
            return super().__call__(row, row_derivative, column, column_derivative)
        key = row, row_derivative, column, column_derivative
        if key not in self.known:
            at = (self.sigma,) * 3
            terms = leibniz(row, row_derivative).items()
            found = sp.Add(*(count * expectation(self.act, self.act, (i, j), at) for (i, j), count in terms))
            self.known[key] = _tidied(found)
        return self.known[key]

    def of_one(self, orders: Index, derivative: int, side: int) -> sp.Expr:
        """Closed form, or an unevaluated object."""
        return expectation(product(self.act, orders, derivative), ONE, (0, 0), (self.sigma, sp.S.One, sp.S.Zero))
