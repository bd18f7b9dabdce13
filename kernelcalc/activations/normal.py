"""Mean and variance of a nonlinearity under N(0, 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations.pieces import PiecewiseForm
from kernelcalc.arrays import EPS
from kernelcalc.errors import InputError, PrecisionError
from kernelcalc.expressions.atoms import Atom, Gate, NotInAlgebra, atoms_of, x
from kernelcalc.expressions.exact import evaluate, exact_expectation
from kernelcalc.expressions.stable import FloatFunction, mpmath_callable, numpy_callable
from kernelcalc.expressions.zeros import simplified
from kernelcalc.machine import MULTIPRECISION
from kernelcalc.patience import watched

Panel = tuple[Any, Any]

# Digits of the constants, and of the arithmetic behind them.
CONSTANT_DIGITS, WORKING_DIGITS = 50, 66
# Ends of the line: beyond the first the density is below 1e-67; functions that grow may need more, up to the last.
ENDS = (17.6, 26.4, 39.6, 59.4)
# Widest panel (measured: 1.1 takes longer for the catalogue's functions), and most panels of one function.
WIDTH, MAX_PANELS = 2.2, 300
# A panel whose values at TRIAL_NODES points give a polynomial to TRIAL_ERROR has all digits at the 96 nodes of mpmath's degree
# 6; what TRIAL_NODES points may have missed shows at SAMPLES points. Halvings stop where a singular end is left to tanh-sinh.
# Where f φ^{1/2} is below FLOOR of its largest value it counts for no digit.
TRIAL_NODES, LEGENDRE_DEGREE, TRIAL_ERROR, SAMPLES, SHORTEST, FLOOR = 40, 6, 1e-12, 2000, 2.0**-40, 1e-29
# Largest numerator and denominator in exponents and steps of exact constants: SymPy simplifies them as polynomials in
# e^{1/n} for a denominator n, and with e^{1e-9} never ends.
READABLE = 64
# Largest numerator of a step, whose square they contain (measured: sin(16x) takes 0.1 s, sin(30x) with e^900 two minutes).
READABLE_STEP = 16


@watched(
    "functions without fine features are faster; scale by hand where mean and variance are known",
    "Activation.normalized",
)
def mean_and_variance(form: PiecewiseForm) -> tuple[sp.Expr, sp.Expr]:
    """E f(Z) and Var f(Z), Z ~ N(0, 1): exact where that is fit to be read, else to 50 digits.

    Raises
    ------
    InputError
        For a distribution.
    PrecisionError
        For a function that varies too fast, or grows too fast for the Gaussian density.
    """
    if form.deltas:
        raise InputError("a function", f"{form.expr}, a distribution")
    expr, one = form.regular, sp.S.One
    try:
        atoms = atoms_of(expr)
        if all(_readable(atom) for atom in atoms):
            mean = exact_expectation(expr, one, one, one, one)
            return mean, simplified(exact_expectation(expr, expr, one, one, one) - mean**2)
        first, second = (evaluate(expr, g, 1, 1, 1, WORKING_DIGITS) for g in (one, expr))
    except NotInAlgebra:
        first, second = panel_moments(form)
    with MULTIPRECISION, mpmath.workdps(WORKING_DIGITS):
        return sp.Float(first, CONSTANT_DIGITS), sp.Float(second - first**2, CONSTANT_DIGITS)


def _readable(atom: Atom) -> bool:
    """Whether exact constants made of an atom are short enough to be simplified."""
    gate = atom.factor if isinstance(atom.factor, Gate) else None
    exponents = [gate.tau] if gate else []
    exponents += [f.args[0] for coefficient in atom.coefs for f in coefficient.atoms(sp.Function)]
    # Without a shift variances stand under square roots only.
    widths = [atom.alpha, *([gate.s2] if gate else ())]
    step = atom.gamma / sp.I if atom.gamma.has(sp.I) else atom.gamma
    limit = READABLE if step or any(exponents) else READABLE**3
    sizes = [(v / sp.I if v.has(sp.I) else v, READABLE) for v in exponents] + [(v, limit) for v in widths]
    fits = all(v.is_Rational and max(abs(v.p), v.q) <= most for v, most in [*sizes, (step, READABLE)])
    return fits and abs(step.p) <= READABLE_STEP


def panel_moments(form: PiecewiseForm) -> tuple[mpmath.mpf, mpmath.mpf]:
    """E f(Z) and E f(Z)² by quadrature on panels between the kinks that resolve f; zeros where f is not seen at all."""
    with MULTIPRECISION, mpmath.workdps(WORKING_DIGITS):
        pieces = [mpmath_callable(piece, x) for piece in form.pieces]
        reach = mpmath.mpf(_reach(pieces[0], pieces[-1]))
        kinks = [mpmath.mpmathify(sp.N(b, WORKING_DIGITS + 10)) for b in form.breaks]
        edges = [min(max(e, -reach), reach) for e in (-reach, *kinks, reach)]
        inside = [
            (_weighted(stable), piece, _divided(low, high, math.ceil((high - low) / WIDTH)))
            for stable, piece, (low, high) in zip(form.stable, pieces, pairwise(edges), strict=True)
            if low < high
        ]
        between = np.linspace(-1, 1, SAMPLES)
        peak = max(np.abs(f(_within(panel, between))).max() for f, _, panels in inside for panel in panels)
        if peak == 0:
            return mpmath.mpf(0), mpmath.mpf(0)
        parts = [_on_panel(g, p, peak) for f, g, panels in inside for p in _resolving(f, panels, peak)]
        first, second, error = (mpmath.fsum(part[k] for part in parts) for k in range(3))
        if not error <= second * mpmath.mpf(10) ** -CONSTANT_DIGITS:
            raise _too_fast()
        # What symmetry makes zero is zero, not rounding.
        odd = first**2 <= second * mpmath.mpf(10) ** (-2 * CONSTANT_DIGITS - 6)
        return mpmath.mpf(0) if odd else first * peak, second * mpmath.mpf(peak) ** 2


def _too_fast() -> PrecisionError:
    return PrecisionError(
        f"a function varies or grows too fast for {CONSTANT_DIGITS} digits of its mean and variance under N(0, 1)"
    )


def _reach(left: Callable[[Any], Any], right: Callable[[Any], Any]) -> float:
    """Where the outermost pieces squared, times the density, are far below rounding."""
    for reach in ENDS:
        if all(
            f(z) ** 2 * mpmath.npdf(z) < mpmath.mpf(10) ** -(CONSTANT_DIGITS + 8)
            for f, z in ((left, -reach), (right, reach))
        ):
            return reach
    raise _too_fast()


def _weighted(stable: sp.Expr) -> FloatFunction:
    """f(z) e^{−z²/4} in float64."""
    function = numpy_callable(stable, x)
    return lambda z: function(z) * np.exp(-(z**2) / 4)


def _divided(low: Any, high: Any, count: int) -> list[Panel]:
    return list(pairwise(low + k * (high - low) / count for k in range(count + 1)))


def _within(panel: Panel, at: np.ndarray) -> np.ndarray:
    """Points of [−1, 1] moved to a panel."""
    return float(sum(panel)) / 2 + float(panel[1] - panel[0]) / 2 * at


def _resolving(function: FloatFunction, panels: list[Panel], peak: float) -> list[Panel]:
    """Panels halved until they resolve a function."""
    nodes, _ = np.polynomial.legendre.leggauss(TRIAL_NODES)
    transform = np.linalg.inv(np.polynomial.legendre.legvander(nodes, TRIAL_NODES - 1)).T
    between = np.linspace(-1, 1, SAMPLES + 2)[1:-1]
    at_samples = np.polynomial.legendre.legvander(between, TRIAL_NODES - 1).T
    pending, done = list(panels), []
    while pending:
        panel = pending.pop()
        values = function(_within(panel, np.concatenate([nodes, between])))
        coefficients = values[:TRIAL_NODES] @ transform
        # Interpolation magnifies rounding a little more than the coefficients do.
        error = max(np.abs(coefficients[-4:]).max(), np.abs(values[TRIAL_NODES:] - coefficients @ at_samples).max() / 8)
        length, far = float(panel[1] - panel[0]), float(max(map(abs, panel)))
        # Rounding of the argument shows in a short panel as if f were rough.
        if (
            error <= max(TRIAL_ERROR, 8 * EPS * far / length) * max(np.abs(values).max(), FLOOR * peak)
            or length < SHORTEST
        ):
            done.append(panel)
        else:
            pending += _divided(*panel, 2)
        if len(done) + len(pending) > MAX_PANELS:
            raise _too_fast()
    return done


def _on_panel(function: Callable[[Any], Any], panel: Panel, peak: float) -> tuple[Any, Any, Any]:
    """∫ f φ and ∫ f² φ for f in units of ``peak``, with their error: by Gauss and Legendre, at a singular end by tanh-sinh."""
    known: dict[Any, Any] = {}

    def weighted(z: Any, power: int) -> Any:
        if z not in known:
            known[z] = mpmath.re(function(z)) / peak
        return known[z] ** power * mpmath.npdf(z)

    for rule in ({"method": "gauss-legendre", "maxdegree": LEGENDRE_DEGREE}, {"method": "tanh-sinh"}):
        found = [mpmath.quad(lambda z, k=k: weighted(z, k), panel, error=True, **rule) for k in (1, 2)]
        error = max(e for _, e in found)
        if error <= mpmath.mpf(10) ** -(WORKING_DIGITS - 6):
            break
    return found[0][0], found[1][0], error
