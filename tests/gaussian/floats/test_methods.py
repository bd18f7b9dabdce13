"""The methods one by one, beside plain panels, and how the list of them keeps the best estimate of each pair."""

from __future__ import annotations

import math
import warnings

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import DivergentExpectationError, PrecisionWarning
from kernelcalc.gaussian.covariance import Covariance, make_covariance
from kernelcalc.gaussian.estimate import Scaled
from kernelcalc.gaussian.floats import methods
from kernelcalc.gaussian.floats.method import FAINTEST, Method, Results
from kernelcalc.gaussian.floats.methods import METHODS, pair_estimate, pair_results
from tests.gaussian.floats.test_quadrature import in_the_plane, on_a_line

EPS = np.finfo(float).eps
RTOL = 1e-11
BY_CLASS = {type(method).__name__: method for method in METHODS if not isinstance(method, methods.Series)}
FAR, NEAR = (method for method in METHODS if isinstance(method, methods.Series))


def covariance(*rows):
    return make_covariance(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))


def function(text, order=0):
    return kc.Activation(text).derivative(order)


def density(x, q):
    return math.exp(-x * x / (2 * q)) / math.sqrt(2 * math.pi * q)


# The table of estimates -----------------------------------------------------------------------------------------------------


def test_pairs_that_are_open():
    """Those with too large an error, or with nothing but zeros of a quadrature; not those that diverge or are final."""
    table = Results(7)
    assert table.open(RTOL).tolist() == list(range(7))
    table.value[:] = [1, 1, np.inf, 1, 0, 0, 1]
    table.scale[:] = [1, 1, 1, 1, 0, 0, 1]
    table.error[:] = [1e-12, 1e-9, np.inf, 1e-9, 0, 0, np.nan]
    table.method[:] = ["series", "series", "series", "series", "series", "exact", "series"]
    table.done[3] = True
    assert table.open(RTOL).tolist() == [1, 4, 6]
    assert table.open(1e-8).tolist() == [4, 6]
    assert table.unseen().tolist() == [False] * 4 + [True, False, False]
    table.method[4] = "deterministic"
    assert not table.unseen().any()


def test_better_estimates_are_kept():
    table, index = Results(6), np.arange(5)
    first = Scaled(
        value=np.array([1.0, 1, 1, np.nan, 0]),
        error=np.array([0.1, 0.1, 0.1, np.inf, 0.1]),
        magnitude=np.array([2.0, 2, 2, 0, 0]),
    )
    table.put(index, first, "one")
    assert table.method.tolist() == ["one"] * 5 + [""]
    second = Scaled(
        value=np.array([1.1, 1.1, np.inf, 5, 3]),
        error=np.array([0.05, 0.3, np.inf, np.inf, 0.2]),
        magnitude=np.array([2.1, 7.0, 1.0, 0.0, 0.4]),
    )
    table.put(index, second, "two")
    # finer; coarser; diverges; something where there was nothing; more than zeros
    assert table.method[:5].tolist() == ["two", "one", "two", "two", "two"]
    assert table.value[:5].tolist() == [1.1, 1, np.inf, 5, 3]
    assert table.error[:5].tolist() == [0.05, 0.1, np.inf, np.inf, 0.2]
    # a resolved E|fg| counts whichever value is kept
    assert table.scale[:5].tolist() == [2.1, 7.0, 1.0, 0.0, 0.4]
    third = Scaled(value=np.array([9.0]), error=np.array([0.3]), magnitude=np.array([0.5]))
    table.put(np.array([1]), third, "three")
    assert (table.value[1], table.scale[1]) == (1, 7.0)
    # nor does one that is not resolved, however large
    table.put(np.array([1]), Scaled(value=np.array([9.0]), error=np.array([6.0]), magnitude=np.array([9.0])), "three")
    assert (table.value[1], table.scale[1]) == (1, 7.0)
    table.put(np.array([4]), Scaled(value=np.zeros(1), error=np.zeros(1), magnitude=np.zeros(1)), "four")
    assert table.method[4] == "four"


class Fixed(Method):
    """Gives what it is told."""

    def __init__(self, name, value, error, magnitude, *, final=False):
        self.name, self.final, self.given, self.asked = name, final, (value, error, magnitude), []

    def applies(self, f, g, cov):
        return cov.c != 0.25

    def estimate(self, f, g, cov, rtol):
        self.asked.append(cov.c.tolist())
        value, error, magnitude = (np.full(cov.q.shape, v) for v in self.given)
        return Scaled(value=value, error=error, magnitude=magnitude)


