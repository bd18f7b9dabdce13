"""Panels between kinks against the exact algebra, Mehler's series by mpmath's quadrature, and limits."""

from functools import cache

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import PrecisionError
from kernelcalc.expressions.exact import evaluate
from kernelcalc.gaussian.digits import panels, rules
from kernelcalc.gaussian.digits.panels import panel_expectations


def pair(name, q, qp, c, dps, pairs=((0, 0), (1, 1))):
    act = as_activation(name)
    functions = [act.derivative(k) for k in range(1 + max(max(p) for p in pairs))]
    with mp.workdps(2 * dps + 20):
        return panel_expectations(functions, functions, mp.mpf(q), mp.mpf(qp), mp.mpf(c), pairs, dps)


COVARIANCES = [
    ("1", "2", "0.5"),
    ("1", "1", "1"),
    ("1", "4", "-2"),
    ("25", "9", "-10"),
    ("1", "1", "1e-20"),
    ("1", "1", "-0.9"),
]


@pytest.mark.parametrize(
    ("name", "q", "qp", "c"),
    [
        *((name, *covariance) for name in ("elu", "hard_tanh") for covariance in COVARIANCES),
        ("elu", "0.001", "0.002", "0.0005"),
        pytest.param("hard_tanh", "0.001", "0.002", "0.0005", marks=pytest.mark.long),
    ],
)
def test_closed_forms_to_fifty_digits(name, q, qp, c):
    act = kc.activation(name)
    for (i, j), value in pair(name, q, qp, c, 50).items():
        with mp.workdps(130):
            arguments = [mp.mpf(v) for v in (q, qp, c)]
        exact = evaluate(act.expr, act.expr, *arguments, 60, orders=(i, j))
        with mp.workdps(70):
            assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -50, (i, j)


def test_closed_form_near_full_correlation():
    act = kc.activation("elu")
    for (i, j), value in pair("elu", 1, "0.5", "-0.7071", 15).items():
        with mp.workdps(60):
            exact = evaluate(act.expr, act.expr, mp.mpf(1), mp.mpf("0.5"), mp.mpf("-0.7071"), 25, orders=(i, j))
            assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -15, (i, j)


def test_delta_functions_off_the_diagonal():
    """σ̈ of relu and leaky_relu is a delta function: E22 is a bivariate density, E20 a conditional mean."""
    act = kc.activation("leaky_relu")
    orders = ((2, 2), (2, 0), (0, 2))
    for c in ("0.5", "-0.9"):
        for order, value in pair("leaky_relu", 1, 2, c, 30, orders).items():
            with mp.workdps(60):
                exact = evaluate(act.expr, act.expr, mp.mpf(1), mp.mpf(2), mp.mpf(c), 40, orders=order)
                assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -30, order
    with pytest.raises(PrecisionError):
        pair("leaky_relu", 1, 1, 1, 30, orders)
    with pytest.raises(PrecisionError, match="derivatives of delta"):
        pair("leaky_relu", 1, 1, "0.5", 30, ((3, 1),))


@cache
def coefficient(name, q, k):
    """f_k(q) by mpmath's own quadrature, split at 0; k odd and f odd."""
    function = {"softsign": lambda v: v / (1 + v), "x*tanh(Abs(x))": lambda v: v * mp.tanh(v)}[name]
    std = mp.sqrt(q)
    hermite = lambda z: mp.hermite(k, z / mp.sqrt(2)) / mp.sqrt(mp.mpf(2) ** k)  # noqa: E731
    edges = [0, 1 / (2 * std), 2, 5, 14]
    integral = mp.quad(lambda z: function(std * z) * hermite(z) * mp.npdf(z), edges)
    return 2 * integral / mp.sqrt(mp.factorial(k))


