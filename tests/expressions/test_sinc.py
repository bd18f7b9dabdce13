"""sinc and its derivatives, in floats, digits and SymPy, against integrals by mpmath."""

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import ExpressionError
from kernelcalc.expressions.sinc import Sinc, sinc_digits, sinc_floats
from kernelcalc.expressions.tree import from_tree, to_tree

PLACES = np.array([-40.3, -1.0, -0.3, 0.0, 1e-9, 0.2, 1.0, 1.43, 3.0, 7.77])
V = sp.Symbol("v", real=True)


def integral(v: float, n: int) -> mp.mpf:
    """π^n ∫_0^1 t^n cos(πvt + nπ/2) dt, panel by panel."""
    ends = mp.linspace(0, 1, int(abs(v)) + 3)
    return mp.pi**n * mp.quad(lambda t: t**n * mp.cos(mp.pi * mp.mpf(v) * t + n * mp.pi / 2), ends)


@pytest.mark.parametrize("n", [0, 1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 5)), 8])
def test_derivatives_against_their_integral(n):
    floats = sinc_floats(PLACES, n)
    with mp.workdps(45):
        for v, found in zip(PLACES, floats, strict=True):
            right = integral(float(v), n)
            assert abs(found - right) < 1e-15 * mp.pi**n
            assert abs(sinc_digits(mp.mpf(v), n) - right) < mp.mpf(10) ** -42 * mp.pi**n


def test_it_is_numpys_sinc():
    np.testing.assert_allclose(kc.activation("sinc")(PLACES), np.sinc(PLACES), rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(kc.Activation("x*sinc(2*x + 1)")(PLACES), PLACES * np.sinc(2 * PLACES + 1), atol=1e-15)


def test_complex_places():
    with mp.workdps(30):
        for z in (mp.mpc("0.2", "0.1"), mp.mpc(3, -2)):
            assert abs(sinc_digits(z, 0) - mp.sin(mp.pi * z) / (mp.pi * z)) < mp.mpf(10) ** -27


def test_as_an_expression():
    third = Sinc(V, 0).diff(V, 3)
    assert third == Sinc(V, 3)
    # sin(πv)/(πv) = 1 − (πv)²/6 + (πv)⁴/120 − ...
    assert [Sinc(V, 0).diff(V, k).subs(V, 0) for k in range(5)] == [1, 0, -(sp.pi**2) / 3, 0, sp.pi**4 / 5]
    assert sp.N(Sinc(sp.Rational(1, 3), 0), 30) == sp.N(3 * sp.sqrt(3) / (2 * sp.pi), 30)
    assert str(Sinc(V, 0)) == "sinc(v)"
    assert sp.latex(Sinc(V, 2) ** 2) == r"\left(\operatorname{sinc}^{\left(2\right)}{\left(v \right)}\right)^{2}"
    act = kc.Activation("sinc(x/2)")
    assert from_tree(to_tree(act.expr)) == act.expr == kc.Activation(str(act.expr)).expr
    # SymPy's own is sin(u)/u
    np.testing.assert_allclose(kc.Activation(sp.sinc(V))(PLACES), np.sinc(PLACES / np.pi), atol=1e-15)


def test_expectations_have_their_stated_error():
    """E sinc(a) sinc(b) = ∫∫_[0,1]² E cos(πsa) cos(πtb) ds dt."""
    q, qp, c = 1.3, 0.7, 0.4

    def cosines(s, t):
        up = mp.exp(-(mp.pi**2) * (s * s * q + t * t * qp + 2 * s * t * c) / 2)
        return (up + mp.exp(-(mp.pi**2) * (s * s * q + t * t * qp - 2 * s * t * c) / 2)) / 2

    right = float(mp.quad(cosines, [0, 0.5, 1], [0, 0.5, 1]))
    found = kc.gaussian_expectation("sinc", "sinc", q, qp, c, full_output=True)
    assert abs(found.value - right) < max(found.error, 1e-14)
    assert found.error < 1e-11 * right
    assert float(kc.gaussian_expectation("sinc", "sinc", q, qp, c, dps=25)) == pytest.approx(right, rel=1e-14)


def test_all_kernels_in_floats_and_digits():
    points = np.array([[1.0, -0.5], [0.3, 0.8]])
    net = kc.MLP("sinc", depth=2, sigma_w=1.3)
    digits = net.kernels(points, dps=25)
    floats = net.kernels(points)
    for name in floats:
        # the second derivatives, of size π², cancel in some
        np.testing.assert_allclose(floats[name], digits[name].astype(float), rtol=1e-11)
    assert set(floats) == {"sigma", "theta", "phi", "lam", "upsilon", "xi"}


@pytest.mark.parametrize("text", ["x*x/sinc(10)", "x/sinc(-3)", "tanh(x)/sinc(6/2)", "erf(1/sinc(sqrt(4)) + x)"])
def test_its_zeros_are_no_denominators(text):
    """sin(πn) is 0 for whole n; a rounded one of 1e-39 would make the quotient finite."""
    with pytest.raises(ExpressionError, match=r"zero|finite"):
        kc.Activation(text)


def test_its_zeros_are_zeros():
    assert [Sinc(sp.Integer(n), 0) for n in (-2, 1, 7)] == [0, 0, 0]
    # d/dv sin(πv)/(πv) at a whole number is cos(πn)/n
    assert sp.N(Sinc(sp.Integer(3), 1), 30) == -sp.N(sp.Rational(1, 3), 30)
    np.testing.assert_allclose(kc.Activation("sinc(2)*exp(x) + tanh(x)")(PLACES), np.tanh(PLACES), rtol=1e-12)
