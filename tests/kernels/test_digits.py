"""Kernels to many digits beside their formulas written out with twice as many."""

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.kernels import digits
from kernelcalc.kernels.digits import DigitNumbers

# exact in float64
X = np.array([[1.0, 0.5, -0.25], [0.375, -1.5, 2.0]])


def gram(x, weight, bias):
    points = [[mpmath.mpf(v) for v in row] for row in x.tolist()]
    return [[weight * mpmath.fdot(a, b) / len(a) + bias for b in points] for a in points]


def relu(sigma, theta, weight, bias):
    """Arc-cosine kernels (Cho, Saul 2009): E relu relu = r(sin t + (π − t) cos t)/2π, E relu' relu' = (π − t)/2π."""
    size = range(len(sigma))
    found = [[[mpmath.mpf(0)] * len(sigma) for _ in size] for _ in range(2)]
    for s in size:
        for t in size:
            root = mpmath.sqrt(sigma[s][s] * sigma[t][t])
            angle = mpmath.acos(sigma[s][t] / root) if s != t else mpmath.mpf(0)
            value = root * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle)) / (2 * mpmath.pi)
            found[0][s][t] = weight * value + bias
            found[1][s][t] = found[0][s][t] + weight * (mpmath.pi - angle) / (2 * mpmath.pi) * theta[s][t]
    return found


@pytest.mark.parametrize("dps", [20, 45])
def test_every_digit_of_deep_networks(dps):
    """Sixteen layers, each of which would add its rounding."""
    net = kc.MLP("relu", 16, sigma_w=1.5, beta=0.25)
    found = net.kernels(X, only=("sigma", "theta"), dps=dps)
    with mpmath.workdps(2 * dps):
        weight, bias = mpmath.mpf(2.25), mpmath.mpf(0.0625)
        sigma = theta = gram(X, weight, bias)
        for _ in range(15):
            sigma, theta = relu(sigma, theta, weight, bias)
        for name, known in (("sigma", sigma), ("theta", theta)):
            for s in range(2):
                for t in range(2):
                    assert abs(found[name][s, t] / known[s][t] - 1) < mpmath.mpf(10) ** -dps


def test_two_sets_of_points():
    """Columns in another order, and one beside both."""
    net = kc.MLP("relu", 3, sigma_w=1.5, beta=0.25)
    points = np.concatenate([X, [[0.5, 0.5, -4.0]]])
    whole = net.kernels(points, only="theta", dps=30).theta
    parts = net.kernels(X, points[[2, 1]], only="theta", dps=30).theta
    assert parts.shape == (2, 2)
    for s in range(2):
        for t, column in enumerate((2, 1)):
            assert abs(parts[s, t] / whole[s, column] - 1) < mpmath.mpf(10) ** -30


def test_layers_that_normalise():
    """Behind a LayerNorm Σ is σ_w² ρ + β²."""
    layers = kc.layers
    net = kc.Sequential(layers.Dense(1.5, 0.25), layers.LayerNorm(), "relu", layers.Dense(0.5, 1.0))
    found = net.kernels(X, only="sigma", dps=40).sigma
    with mpmath.workdps(80):
        first = gram(X, mpmath.mpf(2.25), mpmath.mpf(0.0625))
        rho = [[first[s][t] / mpmath.sqrt(first[s][s] * first[t][t]) for t in range(2)] for s in range(2)]
        known, _ = relu(rho, rho, mpmath.mpf(0.25), mpmath.mpf(1))
        for s in range(2):
            for t in range(2):
                assert abs(found[s, t] / known[s][t] - 1) < mpmath.mpf(10) ** -40


def test_numbers_are_the_doubles_they_are():
    """At the working precision: products are exact, roots are right to all of it, of arrays as of numbers."""
    numbers = DigitNumbers(60)
    with mpmath.workdps(60):
        assert numbers.number(0.1) == mpmath.mpf(0.1) != mpmath.mpf("0.1")
        a, b = np.array([0.1, 2.0, 1.0]), np.array([0.3, 1e-20, 1.0])
        assert numbers.product(a, b) == (mpmath.mpf(0.1) * mpmath.mpf(0.3) + 2 * mpmath.mpf(1e-20) + 1) / 3
        roots = numbers.root(np.array([[mpmath.mpf(2), mpmath.mpf(9)]], dtype=object))
        assert (roots.shape, roots.dtype) == ((1, 2), np.dtype(object))
        assert abs(roots[0, 0] ** 2 - 2) < mpmath.mpf(10) ** -59
        assert roots[0, 1] == 3


def test_more_digits_begin_with_those_of_fewer():
    net = kc.MLP("tanh", 2, sigma_w=1.25, beta=0.5)
    found = [net.kernels(X[:1], X[1:], only="upsilon", dps=dps).upsilon[0, 0] for dps in (12, 24)]
    with mpmath.workdps(30):
        assert abs(found[0] / found[1] - 1) < mpmath.mpf(10) ** -12


@pytest.mark.parametrize("apart", [1e-8, 1e-14])
@pytest.mark.parametrize("first", [[1, 0.5], [-1, -0.5]])
def test_digits_of_points_that_layers_drive_apart(apart, first):
    # sin, σ_w = 3, by its closed form in 120 digits: 1 - ρ² of 1e-29 grows to 1
    points, weight, depth = [first, [1 + apart, 0.5]], 9, 30
    with mpmath.workdps(120):
        x, y = ([mpmath.mpf(value) for value in point] for point in points)
        q, qp, c = (weight * mpmath.fdot(a, b) / 2 for a, b in ((x, x), (y, y), (x, y)))
        theta = c
        for _ in range(depth - 1):
            decay = mpmath.exp(-(q + qp) / 2)
            theta = weight * decay * mpmath.cosh(c) * theta
            c = weight * decay * mpmath.sinh(c)
            theta = theta + c
            q, qp = (weight * (1 - mpmath.exp(-2 * value)) / 2 for value in (q, qp))
        found = kc.MLP("sin", depth=depth, sigma_w=3, beta=0).kernels(points, dps=6, only=("sigma", "theta"))
        assert abs(found.sigma[0, 1] - c) < 1e-6 * abs(c)
        assert abs(found.theta[0, 1] - theta) < 1e-6 * abs(theta)


def test_parallel_points_take_no_more_digits(monkeypatch):
    # exactly parallel data, which stay so behind relu and part behind tanh
    asked = []
    kept = digits.PairComputation.layers
    monkeypatch.setattr(
        digits.PairComputation, "layers", lambda self, *more: asked.append(self.numbers.digits) or kept(self, *more)
    )
    for name in ("relu", "tanh"):
        kc.MLP(name, depth=4, beta=0).kernels([[1, 0.5], [2, 1]], dps=10, only=("sigma",))
    assert asked == [10 + digits.GUARD_DIGITS] * 2