@pytest.mark.parametrize(("name", "q"), [pytest.param("softsign", 4, marks=pytest.mark.long), ("x*tanh(Abs(x))", 2)])
def test_functions_without_closed_form_against_mehlers_series(name, q):
    rho = mp.mpf("0.125")
    values = pair(name, q, q, rho * q, 25)
    with mp.workdps(32):
        terms = {k: coefficient(name, q, k) ** 2 for k in range(1, 30, 2)}
        sigma = mp.fsum(v * rho**k for k, v in terms.items())
        dot = mp.fsum(v * k * rho ** (k - 1) for k, v in terms.items()) / q
        assert abs(values[0, 0] - sigma) < sigma * mp.mpf(10) ** -25
        assert abs(values[1, 1] - dot) < dot * mp.mpf(10) ** -24


# whether a slow machine warns is not what is tested
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.SlowMethodWarning")
def test_both_rules_meet_and_tend_to_the_line(monkeypatch):
    """Frequencies and conditional means at the same ρ."""
    below = pair("softsign", 1, 2, "1.4", 8)
    monkeypatch.setattr(panels, "NARROW", 0.9)
    above = pair("softsign", 1, 2, "1.4", 8)
    for order in below:
        assert abs(below[order] - above[order]) < abs(below[order]) * mp.mpf(10) ** -7
    line = pair("softsign", 1, 1, 1, 15)
    near = pair("softsign", 1, 1, 1 - mp.mpf(2) ** -40, 15, ((0, 0),))
    with mp.workdps(40):
        slope = (line[0, 0] - near[0, 0]) * 2**40 / line[1, 1]
        assert abs(slope - 1) < 1e-4


def test_kernels_of_kinked_functions():
    """Depth 2 is one expectation; Θ follows from Σ by Price's theorem, as a difference quotient."""
    net = kc.MLP("max(tanh(x), 0)", depth=2, beta=0.0)
    x, xp = [[1.0, 0.0]], [[0.6, 0.8]]
    kernels = net.kernels(x, xp, dps=30)
    with mp.workdps(60):
        q, c = mp.mpf(1) / 2, mp.mpf(0.6) / 2
        qp = (mp.mpf(0.6) ** 2 + mp.mpf(0.8) ** 2) / 2
        f = net.activations[0]
        h = mp.mpf(10) ** -12
        up, down = (kc.gaussian_expectation(f, f, q, qp, c + s, dps=40) for s in (h, -h))
        slope = (up - down) / (2 * h)
        assert abs(kernels.theta[0, 0] - (c * slope + kernels.sigma[0, 0])) < mp.mpf(10) ** -22
        assert abs(kernels.sigma[0, 0] - (up + down) / 2) < mp.mpf(10) ** -22


# The parts of the rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [8, 24])
def test_nodes_and_weights_of_gauss_and_legendre(count):
    """Powers below 2n are integrated exactly: Σ w z^{2m} = 2/(2m + 1); the odd ones vanish."""
    nodes, weights = rules.legendre(count, 150)
    with mp.workprec(220):
        for m in range(2 * count):
            wanted = mp.mpf(2) / (m + 1) if m % 2 == 0 else mp.mpf(0)
            assert abs(mp.fsum(w * z**m for z, w in zip(nodes, weights, strict=True)) - wanted) < mp.mpf(2) ** -150
        assert (
            abs(mp.fsum(w * z ** (2 * count) for z, w in zip(nodes, weights, strict=True)) * (2 * count + 1) - 2)
            > 1e-13
        )


def test_panels_are_as_long_as_their_distance_from_marks():
    marks, reach = [(mp.mpf("0.3"), 0.05), (mp.mpf(-4), 1.0), (mp.mpf(70), 1.0)], 20.0
    found = rules.mesh(marks, [], reach)
    assert found[0][0] == -20
    assert found[-1][1] == 20
    assert all(one[1] == two[0] for one, two in zip(found[:-1], found[1:], strict=True))
    edges = {one[0] for one in found}
    assert {mp.mpf("0.3"), mp.mpf(-4)} <= edges

    def longest(left, right):
        return min(9.0, *(max(first, float(left - at), float(at - right)) for at, first in marks))

    for left, right, length in found:
        assert length == float(right - left) <= longest(left, right) * (1 + 1e-9)
    assert min(length for *_, length in found) > 0.02


