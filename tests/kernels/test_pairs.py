"""Kernels pair by pair, on Python's fractions: Gaussian moments of polynomials are polynomials of q, q', c."""

from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.kernels.pairs import PairComputation, PairNumbers, object_array
from kernelcalc.kernels.state import KERNEL_NAMES

X = np.array([[1.0, 0.5], [0.25, -1.0], [1.0, 0.5], [0.0, 0.75]])
OTHER = np.array([[0.25, -1.0], [2.0, 1.0]])
NET = kc.MLP(["x^2/2", "x^3/8 + x"], depth=3, sigma_w=0.5, beta=0.25)
# Taylor coefficients by power
POWERS = {"x^2/2": {2: Fraction(1, 2)}, "x^3/8 + x": {1: Fraction(1), 3: Fraction(1, 8)}}


def moment(m, n, q, qp, c):
    """E aᵐ bⁿ: k pairings across, the others within."""
    total = Fraction(0)
    for k in range(min(m, n) + 1):
        if (m - k) % 2 == 0 and (n - k) % 2 == 0:
            within = [Fraction(factorial(r), 2 ** (r // 2) * factorial(r // 2)) for r in (m - k, n - k)]
            total += (
                comb(m, k)
                * comb(n, k)
                * factorial(k)
                * within[0]
                * within[1]
                * q ** ((m - k) // 2)
                * qp ** ((n - k) // 2)
                * c**k
            )
    return total


class Fractions(PairNumbers):
    def __init__(self):
        self.asked = []

    def number(self, value):
        return Fraction(value)

    def product(self, a, b):
        return sum(Fraction(u) * Fraction(v) for u, v in zip(a.tolist(), b.tolist(), strict=True)) / len(a)

    def of_one(self, act, covariance, same, orders, highest):
        q, qp, c = covariance
        self.asked.append((act.name, same, highest, max(map(max, orders))))
        assert not same or q == qp == c
        found = {}
        for i, j in orders:
            sides = [
                {p - k: w * factorial(p) / factorial(p - k) for p, w in POWERS[act.name].items() if p >= k}
                for k in (i, j)
            ]
            found[i, j] = sum(
                (u * v * moment(m, n, q, qp, c) for m, u in sides[0].items() for n, v in sides[1].items()), Fraction(0)
            )
        return found


@pytest.mark.parametrize("other", [None, OTHER])
def test_six_kernels_of_all_layers(other):
    numbers = Fractions()
    layers = PairComputation(network=NET, numbers=numbers).layers(X, other, KERNEL_NAMES)
    known = NET.kernels(X, other)
    assert len(layers) == 3
    assert all(isinstance(value, Fraction) for name in KERNEL_NAMES for value in layers[-1][name].flat)
    for found, layer in zip(layers, known.layers, strict=True):
        assert tuple(found) == KERNEL_NAMES
        for name in KERNEL_NAMES:
            np.testing.assert_allclose(found[name].astype(float), getattr(layer, name), rtol=1e-12, atol=1e-16)
    if other is None:
        for name in ("sigma", "theta", "upsilon", "xi"):
            assert (layers[-1][name] == layers[-1][name].T).all()
        assert (layers[-1]["phi"] != layers[-1]["phi"].T).any()
        # equal points have equal numbers
        assert all((layers[-1][name][0] == layers[-1][name][2]).all() for name in KERNEL_NAMES)
    # each pair of different points once, and all of a layer with the largest order of any
    for act in POWERS:
        asked = [one[1:] for one in numbers.asked if one[0] == act]
        assert sum(not same for same, *_ in asked) == (5 if other is None else 7)
        assert {highest for _, highest, _ in asked} == {max(most for *_, most in asked)}


def test_factors_of_every_layer():
    """E σ'(a)σ'(b) and E σ''(a)σ''(b), which no later layer reads, are there for each that has a nonlinearity before it."""
    names = ("sigma_dot", "sigma_ddot")
    _, first, second = PairComputation(network=NET, numbers=Fractions()).layers(X, None, names)
    before = [k["sigma"] for k in PairComputation(network=NET, numbers=Fractions()).layers(X, None, ("sigma",))]
    # x²/2 has the derivatives x and 1, x³/8 + x the second one 3x/4
    assert (first["sigma_dot"] == before[0]).all()
    assert all(value == 1 for value in first["sigma_ddot"].flat)
    assert (second["sigma_ddot"] == before[1] * Fraction(9, 16)).all()


def test_one_kernel_alone():
    (found,) = PairComputation(network=kc.MLP([], depth=1, sigma_w=0.5, beta=0.25), numbers=Fractions()).layers(
        X, None, ("theta",)
    )
    assert list(found) == ["theta"]
    assert found["theta"][0, 1] == Fraction(1, 4) * Fraction(-1, 8) + Fraction(1, 16)


def test_objects_as_they_are():
    found = object_array([(1, 2), (3, 4)])
    assert (found.shape, found.dtype, found[1]) == ((2,), object, (3, 4))
    zeros = Fractions().zeros(np.ones((2, 3)))
    assert (zeros.shape, zeros.dtype) == ((2, 3), object)
    assert all(isinstance(one, Fraction) and one == 0 for one in zeros.flat)
    assert PairNumbers().finished(3) == 3
