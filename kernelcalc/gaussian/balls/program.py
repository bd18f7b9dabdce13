"""Functions in ball arithmetic: values, and suprema over rectangles of the complex plane.

Everything here is rigorous: values are python-flint balls that contain the true ones, and a rectangle on which analyticity
is not proved has no supremum.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import MissingExtraError, NotCertifiableError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.functions import (
    ErrorComplement,
    ExpMinusOne,
    LogCosh,
    LogisticDensity,
    LogisticSigmoid,
    Softplus,
    StableTanh,
)
from kernelcalc.machine import MULTIPRECISION

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
    if not act.form.known:
        raise NotCertifiableError("expressions", act.name, "a plain callable cannot be enclosed")
    if act.kinks or act.deltas:
        raise NotCertifiableError(
            "an analytic expression, which can be enclosed", act.name, "use dps= for digits without a certificate"
        )
    return act.form.stable[0]


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


def whole_power(u: Any, n: int) -> Any:
    """uⁿ, n ≥ 0, also of real balls whose middle is 0, of which flint's own power knows nothing."""
    return u**n if _is_complex(u) or u.mid() != 0 else (flint().acb(u) ** n).real


def _power(exponent: sp.Expr) -> Callable[[Any], Any]:
    if exponent.is_Integer:
        n = int(exponent)
        return (lambda u: whole_power(u, n)) if n >= 0 else (lambda u: 1 / whole_power(u, -n))

    def call(u: Any) -> Any:
        power = constant(exponent)
        if _is_complex(u):
            return (u.log(analytic=True) * power).exp()
        return u.sqrt() if exponent == sp.S.Half else u**power

    return call


BALL_FUNCTIONS: dict[type, Callable[[Any], Any]] = {
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
    if type(expr) in BALL_FUNCTIONS:
        return BALL_FUNCTIONS[type(expr)](constant(expr.args[0]))
    raise NotCertifiableError("a function built of known ones", f"one with {expr}", KNOWN)


KNOWN = "known: exp, log, powers, sin, cos, sinh, cosh, tanh, erf, erfc, atan, asinh, the logistic family"


class Program:
    """Several expressions of :data:`kernelcalc.expressions.atoms.x`, evaluated together in ball arithmetic.

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
        elif type(expr) in BALL_FUNCTIONS:
            slot = self._append(BALL_FUNCTIONS[type(expr)], (self._compile(expr.args[0]),))
        else:
            raise NotCertifiableError("a function built of known ones", f"one with {expr}", KNOWN)
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
            with MULTIPRECISION, flint().ctx.workprec(COARSE_BITS):
                self._suprema[key] = self._search(width, height)
        return self._suprema[key]

    def _search(self, width: float, height: float) -> list[Any] | None:
        # f(z̄) is the conjugate of f(z): the upper half is enough.
        columns = 16
        step = 2 * width / columns
        cells = [(-width + k * step, -width + (k + 1) * step, 0.0, height) for k in range(columns)]
        cells[-1] = (cells[-1][0], width, 0.0, height)
        norms = [largest(column) for column in zip(*(self._at_centre(cell) for cell in cells), strict=True)]
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
                return [largest([entry[3][k] for entry in heap]) for k in range(len(norms))]
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


def largest(values: Any) -> Any:
    """The largest of non-negative balls, 0 if there is none."""
    best = flint().arb(0)
    for value in values:
        best = best.max(value)
    return best


def _log_ratio(bound: Any, norm: Any) -> float:
    if not bound > 0:
        return -math.inf
    return float((bound / norm).log()) if norm > 0 else 50.0
