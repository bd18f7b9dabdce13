"""Gaussian expectations and kernels as SymPy objects."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy as sp
from mpmath import mp

import kernelcalc as kc
from kernelcalc.errors import DivergentExpectationError, InputError, SmoothnessError, UnknownNameError
from kernelcalc.kernels.symbolic import (
    SYMBOLIC_NAMES,
    GaussianExpectation,
    at_rho_one,
    c,
    equations,
    exact_expectation,
    hermite_coefficient,
    kernel,
    mercer,
    multiplicity,
    on_sphere,
    q,
    qp,
    rho,
    source,
    taylor,
    to_numpy,
    x,
)

R = sp.Rational
TANH = sp.tanh(x)


# -- expectations -----------------------------------------------------------------------------------------------------


def test_tanh_fifty_digits():
    got = GaussianExpectation(TANH, TANH, 1, 1, 1).evalf(50)
    with mp.workdps(60):
        expected = mp.quad(lambda u: mp.tanh(u) ** 2 * mp.npdf(u), mp.linspace(-17, 17, 35))
        assert abs(mpmath.mpf(got._mpf_) - expected) < mp.mpf("1e-49")


@pytest.mark.parametrize(("q1", "q2", "cov"), [(1, 2, R(1, 2)), (1, 1, R(-199, 200)), (4, R(1, 4), R(1, 10))])
def test_functions_without_closed_form_against_nested_quadrature(q1, q2, cov):
    softplus = sp.log(1 + sp.exp(x))
    got = GaussianExpectation(TANH, softplus, q1, q2, cov).evalf(18)
    # Gauss-Legendre panels of unit width; the conditional law of b given a.
    nodes, weights = np.polynomial.legendre.leggauss(40)
    z = (np.arange(-9, 9)[:, None] + (nodes + 1) / 2).ravel()
    weights = np.tile(weights / 2, 18) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    spread = math.sqrt(q2 - cov**2 / q1)
    u = z * math.sqrt(q1)
    inner = np.logaddexp(0, float(cov / q1) * u[:, None] + spread * z) @ weights
    assert abs(float(got) - float(weights @ (np.tanh(u) * inner))) < 1e-14


@pytest.mark.parametrize("f", [sp.erf(x), sp.sin(x), sp.Max(x, 0), x**3, sp.exp(-(x**2))])
def test_price_theorem_agrees_with_the_closed_form(f):
    V = GaussianExpectation(f, f)
    closed = V.doit()
    values = {q: R(3, 2), qp: R(4, 5), c: R(-2, 5)}
    for symbol in (q, qp, c):
        difference = (V.diff(symbol).doit() - closed.diff(symbol)).subs(values)
        assert abs(difference.evalf(25, chop=True)) < 1e-20


def test_price_theorem_on_tanh_against_differences():
    V = GaussianExpectation(TANH, TANH)
    point = {q: R(1), qp: R(2), c: R(1, 2)}
    step = R(1, 10**4)
    for symbol in (q, qp, c):
        up, down = (V.subs(point | {symbol: point[symbol] + s}).evalf(18) for s in (step, -step))
        assert abs(V.diff(symbol).subs(point).evalf(18) - (up - down) / (2 * step)) < 1e-8


def test_the_total_derivative_on_the_diagonal():
    V = GaussianExpectation(sp.sin(x), sp.sin(x), q, q, q)
    assert sp.simplify(V.diff(q).doit() - sp.exp(-2 * q)) == 0


def test_unevaluated_until_asked():
    V = GaussianExpectation("erf", "erf", 1, 1, R(1, 2))
    assert isinstance(V, GaussianExpectation)
    assert V.doit() == 2 * sp.asin(R(1, 3)) / sp.pi
    assert isinstance(GaussianExpectation("tanh", "tanh").doit(), GaussianExpectation)
    assert GaussianExpectation("tanh", "tanh").free_symbols == {q, qp, c}
    assert V.func(*V.args) == V


def test_kinks_without_closed_form():
    f = sp.Max(TANH, 0)
    V = GaussianExpectation(f, f)
    assert V.doit() == V
    nodes, weights = np.polynomial.legendre.leggauss(60)
    z = (np.arange(0, 9)[:, None] + (nodes + 1) / 2).ravel()
    weights = np.tile(weights / 2, 9)
    density = np.exp(-(z[:, None] ** 2 - z[:, None] * z + z**2) / 1.5) / (2 * math.pi * math.sqrt(0.75))
    expected = (weights * np.tanh(z)) @ density @ (weights * np.tanh(z))
    assert abs(to_numpy(V)(1.0, 1.0, 0.5) - expected) < 1e-13
    # The jump of f' gives the density of (a, b) at the origin in the second derivative.
    assert sp.DiracDelta(x) in V.diff(c, 2).atoms(sp.DiracDelta)


def test_latex():
    assert sp.latex(GaussianExpectation(TANH, TANH)) == (
        r"\mathbb{E}_{q,q',c}\left[\tanh{\left(a \right)}\,\tanh{\left(b \right)}\right]"
    )
    net = kc.MLP("erf", depth=2)
    assert "operatorname{asin}" in kernel("theta", net)._repr_latex_()


def test_hermite_series_of_relu_is_exact():
    """Known coefficients of the arc-cosine kernel: E = 1/2π + ρ/4 + ρ²/4π + ρ⁴/48π + ..."""
    r = sp.Symbol("r")
    series = GaussianExpectation("relu", "relu", 1, 1).hermite_series(6, r)
    expected = 1 / (2 * sp.pi) + r / 4 + r**2 / (4 * sp.pi) + r**4 / (48 * sp.pi) + r**6 / (160 * sp.pi)
    assert sp.expand(series - expected) == 0


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "sin"])
def test_hermite_series_is_the_taylor_series(name):
    r = sp.Symbol("r", positive=True)
    V = GaussianExpectation(name, name, 1, 1)
    closed = GaussianExpectation(name, name, 1, 1, r).doit()
    coefficients = taylor(closed, r, 5)
    assert sp.simplify(sp.Add(*(a * r**k for k, a in enumerate(coefficients))) - V.hermite_series(5, r)) == 0


def test_hermite_coefficients_of_tanh_against_quadrature():
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    weights = weights / weights.sum()
    for k in (1, 3):
        expected = (
            weights @ (np.tanh(nodes) * np.polynomial.hermite_e.HermiteE.basis(k)(nodes)) / math.sqrt(math.factorial(k))
        )
        assert abs(float(hermite_coefficient("tanh", k).evalf(15)) - expected) < 1e-9


def test_late_hermite_coefficients_are_found_at_once():
    """Of derivatives the twelfth took ten seconds."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    nodes, weights = 14 * nodes, 14 * weights * np.exp(-((14 * nodes) ** 2) / 2) / math.sqrt(2 * math.pi)
    basis = np.polynomial.hermite_e.HermiteE.basis(21)(nodes)
    expected = weights @ (np.tanh(nodes / math.sqrt(2)) * basis) / math.sqrt(math.factorial(21))
    assert float(hermite_coefficient("tanh", 21, sp.Rational(1, 2)).evalf(15)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("k", [2, 3])
def test_hermite_coefficients_beyond_kinks_are_numbers(k):
    """Derivatives of tanh|x| are delta functions, of which there are no digits."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    nodes, weights = 7 * (nodes + 1), 7 * weights
    weights = weights * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi) / math.sqrt(math.factorial(k))
    basis = np.polynomial.hermite_e.HermiteE.basis(k)
    for text, left in (("tanh(abs(x))", np.tanh(nodes)), ("where(x>0, tanh(x), x/2)", -nodes / 2)):
        expected = weights @ (np.tanh(nodes) * basis(nodes) + left * basis(-nodes))
        assert float(hermite_coefficient(text, k).evalf(15)) == pytest.approx(expected, abs=1e-13)


# -- kernels ----------------------------------------------------------------------------------------------------------

POINTS = np.array([[0.8, -1.1, 0.4], [1.3, 0.2, -0.7], [-0.5, 0.9, 1.6]])


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        *((name, depth) for name in ("erf", "sin", "relu", "gaussian") for depth in (1, 2, 3)),
        *(("smooth_relu", depth) for depth in (1, 2)),
        ("gelu", 1),
        *(pytest.param(*one, marks=pytest.mark.long) for one in (("gelu", 2), ("smooth_relu", 3), ("gelu", 3))),
    ],
)
def test_closed_forms_agree_with_numeric_kernels(name, depth):
    net = kc.MLP(name, depth=depth, sigma_w=1.3, beta=0.1)
    K = net.kernels(POINTS)
    first = 1.69 * POINTS @ POINTS.T / 3 + 0.01
    rows, columns = np.triu_indices(3, 1)
    on = np.diag(first)
    for kind in K.available:
        off_diagonal = to_numpy(kernel(kind, net))(on[rows], on[columns], first[rows, columns])
        np.testing.assert_allclose(off_diagonal, getattr(K, kind)[rows, columns], rtol=1e-12, atol=1e-13)
        diagonal = to_numpy(kernel(kind, net, diagonal=True), (q,))(on)
        np.testing.assert_allclose(diagonal, np.diag(getattr(K, kind)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["theta", "lam"])
def test_kernels_without_closed_form_agree_too(kind):
    net = kc.MLP("tanh", depth=3, sigma_w=1.2)
    K = net.kernels(POINTS)
    first = 1.44 * POINTS @ POINTS.T / 3 + 0.01
    rows, columns = np.triu_indices(3, 1)
    on = np.diag(first)
    got = to_numpy(kernel(kind, net))(on[rows], on[columns], first[rows, columns])
    np.testing.assert_allclose(got, getattr(K, kind)[rows, columns], rtol=1e-10)


def test_a_different_activation_in_each_layer():
    net = kc.MLP(["erf", "sin"], depth=3, beta=0.0)
    inner = 2 * sp.asin(2 * c / (sp.sqrt(2 * q + 1) * sp.sqrt(2 * qp + 1))) / sp.pi
    on, on_p = (2 * sp.asin(2 * v / (2 * v + 1)) / sp.pi for v in (q, qp))
    expected = sp.exp(-(on + on_p) / 2) * sp.sinh(inner)
    values = {q: R(1), qp: R(2), c: R(1, 2)}
    assert abs((kernel("sigma", net) - expected).subs(values).evalf(20, chop=True)) < 1e-18


def test_sigma_dot_is_the_slope_of_sigma():
    for name in ("erf", "gelu", "sin"):
        net = kc.MLP(name, depth=2, beta=0.0)
        slope = sp.diff(kernel("sigma", net), c)
        second = sp.diff(kernel("sigma", net), c, 2)
        values = {q: R(6, 5), qp: R(1), c: R(1, 3)}
        for difference in (slope - kernel("sigma_dot", net), second - kernel("sigma_ddot", net)):
            assert abs(difference.subs(values).evalf(20, chop=True)) < 1e-17


def test_roots_taken_in_float64_are_recognised():
    assert kernel("theta", kc.MLP("relu", depth=3, sigma_w=2**0.5, beta=0.0), diagonal=True) == 3 * q


def test_symbols_for_the_scales():
    s, b = sp.symbols("sigma_w beta", positive=True)
    expr = kernel("sigma", kc.MLP("relu", depth=2), sigma_w=s, beta=b)
    assert expr.free_symbols == {q, qp, c, s, b}
    assert (
        sp.simplify(kernel("theta", kc.MLP("relu", depth=2), sigma_w=s, beta=b, diagonal=True) - s**2 * q - b**2) == 0
    )


@pytest.mark.parametrize(
    ("name", "kind", "length"),
    [
        ("erf", "theta", 110),
        ("relu", "sigma", 90),
        ("relu", "theta", 90),
        ("smooth_relu", "theta", 130),
        ("sin", "theta", 70),
    ],
)
def test_depth_two_fits_a_line(name, kind, length):
    assert len(str(kernel(kind, kc.MLP(name, depth=2)))) < length


@pytest.mark.parametrize("name", ["erf", "relu", "smooth_relu", "sin"])
def test_depth_three_fits_a_few_lines(name):
    lines = equations("theta", kc.MLP(name, depth=3))
    assert all(len(str(line.rhs)) < 240 for line in lines)
    assert len(lines) <= 9


@pytest.mark.parametrize("kind", ["theta", "lam", "xi"])
def test_equations_say_the_same_as_the_kernel(kind):
    net = kc.MLP("erf", depth=3, sigma_w=1.5)
    values: dict[sp.Symbol, sp.Expr] = {q: R(6, 5), qp: R(1), c: R(1, 3)}
    for line in equations(kind, net):
        values[line.lhs] = line.rhs.subs(values).evalf(30)
    assert abs(values[line.lhs] - kernel(kind, net).subs(values).evalf(30)) < 1e-25


def test_limits_of_rho():
    net = kc.MLP("erf", depth=2, beta=0.0)
    assert kernel("theta", net).subs(c, 0) == 0
    on = kernel("theta", net, diagonal=True)
    assert sp.simplify(at_rho_one(kernel("theta", net)).subs(qp, q) - on) == 0
    assert sp.simplify(at_rho_one(kernel("theta", kc.MLP("relu", depth=2, beta=0.0))) - sp.sqrt(q * qp)) == 0


def test_kinked_nonlinearities_are_refused():
    net = kc.MLP("relu", depth=2)
    for kind in ("phi", "lam", "upsilon", "xi"):
        with pytest.raises(SmoothnessError, match="relu"):
            kernel(kind, net)
    with pytest.raises(DivergentExpectationError):
        kernel("sigma_ddot", net, diagonal=True)


def test_bad_names_and_depths():
    with pytest.raises(UnknownNameError, match="theta"):
        kernel("thta", kc.MLP("erf", depth=2))
    with pytest.raises(InputError, match="depth"):
        kernel("sigma_dot", kc.MLP("erf", depth=1))
    with pytest.raises(InputError, match="depth"):
        kernel("sigma", kc.MLP("erf", depth=2), depth=3)


def test_depth_one_is_linear():
    net = kc.MLP("erf", depth=1)
    assert [kernel(k, net) for k in SYMBOLIC_NAMES[:6]] == [c, c, 0, 0, 0, 0]


# -- sphere -----------------------------------------------------------------------------------------------------------


def test_mercer_of_relu_ntk_against_known_decay_and_trace():
    """Without bias the relu NTK of two layers has no odd eigenvalues above 1 (Bietti and Mairal 2019)."""
    h = on_sphere("theta", kc.MLP("relu", depth=2, sigma_w=math.sqrt(2), beta=0.0))
    spectrum = mercer(h, dimension=4, kmax=61)
    odd = spectrum.eigenvalues[3::2]
    assert np.abs(odd).max() < 1e-13
    even = spectrum.eigenvalues[2::2]
    assert (even > 0).all()
    assert spectrum.trace < float(h.subs(rho, 1))
    # λ_k ~ k^{−d}
    assert abs(math.log(even[-1] / even[10]) / math.log(61 / 22) + 4) < 0.3


@pytest.mark.parametrize("dimension", [2, 3, 10])
def test_mercer_of_polynomials_is_exact(dimension):
    d = Fraction(dimension)
    # ρ² = (1 − 1/d) P_2 + 1/d, and N(d, 2) = (d + 2)(d − 1)/2.
    spectrum = mercer(rho**2, dimension=dimension, kmax=3)
    expected = [1 / d, 0, (1 - 1 / d) / Fraction(multiplicity(dimension, 2)), 0]
    np.testing.assert_allclose(spectrum.eigenvalues, [float(v) for v in expected], atol=1e-14)


def test_mercer_against_eigenvalues_of_a_matrix():
    """Points on the circle make the Gram matrix circulant: its eigenvalues are those of the operator."""
    h = on_sphere("theta", kc.MLP("erf", depth=3))
    angles = 2 * np.pi * np.arange(400) / 400
    row = to_numpy(h, (rho,))(np.cos(angles)) / 400
    expected = np.fft.fft(row).real[:8]
    np.testing.assert_allclose(mercer(h, dimension=2, kmax=7).eigenvalues, expected, atol=1e-13)


def test_the_sphere_includes_the_bias():
    net = kc.MLP("erf", depth=2, sigma_w=1.5, beta=0.5)
    points = np.array([[1.0, 1.0], [1.0, -1.0], [math.sqrt(2), 0.0]])
    K = net.kernels(points)
    h = to_numpy(on_sphere("theta", net), (rho,))
    np.testing.assert_allclose(h(points @ points.T / 2), K.theta, rtol=1e-12)


# -- code -------------------------------------------------------------------------------------------------------------


def run(text, name="kernel"):
    scope: dict[str, object] = {}
    exec(compile(text, "<source>", "exec"), scope)  # the package's own output
    return scope[name]


@pytest.mark.parametrize("name", ["erf", "smooth_relu", "hard_tanh"])
def test_numpy_source_runs(name):
    expr = kernel("theta", kc.MLP(name, depth=2))
    point = (1.1, 0.8, 0.3)
    assert abs(run(source(expr, "numpy"))(*point) - to_numpy(expr)(*point)) < 1e-14


def test_c_source_compiles(tmp_path):
    import ctypes
    import shutil
    import subprocess

    compiler = shutil.which("cc") or shutil.which("gcc")
    text = source(kernel("lam", kc.MLP("erf", depth=2)), "c", name="lam")
    assert text.startswith("#include <math.h>")
    assert "double lam(double q, double qp, double c)" in text
    if compiler:
        path = tmp_path / "lam.c"
        path.write_text(text)
        library = tmp_path / "lam.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, path, "-lm"], check=True)
        function = ctypes.CDLL(str(library)).lam
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * 3
        expected = to_numpy(kernel("lam", kc.MLP("erf", depth=2)))(1.1, 0.8, 0.3)
        assert abs(function(1.1, 0.8, 0.3) - expected) < 1e-14


def test_jax_source():
    text = source(kernel("theta", kc.MLP("erf", depth=2)), "jax")
    assert "import jax" in text
    assert "jax.numpy.arctan2" in text
    assert "functools" not in text
    compile(text, "<source>", "exec")


def test_source_refuses_what_it_cannot_write():
    with pytest.raises(InputError, match="language"):
        source(c, "fortran")
    with pytest.raises(InputError, match="closed form"):
        source(kernel("theta", kc.MLP("tanh", depth=2)))
    with pytest.raises(InputError, match="bivariate"):
        source(kernel("theta", kc.MLP("hard_tanh", depth=2)), "c")


def test_limit_with_kinks_away_from_zero_names_the_other_ways():
    net = kc.MLP("hard_tanh", depth=2, beta=0.0)
    with pytest.raises(InputError, match="diagonal=True"):
        at_rho_one(kernel("sigma", net))
    act = kc.activation("hard_tanh")
    for ratio in (1, 2):
        number = float(exact_expectation(act.expr, act.expr, 1, ratio**2, ratio).evalf(20))
        z = np.linspace(-12, 12, 240001)
        clipped = np.clip(z, -1, 1) * np.clip(ratio * z, -1, 1) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        assert number == pytest.approx(float(np.trapezoid(clipped, z)), rel=1e-7)


def test_digits_far_out_and_near_full_correlation():
    """Large variances, ρ next to 1 and ρ = 1 against enclosures."""
    pytest.importorskip("flint")
    f = sp.tanh(x)
    for one, two, cov in ((100, 50, 20), (1, 1, 1 - sp.Rational(1, 2**30)), (1, 1, 1)):
        value = GaussianExpectation(f, f, one, two, cov).evalf(30)
        ball = kc.gaussian_expectation("tanh", "tanh", one, two, sp.Rational(cov), certified=True, dps=25)
        assert abs(float(ball.mid()) - float(value)) <= 1e-15 * float(value)
