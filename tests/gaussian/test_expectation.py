"""The front door against brute force from elsewhere: values to 1e-10 of E|fg|, errors that hold."""

import json
import math
import warnings
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import (
    CovarianceError,
    DivergentExpectationError,
    InputError,
    PrecisionWarning,
    ResolutionWarning,
    UnknownNameError,
)
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats import nested, quadrature
from tests.gaussian import make_reference

REFERENCE = json.loads(Path(__file__).with_name("reference.json").read_text())


def _derivatives(entry):
    return kc.activation(entry["f"]).derivative(entry["i"]), kc.activation(entry["g"]).derivative(entry["j"])


def _identify(entry):
    return f"{entry['f']}{entry['i']}{entry['j']}-{entry['q']:g}-{entry['qp']:g}-{entry['c']:g}"


@pytest.mark.parametrize("entry", REFERENCE, ids=_identify)
def test_against_brute_force(entry):
    result = kc.gaussian_expectation(*_derivatives(entry), entry["q"], entry["qp"], entry["c"], full_output=True)
    with mp.workdps(30):
        true_error = float(abs(mp.mpf(float(result.value)) - mp.mpf(entry["value"])))
    assert true_error <= 1e-10 * entry["magnitude"]
    # Typically much better; the long double references themselves are good to 1e-15.
    assert true_error <= 2e-12 * entry["magnitude"]
    # Honest: what the result says about itself holds, up to the digits of the table.
    table_error = (1e-15 if entry["method"] == "panels" else 1e-25) * entry["magnitude"]
    assert true_error <= result.error + table_error


def test_reference_table_is_reproducible():
    """A few entries recomputed by the script that wrote the table."""
    for entry in REFERENCE[:: len(REFERENCE) // 3]:
        if entry["method"] == "panels" or entry["q"] > 1:
            continue
        keys = ("f", "i", "g", "j", "q", "qp", "c", "method")
        again = make_reference.compute(tuple(entry[k] for k in keys))
        assert mp.almosteq(mp.mpf(again["value"]), mp.mpf(entry["value"]), rel_eps=1e-20, abs_eps=1e-24)


SWEEP = ["tanh", "softplus", "silu", "arctan", "sigmoid", "mish", "elu", "relu", "leaky_relu", "abs", "erf", "probit"]
SWEEP += ["smooth_relu", "gelu", "sin", "gaussian", "softsign", "hard_tanh"]


def test_all_methods_agree_over_a_seeded_sweep(long):
    """Random (f, order, q, q', ρ), q from 1e-8 to 1e4: the chosen method against nested panels, errors honest.

    Some 200 draws with ``--long``, else 20; what a share of wrong methods would have to be to be seen at all is
    in test_honest_errors.py, where the draws are many.
    """
    rng = np.random.default_rng(20201)
    checked = 0
    draws = 300 if long else 30
    for _ in range(draws):
        act = kc.activation(SWEEP[rng.integers(len(SWEEP))])
        highest = 3 if act.smoothness == math.inf else min(2, int(act.smoothness) + 1)
        f, g = act.derivative(int(rng.integers(highest + 1))), act.derivative(int(rng.integers(highest + 1)))
        if f.deltas or g.deltas or (act.name == "sin"):
            continue
        q, qp = 10 ** rng.uniform(-8, 4, size=2)
        rho = rng.choice([rng.uniform(-1, 1), 1 - 10 ** rng.uniform(-13, -1), -1 + 10 ** rng.uniform(-13, -1)])
        cov = make_covariance([q], [qp], [rho * math.sqrt(q) * math.sqrt(qp)])
        result = kc.gaussian_expectation(f, g, q, qp, cov.c[0], full_output=True)
        slow = nested.nested(f, g, cov)
        difference = abs(float(result.value) - slow.value[0])
        assert difference <= 1e-10 * slow.magnitude[0] + slow.error[0], (f.name, g.name, q, qp, rho, result)
        assert difference <= result.error + slow.error[0], (f.name, g.name, q, qp, rho, result)
        checked += 1
    assert checked > 0.55 * draws


def test_price_theorem_by_finite_differences():
    """∂_c E[fg] = E[f'g'] and ∂_q E[fg] = E[f''g]/2, fourth-order differences."""
    h = 1e-3
    for name in ("tanh", "gelu", "smooth_relu", "softplus", "arctan"):
        act = kc.activation(name)
        q, qp, c = 1.3, 0.8, -0.4

        def slope(along, act=act, q=q, qp=qp, c=c):
            at = lambda s: kc.gaussian_expectation(act, act, q + s * along[0], qp, c + s * along[1])  # noqa: E731
            return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)

        first, second = act.derivative(1), act.derivative(2)
        assert slope((0, 1)) == pytest.approx(kc.gaussian_expectation(first, first, q, qp, c), abs=1e-11)
        assert slope((1, 0)) == pytest.approx(kc.gaussian_expectation(second, act, q, qp, c) / 2, abs=1e-11)