def test_layers_set_the_unit_of_length():
    """Around a layer of width 0.01 panels are at most nine widths long, and their length counts in widths."""
    found = rules.mesh([], [(mp.mpf(1), 0.01)], 5.0)
    near = [(left, right, length) for left, right, length in found if abs(float(left + right) / 2 - 1) < 0.1]
    for left, right, length in near:
        assert length == pytest.approx(float(right - left) / 0.01)
        assert float(right - left) <= 0.09 * (1 + 1e-9)
    far = [(left, right, length) for left, right, length in found if float(left) > 2]
    assert far
    assert all(length == float(right - left) for left, right, length in far)


def test_nodes_of_panels():
    """Digits·(0.5 + 0.085 ℓ) of them, in fours; weights sum up to the length; no two refinements have as many."""
    found = rules.panel_nodes([(mp.mpf(-1), mp.mpf(1), 2.0), (mp.mpf(1), mp.mpf(10), 9.0)], 20, 1.0, 100)
    middles = [middle for _, _, middle in found]
    assert middles.count(mp.mpf(0)) == 16
    assert middles.count(mp.mpf("5.5")) == 28
    for digits in (4, 5, 12, 50):
        for refinements in ((0.64, 0.896, 1.2544), (1.0, 1.4, 1.96)):
            counts = [len(rules.panel_nodes([(mp.mpf(0), mp.mpf(1), 1.0)], digits, r, 100)) for r in refinements]
            assert counts == sorted(set(counts))
    assert abs(mp.fsum(w for _, w, _ in found) - 11) < 1e-14
    assert abs(mp.fsum(w * z for z, w, _ in found) - mp.mpf(99) / 2) < 1e-13


def test_the_trapezoidal_rule_of_the_normal_density():
    with mp.workprec(120):
        for fineness, refinement in ((1.0, 1.0), (0.5, 1.4)):
            rule = rules.whole_line(15.0, fineness, refinement, 100)
            for power, moment in ((0, 1), (1, 0), (2, 1), (4, 3)):
                assert abs(mp.fsum(w * v**power for v, w in rule) - moment) < mp.mpf(2) ** -98
        assert len(rules.whole_line(15.0, 0.5, 1.0, 100)) > 1.9 * len(rules.whole_line(15.0, 1.0, 1.0, 100))
        # where ρ asks for a coarser rule it is one
        assert len(rules.whole_line(15.0, 1.0, 1.0, 100)) < 100


def job(f, g, q, qp, c, dps, pairs=((0, 0),)):
    functions = [[as_activation(name).derivative(k) for k in range(1 + max(max(p) for p in pairs))] for name in (f, g)]
    q, qp, c = (mp.mpf(v) for v in (q, qp, c))
    sides = [panels.Pieces(one) for one in functions]
    return panels._Job(*sides, (q, qp, c, panels.determinant(q, qp, c)), pairs, dps)


def brute_force(function, q, qp, c):
    """E[f(a) f(b)] for f with a kink at 0, by composite Gauss–Legendre in both variables, split there."""
    nodes, weights = np.polynomial.legendre.leggauss(40)

    def rule(edges):
        middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
        return (middle[:, None] + half[:, None] * nodes).ravel(), (half[:, None] * weights).ravel()

    total, slope, spread = 0.0, c / q, np.sqrt(qp - c * c / q)
    graded = np.concatenate([[0.0], 2.0 ** np.arange(-8, 3.5, 0.5), [10.0]]) * np.sqrt(q)
    for a, weight in zip(*rule(np.concatenate([-graded[:0:-1], graded])), strict=True):
        ends = np.concatenate([np.linspace(slope * a - 9 * spread, slope * a + 9 * spread, 13), [0.0]])
        b, inner = rule(np.sort(ends))
        density = np.exp(-(a**2) / (2 * q) - (b - slope * a) ** 2 / (2 * spread**2)) / (2 * np.pi * np.sqrt(q) * spread)
        total += weight * function(a) * (inner * density) @ function(b)
    return total


