r"""Gradient descent in steps, with momentum, under MSE: every mode of Θ is a recursion of its own, solved exactly.

With :math:`a = ηλ/N`, the residual p of a mode (1 at the start), its velocity v and the weight w with
:math:`\sum_s η ∇C(Y_s) = w(Θ)\, r_0` follow

.. math:: v_{s+1} = μ v_s + \tfrac{η}{N} \tilde p_s, \quad w_{s+1} = w_s + v_{s+1}, \quad p_{s+1} = p_s - λ v_{s+1},

:math:`\tilde p = p` for plain descent and Polyak's heavy ball, :math:`\tilde p = p - λμv` for Nesterov's look-ahead. In the
limit the kernels stand still, so that Y and G = Tr Hf move by -Θ and -Λ times the same weights, as they do along the flow,
whose :math:`e^{-λt/N}` and :math:`(1 - e^{-λt/N})/λ` are p and w for η → 0.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1 and Corollary 1, with steps in the place of the flow.
Polyak, USSR Comput. Math. Math. Phys. 4 (1964); Nesterov, Soviet Math. Doklady 27 (1983).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.arguments import check_count, check_number, flag, floats
from kernelcalc.errors import InputError

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

# Step counts beyond this are no whole numbers in float64.
_UNCOUNTABLE = 2.0**53


@dataclass(frozen=True)
class Descent:
    """Gradient descent with a step size, momentum and, if wanted, Nesterov's look-ahead.

    Parameters
    ----------
    step : float
        Learning rate η > 0. A time is a number of steps times η, rounded to the nearest whole number of steps, as in
        ``FiniteNetwork.train(method="gd")``.
    momentum : float
        μ, 0 ≤ μ < 1.
    nesterov : bool
        The gradient is taken at θ + μv.

    Raises
    ------
    InputError
        A step ≤ 0, momentum outside [0, 1).

    Examples
    --------
    >>> descent = Descent(0.5)
    >>> descent.largest_step_times_curvature
    2.0
    >>> decay, ramp = descent.modes(np.array([1.0, 0.0]), 1, np.array([0.0, 1.0]))
    >>> decay.tolist(), ramp.tolist()
    ([[1.0, 1.0], [0.25, 1.0]], [[0.0, 0.0], [0.75, 1.0]])
    """

    step: float
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        for name, value in (
            ("step", check_number("step", self.step)),
            ("momentum", check_number("momentum", self.momentum)),
            ("nesterov", flag("nesterov", self.nesterov)),
        ):
            object.__setattr__(self, name, value)
        if self.step == 0 or self.momentum >= 1:
            raise InputError("step > 0 and 0 ≤ momentum < 1", f"step={self.step}, momentum={self.momentum}")

    @property
    def largest_step_times_curvature(self) -> float:
        """Stability: a mode converges while ηλ/N is below 2 (plain), 2(1 + μ) (Polyak), 2(1 + μ)/(1 + 2μ) (Nesterov)."""
        bound = 2 * (1 + self.momentum)
        return bound / (1 + 2 * self.momentum) if self.nesterov else bound

    def at(self, times: Array) -> Array:
        """The times looked at: the nearest multiples of the step.

        Raises
        ------
        InputError
            Times that are no numbers; more steps than can be counted.
        """
        at = floats(times, "times", "numbers")
        count = np.rint(at / self.step)
        if (count[np.isfinite(count)] >= _UNCOUNTABLE).any():
            raise InputError("fewer steps", f"a time of {at.max():g} in steps of {self.step:g}")
        return np.asarray(count * self.step)

    def modes(self, values: Array, n: int, times: Array) -> tuple[Array, Array]:
        """Residuals p and weights w, each (T, N), of the modes with eigenvalues λ (N,) of Θ for n points.

        At an infinite time w of λ = 0, which grows without bound, counts as 0, as in :class:`~kernelcalc.training.modes.Modes`.

        Raises
        ------
        InputError
            No numbers; a step so long that a mode overflows, or at an infinite time diverges.
        """
        check_count("n", n, 1)
        values = np.atleast_1d(floats(values, "values", "numbers"))
        times = np.atleast_1d(floats(times, "times", "numbers"))
        counts = np.rint(times / self.step)
        decay, ramp = (np.empty((len(times), len(values))) for _ in range(2))
        state, done = np.zeros((len(values), 3, 1)), 0
        state[:, 0] = 1.0
        one = self._matrices(values, n)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for i in np.argsort(counts):
                if math.isinf(counts[i]):
                    decay[i], ramp[i] = self._end(values, n)
                    continue
                state = _power(one, int(counts[i]) - done) @ state
                done = int(counts[i])
                decay[i], ramp[i] = state[:, 0, 0], state[:, 2, 0]
        if not (np.isfinite(decay).all() and np.isfinite(ramp).all()):
            raise self._too_long(values, n)
        return decay, ramp

    def _matrices(self, values: Array, n: int) -> Array:
        """One step on (p, v, w), (N, 3, 3)."""
        rate, mu = self.step / n, self.momentum
        kept = mu * (1 - rate * values) if self.nesterov else mu
        made = np.zeros((len(values), 3, 3))
        made[:, 1, 0] = made[:, 2, 0] = rate
        made[:, 1, 1] = made[:, 2, 1] = kept
        made[:, 0, 0], made[:, 0, 1] = 1 - values * rate, -values * kept
        made[:, 2, 2] = 1.0
        return made

    def _end(self, values: Array, n: int) -> tuple[Array, Array]:
        if (self.step * values / n >= self.largest_step_times_curvature).any():
            raise self._too_long(values, n)
        null = values == 0
        return np.where(null, 1.0, 0.0), np.where(null, 0.0, 1 / np.where(null, 1.0, values))

    def _too_long(self, values: Array, n: int) -> InputError:
        bound = self.largest_step_times_curvature * n / values.max()
        return InputError(f"a step below {bound:.6g}", f"{self.step:g}", "the fastest mode diverges")


def _power(matrices: Array, exponent: int) -> Array:
    found = np.broadcast_to(np.eye(3), matrices.shape)
    while exponent:
        if exponent & 1:
            found = matrices @ found
        exponent >>= 1
        if exponent:
            matrices = matrices @ matrices
    return found
