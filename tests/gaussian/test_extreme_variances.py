"""Variances far from 1: features a tiny fraction of the Gaussian's width, derivatives whose means nearly vanish, raw pixels."""

import math
import warnings
from functools import lru_cache

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats import layer, nested
from kernelcalc.gaussian.floats.norms import NORM_EXPONENTS, least_norms, lower_norms
from kernelcalc.gaussian.floats.series import _separate
from kernelcalc.gaussian.floats.taylor import taylor_coefficients
from kernelcalc.kernels.state import KERNEL_NAMES

HUGE = (1e16, 1e24, 1e40, 1e100, 1e140)


def expectation(f, g, q, qp, rho):
    c = rho * math.sqrt(q) * math.sqrt(qp)
    return kc.gaussian_expectation(f, g, q, qp, c, full_output=True)


def judge(result, exact, rel=1e-12):
    error = abs(result.value - exact)
    assert error <= rel * abs(exact)
    # Asymptotic values are good to rounding themselves.
    assert error <= result.error + 8e-16 * abs(exact)


# Functions of width 1 under a Gaussian of width √q: what is left of the density is its value at 0 --------------------------


@pytest.mark.parametrize("q", HUGE)
@pytest.mark.parametrize("sign", [1, -1])
def test_narrow_features_on_the_line(q, sign):
    """∫ sech⁴ = 4/3, ∫ sech² (x − 30) tanh(x) = 2, ∫ σ'² = 1/6, with corrections of order 1/q."""
    density = 1 / math.sqrt(2 * math.pi * q)
    tanh, sigmoid = kc.activation("tanh"), kc.activation("sigmoid")
    judge(expectation(tanh.derivative(1), tanh.derivative(1), q, q, sign), 4 / 3 * density)
    judge(expectation(sigmoid.derivative(1), sigmoid.derivative(1), q, q, sign), density / 6)
    if q >= 1e24:
        away = kc.Activation("tanh(x - 30)").derivative(1)
        judge(expectation(away, tanh, q, q, 1), 2 * density)


@pytest.mark.parametrize(
    ("q", "rho"),
    [
        *((q, 0.5) for q in HUGE[1:]),
        *((q, -0.99) for q in HUGE[1:3]),
        *(pytest.param(q, -0.99, marks=pytest.mark.long) for q in HUGE[3:]),
        *(pytest.param(q, 0.0, marks=pytest.mark.long) for q in HUGE[1:]),
    ],
)
def test_narrow_features_in_the_plane(q, rho):
    """E[tanh'(a) tanh'(b)] = 4/2π√det, E[tanh'(a) softplus(b)] = 2 φ_q(0) √(q'(1 − ρ²))/√2π."""
    first = kc.activation("tanh").derivative(1)
    judge(expectation(first, first, q, q / 4, rho), 4 / math.pi / (q * math.sqrt(1 - rho**2)))
    mean = math.sqrt(q * (1 - rho**2) / (2 * math.pi))
    judge(expectation(first, "softplus", q, q, rho), 2 / math.sqrt(2 * math.pi * q) * mean, rel=1e-11)
    if q <= 1e40:
        away = kc.Activation("tanh(x - 30)").derivative(1)
        judge(expectation(away, away, q, q, rho), 2 / math.pi / (q * math.sqrt(1 - rho**2)))


def test_one_huge_variance():
    """A feature of a over √q = 1e20 beside b of variance 1e-10, independent: a product of two means."""
    tanh = kc.activation("tanh").derivative(1)
    other = float(kc.gaussian_expectation(tanh, "1+0*x", 1e-10, 1e-10, 0.0))
    judge(expectation(tanh, tanh, 1e40, 1e-10, 0.0), 2 / math.sqrt(2 * math.pi) * 1e-20 * other)