def test_closed_values():
    """Textbook values: arc-cosine, arcsine, Isserlis, characteristic functions."""
    ge = kc.gaussian_expectation
    theta = math.acos(0.3)
    assert ge("relu", "relu", 1, 4, 0.6) == pytest.approx(
        2 * (math.sin(theta) + (math.pi - theta) * 0.3) / (2 * math.pi), rel=1e-15
    )
    assert ge("erf", "erf", 1, 4, 0.6) == pytest.approx(2 / math.pi * math.asin(1.2 / math.sqrt(27)), rel=1e-15)
    assert ge("sin", "sin", 1, 4, 0.6) == pytest.approx(math.exp(-2.5) * math.sinh(0.6), rel=1e-14)
    assert ge("exp", "exp", 1, 4, -0.6) == pytest.approx(math.exp(2.5 - 0.6), rel=1e-14)
    x = kc.activations.x
    assert ge(x**2, x**2, 1, 4, 0.6) == pytest.approx(4 + 2 * 0.36, rel=1e-14)
    assert ge(x**4, x**2, 1, 4, 0.6) == pytest.approx(3 * 4 + 12 * 0.36, rel=1e-14)
    for k in range(1, 8):
        he = kc.activation("hermite", degree=k)
        assert ge(he, he, 1, 1, 0.7) == pytest.approx(math.factorial(k) * 0.7**k, rel=1e-10)
    assert ge("step", "step", 1, 1, 0.5) == pytest.approx(1 / 3, rel=1e-15)
    # A mixed pair: E[relu(a) erf(b)] = ∂/∂c-integrated, here from E[a erf(b)] = c E[erf'(b)] by symmetry.
    half = kc.gaussian_expectation("linear", "erf", 1.0, 1.0, 0.5) / 2
    assert ge("relu", "erf", 1.0, 1.0, 0.5) == pytest.approx(half, rel=1e-14)


def test_near_degenerate_correlations_keep_their_digits():
    """relu near ρ = ±1: the angle is √(2(1 − |ρ|)), lost if it came from a rounded ρ."""
    step = kc.activation("relu").derivative(1)
    with mp.workdps(40):
        for gap in (1e-4, 1e-8, 1e-12, 2.0**-52):
            for sign in (1, -1):
                c = sign * (1 - gap)
                rho = mp.mpf(c)
                angle = mp.acos(rho)
                exact = (mp.pi - angle) / (2 * mp.pi)
                assert kc.gaussian_expectation(step, step, 1.0, 1.0, c) == pytest.approx(float(exact), rel=1e-14)
                exact = (mp.sin(angle) + (mp.pi - angle) * rho) / (2 * mp.pi)
                assert kc.gaussian_expectation("relu", "relu", 1.0, 1.0, c) == pytest.approx(float(exact), rel=1e-13)


