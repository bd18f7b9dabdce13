"""Corrections at nearly parallel points, where kinks make them small differences of large parts."""

from __future__ import annotations

import itertools
import warnings

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import PrecisionError, PrecisionWarning
from kernelcalc.kernels.first_order import gram


def relu_sigma(points, bias):
    """Σ¹(x, x') behind two hidden layers of relu, of unit weights.

    Half of n Cov of the first layer's kernels times second derivatives of the arc-cosine kernel (Cho, Saul 2009); moments by
    quadrature over the angle.
    """

    def kernel(q, qp, c):
        angle = mp.acos(c / mp.sqrt(q * qp))
        return mp.sqrt(q * qp) / (2 * mp.pi) * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle))

    x, y = ([mp.mpf(v) for v in point] for point in points)
    q, qp, c = (mp.fdot(a, b) / len(x) + bias**2 for a, b in ((x, x), (y, y), (x, y)))
    angle = mp.acos(c / mp.sqrt(q * qp))

    def moment(i, j):
        # E[a₊^i b₊^j], a = √q r cos φ, b = √q' r cos(φ - angle), and E r² = 2, E r⁴ = 8
        ends = [(angle if j else 0) - mp.pi / 2, (0 if i else angle) + mp.pi / 2]
        over = mp.quad(lambda t: mp.cos(t) ** i * mp.cos(t - angle) ** j, ends) / (2 * mp.pi)
        return {2: 2, 4: 8}[i + j] * mp.sqrt(q) ** i * mp.sqrt(qp) ** j * over

    powers = {"q": (2, 0), "qp": (0, 2), "c": (1, 1)}
    means = tuple(moment(*powers[name]) + bias**2 for name in powers)
    total = 0
    for one, other in itertools.product(powers, repeat=2):
        covariance = moment(*np.add(powers[one], powers[other]).tolist()) - moment(*powers[one]) * moment(
            *powers[other]
        )
        orders = tuple((one == name) + (other == name) for name in powers)
        total += covariance * mp.diff(kernel, means, orders) / 2
    return total


@pytest.mark.parametrize("apart", [1e-1, 1e-3, 1e-5])
def test_digits_of_nearly_parallel_points(apart):
    points = [[1, 0.5], [1 + apart, 0.5]]
    with mp.workdps(80):
        right = relu_sigma(points, mp.mpf(0.1))
        found = kc.finite_width(kc.MLP("relu", depth=3, beta=0.1), points, dps=12).sigma[0, 1]
        assert abs(found - right) < 1e-12 * abs(right)


@pytest.mark.parametrize("name", ["relu", "abs", "leaky_relu"])
def test_lost_digits_of_nearly_parallel_points_are_said(name):
    with pytest.warns(PrecisionWarning, match="rounding in finite_width"):
        kc.finite_width(kc.MLP(name, depth=3, beta=0.1), [[1, 0.5], [1.001, 0.5], [-3, 1]])


def test_equal_points_do_not_hide_lost_digits():
    points = [[1, 0.5], [1.001, 0.5]]
    net = kc.MLP("relu", depth=3, beta=0.1)
    with pytest.warns(PrecisionWarning, match="rounding in finite_width"):
        found = kc.finite_width(net, [*points, *[[-3, 1]] * 12]).theta
    right = kc.finite_width(net, points, dps=12).theta[0, 1]
    assert abs(found[0, 1] - right) > 1e-10 * abs(found).max()


@pytest.mark.parametrize("name", ["x + x**3", "sin(x)", "erf"])
def test_smooth_functions_lose_none(name):
    points = [[1, 0.5], [1.0001, 0.5], [-3, 1]]
    net = kc.MLP(name, depth=3, beta=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kc.finite_width(net, points).theta
    # beside the point itself: a ten-thousandth apart changes that much
    assert found[0, 1] == pytest.approx((found[0, 0] + found[1, 1]) / 2, rel=1e-6)


def test_digits_that_no_precision_reaches_are_refused(monkeypatch):
    monkeypatch.setattr(gram, "_MOST_RAISES", 1)
    with pytest.raises(PrecisionError, match="working digits cancelled"):
        kc.finite_width(kc.MLP("relu", depth=3), [[1, 0.5], [1 + 1e-12, 0.5]], dps=12)


@pytest.mark.parametrize("name", ["relu", "abs"])
def test_limits_are_the_kernels(name):
    """Σ and Θ of nearly parallel points keep the digits that the corrections lose."""
    rng = np.random.default_rng(7)
    x, step = rng.normal(size=(2, 4))
    points = np.array([x, x + 1e-8 * step])
    net = kc.MLP(name, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        found = kc.finite_width(net, points)
    known = net.kernels(points, only=("sigma", "theta"), dps=30)
    for kernel in ("sigma", "theta"):
        exact = known[kernel].astype(float)
        assert np.abs(found.array(f"{kernel}_limit") - exact).max() < 1e-14 * exact.max()
