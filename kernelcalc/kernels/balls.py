"""Enclosures of the kernels at a few points: the fold on balls."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import InputError, PrecisionError
from kernelcalc.gaussian.balls.expectation import (
    BALL_GUARD_DIGITS,
    diagonal_covariance,
    lattice_expectations,
    make_ball_covariance,
    program,
    working_bits,
)
from kernelcalc.gaussian.balls.forms import form_expectation
from kernelcalc.gaussian.balls.program import flint, smooth_expression
from kernelcalc.kernels.fold import Orders
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.pairs import PairComputation, PairNumbers
from kernelcalc.machine import MULTIPRECISION


def certified_layers(
    network: Network, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], digits: int
) -> list[dict[str, np.ndarray]]:
    """Object arrays of ``flint.arb`` balls, one dictionary a layer; data, σ_w and β are the exact doubles they are.

    The radii of the last layer are below 10^−digits of each kernel's largest entry.

    Raises
    ------
    NotCertifiableError
        For nonlinearities without provable bounds.
    PrecisionError
        If the digits cannot be reached.
    """
    if not 1 <= digits <= 500:
        raise InputError("a number of digits 1 ≤ dps ≤ 500", repr(digits))
    work = digits + BALL_GUARD_DIGITS
    # A correlation of ±1 that the balls cannot tell from one nearby costs half of the digits in every layer.
    for _ in range(5):
        with MULTIPRECISION, flint().ctx.workprec(working_bits(work)):
            layers = PairComputation(network=network, numbers=BallNumbers(work)).layers(x, x2, names)
            if all(_narrow(array, digits) for array in layers[-1].values()):
                return layers
        work = 2 * work + 5
    raise PrecisionError(f"enclosures of the kernels with {digits} digits were not reached")


def _narrow(array: np.ndarray, digits: int) -> bool:
    widest, largest = flint().arb(0), flint().arb(0)
    for ball in array.flat:
        widest, largest = widest.max(ball.rad()), largest.max(ball.abs_upper())
    return bool(widest <= largest * flint().arb(10) ** -digits) or bool(widest < flint().arb(10) ** -(digits + 20))


def ball(value: Any) -> Any:
    """The ball around an exact fraction; balls as they are."""
    if isinstance(value, Exact):
        return flint().arb(flint().fmpq(value.fraction.numerator, value.fraction.denominator))
    return value


@dataclass(frozen=True)
class Exact:
    """A fraction that becomes a ball when it meets one: whether |ρ| = 1 in the first layer is decided exactly."""

    fraction: Fraction

    def _with(self, other: Any, operation: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, int):
            other = Exact(Fraction(other))
        if isinstance(other, Exact):
            return Exact(operation(self.fraction, other.fraction))
        return operation(ball(self), other)

    def __add__(self, other: Any) -> Any:
        return self._with(other, operator.add)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, operator.mul)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, operator.sub)

    def __truediv__(self, other: Any) -> Any:
        return self._with(other, operator.truediv)

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b - a)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b / a)


class BallNumbers(PairNumbers):
    """Arb balls; what is made of data, σ_w and β alone stays an exact fraction."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def number(self, value: float) -> Any:
        """The double as it is."""
        return Exact(Fraction(value))

    def finished(self, value: Any) -> Any:
        """A ball."""
        return ball(value)

    def root(self, value: Any) -> Any:
        """√."""
        return np.vectorize(lambda one: ball(one).sqrt(), otypes=[object])(value)

    def product(self, a: np.ndarray, b: np.ndarray) -> Any:
        """a·b/n_0, exactly."""
        total = sum((Fraction(u) * Fraction(v) for u, v in zip(a.tolist(), b.tolist(), strict=True)), Fraction(0))
        return Exact(total / len(a))

    def of_one(
        self, act: Activation, covariance: tuple[Any, Any, Any], same: bool, orders: Orders, highest: int
    ) -> Any:
        """E_ij."""
        if same:
            cov = diagonal_covariance(ball(covariance[0]))
        elif all(isinstance(value, Exact) for value in covariance):
            cov = make_ball_covariance(*(value.fraction for value in covariance))
        else:
            cov = make_ball_covariance(*map(ball, covariance))
        if act.kinks:
            return {
                (i, j): form_expectation(act.derivative(i), act.derivative(j), cov.variances, cov.det, cov.diagonal)
                for i, j in orders
            }
        functions = program(tuple(smooth_expression(act.derivative(k)) for k in range(highest + 1)))
        return lattice_expectations(functions, functions, cov, orders, self.digits)
