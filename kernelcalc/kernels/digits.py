"""The kernels at a few points to any number of digits: the fold on mpmath numbers."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.gaussian.digits.expectation import GUARD_DIGITS, expectations
from kernelcalc.kernels.fold import Orders
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.pairs import PairComputation, PairNumbers
from kernelcalc.machine import MULTIPRECISION


def precise_layers(
    network: Network, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], dps: int
) -> list[dict[str, np.ndarray]]:
    """Object arrays of mpmath numbers, one dictionary a layer; data and σ_w, β are taken as the exact doubles they are."""
    # Every layer multiplies errors by its conditioning: guard digits on top of each expectation's own.
    digits = dps + GUARD_DIGITS
    with MULTIPRECISION, mpmath.workdps(digits + GUARD_DIGITS):
        return PairComputation(network=network, numbers=DigitNumbers(digits)).layers(x, x2, names)


class DigitNumbers(PairNumbers):
    """mpmath numbers at the working precision."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def number(self, value: float) -> Any:
        """The double as it is."""
        return mpmath.mpf(value)

    def root(self, value: Any) -> Any:
        """√."""
        return np.vectorize(mpmath.sqrt, otypes=[object])(value)

    def product(self, a: np.ndarray, b: np.ndarray) -> Any:
        """a·b/n_0."""
        return mpmath.fdot((mpmath.mpf(float(u)), mpmath.mpf(float(v))) for u, v in zip(a, b, strict=True)) / len(a)

    def of_one(
        self, act: Activation, covariance: tuple[Any, Any, Any], same: bool, orders: Orders, highest: int
    ) -> Any:
        """E_ij; the highest derivatives come along everywhere, and every value serves all pairs."""
        return expectations(act, *covariance, orders, self.digits, highest)
