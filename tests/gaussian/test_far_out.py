"""Products whose squares are beyond float64 although their expectations are not."""

import mpmath
import pytest

import kernelcalc as kc
from kernelcalc.errors import DivergentExpectationError


@pytest.mark.parametrize("variance", [500, 700, 950, 1000, 1100, 1300])
def test_squares_beyond_float64(variance):
    """E|a| e^b = √(2/π) e^(v/2) for independent a of variance 1 and b of variance v."""
    found = kc.gaussian_expectation("abs(x)", "exp(x)", 1.0, float(variance), 0.0, full_output=True)
    with mpmath.workdps(40):
        right = mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(mpmath.mpf(variance) / 2)
        assert abs(found.value / right - 1) < 1e-12
        assert abs(found.value - right) <= found.error


def test_what_diverges_is_still_refused():
    with pytest.raises(DivergentExpectationError):
        kc.gaussian_expectation("abs(x)", "exp(x^2)", 1.0, 1000.0, 0.0)


@pytest.mark.parametrize("z", [9.0, 9.6, 10.0, 11.5, 12.9, 13.0, 13.1, 20.0])
@pytest.mark.parametrize("text", ["step(x-3)", "relu(x-3)", "max(tanh(x-3),0)", "tanh(x)*step(x-3)"])
def test_tails_behind_kinks_some_ten_deviations_out(text, z):
    """E δ(a − 1) g(b) = φ(1) E g for independent b whose kink lies z deviations out: the tail behind it is all there is."""
    inside = {
        "step(x-3)": lambda b: 1,
        "relu(x-3)": lambda b: b - 3,
        "max(tanh(x-3),0)": lambda b: mpmath.tanh(b - 3),
        "tanh(x)*step(x-3)": mpmath.tanh,
    }[text]
    q = (3 / z) ** 2
    found = kc.gaussian_expectation(kc.Activation("step(x-1)").derivative(), text, 1.0, q, 0.0, full_output=True)
    with mpmath.workdps(25):
        std = mpmath.sqrt(mpmath.mpf(q))
        at = 3 / std
        right = mpmath.quad(
            lambda t: inside(std * (at + t)) * mpmath.exp(-at * t - t * t / 2), mpmath.linspace(0, 7, 15)
        )
        right *= mpmath.npdf(1) * mpmath.npdf(at)
    assert found.value == pytest.approx(float(right), rel=1e-10)
    assert abs(found.value - right) <= found.error


@pytest.mark.parametrize("rho", [0.9999, -1 + 1e-8])
def test_what_is_below_float64_is_zero_within_its_error(rho):
    """E δ(a − 1) step(b − 3) is below 10⁻⁴⁰⁰ there, and needs no warning."""
    delta = kc.Activation("step(x-1)").derivative()
    found = kc.gaussian_expectation(delta, "step(x-3)", 1.0, 1.0, rho, full_output=True)
    assert found.value == 0
    assert 0 < found.error < 1e-299
