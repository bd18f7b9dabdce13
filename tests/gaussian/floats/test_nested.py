"""Panels within panels beside plain ones in two dimensions and beside closed values."""

from __future__ import annotations

import math
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
from scipy.special import ndtr

import kernelcalc as kc
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats import nested as module
from kernelcalc.gaussian.floats.nested import nested
from tests.gaussian.floats.test_quadrature import EPS, FUNCTIONS, in_the_plane, judge, on_a_line, panels


@pytest.mark.parametrize(
    ("f", "g"),
    [
        ("max(tanh(x-1),0)", "min(max(x,-1),1)"),
        pytest.param("tanh(x)", "max(tanh(x-1),0)", marks=pytest.mark.long),
        ("tanh(x)", "tanh(x)"),
    ],
)
def test_nested(f, g):
    covariances = [(1.0, 1.0, 0.5), (0.3, 4.0, -1.05), (2.0, 0.5, 0.99999)]
    cov = make_covariance(*(np.array(v) for v in zip(*covariances, strict=True)))
    found = nested(kc.Activation(f), kc.Activation(g), cov)
    for index, covariance in enumerate(covariances):
        judge(found, index, *in_the_plane(f, g, *covariance))


@pytest.mark.parametrize("sign", [1, -1])
def test_nested_on_a_line_and_at_no_correlation(sign):
    f, g = "max(tanh(x-1),0)", "min(max(x,-1),1)"
    cov = make_covariance(np.array([4.0, 4.0]), np.array([1.0, 1.0]), np.array([2.0 * sign, 0.0]))
    found = nested(kc.Activation(f), kc.Activation("tanh(x)"), cov)
    judge(found, 0, *on_a_line(f, "tanh(x)", 2.0, 1.0 * sign))
    apart = nested(kc.Activation(f), kc.Activation(f), cov.take(np.array([1])))
    FUNCTIONS["1"] = (np.ones_like, ())
    means = [on_a_line(f, "1", std, 1.0)[0] for std in (2.0, 1.0)]
    judge(apart, 0, means[0] * means[1], means[0] * means[1])
    assert nested(kc.Activation(f), kc.Activation(g), cov.take(np.array([], dtype=int))).value.shape == (0,)


@pytest.mark.parametrize(("rate", "reach"), [(1.0, 10.0), (4.0, 16.0), (9.0, 26.0)])
def test_nested_reaches_as_far_as_growth_asks(monkeypatch, rate, reach):
    """E[e^{γa} e^{γb}] = e^{γ²(1 + ρ)}, most of which is γ(1 + ρ) standard deviations away."""
    asked, rule = [], module._Rule

    def counted(*given, reads):
        asked.append(given[-2:])
        return rule(*given, reads=reads)

    monkeypatch.setattr(module, "_Rule", counted)
    grows = kc.Activation(f"exp({rate}*x)")
    found = nested(grows, grows, make_covariance(np.ones(1), np.ones(1), np.full(1, 0.5)))
    assert asked[-2:] == [(reach, 12), (reach, 20)]
    wanted = math.exp(rate**2 * 1.5)
    assert found.value[0] == pytest.approx(wanted, rel=2e-12)
    assert abs(found.value[0] - wanted) <= found.error[0] + 1e-13 * rate**2 * wanted


@pytest.mark.parametrize("sign", [1, -1])
def test_either_end_of_the_inner_range_may_ask_for_more(monkeypatch, sign):
    """E[e^{±9b}] = e^{81/2}, nine deviations away on one side; at ten e^{−1/2} of it is left."""
    asked, rule = [], module._Rule

    def counted(*given, reads):
        asked.append(given[-2])
        return rule(*given, reads=reads)

    monkeypatch.setattr(module, "_Rule", counted)
    one, grows = kc.Activation("1+0*x"), kc.Activation(f"exp({9 * sign}*x)")
    found = nested(one, grows, make_covariance(np.ones(1), np.ones(1), np.zeros(1)))
    assert asked == [10.0, 10.0, 16.0, 16.0, 26.0, 26.0]
    assert found.value[0] == pytest.approx(math.exp(40.5), rel=1e-12)