def test_methods_are_asked_for_what_is_left(monkeypatch):
    tanh, cov = function("tanh(x)"), covariance((1, 1, 0.25), (1, 1, 0.5), (1, 1, 0.75))
    rough, final, never = (
        Fixed("rough", 1.0, 0.1, 1.0),
        Fixed("final", 2.0, 0.01, 3.0, final=True),
        Fixed("never", 3.0, 0.0, 1.0),
    )
    monkeypatch.setattr(methods, "METHODS", (rough, final, never, *METHODS))
    with pytest.warns(
        PrecisionWarning, match=r"^E\[tanh\(x\)\(a\) tanh\(x\)\(b\)\]: relative error up to 3\.3e-03; pass"
    ):
        found = pair_results(tanh, tanh, cov, rtol=RTOL)
    assert rough.asked == final.asked == [[0.5, 0.75]]
    assert never.asked == []
    assert found.method.tolist() == ["series", "final", "final"]
    assert found.value[1:].tolist() == [2, 2]
    monkeypatch.setattr(methods, "METHODS", (Fixed("zeros", 0.0, 0.0, 0.0),))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        found = pair_results(tanh, tanh, cov.take(np.array([1])), rtol=RTOL)
    assert found.error.tolist() == [FAINTEST]


def test_what_diverges_says_where():
    relu = function("max(x,0)", 2)
    with pytest.raises(DivergentExpectationError, match=r"f = max\(x,0\).*, g = .*q1=2, q2=0\.5, c=1; on"):
        pair_results(relu, relu, covariance((1, 1, 0.5), (2, 0.5, 1)), rtol=RTOL)


# Each of them ---------------------------------------------------------------------------------------------------------------


def test_a_constant_beside_a_function():
    """f(0) E g(b)."""
    method = BY_CLASS["Deterministic"]
    f, g = function("tanh(x)+2"), function("min(max(x,-1),1)+x**2")
    cov = covariance((0, 1.5, 0), (1.5, 0, 0), (0, 0, 0), (1, 1, 0.5))
    assert method.applies(f, g, cov).tolist() == [True, True, True, False]
    found = method.estimate(f, g, cov.take(np.arange(3)), RTOL)
    np.testing.assert_allclose(found.value, [3.0, 0.0, 0.0], rtol=1e-14, atol=1e-14)
    assert (found.error <= 1e-13).all()


def test_a_constant_beside_delta_functions():
    """E of δ(b − 1) is the density at 1; at a constant only a delta that meets it says nothing."""
    method = BY_CLASS["Deterministic"]
    f, g = function("cos(x)+1"), function("3*max(x-1,0)+max(-x-1,0)+x**2", 2)
    wanted = 2 * (4 * density(1, 2.0) + 2)
    cov = covariance((0, 2, 0), (0, 0, 0), (0, 0, 0))
    found = method.estimate(f, g, cov, RTOL)
    np.testing.assert_allclose(found.value, [wanted, 4, 4], rtol=1e-12)
    assert found.error[0] <= 1e-12
    assert found.error[1:].tolist() == [0, 0]
    assert (found.magnitude == np.abs(found.value)).all()
    turned = method.estimate(g, f, cov.swapped(), RTOL)
    np.testing.assert_allclose(turned.value, found.value, rtol=1e-14)
    # 2·2 at the constant 0 of g, 1/2 of cos of the other
    other = method.estimate(f, g, covariance((2, 0, 0)), RTOL)
    np.testing.assert_allclose(other.value, [2 * (1 + math.exp(-1))], rtol=1e-12)
    # a delta at 0 beside a constant of the other alone
    kink = function("max(x,0)", 2)
    np.testing.assert_allclose(
        method.estimate(f, kink, cov.take(np.array([0])), RTOL).value, 2 * density(0, 2.0), rtol=1e-12
    )
    for open_ in (cov, cov.take(np.array([1]))):
        with pytest.raises(DivergentExpectationError, match="expected q > 0 under a delta function, got q = 0"):
            method.estimate(f, kink, open_, RTOL)
    with pytest.raises(DivergentExpectationError, match="under a delta function"):
        method.estimate(function("max(x,0)", 2), f, cov.swapped(), RTOL)


