"""Functions in ball arithmetic: values, suprema over rectangles of the complex plane, growth on the real line.

Everything here is rigorous: values are python-flint balls that contain the true ones, a rectangle on which analyticity is
not proved has no supremum, and growth bounds come from the expression by rules that hold for every real argument.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy as sp

from kernelcalc.activations import Activation, CallableActivation, x
from kernelcalc.errors import MissingExtraError, NotCertifiableError
from kernelcalc.functions import (
    ErrorComplement,
    ExpMinusOne,
    LogCosh,
    LogisticDensity,
    LogisticSigmoid,
    Softplus,
    StableTanh,
)

# Bits for suprema, which need no digits.
COARSE_BITS = 40
# Cells after which the search for a supremum gives up or stops refining (measured: tanh''' next to its pole takes 150).
MAX_CELLS, REFINED_CELLS = 1200, 160


def flint() -> Any:
    """The python-flint module.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import flint as module
    except ImportError as error:
        raise MissingExtraError("python-flint", "certified", "certified=True") from error
    return module


def smooth_expression(act: Activation) -> sp.Expr:
    """The expression of an activation without kinks, rewritten without cancellation.

    Raises
    ------
    NotCertifiableError
        For kinks, delta functions and plain callables.
    """
    if isinstance(act, CallableActivation) or act._breaks or act.deltas:
        raise NotCertifiableError(
            "an analytic expression, which can be enclosed", act.name, "use dps= for digits without a certificate"
        )
    return act._stable[0]


# Values -------------------------------------------------------------------------------------------------------------


def _is_complex(u: Any) -> bool:
    return isinstance(u, flint().acb)


def _log(u: Any) -> Any:
    return u.log(analytic=True) if _is_complex(u) else u.log()