def test_nested_of_a_bump_in_the_tail():
    """E[e^{−50(a − 20)²}] = e^{−50·400/101}/√101."""
    bump, one = kc.Activation("exp(-50*(x-20)**2)"), kc.Activation("1+0*x")
    found = nested(bump, one, make_covariance(np.ones(1), np.ones(1), np.full(1, 0.3)))
    wanted = math.exp(-50 * 400 / 101) / 101**0.5
    assert found.value[0] == pytest.approx(wanted, rel=1e-10, abs=0)
    assert abs(found.value[0] - wanted) <= found.error[0] <= 1e-8 * wanted


@pytest.mark.parametrize("rho", [0.5, 1.0])
def test_rounding_of_steep_functions_in_nested_panels(rho):
    """|f| δ_g + |g| δ_f again."""
    f, g = kc.Activation("exp(-3000*tanh(x)**2)"), kc.Activation("exp(-2000*tanh(x-0.1)**2)")
    q, c, det = 0.25, 0.25 * rho, 0.0625 * (1 - rho**2)
    patient = SimpleNamespace(done=lambda part: None)
    value, size, _, noise, _ = module._Rule(f, g, (q, q, c, det), 10.0, 20, reads=False).sums(patient)
    u, outer = panels([0.0], pieces=240)
    spread, total, own = math.sqrt(det / q), 0.0, 0.0
    v, inner = panels([0.0], pieces=120) if rho < 1 else (np.zeros(1), np.ones(1))
    keep = np.abs(u) < 1.0
    a = 0.5 * u[keep][:, None]
    b = rho * a + spread * v
    weight = outer[keep][:, None] * inner
    total = float(np.sum(weight * f(a) * g(b)))
    own = float(np.sum(weight * (f(a) * g.form.rounding(b) + g(b) * f.form.rounding(a))))
    assert value == size == pytest.approx(total, rel=1e-9, abs=0)
    assert noise == pytest.approx(own, rel=1e-3, abs=0)
    found = nested(f, g, make_covariance(np.full(1, q), np.full(1, q), np.full(1, c)))
    assert noise + 64 * EPS * size <= found.error[0] * (1 + 1e-9)


def test_nested_in_blocks(monkeypatch):
    f, cov = kc.Activation("max(tanh(x-1),0)"), make_covariance(np.ones(1), np.ones(1), np.full(1, 0.5))
    whole = nested(f, f, cov)
    monkeypatch.setattr(module, "VALUES_AT_ONCE", 2**14)
    parts = nested(f, f, cov)
    for name in ("value", "magnitude"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-15)
    assert parts.error <= 1e-15


@pytest.mark.parametrize(
    ("kink", "inner", "place", "variances", "rho"),
    [
        (-0.45, "tanh", "-0.0315", (0.0825, 0.0034), 0.99999893),
        pytest.param(-0.3, "asinh", "0.25", (0.05, 0.03), 0.999998, marks=pytest.mark.long),
        (-0.2, "tanh", "-0.25", (0.02, 0.3), -0.999998),
        pytest.param(-0.1, "erf", "0.02", (0.03, 0.02), 0.9999997, marks=pytest.mark.long),
    ],
)
def test_nested_panels_see_a_knee_beyond_the_kink_of_the_other(kink, inner, place, variances, rho):
    """E[step(a − k) softplus(w (h(b) − s))] = ∫ Φ((E[a|b] − k)/√(var a|b)) softplus(w (h(y) − s)) p(y) dy."""
    (q, qp), steep = variances, 500_000
    c = rho * math.sqrt(q * qp)
    with mp.workdps(25):
        h, s = getattr(mp, inner), mp.mpf(place)
        knee = mp.findroot(lambda y: h(y) - s, s)
        slope, left = mp.mpf(c) / mp.mpf(qp), mp.sqrt(mp.mpf(q) - mp.mpf(c) ** 2 / mp.mpf(qp))

        def integrand(y):
            z = steep * (h(y) - s)
            soft = max(z, 0) + mp.log1p(mp.exp(-abs(z)))
            return soft * mp.ncdf((slope * y - mp.mpf(str(kink))) / left) * mp.npdf(y, 0, mp.sqrt(qp))

        far = 14 * mp.sqrt(qp)
        near = {knee + j * mp.mpf(5) / steep for j in range(-20, 21)}
        graded = {at + s * mp.mpf(2) ** -e for at in (knee, kink / slope) for e in range(2, 20) for s in (-1, 1)}
        ends = sorted(y for y in near | graded | set(mp.linspace(-far, far, 29)) if abs(y) <= far)
        wanted = mp.quad(integrand, ends)
    f, g = kc.Activation(f"step(x-({kink}))"), kc.Activation(f"softplus({steep}*({inner}(x)-({place})))")
    found = nested(f, g, make_covariance(*np.array([[q], [qp], [c]])))
    assert abs(found.value[0] - wanted) <= found.error[0] <= 1e-11 * wanted


