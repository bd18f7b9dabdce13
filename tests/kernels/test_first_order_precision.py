"""First order in 1/n at large variances: behind a linear layer the covariance of the next one is a Wishart matrix, exactly."""

from __future__ import annotations

import re
import warnings

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.names import activation
from kernelcalc.errors import PrecisionWarning
from kernelcalc.gaussian.estimate import Estimate
from kernelcalc.kernels.first_order.finite_width import finite_width
from kernelcalc.kernels.first_order.means import derivative_mean
from kernelcalc.kernels.first_order.numbers import FloatExpectations, Rounding

BETA = 0.1


def _gelu(q, qp, c):
    """E[x Φ(x) x' Φ(x')] by Stein's lemma, Φ(x) the probability of x + ξ > 0."""
    wide, wide_p = 1 + q, 1 + qp
    root = mp.sqrt(wide * wide_p - c * c)
    both = c * (mp.mpf(1) / 4 + mp.asin(c / mp.sqrt(wide * wide_p)) / (2 * mp.pi))
    return both + (q * qp + c * c - c * c * (q / wide + qp / wide_p)) / (2 * mp.pi * root)


FORMS = {
    "gelu": _gelu,
    "erf": lambda q, qp, c: 2 / mp.pi * mp.asin(2 * c / mp.sqrt((1 + 2 * q) * (1 + 2 * qp))),
    "sin": lambda q, qp, c: mp.exp(-(q + qp) / 2) * mp.sinh(c),
}


def _right(form, points, a, b):
    """Σ¹ = ½ Σ_uv ∂²E[σσ']/∂u∂v n Cov(u, v), n Cov(Q_ab, Q_cd) = k_ac k_bd + k_ad k_bc: Taylor to second order in q, q', c."""
    k = [[mp.fdot(x, y) / 2 + mp.mpf(BETA) ** 2 for y in points] for x in points]
    ends = (a, a), (b, b), (a, b)
    at = tuple(k[i][j] + mp.mpf(BETA) ** 2 for i, j in ends)
    if a == b:
        return mp.diff(lambda q: form(q, q, q), at[0], 2) * k[a][a] ** 2
    total = mp.mpf(0)
    for u, (i, j) in enumerate(ends):
        for v, (m, n) in enumerate(ends):
            order = tuple((u == w) + (v == w) for w in range(3))
            total += mp.diff(form, at, order) * (k[i][m] * k[j][n] + k[i][n] * k[j][m]) / 2
    return total


