"""Adversarial draws of :mod:`tests.gaussian.draws`: some every day, 400 with ``--long``; the script makes as many as one likes.

No violation among n draws excludes, with 95 % confidence, a share above 3/n.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from tests.gaussian import draws
from tests.gaussian.draws import Draw, Drawn

VIOLATIONS = ("LIE", "BROKEN PROMISE", "RAW EXCEPTION", "SLOW WITHOUT A WORD")


def steep(outer: str, a: float, w: float, kinks: tuple[float, ...] = ()) -> Drawn:
    argument = f"{w!r}*(tanh(x)-({a!r}))"
    return Drawn(outer.format(argument), outer.format(argument), f"(tanh(x)-({a!r}))", w, kinks)


@pytest.mark.parametrize("rho", [0.5, -0.999, 0.999999])
def test_the_truth_knows_orthants(rho: float) -> None:
    """Steps of w(tanh x − a) are steps of x − artanh a: P(a > h, b > h) by one integral of mpmath."""
    f = steep("step({})", 0.5, 1000.0, (0.0,))
    value, own, _ = draws.truth(Draw("pair", f, f, (1.0, 1.0, rho), {}))
    h, sine = mp.atanh(0.5), mp.sqrt(1 - mp.mpf(rho) ** 2)
    cuts = [h, h + 0.001, h + 0.004, h + 0.01, h + 0.05, h + 0.2, 1, 2, 4, 9]
    exact = mp.quad(lambda z: mp.npdf(z) * mp.ncdf((rho * z - h) / sine), cuts)
    assert abs(value - exact) <= own + 1e-15


@pytest.mark.parametrize("q", [2.0, 0.0019])
def test_the_truth_knows_a_mean_in_digits(q: float) -> None:
    """The second step stands 12.6 standard deviations out: 10⁻³⁶, whose digits lie further out."""
    f = steep("step({})", 0.5, 1000.0, (0.0,))
    value, own, _ = draws.truth(Draw("digits", f, None, (q, 1.0, 0.0), {"dps": 20}))
    with mp.workdps(40):
        exact = mp.ncdf(-mp.atanh(0.5) / mp.sqrt(mp.mpf(q)))
        assert abs(value - exact) <= own + mp.mpf(10) ** -22 * exact
        assert own <= mp.mpf(10) ** -22 * exact


def test_the_truth_does_not_know_differences_of_constants() -> None:
    """A difference of constants, whose last digits are those of e."""
    f = Drawn("(12.5*(exp(e)-(15.1542)))^3", "(12.5*(exp(e)-(15.1542)))^3", "(exp(e)-(15.1542))", 12.5)
    assert draws.judge(Draw("square", f, f, (1.0, 1.0, 1.0), {}))[0] == "no truth"


def test_the_truth_knows_narrow_features_beside_waves() -> None:
    """E f(a) sin(3b), ρ = 0.8: the mean of sin given a is a wave, and the integral over a is mpmath's."""
    f, g = steep("exp(-({})^2)", 0.5, 1000.0), Drawn("sin(3*x)", "sin(3*x)", "x", 1.0, (0.0,))
    value, own, _ = draws.truth(Draw("pair", f, g, (1.0, 1.0, 0.8), {}))
    h = mp.atanh(0.5)
    wave = lambda z: mp.exp(-((1000 * (mp.tanh(z) - 0.5)) ** 2)) * mp.npdf(z) * mp.sin(2.4 * z)  # noqa: E731
    exact = mp.exp(-4.5 * 0.36) * mp.quad(wave, [h + k / 1000 for k in range(-12, 13, 2)])
    assert abs(value - exact) <= own + 1e-18


def test_a_lie_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    d = Draw("mean", steep("tanh({})", 0.5, 1000.0), None, (1.0, 1.0, 0.0), {})
    assert draws.judge(d)[0] == "held"
    value, own, norm = draws.truth(d)
    monkeypatch.setattr(draws, "truth", lambda d: (value + 1e-9, own, norm))
    assert draws.judge(d)[0] == "LIE"


@pytest.mark.parametrize("kind", draws.KINDS)
def test_stated_errors_hold(kind: str, long: bool) -> None:
    rng = np.random.default_rng([len(kind), long])
    came = [draws.judge(draws.draw(rng, {kind: 1.0})) for _ in range(50 if long else 2)]
    assert [said for word, said in came if word in VIOLATIONS] == []
    if long:
        assert sum(word in ("held", "warned") for word, _ in came) > 15


def test_the_truth_knows_what_a_touch_costs() -> None:
    """sigmoid(x³) is ½ in long double wherever |x| < 10⁻⁶; sin(wx) sign(x) has the mean of |sin(wx)|-like waves there."""
    q, w, a = 0.0012594082062458523, 1669.375, -0.048095703125
    f = Drawn(f"sin({w!r}*(x-({a!r})))", f"sin({w!r}*(x-({a!r})))", f"(x-({a!r}))", w)
    g = Drawn(
        "sign(3441.625*(sigmoid((x^3))-(0.5)))",
        "sign(3441.625*(sigmoid((x^3))-(0.5)))",
        "(sigmoid((x^3))-(0.5))",
        3441.625,
        (0.0,),
    )
    value, own, _ = draws.truth(Draw("line", f, g, (q, q, q), {}))
    s = mp.mpf(w) * mp.sqrt(mp.mpf(q))
    # E sin(w(x − a)) sign x = cos(wa) E sin(w|x|), which is Dawson's integral.
    exact = mp.cos(mp.mpf(w) * mp.mpf(a)) * mp.exp(-(s**2) / 2) * mp.erfi(s / mp.sqrt(2))
    assert abs(value - exact) <= own < 1e-2


@pytest.mark.parametrize(("kink", "q"), [("0.99988", 93.3), ("2", 21.18), ("1/3", 0.0874), ("1/2", 2.0)])
def test_kinks_that_are_not_known_are_seen_or_refused(kink: str, q: float) -> None:
    """E (max(x, k) − 15)²: kinks of inner beside an edge of one set of panels."""
    f = Drawn(f"(8.0*(max(x,{kink})-(15.0)))", f"(8.0*(max(x,{kink})-(15.0)))", f"(max(x,{kink})-(15.0))", 8.0)
    try:
        value, own, _ = draws.truth(Draw("square", f, f, (q, q, q), {}))
    except draws.NoTruth:
        return
    with mp.workdps(30):
        k, s = mp.mpf(eval(kink)), mp.sqrt(mp.mpf(q))
        mass, edge = mp.ncdf(-k / s), s * s * mp.npdf(k, 0, s)
        # ∫_k^∞ of 1, x, x²
        exact = 64 * ((k - 15) ** 2 * (1 - mass) + (s * s * mass + k * edge) - 30 * edge + 225 * mass)
    assert abs(value - exact) <= own + 1e-15 * exact
