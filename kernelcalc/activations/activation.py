"""Nonlinearities: a SymPy expression first, NumPy callables and derivatives from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, TypeGuard

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations.features import Feature
from kernelcalc.activations.normal import mean_and_variance
from kernelcalc.activations.pieces import WITH_POLES, PiecewiseForm, infinite_powers
from kernelcalc.arguments import check_count, shown
from kernelcalc.arrays import plain
from kernelcalc.errors import ExpressionError, InputError, KernelcalcError, NotFiniteError
from kernelcalc.expressions.atoms import Delta, logs_near_one, x
from kernelcalc.expressions.parsing import parse_expression
from kernelcalc.expressions.sinc import Sinc
from kernelcalc.expressions.stable import guarded_callable, mpmath_callable
from kernelcalc.expressions.tree import NamedExpression
from kernelcalc.machine import MULTIPRECISION

# Values are looked at up to here when an expression is checked: e^{x²} is a fair function and overflows at 27.
CHECKED_REACH = 20.0
# Functions with more are computed piece by piece, each at its own values.
FEW_KINKS = 12
# What SymPy writes down as it stands until it is told to do it, which may take long.
_UNDONE = (sp.Derivative, sp.Integral, sp.Limit, sp.Sum, sp.Product)


@contextmanager
def _named(expected: str, got: str) -> Iterator[None]:
    """What SymPy raises at an expression that it can not deal with, of whatever type, under a name."""
    try:
        yield
    except KernelcalcError:
        raise
    except Exception as error:
        raise ExpressionError(expected, got, str(error)) from error


def _finite(jumps: list[Any]) -> tuple[float, ...]:
    """Jumps as floats."""
    try:
        found = tuple(map(float, jumps))
    except TypeError:
        # SymPy's infinite numbers, in whatever direction
        found = (np.inf,)
    if not np.isfinite(found).all():
        raise ValueError("it is infinite at one")
    return found


def _real(values: Any) -> np.ndarray:
    if type(values) is np.ndarray and values.dtype == np.float64:
        return values
    array = plain(values, "values")
    try:
        if array.dtype == object:
            return np.array([float(v) for v in array.flat]).reshape(array.shape)
        if array.dtype.kind not in "cmM":
            return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("real numbers", type(values).__name__) from error
    raise InputError("real numbers", f"dtype {array.dtype}")


def _is_given(derivative_of: Any) -> TypeGuard[tuple[Activation, int]]:
    """Whether there is one; what is no activation with the order of its derivative is refused."""
    if derivative_of is None:
        return False
    pair = derivative_of if isinstance(derivative_of, tuple) else ()
    if len(pair) != 2 or not isinstance(pair[0], Activation):
        raise InputError("derivative_of, an activation and the order of its derivative", shown(derivative_of))
    check_count("the order of derivative_of", pair[1], 0)
    return True


class Activation(NamedExpression):
    """A nonlinearity σ: ℝ → ℝ, given as an expression of one real symbol.

    Parameters
    ----------
    expression : str, sympy.Expr or PiecewiseForm
        Text (parsed by whitelist, :mod:`kernelcalc.expressions.parsing`), an expression, or one cut at its kinks already.
    name : str, optional
        What it is called in tables and error messages; the expression itself by default.
    derivative_of : (Activation, int), optional
        The function that this one, given as a form, is a derivative of, and its order; see :meth:`derivative`.

    Attributes
    ----------
    expr : sympy.Expr
        The expression in :data:`kernelcalc.expressions.atoms.x`. Derivatives of kinked functions contain ``DiracDelta``.
    form : PiecewiseForm
        The smooth expressions between the kinks and the singular part.
    root, order : Activation, int
        The function itself and 0, or what this is the derivative of and its order.

    Raises
    ------
    ExpressionError, InputError
        Not exactly one symbol, not real and finite on the line, kinks that cannot be found; another ``derivative_of``.

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

    def __init__(
        self,
        expression: str | sp.Expr | PiecewiseForm,
        *,
        name: str | None = None,
        derivative_of: tuple[Activation, int] | None = None,
    ) -> None:
        self.name: str = _text(name) if name is not None else str(expression)
        self.root: Activation = derivative_of[0] if _is_given(derivative_of) else self
        self.order: int = derivative_of[1] if derivative_of else 0
        self._derivatives: dict[int, Activation] = {0: self} if derivative_of is None else self.root._derivatives
        if isinstance(expression, PiecewiseForm):
            self.form: PiecewiseForm = expression
            self.expr: sp.Expr = expression.expr
            return
        self.expr = _function_of_x(expression)
        with _named("a real function whose kinks can be located", self.name):
            self.form = PiecewiseForm.of(self.expr)
            if name is None:
                _check_finite(self)

    @property
    def kinks(self) -> tuple[float, ...]:
        """``form.breaks`` as floats."""
        return self.form.kinks

    @property
    def deltas(self) -> tuple[Delta, ...]:
        """The singular part (empty unless this is a derivative of a kinked function)."""
        return self.form.deltas

    @property
    def smoothness(self) -> float:
        """Largest k with σ ∈ C^k: ``math.inf`` without kinks, 0 for relu, −1 for a step."""
        return self.form.smoothness

    @property
    def features(self) -> tuple[Feature, ...]:
        """Where the function or one it is a derivative of may vary fast."""
        return self.root.form.features

    @cached_property
    def narrow(self) -> bool:
        """Whether some feature is narrow: rules must know of it, and rounding is felt in it."""
        return any(feature.narrow for feature in self.features)

    @property
    def centred(self) -> bool:
        """Whether every kink and feature lies at 0."""
        return self.form.known and not any(self.kinks) and all(abs(f.at) < 1e-14 for f in self.features)

    @cached_property
    def mpmath_pieces(self) -> tuple[Callable[[Any], Any], ...]:
        """The pieces as functions of mpmath numbers, evaluated at the caller's precision."""
        return tuple(mpmath_callable(piece, x) for piece in self.form.pieces)

    def __call__(self, values: Any, *, check: bool = True) -> np.ndarray:
        """Values at an array, float64; almost everywhere (singular parts at kinks are left out, jumps take their mean).

        Raises
        ------
        NotFiniteError
            If a value overflows at a finite argument.
        """
        values = _real(values)
        few = len(self.kinks) <= FEW_KINKS
        if few:
            result = self.form.compiled[0](values if not self.kinks else np.minimum(values, self.kinks[0]))
        else:
            result = self.form.at_many_kinks(values, self._jump_values)
        for index, at in enumerate(self.kinks if few else ()):
            right = self.form.compiled[index + 1](np.maximum(values, at))
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
        with _named("a function with finite limits at its kinks", self.name):
            return _finite(self.form.jumps(0))

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
        ExpressionError
            If no one-sided derivatives are found at the kinks.
        """
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 0:
            raise InputError("an order of differentiation k ≥ 0", repr(k))
        root, order = self.root, self.order + int(k)
        if order not in root._derivatives:
            name = f"{root.name}{chr(39) * order if order <= 3 else f'^({order})'}"
            with _named("one-sided derivatives at the kinks", name):
                form = root.form.derivative(order)
            root._derivatives[order] = Activation(form, name=name, derivative_of=(root, order))
        return root._derivatives[order]

    def normalized(self) -> Activation:
        r"""Mean 0 and variance 1 under N(0, 1): :math:`\bar σ = (σ - E σ(Z))/\sqrt{Var σ(Z)}`.

        The paper's "normalised" nonlinearity (Jacot, Gabriel, Hongler 2020, Section 3.4), both constants to 50 digits.

        Raises
        ------
        InputError
            If the variance is zero.

        Examples
        --------
        >>> Activation("x**2").normalized().expr
        sqrt(2)*(x**2 - 1)/2
        """
        mean, variance = mean_and_variance(self.form)
        if variance == 0:
            raise InputError("a nonlinearity with positive variance under N(0, 1)", self.name)
        return Activation((self.expr - mean) / sp.sqrt(variance), name=f"normalized {self.name}")

    def __getstate__(self) -> dict[str, Any]:
        # What is made at first use, callables among it, does not travel; equal ones are written alike.
        kept = ("name", "expr", "form", "root", "order", "_function")
        return {k: v for k, v in vars(self).items() if k in kept} | {"_derivatives": {0: self.root}}

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Activation) and self.expr == other.expr and self.name == other.name)

    def __hash__(self) -> int:
        return hash((self.name, self.expr))

    def __repr__(self) -> str:
        return (
            f"Activation({self.name!r}: {self.expr})" if self.name != str(self.expr) else f"Activation({self.name!r})"
        )

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {sp.latex(self.expr)}$"


def _check_finite(act: Activation) -> None:
    half = np.geomspace(CHECKED_REACH, 1e-3, 40)
    grid = np.concatenate([-half, [0.0], half[::-1]])
    values = act(grid, check=False)
    bad = grid[~np.isfinite(values)].tolist()
    _refuse_overflow(act, grid[np.isinf(values)].tolist())
    bad = bad or sorted(act.form.poles(CHECKED_REACH) | infinite_powers(act.expr, -CHECKED_REACH, CHECKED_REACH))
    if bad or act.expr.has(*WITH_POLES):
        at = bad[0] if bad else np.pi / 2
        raise ExpressionError(
            "a function that is real and finite on the whole line",
            f"{act.name} at x = {at:.3g}",
            "poles, logarithms and roots of negative numbers have no Gaussian expectation here",
        )


def _refuse_overflow(act: Activation, infinite: list[float]) -> None:
    """Refuse what is finite, but beyond float64, at a place where it is infinite there."""
    for at in infinite:
        exact = guarded_callable(act.form.pieces[np.searchsorted(act.kinks, at)], x)
        with MULTIPRECISION, suppress(OverflowError):
            if not mpmath.isfinite(exact(mpmath.mpf(at))):
                continue
        raise ExpressionError(
            f"values below 1.8e308 up to |x| = {CHECKED_REACH:g}", f"larger ones of {act.name} at x = {at:.3g}"
        )


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise InputError("name, a text", shown(name))
    return name


def _function_of_x(expression: str | sp.Expr) -> sp.Expr:
    """A text or an expression of one symbol as an expression of ours."""
    if isinstance(expression, str):
        parsed = parse_expression(expression, {"x": x})
    elif isinstance(expression, sp.Expr):
        parsed = expression
    else:
        raise ExpressionError("a text or a SymPy expression", type(expression).__name__)
    symbols = parsed.free_symbols
    if len(symbols) > 1:
        names = ", ".join(sorted(map(str, symbols)))
        raise ExpressionError("an expression of one symbol", names, "put numbers in for the others")
    for part in parsed.atoms(sp.Derivative):
        parsed = parsed.xreplace({part: part.doit()})
    left = parsed.atoms(*_UNDONE)
    if left:
        raise ExpressionError(
            "a function without sums, integrals and limits", str(min(left, key=str)), "use its doit()"
        )
    if parsed.has(sp.DiracDelta):
        raise ExpressionError("a function without delta functions", str(parsed))
    # SymPy's sinc u is sin(u)/u
    parsed = parsed.replace(sp.sinc, lambda u: Sinc(u / sp.pi, 0))
    # the angle of a real number jumps at 0, which only a step shows
    parsed = parsed.replace(sp.arg, lambda u: sp.pi * sp.Heaviside(-u) if u.is_extended_real else sp.arg(u))
    return logs_near_one(parsed.xreplace({symbols.pop(): x}) if symbols else parsed)


class CallableActivation(Activation):
    """A NumPy callable taken as smooth; it has no expression and no derivatives."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        name = getattr(function, "__name__", type(function).__name__)
        unknown = sp.Function(name if name.isidentifier() else "f")(x)
        super().__init__(PiecewiseForm(breaks=(), pieces=(unknown,), stable=(unknown,)), name=name)
        self._function = function

    def __call__(self, values: Any, *, check: bool = True) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        try:
            with np.errstate(all="ignore"):
                # a copy: x *= x in the function must not reach what the caller computes with
                found = np.asarray(self._function(values.copy()))
            if found.dtype.kind == "c":
                raise InputError(f"a callable {self.name} with real values", f"dtype {found.dtype}")
            result = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError) as error:
            if isinstance(error, KernelcalcError):
                raise
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


ONE = Activation(sp.S.One, name="1")