def test_closed_forms_where_there_are():
    method, cov = BY_CLASS["ClosedForm"], covariance((1, 2, 0.5), (4, 1, -1.9))
    erf, tanh = function("erf(x)"), function("tanh(x)")
    assert method.applies(erf, erf, cov).tolist() == [True, True]
    assert not method.applies(erf, tanh, cov).any()
    assert not method.applies(tanh, erf, cov).any()
    found = method.estimate(erf, erf, cov, RTOL)
    wanted = 2 / math.pi * np.arcsin(2 * cov.c / np.sqrt((1 + 2 * cov.q) * (1 + 2 * cov.qp)))
    np.testing.assert_allclose(found.value, wanted, rtol=1e-14)
    np.testing.assert_allclose(found.magnitude, np.abs(wanted), rtol=1e-14)
    nothing = method.estimate(erf, tanh, cov, RTOL)
    assert np.isnan(nothing.value).all()
    assert np.isinf(nothing.error).all()
    assert nothing.magnitude.tolist() == [0, 0]


def test_a_closed_form_that_cancels_is_judged_by_e_fg():
    """E[b² − 1] = q' − 1; E|b² − 1| = 4 φ(1) is bounded from below by norms, not by the value."""
    found = BY_CLASS["ClosedForm"].estimate(
        function("1+0*x"), function("x**2-1"), covariance((1, 1 + 64 * EPS, 0.5)), RTOL
    )
    assert abs(found.value[0] - 64 * EPS) <= found.error[0] <= 1e-13
    assert 0.2 < found.magnitude[0] <= 4 * density(1, 1)


@pytest.mark.parametrize("rho", [0.5, -0.9, 0.0])
def test_delta_functions_beside_functions(rho):
    """E[2δ(a − 1) g(b)] = 2 φ_q(1) E[g(b)|a = 1], and the regular parts."""
    method = BY_CLASS["Singular"]
    q, qp = 1.5, 0.7
    f, g = function("2*max(x-1,0)+sin(x)", 2), function("tanh(x)")
    cov = covariance((q, qp, rho * math.sqrt(q * qp)))
    assert method.applies(f, g, cov).all()
    assert method.applies(g, f, cov).all()
    assert not method.applies(g, g, cov).any()
    found = method.estimate(f, g, cov, RTOL)
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    mean, spread = cov.c[0] / q, math.sqrt(cov.det[0] / q)
    conditional = np.sum(weight * np.tanh(mean + spread * z)) / math.sqrt(2 * math.pi)
    a = math.sqrt(q) * z[:, None]
    b = cov.c[0] / q * a + spread * z
    regular = -np.sum(weight[:, None] * weight * np.sin(a) * np.tanh(b)) / (2 * math.pi)
    single = 2 * density(1, q) * conditional
    np.testing.assert_allclose(found.value, [single + regular], rtol=1e-9, atol=1e-15)
    assert found.error[0] < 1e-11
    assert found.magnitude[0] >= (abs(regular) + abs(single)) * (1 - 1e-9)
    turned = method.estimate(g, f, cov.swapped(), RTOL)
    np.testing.assert_allclose(turned.value, found.value, rtol=1e-12, atol=1e-16)


def test_small_variances_by_expansion():
    """E[(a² + a)(b² − b/2)] of tanh-like functions: q = 2⁻²⁰."""
    method, q = BY_CLASS["Expansion"], 2.0**-20
    cov = covariance((q, q / 2, q / 3), (q, 1, 0), (2.0**-13, 2.0**-13, 0), (2.0**-12, q, 0))
    f = function("tanh(x)**2")
    assert method.applies(f, f, cov).tolist() == [True, False, True, False]
    found = method.estimate(f, f, cov.take(np.array([0])), RTOL)
    with mpmath.workdps(30):
        # Σ of Taylor: tanh² = x² − 2x⁴/3 + 17x⁶/45 − …; moments by Isserlis
        a, b, c = (mpmath.mpf(float(v[0])) for v in (cov.q, cov.qp, cov.c))
        second = a * b + 2 * c**2
        fourth = 3 * a * a * b + 12 * a * c * c, 3 * b * b * a + 12 * b * c * c
        wanted = second - mpmath.mpf(2) / 3 * (fourth[0] + fourth[1])
    assert found.value[0] == pytest.approx(float(wanted), rel=1e-10, abs=0)
    assert 8 * EPS * found.value[0] <= found.error[0] <= 32 * EPS * found.value[0]
    assert found.magnitude[0] == abs(found.value[0])
    # no expansion, no value
    kink = function("Abs(tanh(x))")
    none = method.estimate(kink, f, cov.take(np.array([0])), RTOL)
    assert np.isnan(none.value[0])
    assert none.error[0] == np.inf