# how long few digits of narrow conditional laws take is not what is tested
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.SlowMethodWarning")
@pytest.mark.parametrize(
    ("name", "function", "q", "qp", "c"),
    [
        ("softsign", lambda v: v / (1 + np.abs(v)), 1.0, 2.0, 1.4),
        ("max(tanh(x), 0)", lambda v: np.maximum(np.tanh(v), 0), 1.0, 2.0, 1.4),
        ("x*tanh(Abs(x))", lambda v: v * np.tanh(np.abs(v)), 2.0, 1.0, -1.39),
        ("softsign", lambda v: v / (1 + np.abs(v)), 1.0, 2.0, 1.41),
    ],
)
@pytest.mark.parametrize("dps", [4, pytest.param(8, marks=pytest.mark.long), 12])
def test_few_digits_are_as_right_as_many(name, function, q, qp, c, dps):
    """Two rules with as many nodes would agree on anything."""
    exact = brute_force(function, q, qp, c)
    assert abs(float(kc.gaussian_expectation(name, name, q, qp, c, dps=dps)) / exact - 1) < max(10.0**-dps, 1e-12)


# how long a rule takes is said by the processor time of this machine
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.SlowMethodWarning")
@pytest.mark.parametrize(("q", "qp", "c"), [("1", "2", "0.5"), ("0.5", "1", "-0.6"), ("1", "2", "0")])
def test_each_rule_beside_the_exact_algebra(q, qp, c):
    """The second rules reach the digits that they are made for, at low and at middling ρ alike."""
    with mp.workdps(40):
        rules = job("hard_tanh", "elu", q, qp, c, 8, ((0, 0), (1, 1), (2, 0)))
        first, second = kc.activation("hard_tanh"), kc.activation("elu")
        found = {"frequencies": rules.frequencies(1.4)}
        if c == "0.5":
            found["nested"] = rules.nested(1.4)
        for name, values in found.items():
            for pair_, value in values.items():
                exact = evaluate(first.expr, second.expr, mp.mpf(q), mp.mpf(qp), mp.mpf(c), 30, orders=pair_)
                assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -8, (name, pair_)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_line_is_split_at_the_kinks_of_both(sign):
    with mp.workdps(40):
        rules = job("hard_tanh", "elu", 1, 4, 2 * sign, 15)
        exact = mp.quad(
            lambda u: mp.npdf(u) * max(min(u, 1), -1) * (2 * sign * u if sign * u > 0 else mp.expm1(2 * sign * u)),
            [-14, -8, -4, -1, 0, 1, 4, 8, 14],
        )
        assert abs(rules.line(1.0)[0, 0] - exact) < mp.mpf(10) ** -15


def test_places_of_kinks_have_all_digits():
    act = kc.Activation("where(x>sqrt(2)/3, x, tanh(x)+sqrt(2)/3-tanh(sqrt(2)/3))")
    with mp.workdps(50):
        pieces = panels.Pieces([act, act.derivative(1), act.derivative(2)])
        assert abs(pieces.breaks[0] - mp.sqrt(2) / 3) < mp.mpf(10) ** -49
        ((at, weights),) = pieces.deltas
        assert at == pieces.breaks[0]
        assert weights[:2] == [0, 0]
        assert abs(weights[2] - mp.tanh(mp.sqrt(2) / 3) ** 2) < mp.mpf(10) ** -49
        # on a kink the middle of the panel says on which side
        assert pieces(at, at + 1)[1] == 1
        assert abs(pieces(at, at - 1)[1] - mp.sech(at) ** 2) < mp.mpf(10) ** -48


