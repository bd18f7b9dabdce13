r"""Limiting kernels of a network as SymPy expressions, by the same layer step as the numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import sympy as sp

from kernelcalc.arguments import check_count, check_name, flag, shown
from kernelcalc.errors import ExpressionError, InputError
from kernelcalc.expressions import exact as algebra
from kernelcalc.expressions.atoms import NotInAlgebra, exact_numbers, heaviside_form, x
from kernelcalc.expressions.orthant import BinormalCDF, OwensT
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.expressions.tidy import tidy
from kernelcalc.expressions.zeros import FAILURES, simplified
from kernelcalc.kernels.fold import (
    Numbers,
    Orders,
    Pairs,
    Step,
    ends_a_layer,
    first_diagonal,
    first_kernels,
    plan,
    take_diagonals,
)
from kernelcalc.kernels.layers import UNITY, Dense, Order, Scales
from kernelcalc.kernels.network import Network, check_network, refusals
from kernelcalc.kernels.state import DIAGONAL, KERNELS, DiagonalKernels, PairKernels, plain
from kernelcalc.kernels.symbolic.expectation import GaussianExpectation
from kernelcalc.patience import watched

SYMBOLIC_NAMES = tuple(KERNELS)

Covariance = tuple[sp.Expr, sp.Expr, sp.Expr]


@watched("a smaller depth is faster, and kernels in numbers")
def kernel(
    name: str, net: Network, *, diagonal: bool = False, sigma_w: Any = None, beta: Any = None, depth: int | None = None
) -> sp.Expr:
    r"""A limiting kernel as an expression in q, q', c = the first layer's Σ(x,x), Σ(x',x'), Σ(x,x').

    Expectations without a closed form appear as :class:`GaussianExpectation` objects.

    Parameters
    ----------
    name : str
        One of ``sigma, theta, phi, lam, upsilon, xi`` (the last layer's), ``sigma_dot``, ``sigma_ddot`` (E11, E22 of
        the last nonlinearity).
    net : Network
        Gives the layers.
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
    >>> import kernelcalc as kc
    >>> net = kc.MLP("relu", depth=2, sigma_w=2**0.5, beta=0)
    >>> kernel("sigma", net)
    c*asin(c/(sqrt(q)*sqrt(q')))/pi + c/2 + sqrt(-c**2 + q*q')/pi
    >>> kernel("theta", net, diagonal=True)
    2*q
    """
    return _Recursion(name, net, sigma_w, beta, depth).run(flag("diagonal", diagonal))


@watched("a smaller depth is faster, and kernels in numbers")
def equations(name: str, net: Network, *, sigma_w: Any = None, beta: Any = None) -> list[sp.Eq]:
    """The kernel layer by layer, each layer in the symbols of the one before: deep networks in readable lines.

    ``Sigma_2`` is Σ^(2)(x, x'), ``Sigma_2_row`` its value at (x, x) and ``Sigma_2_column`` at (x', x').

    Raises
    ------
    UnknownNameError
        Another kernel.
    SmoothnessError
        The nonlinearity has too few derivatives for it.
    InputError
        A network with positions.

    Examples
    --------
    >>> import kernelcalc as kc
    >>> for equation in equations("sigma", kc.MLP("erf", depth=3, beta=0)):
    ...     print(equation.lhs, "=", equation.rhs)
    Sigma_2_row = 2*asin(2*q/(2*q + 1))/pi
    Sigma_2_column = 2*asin(2*q'/(2*q' + 1))/pi
    Sigma_2 = 2*asin(2*c/(sqrt(2*q + 1)*sqrt(2*q' + 1)))/pi
    Sigma_3 = 2*asin(2*Sigma_2/(sqrt(2*Sigma_2_column + 1)*sqrt(2*Sigma_2_row + 1)))/pi
    """
    return _Recursion(name, net, sigma_w, beta, None).chain()


class Symbols(Numbers):
    """SymPy expressions; σ_w and β of all layers may be replaced, by symbols for instance."""

    def __init__(self, sigma_w: Any, beta: Any) -> None:
        self._sigma_w, self._beta = sigma_w, beta
        self._diagonals: dict[Any, dict[Order, sp.Expr]] = {}

    def zeros(self, like: Any) -> sp.Expr:
        """0."""
        return sp.S.Zero

    def number(self, value: float) -> sp.Expr:
        """The decimal that was typed.

        Raises
        ------
        ExpressionError
            No number.
        """
        return exact_numbers(to_sympy(value))

    def scales(self, dense: Dense) -> Scales:
        """σ_w², β² and the rates."""
        bias = squared(dense.beta if self._beta is None else self._beta)
        gradient = bias if dense.bias_gradient is None else self.number(dense.bias_gradient)
        weight = squared(dense.sigma_w if self._sigma_w is None else self._sigma_w)
        rate = UNITY if dense.weight_rate == 1 else self.number(dense.weight_rate)
        return Scales(weight=weight, bias=bias, weight_rate=rate, bias_gradient=gradient)

    def root(self, value: Any) -> sp.Expr:
        """√."""
        return sp.sqrt(value)

    def on_diagonal(self, step: Step, at: DiagonalKernels, orders: Orders) -> dict[Order, sp.Expr]:
        """E_ij at (x, x); at (x', x') the same with q' for q."""
        act, sigma = step.activation, at.sigma.xreplace({algebra.qp: algebra.q})
        if (key := (act, sigma, orders)) not in self._diagonals:
            self._diagonals[key] = {order: expectation(act, act, order, (sigma,) * 3) for order in orders}
        swap = {} if sigma == at.sigma else {algebra.q: algebra.qp}
        return {order: value.xreplace(swap) for order, value in self._diagonals[key].items()}

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[Order, sp.Expr], None]:
        """E_ij at (x, x')."""
        (row, column), act = pairs.sides(step, k), step.activation
        covariance = (row.sigma, column.sigma, k.sigma)
        return {order: expectation(act, act, order, covariance) for order in step.orders}, None


class OnePair(Pairs):
    """The pair (x, x')."""

    def __init__(self) -> None:
        super().__init__(None, None)

    def sides(self, step: Step, k: PairKernels) -> tuple[DiagonalKernels, DiagonalKernels]:
        """What the step was given."""
        return step.diagonals


class _Recursion:
    def __init__(self, name: str, net: Network, sigma_w: Any, beta: Any, depth: int | None) -> None:
        check_name("a kernel", name, KERNELS)
        check_network(net)
        net.require_vectors("kernels as formulas")
        ends = [place for place, layer in enumerate(net.layers, start=1) if ends_a_layer(layer)]
        depth = len(ends) if depth is None else depth
        check_count("depth", depth, 1)
        if not 1 <= depth <= len(ends):
            raise InputError(f"a depth between 1 and the net's {len(ends)}", f"depth={depth}")
        if not KERNELS[name].default and depth < 2:
            raise InputError("a depth of at least 2 for the derivatives of Σ", f"depth={depth}")
        layers = net.layers[: ends[depth - 1]]
        refused = refusals([act for layer in layers for act in layer.activations()])
        if name in refused:
            raise refused[name].error()
        self.name, self.numbers, self.pair = name, Symbols(sigma_w, beta), OnePair()
        self.first, *self.steps = plan(layers, {name})

    def _start(self, diagonal: bool) -> tuple[PairKernels, DiagonalKernels, DiagonalKernels]:
        """Behind the first layer, whose Σ are q, q' and c."""
        scales = self.first.given(self.numbers)
        gram = [(sigma - scales.bias) / scales.weight for sigma in (algebra.q, algebra.qp, algebra.c)]
        at, column = (first_diagonal(self.first, one, self.numbers) for one in gram[:2])
        return first_kernels(self.first, gram[0 if diagonal else 2], self.numbers), at, at if diagonal else column

    def run(self, diagonal: bool) -> sp.Expr:
        """The last layer in q, q', c."""
        pair, at, column = self._start(diagonal)
        layer = 1
        for step in self.steps:
            later = take_diagonals([step], at, column, self.numbers)
            pair = step.pairs(pair, self.numbers, self.pair)
            at, column = later
            if ends_a_layer(step.layer):
                layer += 1
                if layer == 2:
                    # Past layer 2 the formulas are nested; pulling them apart would only lengthen them.
                    pair, at, column = (_mapped(values, _neat) for values in (pair, at, column))
        return getattr(pair, self.name)

    def chain(self) -> list[sp.Eq]:
        """Layer by layer, in symbols for the layer before."""
        pair, at, column = self._start(False)
        lines: list[sp.Eq] = []
        layer = 1
        for place, step in enumerate(self.steps, start=1):
            later = take_diagonals([step], at, column, self.numbers)
            pair = step.pairs(pair, self.numbers, self.pair)
            at, column = later
            if not ends_a_layer(step.layer):
                continue
            layer += 1
            pair, at, column = (_mapped(values, _neat) for values in (pair, at, column))
            if place < len(self.steps):
                at = _named(at, f"_{layer}_row", lines)
                column = _named(column, f"_{layer}_column", lines)
                pair = _named(pair, f"_{layer}", lines)
        value = getattr(pair, self.name)
        return [*lines, sp.Eq(sp.Symbol(f"{_head(self.name)}_{layer}", real=True), value, evaluate=False)]


def _items(values: Any) -> dict[str, Any]:
    return values.values if isinstance(values, PairKernels) else {name: getattr(values, name) for name in DIAGONAL}


def _mapped(values: Any, change: Callable[[sp.Expr], sp.Expr]) -> Any:
    """The same kernels with every expression changed."""
    return type(values)(**{name: None if value is None else change(value) for name, value in _items(values).items()})


def _neat(value: sp.Expr) -> sp.Expr:
    return value if value.has(GaussianExpectation) else tidy(value)


def _head(name: str) -> str:
    kernel = KERNELS[plain(name)]
    return (kernel.letter if kernel.default else name) + ("" if plain(name) == name else "T")


def _named(values: Any, suffix: str, lines: list[sp.Eq]) -> Any:
    """Replace a layer's kernels by symbols, writing down what they stand for."""
    out = {}
    for field, value in _items(values).items():
        if value is None or value.is_number:
            out[field] = value
            continue
        positive = field == "sigma" and suffix.endswith(("row", "column"))
        symbol = sp.Symbol(_head(field) + suffix, **{"positive" if positive else "real": True})
        lines.append(sp.Eq(symbol, value, evaluate=False))
        out[field] = symbol
    return type(values)(**out)


def squared(scale: Any) -> sp.Expr:
    """σ_w² or β² as an exact number: of a float the simple fraction it rounds to, else the decimal that was typed.

    Raises
    ------
    ExpressionError
        No number.

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
    """E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] of two activations: closed form, or an unevaluated :class:`GaussianExpectation`.

    Raises
    ------
    InputError
        Orders that are no two whole numbers of at least 0.
    DivergentExpectationError
        The expectation is infinite or undefined.
    """
    try:
        value = algebra.exact_expectation(f.expr, g.expr, *covariance, orders=orders)
        # error functions of complex numbers: no code computes with them, nor do roots of them
        if value.has(sp.I):
            raise NotInAlgebra(f"no real closed form: {value}")
        return value
    except NotInAlgebra:
        left, right = (sp.diff(heaviside_form(h.expr), x, k) for h, k in zip((f, g), orders, strict=True))
        return GaussianExpectation(left, right, *covariance)


def taylor(expr: sp.Expr, symbol: sp.Symbol, order: int, at: Any = 0) -> list[sp.Expr]:
    """Taylor coefficients of orders 0..order, by repeated differentiation (Price's theorem inside).

    Raises
    ------
    ExpressionError, InputError
        No expression, no symbol, or an order that is no whole number of at least 0.

    Examples
    --------
    >>> taylor(sp.asin(algebra.c), algebra.c, 5)
    [0, 1, 0, 1/6, 0, 3/40]
    """
    expr, at = to_sympy(expr, algebra.LETTERS), to_sympy(at, algebra.LETTERS)
    if not isinstance(symbol, sp.Symbol):
        raise InputError("symbol, a SymPy symbol such as kernelcalc.symbolic.c", shown(symbol))
    check_count("order", order, 0)
    out = []
    for k in range(order + 1):
        value = expr.subs(symbol, at)
        out.append(
            simplified(value / sp.factorial(k)) if not value.has(GaussianExpectation) else value / sp.factorial(k)
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
    ExpressionError
        No expression, or one whose limit SymPy does not find.

    Examples
    --------
    >>> from kernelcalc.kernels.symbolic import c, q, qp
    >>> at_rho_one(c * sp.asin(c / sp.sqrt(q * qp)) / sp.pi + sp.sqrt(q * qp - c**2))
    sqrt(q)*sqrt(q')/2
    """
    expr = to_sympy(expr, algebra.LETTERS)
    if expr.has(BinormalCDF, OwensT):
        raise InputError(
            "a form without bivariate normal probabilities",
            "one whose limit depends on which kink comes first",
            "take kernel(..., diagonal=True) for q = q', or put numbers with c² = qq' into exact_expectation",
        )
    c, bound = algebra.c, sp.sqrt(algebra.q * algebra.qp)
    value = expr.subs(c, bound)
    if not value.has(sp.nan, sp.zoo, sp.oo):
        return simplified(value)
    rho = sp.Symbol("rho", positive=True)
    try:
        limit = sp.limit(expr.subs(c, rho * bound), rho, 1, "-")
    except FAILURES as error:
        raise ExpressionError(
            "a limit c → √(qq') that SymPy finds", f"{expr}: {error}", "take kernel(..., diagonal=True) or numbers"
        ) from error
    return simplified(limit)
