"""Closed forms of waves, whose exponents may nearly cancel, and of kinks, smoothed or not."""

import mpmath
import numpy as np
import pytest
import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.gaussian.floats.closed import Product, SharedPairs, expected, never_cancels
from kernelcalc.gaussian.floats.kinds import Term, recognise


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


def kinked(names, q, qp, c):
    """E[f(a) g(b)] by the angle between a and b: Cho and Saul for relu, and by a → −a, b → −b for the others."""
    r = mpmath.sqrt(q * qp - c * c)
    angle, root = mpmath.atan2(r, c), mpmath.sqrt(2 * mpmath.pi)
    cases = {
        ("relu", "relu"): (r + (mpmath.pi - angle) * c) / (2 * mpmath.pi),
        ("step", "step"): (mpmath.pi - angle) / (2 * mpmath.pi),
        ("abs", "abs"): (r + (mpmath.pi / 2 - angle) * c) * 2 / mpmath.pi,
        ("sign", "sign"): 1 - 2 * angle / mpmath.pi,
        ("relu", "step"): (mpmath.sqrt(q * qp) + c) / (2 * root * mpmath.sqrt(qp)),
        ("relu", "sign"): c / (root * mpmath.sqrt(qp)),
        ("abs", "step"): mpmath.sqrt(q) / root,
        ("abs", "sign"): mpmath.mpf(0),
        ("relu", "abs"): (r + (mpmath.pi / 2 - angle) * c) / mpmath.pi,
        ("sign", "step"): mpmath.mpf(1) / 2 - angle / mpmath.pi,
    }
    return cases[names]


KINKED = {"relu": "Max(0, x)", "step": "Heaviside(x)", "abs": "Abs(x)", "sign": "sign(x)"}


@pytest.mark.parametrize("g", KINKED)
@pytest.mark.parametrize("f", KINKED)
def test_kinks(f, g):
    rng = np.random.default_rng(1)
    q, qp = 10 ** rng.uniform(-3, 3, (2, 40))
    rho = np.concatenate(
        [np.linspace(-0.999, 0.999, 16), -1 + 10 ** np.linspace(-12, -1, 12), 1 - 10 ** np.linspace(-12, -1, 12)]
    )
    c = rho * np.sqrt(q * qp)
    found = gaussian_expectation(Activation(KINKED[f]), Activation(KINKED[g]), q, qp, c, full_output=True)
    assert set(np.ravel(found.method).tolist()) == {"exact"}
    with mpmath.workdps(50):
        for i in range(40):
            a, b, ab = (mpmath.mpf(float(v)) for v in (q[i], qp[i], c[i]))
            # the table has each pair once
            try:
                wanted = kinked((f, g), a, b, ab)
            except KeyError:
                wanted = kinked((g, f), b, a, ab)
            error = abs(mpmath.mpf(float(found.value[i])) - wanted)
            assert error <= float(found.error[i])
            assert found.error[i] < 1e-12 * max(1, q[i]) * max(1, qp[i])


