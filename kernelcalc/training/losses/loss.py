r"""What a loss is: its value, gradient and Hessian in the outputs.

Targets t are encoded once, as an (N, n_out) array, by :meth:`Loss.encode`. The methods ``point_values``, ``slope`` and
``curvature`` are those of one point, c, ∇c and ∂²c, without the 1/N; they broadcast over leading axes and are what
integrators call. ``value``, ``gradient``, ``hessian`` and the products are those of C and take labels as given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_number, floats, shown
from kernelcalc.errors import AssumptionWarning, InputError, NotFiniteError, ShapeError, renamed, warn
from kernelcalc.training.checks import columns

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Losses by name; each enters itself when its class is defined.
NAMED_LOSSES: dict[str, type[Loss]] = {}


class Loss(ABC):
    """A convex loss of each point's outputs. A subclass with a ``name`` of its own is known by that name from then on.

    Attributes
    ----------
    name : str
        What the user calls it.
    has_blocks : bool
        Whether ∂²c couples outputs: then ``curvature`` is (..., n_out, n_out), otherwise its diagonal (..., n_out).
    curvature_bound, curvature_slope : float
        Largest eigenvalue of ∂²c over all outputs, and a Lipschitz constant of ∂²c; infinity where none is known.
    is_quadratic : bool
        Whether ∂²c = Id, as for the MSE alone: then outputs stay Gaussian and Corollary 1 holds.
    slope_bound : float
        Largest ‖∇c‖ of a point with one output (of all outputs where they are coupled); infinity where there is none.
    couplings : callable, optional
        Of (y, t): weights w of all a < b, row by row, with ∂²c the sum of w_ab (e_a - e_b)(e_a - e_b)ᵀ.
    """

    name: str
    has_blocks: bool = False
    curvature_bound: float = np.inf
    curvature_slope: float = np.inf
    is_quadratic: bool = False
    slope_bound: float = np.inf
    couplings: Callable[..., Array] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in vars(cls):
            NAMED_LOSSES[cls.name] = cls
        _claim_nothing(cls)

    @abstractmethod
    def point_values(self, y: Array, t: Array) -> Array:
        """c(y, t), summed over outputs: (..., n_out) → (...)."""

    @abstractmethod
    def slope(self, y: Array, t: Array) -> Array:
        """∇c(y, t): (..., n_out)."""

    @abstractmethod
    def curvature(self, y: Array, t: Array) -> Array:
        """∂²c(y, t): its diagonal (..., n_out), or with ``has_blocks`` the matrix (..., n_out, n_out)."""

    def bounded_gradient(self, level: float, n: int = 1, n_out: int = 1, *, Y: ArrayLike | None = None) -> float:
        r"""Bound b(a) of ‖∇C‖ over the sublevel set {C ≤ a} of N points (Definition 1, BGOSS).

        ‖∇C‖² = 2C/N for the MSE; ‖∇C‖ ≤ √(n_out/N) for the binary and √(2/N) for the softmax cross-entropy at every level
        (Proposition 2, which prints √(2c) for the last).

        Parameters
        ----------
        level : float
            a.
        n, n_out : int
            Numbers of points and outputs.
        Y : array_like, optional
            Labels in their place; a loss from an expression depends on them, by default they are all 1.

        Returns
        -------
        float
            Infinite, with a warning, where no bound is known.

        Raises
        ------
        InputError
            A level that is no finite number.

        Warns
        -----
        AssumptionWarning
            No bound is known: the theorems assume one.

        References
        ----------
        Jacot, Gabriel, Hongler (ICLR 2020), Definition 1 and Proposition 2.
        """
        t = self.encode(Y, n_out if n_out > 1 else None) if Y is not None else np.ones((n, n_out))
        found = self.sublevel_bound(check_number("level", level, -np.inf), t)
        if np.isinf(found):
            self.warn_of_gradients()
        return found

    def sublevel_bound(self, level: float, t: Array) -> float:
        """Bound of ‖∇C‖ over {C ≤ level} for encoded targets (N, n_out), infinite where none is known."""
        outputs = 1 if self.has_blocks else t.shape[1]
        return float(self.slope_bound * np.sqrt(outputs / len(t)))

    def warn_of_gradients(self) -> None:
        """Warn that the theorems' assumption is not known to hold."""
        warn(
            f"the loss {self.name} is not known to have bounded gradients over its sublevel sets, which the theorems assume: "
            "the limit of training need not exist; add a term that bounds it from below",
            AssumptionWarning,
        )

    def curvature_product(self, y: Array, t: Array) -> Callable[[Array], Array]:
        """The map v ↦ ∂²c(y, t) v of arrays (..., n_out)."""
        h = self.curvature(y, t)
        # a, b: outputs
        return (lambda v: np.einsum("...ab,...b->...a", h, v)) if self.has_blocks else (lambda v: h * v)

    @renamed(labels="Y")
    def encode(self, Y: ArrayLike, n_out: int | None = None) -> Array:
        """Labels as an (N, n_out) array of targets.

        Raises
        ------
        ShapeError, NotFiniteError, InputError
            Labels of another shape or kind than the loss takes.
        """
        return columns(Y, n_out=n_out)

    @renamed(labels="Y")
    def value(self, outputs: ArrayLike, Y: ArrayLike) -> Any:
        """C(Y); outputs (N,), (N, n_out) or (..., N, n_out) → scalar or (...).

        Raises
        ------
        InputError, ShapeError, NotFiniteError
            Outputs or Y that are no finite numbers, or do not fit together.
        """
        y, t, _ = self._arguments(outputs, Y)
        result = self.point_values(y, t).mean(axis=-1)
        return float(result) if result.ndim == 0 else result

    @renamed(labels="Y")
    def gradient(self, outputs: ArrayLike, Y: ArrayLike) -> Array:
        """∇C(Y), in the shape of the outputs, with the 1/N.

        Raises
        ------
        InputError, ShapeError, NotFiniteError
            Outputs or Y that are no finite numbers, or do not fit together.
        """
        y, t, flat = self._arguments(outputs, Y)
        result = self.slope(y, t) / t.shape[0]
        return result[:, 0] if flat else result

    @renamed(labels="Y")
    def hessian(self, outputs: ArrayLike, Y: ArrayLike) -> Array:
        r"""The non-zero part of 𝓗C(Y), with the 1/N: one diagonal entry or one (n_out, n_out) block a point.

        Raises
        ------
        InputError, ShapeError, NotFiniteError
            Outputs or Y that are no finite numbers, or do not fit together.
        """
        y, t, flat = self._arguments(outputs, Y)
        result = self.curvature(y, t) / t.shape[0]
        return result[:, 0] if flat and not self.has_blocks else result

    @renamed(labels="Y")
    def hessian_product(self, outputs: ArrayLike, Y: ArrayLike, vector: ArrayLike) -> Array:
        """𝓗C(Y) v for v in the shape of the outputs.

        Raises
        ------
        InputError, ShapeError, NotFiniteError
            Outputs or Y that are no finite numbers, or do not fit together.
        """
        return self._apply(self.hessian(outputs, Y), outputs, vector)

    @renamed(labels="Y")
    def hessian_sqrt(self, outputs: ArrayLike, Y: ArrayLike) -> Array:
        """𝓗C(Y)^½, the symmetric root, in the form of :meth:`hessian`.

        Raises
        ------
        InputError, ShapeError, NotFiniteError
            Outputs or Y that are no finite numbers, or do not fit together.
        """
        return curvature_sqrt(self.hessian(outputs, Y), self.has_blocks)

    def _apply(self, h: Array, outputs: ArrayLike, vector: ArrayLike) -> Array:
        v = floats(vector, "vector", "numbers")
        if v.shape != np.shape(outputs):
            raise ShapeError(f"a vector in the shape of the outputs, {np.shape(outputs)}", f"{v.shape}")
        # n: point, a and b: outputs
        return np.einsum("...nab,...nb->...na", h, v) if self.has_blocks else h * v

    def _arguments(self, outputs: ArrayLike, Y: ArrayLike) -> tuple[Array, Array, bool]:
        y = floats(outputs, "outputs", "numbers")
        if not np.isfinite(y).all():
            raise NotFiniteError("finite outputs", "NaN or infinity")
        flat = y.ndim == 1
        if flat:
            y = y[:, None]
        if y.ndim < 2:
            raise ShapeError("outputs of shape (N,), (N, n_out) or (..., N, n_out)", f"{y.shape}")
        t = self.encode(Y, y.shape[-1])
        if y.shape[-2:] != t.shape:
            raise ShapeError(f"outputs for {t.shape[0]} points with {t.shape[1]} outputs", f"{y.shape}")
        return y, t, flat

    def __repr__(self) -> str:
        return f"<loss {self.name}>"


def _claim_nothing(cls: type[Loss]) -> None:
    """Of a curvature of its own: what another class knows of its curvature does not hold for this one."""
    if "curvature" in vars(cls):
        for what in {"curvature_slope", "couplings"} - vars(cls).keys():
            setattr(cls, what, vars(Loss)[what])


def curvature_sqrt(h: Array, has_blocks: bool) -> Array:
    """Symmetric root of Hessian blocks (..., n_out, n_out), or of diagonals.

    Raises
    ------
    InputError, ShapeError
        No numbers; blocks that are not square.
    """
    h = floats(h, "h", "numbers")
    if not isinstance(has_blocks, bool | np.bool_):
        raise InputError("has_blocks, True or False", shown(has_blocks))
    if not has_blocks:
        return np.sqrt(h)
    if h.ndim < 2 or h.shape[-1] != h.shape[-2]:
        raise ShapeError("h of shape (..., n_out, n_out)", f"{h.shape}")
    values, vectors = np.linalg.eigh(h)
    return (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
