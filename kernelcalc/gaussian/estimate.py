"""Values with bounds on their errors, and what these are relative to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernelcalc.arrays import EPS


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Values and bounds on their absolute errors, arrays of one shape."""

    value: np.ndarray
    error: np.ndarray

    def __add__(self, other: Estimate) -> Estimate:
        value = self.value + other.value
        return Estimate(value=value, error=self.error + other.error + EPS * np.abs(value))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaled(Estimate):
    """An estimate that also knows ``magnitude``, E|f(a)g(b)| or a lower bound of it."""

    magnitude: np.ndarray