def test_deterministic_and_degenerate_covariances():
    ge = kc.gaussian_expectation
    assert ge("cos", "tanh", 0.0, 0.0, 0.0) == 0.0
    assert ge("softplus", "softplus", 0.0, 0.0, 0.0) == pytest.approx(math.log(2) ** 2, rel=1e-15)
    with mp.workdps(25):
        mean = mp.quad(lambda z: mp.log1p(mp.exp(2 * z)) * mp.npdf(z), [-12, 0, 12])
    assert ge("softplus", "softplus", 0.0, 4.0, 0.0) == pytest.approx(math.log(2) * float(mean), rel=1e-13)
    assert ge("relu", "relu", 1.0, 1.0, -1.0) == 0.0
    assert ge("abs", "abs", 2.0, 2.0, -2.0) == pytest.approx(2.0, rel=1e-15)


def test_delta_functions():
    """E22 of relu is the bivariate density at 0; on the diagonal it diverges and says so."""
    relu = kc.activation("relu")
    two = relu.derivative(2)
    assert kc.gaussian_expectation(two, two, 1.0, 2.0, 0.5) == pytest.approx(1 / (2 * math.pi * math.sqrt(1.75)))
    with pytest.raises(DivergentExpectationError, match="relu''"):
        kc.gaussian_expectation(two, two, 1.0, 1.0, 1.0)
    assert kc.gaussian_expectation(two, "cos", 1.0, 1.0, 0.5) == pytest.approx(
        math.exp(-0.75 / 2) / math.sqrt(2 * math.pi), rel=1e-13
    )
    # Off-centre kinks go another way: Price's theorem on hard_tanh by differences of E11.
    hard, h = kc.activation("hard_tanh"), 1e-4
    one, two = hard.derivative(1), hard.derivative(2)
    slope = (kc.gaussian_expectation(one, one, 1, 1, 0.5 + h) - kc.gaussian_expectation(one, one, 1, 1, 0.5 - h)) / (
        2 * h
    )
    assert kc.gaussian_expectation(two, two, 1, 1, 0.5) == pytest.approx(slope, rel=1e-6)


def one_dimensional(function, low=-12, high=12, points=()):
    """E of a function of Z by mpmath, split where told."""
    with mp.workdps(25):
        edges = [low, *points, high]
        return float(mp.quad(lambda z: function(z) * mp.npdf(z), edges))


def test_series_of_different_length_are_cut_honestly():
    """The first derivative needs few terms at q = 0.5, the third many at q = 2: both must end at one length."""
    act = kc.Activation("log(1+x**2)")
    first = lambda t: 2 * t / (1 + t * t)  # noqa: E731
    third = lambda t: 4 * t * (t * t - 3) / (1 + t * t) ** 3  # noqa: E731
    exact = one_dimensional(lambda z: first(mp.sqrt(0.5) * z) * third(-mp.sqrt(2) * z), points=(-1, 0, 1))
    result = kc.gaussian_expectation(act.derivative(1), act.derivative(3), 0.5, 2, -1 + 1e-15, full_output=True)
    assert abs(result.value - exact) <= result.error + 1e-14
    assert result.value == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "order", "q", "at"),
    [
        ("exp(-(1000*(x-1.01))**2)", 0, 1.0, "1.01"),
        ("exp(-(20*(x-30))**2)", 0, 100.0, "3"),
        ("tanh(1000*(x-1.01))", 1, 1.0, "1.01"),
        ("tanh(20*x)", 1, 1e4, "0"),
        ("tanh(20*x)", 2, 1e3, "0"),
        ("tanh(x-30)", 1, 1e4, "0.3"),
    ],
)
def test_narrow_features_are_not_missed(text, order, q, at):
    """E[f(a)²]: bumps and steps thousands of times narrower than the Gaussian, on and off the centre."""
    act = kc.Activation(text).derivative(order)
    with mp.workdps(25):
        centre, std = mp.mpf(at), mp.sqrt(q)
        function = compile_expression(kc.activations.x, act.expr, "mpmath")
        steps = [mp.mpf(2) ** -k for k in range(24)]
        edges = [*(centre - s for s in steps), *(centre + s for s in reversed(steps))]
        exact = mp.quad(lambda z: function(std * z) ** 2 * mp.npdf(z), edges)
    assert kc.gaussian_expectation(act, act, q, q, q) == pytest.approx(float(exact), rel=1e-10)
    if order < 2:
        # Positive functions: the value is E|f(a)f(b)|.
        near = kc.gaussian_expectation(act, act, q, q, 0.5 * q, full_output=True)
        assert 0 < near.error < 1e-10 * near.value