def test_all_panels_where_what_is_read_off_is_not_smooth(monkeypatch):
    """E[f(a) e^{8b}] = e^{32} E f(Z + 8ρ), f on one tenth of a panel on which E[e^{8b}|a] grows by e^{3.2}."""
    asked, rule = [], module._Rule

    def counted(*given, reads):
        asked.append((given[-2], given[-1], reads))
        return rule(*given, reads=reads)

    monkeypatch.setattr(module, "_Rule", counted)
    f, g = kc.Activation("max(0.1-Abs(x-3.1),0)"), kc.Activation("exp(8*x)")
    found = nested(f, g, make_covariance(np.ones(1), np.ones(1), np.full(1, 0.4)))
    assert asked == [(reach, count, reads) for reads in (True, False) for reach in (10.0, 16.0) for count in (12, 20)]
    with mp.workdps(25):
        places = [mp.mpf(p) / 10 for p in (30, 31, 32)]
        wanted = mp.exp(32) * mp.quad(
            lambda z: (mp.mpf("0.1") - abs(z - places[1])) * mp.npdf(z - mp.mpf("3.2")), places
        )
    assert abs(found.value[0] - wanted) <= found.error[0] <= 1e-12 * wanted


def test_a_bound_of_what_lies_far_out_is_no_overflow():
    """E[e^{a²/5}] = 1/√(1 − 2/5); e^{x²/5} overflows 60 deviations out, and the other has a kink 12 out."""
    grows, kink = kc.Activation("exp(x**2/5)"), kc.Activation("max(tanh(x-12),0)+1")
    for pair in ((grows, kink), (kink, grows)):
        found = nested(*pair, make_covariance(np.ones(1), np.ones(1), np.full(1, 0.5)))
        assert abs(found.value[0] - 0.6**-0.5) <= found.error[0] <= 1e-12


def test_what_overflows_within_the_last_reach_is_refused():
    """E[e^{0.495a²}] = 10, but e^{0.495·38²} is no float."""
    grows, kink = kc.Activation("exp(0.495*x**2)"), kc.Activation("max(tanh(x-12),0)+1")
    refused = (
        r"^expected f\(a\)g\(b\) that a Gaussian can integrate, within 38 standard deviations, got exp\(0\.495\*x\*\*2\), "
        r"max\(tanh.* at q1=1\.0, q2=1\.0, c=0\.5; use smaller variances, or dps=20 if it is finite and lies further out$"
    )
    with pytest.raises(kc.errors.DivergentExpectationError, match=refused):
        nested(grows, kink, make_covariance(np.ones(1), np.ones(1), np.full(1, 0.5)))


