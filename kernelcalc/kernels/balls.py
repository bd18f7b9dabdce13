"""Enclosures of the kernels at a few points: the layer step on balls."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import InputError, PrecisionError
from kernelcalc.gaussian.balls.expectation import (
    BALL_GUARD_DIGITS as GUARD_DIGITS,
)
from kernelcalc.gaussian.balls.expectation import (
    BallCovariance,
    diagonal_covariance,
    lattice_expectations,
    make_ball_covariance,
    program,
    working_bits,
)
from kernelcalc.gaussian.balls.forms import form_expectation
from kernelcalc.gaussian.balls.program import Program, flint, smooth_expression
from kernelcalc.kernels.state import (
    DiagonalKernels,
    PairKernels,
    closure,
    diagonal_of,
    expectation_orders,
    first_layer,
    layer_step,
)

if TYPE_CHECKING:
    from kernelcalc.kernels.mlp import MLP

_TRANSPOSED = {"phi": "phi_t", "lam": "lam_t"}


def certified_layers(
    net: MLP, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], digits: int
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
    work = digits + GUARD_DIGITS
    # A correlation of ±1 that the balls cannot tell from one nearby costs half of the digits in every layer.
    for _ in range(5):
        with flint().ctx.workprec(working_bits(work)):
            layers = _Fold(net, closure(names), work).layers(x, x2, names)
            if all(_narrow(array, digits) for array in layers[-1].values()):
                return layers
        work = 2 * work + 5
    raise PrecisionError(f"enclosures of the kernels with {digits} digits were not reached")


def _narrow(array: np.ndarray, digits: int) -> bool:
    widest, largest = flint().arb(0), flint().arb(0)
    for ball in array.flat:
        widest, largest = widest.max(ball.rad()), largest.max(ball.abs_upper())
    return bool(widest <= largest * flint().arb(10) ** -digits) or bool(widest < flint().arb(10) ** -(digits + 20))


class _Fold:
    def __init__(self, net: MLP, carried: frozenset[str], digits: int) -> None:
        self.net, self.carried, self.digits = net, carried, digits
        self.sigma_w2, self.beta2 = Fraction(net.sigma_w) ** 2, Fraction(net.beta) ** 2
        self.balls = _ball(self.sigma_w2), _ball(self.beta2)

    def layers(self, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...]) -> list[dict[str, np.ndarray]]:
        """Every kernel of every layer at all pairs."""
        rows = [_vector(point) for point in x]
        columns = rows if x2 is None else [_vector(point) for point in x2]
        row_folds = [self.diagonal(point) for point in rows]
        column_folds = row_folds if x2 is None else [self.diagonal(point) for point in columns]
        outputs = [
            {name: np.empty((len(rows), len(columns)), dtype=object) for name in names} for _ in range(self.net.depth)
        ]
        for i, point in enumerate(rows):
            for j, other in enumerate(columns):
                if x2 is None and j < i:
                    continue
                pairs = self.pair(point, other, row_folds[i], column_folds[j])
                for output, kernels in zip(outputs, pairs, strict=True):
                    for name, array in output.items():
                        array[i, j] = getattr(kernels, name)
                        if x2 is None:
                            array[j, i] = getattr(kernels, _TRANSPOSED.get(name, name))
        return outputs

    def first(self, a: list[Fraction], b: list[Fraction]) -> Fraction:
        return self.sigma_w2 * sum((u * v for u, v in zip(a, b, strict=True)), Fraction(0)) / len(a) + self.beta2

    def diagonal(self, point: list[Fraction]) -> list[DiagonalKernels]:
        carried = self.carried & {"sigma", "theta", "phi"}
        kernels = first_layer(_ball(self.first(point, point)), carried, flint().arb(0))
        result = [diagonal_of(kernels)]
        for level in range(self.net.depth - 1):
            at = result[-1]
            e = self.expectations(level, diagonal_covariance(at.sigma), carried)
            kernels = layer_step(kernels, at, at, e, *self.balls)
            result.append(diagonal_of(kernels))
        return result

    def pair(
        self, a: list[Fraction], b: list[Fraction], row: list[DiagonalKernels], column: list[DiagonalKernels]
    ) -> list[PairKernels]:
        exact = self.first(a, a), self.first(b, b), self.first(a, b)
        kernels = first_layer(_ball(exact[2]), self.carried, flint().arb(0))
        result = [kernels]
        for level in range(self.net.depth - 1):
            if a == b:
                cov = diagonal_covariance(row[level].sigma)
            elif level == 0:
                cov = make_ball_covariance(*exact)
            else:
                cov = make_ball_covariance(row[level].sigma, column[level].sigma, kernels.sigma)
            e = self.expectations(level, cov, self.carried)
            kernels = layer_step(kernels, row[level], column[level], e, *self.balls)
            result.append(kernels)
        return result

    def expectations(self, level: int, cov: BallCovariance, carried: frozenset[str]) -> dict[tuple[int, int], Any]:
        """E_ij of one nonlinearity for the orders that the kernels need."""
        orders = expectation_orders(carried)
        act = self.net.activations[level]
        if act.kinks:
            return {
                (i, j): form_expectation(act.derivative(i), act.derivative(j), cov.variances, cov.det, cov.diagonal)
                for i, j in orders
            }
        functions = self.derivatives(level, max(max(order) for order in orders))
        return lattice_expectations(functions, functions, cov, orders, self.digits)

    def derivatives(self, level: int, highest: int) -> Program:
        """σ, ..., σ^(highest) as one program."""
        act = self.net.activations[level]
        return program(tuple(smooth_expression(act.derivative(k)) for k in range(highest + 1)))


def _vector(point: np.ndarray) -> list[Fraction]:
    return [Fraction(float(v)) for v in point]


def _ball(value: Fraction) -> Any:
    return flint().arb(flint().fmpq(value.numerator, value.denominator))
