"""Adversarial draws of :mod:`tests.gaussian.draws`: some every day, 400 with ``--long``; the script makes as many as one likes.

No violation among n draws excludes, with 95 % confidence, a share above 3/n.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from tests.gaussian import draws
from tests.gaussian.draws import Draw, Drawn

VIOLATIONS = ("LIE", "BROKEN PROMISE")


def steep(outer: str, a: float, w: float, kinks: tuple[float, ...] = ()) -> Drawn:
    argument = f"{w!r}*(tanh(x)-({a!r}))"
    return Drawn(outer.format(argument), outer.format(argument), f"(tanh(x)-({a!r}))", w, kinks)


@pytest.mark.parametrize("rho", [0.5, -0.999])
def test_the_truth_knows_orthants(rho: float) -> None:
    """Steps of w(tanh x − a) are steps of x − artanh a: P(a > h, b > h) by one integral of mpmath."""
    f = steep("step({})", 0.5, 1000.0, (0.0,))
    value, own, _ = draws.truth(Draw("pair", f, f, (1.0, 1.0, rho), {}))
    h, sine = mp.atanh(0.5), mp.sqrt(1 - mp.mpf(rho) ** 2)
    exact = mp.quad(lambda z: mp.npdf(z) * mp.ncdf((rho * z - h) / sine), [h, h + 0.05, h + 0.2, 1, 2, 4, 9])
    assert abs(value - exact) <= own + 1e-15


def test_the_truth_knows_a_mean_in_digits() -> None:
    f = steep("step({})", 0.5, 1000.0, (0.0,))
    value, own, _ = draws.truth(Draw("digits", f, None, (2.0, 1.0, 0.0), {"dps": 20}))
    with mp.workdps(30):
        assert abs(value - mp.ncdf(-mp.atanh(0.5) / mp.sqrt(2))) <= own + mp.mpf(10) ** -22


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