def settled_digits(monkeypatch):
    """Pairs and digits of each attempt at given pairs."""
    asked, settled = [], panels._settled

    def counted(f, g, cov, pairs, dps):
        asked.append((len(f), list(pairs), dps))
        return settled(f, g, cov, pairs, dps)

    monkeypatch.setattr(panels, "_settled", counted)
    return asked


def test_digits_that_cancel_are_added_once(monkeypatch):
    """E[|a| − √(2/π) + 10⁻²⁰] = 10⁻²⁰ at q = 1, beside a derivative that settles at once."""
    asked = settled_digits(monkeypatch)
    act, one = kc.Activation("Abs(x)-sqrt(2/pi)+1/10**20+x/3"), kc.Activation("1+0*x")
    with mp.workdps(80):
        functions = [act, act.derivative(1)]
        found = panel_expectations(functions, [one], mp.mpf(1), mp.mpf(2), mp.mpf(1) / 2, [(0, 0), (1, 0)], 10)
        assert abs(found[0, 0] * 10**20 - 1) < mp.mpf(10) ** -10
        assert abs(found[1, 0] - mp.mpf(1) / 3) < mp.mpf(10) ** -10
    (_, pairs, first), (_, again, second) = asked
    assert (pairs, again) == ([(0, 0), (1, 0)], [(0, 0)])
    assert first == 10
    assert second < 40


def test_a_mean_that_vanishes_without_a_symmetry(monkeypatch):
    """E[|a| − √(2/π)] = 0 at q = 1: below 10⁻⁶⁰ of √(E f² E g²), which guard bits show at some 50 digits."""
    asked = settled_digits(monkeypatch)
    act, one = kc.Activation("Abs(x)-sqrt(2/pi)+x/3"), kc.Activation("3+0*x")
    with mp.workdps(150):
        found = panel_expectations([act], [one], mp.mpf(1), mp.mpf(2), mp.mpf(1) / 2, [(0, 0)], 10)
    assert found[0, 0] == 0
    digits = [dps for _, _, dps in asked]
    assert 45 <= max(digits) <= 60


def test_norms_of_functions_and_of_delta_functions():
    relu = kc.activation("leaky_relu")
    functions = [relu.derivative(k) for k in range(3)]
    with mp.workdps(40):
        assert abs(panels._norm(functions, 0, mp.mpf(3), 15) - mp.sqrt(3 * (1 + mp.mpf("0.01") ** 2) / 2)) < 1e-14
        assert abs(panels._norm(functions, 1, mp.mpf(3), 15) - mp.sqrt((1 + mp.mpf("0.01") ** 2) / 2)) < 1e-14
        assert panels._norm(functions, 2, mp.mpf(3), 15) == 1


def test_determinants():
    with mp.workdps(30):
        gap = mp.mpf(10) ** -20
        assert abs(panels.determinant(mp.mpf(1), mp.mpf(1), 1 - gap) - 2 * gap) < gap * mp.mpf(10) ** -7
        # below the rounding of 30 digits nobody knows
        assert panels.determinant(mp.mpf(1), mp.mpf(1), 1 - mp.mpf(10) ** -24) == 0
        assert panels.determinant(mp.mpf(2), mp.mpf(3), mp.mpf(1)) == 5


def test_slow_rules_are_said_to_be_so(monkeypatch):
    monkeypatch.setattr(panels, "SLOW", 0.0)
    for c in ("0.5", "0.999"):
        with pytest.warns(kc.errors.SlowMethodWarning, match=f"5 digits .* ρ = {c}"):
            pair("hard_tanh", 1, 1, c, 5, ((0, 0),))


def test_rules_that_do_not_meet_are_refused(monkeypatch):
    monkeypatch.setattr(panels, "MAX_REFINEMENTS", 1)
    with pytest.raises(PrecisionError, match=r"panels do not reach 5 digits at q1=1\.0, q2=2\.0, c=0\.5"):
        pair("hard_tanh", 1, 2, "0.5", 5, ((0, 0),))