@pytest.mark.parametrize("first", [True, False])
def test_unresolved_panels_of_one_of_the_two(first):
    """What polynomials miss of sin(e^x) far out, beside E|tanh Z|."""
    rough, plain = kc.Activation("sin(exp(x))"), kc.Activation("tanh(x)")
    # b may come as far as both of its parts together
    mesh = module.feature_mesh(rough, 16.0 if first else 32.0)
    shares = [(math.erfc(r / 2**0.5) - math.erfc(s / 2**0.5)) / 2 for r, s in zip(mesh.left, mesh.right, strict=True)]
    z, weight = panels([0.0])
    wanted = float(mesh.missed @ shares) * float(weight @ np.abs(np.tanh(z)))
    f, g = (rough, plain) if first else (plain, rough)
    rule = module._Rule(f, g, (1.0, 1.0, 0.0, 1.0), 10.0, 20, reads=False)
    noise = rule.sums(SimpleNamespace(done=lambda part: None))[3]
    assert noise == pytest.approx(wanted, rel=1e-3, abs=0)
    assert nested(f, g, make_covariance(np.ones(1), np.ones(1), np.zeros(1))).error[0] > noise > 1e-12


@pytest.mark.parametrize("rho", [0.0, 0.4, -0.9])
def test_panels_end_at_the_reach(rho):
    """In a, and for b given a: |g|e^{−z²/2} at a node within [9, 10], no nearer to 9 than the outermost of 20."""
    f, g = kc.Activation("tanh(x)+exp(-50*(x-25)**2)"), kc.Activation("exp(x)+max(x-30,0)+max(-x-30,0)")
    q, c, det = 4.0, 2.0 * rho, 4.0 * (1 - rho**2)
    rule = module._Rule(f, g, (q, 1.0, c, det), 10.0, 20, reads=True)
    assert (rule._edges()[0], rule._edges()[-1]) == (-20, 20)
    assert rule.f_mesh.edges[-1] == 32
    assert rule.g_mesh.edges[-1] >= 16
    a, spread = np.array([-3.0, 0.0, 7.0]), math.sqrt(1 - rho**2)
    last = 9.5 + 0.5 * np.polynomial.legendre.leggauss(20)[0][-1]
    found = rule._conditional(c / q * a, SimpleNamespace(done=lambda part: None))
    for row, sign in ((3, -1), (4, 1)):
        least, most = (np.exp(c / q * a + sign * spread * z - z**2 / 2) for z in (10, last))
        assert (least * (1 - 1e-12) <= found[row]).all()
        assert (found[row] <= most * (1 + 1e-12)).all()
    np.testing.assert_allclose(found[0], np.exp(c / q * a + spread**2 / 2), rtol=1e-13)


def test_how_far_one_of_four_pairs_is():
    """The second pair, half way between a quarter and three quarters of it: 1.5 of 4."""
    said = []
    patience = SimpleNamespace(done=said.append, again=lambda: said.append("again"))
    rule = module._Share(patience, 1, 4).between(0.25, 0.75)
    rule.done(0.5)
    rule.done(1.0)
    rule.again()
    assert said == [1.5 / 4, 1.75 / 4]
    module._Share(patience, 0, 4).between(0.0, 0.5).again()
    assert said[2:] == ["again"]


def test_what_a_bump_beyond_the_reach_may_hold():
    """E[1 + e^{60 − 50(a − 12)²}] = 1 + e^{60 − 50·144/101}/√101: a millionth more than within ten deviations."""
    bump, one = kc.Activation("1+exp(60-50*(x-12)**2)"), kc.Activation("1+0*x")
    wanted = math.exp(60 - 50 * 144 / 101) / 101**0.5
    for f, g in ((bump, one), (one, bump)):
        found = nested(f, g, make_covariance(np.ones(1), np.ones(1), np.full(1, 0.3)))
        assert abs(found.value[0] - 1 - wanted) <= found.error[0] <= 1e-12 < 1e-6 < wanted


