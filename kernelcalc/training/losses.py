r"""Losses :math:`C(Y) = \frac1N \sum_i c(Y_i, t_i)`: value, gradient and Hessian in the outputs.

Targets t are encoded once, as an (N, n_out) array, by :meth:`Loss.encode`. The methods ``point_values``, ``slope`` and
``curvature`` are those of one point, c, ∇c and ∂²c, without the 1/N; they broadcast over leading axes and are what
integrators call. ``value``, ``gradient``, ``hessian`` and the products are those of C and take labels as given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import plain
from kernelcalc.errors import (
    ExpressionError,
    InputError,
    NotFiniteError,
    ShapeError,
    SmoothnessError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


class Loss(ABC):
    """A convex loss of each point's outputs.

    Attributes
    ----------
    name : str
        What the user calls it.
    has_blocks : bool
        Whether ∂²c couples outputs: then ``curvature`` is (..., n_out, n_out), otherwise its diagonal (..., n_out).
    curvature_bound : float
        Largest eigenvalue of ∂²c over all outputs, infinity where there is none or it is not known.
    """

    name: str
    has_blocks: bool = False
    curvature_bound: float = np.inf

    @abstractmethod
    def point_values(self, y: Array, t: Array) -> Array:
        """c(y, t), summed over outputs: (..., n_out) → (...)."""

    @abstractmethod
    def slope(self, y: Array, t: Array) -> Array:
        """∇c(y, t): (..., n_out)."""

    @abstractmethod
    def curvature(self, y: Array, t: Array) -> Array:
        """∂²c(y, t): its diagonal (..., n_out), or with ``has_blocks`` the matrix (..., n_out, n_out)."""

    def curvature_product(self, y: Array, t: Array) -> Callable[[Array], Array]:
        """The map v ↦ ∂²c(y, t) v of arrays (..., n_out)."""
        h = self.curvature(y, t)
        # a, b: outputs
        return (lambda v: np.einsum("...ab,...b->...a", h, v)) if self.has_blocks else (lambda v: h * v)

    def encode(self, labels: ArrayLike, n_out: int | None = None) -> Array:
        """Labels as an (N, n_out) array of targets.

        Raises
        ------
        ShapeError, NotFiniteError, InputError
            Labels of another shape or kind than the loss takes.
        """
        return _as_columns(labels, n_out)

    def value(self, outputs: ArrayLike, labels: ArrayLike) -> Any:
        """C(Y); outputs (N,), (N, n_out) or (..., N, n_out) → scalar or (...)."""
        y, t, _ = self._arguments(outputs, labels)
        result = self.point_values(y, t).mean(axis=-1)
        return float(result) if result.ndim == 0 else result

    def gradient(self, outputs: ArrayLike, labels: ArrayLike) -> Array:
        """∇C(Y), in the shape of the outputs, with the 1/N."""
        y, t, flat = self._arguments(outputs, labels)
        result = self.slope(y, t) / t.shape[0]
        return result[:, 0] if flat else result

    def hessian(self, outputs: ArrayLike, labels: ArrayLike) -> Array:
        r"""The non-zero part of 𝓗C(Y), with the 1/N: one diagonal entry or one (n_out, n_out) block a point."""
        y, t, flat = self._arguments(outputs, labels)
        result = self.curvature(y, t) / t.shape[0]
        return result[:, 0] if flat and not self.has_blocks else result

    def hessian_product(self, outputs: ArrayLike, labels: ArrayLike, vector: ArrayLike) -> Array:
        """𝓗C(Y) v for v in the shape of the outputs."""
        return self._apply(self.hessian(outputs, labels), outputs, vector)

    def hessian_sqrt(self, outputs: ArrayLike, labels: ArrayLike) -> Array:
        """𝓗C(Y)^½, the symmetric root, in the form of :meth:`hessian`."""
        return curvature_sqrt(self.hessian(outputs, labels), self.has_blocks)

    def _apply(self, h: Array, outputs: ArrayLike, vector: ArrayLike) -> Array:
        v = np.asarray(vector, dtype=np.float64)
        if v.shape != np.shape(outputs):
            raise ShapeError(f"a vector in the shape of the outputs, {np.shape(outputs)}", f"{v.shape}")
        # n: point, a and b: outputs
        return np.einsum("...nab,...nb->...na", h, v) if self.has_blocks else h * v

    def _arguments(self, outputs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array, bool]:
        y = np.asarray(outputs, dtype=np.float64)
        if not np.isfinite(y).all():
            raise NotFiniteError("finite outputs", "NaN or infinity")
        flat = y.ndim == 1
        if flat:
            y = y[:, None]
        if y.ndim < 2:
            raise ShapeError("outputs of shape (N,), (N, n_out) or (..., N, n_out)", f"{y.shape}")
        t = self.encode(labels, y.shape[-1])
        if y.shape[-2:] != t.shape:
            raise ShapeError(f"outputs for {t.shape[0]} points with {t.shape[1]} outputs", f"{y.shape}")
        return y, t, flat

    def __repr__(self) -> str:
        return f"<loss {self.name}>"


class MeanSquaredError(Loss):
    r""":math:`c(y, t) = \|y - t\|^2/2`, so that ∇C = (Y - Y*)/N and 𝓗C = Id/N.

    Examples
    --------
    >>> MeanSquaredError().gradient([3.0, 0.0], [1.0, 0.0])
    array([1., 0.])
    """

    name = "mse"
    curvature_bound = 1.0

    def point_values(self, y: Array, t: Array) -> Array:
        return 0.5 * np.sum((y - t) ** 2, axis=-1)

    def slope(self, y: Array, t: Array) -> Array:
        return y - t

    def curvature(self, y: Array, t: Array) -> Array:
        return np.ones(np.broadcast_shapes(y.shape, t.shape))


class BinaryCrossEntropy(Loss):
    r""":math:`c(y, t) = \log(1 + e^{-ty})` with labels ±1 or 0/1; each output is a task of its own.

    The weight of a point is :math:`𝓗C_{ii} = \frac1N \frac{1}{2 + e^{-Y_i} + e^{Y_i}}`, ¼/N on the decision boundary
    (the printed 1/(1 + e^{-Y} + e^Y) would give ⅓/N), and with one output ‖∇C‖ ≤ 1/√N.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3.1 and Proposition 2.

    Examples
    --------
    >>> BinaryCrossEntropy().hessian([0.0], [1])
    array([0.25])
    """

    name = "binary"
    curvature_bound = 0.25

    def encode(self, labels: ArrayLike, n_out: int | None = None) -> Array:
        t = _as_columns(labels, n_out)
        if np.isin(t, (-1.0, 1.0)).all():
            return t
        if np.isin(t, (0.0, 1.0)).all():
            return 2 * t - 1
        strange = t[~np.isin(t, (-1.0, 0.0, 1.0))]
        got = f"{strange[0]:g}" if strange.size else "-1 together with 0"
        raise InputError("labels ±1 or 0/1", got, "for more than two classes use loss='softmax'")

    def point_values(self, y: Array, t: Array) -> Array:
        return np.sum(np.logaddexp(0.0, -t * y), axis=-1)

    def slope(self, y: Array, t: Array) -> Array:
        return -t * _sigmoid(-t * y)

    def curvature(self, y: Array, t: Array) -> Array:
        e = np.exp(-np.abs(t * y))
        return e / (1 + e) ** 2


class SoftmaxCrossEntropy(Loss):
    r""":math:`c(y, t) = -\sum_a t_a \log p_a`, :math:`p = e^{y}/\sum_b e^{y_b}`, from labels 0..n_out-1 or class probabilities.

    The Hessian has one block :math:`(\mathrm{diag}\,p - pp^T)/N` a point, and ‖∇C‖ ≤ √(2/N).

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Proposition 2 (which prints √(2c)).

    Examples
    --------
    >>> SoftmaxCrossEntropy().gradient([[0.0, 0.0]], [1])
    array([[ 0.5, -0.5]])
    """

    name = "softmax"
    has_blocks = True
    curvature_bound = 0.5

    def encode(self, labels: ArrayLike, n_out: int | None = None) -> Array:
        given = _finite_labels(labels)
        if given.ndim == 2 and given.shape[1] == 1:
            given = given[:, 0]
        if given.ndim == 1:
            classes = given.astype(np.int64)
            if (classes != given).any() or (classes < 0).any():
                raise InputError("class labels 0, 1, ...", f"{given[(classes != given) | (classes < 0)][0]:g}")
            count = max(int(classes.max()) + 1, 2) if n_out is None else n_out
            if classes.max() >= count:
                raise InputError(f"class labels below n_out={count}", f"{classes.max()}")
            return np.eye(count)[classes]
        if given.ndim != 2 or (n_out is not None and given.shape[1] != n_out):
            raise ShapeError(f"labels of shape (N,) or (N, {n_out or 'n_out'})", f"{given.shape}")
        if (given < 0).any() or not np.allclose(given.sum(axis=1), 1, rtol=0, atol=1e-9):
            raise InputError("rows of class probabilities that sum to 1", f"a row {given[0]}")
        return given

    def point_values(self, y: Array, t: Array) -> Array:
        _, rest, below = _softmax_parts(y)
        return np.log1p(rest) + np.sum(t * below, axis=-1)

    def slope(self, y: Array, t: Array) -> Array:
        p, q = _probabilities(y)
        # p - t, without cancellation where t is 0 or 1
        return p * (1 - t) - q * t

    def curvature(self, y: Array, t: Array) -> Array:
        p, q = _probabilities(y)
        block = -p[..., :, None] * p[..., None, :]
        diagonal = np.arange(p.shape[-1])
        block[..., diagonal, diagonal] = p * q
        return np.broadcast_to(block, (*np.broadcast_shapes(y.shape, t.shape), y.shape[-1]))

    def curvature_product(self, y: Array, t: Array) -> Callable[[Array], Array]:
        p, _ = _probabilities(y)
        return lambda v: p * (v - np.sum(p * v, axis=-1, keepdims=True))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConvexLoss(Loss):
    """c(y, t) of one output y and its target t, given as callables; see :func:`convex_loss`."""

    name: str
    c: Callable[[Any, Any], Any]
    first: Callable[[Any, Any], Any]
    second: Callable[[Any, Any], Any]

    def point_values(self, y: Array, t: Array) -> Array:
        return np.sum(self._called(self.c, y, t, "c"), axis=-1)

    def slope(self, y: Array, t: Array) -> Array:
        return self._called(self.first, y, t, "c'")

    def curvature(self, y: Array, t: Array) -> Array:
        h = self._called(self.second, y, t, "c''")
        if h.size and h.min() < -1e-12 * np.abs(h).max():
            at = np.unravel_index(int(h.argmin()), h.shape)
            where = f"c'' = {h.min():.4g} at y = {np.broadcast_to(y, h.shape)[at]:.4g}"
            raise InputError("a loss convex in y", where, "the theory needs a positive semidefinite Hessian of C")
        return np.maximum(h, 0.0)

    def _called(self, function: Callable[[Any, Any], Any], y: Array, t: Array, what: str) -> Array:
        shape = np.broadcast_shapes(y.shape, t.shape)
        result = np.broadcast_to(np.asarray(function(y, t), dtype=np.float64), shape)
        if not np.isfinite(result).all():
            bad = ~np.isfinite(result)
            got = f"y = {np.broadcast_to(y, shape)[bad][0]:.6g}, t = {np.broadcast_to(t, shape)[bad][0]:.6g}"
            raise NotFiniteError(f"a finite {what} of the loss {self.name}", got)
        return result


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss for loss in (MeanSquaredError, BinaryCrossEntropy, SoftmaxCrossEntropy)
}


def resolve_loss(loss: Any) -> Loss:
    """The loss meant by a name, an expression in y and t (text or SymPy), or a :class:`Loss`.

    Raises
    ------
    UnknownNameError, ExpressionError, InputError

    Examples
    --------
    >>> resolve_loss("softmax")
    <loss softmax>
    >>> resolve_loss("(y - t)**4/4").slope(np.array([[2.0]]), np.array([[0.0]]))
    array([[8.]])
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss.strip().lower() in LOSSES:
            return LOSSES[loss.strip().lower()]()
        if loss.strip().isidentifier() and loss.strip() != "y":
            raise UnknownNameError("a loss", loss, LOSSES)
    return convex_loss(loss)


