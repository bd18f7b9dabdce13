"""The covariance of two Gaussians smoothed by independent ones, with the powers, factors and angles that pairs share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats import densities
from kernelcalc.gaussian.floats.small import angle
from kernelcalc.machine import unlocked_property

# t − atan t by its series where atan t is below this; above, the difference is at least t divided by the second number.
SERIES_BELOW, DIFFERENCE_LOSS = 0.25, 50.0
TURN = 2 * np.pi


class Smoothed:
    """Covariance after smoothing: Q = q + v, Q' = q' + v', r² = QQ' − c²."""

    def __init__(self, cov: Covariance, v: float, vp: float, sign: int = 1) -> None:
        self.cov, self.variances = cov, (v, vp)
        self.c: np.ndarray = sign * cov.c if sign < 0 else cov.c
        self.square: np.ndarray = cov.smoothed(v, vp) if v or vp else cov.det
        self._powers: dict[int, np.ndarray] = {}
        self._products: dict[tuple[int, int], np.ndarray] = {}
        self._cores: dict[densities.Core, np.ndarray] = {}
        self._factors: dict[tuple[str, int, int, float], np.ndarray] = {}
        self._sums: dict[densities.Factors, Any] = {}

    @unlocked_property
    def q(self) -> np.ndarray:
        return self.cov.q + self.variances[0] if self.variances[0] else self.cov.q

    @unlocked_property
    def qp(self) -> np.ndarray:
        return self.cov.qp + self.variances[1] if self.variances[1] else self.cov.qp

    @unlocked_property
    def r(self) -> np.ndarray:
        return np.sqrt(self.square)

    def power(self, exponent: int) -> np.ndarray:
        """r to an odd power, 1 or negative."""
        if exponent not in self._powers:
            if exponent >= -1:
                self._powers[exponent] = self.r if exponent == 1 else 1 / self.r
            else:
                self._powers[exponent] = self.power(exponent + 2) * self.inverse_square
        return self._powers[exponent]

    def c_power(self, exponent: int) -> np.ndarray:
        """c to a positive power."""
        if exponent == 1:
            return self.c
        if exponent == 2:
            return self.cov.c_square
        key = "c", exponent, 0, 1.0
        if key not in self._factors:
            self._factors[key] = self.c_power(exponent - 1) * self.c
        return self._factors[key]

    @unlocked_property
    def inverse_square(self) -> np.ndarray:
        """1/r²."""
        return 1 / self.square

    @unlocked_property
    def ratio_square(self) -> np.ndarray:
        """c²/r²."""
        return self.ratio * self.ratio

    @unlocked_property
    def ratio(self) -> np.ndarray:
        """c/r."""
        return self.c / self.r

    def product(self, k: int, p: int) -> Any:
        """c^k r^p with p up to 1, an array but for 1."""
        if p == 0:
            return self.c_power(k) if k else 1.0
        if k == 0 and p % 2:
            return self.power(p)
        if (k, p) in ((0, -2), (1, -1)):
            return self.inverse_square if k == 0 else self.ratio
        if (k, p) not in self._products:
            if k > 1 and p < -1:
                self._products[k, p] = self.product(k - 2, p + 2) * self.ratio_square
            elif p < -1:
                self._products[k, p] = self.product(k, p + 2) * self.inverse_square
            else:
                self._products[k, p] = self.c_power(k) * self.power(p)
        return self._products[k, p]

    def factors(self, factors: densities.Factors) -> Any:
        """Σ weight √Q^e q^i √Q'^e' q'^j, an array that is not to be changed but where it is a number."""
        if factors not in self._sums:
            first, *others = (densities.factor(*one, self) for one in factors)
            self._sums[factors] = sum(others, start=first)
        return self._sums[factors]

    def core(self, core: densities.Core) -> np.ndarray:
        """Σ weight c^k r^p, not to be changed."""
        if len(core) == 1:
            return self.product(*core[0][1:])
        if core not in self._cores:
            first, *others = core
            total = self.product(*first[1:])
            for weight, k, p in others:
                total = total + (self.product(k, p) if weight == 1 else weight * self.product(k, p))
            self._cores[core] = total
        return self._cores[core]

    def row_factor(self, e: int, i: int, weight: float) -> np.ndarray:
        """weight √Q^e q^i."""
        return self._factor("q", e, i, self.variances[0], weight)

    def column_factor(self, e: int, j: int, weight: float) -> np.ndarray:
        """weight √Q'^e q'^j."""
        return self._factor("qp", e, j, self.variances[1], weight)

    def _factor(self, side: str, e: int, i: int, v: float, weight: float) -> np.ndarray:
        def function(q: np.ndarray) -> np.ndarray:
            root = (q + v) ** (e // 2 if e % 2 == 0 else e / 2) if e else q**i
            root = root * q**i if e and i else root
            return root if weight == 1 else root * weight

        if (side, e, i, weight) not in self._factors:
            self._factors[side, e, i, weight] = (self.cov.of_rows if side == "q" else self.cov.of_columns)(function)
        return self._factors[side, e, i, weight]

    @unlocked_property
    def ends(self) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
        """No more than the least Q, Q', r² and no less than the largest Q, Q', r², |c|: vq' + v'q + vv' ≤ r² ≤ QQ'."""
        (v, vp), (low, high, low_p, high_p, c) = self.variances, self.cov.extremes
        least = v * low_p + vp * low + v * vp
        least = least if least > 0 else float(self.square.min())
        return (low + v, low_p + vp, least), (high + v, high_p + vp, (high + v) * (high_p + vp), c)

    @unlocked_property
    def scale(self) -> float:
        """Decades of the largest variance above 1."""
        (v, vp), (_, q, _, qp, _) = self.variances, self.cov.extremes
        return math.log10(max(1.0, q + v, qp + vp))

    @unlocked_property
    def degenerate(self) -> bool:
        """Whether r = 0 somewhere."""
        return not self.ends[0][2] > 0

    @unlocked_property
    def opening(self) -> np.ndarray:
        """π minus the angle between a and b, over 2π: atan2(r, −c)/2π, ¼ where a or b is 0: a step there is ½."""
        opening = angle(self.c, self.r, self.ratio, opening=True)
        if not all(self.variances) and not min(self.cov.extremes[0], self.cov.extremes[2]) > 0:
            opening = np.where((self.q == 0) | (self.qp == 0), 0.25, opening)
        return opening

    @unlocked_property
    def turn(self) -> np.ndarray:
        """atan2(c, r)/2π: the arcsine of c/√(QQ')."""
        return angle(self.c, self.r, self.ratio)

    @unlocked_property
    def arch(self) -> np.ndarray:
        """r/2π + c · opening, to DIFFERENCE_LOSS times the rounding of its value."""
        total = self.c * self.opening
        total += self.r * (1 / TURN)
        if not self.opening.min() >= SERIES_BELOW / TURN:
            small = self.opening < SERIES_BELOW / TURN
            r, size = self.r[small], -self.c[small]
            square = np.divide(r, size, out=np.zeros_like(r), where=size > 0) ** 2
            # t − atan t = t Σ_{k≥1} (−1)^{k+1} t^{2k}/(2k+1); at tan(1/4) the sixteenth term is below 1e-19.
            series = np.zeros_like(r)
            for k in range(15, 0, -1):
                series = square * ((-1) ** (k + 1) / (2 * k + 1) + series)
            total[small] = r * series / TURN
        return total