@pytest.mark.parametrize("size", [1e12, 1e20, 1e40])
def test_theta_of_huge_points(size):
    """Θ = β² + E[tanh tanh] + Σ E[tanh' tanh'], whose last term was lost when the peak was."""
    x = np.random.default_rng(4).normal(size=(3, 5)) * size
    gram = x @ x.T / 5 + 0.01
    q = np.diag(gram)
    det = np.outer(q, q) - gram**2 + np.diag(np.inf * q)
    first = 2 / np.pi / np.sqrt(det) + np.diag(4 / 3 / np.sqrt(2 * np.pi * q))
    rho = np.clip(gram / np.sqrt(np.outer(q, q)), -1, 1)
    theta = kc.MLP("tanh", 2, beta=0.1).kernels(x, only="theta").theta
    np.testing.assert_allclose(theta, 0.01 + 2 / np.pi * np.arcsin(rho) + gram * first, rtol=1e-11)


# Derivatives at large variances: ∫ tanh'' = ∫ tanh''' = 0, so E is far below E|fg| -----------------------------------------


@lru_cache
def moments(order):
    """∫ x^n tanh^{(order)}(x) dx: ∫ x^n sech² = 4 n! η(n)/2^n for even n, and by parts."""
    with mp.workdps(40):
        found = [2 * mp.factorial(n) * mp.altzeta(n) / mp.mpf(2) ** (n - 1) if n % 2 == 0 else 0 for n in range(40)]
        found = [mp.mpf(v) for v in found]
        for _ in range(order - 1):
            found = [mp.mpf(0)] + [-n * found[n - 1] for n in range(1, 40)]
        return found


def from_moments(i, j, q, qp, rho):
    """The density expanded in powers of a and b: exact to q^{−10}."""
    with mp.workdps(40):
        q, qp, rho = mp.mpf(q), mp.mpf(qp), mp.mpf(rho)
        rest = 1 - rho**2
        x, y, z = -1 / (2 * q * rest), -1 / (2 * qp * rest), rho / (mp.sqrt(q * qp) * rest)
        total = mp.fsum(
            x**k * y**m * z**n / (mp.factorial(k) * mp.factorial(m) * mp.factorial(n)) * moments(i)[2 * k + n]
            * moments(j)[2 * m + n]
            for k in range(11)
            for m in range(11 - k)
            for n in range(11 - k - m)
        )  # fmt: skip
        return float(total / (2 * mp.pi * mp.sqrt(q * qp * rest)))


@pytest.mark.parametrize("q", [1e4, 1e6, 1e8])
@pytest.mark.parametrize("orders", [(1, 1), (2, 2), (1, 3), (3, 3)])
def test_derivatives_keep_their_digits_at_large_variances(q, orders):
    act = kc.activation("tanh")
    for rho in (0.2, -0.7, 0.95):
        result = expectation(*(act.derivative(k) for k in orders), q, 2 * q, rho)
        assert result.method == "series"
        judge(result, from_moments(*orders, q, 2 * q, rho), rel=1e-13)