# whether a slow machine warns is not what is tested
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.SlowMethodWarning")
def test_growth_is_integrated_or_refused():
    """e^x tanh x at q = 100 has its weight ten deviations out; e^{x²} at q = 1 has none anywhere."""
    grows = kc.Activation("exp(x)*tanh(x)")
    with mp.workdps(25):
        exact = mp.quad(lambda z: (mp.exp(10 * z) * mp.tanh(10 * z)) ** 2 * mp.npdf(z), [-10, 0, 10, 20, 30, 45])
    assert kc.gaussian_expectation(grows, grows, 100, 100, 100) == pytest.approx(float(exact), rel=1e-10)
    square = kc.activations.x**2
    for c in (1.0, 0.5, 0.0):
        with pytest.raises(DivergentExpectationError):
            kc.gaussian_expectation(sp.exp(square), sp.exp(square), 1, 1, c)
        with pytest.raises(DivergentExpectationError):
            kc.gaussian_expectation(sp.exp(square) * sp.tanh(kc.activations.x), "tanh", 1, 1, c)
    # ∫ e^{2 α x²} φ_q = (1 − 4 α q)^{−1/2}, finite up to 4 α q = 1.
    assert kc.gaussian_expectation(sp.exp(square), sp.exp(square), 0.24, 0.24, 0.24) == pytest.approx(5.0, rel=1e-12)


def test_symmetry_broadcasting_and_selection_of_methods():
    q = np.array([0.5, 1.0, 2.0])
    grid = kc.gaussian_expectation("tanh", "silu", q[:, None], q[None, :], 0.2)
    turned = kc.gaussian_expectation("silu", "tanh", q[:, None], q[None, :], 0.2)
    np.testing.assert_allclose(grid, turned.T, rtol=1e-14)
    assert grid.shape == (3, 3)
    assert kc.gaussian_expectation("tanh", "tanh", np.ones((0, 2)), 1.0, 0.0).shape == (0, 2)
    full = kc.gaussian_expectation("tanh", "tanh", [1.0, 0.0, 1.0], 1.0, [0.5, 0.0, 1.0], full_output=True)
    assert list(full.method) == ["series", "deterministic", "line"]
    assert kc.gaussian_expectation(np.tanh, np.tanh, 1.0, 1.0, 0.5) == pytest.approx(
        float(kc.gaussian_expectation("tanh", "tanh", 1.0, 1.0, 0.5)), rel=1e-14
    )


def test_cauchy_schwarz_and_positive_semidefiniteness():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(12, 3))
    gram = points @ points.T
    for name in ("tanh", "relu", "gelu", "elu", "softplus"):
        matrix = kc.gaussian_expectation(name, name, np.diag(gram)[:, None], np.diag(gram)[None, :], gram)
        np.testing.assert_allclose(matrix, matrix.T, rtol=1e-13)
        assert np.linalg.eigvalsh(matrix).min() > -1e-13 * np.trace(matrix)