def test_full_correlation_is_a_line():
    method, f, g = BY_CLASS["Line"], "max(tanh(x-1),0)", "sin(x)+x/3"
    cov = covariance((4, 1, 2), (4, 1, -2), (4, 1, 1))
    assert method.applies(function(f), function(g), cov).tolist() == [True, True, False]
    found = method.estimate(function(f), function(g), cov.take(np.arange(2)), RTOL)
    wanted = [on_a_line(f, g, 2.0, sign) for sign in (1.0, -1.0)]
    np.testing.assert_allclose(found.value, [v for v, _ in wanted], rtol=1e-13)
    np.testing.assert_allclose(found.magnitude, [v for _, v in wanted], rtol=1e-7)


def test_narrow_features_apart():
    """E f E g where c = 0 or one of the two is constant."""
    method = BY_CLASS["Apart"]
    bump, tanh, constant = function("exp(-500000*(x-1)**2)"), function("tanh(x)+x**2"), function("3+0*x")
    cov = covariance((1, 2, 0), (1, 2, 0.5))
    assert method.final
    assert method.applies(bump, tanh, cov).tolist() == [True, False]
    assert method.applies(tanh, bump, cov).tolist() == [True, False]
    assert method.applies(bump, constant, cov).tolist() == [True, True]
    assert not method.applies(tanh, constant, cov).any()
    assert not method.applies(tanh, tanh, cov).any()
    mean = math.exp(-500000 / 1000001) / math.sqrt(1000001)
    found = method.estimate(bump, tanh, cov.take(np.array([0])), RTOL)
    assert found.value[0] == pytest.approx(2 * mean, rel=1e-11, abs=0)
    assert abs(found.value[0] - 2 * mean) <= found.error[0] <= 1e-9 * mean
    size = on_a_line("tanh(x)", "tanh(x)", 2**0.5, 2**0.5)[1]
    assert found.magnitude[0] >= 2 * mean * (1 - 1e-9)
    assert size > 0
    left, right = (
        methods.quadrature.line(h, methods.ONE, np.sqrt([v]), np.sqrt([v]), rtol=RTOL)
        for h, v in ((bump, 1.0), (tanh, 2.0))
    )
    bound = (abs(left.value) + left.error) * (abs(right.value) + right.error) - abs(left.value * right.value)
    assert found.error[0] == pytest.approx(bound[0], rel=1e-3, abs=0)
    assert found.magnitude[0] == pytest.approx((left.magnitude * right.magnitude)[0], rel=1e-12)


def test_the_error_of_a_product(monkeypatch):
    """2 ± 1/2 times −3 ± 1/4 is at most 2.5·3.25 − 6 away from −6."""
    given = iter(
        [
            Scaled(value=np.array([2.0]), error=np.array([0.5]), magnitude=np.array([4.0])),
            Scaled(value=np.array([-3.0]), error=np.array([0.25]), magnitude=np.array([5.0])),
        ]
    )
    monkeypatch.setattr(methods.quadrature, "line", lambda *_, **__: next(given))
    bump = function("exp(-500000*(x-1)**2)")
    found = BY_CLASS["Apart"].estimate(bump, bump, covariance((1, 2, 0)), RTOL)
    assert (found.value[0], found.error[0], found.magnitude[0]) == (-6.0, 2.5 * 3.25 - 6, 20.0)


def test_what_results_call_the_methods():
    names = [(type(method).__name__, method.name) for method in METHODS]
    assert names == [
        ("Deterministic", "deterministic"),
        ("Infinite", "infinite"),
        ("Symmetric", "exact"),
        ("ClosedForm", "exact"),
        ("Singular", "singular"),
        ("Expansion", "series"),
        ("Line", "line"),
        ("Apart", "line"),
        ("Series", "series"),
        ("Series", "series"),
        ("Polar", "polar"),
        ("Algebra", "exact"),
        ("Nested", "nested"),
    ]
    assert [method.final for method in METHODS] == [type(method) is methods.Apart for method in METHODS]