def _off_imaginary_cuts(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """atan and asinh are analytic but on the imaginary axis from ±i outwards."""

    def guarded(u: Any) -> Any:
        if _is_complex(u) and u.real.contains(0) and not u.imag.abs_upper() < 1:
            return flint().acb("nan")
        return call(u)

    return guarded


def _power(exponent: sp.Expr) -> Callable[[Any], Any]:
    if exponent.is_Integer:
        n = int(exponent)
        return (lambda u: u**n) if n >= 0 else (lambda u: 1 / u ** (-n))

    def call(u: Any) -> Any:
        power = constant(exponent)
        if _is_complex(u):
            return (u.log(analytic=True) * power).exp()
        return u.sqrt() if exponent == sp.S.Half else u**power

    return call


FUNCTIONS: dict[type, Callable[[Any], Any]] = {
    sp.exp: lambda u: u.exp(),
    sp.log: _log,
    sp.sin: lambda u: u.sin(),
    sp.cos: lambda u: u.cos(),
    sp.sinh: lambda u: u.sinh(),
    sp.cosh: lambda u: u.cosh(),
    sp.tanh: lambda u: u.tanh(),
    sp.sech: lambda u: u.sech(),
    sp.erf: lambda u: u.erf(),
    sp.erfc: lambda u: u.erfc(),
    sp.atan: _off_imaginary_cuts(lambda u: u.atan()),
    sp.asinh: _off_imaginary_cuts(lambda u: u.asinh()),
    StableTanh: lambda u: u.tanh(),
    LogisticSigmoid: lambda u: 1 / (1 + (-u).exp()),
    LogisticDensity: lambda u: (u / 2).sech() ** 2 / 4,
    Softplus: lambda u: _log(1 + u.exp()) if _is_complex(u) else u.exp().log1p(),
    LogCosh: lambda u: _log(u.cosh()),
    ErrorComplement: lambda u: u.erfc(),
    ExpMinusOne: lambda u: u.expm1(),
}


def constant(expr: sp.Expr) -> Any:
    """Ball around a real number given as an expression, at the current precision.

    Examples
    --------
    >>> constant(sp.sqrt(2)).contains(2), constant(sp.Rational(1, 2)) == 0.5
    (False, True)
    """
    arb, fmpq = flint().arb, flint().fmpq
    if expr.is_Rational:
        return arb(fmpq(int(expr.p), int(expr.q)))
    if isinstance(expr, sp.Float):
        return constant(sp.Rational(expr))
    if expr is sp.pi:
        return arb.pi()
    if expr is sp.E:
        return arb.const_e()
    if isinstance(expr, sp.Add | sp.Mul):
        terms = [constant(a) for a in expr.args]
        value = terms[0]
        for term in terms[1:]:
            value = value + term if isinstance(expr, sp.Add) else value * term
        return value
    if isinstance(expr, sp.Pow):
        return _power(expr.exp)(constant(expr.base))
    if type(expr) in FUNCTIONS:
        return FUNCTIONS[type(expr)](constant(expr.args[0]))
    raise NotCertifiableError("a function built of known ones", f"one with {expr}", _KNOWN)


_KNOWN = "known: exp, log, powers, sin, cos, sinh, cosh, tanh, erf, erfc, atan, asinh, the logistic family"


class Program:
    """Several expressions of :data:`kernelcalc.activations.x`, evaluated together in ball arithmetic.

    Examples
    --------
    >>> program = Program((sp.tanh(x), x**2))
    >>> [value.contains(0.25) for value in program(flint().arb(0.5))]
    [False, True]
    """

    def __init__(self, expressions: tuple[sp.Expr, ...]) -> None:
        self.expressions = expressions
        self._steps: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
        self._constants: list[sp.Expr] = []
        self._slots: dict[sp.Expr, int] = {}
        self._numbers: dict[int, list[Any]] = {}
        self._suprema: dict[tuple[float, float], list[Any] | None] = {}
        for expr in expressions:
            self._collect(expr)
        self._slots = {x: 0, **{number: k for k, number in enumerate(self._constants, start=1)}}
        self._outputs = [self._compile(expr) for expr in expressions]

    def _collect(self, expr: sp.Expr) -> None:
        if not expr.has(x):
            if expr not in self._constants:
                self._constants.append(expr)
            return
        for part in (expr.base,) if isinstance(expr, sp.Pow) and not expr.exp.has(x) else expr.args:
            self._collect(part)

    def _compile(self, expr: sp.Expr) -> int:
        if expr in self._slots:
            return self._slots[expr]
        if isinstance(expr, sp.Add | sp.Mul):
            slots = [self._compile(a) for a in expr.args]
            step = (lambda a, b: a + b) if isinstance(expr, sp.Add) else (lambda a, b: a * b)
            slot = slots[0]
            for other in slots[1:]:
                slot = self._append(step, (slot, other))
        elif isinstance(expr, sp.Pow) and not expr.exp.has(x):
            slot = self._append(_power(expr.exp), (self._compile(expr.base),))
        elif type(expr) in FUNCTIONS:
            slot = self._append(FUNCTIONS[type(expr)], (self._compile(expr.args[0]),))
        else:
            raise NotCertifiableError("a function built of known ones", f"one with {expr}", _KNOWN)
        self._slots[expr] = slot
        return slot

    def _append(self, step: Callable[..., Any], slots: tuple[int, ...]) -> int:
        self._steps.append((step, slots))
        return len(self._constants) + len(self._steps)

    def __call__(self, at: Any) -> list[Any]:
        """Balls around the values at every point of the real or complex ball ``at``.

        A finite complex result proves that the functions are analytic on the ball.
        """
        bits = flint().ctx.prec
        if bits not in self._numbers:
            self._numbers[bits] = [constant(number) for number in self._constants]
        values = [at, *self._numbers[bits]]
        for step, slots in self._steps:
            values.append(step(*[values[k] for k in slots]))
        return [values[k] for k in self._outputs]

    def supremum(self, width: float, height: float) -> list[Any] | None:
        """Upper bounds of every |f| on |Re z| ≤ width, |Im z| ≤ height; None if analyticity there is not proved."""
        key = (width, height)
        if key not in self._suprema:
            with flint().ctx.workprec(COARSE_BITS):
                self._suprema[key] = self._search(width, height)
        return self._suprema[key]

    def _search(self, width: float, height: float) -> list[Any] | None:
        # f(z̄) is the conjugate of f(z): the upper half is enough.
        columns = 16
        step = 2 * width / columns
        cells = [(-width + k * step, -width + (k + 1) * step, 0.0, height) for k in range(columns)]
        cells[-1] = (cells[-1][0], width, 0.0, height)
        norms = [_largest(column) for column in zip(*(self._at_centre(cell) for cell in cells), strict=True)]
        heap: list[tuple[float, int, tuple[float, float, float, float], list[Any]]] = []
        count = 0
        pending = cells
        while True:
            for cell in pending:
                bounds = [v.abs_upper() for v in self(_box(cell))]
                finite = all(b.is_finite() for b in bounds)
                if not finite and max(cell[1] - cell[0], cell[3] - cell[2]) < max(height / 64, width / 2**14):
                    return None
                excess = max(_log_ratio(b, n) for b, n in zip(bounds, norms, strict=True)) if finite else math.inf
                heapq.heappush(heap, (-excess, count, cell, bounds))
                count += 1
            excess, _, cell, _ = heap[0]
            if excess == -math.inf and count > MAX_CELLS:
                return None
            # Within a factor 2 of a value that is taken, more work would gain nothing.
            if excess > -math.log(2) or (excess > -math.inf and count > REFINED_CELLS):
                return [_largest([entry[3][k] for entry in heap]) for k in range(len(norms))]
            heapq.heappop(heap)
            pending = _halves(cell)

    def _at_centre(self, cell: tuple[float, float, float, float]) -> list[Any]:
        left, right, _, top = cell
        values = self(flint().acb((left + right) / 2, 0.9375 * top))
        return [v.abs_upper() if v.is_finite() else flint().arb(0) for v in values]


def _box(cell: tuple[float, float, float, float]) -> Any:
    arb, acb = flint().arb, flint().acb
    left, right, bottom, top = cell
    return acb(arb(left).union(arb(right)), arb(bottom).union(arb(top)))


def _halves(cell: tuple[float, float, float, float]) -> list[tuple[float, float, float, float]]:
    left, right, bottom, top = cell
    if right - left >= top - bottom:
        middle = (left + right) / 2
        return [(left, middle, bottom, top), (middle, right, bottom, top)]
    middle = (bottom + top) / 2
    return [(left, right, bottom, middle), (left, right, middle, top)]


def _largest(values: Any) -> Any:
    best = flint().arb(0)
    for value in values:
        best = best.max(value)
    return best


def _log_ratio(bound: Any, norm: Any) -> float:
    if not bound > 0:
        return -math.inf
    return float((bound / norm).log()) if norm > 0 else 50.0


# Growth on the real line --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """|f(σ u)| ≤ size · exp(rate |u| + square u²/2) for every real u."""

    size: Any
    rate: Any
    square: Any

    @property
    def bounded(self) -> bool:
        """Whether this is a constant bound."""
        return bool(self.rate == 0 and self.square == 0)

    def tail(self, reach: Any) -> Any:
        """Upper bound of E[f(σU)²; |U| > reach], U ~ N(0, 1).

        Raises
        ------
        NotCertifiableError
            If the bound is not square integrable.
        """
        curvature = 1 - 2 * self.square
        if not curvature > 0:
            raise NotCertifiableError("a function that grows more slowly than exp(x²/4q)", "a faster one")
        root = curvature.sqrt()
        beyond = ((root * reach - 2 * self.rate / root) / flint().arb(2).sqrt()).erfc()
        return self.size**2 * (2 * self.rate**2 / curvature).exp() / root * beyond


def growth(expr: sp.Expr, std: Any) -> Growth:
    """A bound of f(std · u) for all real u, by rules on the expression.

    Raises
    ------
    NotCertifiableError
        If the rules give none.
    """
    arb = flint().arb
    if not expr.has(x):
        return _bounded(abs(constant(expr)))
    if isinstance(expr, sp.Add):
        parts = [growth(a, std) for a in expr.args]
        size = sum((p.size for p in parts), arb(0))
        return Growth(size=size, rate=_largest(p.rate for p in parts), square=_largest(p.square for p in parts))
    if isinstance(expr, sp.Mul):
        result = _bounded(arb(1))
        for a in expr.args:
            p = growth(a, std)
            result = Growth(size=result.size * p.size, rate=result.rate + p.rate, square=result.square + p.square)
        return result
    if expr == x:
        return _power_growth(1, std)
    if isinstance(expr, sp.Pow):
        return _growth_of_power(expr, std)
    inner = expr.args[0] if expr.args else x
    if isinstance(expr, sp.tanh | StableTanh | sp.erf | sp.sin | sp.cos | sp.sech | LogisticSigmoid):
        return _bounded(arb(1))
    if isinstance(expr, LogisticDensity):
        return _bounded(arb(0.25))
    if isinstance(expr, sp.erfc | ErrorComplement | sp.atan):
        return _bounded(arb(2))
    if isinstance(expr, sp.exp):
        return _growth_of_exp(inner, std)
    if isinstance(expr, ExpMinusOne):
        e = _growth_of_exp(inner, std)
        return Growth(size=e.size + 1, rate=e.rate, square=e.square)
    if isinstance(expr, sp.sinh | sp.cosh):
        up, down = _growth_of_exp(inner, std), _growth_of_exp(-inner, std)
        rate, square = up.rate.max(down.rate), up.square.max(down.square)
        return Growth(size=(up.size + down.size) / 2, rate=rate, square=square)
    if isinstance(expr, Softplus | LogCosh | sp.asinh):
        # 0 ≤ log(1 + e^v) ≤ |v| + log 2; log cosh v and |asinh v| are at most |v|.
        v = growth(inner, std)
        return Growth(size=v.size + arb(2).log(), rate=v.rate, square=v.square)
    if isinstance(expr, sp.log):
        below, v = _positive_bound(inner, std), growth(inner, std)
        # |u| ≤ e^{|u|}/e and u² ≤ (2/e)² e^{|u|}.
        e = arb(1).exp()
        size = abs(below.log()) + abs(v.size.log()) + v.rate / e + v.square * 2 / e**2
        return Growth(size=size, rate=arb(0) if v.bounded else arb(1), square=arb(0))
    raise NotCertifiableError("a function with a growth bound by rules", f"one with {expr}", _KNOWN)


def _bounded(size: Any) -> Growth:
    return Growth(size=size.upper(), rate=flint().arb(0), square=flint().arb(0))


def _power_growth(n: int, std: Any) -> Growth:
    # |u|^n ≤ (n/e)^n e^{|u|}.
    arb = flint().arb
    return Growth(size=(n * std / arb(1).exp()) ** n, rate=arb(1), square=arb(0))


def _growth_of_power(expr: sp.Expr, std: Any) -> Growth:
    base, exponent = expr.base, expr.exp
    if exponent.has(x) or not exponent.is_Rational:
        raise NotCertifiableError("a power with a rational exponent", str(expr))
    if exponent < 0:
        return _bounded(_positive_bound(base, std) ** constant(exponent))
    if base == x and exponent.is_Integer:
        return _power_growth(int(exponent), std)
    p, v = constant(exponent), growth(base, std)
    return Growth(size=v.size**p, rate=v.rate * p, square=v.square * p)


def _growth_of_exp(inner: sp.Expr, std: Any) -> Growth:
    arb = flint().arb
    if inner.is_polynomial(x) and sp.degree(inner, x) <= 2:
        c2, c1, c0 = (constant(inner.expand().coeff(x, k)) for k in (2, 1, 0))
        if c2 < 0:
            return _bounded((c0 - c1**2 / (4 * c2)).exp())
        return Growth(size=c0.exp(), rate=abs(c1) * std, square=(2 * c2 * std**2).max(arb(0)))
    v = growth(inner, std)
    if v.bounded:
        return _bounded(v.size.exp())
    raise NotCertifiableError("exponentials of bounded functions or of polynomials of degree 2", f"exp({inner})")


def _positive_bound(expr: sp.Expr, std: Any) -> Any:
    below = lower_bound(expr, std)
    if below is None or not below > 0:
        raise NotCertifiableError("roots, logarithms and denominators that stay away from zero by rules", str(expr))
    return below.lower()


def lower_bound(expr: sp.Expr, std: Any) -> Any | None:
    """A lower bound of the expression on the real line, or None.

    Examples
    --------
    >>> lower_bound(1 + x**2 + sp.exp(x), flint().arb(1)) == 1
    True
    """
    arb = flint().arb
    if not expr.has(x):
        return constant(expr)
    if expr.is_polynomial(x) and sp.degree(expr, x) == 2:
        c2, c1, c0 = (constant(expr.expand().coeff(x, k)) for k in (2, 1, 0))
        return c0 - c1**2 / (4 * c2) if c2 > 0 else None
    if isinstance(expr, sp.cosh):
        return arb(1)
    if isinstance(expr, sp.exp | LogisticSigmoid | LogisticDensity | Softplus | LogCosh | sp.erfc | ErrorComplement):
        return arb(0)
    if isinstance(expr, sp.Add):
        parts = [lower_bound(a, std) for a in expr.args]
        return None if any(p is None for p in parts) else sum(parts, arb(0))
    if isinstance(expr, sp.Mul):
        parts = [lower_bound(a, std) for a in expr.args]
        if all(p is not None and p >= 0 for p in parts):
            value = arb(1)
            for p in parts:
                value *= p
            return value
    if isinstance(expr, sp.Pow) and expr.exp.is_Rational:
        if expr.exp.is_Integer and int(expr.exp) > 0 and int(expr.exp) % 2 == 0:
            return arb(0)
        base = lower_bound(expr.base, std)
        if base is not None and base >= 0:
            return base ** constant(expr.exp) if expr.exp > 0 else arb(0)
    try:
        v = growth(expr, std)
    except NotCertifiableError:
        return None
    return -v.size if v.bounded else None
