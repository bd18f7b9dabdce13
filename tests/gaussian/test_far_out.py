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