@pytest.mark.parametrize("second", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("first", [0, 1, 2, 3, 4])
def test_smoothed_kinks_and_their_derivatives(first, second):
    """gelu and erf, of odd and even order, by Gauss–Hermite in both variables: entire functions, 90 nodes each."""
    x, w = np.polynomial.hermite_e.hermegauss(90)
    w = np.outer(w, w) / (2 * np.pi)
    t = sp.Symbol("x", real=True)
    gelu, erf = t * (1 + sp.erf(t / sp.sqrt(2))) / 2, sp.erf(t / 2)
    for f, g in ((gelu, gelu), (gelu, erf), (erf, gelu), (erf, erf)):
        f, g = (Activation(sp.diff(one, t, order)) for one, order in ((f, first), (g, second)))
        for q, qp, c in ((0.7, 0.4, 0.3), (0.7, 0.4, -0.5), (0.3, 0.8, 0.0), (0.5, 0.5, 0.5), (0.5, 0.5, -0.5)):
            a = np.sqrt(q) * x[:, None]
            b = c / np.sqrt(q) * x[:, None] + np.sqrt(max(qp - c * c / q, 0.0)) * x
            found = gaussian_expectation(f, g, q, qp, c, full_output=True)
            # where a = ±b, an integral along a line may be better
            assert found.method in ("exact", "line") if q == qp == abs(c) else found.method == "exact"
            brute = np.sum(w * f(a + 0 * b) * g(b))
            assert found.value == pytest.approx(brute, rel=0, abs=1e-11)


@pytest.mark.parametrize(("r", "s"), [(1.0, 0.5), (0.7, -1.3), (-1.0, -2.0)])
def test_exponentials_and_waves(r, s):
    """E[e^{ra} e^{isb}] = e^{(r²q − s²q')/2 + irsc}, and its like."""
    q, qp, c = np.array([0.5, 2.0, 1.0]), np.array([1.5, 0.3, 1.0]), np.array([-0.6, 0.7, 1.0])
    exp = Activation(f"exp({r}*x)")
    size = np.exp((r * r * q - s * s * qp) / 2)
    both = np.exp((r * r * q + s * s * qp) / 2 + r * s * c)
    for g, wanted in (("exp", both), ("cos", size * np.cos(r * s * c)), ("sin", size * np.sin(r * s * c))):
        wave = Activation(f"{g}({s}*x)")
        for found in (gaussian_expectation(exp, wave, q, qp, c), gaussian_expectation(wave, exp, qp, q, c)):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)
    waves = np.exp(-(r * r * q + s * s * qp) / 2)
    for g, wanted in (("sin", waves * np.sinh(r * s * c)), ("cos", waves * np.cosh(r * s * c))):
        found = gaussian_expectation(Activation(f"{g}({r}*x)"), Activation(f"{g}({s}*x)"), q, qp, c)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_constants_and_points_without_variance():
    """E[(relu + 2)(step + 3)] term by term; a step at 0 is ½."""
    q, qp, c = 2.0, 0.5, 0.3
    found = gaussian_expectation(Activation("Max(0, x) + 2"), Activation("Heaviside(x) + 3"), q, qp, c)
    relu, mixed = np.sqrt(q / (2 * np.pi)), (np.sqrt(q * qp) + c) / (2 * np.sqrt(2 * np.pi * qp))
    assert found == pytest.approx(mixed + 3 * relu + 1 + 6, rel=1e-13)
    step = Activation("Heaviside(x)")
    np.testing.assert_allclose(
        gaussian_expectation(step, step, [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], 0.0), 0.25, rtol=1e-14
    )


def test_what_never_cancels():
    """One product of kinks or of waves does not, a sum may, a gate times x is a difference."""
    relu, wave, gate = ((Term(kind="R"), 1.0),), ((Term(kind="cos", rate=2.0), 1.0),), ((Term(1, "K", 1, 1.0), 1.0),)
    assert never_cancels(relu, relu)
    assert never_cancels(wave, wave)
    assert not never_cancels((*relu, (Term(), 2.0)), relu)
    assert not never_cancels(gate, gate)
    # no closed form
    assert not never_cancels(relu, wave)


@pytest.mark.parametrize("shape", [(3, 4), (60, 50)])
def test_a_product_is_kept_for_variances_of_every_size(shape):
    """Independent a and b: E[aΦ(a)] E[bΦ(b)] with E[aΦ(a)] = q/√(2π(1 + q)), whose form changes at q = 1."""
    gelu = recognise(Activation("x*(1 + erf(x/sqrt(2)))/2"))
    product, rng = Product(gelu, gelu), np.random.default_rng(0)
    for least in (3.0, 0.1, 0.9, 1.1, 0.01):
        q, qp = least + rng.random((shape[0], 1)), least + rng.random((1, shape[1]))
        cov = Covariance(q=q, qp=qp, c=np.zeros(shape), det=q * qp)
        mean, other = (v / np.sqrt(2 * np.pi * (1 + v)) for v in (q, qp))
        np.testing.assert_allclose(expected(product, SharedPairs(cov)).value, mean * other, rtol=1e-13)


@pytest.mark.parametrize(("weight", "good"), [(1.0, True), (-1e20, True), (1e90, False), (1e200, False)])
def test_what_is_bounded_is_good_without_a_look_but_for_huge_weights(weight, good):
    """Of 1e200 sin(x) times itself infinity is found out; of 1e90 it might be one, and all are looked at."""
    q = np.linspace(0.5, 1.5, 3000)
    shared = SharedPairs(Covariance(q=q, qp=q, c=0.1 * q, det=0.99 * q**2))
    f = {Term(kind="sin", rate=1.0): weight}
    with np.errstate(over="ignore"):
        found = expected(Product(f, f), shared)
    assert found.relative <= 1e-11
    assert found.surely(1e-11) == bool(np.isfinite(found.value).all())
    found.value[:] = np.nan
    assert found.surely(1e-11) == good