PAIRS = [("tanh(x)", "sin(x)+x/3"), ("x/(1+Abs(x))", "tanh(x)")]


@pytest.mark.parametrize(("f", "g"), PAIRS)
def test_series(monkeypatch, f, g):
    rows = [(1, 1, 0.5), (0.3, 4, -1.05), (0.3, 1, 0.2), (1, 4, 0)]
    cov, first, second = covariance(*rows, (1, 1, 0.99)), function(f), function(g)
    assert FAR.applies(first, second, cov).tolist() == [True] * 4 + [False]
    assert NEAR.applies(first, second, cov).tolist() == [False] * 4 + [True]
    found = FAR.estimate(first, second, cov.take(np.arange(4)), RTOL)
    for k, row in enumerate(rows):
        if row[2]:
            value, size = in_the_plane(f, g, *row)
            assert abs(found.value[k] - value) <= min(found.error[k], 1e-13) + 4 * EPS * size
            assert found.error[k] <= 1e-11 * size
            # a lower bound of E|fg|, and not a bad one
            assert size / 30 < found.magnitude[k] <= size * (1 + 1e-9)
    assert abs(found.value[3]) < 1e-15
    monkeypatch.setattr(methods, "PRODUCTS", 100)
    parts = FAR.estimate(first, second, cov.take(np.arange(4)), RTOL)
    np.testing.assert_array_equal(parts.value, found.value)
    np.testing.assert_array_equal(parts.error, found.error)


def test_both_series_of_a_product_have_one_length():
    """tanh at q = 0.1 would end after 48 terms, at q = 25 after 512."""
    tanh, wave = function("tanh(x)"), function("sin(x)")
    few, many = np.array([0.1]), np.array([25.0])
    for one, other in ((few, many), (many, few)):
        left, right = FAR._of_one_length(tanh, tanh, one, other, 0.9)
        assert left.coefficients.shape == right.coefficients.shape == (1, 512)
        left, right = FAR._of_one_length(tanh, wave, one, other, 0.9)
        assert left.coefficients.shape == right.coefficients.shape
    same = FAR._of_one_length(tanh, tanh, few, few.copy(), 0.9)
    assert same[0] is same[1]
    assert FAR._of_one_length(tanh, wave, few, few, 0.9)[0] is not FAR._of_one_length(tanh, wave, few, few, 0.9)[1]


def test_series_of_few_variances_are_kept():
    methods._kept_series.cache_clear()
    tanh = function("tanh(x)")
    q = np.linspace(0.5, 1, 16)
    assert methods._series(tanh, q, reach=0.5) is methods._series(tanh, q.copy(), reach=0.5)
    assert methods._series(tanh, q, length=192).coefficients.shape == (16, 192)
    more = np.linspace(0.5, 1, 17)
    assert methods._series(tanh, more, reach=0.5) is not methods._series(tanh, more, reach=0.5)
    assert methods._series(tanh, more, length=96).coefficients.shape == (17, 96)
    assert methods._series(tanh, more, reach=0.5).coefficients.shape == (17, 48)


def test_polar_coordinates_are_for_what_lies_at_the_origin():
    cov = covariance((1, 1, 0.5))
    soft, tanh, away = function("x/(1+Abs(x))"), function("tanh(x)"), function("max(tanh(x-1),0)")
    steep = function("exp(-3000*tanh(x)**2)")
    applies = BY_CLASS["Polar"].applies
    assert applies(soft, tanh, cov).tolist() == [True]
    for pair in ((away, tanh), (tanh, away), (steep, tanh), (tanh, steep)):
        assert applies(*pair, cov).tolist() == [False]


