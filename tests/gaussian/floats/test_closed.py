"""Closed forms of sines and cosines where their exponents are large and nearly cancel."""

import mpmath
import numpy as np
import pytest

from kernelcalc.activations.activation import Activation
from kernelcalc.gaussian.expectation import gaussian_expectation


def exact(kind, r, s, q, qp, c):
    """E[f(ra) f(sb)] = e^{-(r²q + s²q')/2} sinh or cosh of rsc, f: sin or cos."""
    with mpmath.workdps(60):
        q, qp, c = (mpmath.mpf(float(v)) for v in (q, qp, c))
        wave = mpmath.sinh if kind == "sin" else mpmath.cosh
        return mpmath.exp(-(r * r * q + s * s * qp) / 2) * wave(r * s * c)


@pytest.mark.parametrize("kind", ["sin", "cos"])
@pytest.mark.parametrize(("r", "s"), [(1, 1), (30, 30), (30, -30), (1, 2)])
def test_waves(kind, r, s):
    rng = np.random.default_rng(0)
    q = 10 ** rng.uniform(-6, 6, 60)
    qp = np.where(rng.random(60) < 0.5, q, q * 10 ** rng.uniform(-0.3, 0.3, 60))
    rho = np.where(rng.random(60) < 0.5, 1 - 10 ** rng.uniform(-14, -1, 60), rng.uniform(-1, 1, 60))
    c = np.where(np.arange(60) % 4 == 0, np.minimum(q, qp), rho * np.sqrt(q * qp) * (1 - 1e-15))
    f, g = Activation(f"{kind}({r}*x)"), Activation(f"{kind}({s}*x)")
    found = gaussian_expectation(f, g, q, qp, c, full_output=True)
    with mpmath.workdps(60):
        for i in range(60):
            error = abs(mpmath.mpf(float(found.value[i])) - exact(kind, r, s, q[i], qp[i], c[i]))
            assert error <= float(found.error[i]) + 1e-300
            # relative to E|fg| ≤ 1
            assert found.error[i] < 1e-11


def test_equal_points_need_no_quadrature():
    f, q = Activation("sin(30*x)"), np.geomspace(1e-8, 1e8, 200)
    found = gaussian_expectation(f, f, q, q, q, full_output=True)
    assert set(np.ravel(found.method).tolist()) == {"exact"}
    np.testing.assert_allclose(found.value, -np.expm1(-1800 * q) / 2, rtol=1e-14)
    assert (found.error <= 1e-13 * found.value).all()
