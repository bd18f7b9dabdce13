"""What a method for single pairs is, and the table of the best estimate of each pair."""

from __future__ import annotations

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import AnyArray, Array
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.estimate import Scaled

# What sums of values that float64 cannot tell from 0 may hide.
FAINTEST = 1e-300


class Method:
    """One way to E[f(a)g(b)]; ``name`` is what a result calls it."""

    name = ""
    final = False
    """Whether no later method is better where this one gives an error."""

    def applies(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        """For which of the pairs, (n,)."""
        raise NotImplementedError

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        """Values and bounds (n,); NaN with an infinite error where the method is none, infinity where it diverges.

        Raises
        ------
        NotFiniteError
            If a function overflows within reach of a rule: the pairs are left to the next method.
        """
        raise NotImplementedError

    def aim(self, rtol: float) -> float:
        """Pairs with an error below this, relative to E|fg|, are settled before this method."""
        return rtol


class Results:
    """Value, error, scale of errors and name of the method for every pair, as far as methods have come."""

    value: Array
    error: Array
    scale: Array

    def __init__(self, size: int) -> None:
        self.value, self.error, self.scale = np.full(size, np.nan), np.full(size, np.inf), np.zeros(size)
        self.done: AnyArray = np.zeros(size, dtype=bool)
        self.method: AnyArray = np.full(size, "", dtype=object)

    def open(self, rtol: float) -> np.ndarray:
        """Indices of the pairs that are not settled."""
        return np.flatnonzero((~(self.error <= rtol * self.scale) | self.unseen()) & ~np.isinf(self.value) & ~self.done)

    def unseen(self) -> np.ndarray:
        """Where a quadrature has met nothing but zeros, which may be the end of float64 and not of the function."""
        unseen = self.scale == 0
        if unseen.any():  # comparing names is slow
            unseen &= (self.method != "exact") & (self.method != "deterministic")
        return unseen

    def put(self, index: np.ndarray, found: Scaled, name: str) -> None:
        """Keep the new estimates that are better than what is there."""
        better = (found.error < self.error[index]) | np.isinf(found.value) | np.isnan(self.value[index])
        # Zeros alone, which a rule meets that does not reach far enough, are no value.
        better |= (self.scale[index] == 0) & (found.magnitude > 0) & np.isfinite(found.error)
        kept = index[better]
        # 0 + (−0) = 0
        self.value[kept], self.error[kept] = found.value[better] + 0.0, found.error[better]
        self.scale[kept], self.method[kept] = found.magnitude[better], name
        # A resolved E|fg| is the scale of errors whichever value is kept: that of a vanishing one is not seen in the value.
        known = ~better & (found.error <= found.magnitude / 2)
        self.scale[index[known]] = np.maximum(self.scale[index[known]], found.magnitude[known])