def convex_loss(
    c: Any,
    first: Callable[[Any, Any], Any] | None = None,
    second: Callable[[Any, Any], Any] | None = None,
    *,
    name: str | None = None,
) -> ConvexLoss:
    r"""Loss :math:`c(y, t)` of each output, from an expression or from callables.

    Parameters
    ----------
    c : str, sympy.Expr or callable
        An expression in the symbols ``y`` (output) and ``t`` (target), text or SymPy; or a vectorised callable.
    first, second : callable
        ∂c/∂y and ∂²c/∂y², needed when c is a callable.
    name : str
        Shown in messages; by default the expression.

    Raises
    ------
    ExpressionError
        Symbols other than y and t, or no y.
    SmoothnessError
        ∂c/∂y jumps (hinge, absolute value): 𝓗C does not exist.
    InputError
        A callable without its derivatives. A loss that is not convex is refused when its Hessian is first evaluated.

    Notes
    -----
    Where the float64 formula overflows, the value is recomputed with mpmath.

    Examples
    --------
    >>> convex_loss("log(1 + exp(-t*y))").gradient([-1e4, 0.0, 1e4], [1, 1, 1])
    array([-0.33..., -0.16..., -0.  ])
    """
    import sympy as sp

    if not isinstance(c, str | sp.Basic):
        if not (callable(c) and callable(first) and callable(second)):
            raise InputError("an expression in y and t, or three callables c, c', c''", f"{c!r}, {first!r}, {second!r}")
        return ConvexLoss(name=str(name or getattr(c, "__name__", "custom")), c=c, first=first, second=second)
    y, t = sp.Symbol("y", real=True), sp.Symbol("t", real=True)
    if isinstance(c, str):
        from kernelcalc.expressions.parsing import parse_expression

        expr = parse_expression(c, {"y": y, "t": t})
    else:
        expr = c.subs({s: {"y": y, "t": t}[s.name] for s in c.free_symbols if s.name in ("y", "t")})
    if not expr.free_symbols <= {y, t} or y not in expr.free_symbols:
        raise ExpressionError("an expression in y and t", str(c))
    functions = [_compile(expr, y, t, k) for k in range(3)]
    _check_continuity(str(c), expr, y, t, functions[:2])
    return ConvexLoss(name=str(name or c), c=functions[0], first=functions[1], second=functions[2])


