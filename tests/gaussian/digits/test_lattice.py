"""The lattice against enclosures with more digits, closed forms and itself at other settings."""

import mpmath as mp
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import PrecisionError
from kernelcalc.expressions.exact import evaluate
from kernelcalc.gaussian.digits import lattice
from kernelcalc.gaussian.digits.fixed_point import fixed, fourier, gaussian_weights, number
from kernelcalc.gaussian.digits.lattice import lattice_expectations

ORDERS = ((0, 0), (1, 1), (2, 2), (2, 0), (0, 2), (3, 1), (1, 3))


def layer(name, q, qp, c, dps, pairs=ORDERS):
    act = kc.activation(name)
    expressions = tuple(act.derivative(k).form.pieces[0] for k in range(4))
    with mp.workdps(dps + 20):
        return lattice_expectations(expressions, expressions, mp.mpf(q), mp.mpf(qp), mp.mpf(c), pairs, dps)


@pytest.mark.parametrize(
    ("name", "q", "qp", "c"),
    [
        ("tanh", 1, 2, 0.5),
        ("tanh", 4, 2, -1),
        ("softplus", 1, 1, 1),
        ("silu", 0.001, 0.002, 0.0005),
        ("arctan", 1, 1, 1),
        ("sigmoid", 2, 2, -2),
        ("mish", 1, 2, 0.5),
    ],
)
def test_fifty_digits_of_all_orders_against_enclosures_with_sixty(name, q, qp, c):
    pytest.importorskip("flint")
    act = kc.activation(name)
    values = layer(name, q, qp, c, 50)
    for i, j in ((0, 0), (3, 1)):
        value = values[i, j]
        ball = kc.gaussian_expectation(act.derivative(i), act.derivative(j), q, qp, c, certified=True, dps=60)
        with mp.workdps(100):
            middle = mp.mpf(ball.mid().str(90, radius=False))
            assert abs(value - middle) < abs(middle) * mp.mpf(10) ** -50, (i, j)


@pytest.mark.parametrize("rho", ["0", "1e-30", "0.2", "0.31", "-0.9", "0.99999999999", "-1", "1"])
def test_closed_forms_at_every_correlation(rho):
    """Functions of the exact algebra through the lattice: all branches of the rule."""
    with mp.workdps(80):
        q, qp = mp.mpf("0.7"), mp.mpf("0.7")
        c = mp.mpf(rho) * q
        for name in ("gelu", "erf"):
            act = kc.activation(name)
            for (i, j), value in layer(name, q, qp, c, 40).items():
                exact = evaluate(act.expr, act.expr, q, qp, c, 50, orders=(i, j))
                assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -40, (name, i, j)


def test_more_digits():
    """E[sech² a] at q = 1 by the trapezoidal rule in plain mpmath numbers."""
    value = layer("tanh", 1, 1, 1, 120, ((1, 1),))[1, 1]
    with mp.workdps(140):
        h = mp.mpf(1) / 60
        exact = h * mp.fsum(mp.sech(k * h) ** 4 * mp.npdf(k * h) for k in range(-1600, 1601))
        assert abs(value - exact) < mp.mpf(10) ** -120


def test_fast_growth_wants_a_wider_box():
    """E[e^{a²/8} sinh(3a) e^{b²/8} sinh(3b)] at q = q' = c = 1: a tilted Gaussian of variance 2."""
    x = lattice.x
    grows = (sp.exp(x**2 / 8) * sp.sinh(3 * x),)
    with mp.workdps(60):
        value = lattice_expectations(grows, grows, mp.mpf(1), mp.mpf(1), mp.mpf(1), [(0, 0)], 40)[0, 0]
        # E[e^{Z²/4} sinh² 3Z] = √2 E[sinh²(3√2 Z)] = √2 (e^{36} − 1)/2.
        exact = mp.sqrt(2) * (mp.exp(36) - 1) / 2
        assert abs(value - exact) < exact * mp.mpf(10) ** -40


def test_digits_that_cancel_are_made_up():
    """E[x² x³ + tiny] with odd and even parts fifteen decades apart."""
    x = lattice.x
    f, g = (sp.tanh(x) + sp.Rational(1, 10**30),), (sp.sech(x),)
    with mp.workdps(80):
        value = lattice_expectations(f, g, mp.mpf(1), mp.mpf(1), mp.mpf("0.5"), [(0, 0)], 40)[0, 0]
        mean = lattice_expectations((sp.S.One,), g, mp.mpf(1), mp.mpf(1), mp.mpf("0.5"), [(0, 0)], 50)[0, 0]
        assert abs(value * 10**30 - mean) < mean * mp.mpf(10) ** -39
        odd = lattice_expectations((sp.tanh(x),), g, mp.mpf(1), mp.mpf(1), mp.mpf("0.5"), [(0, 0)], 40)[0, 0]
        assert odd == 0


def test_values_serve_every_covariance_of_a_variance(monkeypatch):
    lattice._samples.cache_clear()
    calls = []
    together = lattice._together

    def counted(expressions):
        inner = together(expressions)
        return lambda at: calls.append(1) or inner(at)

    monkeypatch.setattr(lattice, "_together", counted)
    layer("tanh", 1, 1, 1, 30)
    once = len(calls)
    layer("tanh", 1, 1, 0.25, 30)
    layer("tanh", 1, 1, -0.9375, 30)
    assert len(calls) <= 2 * once
    lattice._samples.cache_clear()


def test_lattice_that_is_too_coarse_is_refused(monkeypatch):
    monkeypatch.setattr(lattice, "MAX_POINTS", 2**8)
    with pytest.raises(PrecisionError, match="lattice points"):
        layer("tanh", 400, 400, 100, 30)


def test_fixed_point_transform_and_weights():
    import numpy as np

    rng = np.random.default_rng(3)
    z = rng.normal(size=16) + 1j * rng.normal(size=16)
    real, imag = (np.array([fixed(mp.mpf(float(v)), 80) for v in part], dtype=object) for part in (z.real, z.imag))
    x, y = fourier(real, imag, 80)
    got = np.array([complex(number(a, 80), number(b, 80)) for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(got, np.fft.fft(z), rtol=1e-14, atol=1e-14)
    with mp.workdps(40):
        weights = gaussian_weights(mp.mpf("0.01"), 60, 120)
        assert abs(number(weights[59], 120) - mp.exp(-mp.mpf("0.01") * 59**2)) < mp.mpf(2) ** -115
