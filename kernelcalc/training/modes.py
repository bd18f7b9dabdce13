r"""Θ in its eigenbasis: how each mode decays under gradient flow on the MSE, and what rounding hides of it.

An eigenvalue λ comes with the rounding error of Θ, :data:`ROUNDING` times λ_max. What training makes of it, a ramp
:math:`r = (1 - e^{-λt/N})/λ`, changes with λ by at most r², so that numbers at a time t lose about
:math:`\log_{10}(λ_{max} \max_j r_j)` of the digits of Θ: :math:`\log_{10}` of the condition number at the end of training,
of λ_max t/N before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import norm

from kernelcalc.arguments import check_can
from kernelcalc.arrays import EPS
from kernelcalc.errors import InputError, PrecisionWarning, warn
from kernelcalc.training.checks import KERNEL_ACCURACY
from kernelcalc.training.descent import Descent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

# Relative error of the entries of Θ that condition numbers multiply: measured for kernels of closed forms and of series; the
# promise is KERNEL_ACCURACY.
ROUNDING = 1e-14
# Numbers with fewer digits than this are not printed without a word.
FEW_DIGITS = 3
# Eigenvalues that fall by this factor from the last one above rounding to those below: Θ is singular, not merely close to it.
_CLIFF = 1e3
# Correlations this close to ±1, of rows of Θ that differ, belong to points whose difference rounding hides.
_ALMOST_EQUAL = 1e-12

# Part of the loss below which what rounding does to it is not worth a warning.
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Modes:
    """Eigenvalues and eigenvectors of a positive semidefinite Θ, ascending.

    Attributes
    ----------
    values : ndarray, (N,)
        λ + ridge; those within rounding of zero, which training does not move, are 0.
    vectors : ndarray, (N, N)
        Eigenvectors as columns.
    top : float
        λ_max without the ridge.
    hidden : bool
        Whether some of the zeros may be eigenvalues above zero that rounding hides.
    descent : Descent or None
        Steps in the place of the gradient flow.
    """

    values: Array
    vectors: Array
    top: float
    hidden: bool
    descent: Descent | None = None

    @classmethod
    def of(cls, theta: Array, ridge: float = 0.0, descent: Descent | None = None) -> Modes:
        """The modes of Θ + ridge·Id.

        Raises
        ------
        InputError
            Θ has a negative eigenvalue; a ridge that is negative or not finite; what is no descent.
        """
        check_can("descent", descent, "modes", "a kernelcalc.Descent")
        if not (math.isfinite(ridge) and ridge >= 0):
            raise InputError("a ridge ≥ 0", repr(ridge))
        n = len(theta)
        values, vectors = np.linalg.eigh(theta)
        largest = max(abs(values[0]), abs(values[-1]))
        if values[0] < -n * KERNEL_ACCURACY * largest:
            raise InputError(
                "a positive semidefinite kernel theta", f"the eigenvalue {values[0]:.6g}", "is it a Gram matrix of ∇f?"
            )
        if ridge:
            values = np.maximum(values, 0.0) + ridge
        null = values <= n * EPS * largest
        hidden = bool(null.any()) and not _is_singular(theta, values, null)
        kept = np.where(null, 0.0, values)
        return cls(values=kept, vectors=vectors, top=float(largest), hidden=hidden, descent=descent)

    @property
    def null(self) -> NDArray[np.bool_]:
        """Where the values are zero."""
        return self.values == 0

    @property
    def condition_number(self) -> float:
        """λ_max over the least eigenvalue, ridge included; infinite where rounding hides it."""
        return (self.top + self.values[0]) / self.values[0] if self.values[0] > 0 else math.inf

    def flow(self, t: Array) -> tuple[Array, Array]:
        """Decays e^{-λt/N} and ramps (1 - e^{-λt/N})/λ, each (T, N), or what steps make of them."""
        n, null = self.values.size, self.null
        if self.descent is not None:
            return self.descent.modes(self.values, n, t)
        finite = np.where(np.isinf(t), 0.0, t)[:, None]
        ended = np.isinf(t)[:, None]
        safe = np.where(null, 1.0, self.values)
        with np.errstate(over="ignore"):  # λt/N beyond the largest float has decayed
            exponent = np.where(ended, np.inf, safe * (finite / n))
        decay = np.where(null, 1.0, np.exp(-exponent))
        return decay, np.where(null, finite / n, -np.expm1(-exponent) / safe)

    def without_rounding(self, rotated: Array) -> Array:
        """Λ in the eigenbasis, without what rounding leaves of it on the null space of Θ, where Λv = 0."""
        # of a vector SciPy's norm does not overflow
        small = np.abs(rotated) <= self.values.size * EPS * norm(rotated.ravel())
        return np.where(self.null & small, 0.0, rotated)

    def unsure(self, time: float) -> NDArray[np.bool_]:
        """Modes whose decay at a time rounding changes by more than a thousandth."""
        decay = self.flow(np.array([time]))[0][0]
        reach = ROUNDING * self.top * (0.0 if math.isinf(time) else time / self.values.size)
        if math.isinf(time):
            return self.null & self.hidden
        return (~self.null | self.hidden) & (reach * np.abs(decay) > 10.0**-FEW_DIGITS)

    def digits(self, time: float) -> float:
        """Decimal digits that rounding leaves of numbers at a time, about; 0 where it leaves none."""
        if self.hidden and math.isinf(time):
            return 0.0
        known = ~self.null | self.hidden
        ramp = self.flow(np.array([time]))[1][0, known].max(initial=0.0)
        growth = max(self.top * float(ramp), 1.0)
        return max(-math.log10(ROUNDING * growth), 0.0) if math.isfinite(growth) else 0.0

    def warn_of_decays(self, times: Array, weights: Array) -> None:
        """Warn where modes that rounding hides, or nearly, hold a part of ``weights``, the loss of each mode at the start."""
        time, positive = float(times.max()), np.maximum(weights, 0.0)
        if positive[self.unsure(time)].sum() > _NEGLIGIBLE * positive.sum():
            hint = "use earlier times, or data without nearly equal points"
            self.warn(time, "moments under MSE", hint)

    def warn(self, time: float, what: str, hint: str) -> None:
        """A :class:`~kernelcalc.errors.PrecisionWarning` if fewer than three digits are left of ``what``."""
        left = self.digits(time)
        if left < FEW_DIGITS:
            warn(
                f"{what} at time {time:.4g}: rounding of theta, whose condition number is {self.condition_number:.3g}, leaves "
                f"{('no digit', 'about one digit', 'about two digits')[int(left)]}; {hint}",
                PrecisionWarning,
            )


def _is_singular(theta: Array, values: Array, null: NDArray[np.bool_]) -> bool:
    """Whether what is zero to rounding is zero: eigenvalues end at a cliff, and no two points are nearly, not quite, one."""
    n = len(theta)
    above = values[~null]
    if above.size and above[0] < _CLIFF * n * EPS * above[-1]:
        return False
    scale = np.sqrt(np.maximum(np.diagonal(theta), 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    unit = theta / np.outer(scale, scale)
    for i, j in zip(*np.nonzero(np.triu(np.abs(unit) > 1 - _ALMOST_EQUAL, 1)), strict=True):
        # Equal points have equal rows; of near ones the rows differ to first order, the correlation to second.
        if np.abs(unit[i] - np.sign(unit[i, j]) * unit[j]).max() > 64 * EPS:
            return False
    return True
