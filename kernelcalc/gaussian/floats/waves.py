"""Expectations of two sines or two cosines, E[sin(wa) sin(w'b)] = e^{−(w²q + w'²q')/2} sinh(ww'c), with cosh for cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats.pairs import Pair
from kernelcalc.gaussian.floats.small import MANY, hyperbolic_sine
from kernelcalc.machine import unlocked_property

# Up to this w²q the rounding of w√q is less than that counted for a wave's exponent.
SLOW_WAVE = 100.0
# Up to this w²q the factors of the formula are of the size of their product, and their rounding is what is counted.
VERY_SLOW_WAVE = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Waves:
    """Two waves of rates w, w' ≥ 0: e^{−gap}/2 with gap = (w²q + w'²q')/2 − |ww'c|, and e^{−2|ww'c|} − 1."""

    envelope: np.ndarray
    decay: np.ndarray
    largest: float
    rates: tuple[float, float]
    cov: Covariance

    @classmethod
    def of(cls, cov: Covariance, rates: tuple[float, float], largest: float) -> Waves:
        gap = Waves._gap(cov, rates, largest)
        envelope = np.exp(np.negative(gap, out=gap), out=gap)
        envelope *= 0.5
        decay = np.abs(cov.c)
        decay *= -2 * rates[0] * rates[1]
        return cls(envelope=envelope, decay=np.expm1(decay, out=decay), largest=largest, rates=rates, cov=cov)

    @staticmethod
    def _gap(cov: Covariance, rates: tuple[float, float], largest: float) -> np.ndarray:
        """(w√q − w'√q')²/2 + ww' (√(qq') − |c|), by w²q − w'²q' and qq' − c²: fast waves would feel the rounding of c."""
        w, wp = rates
        both = np.abs(cov.c)
        both += cov.of_rows(np.sqrt) * cov.of_columns(np.sqrt)
        gap = np.divide(cov.det, both, out=np.zeros_like(both), where=both > 0) if not both.all() else cov.det / both
        gap *= w * wp
        if max(w, wp) ** 2 * largest <= SLOW_WAVE:
            half = math.sqrt(0.5)
            apart = cov.of_rows(lambda q: half * w * np.sqrt(q)) - cov.of_columns(lambda q: half * wp * np.sqrt(q))
            apart *= apart
            gap += apart
            return gap
        # differences of close numbers are exact, those of their multiples and roots are not
        apart = w * (cov.q - cov.qp) if w == wp else w**2 * cov.q - wp**2 * cov.qp
        root, other = cov.of_rows(np.sqrt), cov.of_columns(np.sqrt)
        total = root + other if w == wp else w * root + wp * other
        apart = np.divide(apart, total, out=np.zeros_like(apart), where=total > 0) if not total.all() else apart / total
        apart *= apart
        apart *= 0.5
        gap += apart
        return gap

    def pair(self, kind: str) -> Pair:
        """Sines or cosines."""
        if kind == "sin":
            value = self.envelope * self.decay
            np.copysign(value, self.cov.c, out=value)
        else:
            value = self.decay + 2.0
            value *= self.envelope
        w, wp = self.rates
        return Pair(value=value, loss=2 + 2 * (w**2 + wp**2) * self.largest, finer=self.size)

    def size(self) -> np.ndarray:
        """Rounding of the exponents, relative to the value; that of x is at most 1 in e^{−x} − 1."""
        w, wp = self.rates
        multiples = 0.0 if w == wp else w**2 * self.cov.q + wp**2 * self.cov.qp
        return 2 + self._gap(self.cov, self.rates, self.largest) + multiples


@dataclass(frozen=True, kw_only=True, eq=False)
class SlowWaves:
    """Two waves of rates w, w' ≥ 0 by the formula itself, with one exponential a point."""

    cov: Covariance
    rates: tuple[float, float]
    largest: float

    @staticmethod
    def suffice(cov: Covariance, rates: tuple[float, float], largest: float) -> bool:
        """Whether all exponents are small, and there are many pairs."""
        return cov.c.size >= MANY and max(rates) ** 2 * largest <= VERY_SLOW_WAVE

    @classmethod
    def of(cls, cov: Covariance, rates: tuple[float, float], largest: float) -> SlowWaves:
        return cls(cov=cov, rates=rates, largest=largest)

    @unlocked_property
    def _envelope(self) -> np.ndarray:
        w, wp = self.rates
        rows = self.cov.of_rows(lambda q: np.exp(-(w**2) / 2 * q))
        return rows * self.cov.of_columns(lambda q: np.exp(-(wp**2) / 2 * q))

    @unlocked_property
    def _sine(self) -> np.ndarray:
        w, wp = self.rates
        return hyperbolic_sine(self.cov.c if w * wp == 1 else w * wp * self.cov.c)

    def pair(self, kind: str) -> Pair:
        """Sines or cosines."""
        if kind == "sin":
            value = self._envelope * self._sine
        else:
            value = self._sine * self._sine
            value += 1.0
            np.sqrt(value, out=value)
            value *= self._envelope
        w, wp = self.rates
        # x coth x ≤ 1 + |x| is what rounding of x does to sinh x
        return Pair(value=value, loss=2 + 2 * (w**2 + wp**2) * self.largest, bounded=True)
