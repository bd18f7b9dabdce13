"""Data of the rows or of the columns, and what the first layer makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from kernelcalc.arrays import plain
from kernelcalc.errors import CovarianceError, NotFiniteError, ShapeError
from kernelcalc.gaussian.covariance import LARGEST, Covariance, determinant_and_close, product_error
from kernelcalc.kernels.layers import Scales

# Pairs closer to |ρ| = 1 than this get their determinant from the difference of the points instead of from the Gram matrix.
NEAR_PARALLEL = 1e-4
# Where 1 − ρ may grow by more than this through the layers, the rounding of Σ would grow with it beyond 1e-12.
LARGEST_GROWTH = 4500.0
# Below, products of variances of nearly parallel points underflow.
SMALLEST = 1e-100
# Pairs whose points are compared at once.
_TOGETHER = 4096

# Where in a block something holds; None for nowhere.
Places: TypeAlias = "tuple[Any, ...] | None"


def check_points(x: Any, name: str = "X", *, positions: bool = False) -> np.ndarray:
    """Data as a float64 array of finite numbers: (N, n_0), or with positions (N, positions, channels) or (N, height, width,
    channels).

    Raises
    ------
    ShapeError
        If it has another number of axes or is empty.
    NotFiniteError
        For NaN or infinity.
    InputError
        For masked entries or a sparse matrix.
    """
    points = plain(x, name)
    wanted = "(N, positions, channels) or (N, height, width, channels)" if positions else "(points, inputs)"
    if points.dtype.kind in "cmM":
        got = "complex numbers" if points.dtype.kind == "c" else f"dtype {points.dtype}"
        raise ShapeError(f"{name} as a real array of shape {wanted}", got)
    try:
        points = points.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name} as a real array of shape {wanted}", str(error)) from error
    if points.ndim not in ((3, 4) if positions else (2,)) or 0 in points.shape:
        hint = "images: X.reshape(len(X), -1)" if points.ndim > 2 else "one point x is X = x[None, :]"
        if positions:
            hint = "grey images: X.reshape(N, height, width, 1)"
        raise ShapeError(f"{name} of shape {wanted}", f"shape {points.shape}", hint)
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points.reshape(len(points), -1)).all(axis=1))[0])
        raise NotFiniteError(f"finite numbers in {name}", f"NaN or infinity in row {row}")
    return points


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Data x (N, n_0) of one side with |x|²/n_0."""

    x: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Points:
        """Points that have been checked."""
        with np.errstate(over="ignore"):
            return cls(x=x, square=np.einsum("ij,ij->i", x, x) / x.shape[1])


def check_variances(q: np.ndarray) -> np.ndarray:
    """First-layer variances with which nothing over- or underflows.

    Raises
    ------
    CovarianceError
        Otherwise, with the first such row.
    """
    if q.min() >= SMALLEST and q.max() <= LARGEST:
        return q
    out = ~(q <= LARGEST) | ((q < SMALLEST) & (q > 0))
    if out.any():
        row = int(np.flatnonzero(out)[0])
        raise CovarianceError(
            f"points whose σ_w²|x|²/n_0 + β² is 0 or lies between {SMALLEST:g} and {LARGEST:g}",
            f"{q[row]:.3g} in row {row}",
        )
    return q


def first_covariance(
    points: Callable[[Any], tuple[np.ndarray, np.ndarray]],
    q: np.ndarray,
    qp: np.ndarray,
    c: np.ndarray,
    scales: Scales,
    own: int = 0,
) -> tuple[Covariance, Places]:
    """The first layer's covariance of pairs of points, and the places of those that are equal.

    ``points`` gives x and x' at some places; in the first ``own`` rows they are known to be the same.
    """
    det, close = determinant_and_close(q, qp, c, own)
    same: Places = (slice(own),) if own else None
    cov = Covariance(q=q, qp=qp, c=c, det=det)
    if close is None:
        return with_equal_points(cov, same), same
    scale = np.broadcast_to(q, c.shape)[close] * np.broadcast_to(qp, c.shape)[close]
    near = tuple(index[det[close] <= NEAR_PARALLEL * scale] for index in close)
    if not near[0].size:
        return with_equal_points(cov, same), same
    found, gap = [], np.full(c.shape, np.nan)
    for start in range(0, near[0].size, _TOGETHER):
        where = tuple(index[start : start + _TOGETHER] for index in near)
        det[where], gap[where], equal = _differences_from_points(*points(where), scales)
        found.append(equal)
    if any(equal.any() for equal in found):
        equal = np.concatenate(found)
        others = tuple(index[equal] for index in near)
        first = np.indices(c[:own].shape).reshape(c.ndim, -1)
        same = tuple(np.concatenate(both) for both in zip(first, others, strict=True)) if own else others
    return with_equal_points(replace(cov, gap=gap), same), same


def with_equal_points(cov: Covariance, same: Places) -> Covariance:
    """A point with itself has c = q exactly, and no determinant, however both were rounded; ``cov.det`` is changed in place."""
    if same is None:
        return cov
    c = cov.c.copy()
    if isinstance(same[0], slice):
        # whole rows: q has one, q' as many as c
        c[same] = np.minimum(cov.q, cov.qp[same])
    else:
        c[same] = np.minimum(*(np.broadcast_to(v, c.shape)[same] for v in (cov.q, cov.qp)))
    cov.det[same] = 0.0
    return replace(cov, c=c)


def _differences_from_points(
    x: np.ndarray, xp: np.ndarray, scales: Scales
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """qq' − c² and q − q' without cancellation, and which points are equal.

    qq' − c² = σ_w⁴ det G + σ_w² β² ‖x − x'‖²/n_0, det G = |x|² |x' − proj_x x'|²/n_0².
    """
    n0 = x.shape[1]
    square = np.einsum("ij,ij->i", x, x)
    ratio = np.divide(np.einsum("ij,ij->i", x, xp), square, out=np.zeros_like(square), where=square > 0)
    along = ratio[:, None] * x
    # the product's own rounding is as large as what is left of nearly parallel points; then once more what lies along x
    residual = (xp - along) - product_error(ratio[:, None], x, along)
    more = np.divide(np.einsum("ij,ij->i", x, residual), square, out=np.zeros_like(square), where=square > 0)
    residual -= more[:, None] * x
    gram = square * np.einsum("ij,ij->i", residual, residual) / n0**2
    distance = np.einsum("ij,ij->i", x - xp, x - xp) / n0
    gap = scales.weight * np.einsum("ij,ij->i", x - xp, x + xp) / n0
    return scales.weight**2 * gram + scales.weight * scales.bias * distance, gap, distance == 0
