r"""The SymPy object E[f(a) g(b)], (a, b) ~ N(0, [[q, c], [c, q']]), closed under differentiation by Price's theorem."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp
from mpmath import mp

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import check_count, shown
from kernelcalc.errors import ExpressionError
from kernelcalc.expressions import exact as algebra
from kernelcalc.expressions.atoms import NotInAlgebra, exact_numbers, heaviside_form, x
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.gaussian.digits.expectation import expectation
from kernelcalc.machine import MULTIPRECISION
from kernelcalc.patience import watched

_ROW, _COLUMN = sp.symbols("a b", real=True)


class GaussianExpectation(sp.Expr):
    r"""E[f(a) g(b)] for centred Gaussians of covariance [[q, c], [c, q']], unevaluated.

    ``.doit()`` gives the closed form where there is one, ``.evalf(50)`` digits for any function, ``.diff`` uses Price's
    theorem :math:`∂_c E[fg] = E[f'g']`, :math:`∂_q E[fg] = ½E[f''g]`.

    Parameters
    ----------
    f, g : Activation, str, sympy.Expr or sympy.Lambda
        Functions of one real symbol; a text is a name of :func:`kernelcalc.activation`.
    q, qp, c
        Numbers or SymPy expressions; by default the symbols of :mod:`kernelcalc.kernels.symbolic`.

    Raises
    ------
    ExpressionError
        If f or g is no function of one symbol.

    Examples
    --------
    >>> V = GaussianExpectation(sp.erf(x), sp.erf(x))
    >>> V.doit()
    2*asin(2*c/(sqrt(2*q + 1)*sqrt(2*q' + 1)))/pi
    >>> GaussianExpectation(sp.tanh(x), sp.tanh(x), 1, 2, sp.Rational(1, 2)).evalf(30)
    0.146754115460387424287599422835
    >>> GaussianExpectation(sp.sin(x), sp.sin(x)).diff(algebra.c).doit()
    exp(-q/2 - q'/2)*cosh(c)

    References
    ----------
    Price (1958), "A useful theorem for nonlinear devices having Gaussian inputs".
    """

    is_real = True
    is_commutative = True

    @property
    def is_number(self) -> bool:
        """Whether the covariance is made of numbers."""
        return all(v.is_number for v in self.covariance)

    def __new__(
        cls, f: Any, g: Any, q: Any = algebra.q, qp: Any = algebra.qp, c: Any = algebra.c
    ) -> GaussianExpectation:
        """Build the unevaluated expectation."""
        return sp.Expr.__new__(cls, _function(f), _function(g), *(exact_numbers(to_sympy(v)) for v in (q, qp, c)))

    @property
    def f(self) -> sp.Expr:
        """First function, of the symbol ``x``."""
        return self.args[0].expr

    @property
    def g(self) -> sp.Expr:
        """Second function, of the symbol ``x``."""
        return self.args[1].expr

    @property
    def covariance(self) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        """(q, q', c)."""
        return self.args[2:]

    def doit(self, **hints: Any) -> sp.Expr:
        """Closed form, or the object itself where there is none.

        Raises
        ------
        DivergentExpectationError
            The expectation is infinite or undefined.
        """
        covariance = [v.doit(**hints) for v in self.covariance]
        try:
            return algebra.exact_expectation(self.f, self.g, *covariance)
        except NotInAlgebra:
            return self.func(self.args[0], self.args[1], *covariance)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        f, g, (q, qp, c) = self.f, self.g, self.covariance
        f1, g1 = sp.diff(f, x), sp.diff(g, x)
        half = sp.Rational(1, 2)
        out = sp.S.Zero
        for inner, build in (
            (q, lambda: half * self.func(sp.diff(f1, x), g, q, qp, c)),
            (qp, lambda: half * self.func(f, sp.diff(g1, x), q, qp, c)),
            (c, lambda: self.func(f1, g1, q, qp, c)),
        ):
            slope = sp.diff(inner, symbol)
            if slope != 0:
                out += slope * build()
        return out

    @watched("fewer digits and smoother functions are faster", "evalf")
    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(v.is_number for v in self.covariance):
            return None
        dps = max(15, mpmath.libmp.prec_to_dps(prec) + 1)
        q, qp, c = (v if v.is_Rational else v.evalf(2 * dps + 30) for v in self.covariance)
        with MULTIPRECISION, mp.workdps(dps):
            return sp.Float(expectation_digits(self.f, self.g, q, qp, c, dps), dps)

    @watched("a smaller n is faster, and variances in numbers")
    def hermite_series(self, n: int, rho: sp.Expr | None = None) -> sp.Expr:
        r"""Terms up to ρⁿ of Mehler's series :math:`\sum_k f_k(q)\, g_k(q')\, ρ^k` with c = ρ√(qq').

        Raises
        ------
        InputError
            n that is no whole number.

        Examples
        --------
        >>> GaussianExpectation(sp.Max(x, 0), sp.Max(x, 0), 1, 1).hermite_series(4, sp.Symbol("r"))
        r**4/(48*pi) + r**2/(4*pi) + r/4 + 1/(2*pi)
        """
        check_count("n", n, 0)
        rho = sp.Symbol("rho", real=True) if rho is None else to_sympy(rho)
        q, qp, _ = self.covariance
        return sp.Add(
            *(hermite_coefficient(self.f, k, q) * hermite_coefficient(self.g, k, qp) * rho**k for k in range(n + 1))
        )

    def _latex(self, printer: Any, **_: Any) -> str:
        f, g = (printer._print(h.subs(x, v)) for h, v in ((self.f, _ROW), (self.g, _COLUMN)))
        f, g = (rf"\left({h}\right)" if e.is_Add or e.is_Mul else h for h, e in ((f, self.f), (g, self.g)))
        covariance = ",".join(printer._print(v) for v in self.covariance)
        return rf"\mathbb{{E}}_{{{covariance}}}\left[{f}\,{g}\right]"

    def _sympystr(self, printer: Any) -> str:
        f, g = (printer._print(h.subs(x, v)) for h, v in ((self.f, _ROW), (self.g, _COLUMN)))
        f, g = (f"({h})" if e.is_Add or e.is_Mul else h for h, e in ((f, self.f), (g, self.g)))
        return f"E[{f}*{g}; {', '.join(printer._print(v) for v in self.covariance)}]"


@watched("a smaller k is faster, and a number q")
def hermite_coefficient(f: Any, k: int, q: Any = 1) -> sp.Expr:
    r"""f_k(q) = E[f(√q Z) He_k(Z)]/√k!, so that E[f(a)g(b)] = Σ_k f_k(q) g_k(q') ρᵏ (Mehler).

    Raises
    ------
    InputError
        k that is no whole number of at least 0.
    UnknownNameError, ExpressionError
        f or q that is not known.

    Examples
    --------
    >>> [hermite_coefficient(sp.erf(x), k) for k in (1, 3)]
    [2*sqrt(3)/(3*sqrt(pi)), -2*sqrt(2)/(9*sqrt(pi))]
    """
    check_count("k", k, 0)
    # f_k = q^{k/2} E[f⁽ᵏ⁾]/√k! (Stein), in the sense of distributions.
    function, q = _function(f).expr, exact_numbers(to_sympy(q))
    scale = sp.sqrt(q) ** k / sp.sqrt(sp.factorial(k))
    try:
        value = algebra.exact_expectation(function, sp.S.One, q, sp.S.One, sp.S.Zero, orders=(k, 0))
        return sp.powsimp(scale * value)
    except NotInAlgebra:
        if k and q.is_number:
            # derivatives swell, and those at kinks are delta functions
            return GaussianExpectation(function, sp.hermite_prob(k, x), q, 1, sp.sqrt(q)) / sp.sqrt(sp.factorial(k))
        # a symbol q may become a float, of whose root the square is another: no covariance
        return scale * GaussianExpectation(sp.diff(function, x, k), sp.S.One, q, 1, 0)


def _function(f: Any) -> sp.Lambda:
    if not isinstance(f, Hashable):
        raise ExpressionError("a name, an Activation or a SymPy expression", shown(f))
    return _lambda(f)


@lru_cache(maxsize=512)
def _lambda(f: Any) -> sp.Lambda:
    if isinstance(f, sp.Lambda):
        return f
    if isinstance(f, str):
        f = as_activation(f)
    expr = to_sympy(getattr(f, "expr", f), {"x": x})
    symbols = expr.free_symbols
    if len(symbols) > 1:
        raise ExpressionError("a function of one symbol", str(expr), "substitute numbers for the parameters")
    if symbols:
        expr = expr.xreplace({symbols.pop(): x})
    try:
        expr = heaviside_form(expr)
    except NotInAlgebra as err:
        raise ExpressionError("kinks at points that can be found", str(expr)) from err
    return sp.Lambda(x, expr)


# Digits


def expectation_digits(f: sp.Expr, g: sp.Expr, q: Any, qp: Any, c: Any, dps: int = 50) -> mpmath.mpf:
    """E[f(a)g(b)] to ``dps`` digits: by the closed form where there is one, else on a lattice or on panels.

    Raises
    ------
    PrecisionError
        If the digits are not reached, which happens for functions with poles very near the real axis.

    Examples
    --------
    >>> print(mpmath.nstr(expectation_digits(sp.tanh(x), sp.tanh(x), 1, 1, 1, 20), 18))
    0.394294490397841174
    """
    try:
        return algebra.evaluate(f, g, q, qp, c, dps)
    except NotInAlgebra:
        first, second = (Activation(h, name=str(h)) for h in (f, g))
        return expectation(first, second, q, qp, c, dps=dps)[0]