def curvature_sqrt(h: Array, has_blocks: bool) -> Array:
    """Symmetric root of Hessian blocks (..., n_out, n_out), or of diagonals."""
    if not has_blocks:
        return np.sqrt(h)
    values, vectors = np.linalg.eigh(h)
    return (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _compile(expr: Any, y: Any, t: Any, order: int) -> Callable[[Any, Any], Any]:
    import mpmath
    import sympy as sp

    from kernelcalc.expressions.stable import NUMPY_FUNCTIONS, plain, stabilise

    # Differentiating the stabilised form keeps its derivatives stable; rewriting the derivative catches the rest.
    exact = _derivative(expr, y, order)
    stable = stabilise(expr)
    stable = stabilise(_derivative(stable, y, order)) if order else stable
    fast = sp.lambdify((y, t), stable, modules=[NUMPY_FUNCTIONS, "numpy"], cse=True)
    slow = sp.lambdify((y, t), plain(exact), modules="mpmath")

    def call(outputs: Any, targets: Any) -> Any:
        with np.errstate(all="ignore"):
            raw = fast(outputs, targets)
        shape = np.broadcast_shapes(np.shape(outputs), np.shape(targets))
        result = np.broadcast_to(np.asarray(raw, dtype=np.float64), shape)
        bad = ~np.isfinite(result)
        if bad.any():
            result = result.copy()
            at_y, at_t = np.broadcast_to(outputs, shape)[bad], np.broadcast_to(targets, shape)[bad]
            with mpmath.workdps(50):
                values = [slow(mpmath.mpf(float(a)), mpmath.mpf(float(b))) for a, b in zip(at_y, at_t, strict=True)]
                result[bad] = [float(mpmath.re(v)) if mpmath.im(v) == 0 else np.nan for v in values]
        return result

    return call


def _derivative(expr: Any, y: Any, order: int) -> Any:
    """Derivative between the kinks: where it is continuous (which is checked), what SymPy adds at them is zero."""
    import sympy as sp

    for _ in range(order):
        expr = expr.diff(y).replace(sp.DiracDelta, lambda *_: sp.Integer(0))
    return expr


def _check_continuity(text: str, expr: Any, y: Any, t: Any, functions: Sequence[Callable[[Any, Any], Any]]) -> None:
    """Refuse c and c' that jump: both sides of every kink are compared, for a few targets."""
    import sympy as sp
    from scipy.optimize import brentq

    kinks = {e.args[0] for e in expr.atoms(sp.Abs, sp.sign, sp.Heaviside)}
    kinks |= {a - b for e in expr.atoms(sp.Max, sp.Min) for a, b in combinations(e.args, 2)}
    kinks |= {r.lhs - r.rhs for e in expr.atoms(sp.Piecewise) for r in e.atoms(sp.core.relational.Relational)}
    grid, step = np.linspace(-20.0, 20.0, 3999), 1e-6
    for kink in (k for k in kinks if k.has(y)):
        distance = _compile(kink, y, t, 0)
        for target in (-1.0, 0.0, 0.37, 1.0, 2.3):
            values = np.asarray(distance(grid, np.array(target)))
            for i in np.flatnonzero((values[:-1] * values[1:] < 0) | (values[:-1] == 0)):
                at = grid[i] if values[i] == 0 else brentq(distance, grid[i], grid[i + 1], args=(target,))
                for function in functions:
                    below, above = (float(function(np.array(at + s), np.array(target))) for s in (-step, step))
                    # A jump of 1e-3 is one; a slope of 100 moves less than that across the kink.
                    if abs(above - below) > 1e-3 * max(1.0, abs(below)):
                        where = f"{text}, which jumps by {above - below:.4g} at y = {at:.4g}, t = {target:g}"
                        raise SmoothnessError("a loss whose derivative in y is continuous", where, "smooth its kinks")


def _finite_labels(labels: ArrayLike) -> Array:
    plain_labels = plain(labels, "labels")
    try:
        given = plain_labels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("numeric labels", f"{plain_labels.dtype}") from error
    if given.ndim not in (1, 2) or given.size == 0:
        raise ShapeError("labels of shape (N,) or (N, n_out), N ≥ 1", f"{given.shape}")
    if not np.isfinite(given).all():
        raise NotFiniteError("finite labels", "NaN or infinity")
    return given


def _as_columns(labels: ArrayLike, n_out: int | None) -> Array:
    given = _finite_labels(labels)
    columns = given[:, None] if given.ndim == 1 else given
    if n_out is not None and columns.shape[1] != n_out:
        raise ShapeError(f"labels of shape (N, {n_out})", f"{given.shape}")
    return columns


def _sigmoid(u: Array) -> Array:
    e = np.exp(-np.abs(u))
    return np.where(u >= 0, 1.0, e) / (1 + e)


def _softmax_parts(y: Array) -> tuple[Array, Array, Array]:
    """Return e^(y - max), the sum of all of them but one largest, and max - y."""
    below = y.max(axis=-1, keepdims=True) - y
    e = np.exp(-below)
    top = below == 0
    rest = np.where(top, 0.0, e).sum(axis=-1) + (top.sum(axis=-1) - 1)
    return e, rest, below


def _probabilities(y: Array) -> tuple[Array, Array]:
    """Softmax p and 1 - p, each to full relative accuracy."""
    e, rest, below = _softmax_parts(y)
    total = (1 + rest)[..., None]
    # total - e cancels for the largest class only, where the difference is known.
    complement = np.where(below == 0, rest[..., None], total - e)
    complement /= total
    e /= total
    return e, complement
