"""The expectation algebra against brute-force quadrature, and at the edges of covariances and function classes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import mpmath
import pytest
import sympy as sp
from mpmath import mp

from kernelcalc.errors import CovarianceError, DivergentExpectationError
from kernelcalc.expressions.atoms import atoms_of, derivative, x
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.exact import NotInAlgebra, c, evaluate, exact_expectation, in_algebra, q, qp

_spec = importlib.util.spec_from_file_location("exact_reference", Path(__file__).with_name("exact_reference.py"))
ref = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ref)
ROWS = json.loads(ref.PATH.read_text())
R = sp.Rational

RELU, ERF = sp.Max(x, 0), sp.erf(x)
GELU = x * (1 + sp.erf(x / sp.sqrt(2))) / 2


def identity(row):
    return "-".join(map(str, row[:7]))


@pytest.mark.parametrize("row", ROWS, ids=identity)
def test_thirty_digits_against_quadrature(row):
    f, g, i, j, a, b, ab, value = row
    got = evaluate(ref.FUNCTIONS[f][0], ref.FUNCTIONS[g][0], R(a), R(b), R(ab), 30, orders=(i, j))
    with mp.workdps(40):
        assert abs(got - mpmath.mpf(value)) <= mpmath.mpf(10) ** -30 * max(1, abs(mpmath.mpf(value)))


@pytest.mark.parametrize("row", ROWS, ids=identity)
def test_symbolic_form_has_the_same_value(row):
    f, g, i, j, a, b, ab, value = row
    expr = exact_expectation(ref.FUNCTIONS[f][0], ref.FUNCTIONS[g][0], orders=(i, j))
    got = expr.subs({q: R(a), qp: R(b), c: R(ab)}).evalf(30, chop=True)
    assert abs(got - sp.Float(value, 36)) < sp.Float("1e-26", 36) * max(1, abs(float(value)))


def test_table_is_current():
    assert [row[:7] for row in ROWS] == [list(case) for case in ref.CASES]
    assert len({tuple(sorted(row[:2])) for row in ROWS}) >= 40


@pytest.mark.parametrize(
    "case",
    [
        ("erf", "erf", 0, 0, "1", "2", "1"),
        pytest.param(("hard_tanh", "hard_tanh", 0, 0, "1", "1", "1/2"), marks=pytest.mark.long),
    ],
)
def test_references_recomputed_with_fewer_digits(case):
    value = next(row[7] for row in ROWS if tuple(row[:7]) == case)
    assert abs(ref.reference(*case, dps=12, width=6.0) - mpmath.mpf(value)) < 1e-11


def line_quadrature(h, q1, cuts=()):
    """E[h(√q Z)] in one dimension, split at the kinks."""
    with mp.workdps(40):
        root = mp.sqrt(mp.mpf(q1))
        nodes = sorted([mp.mpf(k) for k in range(-16, 17, 2)] + [k / root for k in cuts])
        return mp.quad(lambda u: h(root * u) * mp.npdf(u), nodes)


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        ("relu", (0, 0)),
        ("hard_tanh", (0, 0)),
        ("hard_tanh", (1, 1)),
        ("elu", (1, 1)),
        ("relu6", (0, 0)),
        ("window", (0, 0)),
        ("gelu", (3, 1)),
        ("wave", (1, 1)),
    ],
)
@pytest.mark.parametrize("slope", [R(1), R(-1), R(1, 2)])
def test_degenerate_covariance_is_one_dimensional(name, orders, slope):
    expr, kinks = ref.FUNCTIONS[name]
    one, two = (compile_expression(x, sp.diff(expr, x, k), modules="mpmath") for k in orders)
    s = mpmath.mpf(slope.p) / slope.q
    cuts = [*kinks, *(k / float(slope) for k in kinks)]
    expected = line_quadrature(lambda a: one(a) * two(s * a), 2, cuts)
    got = evaluate(expr, expr, 2, 2 * slope**2, 2 * slope, 25, orders=orders)
    assert abs(got - expected) < mpmath.mpf("1e-24")
    if slope == 1:
        closed = exact_expectation(expr, expr, q, q, q, orders=orders).subs(q, 2).evalf(25, chop=True)
        assert abs(closed - sp.Float(expected, 30)) < sp.Float("1e-22", 30)


def test_delta_terms_are_densities():
    # E[δ(a)δ(b)] is the density of (a, b) at the origin.
    assert exact_expectation(RELU, RELU, orders=(2, 2)) == 1 / (2 * sp.pi * sp.sqrt(q * qp - c**2))
    # E[δ(a) g(b)] = p_a(0) E[g(b) | a = 0].
    got = evaluate(RELU, sp.cos(x), 2, 3, 1, 30, orders=(2, 0))
    with mp.workdps(40):
        expected = mp.exp(-mp.mpf(5) / 4) / mp.sqrt(4 * mp.pi)
        assert abs(got - expected) < mp.mpf("1e-31")
    # ∂_c² V by differentiating the closed form.
    for f in (RELU, sp.Abs(x), ref.FUNCTIONS["elu"][0]):
        slope = sp.diff(exact_expectation(f, f), c, 2) - exact_expectation(f, f, orders=(2, 2))
        assert abs(slope.subs({q: R(3, 2), qp: R(2), c: R(-1, 3)}).evalf(30, chop=True)) < 1e-25


@pytest.mark.parametrize("orders", [(2, 2), (3, 1)])
def test_relu_diagonal_diverges(orders):
    with pytest.raises(DivergentExpectationError, match="kinks"):
        exact_expectation(RELU, RELU, q, q, q, orders=orders)
    with pytest.raises(DivergentExpectationError, match="kinks"):
        evaluate(RELU, RELU, 1, 4, 2, orders=orders)


def test_opposite_points_with_kinks_at_zero_diverge_too():
    with pytest.raises(DivergentExpectationError):
        evaluate(RELU, RELU, 1, 1, -1, orders=(2, 2))


def test_kinks_that_do_not_meet_are_finite_on_the_diagonal():
    assert exact_expectation(RELU, sp.Max(x - 1, 0), q, q, q, orders=(2, 2)) == 0


@pytest.mark.parametrize(
    ("f", "q1", "q2", "cov"),
    [(sp.exp(x**2 / 2), 1, 1, 0), (sp.exp(x**2 / 4), 2, 1, 0), (sp.exp(x**2 / 4), 1.5, 1.5, 1.4)],
)
def test_growth_beyond_the_gaussian_diverges(f, q1, q2, cov):
    with pytest.raises(DivergentExpectationError, match="exp"):
        evaluate(f, f, q1, q2, cov)


def test_growth_within_the_gaussian():
    with mp.workdps(40):
        expected = 1 / mp.sqrt((1 - mp.mpf(1) / 2) ** 2 - mp.mpf(1) / 16)
    assert abs(evaluate(sp.exp(x**2 / 4), sp.exp(x**2 / 4), 1, 1, 0.5, 30) - expected) < mpmath.mpf("1e-29")


@pytest.mark.parametrize("bad", [(-1, 1, 0), (1, 1, 1.01), (0, 1, 0.1), (float("nan"), 1, 0)])
def test_no_covariance(bad):
    with pytest.raises(CovarianceError):
        evaluate(RELU, RELU, *bad)


@pytest.mark.parametrize("name", ["relu", "gelu", "sin", "hard_tanh", "elu", "cubic"])
def test_zero_variance_is_a_point(name):
    expr = ref.FUNCTIONS[name][0]
    mean = evaluate(sp.S.One, expr, 1, 2, 0, 30)
    assert abs(evaluate(expr, expr, 0, 2, 0, 30) - float(expr.subs(x, 0)) * mean) < 1e-29


@pytest.mark.parametrize(
    ("order", "value"),
    # at variance 1: E of the derivatives of max(a - 1, 0) are densities p(1) times 1, 1 = He_1(1) and 0 = He_2(1)
    [(2, mpmath.npdf(1)), (3, mpmath.npdf(1)), (4, 0)],
)
@pytest.mark.parametrize("other", [0, 1, 2])
def test_deltas_beside_a_constant(order, value, other):
    # E[f(a) g(0)] = g(0) E f(a), g = max(x + 1, 0), also where derivatives of g, to which deltas pass on, hold deltas at 0
    kinked, beside = sp.Max(x - 1, 0), sp.Max(x + 1, 0) + (1 - other // 2) * sp.Abs(x)
    at_zero = (1, 1, 0)[other]
    found = (
        evaluate(kinked, beside, 1, 0, 0, 25, orders=(order, other)),
        evaluate(beside, kinked, 0, 1, 0, 25, orders=(other, order)),
    )
    assert max(abs(one - at_zero * value) for one in found) < 1e-15


@pytest.mark.parametrize("expr", [sp.tanh(x), sp.atan(x), x * sp.erf(x) ** 2, sp.sqrt(1 + x**2), 1 / (1 + sp.exp(x))])
def test_outside_the_class(expr):
    assert not in_algebra(expr)
    with pytest.raises(NotInAlgebra, match="expected"):
        evaluate(expr, expr, 1, 1, 0)


@pytest.mark.parametrize("rho", ["1e-30", "-1e-12", "0.999999999999", "-0.999999999999999999"])
@pytest.mark.parametrize("name", ["relu", "elu", "hard_tanh", "shifted_erf", "gelu"])
def test_digits_survive_cancellation(name, rho):
    """The same value with 15 and with 40 digits, and no digit lost near ρ = 0 and ±1."""
    expr = ref.FUNCTIONS[name][0]
    low = evaluate(expr, expr, 1, 1, R(rho), 15)
    high = evaluate(expr, expr, 1, 1, R(rho), 40)
    assert abs(low - high) <= mpmath.mpf("1e-15") * abs(high)


def test_small_variance_keeps_relative_accuracy():
    got = evaluate(ERF, ERF, 1e-8, 1e-8, 1e-8, 30)
    with mp.workdps(60):
        v = mp.mpf(1e-8)
        expected = 2 / mp.pi * mp.asin(2 * v / (1 + 2 * v))
        assert abs(got / expected - 1) < mp.mpf("1e-29")


@pytest.mark.parametrize("scale", ["1e-50", "1e-200", "1e40"])
def test_relu_is_homogeneous_at_any_scale(scale):
    s = R(scale)
    got = evaluate(RELU, RELU, 2 * s, 3 * s, -s, 20)
    with mp.workdps(40):
        expected = evaluate(RELU, RELU, 2, 3, -1, 30) * (mp.mpf(s.p) / s.q)
        assert abs(got / expected - 1) < mp.mpf("1e-19")


NAMES = ("relu", "elu", "hard_tanh", "gelu", "x_erf", "window", "bump", "wave")
POINTS = ((1, 2, 1), (2, 1, 1), (1, 1, -R(1, 2)), (1, 4, 2), (2, 2, 0), (0, 1, 0))


@pytest.mark.parametrize(
    ("name", "point"),
    [
        *((name, point) for name in NAMES for point in POINTS if name != "hard_tanh" or point not in POINTS[:2]),
        *(pytest.param("hard_tanh", point, marks=pytest.mark.long) for point in POINTS[:2]),
    ],
)
def test_exact_numbers_in_place_of_symbols(name, point, long):
    expr = ref.FUNCTIONS[name][0]
    # 0 by symmetry, which digits say late
    slow = {(1, 0)} if name == "hard_tanh" and point == POINTS[2] and not long else set()
    for orders in {(0, 0), (1, 0), (1, 1)} - slow:
        closed = exact_expectation(expr, expr, *point, orders=orders).evalf(25, chop=True)
        assert abs(closed - sp.Float(evaluate(expr, expr, *point, 30, orders=orders), 30)) < 1e-20


def test_floats_are_decimals_in_symbols_and_binary_in_digits():
    assert exact_expectation(x, x, 0.5, 1, 0.1) == R(1, 10)
    assert evaluate(x, x, 0.5, 1, 0.1, 30) == mpmath.mpf(0.1)


def test_normalised_and_affine_forms_need_no_new_code():
    mean, second = (exact_expectation(RELU, g, 1, 1, 1) for g in (sp.S.One, RELU))
    standard = (RELU - mean) / sp.sqrt(second - mean**2)
    assert sp.simplify(exact_expectation(standard, sp.S.One, 1, 1, 1)) == 0
    assert sp.simplify(exact_expectation(standard, standard, 1, 1, 1)) == 1


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (ERF, 2 * sp.asin(2 * c / (sp.sqrt(2 * q + 1) * sp.sqrt(2 * qp + 1))) / sp.pi),
        (sp.sin(x), sp.exp(-q / 2 - qp / 2) * sp.sinh(c)),
        (sp.cos(x), sp.exp(-q / 2 - qp / 2) * sp.cosh(c)),
        (sp.exp(x), sp.exp(c + q / 2 + qp / 2)),
        (x**3, 6 * c**3 + 9 * c * q * qp),
        (sp.sign(x), 2 * sp.asin(c / (sp.sqrt(q) * sp.sqrt(qp))) / sp.pi),
        (sp.Abs(x), 2 * (c * sp.asin(c / (sp.sqrt(q) * sp.sqrt(qp))) + sp.sqrt(q * qp - c**2)) / sp.pi),
    ],
)
def test_published_forms(f, expected):
    assert sp.expand(exact_expectation(f, f) - expected) == 0


def test_derivative_of_atoms_is_the_distributional_one():
    # ∫ f' φ = −∫ f φ' for the test function φ = E[· weight], here through E: E[f'] = E[a f]/q.
    for name in ("hard_tanh", "window", "relu2", "step", "elu"):
        f = ref.FUNCTIONS[name][0]
        for order in (1, 2, 3):
            left = evaluate(f, sp.S.One, 2, 1, 0, 25, orders=(order, 0))
            hermite = [sp.S.One, x / 2, (x**2 - 2) / 4, (x**3 - 6 * x) / 8][order]
            right = evaluate(ref.FUNCTIONS[name][0] * hermite, sp.S.One, 2, 1, 0, 25)
            assert abs(left - right) < mpmath.mpf("1e-23"), (name, order)


def test_atoms_of_derivative_matches_sympy_on_smooth_functions():
    for name in ("gelu", "bump", "wave", "smooth_relu"):
        f = ref.FUNCTIONS[name][0]
        left, right = derivative(atoms_of(f), 2), atoms_of(sp.expand(sp.diff(f, x, 2)))
        assert set(left) == set(right)
