"""A value with a bound on its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Values and bounds on their absolute errors, arrays of one shape."""

    value: np.ndarray
    error: np.ndarray

    def __add__(self, other: Estimate) -> Estimate:
        value = self.value + other.value
        return Estimate(value=value, error=self.error + other.error + np.finfo(np.float64).eps * np.abs(value))
