r"""Enclosures: balls that provably contain E[f(a)g(b)] for analytic functions.

With a = √q u the expectation is an integral of an analytic function F, f times g times a Gaussian density, over the plane
(over the line if |ρ| = 1), replaced by the trapezoidal rule on −R, ..., R with R = (n + ½)h. Three errors are bounded:

- the rule's, on one line, by residues in the rectangle |Re z| ≤ R, |Im z| ≤ d where F is analytic:
  ∫_{−R}^{R} F − h Σ F(kh) is at most ∫(|F(x+id)| + |F(x−id)|) dx/(e^{2πd/h} − 1) + 4 sup |F(±R + iy)| e^{...}/(2π/h − d/2t),
  for a density that grows like e^{y²/2t} off the line; two dimensions are two steps of one. The suprema are those of
  :meth:`kernelcalc.gaussian.balls.program.Program.supremum`;
- what lies outside of the box, by Cauchy–Schwarz and growth bounds of f and g (:mod:`kernelcalc.gaussian.balls.growth`);
- rounding, by ball arithmetic.

Functions with kinks have enclosures where they have closed forms (:mod:`kernelcalc.gaussian.balls.forms`).

Variables of the plane: for moderate ρ u = a/√q and w = b/√q', where the density is a product times a function of u − w, so
that the double sum is a product of polynomials; near |ρ| = 1 independent u and v with b = c u/√q + √(q' − c²/q) v.

References
----------
Trefethen, Weideman, SIAM Review 56 (2014), Section 5 (the rule); Johansson, IEEE Trans. Computers 66 (2017) (Arb).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache, reduce
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import CovarianceError, InputError, NotFiniteError, PrecisionError
from kernelcalc.gaussian.balls.forms import form_expectation
from kernelcalc.gaussian.balls.growth import Growth, growth
from kernelcalc.gaussian.balls.program import Program, constant, flint, smooth_expression
from kernelcalc.machine import MULTIPRECISION

DEFAULT_DIGITS = 15
# Digits beyond those asked for: bounds by suprema exceed the integral by some hundreds (tanh: 10³ at q = 1).
BALL_GUARD_DIGITS = 5
# Above this 1 − ρ² the lattice of the plane is always cheaper; its spacing is ~ √(1 − ρ²), so below the second it never is.
MODERATE, SINGULAR = 0.05, 1e-8
# Values of f and g in one expectation, at some 10 µs each.
MAX_VALUES = 400_000
# Ratio of successive heights d tried for the rectangle.
SHRINK = 0.8


def certified_expectation(f: Activation, g: Activation, q1: Any, q2: Any, c: Any, *, digits: int) -> Any:
    """A ball containing E[f(a)g(b)], of relative radius below 10^−digits (or below that of the arguments' own balls).

    Floats are the binary numbers they are, text and ``decimal.Decimal`` are decimals, balls (``arb``) all numbers in them.

    Raises
    ------
    NotCertifiableError
        If f or g has kinks and no elementary closed form, or no provable bounds.
    CovarianceError, NotFiniteError, InputError
        If q1, q2, c are no covariance or no numbers.
    PrecisionError
        If the digits cannot be reached.
    """
    if not isinstance(digits, int | np.integer) or isinstance(digits, bool) or not 1 <= digits <= 500:
        raise InputError("a number of digits 1 ≤ dps ≤ 500", repr(digits))
    kinked = any(act.kinks or act.deltas for act in (f, g))
    arguments = [_argument(name, v) for name, v in (("q1", q1), ("q2", q2), ("c", c))]
    exact = all(isinstance(v, Fraction) for v in arguments)
    work = int(digits) + BALL_GUARD_DIGITS
    for _ in range(5):
        with MULTIPRECISION, flint().ctx.workprec(working_bits(work)):
            cov = make_ball_covariance(*arguments)
            if kinked:
                value = form_expectation(f, g, cov.variances, cov.det, cov.diagonal, arguments if cov.line else None)
            else:
                programs = program((smooth_expression(f),)), program((smooth_expression(g),))
                value = lattice_expectations(*programs, cov, [(0, 0)], work)[0, 0]
            radius, size = value.rad(), value.abs_upper()
            if radius == 0:
                return value
            missing = float((radius / size).log()) / math.log(10) + int(digits)
            if math.isnan(missing):
                missing = float(work)
            # What vanishes by symmetry has no relative precision.
            if missing <= 0 or not exact or (value.contains(0) and work > 2 * digits + 10):
                return value
        work += max(math.ceil(missing) + 2, 8 if value.contains(0) else 0)
    raise PrecisionError(f"an enclosure with {digits} digits was not reached: {value}")


def working_bits(digits: int) -> int:
    """Precision of the balls for results of so many digits."""
    return int(3.33 * digits) + 60


@lru_cache(maxsize=128)
def program(expressions: tuple[sp.Expr, ...]) -> Program:
    """The compiled functions with their suprema, kept from call to call."""
    return Program(expressions)


# Covariances --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class BallCovariance:
    """Balls around q, q', c and qq' − c²; ``line`` is the sign of ρ if |ρ| = 1 (or q q' = 0) exactly, else 0."""

    q: Any
    qp: Any
    c: Any
    det: Any
    line: int
    diagonal: bool = False

    @property
    def variances(self) -> tuple[Any, Any, Any]:
        """q, q', c."""
        return self.q, self.qp, self.c

    @cached_property
    def std(self) -> Any:
        """√q."""
        return self.q.sqrt()

    @cached_property
    def stdp(self) -> Any:
        """√q'."""
        return self.qp.sqrt()


def _argument(name: str, value: Any) -> Any:
    if isinstance(value, flint().arb):
        if not value.is_finite():
            raise NotFiniteError(f"a finite {name}", str(value))
        return value
    try:
        if isinstance(value, mpmath.mpf):
            sign, man, exponent, _ = value._mpf_
            if not mpmath.isfinite(value):
                raise OverflowError
            return Fraction(-man if sign else man) * Fraction(2) ** exponent
        if isinstance(value, sp.Expr):
            return Fraction(int(value.p), int(value.q)) if value.is_Rational else constant(value)
        if isinstance(value, np.floating):
            # which may have more digits than a float
            return Fraction(*value.as_integer_ratio())
        value = int(value) if isinstance(value, np.integer) else value
        return Fraction(value if isinstance(value, str | int | Fraction | Decimal) else float(value))
    except OverflowError as error:
        raise NotFiniteError(f"one finite real number {name}", repr(value)) from error
    except (TypeError, ValueError) as error:
        if isinstance(value, float | Decimal | np.floating) and value != value:
            raise NotFiniteError(f"one finite real number {name}", repr(value)) from error
        raise InputError(f"one real number {name} (certified=True takes scalars)", repr(value)) from error


def _ball(value: Any) -> Any:
    if isinstance(value, Fraction):
        return flint().arb(flint().fmpq(value.numerator, value.denominator))
    return value


def make_ball_covariance(q: Any, qp: Any, c: Any) -> BallCovariance:
    """From fractions (then |ρ| = 1 is decided exactly) or balls, which must contain a covariance.

    Raises
    ------
    CovarianceError
        If no number in the balls is a covariance.
    """
    line, diagonal, det = 0, False, None
    if all(isinstance(v, Fraction) for v in (q, qp, c)):
        det = q * qp - c * c
        line = 0 if det != 0 else 1 if c >= 0 else -1
        diagonal = q == qp == c
    q, qp, c = _ball(q), _ball(qp), _ball(c)
    det = q * qp - c * c if det is None else _ball(det)
    if q < 0 or qp < 0 or det < 0:
        raise CovarianceError("q1 ≥ 0, q2 ≥ 0 and c² ≤ q1·q2", f"{q}, {qp}, {c}")
    q, qp, det = (v.nonnegative_part() for v in (q, qp, det))
    return BallCovariance(q=q, qp=qp, c=c, det=det, line=line, diagonal=diagonal)


def diagonal_covariance(q: Any) -> BallCovariance:
    """a = b with a variance somewhere in the ball q."""
    q = q.nonnegative_part()
    return BallCovariance(q=q, qp=q, c=q, det=flint().arb(0), line=1, diagonal=True)


# The rule and its errors --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Axis:
    """Nodes kh, |k| ≤ n, of one variable; R = (n + ½)h; d is the height of the rectangle and t the density's variance."""

    n: int
    h: Any
    d: float
    t: Any

    @property
    def reach(self) -> Any:
        """R."""
        return (self.n + flint().arb(0.5)) * self.h

    def nodes(self) -> list[Any]:
        """−nh, ..., nh."""
        return [k * self.h for k in range(-self.n, self.n + 1)]


def rule_error(axis: Axis, end: Any) -> Any:
    """Error of the rule for |F(x + iy)| ≤ p(x) e^{y²/2t} with ∫p ≤ 1 and p(±R) ≤ end."""
    arb = flint().arb
    d, step = arb(axis.d), 2 * arb.pi() / axis.h
    slope = step - d / (2 * axis.t)
    if not slope > 0:
        return arb("inf")
    # On the vertical sides the rule's kernel is below e^{−2π|y|/h}, and y² ≤ d|y|.
    return 2 * (d**2 / (2 * axis.t)).exp() / ((d * step).exp() - 1) + 4 * end / slope


def normal_density(u: Any, variance: Any = 1) -> Any:
    """Density of N(0, variance)."""
    return (-(u**2) / (2 * variance)).exp() / (2 * flint().arb.pi() * variance).sqrt()


def _float_above(value: Any) -> float:
    return float(value.upper()) * (1 + 1e-12) + 1e-300


Suprema = Callable[[float], "list[list[Any]] | None"]


def _choose_axis(suprema: Suprema, reach: float, t: float, digits: int) -> tuple[Axis, list[list[Any]]]:
    """The widest spacing whose error is 10^−digits of sup |f| sup |g|, over the heights d that the poles allow.

    ``suprema(d)`` gives bounds of all products f_i g_j in the rectangle of height d.
    """
    on_line = suprema(0.0)
    if on_line is None:
        raise PrecisionError("analyticity on the real line was not proved")
    aim = digits * math.log(10) + 2
    best: tuple[float, float, list[list[Any]]] | None = None
    d = math.sqrt(2 * t * aim)
    worse = 0
    for _ in range(60):
        bounds = suprema(d)
        if bounds is not None:
            excess = max(
                (
                    float((b / a).log())
                    for row, line in zip(bounds, on_line, strict=True)
                    for b, a in zip(row, line, strict=True)
                    if a > 0 and b > 0
                ),
                default=0.0,
            )
            h = 2 * math.pi * d / (aim + max(excess, 0.0) + d**2 / (2 * t))
            if best is None or h > best[0]:
                best, worse = (h, d, bounds), 0
            else:
                worse += 1
                if worse == 2:
                    break
        d *= SHRINK
    if best is None:
        raise PrecisionError("no strip around the real line where the functions are proved to be analytic")
    h, d, bounds = best
    n = max(math.ceil(reach / h - 0.5), 1)
    spacing = flint().arb(reach) / (n + flint().arb(0.5))
    return Axis(n=n, h=spacing, d=d, t=flint().arb(t)), bounds


def _reach(f: list[Growth], g: list[Growth], scale_f: list[Any], scale_g: list[Any], digits: int) -> float:
    """R beyond which E[|fg|] is below 10^−digits of the functions' typical size."""
    goal = flint().arb(10) ** -digits
    reach = 4.0
    while reach < 400:
        if all(
            bool(first.tail(reach) * second.tail(0) < (goal * a * b) ** 2)
            for own, other, own_scale, other_scale in ((f, g, scale_f, scale_g), (g, f, scale_g, scale_f))
            for first, a in zip(own, own_scale, strict=True)
            for second, b in zip(other, other_scale, strict=True)
        ):
            break
        reach += 0.5
    return reach


def _scales(functions: Program, std: Any) -> list[Any]:
    """Typical sizes, which only steer: the largest of some values."""
    arb = flint().arb
    columns = zip(*(functions(std * arb(u)) for u in (0.3, -1.0, 1.0, -2.0, 2.0)), strict=True)
    return [reduce(arb.max, (abs(v).mid() for v in column if v.is_finite()), arb(2) ** -400) for column in columns]


def lattice_expectations(
    f: Program, g: Program, cov: BallCovariance, pairs: Sequence[tuple[int, int]], digits: int
) -> dict[tuple[int, int], Any]:
    """Balls around E[f_i(a) g_j(b)] for the pairs (i, j) of functions of two programs; bounds of about 10^−digits.

    Raises
    ------
    NotCertifiableError, PrecisionError
    """
    growths = [growth(e, cov.std) for e in f.expressions], [growth(e, cov.stdp) for e in g.expressions]
    reach = _reach(*growths, _scales(f, cov.std), _scales(g, cov.stdp), digits)
    t = cov.det / (cov.std * cov.stdp) ** 2
    rules: list[_Plane | _Nested] = []
    if cov.line == 0 and t > SINGULAR:
        rules.append(_Plane(f, g, cov, reach, digits))
    if not (cov.line == 0 and t > MODERATE):
        rules.append(_Nested(f, g, cov, reach, digits))
    rule = min(rules, key=lambda r: r.cost)
    if rule.cost > MAX_VALUES:
        raise PrecisionError(f"the certificate needs more than {MAX_VALUES} values of the functions")
    sums, errors = rule.sums(pairs), rule.errors(pairs)
    result = {}
    for i, j in pairs:
        first, second = growths[0][i], growths[1][j]
        outside = (first.tail(reach) * second.tail(0)).sqrt() + (first.tail(0) * second.tail(reach)).sqrt()
        if isinstance(rule, _Nested):
            # Its box is one of u and v; v is independent of f.
            beyond = (flint().arb(reach) / flint().arb(2).sqrt()).erfc()
            outside += (beyond * first.tail(0) * second.tail(0)).sqrt()
        error = outside + errors[i, j]
        if not (error.is_finite() and sums[i, j].is_finite()):
            raise PrecisionError("the enclosure is not finite: the arguments' balls are too wide")
        result[i, j] = sums[i, j] + flint().arb(0, error.upper())
    return result


class _Plane:
    r"""u = a/√q, w = b/√q' on one lattice; (u² − 2ρuw + w²)/2t = (u² + w²)/2(1+ρ) + ρ(u − w)²/2t with t = 1 − ρ²."""

    def __init__(self, f: Program, g: Program, cov: BallCovariance, reach: float, digits: int) -> None:
        self.f, self.g, self.cov = f, g, cov
        self.t = cov.det / (cov.std * cov.stdp) ** 2
        lowest = float(self.t.lower()) * (1 - 1e-12)
        stds = cov.std, cov.stdp
        width = [_float_above(std * reach) for std in stds]

        def along(first: int) -> Suprema:
            own, other = (f, g) if first == 0 else (g, f)

            def suprema(d: float) -> list[list[Any]] | None:
                height = _float_above(stds[first] * d) if d else 0.0
                return _products(own.supremum(width[first], height), other.supremum(width[1 - first], 0.0))

            return suprema

        (row, self.row_bounds), (column, self.column_bounds) = (
            _choose_axis(along(k), reach, lowest, digits) for k in (0, 1)
        )
        finer = row if row.n >= column.n else column
        self.row, self.column = (replace(axis, n=finer.n, h=finer.h) for axis in (row, column))
        # The product of polynomials is worth as much again.
        self.cost = 4 * (2 * finer.n + 1)

    def sums(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        arb, arb_poly = flint().arb, flint().arb_poly
        cov, t, n, h = self.cov, self.t, self.row.n, self.row.h
        rho = cov.c / (cov.std * cov.stdp)
        flip = -1 if rho.mid() < 0 else 1
        rho = flip * rho
        nodes = self.row.nodes()
        weight = [(-(u**2) / (2 * (1 + rho))).exp() for u in nodes]
        half = [(-rho * (k * h) ** 2 / (2 * t)).exp() for k in range(2 * n + 1)]
        kernel = arb_poly(half[:0:-1] + half)
        left = list(zip(*(self.f(cov.std * u) for u in nodes), strict=True))
        right = list(zip(*(self.g(flip * cov.stdp * w) for w in nodes), strict=True))
        factor = h**2 / (2 * arb.pi() * t.sqrt())
        inner: dict[int, list[Any]] = {}
        for j in {j for _, j in pairs}:
            product = arb_poly([v * e for v, e in zip(right[j], weight, strict=True)]) * kernel
            inner[j] = [product[k + 2 * n] * weight[k] for k in range(2 * n + 1)]
        return {(i, j): factor * sum((a * b for a, b in zip(left[i], inner[j], strict=True)), arb(0)) for i, j in pairs}

    def errors(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        """First ∫dw of the rule in u, then h Σ_u of the rule in w, with h Σ_u φ_t(u − ρR) ≤ 1 + h/√(2πt)."""
        end = normal_density(self.row.reach)
        crowd = 1 + self.row.h * normal_density(flint().arb(0), self.t)
        first, second = rule_error(self.row, end), crowd * rule_error(self.column, end)
        return {(i, j): self.row_bounds[i][j] * first + self.column_bounds[j][i] * second for i, j in pairs}


class _Nested:
    """a = √q u, b = αu + βv with independent u and v; no v if |ρ| = 1."""

    def __init__(self, f: Program, g: Program, cov: BallCovariance, reach: float, digits: int) -> None:
        arb = flint().arb
        self.f, self.g, self.cov = f, g, cov
        self.alpha = alpha = cov.line * cov.stdp if cov.line else cov.c / cov.std
        self.beta = beta = arb(0) if cov.line else cov.det.sqrt() / cov.std
        if not (alpha.is_finite() and beta.is_finite()):
            raise PrecisionError("a variance whose ball contains zero leaves the correlation open")
        width_f, width_g = _float_above(cov.std * reach), _float_above((abs(alpha) + beta) * reach)

        def along_u(d: float) -> list[list[Any]] | None:
            height_f, height_g = (_float_above(std * d) if d else 0.0 for std in (cov.std, abs(alpha)))
            return _products(f.supremum(width_f, height_f), g.supremum(width_g, height_g))

        def along_v(d: float) -> list[list[Any]] | None:
            return _products(f.supremum(width_f, 0.0), g.supremum(width_g, _float_above(beta * d) if d else 0.0))

        self.row, self.row_bounds = _choose_axis(along_u, reach, 1.0, digits)
        self.column: Axis | None = None
        self.cost = 2 * self.row.n + 1
        if not cov.line:
            self.column, self.column_bounds = _choose_axis(along_v, reach, 1.0, digits)
            self.cost *= 2 * self.column.n + 1

    def sums(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        arb = flint().arb
        shifts, densities = [arb(0)], [arb(1)]
        if self.column is not None:
            shifts = [self.beta * v for v in self.column.nodes()]
            densities = [self.column.h * normal_density(v) for v in self.column.nodes()]
        sums = {pair: arb(0) for pair in pairs}
        for u in self.row.nodes():
            left = self.f(self.cov.std * u)
            means = [arb(0)] * len(self.g.expressions)
            for shift, density in zip(shifts, densities, strict=True):
                means = [m + density * v for m, v in zip(means, self.g(self.alpha * u + shift), strict=True)]
            weight = self.row.h * normal_density(u)
            for i, j in pairs:
                sums[i, j] += weight * left[i] * means[j]
        return sums

    def errors(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        """First ∫dv of the rule in u, then h Σ_u φ(u) ≤ 1 + hφ(0) times the rule in v."""
        first = rule_error(self.row, normal_density(self.row.reach))
        errors = {(i, j): self.row_bounds[i][j] * first for i, j in pairs}
        if self.column is not None:
            crowd = 1 + self.row.h * normal_density(flint().arb(0))
            second = crowd * rule_error(self.column, normal_density(self.column.reach))
            errors = {(i, j): error + self.column_bounds[i][j] * second for (i, j), error in errors.items()}
        return errors


def _products(first: list[Any] | None, second: list[Any] | None) -> list[list[Any]] | None:
    return None if first is None or second is None else [[a * b for b in second] for a in first]