def test_raw_pixels_go_through_the_series(monkeypatch):
    """Points with |x|² = 10⁴ n_0 and |ρ| < 0.98: no pair of different points needs quadrature."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 40)) * rng.uniform(60, 140, size=(20, 1))
    lost = []
    one_by_one = layer.LayerExpectations._recompute

    def counted(self, order, cov, bad):
        lost.append(np.count_nonzero(bad & (np.abs(cov.rho) < 0.98)))
        return one_by_one(self, order, cov, bad)

    monkeypatch.setattr(layer.LayerExpectations, "_recompute", counted)
    kernels = kc.MLP("tanh", 2, beta=0.1).kernels(x)
    assert sum(lost) == 0
    gram = x @ x.T / 40 + 0.01
    for i, j in ((0, 1), (3, 9)):
        e11 = from_moments(1, 1, gram[i, i], gram[j, j], gram[i, j] / math.sqrt(gram[i, i] * gram[j, j]))
        assert kernels.theta[i, j] == pytest.approx(kernels.sigma[i, j] + gram[i, j] * e11, rel=1e-12)


def test_lower_norms_are_below():
    """Products of the norms against nested panels, for narrow functions at every allowed ρ."""
    act = kc.activation("tanh")
    for i, q in ((0, 0.1), (1, 1.0), (2, 30.0), (3, 1e4)):
        f, g = act.derivative(i), act.derivative(1)
        norms = lower_norms(f, np.array([q]))[0] * lower_norms(g, np.array([2 * q]))[0]
        for index, p in enumerate(NORM_EXPONENTS):
            rho = -(1 - p) if index % 2 else 1 - p
            cov = make_covariance([q], [2 * q], [rho * q * math.sqrt(2)])
            size = nested.nested(f, g, cov).magnitude[0]
            assert norms[index] <= size * (1 + 1e-9)
    # Where the functions are narrow, here at q = 10⁴, the bound is a good one: ρ = 63/64 against E|fg| at 1023/1024.
    assert norms[-2] > 0.01 * size


# Small variances: f_0 is of order q, the norm of order √q ------------------------------------------------------------------

NAMES = ("silu", "mish", "x*sigmoid(2*x)", "softplus", "tanh", "gelu")


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        *((name, 2) for name in NAMES if "*" not in name),
        ("tanh", 3),
        pytest.param("x*sigmoid(2*x)", 2, marks=pytest.mark.long),
        *(pytest.param(n, 3, marks=pytest.mark.long) for n in NAMES if n != "tanh"),
    ],
)
def test_kernels_of_small_points(name, depth):
    """All six kernels against 30 digits, relative to the largest entry, by the ways of few and of many points."""
    act = kc.Activation(name) if "*" in name else name
    net = kc.MLP(act, depth, beta=0.0)
    rng = np.random.default_rng(5)
    unit = rng.normal(size=(12, 3))
    unit *= math.sqrt(3) / np.linalg.norm(unit, axis=1, keepdims=True)
    unit[3] = unit[2] * (1 + 1e-7) + 1e-9 * unit[4]
    for size in (1e-3, 1e-5, 1e-8):
        few, many = net.kernels(size * unit[:2]), net.kernels(size * unit)
        for i, j in ((0, 0), (0, 1), (2, 3)):
            exact = net.kernels(size * unit[i : i + 1], size * unit[j : j + 1], dps=30)
            for kernel in KERNEL_NAMES:
                wanted, largest = float(getattr(exact, kernel)[0, 0]), np.abs(getattr(many, kernel)).max()
                assert abs(getattr(many, kernel)[i, j] - wanted) < 1e-12 * largest, (kernel, size, i, j)
                if j < 2:
                    assert abs(getattr(few, kernel)[i, j] - wanted) < 1e-12 * largest, (kernel, size, i, j)


@pytest.mark.parametrize("q", [1e-4, 1e-8, 1e-14])
def test_expansion_of_a_vanishing_mean(q):
    """E[silu''(a) silu(b)]: of order q, while E|fg| is of order √q. silu = x/2 + x²/4 − x⁴/48 + …"""
    act = kc.activation("silu")
    rho = -0.4
    result = kc.gaussian_expectation(act.derivative(2), act, q, q, rho * q, full_output=True)
    with mp.workdps(40):
        exact = sum(f * g * mp.mpf(rho) ** k for k, f, g in silu_terms(mp.mpf(q)))
    assert abs(result.value - float(exact)) <= 4e-15 * abs(float(exact))
    assert abs(result.value - float(exact)) <= result.error <= 1e-13 * abs(float(exact))


def silu_terms(q):
    """k, f_k of silu'' and of silu, k ≤ 6, from silu = x/2 + (x/2) tanh(x/2) and its power series."""
    series = [mp.mpf(0), mp.mpf(1) / 2] + [mp.mpf(0)] * 20
    for n in range(1, 11):
        tangent = mp.mpf(2) ** (2 * n) * (mp.mpf(2) ** (2 * n) - 1) * mp.bernoulli(2 * n) / mp.factorial(2 * n)
        series[2 * n] = tangent / mp.mpf(2) ** (2 * n)
    second = [(n + 1) * (n + 2) * series[n + 2] for n in range(20)]

    def coefficient(of, k):
        return mp.fsum(
            of[k + 2 * m] * mp.factorial(k + 2 * m) / (2**m * mp.factorial(m) * mp.sqrt(mp.factorial(k)))
            * q ** (mp.mpf(k) / 2 + m)
            for m in range((len(of) - 1 - k) // 2 + 1)
        )  # fmt: skip

    return [(k, coefficient(second, k), coefficient(series, k)) for k in range(7)]


@pytest.mark.parametrize(
    "text", ["tanh(x)", "tanh(20*x)", "tanh(2000*x)", "atan(x)", "exp(-100*(x-0.3)**2)", "tanh(x-1)"]
)
def test_expansions_are_used_only_where_they_converge(text):
    """Where the expansion calls itself converged it is what quadrature on panels gives; sharp functions get there later."""
    act = kc.Activation(text)
    q = 2.0 ** -np.arange(12, 28)
    expanded, converged = taylor_coefficients(act, q, 24)
    panels, energy, _ = _separate(act, np.sqrt(q), 32, 24)
    apart = np.linalg.norm(expanded - panels, axis=1) / np.sqrt(energy)
    assert (apart[converged] < 1e-14).all()
    assert converged.any() == (text not in ("tanh(2000*x)", "exp(-100*(x-0.3)**2)"))
    assert not expanded[~(q <= 2.0**-13)].any()


@pytest.mark.parametrize(
    ("text", "order", "covariance"),
    [
        ("x**2*erf(x)", (2, 2), (1e56, 1e56, 0.5e56)),
        ("x**3*erf(x)", (2, 2), (1e40, 1e40, 0.5e40)),
        ("x**2*exp(-x**2)", (0, 0), (1e68, 1e68, 0.5e68)),
        ("x**3*erf(x)", (0, 0), (1e72, 1.0, 0.5e36)),
        pytest.param("erf(x)", (2, 2), (4e129, 4e129, 2e129), marks=pytest.mark.long),
    ],
)
def test_powers_that_underflow_or_overflow_are_not_trusted(text, order, covariance):
    f, g = (kc.Activation(text).derivative(k) for k in order)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kc.errors.PrecisionWarning)
        found = kc.gaussian_expectation(f, g, *covariance, full_output=True)
    exact = kc.gaussian_expectation(f, g, *covariance, dps=30)
    assert abs(mp.mpf(float(found.value)) - exact) <= mp.mpf(float(found.error)) * (1 + 1e-9)


def test_a_bump_between_the_smallest_and_the_largest_variance_is_not_taken_for_parity():
    expectations = layer.LayerExpectations(
        kc.Activation("tanh(x)+exp(-50*(x-3)**2)"), *(2 * [np.array([1e-3, 1.0, 9.0, 2e33])]), ((0, 0),)
    )
    one = np.array([[9.0]])
    index = slice(2, 3)
    value = expectations.block(index, index, make_covariance(one, one, one / 2))[0, 0][0, 0]
    # nested quadrature with mpmath, 15 digits
    assert value == pytest.approx(0.321076, abs=1e-6)


@pytest.mark.parametrize(("text", "depth", "gap"), [("erf(100*x)", 4, 1e-4), ("erf(1000*x)", 3, 1e-5)])
def test_sharp_smooth_functions_of_nearly_parallel_points(text, depth, gap):
    x = np.array([[1, 0.3, -0.2]]) + gap * np.array([[0.0, 0, 0], [0.1, -0.5, 0.7]])
    net = kc.MLP(text, depth)
    exact, found = net.kernels(x, dps=30), net.kernels(x)
    # Σ of the layers between, as float64, holds qq' − c² to ε qq'/(qq' − c²): no method that keeps Σ is better.
    between = [layer.sigma for layer in exact.layers[1:-1]]
    condition = max(float(s[0, 0] * s[1, 1] / (s[0, 0] * s[1, 1] - s[0, 1] ** 2)) for s in between)
    for name in ("theta", "upsilon"):
        error = abs(getattr(found, name)[0, 1] / float(getattr(exact, name)[0, 1]) - 1)
        assert error < np.finfo(float).eps * condition, name


@pytest.mark.parametrize(
    ("f", "function", "g", "given", "covariance"),
    [
        (
            "x*exp(-x^2)",
            lambda a: a * mp.exp(-a * a),
            "(1-x^2)*step(x)",
            lambda m, s: (1 - m * m - s * s) * mp.ncdf(m / s) - m * s * mp.npdf(m / s),
            (2402411425.253904, 112205.50887893292, 16418398.109541222),
        ),
        # siblings
        (
            "tanh(x)*exp(-x^2)",
            lambda a: mp.tanh(a) * mp.exp(-a * a),
            "x^2*step(x)",
            lambda m, s: (m * m + s * s) * mp.ncdf(m / s) + m * s * mp.npdf(m / s),
            (2402411425.253904, 112205.50887893292, 16418398.109541222),
        ),
        (
            "x/cosh(x)",
            lambda a: a * mp.sech(a),
            "relu(x)",
            lambda m, s: m * mp.ncdf(m / s) + s * mp.npdf(m / s),
            (1e9, 1e5, 1e7 * (1 - 2.0**-34)),
        ),
        (
            "exp(-x^2)*sin(x)",
            lambda a: mp.exp(-a * a) * mp.sin(a),
            "step(x)",
            lambda m, s: mp.ncdf(m / s),
            (1e10, 1.0, -1e5 * (1 - 1e-9)),
        ),
    ],
)
def test_what_lives_near_zero_is_seen_in_sectors_as_wide_as_a_half_circle(f, function, g, given, covariance):
    """E[g(b)|a] in closed form, the mean over a by mpmath: the sine of an angle next to π had lost ten digits."""
    found = kc.gaussian_expectation(f, g, *covariance, full_output=True)
    with mp.workdps(40):
        q, qp, c = map(mp.mpf, covariance)
        spread = mp.sqrt((q * qp - c * c) / q)
        places = [-60, -20, -9, -6, -4, -2, -1, -0.3, 0, 0.3, 1, 2, 4, 6, 9, 20, 60]
        exact = mp.quad(lambda a: function(a) * given(c / q * a, spread) * mp.npdf(a, 0, mp.sqrt(q)), places)
        assert abs(mp.mpf(float(found.value)) - exact) <= min(float(found.error), 1e-14 * abs(exact))


# Exponentials that grow on where a quadrature ends -------------------------------------------------------------------------


@pytest.mark.parametrize("variances", [(67.0, 7521.0, 0.0), (67.0, 7521.0, 10.0), (2.0, 6000.0, -5.0)])
@pytest.mark.parametrize("kind", ["abs(x)", "relu", "sign(x)"])
def test_exponentials_that_grow_beyond_a_quadrature(kind, variances):
    """E[f(a) e^{b/3}] = e^{q'/18} E f(a + c/3), a Gaussian shifted (Girsanov): a folded normal mean and its parts."""
    q, qp, c = variances
    with mp.workdps(40):
        std, mean = mp.sqrt(q), mp.mpf(c) / 3
        positive, density = mp.ncdf(mean / std), std * mp.npdf(mean / std)
        part = {
            "abs(x)": 2 * density + mean * (2 * positive - 1),
            "relu": density + mean * positive,
            "sign(x)": 2 * positive - 1,
        }
        exact = part[kind] * mp.exp(mp.mpf(qp) / 18)
    found = kc.gaussian_expectation(kc.activation(kind), kc.activation("exp(x/3)"), q, qp, c, full_output=True)
    assert abs(mp.mpf(float(found.value)) - exact) <= 1e-12 * abs(exact)
    assert abs(mp.mpf(float(found.value)) - exact) <= float(found.error)


@pytest.mark.parametrize("name", ["gelu", "erf", "x**2 - 1", "sin(2*x) + 1", "cos(3*x)", "sin(6*x)"])
def test_norms_between_two_variances_are_not_below_those_of_all(name):
    """Some of these nearly vanish at a variance in between; from 0 on nothing is claimed."""
    rng = np.random.default_rng(0)
    for order in range(3):
        function = kc.activation(name).derivative(order)
        for ends in ((0.25, 16.0), (16.0, 4096.0)):
            q = np.exp(rng.uniform(*np.log(ends), 400))
            assert (least_norms(function, ends) <= lower_norms(function, q)).all()
        assert not least_norms(function, (0.0, 16.0)).any()
