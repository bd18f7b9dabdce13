"""Kinks at zeros that no formula gives, and kinks without end."""

import math
import pickle

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.crossings import Crossing, crossings
from kernelcalc.errors import ExpressionError, SmoothnessError
from kernelcalc.expressions.atoms import x

# tanh x = x/2
MEETS = mp.findroot(lambda z: mp.tanh(z) - z / 2, 1.9)
NARROW = mp.findroot(lambda z: mp.tanh(1000 * (z - 1)) - z / 2, (1.0001, 1.002), solver="anderson")


def test_zeros_have_as_many_digits_as_are_asked_for():
    (place,) = (at for at in crossings(sp.exp(x) - x - 2)[0] if at > 0)
    with mp.workdps(130):
        exact = mp.findroot(lambda z: mp.exp(z) - z - 2, 1.1)
        for digits in (15, 50, 120):
            assert abs(mp.mpf(str(sp.N(place, digits))) - exact) < mp.mpf(10) ** (1 - digits)
    assert place == pickle.loads(pickle.dumps(place))
    assert place != -place
    assert place.is_positive
    assert not place.is_zero


@pytest.mark.parametrize(
    ("switch", "zeros"),
    [
        (sp.tanh(x) - x / 2, [-float(MEETS), 0.0, float(MEETS)]),
        (x - sp.sin(x), [0.0]),
        (sp.cosh(x) - 1 - x**2 / 2 - x**4 / 24, []),
        (sp.tanh(1000 * (x - 1)) - x / 2, [-2.0, float(NARROW), 2.0]),
    ],
)
def test_changes_of_sign(switch, zeros):
    """A triple zero, of which float64 sees a stretch, and one that touches only; two in a narrow feature."""
    places, reach = crossings(switch)
    assert sorted(map(float, places)) == pytest.approx(zeros, abs=1e-15)
    assert reach == math.inf


def test_signs_that_rounding_turns(monkeypatch):
    """Hundreds of changes beside 0, none of which is one, hide no zero further out."""
    signs = np.random.default_rng(0)

    def rounded(expr):
        function = sp.lambdify(x, expr, "numpy")
        return lambda at: np.where(np.abs(at) < 1e-3, signs.choice([-1.0, 1.0], np.shape(at)), function(at))

    monkeypatch.setattr("kernelcalc.activations.crossings.compiled", rounded)
    places, reach = crossings(x**2 - 9)
    assert sorted(map(float, places)) == pytest.approx([-3, 3], rel=1e-15)
    assert reach == math.inf


def test_values_and_kinks():
    act = kc.Activation("max(tanh(x), x/2)")
    assert act.kinks == pytest.approx((-float(MEETS), 0.0, float(MEETS)), rel=1e-15)
    assert act.smoothness == 0
    assert any(isinstance(at, Crossing) for at in act.form.breaks)
    at = np.linspace(-5, 5, 1001)
    assert np.array_equal(act(at), np.maximum(np.tanh(at), at / 2))


@pytest.mark.parametrize("dps", [None, 30])
@pytest.mark.parametrize("q", [0.3, 1.0, 9.0])
def test_mean_of_two_branches(q, dps):
    """E max(tanh a, a/2) = E |tanh a − a/2|/2, twice the integral from 0 to the zero and beyond."""
    with mp.workdps(40):
        zero, std = mp.findroot(lambda z: mp.tanh(z) - z / 2, 1.9), mp.sqrt(mp.mpf(q))
        edges = [0, zero / 2, zero, *(zero + k * std for k in (1, 3, 6, 10, 16))]
        exact = mp.quad(lambda z: abs(mp.tanh(z) - z / 2) * mp.npdf(z, 0, std), edges)
        found = kc.gaussian_expectation("max(tanh(x), x/2)", "1", q, 1.0, 0.0, full_output=True, dps=dps)
        assert abs(found.value - exact) <= (found.error if dps is None else mp.mpf(10) ** -29 * exact)
        assert found.error < 1e-13


