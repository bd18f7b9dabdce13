"""Nonlinearities: a SymPy expression first, NumPy callables and derivatives from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from kernelcalc.errors import ExpressionError, InputError, NotFiniteError
from kernelcalc.expressions.parsing import parse_expression, to_sympy
from kernelcalc.expressions.stable import FloatFunction, mpmath_callable, numpy_callable, stabilise

x = sp.Symbol("x", real=True)

# Derivatives whose jumps are looked at when the smoothness class is determined: the theory asks for C⁴.
SMOOTHNESS_DEPTH = 6
KINKED = (sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min)
KNOWN: tuple[Any, ...] = (
    *(*KINKED, sp.Piecewise, sp.DiracDelta, sp.exp, sp.log, sp.sin, sp.cos, sp.sinh, sp.cosh, sp.tanh, sp.sech),
    *(sp.coth, sp.asinh, sp.atan, sp.erf, sp.erfc, sp.tan, sp.cot, sp.sec, sp.csc, sp.csch, sp.re, sp.im, sp.arg),
)


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A term weight · δ^{(order)}(x − at) of a distributional derivative."""

    at: sp.Expr
    order: int
    weight: sp.Expr


class Activation:
    """A nonlinearity σ: ℝ → ℝ, given as an expression of one real symbol.

    Parameters
    ----------
    expression : str or sympy.Expr
        Text such as ``"x*erf(x)"`` (parsed by whitelist, see :mod:`kernelcalc.expressions.parsing`) or a SymPy
        expression of one symbol.
    name : str, optional
        What it is called in tables and error messages; the expression itself by default.

    Attributes
    ----------
    expr : sympy.Expr
        The expression in :data:`kernelcalc.activations.activation.x`. Derivatives of kinked functions contain ``DiracDelta``.
    kinks : tuple of float
        Where σ or one of its derivatives jumps.
    pieces : tuple of sympy.Expr
        The smooth expressions between the kinks, one more than there are kinks.
    deltas : tuple of Delta
        The singular part (empty unless this is a derivative of a kinked function).
    smoothness : float
        Largest k with σ ∈ C^k: ``math.inf`` without kinks, 0 for relu, −1 for a step.

    Raises
    ------
    ExpressionError
        If the expression has not exactly one symbol, is not real and finite on the line, or its kinks cannot be found.

    Examples
    --------
    >>> act = Activation("x*erf(x)")
    >>> float(act(2.0))
    1.9906445...
    >>> float(act.derivative(1)(0.0)), Activation("x**3").derivative(2).expr
    (0.0, 6*x)
    >>> Activation("max(x, 0)").smoothness
    0
    """

    def __init__(self, expression: str | sp.Expr, *, name: str | None = None) -> None:
        if isinstance(expression, str):
            parsed = parse_expression(expression, {"x": x})
        elif isinstance(expression, sp.Expr):
            parsed = expression
        else:
            raise ExpressionError("a text or a SymPy expression", type(expression).__name__)
        symbols = parsed.free_symbols
        if len(symbols) > 1:
            names = ", ".join(sorted(map(str, symbols)))
            raise ExpressionError("an expression of one symbol", f"{names}", "put numbers in for the others")
        if symbols:
            parsed = parsed.xreplace({symbols.pop(): x})
        self.expr: sp.Expr = parsed
        self.name = name if name is not None else str(expression)
        self.order = 0
        self._root = self
        self.deltas: tuple[Delta, ...] = ()
        self._derivatives: dict[int, Activation] = {0: self}
        unknown = {type(f).__name__ for f in parsed.atoms(sp.Function) if f.has(x) and not isinstance(f, KNOWN)}
        if unknown:
            raise ExpressionError("elementary functions, erf, steps and absolute values", ", ".join(sorted(unknown)))
        try:
            self._breaks, self.pieces = _pieces(parsed)
            self._stable = tuple(stabilise(piece) for piece in self.pieces)
            if name is None:
                self._check_finite()
        except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
            if isinstance(error, ExpressionError):
                raise
            raise ExpressionError("a real function whose kinks can be located", self.name, str(error)) from error

    def _check_finite(self) -> None:
        # To 20 only: e^{x²} is a fair function and overflows at 27.
        grid = np.concatenate([-np.geomspace(20, 1e-3, 40), [0.0], np.geomspace(1e-3, 20, 40)])
        values = self(grid, check=False)
        bad = ~np.isfinite(values)
        edges = (-math.inf, *self.kinks, math.inf)
        poles = {
            root
            for piece, low, high in zip(self.pieces, edges[:-1], edges[1:], strict=True)
            for root in _poles(piece, max(low, -20.0), min(high, 20.0))
        }
        if bad.any() or poles or self.expr.has(sp.tan, sp.cot, sp.sec, sp.csc, sp.csch, sp.coth):
            at = grid[bad][0] if bad.any() else min(poles, default=np.pi / 2)
            raise ExpressionError(
                "a function that is real and finite on the whole line",
                f"{self.name} at x = {at:.3g}",
                "poles, logarithms and roots of negative numbers have no Gaussian expectation here",
            )

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        return tuple(float(b) for b in self._breaks)

    @cached_property
    def features(self) -> tuple[float, ...]:
        """Where the function may vary fast: real parts of the zeros of every polynomial argument and denominator."""
        found: set[float] = set()
        edges = (-math.inf, *self.kinks, math.inf)
        for piece, low, high in zip(self._root._stable, edges[:-1], edges[1:], strict=True):
            polynomials = {a for atom in piece.atoms(sp.Function, sp.exp) for a in atom.args if a.is_polynomial(x)}
            polynomials |= {p.base for p in piece.atoms(sp.Pow) if not p.exp.is_Integer or p.exp.is_negative}
            for polynomial in polynomials:
                if polynomial.has(x) and polynomial.is_polynomial(x) and sp.degree(polynomial, x) <= 12:
                    roots = (float(sp.re(root)) for root in sp.Poly(polynomial, x).nroots(n=17, maxsteps=200))
                    found |= {root for root in roots if low <= root <= high}
        return tuple(sorted(found))

    @property
    def centred(self) -> bool:
        """Whether every kink and feature lies at 0."""
        return not any(self.kinks) and all(abs(p) < 1e-14 for p in self.features)

    @cached_property
    def smoothness(self) -> float:
        """Largest k with σ ∈ C^k (``math.inf``: no kinks; −1: a jump; lower for distributions)."""
        if self.deltas:
            return min(-2 - d.order for d in self.deltas)
        if not self._breaks:
            return math.inf
        for order in range(SMOOTHNESS_DEPTH + 1):
            if any(jump != 0 for jump in self._jumps(order)):
                return order - 1
        return SMOOTHNESS_DEPTH

    def _jumps(self, order: int) -> list[Any]:
        """Jump of the order-th derivative of the pieces at every kink."""
        derivatives = [sp.diff(piece, x, order) for piece in self.pieces]
        return [
            _simplified(_value_at(right, at) - _value_at(left, at))
            for at, left, right in zip(self._breaks, derivatives[:-1], derivatives[1:], strict=True)
        ]

    @cached_property
    def _compiled(self) -> tuple[FloatFunction, ...]:
        return tuple(numpy_callable(piece, x) for piece in self._stable)

    @cached_property
    def mpmath_pieces(self) -> tuple[Callable[[Any], Any], ...]:
        """The pieces as functions of mpmath numbers, evaluated at the caller's precision."""
        return tuple(mpmath_callable(piece, x) for piece in self.pieces)

    def __call__(self, values: Any, *, check: bool = True) -> np.ndarray:
        """Values at an array, float64; almost everywhere (singular parts at kinks are left out, jumps take their mean).

        Raises
        ------
        NotFiniteError
            If a value overflows at a finite argument.
        """
        try:
            values = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("real numbers", type(values).__name__) from error
        result = self._compiled[0](values if not self.kinks else np.minimum(values, self.kinks[0]))
        for index, at in enumerate(self.kinks):
            right = self._compiled[index + 1](np.maximum(values, at))
            result = np.where(values < at, result, right)
            if self._jump_values[index] != 0:
                result = np.where(values == at, right - self._jump_values[index] / 2, result)
        if check and not np.isfinite(result).all() and np.isfinite(values).all():
            at = values[~np.isfinite(result)].flat[0]
            raise NotFiniteError(
                f"a finite value of {self.name}", f"{result[~np.isfinite(result)].flat[0]} at x = {at}"
            )
        return result

    @cached_property
    def _jump_values(self) -> tuple[float, ...]:
        return tuple(float(j) for j in self._jumps(0))

    def derivative(self, k: int = 1) -> Activation:
        """The k-th derivative, in the sense of distributions, as an Activation.

        Parameters
        ----------
        k : int
            Order, at least 0.

        Raises
        ------
        InputError
            If k is negative or not an integer.
        """
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 0:
            raise InputError("an order of differentiation k ≥ 0", repr(k))
        root, order = self._root, self.order + int(k)
        if order not in root._derivatives:
            root._derivatives[order] = _derivative_of_root(root, order)
        return root._derivatives[order]

    def normalized(self) -> Activation:
        r"""Mean 0 and variance 1 under N(0, 1): :math:`\bar σ = (σ - E σ(Z))/\sqrt{Var σ(Z)}`.

        The paper's "normalised" nonlinearity (Jacot, Gabriel, Hongler, ICLR 2020, Section 3.4). The two constants are
        computed to 50 digits.

        Raises
        ------
        InputError
            If the variance is zero.

        Examples
        --------
        >>> Activation("x**2").normalized().expr
        sqrt(2)*(x**2 - 1)/2
        """
        from kernelcalc.gaussian.digits.expectation import mean_and_variance

        mean, variance = mean_and_variance(self)
        if variance == 0:
            raise InputError("a nonlinearity with positive variance under N(0, 1)", self.name)
        return Activation((self.expr - mean) / sp.sqrt(variance), name=f"normalized {self.name}")

    def __getstate__(self) -> dict[str, Any]:
        # Compiled callables do not travel between processes; they are made again at first use.
        return {k: v for k, v in self.__dict__.items() if k not in ("_compiled", "mpmath_pieces")}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Activation) and self.expr == other.expr and self.name == other.name

    def __hash__(self) -> int:
        return hash((self.name, self.expr))

    def __repr__(self) -> str:
        return (
            f"Activation({self.name!r}: {self.expr})" if self.name != str(self.expr) else f"Activation({self.name!r})"
        )

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {sp.latex(self.expr)}$"