def test_the_exact_algebra():
    method = BY_CLASS["Algebra"]
    f, g = function("min(max(x,-1),1)"), function("max(x-1,0)")
    cov = covariance((1, 2, 0.5), (1, 1, 1), (4, 1, -2), (1, 1, 1 - 1e-9))
    assert method.applies(f, g, cov).all()
    assert not method.applies(function("tanh(x)"), g, cov).any()
    assert not method.applies(g, function("tanh(x)"), cov).any()
    found = method.estimate(f, g, cov, RTOL)
    z, weight = np.polynomial.legendre.leggauss(400)
    at = 1 + 6 * (z + 1)
    # E[clip(Z) (Z − 1)₊] = E (Z − 1)₊; clip(−2u) (u − 1)₊ = −(u − 1)₊
    tail = np.sum(6 * weight * (at - 1) * np.exp(-(at**2) / 2)) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(found.value[1:3], [tail, -tail], rtol=1e-13)
    assert found.value[3] == pytest.approx(tail, rel=1e-4)
    # the determinant of the last is known to a few ulp of itself
    np.testing.assert_allclose(found.error / np.abs(found.value) / EPS, [2, 64, 64, 64])
    assert (found.magnitude == np.abs(found.value)).all()
    q, qp, c = method._exact(1.0, 1.0, -1.0 + 2.0**-40, 2.0**-39)
    with mpmath.workdps(40):
        assert abs(q * qp - c * c - mpmath.mpf(2) ** -39) < mpmath.mpf(10) ** -35
        assert c < 0
    assert method._exact(1.0, 2.0, 0.5, 1.75) == (1.0, 2.0, 0.5)
    q, qp, c = method._exact(4.0, 1.0 + EPS, -2.0, 0.0)
    assert (q, qp, c) == (4, 1, -2)


@pytest.mark.parametrize(("ratio", "sign"), [(1e-20, -1), (1e-20, 1), (1e-61, 1), (1e-68, 1), (1e-120, 1), (1e-290, 1)])
def test_the_exact_algebra_of_pairs_that_are_all_but_parallel(ratio, sign):
    """q q' − c² is the determinant to 40 digits however small it is; values are those of a line to √(1 − ρ²)."""
    method, q, qp = BY_CLASS["Algebra"], 352.5, 351.25
    det = q * qp * ratio
    cov = Covariance(q=np.array([q]), qp=np.array([qp]), c=np.array([sign * math.sqrt(q * qp)]), det=np.array([det]))
    exact = method._exact(q, qp, cov.c[0], det)
    with mpmath.workdps(400):
        assert abs(exact[0] * mpmath.mpf(exact[1]) - exact[2] ** 2 - det) < mpmath.mpf(10) ** -40 * det
    clip, wave = function("min(max(x,-1),1)"), function("exp(x/4)")
    # E[e^{s√q Z/4} e^{√q' Z/4}] = e^{(s√q + √q')²/32}
    wanted = math.exp((sign * math.sqrt(q) + math.sqrt(qp)) ** 2 / 32)
    assert method.estimate(wave, wave, cov, RTOL).value[0] == pytest.approx(wanted, rel=1e-13)
    value = on_a_line("min(max(x,-1),1)", "min(max(x,-1),1)", math.sqrt(q), sign * math.sqrt(qp))[0]
    assert method.estimate(clip, clip, cov, RTOL).value[0] == pytest.approx(value, rel=1e-9)


def test_nested_panels_are_for_what_is_above_the_guarantee():
    method = BY_CLASS["Nested"]
    assert method.aim(1e-11) == 1e-10
    assert method.aim(1e-9) == 1e-9
    assert method.aim(1e-13) == 1e-13
    tanh = function("tanh(x)")
    assert method.applies(tanh, tanh, covariance((1, 1, 0), (0, 1, 0), (1, 0, 0))).tolist() == [True, False, False]
    assert not method.applies(function("max(x,0)", 2), tanh, covariance((1, 1, 0))).any()
    found = method.estimate(function("max(tanh(x-1),0)"), tanh, covariance((4, 1, -2)), RTOL)
    value, size = on_a_line("max(tanh(x-1),0)", "tanh(x)", 2.0, -1.0)
    assert abs(found.value[0] - value) <= 1e-13 * size <= found.error[0] * 100


def test_an_estimate_is_value_and_error():
    erf, cov = function("erf(x)"), covariance((1, 2, 0.5))
    found, whole = pair_estimate(erf, erf, cov, rtol=RTOL), pair_results(erf, erf, cov, rtol=RTOL)
    assert (found.value[0], found.error[0]) == (whole.value[0], whole.error[0])