def test_values_of_means_are_those_of_smooth_panels(monkeypatch):
    """Two panels a conditional deviation, 2/√3 of 2·10: 24 of them, however many f needs."""
    f, g, asked, conditional = kc.Activation("sin(100*x)"), kc.Activation("tanh(x)"), [], module._Rule._conditional

    def counted(rule, mean, share):
        asked.append(mean.size)
        return conditional(rule, mean, share)

    monkeypatch.setattr(module._Rule, "_conditional", counted)
    for reads in (True, False):
        module._Rule(f, g, (1.0, 1.0, 0.5, 0.75), 10.0, 20, reads=reads).sums(SimpleNamespace(done=lambda part: None))
    assert asked[0] == 24 * 20
    assert asked[1] > 6 * asked[0]


@pytest.mark.parametrize("rho", [0.9999, -0.999999])
def test_panels_are_graded_towards_a_kink_of_the_inner_function(rho):
    """E[(b − k)₊|a] = s φ(u) + s u Φ(u), u = (ρa − k)/s, has its knee in few of the panels of a."""
    f, g = kc.Activation("tanh(x)"), kc.Activation("max(x-0.5,0)")
    found = nested(f, g, make_covariance(np.ones(1), np.ones(1), np.full(1, rho)))
    s = math.sqrt(1 - rho**2)
    a, weight = panels([(0.5 + sign * s * 2.0**e) / rho for e in range(-2, 12) for sign in (-1, 0, 1)])
    u = (rho * a - 0.5) / s
    wanted = weight @ (np.tanh(a) * s * (np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi) + u * ndtr(u)))
    assert abs(found.value[0] - wanted) <= found.error[0] <= 2e-14
    rule = module._Rule(f, g, (1.0, 1.0, rho, 1 - rho**2), 10.0, 20, reads=False)
    edges = rule._edges()
    for steps in (0.0, 0.5, 1.0, 2.0, 64.0):
        for sign in (-1, 1):
            assert np.abs(edges - (0.5 + sign * steps * s) / rho).min() < 1e-14


@pytest.mark.parametrize("steep", [10.0, 1e3, 1e5])
@pytest.mark.parametrize("rho", [-0.6, 0.3, 0.99])
def test_narrow_bumps_are_met_by_means_that_share_their_values(monkeypatch, steep, rho):
    """E e^{−w²(a−p)²} e^{−w²(b−p)²} = π/w² times the density of N(0, C + 1/2w²) at (p, p)."""
    q, qp, p = 1.3, 0.7, 0.8
    bump, seen = kc.Activation(f"exp(-({steep!r}*(x-{p}))**2)"), []
    call = kc.Activation.__call__
    monkeypatch.setattr(kc.Activation, "__call__", lambda f, at, **kw: seen.append(np.size(at)) or call(f, at, **kw))
    found = nested(bump, bump, make_covariance(*(np.array([v]) for v in (q, qp, rho * math.sqrt(q * qp)))))
    with mp.workdps(30):
        v, c = 1 / (2 * mp.mpf(steep) ** 2), mp.mpf(rho * math.sqrt(q * qp))
        det = (q + v) * (qp + v) - c**2
        form = mp.mpf(p) ** 2 * (q + qp + 2 * v - 2 * c) / det
        wanted = 2 * mp.pi * v * mp.exp(-form / 2) / (2 * mp.pi * mp.sqrt(det))
    assert abs(found.value[0] - wanted) <= found.error[0] < 1e-9 * wanted
    # the values of the bump in b are not taken anew for every a
    assert sum(seen) < 4e5


def test_a_steep_function_of_another():
    """E f'(a) f'(b) of tanh(1e5 (sigmoid(x) − 0.7)), from panels and polynomials in 30 digits; E f'² alone is 1e4."""
    slope = kc.Activation("tanh(1e5*(sigmoid(x)-0.7))").derivative(1)
    covariances = [(0.275, 0.54, -0.255), (0.555, 0.275, 0.005), (0.555, 0.54, 0.395)]
    wanted = np.array([0.0073894196499762963, 0.23681433715194135, 0.7838855106043615])
    found = nested(slope, slope, make_covariance(*(np.array(v) for v in zip(*covariances, strict=True))))
    assert (np.abs(found.value - wanted) <= found.error).all()
    assert (found.error < 2e-10).all()