def as_activation(value: Activation | str | sp.Expr | Callable[[Any], Any]) -> Activation:
    """An Activation from itself, a name with optional parameters, an expression, or a NumPy callable.

    Examples
    --------
    >>> as_activation("softplus(sharpness=2)").name
    'softplus(sharpness=2)'
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, sp.Expr):
        return Activation(value)
    if isinstance(value, str):
        from kernelcalc.activations.names import from_text

        return from_text(value)
    if callable(value):
        return CallableActivation(value)
    raise InputError("an Activation, a name, an expression or a callable", type(value).__name__)


class CallableActivation(Activation):
    """A NumPy callable taken as smooth; it has no expression and no derivatives."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self.expr = sp.Function(self.name if self.name.isidentifier() else "f")(x)
        self.order = 0
        self._root = self
        self._breaks = ()
        self.pieces = (self.expr,)
        self._stable = self.pieces
        self.deltas = ()
        self._derivatives = {0: self}
        self._function = function

    def __call__(self, values: Any, *, check: bool = True) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        try:
            result = np.asarray(self._function(values), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"a callable {self.name} that works elementwise on arrays", str(error)) from error
        if result.shape != values.shape:
            raise InputError(f"a callable {self.name} that works elementwise on arrays", f"shape {result.shape}")
        if check and not np.isfinite(result).all() and np.isfinite(values).all():
            raise NotFiniteError(f"finite values of {self.name}", "NaN or infinity")
        return result

    def derivative(self, k: int = 1) -> Activation:
        if k == 0:
            return self
        raise InputError(
            "an expression, whose derivatives are known", f"the callable {self.name}", "pass an Activation"
        )

    @property
    def mpmath_pieces(self) -> tuple[Callable[[Any], Any], ...]:
        raise InputError("an expression, which can be evaluated to any precision", f"the callable {self.name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CallableActivation) and self._function is other._function

    def __hash__(self) -> int:
        return hash(self._function)


def _derivative_of_root(root: Activation, order: int) -> Activation:
    result = Activation.__new__(Activation)
    result.order, result._root = order, root
    result._derivatives = root._derivatives
    result._breaks = root._breaks
    result.name = f"{root.name}{chr(39) * order if order <= 3 else f'^({order})'}"
    result.pieces = tuple(sp.diff(piece, x, order) for piece in root.pieces)
    result._stable = tuple(sp.diff(piece, x, order) for piece in root._stable)
    result.deltas = tuple(
        Delta(at=at, order=order - 1 - j, weight=jump)
        for j in range(order)
        for at, jump in zip(root._breaks, root._jumps(j), strict=True)
        if jump != 0
    )
    if not root._breaks:
        result.expr = result.pieces[0]
    else:
        conditions = [x < at for at in root._breaks] + [True]
        regular = sp.Piecewise(*zip(result.pieces, conditions, strict=True))
        singular = (d.weight * sp.DiracDelta(x - d.at, d.order) for d in result.deltas)
        result.expr = sp.Add(regular, *singular)
    return result


def _poles(expr: sp.Expr, low: float, high: float) -> set[float]:
    """Zeros of denominators in [low, high]: exact for polynomials, by a change of sign for others."""
    found: set[float] = set()
    for base in {p.base for p in expr.atoms(sp.Pow) if p.exp.is_negative and p.base.has(x)}:
        if base.is_polynomial(x):
            found |= {float(sp.re(r)) for r in sp.Poly(base, x).nroots(n=20, maxsteps=200) if abs(sp.im(r)) < 1e-12}
        else:
            grid = np.linspace(low, high, 4001)
            values = numpy_callable(base, x)(grid)
            found |= {float(v) for v in grid[1:][values[1:] * values[:-1] <= 0]}
    return {root for root in found if low <= root <= high}


def _simplified(value: Any) -> Any:
    value = sp.nsimplify(value) if value.is_Float else value
    if value.is_number and not value.is_Rational and abs(sp.N(value, 30)) < sp.Float(10) ** -25:
        return sp.S.Zero
    return value


def _value_at(expr: sp.Expr, at: sp.Expr) -> sp.Expr:
    value = expr.subs(x, at)
    return sp.limit(expr, x, at) if value.has(sp.nan, sp.zoo, sp.oo) else value


def _pieces(expr: sp.Expr) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
    """Kinks in ascending order and the smooth expressions between them."""
    if not (expr.has(*KINKED) or expr.has(sp.Piecewise)):
        return (), (expr,)
    breaks = sorted(_break_candidates(expr), key=float)
    outer = (
        [breaks[0] - 1, *((a + b) / 2 for a, b in zip(breaks, breaks[1:], strict=False)), breaks[-1] + 1]
        if breaks
        else [0]
    )
    pieces = [_smooth_on(expr, sp.nsimplify(point) if point.is_Float else point) for point in map(to_sympy, outer)]
    kept_breaks: list[sp.Expr] = []
    kept_pieces = [pieces[0]]
    for at, piece in zip(breaks, pieces[1:], strict=True):
        if sp.expand(piece - kept_pieces[-1]) != 0:
            kept_breaks.append(at)
            kept_pieces.append(piece)
    return tuple(kept_breaks), tuple(kept_pieces)


def _break_candidates(expr: sp.Expr) -> set[sp.Expr]:
    switches: set[sp.Expr] = set()
    for atom in expr.atoms(*KINKED):
        if isinstance(atom, sp.Max | sp.Min):
            arguments = list(atom.args)
            switches |= {a - b for i, a in enumerate(arguments) for b in arguments[:i]}
        else:
            switches.add(atom.args[0])
    for piecewise in expr.atoms(sp.Piecewise):
        for _, condition in piecewise.args:
            switches |= {r.lhs - r.rhs for r in condition.atoms(sp.core.relational.Relational)}
    found: set[sp.Expr] = set()
    for switch in switches:
        if not switch.has(x):
            continue
        # A switch may itself be kinked (|x| - 1): its pieces are smooth expressions each, and so are its kinks.
        breaks, smooth = _pieces(switch)
        found |= set(breaks)
        for piece in smooth:
            if piece.has(x):
                found |= _real_roots(piece)
    return found


def _real_roots(switch: sp.Expr) -> set[sp.Expr]:
    solutions = sp.solveset(switch, x, sp.S.Reals)
    if isinstance(solutions, sp.FiniteSet):
        return set(solutions)
    if solutions is sp.S.EmptySet:
        return set()
    if switch.is_polynomial(x):
        return set(sp.real_roots(sp.Poly(switch, x)))
    raise ExpressionError("kinks that can be located", f"zeros of {switch}", "write the kinks as |x - a| or Max(x, a)")


def _smooth_on(expr: sp.Expr, point: sp.Expr) -> sp.Expr:
    """The smooth expression that agrees with expr around a point that is no kink."""

    def positive(switch: sp.Expr) -> bool:
        return bool(switch.subs(x, point) > 0)

    def extreme(largest: bool) -> Callable[..., sp.Expr]:
        def choose(*args: sp.Expr) -> sp.Expr:
            pick = max if largest else min
            return pick(args, key=lambda a: sp.N(a.subs(x, point), 30))

        return choose

    def choose_branch(*branches: Any) -> sp.Expr:
        for value, condition in branches:
            if bool(to_sympy(condition).subs(x, point)):
                return value
        raise ExpressionError("a Piecewise that covers the whole line", str(expr))

    result = expr.replace(sp.Piecewise, choose_branch)
    result = result.replace(sp.Max, extreme(True)).replace(sp.Min, extreme(False))
    result = result.replace(sp.Abs, lambda u: u if positive(u) else -u)
    result = result.replace(sp.sign, lambda u: sp.S.One if positive(u) else -sp.S.One)
    return result.replace(sp.Heaviside, lambda u, *_: sp.S.One if positive(u) else sp.S.Zero)
