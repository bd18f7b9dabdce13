r"""Limiting kernels of a network as SymPy expressions, by the same layer step as the numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy as sp

from kernelcalc.errors import InputError, SmoothnessError, UnknownNameError
from kernelcalc.expressions import exact as algebra
from kernelcalc.expressions.atoms import NotInAlgebra, exact_numbers, heaviside_form, x
from kernelcalc.expressions.orthant import BinormalCDF, OwensT
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.expressions.tidy import tidy
from kernelcalc.kernels.state import (
    KERNEL_NAMES,
    DiagonalKernels,
    PairKernels,
    closure,
    diagonal_of,
    expectation_orders,
    first_layer,
    layer_step,
)
from kernelcalc.kernels.symbolic.expectation import GaussianExpectation

SYMBOLIC_NAMES = (*KERNEL_NAMES, "sigma_dot", "sigma_ddot")

_ORDERS = {"sigma_dot": (1, 1), "sigma_ddot": (2, 2)}
_HEADS = {"sigma": "Sigma", "theta": "Theta", "phi": "Phi", "lam": "Lambda", "upsilon": "Upsilon", "xi": "Xi"}

Covariance = tuple[sp.Expr, sp.Expr, sp.Expr]


def kernel(
    name: str, net: Any, *, diagonal: bool = False, sigma_w: Any = None, beta: Any = None, depth: int | None = None
) -> sp.Expr:
    r"""A limiting kernel as an expression in q, q', c = the first layer's Σ(x,x), Σ(x',x'), Σ(x,x').

    Expectations without a closed form appear as :class:`GaussianExpectation` objects.

    Parameters
    ----------
    name : str
        One of ``sigma, theta, phi, lam, upsilon, xi`` (the last layer's), ``sigma_dot``, ``sigma_ddot`` (E11, E22 of
        the last activation).
    net : MLP
        Gives the activations, the depth, σ_w and β.
    diagonal : bool
        The kernel at (x, x), in ``q`` alone: the limit of coinciding points.
    sigma_w, beta : number or sympy.Expr, optional
        In place of the net's numbers, for instance symbols.
    depth : int, optional
        The kernel of this layer instead of the last.

    Raises
    ------
    UnknownNameError
        No such kernel.
    SmoothnessError
        Φ, Λ, Υ or Ξ of a nonlinearity outside C⁴, Θ of one that jumps.
    DivergentExpectationError
        An expectation of the closed form is infinite.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 and Appendix C, Lemmas 3 to 5.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> act = SimpleNamespace(expr=sp.Max(x, 0), smoothness=0, name="relu")
    >>> net = SimpleNamespace(activations=(act,), depth=2, sigma_w=sp.sqrt(2), beta=0)
    >>> kernel("sigma", net)
    c*asin(c/(sqrt(q)*sqrt(q')))/pi + c/2 + sqrt(-c**2 + q*q')/pi
    >>> kernel("theta", net, diagonal=True)
    2*q
    """
    return _Recursion(name, net, sigma_w, beta, depth).run(diagonal)


def equations(name: str, net: Any, *, sigma_w: Any = None, beta: Any = None) -> list[sp.Eq]:
    """The kernel layer by layer, each layer in the symbols of the one before: deep networks in readable lines.

    ``Sigma_2`` is Σ^(2)(x, x'), ``Sigma_2_row`` its value at (x, x) and ``Sigma_2_column`` at (x', x').

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> act = SimpleNamespace(expr=sp.erf(x), smoothness=float("inf"), name="erf")
    >>> net = SimpleNamespace(activations=(act, act), depth=3, sigma_w=1, beta=0)
    >>> for equation in equations("sigma", net):
    ...     print(equation.lhs, "=", equation.rhs)
    Sigma_2_row = 2*asin(2*q/(2*q + 1))/pi
    Sigma_2_column = 2*asin(2*q'/(2*q' + 1))/pi
    Sigma_2 = 2*asin(2*c/(sqrt(2*q + 1)*sqrt(2*q' + 1)))/pi
    Sigma_3 = 2*asin(2*Sigma_2/(sqrt(2*Sigma_2_column + 1)*sqrt(2*Sigma_2_row + 1)))/pi
    """
    return _Recursion(name, net, sigma_w, beta, None).chain()


class _Recursion:
    def __init__(self, name: str, net: Any, sigma_w: Any, beta: Any, depth: int | None) -> None:
        if name not in SYMBOLIC_NAMES:
            raise UnknownNameError("a kernel", name, SYMBOLIC_NAMES)
        self.name = name
        self.depth = net.depth if depth is None else depth
        if not 1 <= self.depth <= net.depth:
            raise InputError(f"a depth between 1 and the net's {net.depth}", f"depth={self.depth}")
        if name in _ORDERS and self.depth < 2:
            raise InputError("a depth of at least 2 for the derivatives of Σ", f"depth={self.depth}")
        self.activations = tuple(net.activations)[: self.depth - 1]
        self.carried = closure(("sigma",) if name in _ORDERS else (name,))
        _check_smooth(name, self.activations)
        self.sigma_w2 = squared(net.sigma_w if sigma_w is None else sigma_w)
        self.beta2 = squared(net.beta if beta is None else beta)
        self.orders = expectation_orders(self.carried)
        self.diagonal_orders = expectation_orders(self.carried & {"sigma", "theta", "phi"})

    def run(self, diagonal: bool) -> sp.Expr:
        """The last layer in q, q', c."""
        pair = first_layer(algebra.q if diagonal else algebra.c, self.carried, sp.S.Zero)
        at = diagonal_of(first_layer(algebra.q, self.carried, sp.S.Zero))
        for layer, act in enumerate(self.activations, start=2):
            column = at if diagonal else _swapped(at)
            covariance = (at.sigma, column.sigma, at.sigma if diagonal else pair.sigma)
            if layer == self.depth and self.name in _ORDERS:
                return self._neat(expectation(act, act, _ORDERS[self.name], covariance), layer)
            pair = self._step(pair, at, column, act, covariance, layer)
            if layer < self.depth:
                at = diagonal_of(pair) if diagonal else self._diagonal_step(at, act, layer)
        return getattr(pair, self.name)

    def _step(
        self,
        pair: PairKernels,
        row: DiagonalKernels,
        column: DiagonalKernels,
        act: Any,
        covariance: Covariance,
        layer: int,
    ) -> PairKernels:
        e = {order: expectation(act, act, order, covariance) for order in self.orders}
        out = layer_step(pair, row, column, e, self.sigma_w2, self.beta2)
        return PairKernels(**{k: None if v is None else self._neat(v, layer) for k, v in vars(out).items()})

    def _diagonal_step(self, at: DiagonalKernels, act: Any, layer: int) -> DiagonalKernels:
        pair = PairKernels(sigma=at.sigma, theta=at.theta, phi=at.phi)
        e = {order: expectation(act, act, order, (at.sigma,) * 3) for order in self.diagonal_orders}
        out = layer_step(pair, at, at, e, self.sigma_w2, self.beta2)
        neat = {k: getattr(out, k) for k in ("sigma", "theta", "phi")}
        return DiagonalKernels(**{k: None if v is None else self._neat(v, layer) for k, v in neat.items()})

    def _neat(self, value: sp.Expr, layer: int) -> sp.Expr:
        # Past layer 2 the formulas are nested; pulling them apart would only lengthen them.
        return tidy(value) if layer == 2 and not value.has(GaussianExpectation) else value

    def chain(self) -> list[sp.Eq]:
        """Layer by layer, in symbols for the layer before."""
        at = diagonal_of(first_layer(algebra.q, self.carried, sp.S.Zero))
        column = _swapped(at)
        pair = first_layer(algebra.c, self.carried, sp.S.Zero)
        lines: list[sp.Eq] = []
        for layer, act in enumerate(self.activations, start=2):
            covariance = (at.sigma, column.sigma, pair.sigma)
            if layer == self.depth and self.name in _ORDERS:
                value = tidy(expectation(act, act, _ORDERS[self.name], covariance))
                return [*lines, sp.Eq(sp.Symbol(f"{self.name}_{layer}"), value, evaluate=False)]
            new = self._step(pair, at, column, act, covariance, 2)
            if layer == self.depth:
                value = getattr(new, self.name)
                return [*lines, sp.Eq(sp.Symbol(f"{_HEADS[self.name]}_{layer}", real=True), value, evaluate=False)]
            new_at, new_column = (self._diagonal_step(one, act, 2) for one in (at, column))
            at, column = (_named(v, f"_{layer}_{side}", lines) for v, side in ((new_at, "row"), (new_column, "column")))
            pair = _named(new, f"_{layer}", lines)
        return [sp.Eq(sp.Symbol(f"{_HEADS[self.name]}_1"), getattr(pair, self.name), evaluate=False)]


def _named(values: Any, suffix: str, lines: list[sp.Eq]) -> Any:
    """Replace a layer's kernels by symbols, writing down what they stand for."""
    out = {}
    for field, value in vars(values).items():
        if value is None or value.is_number:
            out[field] = value
            continue
        head = _HEADS[field.removesuffix("_t")] + ("T" if field.endswith("_t") else "")
        positive = field == "sigma" and suffix.endswith(("row", "column"))
        symbol = sp.Symbol(head + suffix, positive=True) if positive else sp.Symbol(head + suffix, real=True)
        lines.append(sp.Eq(symbol, value, evaluate=False))
        out[field] = symbol
    return type(values)(**out)


def _swapped(at: DiagonalKernels) -> DiagonalKernels:
    """The diagonal kernels at x' from those at x."""
    return DiagonalKernels(
        **{k: None if v is None else v.xreplace({algebra.q: algebra.qp}) for k, v in vars(at).items()}
    )


def _check_smooth(name: str, activations: tuple[Any, ...]) -> None:
    from kernelcalc.kernels.gram import refused_kernels

    refused = refused_kernels(activations)
    if name in refused:
        raise SmoothnessError(*refused[name].split("|"))


def squared(scale: Any) -> sp.Expr:
    """σ_w² or β² as an exact number: of a float the simple fraction it rounds to, else the decimal that was typed.

    Examples
    --------
    >>> squared(2**0.5), squared(0.1)
    (2, 1/100)
    """
    if isinstance(scale, float):
        # Four units in the last place: a root taken in float64, squared again.
        simple = Fraction(scale * scale).limit_denominator(10**4)
        if abs(simple - Fraction(scale) ** 2) <= Fraction(scale) ** 2 * 4 * Fraction(2) ** -53:
            return sp.Rational(simple.numerator, simple.denominator)
    return exact_numbers(to_sympy(scale)) ** 2


def expectation(f: Any, g: Any, orders: tuple[int, int], covariance: Covariance) -> sp.Expr:
    """E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] of two activations: closed form, or an unevaluated :class:`GaussianExpectation`."""
    try:
        return algebra.exact_expectation(f.expr, g.expr, *covariance, orders=orders)
    except NotInAlgebra:
        left, right = (sp.diff(heaviside_form(h.expr), x, k) for h, k in zip((f, g), orders, strict=True))
        return GaussianExpectation(left, right, *covariance)


def taylor(expr: sp.Expr, symbol: sp.Symbol, order: int, at: Any = 0) -> list[sp.Expr]:
    """Taylor coefficients of orders 0..order, by repeated differentiation (Price's theorem inside).

    Examples
    --------
    >>> taylor(sp.asin(algebra.c), algebra.c, 5)
    [0, 1, 0, 1/6, 0, 3/40]
    """
    out = []
    for k in range(order + 1):
        value = expr.subs(symbol, at)
        out.append(
            sp.simplify(value / sp.factorial(k)) if not value.has(GaussianExpectation) else value / sp.factorial(k)
        )
        if k < order:
            expr = sp.diff(expr, symbol)
    return out


def at_rho_one(expr: sp.Expr) -> sp.Expr:
    """Limit c → √(qq'): x' approaches a multiple of x.

    Raises
    ------
    InputError
        For forms with bivariate normal probabilities (kinks away from 0, as hard_tanh): take numbers or the diagonal.

    Examples
    --------
    >>> from kernelcalc.kernels.symbolic import c, q, qp
    >>> at_rho_one(c * sp.asin(c / sp.sqrt(q * qp)) / sp.pi + sp.sqrt(q * qp - c**2))
    sqrt(q)*sqrt(q')/2
    """
    if expr.has(BinormalCDF, OwensT):
        raise InputError(
            "a form without bivariate normal probabilities",
            "one whose limit depends on which kink comes first",
            "take kernel(..., diagonal=True) for q = q', or put numbers with c² = qq' into exact_expectation",
        )
    c, bound = algebra.c, sp.sqrt(algebra.q * algebra.qp)
    value = expr.subs(c, bound)
    if not value.has(sp.nan, sp.zoo, sp.oo):
        return sp.simplify(value)
    rho = sp.Symbol("rho", positive=True)
    return sp.simplify(sp.limit(expr.subs(c, rho * bound), rho, 1, "-"))
