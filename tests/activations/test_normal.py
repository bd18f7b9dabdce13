"""Constants of the normalised form: symmetry, moments by hand, and functions that once took minutes."""

import mpmath as mp
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.activations.normal import mean_and_variance
from kernelcalc.errors import InputError, PrecisionError

# mp.quad reaches these with steps at the kinks and features, at the working precision of the test.
FUNCTIONS = {
    "softplus": (lambda z: mp.log1p(mp.exp(z)), [-16, -4, 0, 4, 16]),
    "softsign": (lambda z: z / (1 + abs(z)), [-16, -4, -1, 0, 1, 4, 16]),
    "mish": (lambda z: z * mp.tanh(mp.log1p(mp.exp(z))), [-16, -4, -1, 1, 4, 16]),
    "gelu((3*x+1)*cosh(pi))": (lambda z: (t := (3 * z + 1) * mp.cosh(mp.pi)) * mp.ncdf(t), None),
    "min(2+1e3*x, 1+x^2)": (lambda z: min(2 + 1000 * z, 1 + z * z), None),
    "softplus(softplus(1e3*x))": (lambda z: mp.log1p(1 + mp.exp(1000 * z)), None),
    "tanh(1e4*(x-0.3))": (lambda z: mp.tanh(10000 * (z - mp.mpf(3) / 10)), None),
}
# Graded towards where those of 1e3 and 1e4 bend, and the kink of the minimum.
KINK = 500 - mp.sqrt(500**2 + 1)
CENTRES = {"min(2+1e3*x, 1+x^2)": KINK, "softplus(softplus(1e3*x))": 0, "tanh(1e4*(x-0.3))": mp.mpf("0.3")}


def graded(centre):
    steps = [mp.mpf(2) ** -k for k in range(-3, 18)]
    return sorted({-16, 16, centre, *(centre + s for s in steps), *(centre - s for s in steps)})


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if "gelu" in n else n for n in FUNCTIONS])
def test_mean_and_variance_by_quadrature(name):
    mean, variance = mean_and_variance(as_activation(name).form)
    function, points = FUNCTIONS[name]
    with mp.workdps(40):
        points = points or graded(CENTRES.get(name, -mp.mpf(1) / 3))
        first = mp.quad(lambda z: function(z) * mp.npdf(z), points)
        second = mp.quad(lambda z: function(z) ** 2 * mp.npdf(z), points)
        assert abs(mp.mpf(str(mean)) - first) < mp.mpf(10) ** -30 * mp.sqrt(second)
        assert abs(mp.mpf(str(variance)) - (second - first**2)) < mp.mpf(10) ** -30 * second


def test_closed_constants():
    with mp.workdps(60):
        # E √|Z| = 2^{1/4} Γ(3/4)/√π: a singular end.
        mean, variance = mean_and_variance(as_activation("sqrt(abs(x))").form)
        first = mp.mpf(2) ** 0.25 * mp.gamma(mp.mpf(3) / 4) / mp.sqrt(mp.pi)
        assert abs(mp.mpf(str(mean)) - first) < mp.mpf(10) ** -45
        assert abs(mp.mpf(str(variance)) - (mp.sqrt(2 / mp.pi) - first**2)) < mp.mpf(10) ** -45
        # E e^{Z+s} = e^{1/2+s}: read with 50 digits, because e^{1e-9} would be taken for the 10⁹-th power of a number.
        mean, variance = mean_and_variance(as_activation("exp(x+1e-9)").form)
        shift = mp.mpf(10) ** -9
        assert abs(mp.mpf(str(mean)) - mp.exp(mp.mpf(1) / 2 + shift)) < mp.mpf(10) ** -48
        assert abs(mp.mpf(str(variance)) - mp.expm1(1) * mp.exp(1 + 2 * shift)) < mp.mpf(10) ** -48
        # Var sin(30 Z) = (1 - e^{-1800})/2: exact constants with e^{900} take minutes
        mean, variance = mean_and_variance(as_activation("sin(30*x)").form)
        assert mean == 0
        assert abs(mp.mpf(str(variance)) - mp.mpf(1) / 2) < mp.mpf(10) ** -48
    exact = mean_and_variance(as_activation("sin(2*x)").form)[1]
    assert exact.atoms(sp.Float) == set()
    assert sp.simplify(exact - (1 - sp.exp(-8)) / 2) == 0
    assert mean_and_variance(kc.activation("gelu").form)[0] == 1 / (2 * sp.sqrt(sp.pi))
    # What symmetry makes zero is zero, not rounding.
    assert mean_and_variance(kc.activation("arctan").form)[0] == 0


def test_a_small_function_has_relative_digits():
    large, small = (mean_and_variance(as_activation(f"{scale}*log(1+x**2)").form) for scale in ("1", "1e-30"))
    assert small[0] * 10**30 / large[0] - 1 == pytest.approx(0, abs=1e-45)
    assert small[1] * 10**60 / large[1] - 1 == pytest.approx(0, abs=1e-45)


def test_refusals():
    with pytest.raises(InputError, match="distribution"):
        mean_and_variance(kc.activation("relu").derivative(2).form)
    with pytest.raises(PrecisionError, match="too fast"):
        as_activation("sin(1e6*x)*tanh(x)").normalized()
    with pytest.raises(PrecisionError, match="too fast"):
        as_activation("exp(tanh(x)+0.26*x**2)").normalized()
