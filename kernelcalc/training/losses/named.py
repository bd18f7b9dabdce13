"""The losses that have a name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.training.checks import columns
from kernelcalc.training.losses.loss import Loss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


class MeanSquaredError(Loss):
    r""":math:`c(y, t) = \|y - t\|^2/2`, so that ∇C = (Y - Y*)/N and 𝓗C = Id/N.

    Examples
    --------
    >>> MeanSquaredError().gradient([3.0, 0.0], [1.0, 0.0])
    array([1., 0.])
    """

    name = "mse"
    curvature_bound: float = 1.0
    curvature_slope: float = 0.0
    is_quadratic = True

    def sublevel_bound(self, level: float, t: Array) -> float:
        return float(np.sqrt(max(2 * level, 0.0) / len(t)))

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
    curvature_bound: float = 0.25
    # |σ''| at e^y = 2 ± √3
    curvature_slope: float = 1 / 6 / 3**0.5
    slope_bound: float = 1.0

    def encode(self, Y: ArrayLike, n_out: int | None = None) -> Array:
        t = columns(Y, n_out=n_out)
        if np.isin(t, (-1.0, 1.0)).all():
            return t
        if np.isin(t, (0.0, 1.0)).all():
            return 2 * t - 1
        strange = t[~np.isin(t, (-1.0, 0.0, 1.0))]
        got = f"{strange[0]:g}" if strange.size else "-1 together with 0"
        raise InputError("Y, labels ±1 or 0/1", got, "for more than two classes use loss='softmax'")

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
    curvature_bound: float = 0.5
    # a third cumulant of what lies in an interval of √2: at most that times the variance, at most half
    curvature_slope: float = 0.5**0.5
    slope_bound: float = 2.0**0.5

    def encode(self, Y: ArrayLike, n_out: int | None = None) -> Array:
        given = columns(Y)
        if n_out is not None:
            check_count("n_out", n_out, 1)
        if given.shape[1] == 1:
            given = given[:, 0]
        if given.ndim == 1:
            classes = given.astype(np.int64)
            if (classes != given).any() or (classes < 0).any():
                raise InputError("class labels 0, 1, ...", f"{given[(classes != given) | (classes < 0)][0]:g}")
            count = max(int(classes.max()) + 1, 2) if n_out is None else n_out
            if classes.max() >= count:
                raise InputError(f"class labels below n_out={count}", f"{classes.max()}")
            return np.eye(count)[classes]
        if n_out is not None and given.shape[1] != n_out:
            raise ShapeError(f"Y of shape (N,) or (N, {n_out})", f"{given.shape}")
        wrong = (given < 0).any(axis=1) | (np.abs(given.sum(axis=1) - 1) > 1e-9)
        if wrong.any():
            raise InputError("rows of class probabilities that sum to 1", f"a row {given[wrong][0]}")
        return given

    def point_values(self, y: Array, t: Array) -> Array:
        _, rest, below = _softmax_parts(y)
        return np.log1p(rest) + np.sum(t * below, axis=-1)

    def slope(self, y: Array, t: Array) -> Array:
        # p - t, and where t is 1 minus the sum of the other p, which does not cancel
        y = np.broadcast_to(y, np.broadcast_shapes(y.shape, t.shape))
        e = y - y.max(axis=-1, keepdims=True)
        np.exp(e, out=e)
        total = e.sum(axis=-1, keepdims=True)
        label = t == 1
        np.copyto(e, 0.0, where=label)
        others = e.sum(axis=-1, keepdims=True)
        known = label.any(axis=-1, keepdims=True)
        if known.all() and (label == t).all():
            np.copyto(e, -others, where=label)
            e /= total
        else:
            e /= total
            e -= t * np.where(known, others / total, 1.0)
        return np.asarray(e)

    def curvature(self, y: Array, t: Array) -> Array:
        p, q = _probabilities(y)
        # as in memory as y: outputs that run slowest there make blocks of whole planes
        block = -p[..., :, None] * p[..., None, :]
        np.einsum("...aa->...a", block)[...] = p * q
        return np.broadcast_to(block, (*np.broadcast_shapes(y.shape, t.shape), y.shape[-1]))

    def couplings(self, y: Array, t: Array) -> Array:
        """p_a p_b."""
        y = np.moveaxis(np.broadcast_to(y, np.broadcast_shapes(y.shape, t.shape)), -1, 0)
        p = np.exp(y - y.max(axis=0))
        p /= p.sum(axis=0)
        found = np.empty((len(p) * (len(p) - 1) // 2, *p.shape[1:]))
        last = 0
        for a in range(len(p) - 1):
            first, last = last, last + len(p) - 1 - a
            np.multiply(p[a], p[a + 1 :], out=found[first:last])
        return np.moveaxis(found, 0, -1)

    def curvature_product(self, y: Array, t: Array) -> Callable[[Array], Array]:
        @cache
        def probabilities(precision: Any) -> Array:
            e = (y - y.max(axis=-1, keepdims=True)).astype(precision)
            np.exp(e, out=e)
            e /= e.sum(axis=-1, keepdims=True)
            return e

        def product(v: Array) -> Array:
            p = probabilities(v.dtype)
            found = p * v
            found -= p * found.sum(axis=-1, keepdims=True)
            return np.asarray(found)

        return product


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
