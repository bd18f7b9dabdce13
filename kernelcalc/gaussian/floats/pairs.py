"""The expectation of a pair of terms without powers, in float64, with what its rounding is relative to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernelcalc.machine import unlocked_property


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A value and what its rounding is relative to; None is the value itself, times ``loss`` or, pair by pair, ``finer``.

    Of a sum whose terms cancel ``apart`` gives the sum of their sizes, and ``limit`` is no less than any of these. What is
    ``bounded`` is a number wherever its covariance is one.
    """

    value: np.ndarray
    magnitude: np.ndarray | None = None
    loss: float = 1.0
    finer: Callable[[], np.ndarray] | None = None
    apart: Callable[[], np.ndarray] | None = None
    limit: float | None = None
    bounded: bool = False

    @property
    def size(self) -> np.ndarray:
        if self.magnitude is not None:
            return self.magnitude
        if self.apart is not None:
            return self.apart()
        return np.abs(self.value) * (self.loss if self.finer is None else self.finer())

    @unlocked_property
    def largest(self) -> float:
        """The largest ``size``; infinite if anything is not finite."""
        if self.limit is not None:
            return self.loss * self.limit
        values = self.size if self.apart is not None else self.value if self.magnitude is None else self.magnitude
        found = self.loss * max(float(values.max()), -float(values.min()))
        return found if math.isfinite(found) else math.inf
