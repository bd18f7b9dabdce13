"""Exported kernels, run where formulas are delicate: coinciding points, zero norms, large variances."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import special

import kernelcalc as kc
from kernelcalc.errors import InputError, PrecisionWarning
from kernelcalc.kernels.symbolic import kernel, source, to_numpy

COMPILER = shutil.which("cc") or shutil.which("gcc")
ON = np.random.default_rng(5).uniform(0.01, 30, 200)


def numpy_function(expr, folder):
    scope: dict[str, object] = {}
    exec(compile(source(expr, "numpy"), "<source>", "exec"), scope)  # the package's own output
    return scope["kernel"]


def c_function(expr, folder):
    if COMPILER is None:
        pytest.skip("no C compiler")
    path, library = folder / "kernel.c", folder / "kernel.so"
    path.write_text(source(expr, "c"))
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, path, "-lm"], check=True)
    function = ctypes.CDLL(str(library)).kernel
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * 3
    return np.vectorize(function, otypes=[float])


WAYS = pytest.mark.parametrize("way", [numpy_function, c_function, lambda expr, _: to_numpy(expr)])


@WAYS
@pytest.mark.parametrize(
    ("name", "kind", "factor"),
    [("relu", "sigma", 0.5), ("relu", "theta", 1.0), ("abs", "sigma", 1.0), ("step", "sigma", None)],
)
def test_coinciding_and_opposite_points(way, name, kind, factor, tmp_path):
    """At c = q: E relu(a)² = q/2, Θ twice that, E|a|² = q, and half of all steps are 1, whatever q rounds to."""
    function = way(kernel(kind, kc.MLP(name, depth=2, beta=0)), tmp_path)
    right = np.full(ON.size, 0.5) if factor is None else factor * ON
    np.testing.assert_allclose(function(ON, ON, ON), right, rtol=2e-15)
    opposite = ON if name == "abs" else np.zeros(ON.size)
    np.testing.assert_allclose(function(ON, ON, -ON), opposite, rtol=2e-15, atol=1e-14)


@WAYS
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "relu2"])
def test_points_of_norm_zero(way, name, tmp_path):
    function = way(kernel("sigma", kc.MLP(name, depth=2, beta=0)), tmp_path)
    assert function(2.0, 0.0, 0.0) == 0
    assert function(0.0, 0.0, 0.0) == 0


@WAYS
@pytest.mark.parametrize(("name", "kind"), [("sin", "sigma"), ("cos", "sigma"), ("sin", "lam"), ("sin", "xi")])
@pytest.mark.parametrize(
    "point", [(2000.0, 1990.0, 1994.0), (2000.0, 1990.0, -1994.0), (900.0, 3.0, 2.0), (3.0, 2.0, 1e-12)]
)
def test_waves_of_large_variances(way, name, kind, point, tmp_path):
    """e^{−(q + q')/2} cosh c, whose factors leave float64 where the product does not."""
    q, qp, c = map(mpmath.mpf, point)
    even, odd = (mpmath.exp(-(q + qp) / 2) * f(c) for f in (mpmath.cosh, mpmath.sinh))
    right = {"sigma": even if name == "cos" else odd, "lam": -q * (c * even + odd), "xi": q * qp * odd}[kind]
    found = way(kernel(kind, kc.MLP(name, depth=2, beta=0)), tmp_path)(*point)
    assert float(found) == pytest.approx(float(right), rel=1e-12, abs=1e-300)


def test_deep_waves_at_large_variances(tmp_path):
    expr = kernel("theta", kc.MLP("sin", depth=3, beta=0))
    point = (1800.0, 1800.0, 1799.0)
    first = math.exp(-1) / 2  # sinh c e^{−q}, whose other half is nothing; E cos cos is the same
    theta = first + 1799.0 * first
    own = 0.5  # E sin² where e^{−2q} is nothing
    right = theta * math.exp(-own) * math.cosh(first) + math.exp(-own) * math.sinh(first)
    assert float(to_numpy(expr)(*point)) == pytest.approx(right, rel=1e-12)
    assert float(numpy_function(expr, tmp_path)(*point)) == pytest.approx(right, rel=1e-12)


def test_formulas_without_a_value_say_so():
    expr = kernel("sigma", kc.MLP("hard_tanh", depth=2))
    with pytest.warns(PrecisionWarning, match=r"no value at 1 of 2 places.*diagonal=True"):
        found = to_numpy(expr)([1.0, 1.0], [1.0, 2.0], [1.0, 0.5])
    assert np.isnan(found).tolist() == [True, False]
    # what is given as NaN is the caller's
    assert np.isnan(to_numpy(expr)(np.nan, 1.0, 0.5))


def test_source_of_a_deep_network(monkeypatch):
    """SymPy's Max asks for seconds which of its arguments is larger; the text needs none, and has the kernel's value."""

    def refused(*args, **options):
        raise AssertionError("Max is evaluated")

    net = kc.MLP("erf", depth=4, sigma_w="1.1", beta="0.3")
    formula = kc.symbolic.kernel("phi", net)
    monkeypatch.setattr(sp.Max, "__new__", refused)
    names = {}
    exec(kc.symbolic.source(formula), names)  # the package's own output
    points = [["0.9", "-0.4"], ["0.3", "1.2"]]
    right = net.kernels(points, dps=25).phi[0, 1]
    # w²·x·x'/2 + b² by hand
    q, qp, c = (1.21 * product / 2 + 0.09 for product in (0.97, 1.53, -0.21))
    assert names["kernel"](q, qp, c) == pytest.approx(float(right), rel=1e-12)


def brute(f, q, qp, c):
    """E[f(a) f(b)] on a lattice of 201 × 201 places, exact to rounding for smooth f of moderate growth."""
    z = np.linspace(-14, 14, 201)
    w = np.exp(-(z**2) / 2)
    w /= w.sum()
    a = np.sqrt(q) * z[:, None]
    b = c / np.sqrt(q) * z[:, None] + np.sqrt(qp - c * c / q) * z
    return w @ (f(a) * f(b)) @ w


WAVES = {
    "sin(2*x+1)": lambda t: np.sin(2 * t + 1),
    "x*cos(x-1)": lambda t: t * np.cos(t - 1),
    "sin(x)+exp(x)": lambda t: np.sin(t) + np.exp(t),
    "sin(x)*exp(x)": lambda t: np.sin(t) * np.exp(t),
    "sin(2*x+1)+erf(x)/3": lambda t: np.sin(2 * t + 1) + special.erf(t) / 3,
    # products with a gate have error functions of complex numbers: an expectation, computed as such
    "sin(x)*erf(x)": lambda t: np.sin(t) * special.erf(t),
    "sin(x+1)*exp(x)+erf(x)": lambda t: np.sin(t + 1) * np.exp(t) + special.erf(t),
}
# whose source every language has; NumPy has that of the fifth too
IN_C, IN_NUMPY = list(WAVES)[:4], list(WAVES)[:5]


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("name", WAVES)
def test_waves_that_are_shifted_or_multiplied_have_real_formulas(name, depth, tmp_path):
    given = layer = (0.9, 1.4, 0.3)
    for _ in range(depth - 1):
        q, qp, c = layer
        layer = tuple(0.25 * brute(WAVES[name], *pair) + 0.04 for pair in ((q, q, q), (qp, qp, qp), (q, qp, c)))
    formula = kernel("sigma", kc.MLP(name, depth=depth, sigma_w=0.5, beta=0.2))
    assert not formula.has(sp.I)
    ways = [lambda expr, _: to_numpy(expr)] + [numpy_function] * (name in IN_NUMPY) + [c_function] * (name in IN_C)
    for way in ways:
        assert way(formula, tmp_path)(*given) == pytest.approx(layer[2], rel=1e-9)


def test_what_a_language_lacks_is_refused():
    shifted, product = (kernel("sigma", kc.MLP(name, depth=2)) for name in ("sin(2*x+1)+erf(x)", "sin(x)*erf(x)"))
    with pytest.raises(InputError, match="functions that c has, got erfi"):
        source(shifted, "c")
    with pytest.raises(InputError, match="a closed form"):
        source(product, "numpy")
    with pytest.raises(InputError, match="real h, k, rho"):
        to_numpy(product.doit())(1.0, 2.0, 0.5)