def test_the_whole_answer():
    """One method is a text, several are an array; the error covers E[erf erf] by Williams' arcsine."""
    one = kc.gaussian_expectation("tanh", "tanh", [1.0, 2.0], 1.0, [[0.5], [0.1]], full_output=True)
    assert one.method == "series"
    assert one.dimensions() == {"value": ("axis_0", "axis_1"), "error": ("axis_0", "axis_1")}
    assert one.scalars() == {"method": "series", "resolution": 0.0}
    several = kc.gaussian_expectation("tanh", "tanh", [1.0, 0.0], 1.0, [0.5, 0.0], full_output=True)
    assert several.method.tolist() == ["series", "deterministic"]
    assert several.dimensions()["method"] == ("axis_0",)
    none = kc.gaussian_expectation("tanh", "tanh", [], 1.0, 0.0, full_output=True)
    assert none.value.shape == none.method.shape == (0,)
    alone = kc.gaussian_expectation("erf", "erf", 1.0, 2.0, 0.5, full_output=True)
    wanted = 2 / math.pi * math.asin(1 / math.sqrt(3 * 5))
    assert abs(alone.value - wanted) <= alone.error < 1e-14
    scalars = alone.scalars()
    assert scalars["method"] == "exact"
    assert scalars["value"] == pytest.approx(wanted, rel=1e-14)
    assert {name: type(value) for name, value in scalars.items()} == {
        "value": float,
        "error": float,
        "method": str,
        "resolution": float,
    }
    assert alone.dimensions() == {}


def soft(x):
    return x / (1 + x**2)


def test_plain_callables_say_how_fine_they_were_seen():
    """At the larger of two variances; none is seen where both are 0."""
    with pytest.warns(ResolutionWarning, match="is known only where"):
        wide = kc.gaussian_expectation(soft, "tanh", [1.0, 100.0], 1.0, 0.5, full_output=True)
    with pytest.warns(ResolutionWarning):
        turned = kc.gaussian_expectation("tanh", soft, 1.0, [100.0, 1.0], 0.5, full_output=True)
    with pytest.warns(ResolutionWarning):
        both = kc.gaussian_expectation(soft, soft, 1.0, 100.0, 0.5, full_output=True)
    assert wide.resolution == turned.resolution == both.resolution > 0
    with pytest.warns(ResolutionWarning):
        near = kc.gaussian_expectation(soft, "tanh", 1.0, 1.0, 0.5, full_output=True)
    assert near.resolution < wide.resolution
    assert kc.gaussian_expectation(soft, "tanh", 0.0, 1.0, 0.0, full_output=True).resolution == 0


def test_fifteen_digits_are_certified_unless_more_are_asked_for():
    pytest.importorskip("flint")
    few = kc.gaussian_expectation("erf", "erf", 1, 2, 0.5, certified=True, full_output=True)
    many = kc.gaussian_expectation("erf", "erf", 1, 2, 0.5, certified=True, dps=40)
    assert few.method == "certified"
    assert few.error == few.value.rad()
    assert few.value.contains(many)
    assert 1e-38 < few.value.rad() < 1e-15 * abs(few.value)
    assert many.rad() < 1e-40
    for digits in (True, 0, 501, 2.5):
        with pytest.raises(InputError, match="digits"):
            kc.gaussian_expectation("erf", "erf", 1, 2, 0.5, certified=True, dps=digits)


def test_digits_on_request():
    value = kc.gaussian_expectation("tanh", "tanh", 1, 2, 0.5, dps=50)
    with mp.workdps(60):
        reference, _ = make_reference.trapezoid(mp.tanh, mp.tanh, 1, 2, mp.mpf("0.5"))
        assert abs(value - reference) < 1e-25
    result = kc.gaussian_expectation("relu", "relu", 1, 1, "0.3", dps=40, full_output=True)
    with mp.workdps(50):
        angle = mp.acos(mp.mpf("0.3"))
        exact = (mp.sin(angle) + (mp.pi - angle) * mp.mpf("0.3")) / (2 * mp.pi)
        assert abs(result.value - exact) < mp.mpf(10) ** -40
    assert result.method == "multiprecision"