@pytest.mark.parametrize(
    ("text", "call", "switch", "start"),
    [
        ("min(exp(x), 2+cos(x))", lambda z: min(mp.exp(z), 2 + mp.cos(z)), lambda z: mp.exp(z) - 2 - mp.cos(z), 0.9),
        ("abs(x-cos(x))*exp(-x^2)", lambda z: abs(z - mp.cos(z)) * mp.exp(-z * z), lambda z: z - mp.cos(z), 0.7),
        ("relu(exp(x)-x-2)", lambda z: max(0, mp.exp(z) - z - 2), lambda z: mp.exp(z) - z - 2, 1.1),
    ],
)
def test_means_of_other_kinks(text, call, switch, start):
    """Branches that differ by e^20 far out; a zero on one side only; two zeros."""
    edges = sorted({mp.findroot(switch, start), mp.findroot(switch, -1.8) if "relu" in text else 0})
    exact = mp.quad(lambda z: call(z) * mp.npdf(z, 0, 2), [-24, -12, -6, -3, *edges, 3, 6, 12, 24])
    found = kc.gaussian_expectation(text, "1", 4.0, 1.0, 0.0, full_output=True)
    assert abs(found.value - exact) <= found.error + 1e-15 * abs(exact)
    assert found.error < 1e-11


def rectified_wave(q, qp, c):
    """E relu(sin a) relu(sin b) by the Fourier series 1/π + sin(x)/2 − (2/π) Σ cos(2kx)/(4k² − 1)."""
    k = np.arange(1.0, 400.0)
    row, column = (np.exp(-2 * k**2 * v) / (4 * k**2 - 1) for v in (q, qp))
    total = 1 / np.pi**2 - 2 / np.pi**2 * (row.sum() + column.sum())
    total += (np.exp(-((np.sqrt(q) - np.sqrt(qp)) ** 2) / 2 - (np.sqrt(q * qp) - c)) - np.exp(-(q + qp) / 2 - c)) / 8
    m, n = k[:, None], k[None, :]
    waves = (np.exp(-2 * (m**2 * q + n**2 * qp + s * 2 * m * n * c)) for s in (1, -1))
    return total + 4 / np.pi**2 * (sum(waves) / 2 / (4 * m**2 - 1) / (4 * n**2 - 1)).sum()


@pytest.mark.parametrize("cov", [(1.0, 1.0, 1.0), (1.0, 2.0, 0.7), (9.0, 4.0, -5.9), (0.04, 3.0, 0.1)])
def test_kinks_without_end(cov):
    found = kc.gaussian_expectation("relu(sin(x))", "relu(sin(x))", *cov, full_output=True)
    # of the series itself, whose terms fall as k^-4 where |ρ| = 1
    rounding = 1e-9 if cov[0] * cov[1] == cov[2] ** 2 else 1e-14
    assert abs(found.value - rectified_wave(*cov)) <= found.error + rounding
    assert found.error < 1e-12


def test_kinks_far_out_are_seen_by_their_values():
    """Beyond 64 kinks, at q = 1000: E relu(sin a) = 1/π − (2/3π) e^{−2q} − …"""
    found = kc.gaussian_expectation("relu(sin(x))", "1", 1000.0, 1.0, 0.0, full_output=True)
    assert abs(found.value - 1 / math.pi) <= found.error < 1e-10


def test_the_derivative_of_kinks_without_end():
    """E cos² a step(sin a) = (1 + e^{−2q})/4, by x → −x; the delta functions are refused."""
    act = kc.Activation("relu(sin(x))")
    found = kc.gaussian_expectation(act.derivative(1), act.derivative(1), 2.0, 2.0, 2.0)
    assert found == pytest.approx((1 + math.exp(-4)) / 4, rel=1e-12)
    with pytest.raises(SmoothnessError, match="without end"):
        act.derivative(2)


def test_values_with_many_kinks():
    act = kc.Activation("sign(sin(3*x))")
    at = np.concatenate([np.linspace(-200, 200, 30001), [0.0]])
    assert np.array_equal(act(at), np.sign(np.sin(3 * at)))
    assert len(act.kinks) > 60


@pytest.mark.parametrize("text", ["relu(sin(1000*x))", "sign(sin(exp(x)*5000))"])
def test_kinks_that_no_grid_resolves_are_refused(text):
    with pytest.raises(ExpressionError, match="kinks that can be located"):
        kc.Activation(text)


@pytest.mark.parametrize("scale", [-2, 1, 3])
def test_the_angle_of_a_real_number_is_a_step(scale):
    """π where it is negative: of digits, kinks and kernels a NaN at 0, or no end."""
    act = kc.Activation(sp.arg(scale * (x - 1)))
    assert act.kinks == (1.0,)
    assert act(np.array([0.0, 2.0])).tolist() == ([np.pi, 0.0] if scale > 0 else [0.0, np.pi])
    assert kc.Activation(sp.arg(1 + sp.I * x))(1.0) == pytest.approx(np.pi / 4)