@pytest.mark.parametrize(
    ("name", "size", "warned"),
    [
        ("erf", 4, False),
        ("erf", 100, False),
        ("erf", 1e4, False),
        ("erf", 1e6, True),
        ("gelu", 100, True),
        ("sin", 4, False),
    ],
)
def test_corrections_are_right_or_say_how_far_off(name, size, warned):
    points = size * np.array([[1.0, 0.3], [0.4, -0.9]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = finite_width(kc.MLP(["x", name], depth=3, sigma_w=1.0, beta=BETA), points).sigma
    messages = [str(one.message) for one in caught if one.category is PrecisionWarning]
    assert len(messages) == warned
    stated = float(re.search(r"up to (\S+) of", messages[0])[1]) if warned else 1e-10
    with mp.workdps(60):
        exact = [[mp.mpf(float(v)) for v in row] for row in points]
        right = np.array([[float(_right(FORMS[name], exact, a, b)) for b in (0, 1)] for a in (0, 1)])
    assert np.abs(found - right).max() < stated * np.abs(right).max()


def _powers_of_sech_square(times, powers):
    """The derivative of that even order of a polynomial in s = sech²: (sⁿ)'' = 4n² sⁿ − 2n(2n + 1) sⁿ⁺¹."""
    for _ in range(times // 2):
        later = dict.fromkeys((*powers, max(powers) + 1), 0)
        for n, weight in powers.items():
            later[n] += 4 * n * n * weight
            later[n + 1] -= 2 * n * (2 * n + 1) * weight
        powers = later
    return lambda z: mp.fsum(weight * mp.sech(z) ** (2 * n) for n, weight in powers.items())


# tanh² = 1 − s, tanh'² = s², tanh tanh'' = −2s + 2s²
@pytest.mark.parametrize(("orders", "powers"), [((0, 0), {1: -1}), ((1, 1), {2: 1}), ((0, 2), {1: -2, 2: 2})])
@pytest.mark.parametrize("derivative", [2, 4])
def test_means_of_derivatives_keep_their_digits(orders, powers, derivative):
    q = np.array([0.3, 30.0, 1e4, 1e8])
    found = derivative_mean(activation("tanh"), orders, derivative, q)
    with mp.workdps(50):
        f = _powers_of_sech_square(derivative, powers)
        # by the trapezoidal rule: poles are π/2 away, steps of 0.1 leave exp(−10 π²)
        steps = [mp.mpf(k) / 10 for k in range(-500, 501)]
        values = [f(z) / 10 for z in steps]
        right = [mp.fdot(values, [mp.npdf(z, 0, mp.sqrt(v)) for z in steps]) for v in q.tolist()]
    right = np.array([float(v) for v in right])
    assert (np.abs(found.value - right) <= np.minimum(found.error, 1e-11 * np.abs(right))).all()


# gelu² is x² far away, whose fourth derivative has no mean: what is left of the others is q times smaller than these
@pytest.mark.parametrize(("text", "lost"), [("gelu(1000*x)/1000", True), ("gelu", False), ("tanh(1000*x)", False)])
def test_lost_digits_are_looked_for_at_small_variances_too(text, lost):
    rounding, half, point = Rounding(), np.array([0.5]), np.array([0])
    FloatExpectations(activation(text), half, point, point, half, rounding)((0, 0), 4, (), 0)
    assert rounding.suspected == lost


@pytest.mark.parametrize("text", ["leaky_relu", "hard_tanh", "max(x, 0) + max(x - 1, 0)"])
@pytest.mark.parametrize("zero_first", [True, False])
def test_digits_of_a_point_beside_zero(text, zero_first):
    # without biases nothing of a zero row varies; the other point is what it is alone, in floats
    net, point = kc.MLP(text, depth=3, beta=0), [1.0, 0.5]
    precise = finite_width(net, [[0, 0], point] if zero_first else [point, [0, 0]], dps=16)
    alone = finite_width(net, [point])
    for name in ("sigma", "theta", "theta_variance"):
        found = np.array(getattr(precise, name), dtype=float)[:: -1 if zero_first else 1, :: -1 if zero_first else 1]
        assert found[0, 0] == pytest.approx(getattr(alone, name)[0, 0], rel=1e-10)
        assert found[0, 1] == found[1, 0] == found[1, 1] == 0


def test_what_rounding_sees_and_how_it_moves():
    value, error = np.array([2.0, 0.0, -4.0]), np.array([1e-3, 7.0, 8e-3])
    plain, moving = Rounding(), Rounding(np.random.default_rng(0))
    assert (plain.largest, plain.lost, plain.suspected) == (0.0, 0.0, False)
    for largest, suspected in ((99.0, False), (101.0, True)):
        plain.largest = largest
        assert plain.suspected == suspected
    plain.largest = 1.0
    np.testing.assert_array_equal(plain.seen(Estimate(value=value, error=error)), value)
    # relative to what is not 0
    assert plain.lost == pytest.approx(2e-3, rel=1e-15)
    assert plain.suspected
    moves = np.stack([(moving.seen(Estimate(value=value, error=error)) - value) / error for _ in range(40)])
    assert np.abs(moves) == pytest.approx(np.ones((40, 3)), rel=1e-9)
    assert (np.abs(moves.sum(axis=0)) < 25).all()