def test_bad_input():
    ge = kc.gaussian_expectation
    with pytest.raises(CovarianceError):
        ge("tanh", "tanh", 1.0, 1.0, 2.0)
    with pytest.raises(UnknownNameError):
        ge("tanhh", "tanh", 1.0, 1.0, 0.0)
    with pytest.raises(DivergentExpectationError):
        ge("exp", "exp", 1e3, 1e3, 1e3)
    with pytest.raises(DivergentExpectationError):
        ge(sp.exp(kc.activations.x**2) * sp.tanh(kc.activations.x), "tanh", 4.0, 1.0, 0.5)
    with pytest.raises(InputError, match="rtol"):
        ge("tanh", "tanh", 1.0, 1.0, 0.0, rtol=0)
    for rtol in (1, 1.5, "1e-9", np.nan):
        with pytest.raises(InputError, match="rtol"):
            ge("tanh", "tanh", 1.0, 1.0, 0.0, rtol=rtol)
    with pytest.raises(InputError, match="dps"):
        ge("tanh", "tanh", 1.0, 1.0, 0.0, dps=0)
    with pytest.raises(CovarianceError):
        ge("tanh", "tanh", 1.0, 1.0, 2.0, dps=20)


def test_a_hopeless_function_is_said_to_be_so():
    """A narrow comb that no rule resolves: a warning and a large error estimate, not a silent number."""
    comb = lambda t: np.sign(np.sin(1e6 * t + 0.1))  # noqa: E731
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = kc.gaussian_expectation(comb, comb, 1.0, 1.0, 0.99, full_output=True)
    assert any(issubclass(w.category, PrecisionWarning) for w in caught)
    assert result.error > 1e-4


@pytest.mark.parametrize("name", ["tanh", "sin(x)", "softsign", "x*exp(-x^2)", "hard_tanh"])
def test_a_delta_beside_an_odd_function_is_nothing_and_says_so(name):
    """E[δ(a) g(b)] = φ_q(0) E[g(b) | a = 0] = 0 by symmetry, without a warning."""
    found = kc.gaussian_expectation(kc.activation("relu").derivative(2), name, 1, 2, 0.3, full_output=True)
    assert abs(found.value) <= found.error < 1e-13


@pytest.mark.parametrize(("first", "second"), [("tanh", "x*exp(-x**2)"), ("tanh", "1/(1+x**2)"), ("tanh", "softplus")])
def test_polar_coordinates_of_even_and_odd_functions_agree_with_panels(first, second):
    f, g = kc.activation(first), kc.activation(second)
    q, qp, c = np.array([4.0, 0.3]), np.array([2.0, 9.0]), np.array([1.5, -1.2])
    cov = make_covariance(q, qp, c)
    found, wanted = quadrature.polar(f, g, cov, rtol=1e-11), nested.nested(f, g, cov)
    np.testing.assert_allclose(found.value, wanted.value, rtol=0, atol=1e-12 * wanted.magnitude.max())
    np.testing.assert_allclose(found.magnitude, wanted.magnitude, rtol=1e-3)


@pytest.mark.parametrize(
    ("f", "g", "given"),
    [
        ("x", "erf(-x)", (1.0, 1.0, 0.0)),
        ("x", "x", (1.0, 2.0, -0.0)),
        # siblings
        ("-x*exp(-x^2)", "-x", (1.0, 2.0, -0.0)),
        ("x", "-abs(x)", (1.0, 1.0, 0.0)),
        ("-sin(x)", "x", (1.0, 1.0, 0.0)),
    ],
)
def test_zeros_have_no_sign(f, g, given):
    value = kc.gaussian_expectation(f, g, *given)
    assert value == 0
    assert not np.signbit(value)
    assert not np.signbit(kc.gaussian_expectation(f, g, *([v] * 3 for v in given))).any()
