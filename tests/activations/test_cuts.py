"""Kinks by hand, and the pieces between them beside the expression's own values."""

import math
from bisect import bisect

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations import crossings as module
from kernelcalc.activations.crossings import Crossing, _kept, _refined, crossings
from kernelcalc.activations.cuts import cut, unfolded
from kernelcalc.errors import ExpressionError
from kernelcalc.expressions.atoms import x

# zero of cos x − x, of x³ − 2x − 5 (Newton's own example), of tanh x − x/2
DOTTIE, NEWTON, MEETS = 0.7390851332151607, 2.0945514815423265, 1.9150080481545375
GOLDEN = (1 + math.sqrt(5)) / 2

BREAKS = {
    sp.tanh(x) + x**2: [],
    sp.Abs(x): [0],
    sp.sign(x - 2) * sp.tanh(x): [2],
    sp.Heaviside(1 - 2 * x): [0.5],
    sp.Max(x, 2 * x - 1, 3): [2],
    sp.Max(sp.Min(x, 1), -1): [-1, 1],
    sp.Min(x**2, x + 1) * x: [1 - GOLDEN, GOLDEN],
    # a kinked argument: ||x| − 1|; equal pieces on both sides: sign(x)|x| = x
    sp.Abs(sp.Abs(x) - 1): [-1, 0, 1],
    sp.sign(x) * sp.Abs(x): [],
    sp.sign(x) * sp.Abs(x) + sp.Abs(x - 1): [1],
    # of arguments that vanish on a whole side: sign 0 = 0 and a step 1/2
    sp.sign(sp.Abs(x) - x): [0],
    sp.Heaviside(sp.Abs(x) - x) * sp.cos(x): [0],
    sp.Abs(x**3 - 2 * x - 5): [NEWTON],
    sp.Abs(x**3 - sp.sqrt(2)): [2 ** (1 / 6)],
    sp.Abs(sp.exp(2 * x) - 3 * sp.exp(x) + 2): [0, math.log(2)],
    sp.sign(1 / (1 + x) - 1 / 2) * sp.exp(-(x**2)): [-1, 1],
    sp.Max(sp.cos(x), x): [DOTTIE],
    sp.Max(sp.tanh(x), x / 2): [-MEETS, 0, MEETS],
    sp.Max(sp.tanh(x), x / 2) + sp.Abs(sp.tanh(x) - x / 2) + sp.Abs(x - 1): [-MEETS, 0, 1, MEETS],
    sp.Piecewise((x, x < 1), (x**2, x < 2), (4, True)): [1, 2],
    sp.Piecewise((sp.sin(x), x < 0), (sp.Abs(x - 3), True)): [0, 3],
}


@pytest.mark.parametrize(("expr", "known"), BREAKS.items(), ids=map(str, BREAKS))
def test_kinks_and_pieces(expr, known):
    breaks, pieces, reach = cut(expr)
    assert reach == math.inf
    assert [float(at) for at in breaks] == pytest.approx(known, rel=1e-14, abs=1e-15)
    assert not any(piece.has(sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min, sp.Piecewise) for piece in pieces)
    edges = [-4.0, *known, 5.0]
    for piece, left, right in zip(pieces, edges[:-1], edges[1:], strict=True):
        for part in (0.01, 0.3, 0.62, 0.99):
            at = sp.Rational(left + part * (right - left))
            assert float(piece.subs(x, at)) == pytest.approx(_value(expr, at), rel=1e-12, abs=1e-14), (piece, at)
    if not known:
        assert len(pieces) == 1


def _value(expr, at):
    """By SymPy at one place; of a step at 0 one half."""
    value = expr.subs(x, at)
    return float(value.replace(sp.Heaviside, lambda u, *_: (1 + sp.sign(u)) / 2))


def test_kinks_without_end():
    """64 of the zeros kπ, cut off between the last and the next; outside the expression with |sin x|."""
    expr = sp.Max(sp.sin(x), 0)
    breaks, pieces, reach = cut(expr)
    assert 31 * math.pi < reach < 32 * math.pi
    assert [float(at) for at in breaks] == pytest.approx(
        [-reach, *(k * math.pi for k in range(-31, 32)), reach], rel=1e-13
    )
    assert pieces[0] == pieces[-1] == unfolded(expr)
    for at in (-200.3, -100.2, -3.0, 0.2, 17.0, 99.0, 170.1):
        piece = pieces[bisect([float(one) for one in breaks], at)]
        assert float(piece.subs(x, at)) == pytest.approx(max(math.sin(at), 0), abs=1e-12)


@pytest.mark.parametrize(
    ("expr", "at", "value"),
    [
        (sp.Max(x, 2, -x), (-3, 1, 5), (3, 2, 5)),
        (sp.Min(x, 2, -x), (-3, 1, 5), (-3, -1, -5)),
        (sp.Heaviside(x), (-1, 0, 2), (0, 0.5, 1)),
        (3 * sp.Heaviside(x - 1) - sp.Max(x, 0), (0, 1, 2), (0, 0.5, 1)),
    ],
)
def test_expressions_with_kinks_in_absolute_values(expr, at, value):
    found = unfolded(expr)
    assert not found.has(sp.Max, sp.Min, sp.Heaviside)
    assert [float(found.subs(x, one)) for one in at] == list(map(float, value))


def test_what_is_refused_is_named():
    endless = sp.Piecewise((1, sp.sin(x) > 0), (0, True))
    hint = "; write the kinks as |x - a| or Max(x, a)"
    for call, text in (
        (
            lambda: unfolded(endless),
            f"kinks that can be located, got those of {endless} without end; write them with max and abs",
        ),
        (
            lambda: cut(sp.Max(sp.sin(1000 * x), 0)),
            "kinks that can be located, got those of Max(0, sin(1000*x)) near x = ",
        ),
        (lambda: cut(sp.Piecewise((x, x < 1))), "a Piecewise that covers the whole line, got Piecewise((x, x < 1))"),
    ):
        with pytest.raises(ExpressionError) as caught:
            call()
        assert str(caught.value).startswith(f"expected {text}")
        assert "near" not in text or str(caught.value).endswith(hint)


def crossing(low, high, switch=None):
    return Crossing(sp.cos(x) - x if switch is None else switch, sp.Rational(low), sp.Rational(high))


@pytest.mark.parametrize(
    ("low", "high", "positive", "negative"),
    [
        (0, 1, True, False),
        ("1/2", 1, True, False),
        (-1, 0, False, True),
        (-1, "1/2", None, None),
        ("-1/2", 1, None, None),
    ],
)
def test_the_side_of_0_is_known_by_the_ends(low, high, positive, negative):
    at = crossing(low, high)
    assert at.is_real
    assert (at._eval_is_positive(), at._eval_is_negative()) == (positive, negative)
    assert at.approximation_interval(sp.Rational) == (sp.Rational(low), sp.Rational(high))
    assert at.approximation_interval(sp.Float) is None


def test_zeros_are_equal_by_what_they_are_zeros_of():
    at = crossing(0, 1)
    assert at == crossing(0, 1)
    assert hash(at) == hash(crossing(0, 1))
    assert len({at, crossing(0, 1), crossing(0, 2), crossing("1/2", 1), crossing(0, 1, sp.exp(x) - 2)}) == 4
    assert at != DOTTIE
    assert str(at) == sp.latex(at) == "0.73908513321516067"
    assert float(at) == DOTTIE


@pytest.mark.parametrize(
    ("switch", "low", "high", "known"),
    [
        (sp.cos(x) - x, 0, 1, None),
        (x - sp.cos(x), 0, 1, None),
        # a triple zero, a jump, and a middle that is the zero
        ((x - sp.Rational(1, 3)) ** 3, 0, 1, sp.Rational(1, 3)),
        (sp.sign(x - sp.Rational(1, 3)), 0, 1, sp.Rational(1, 3)),
        (sp.sign(x - sp.Rational(1, 2)), 0, 1, sp.Rational(1, 2)),
        # no digits of 0 are right before all are; a very small zero has all of its own
        (x**3, -1, 2, sp.S.Zero),
        (sp.exp(x) - 1, -1, 2, sp.S.Zero),
        (sp.sinh(x - sp.Rational(1, 10**15)), -1, 2, sp.Rational(1, 10**15)),
    ],
)
@pytest.mark.parametrize("bits", [64, 256])
def test_zeros_to_so_many_bits(switch, low, high, known, bits):
    with mp.workdps(100):
        exact = mp.findroot(lambda z: mp.cos(z) - z, 0.7) if known is None else mp.mpf(int(known.p)) / int(known.q)
        found = _refined(switch, sp.Rational(low), sp.Rational(high), bits)
        assert abs(found - exact) <= mp.mpf(2) ** (1 - bits) * exact


def at(places):
    """Intervals of no length."""
    return np.tile(places, (2, 1))


def test_the_nearest_are_kept():
    """Up to 64 all; of more those before a gap of a thousandth; none where there is no gap."""
    assert _kept(at(np.arange(1.0, 65.0))) == math.inf
    assert _kept(at(np.arange(1.0, 66.0))) == 64.5
    # no gap between the 64th and the 65th: between the 63rd and 64th
    close = np.concatenate([np.arange(1.0, 64.0), [70.0, 70.01, 80.0]])
    assert _kept(at(close)) == (63 + 70) / 2
    # intervals that reach over the gap: the same
    wide = np.array([np.arange(1.0, 66.0), np.arange(1.0, 66.0) + 0.25])
    wide[1, 63] = 65.5
    assert _kept(wide) == (63.25 + 64) / 2
    assert _kept(at(1 + 1e-5 * np.arange(100))) == 0.0
    gap = module._GAP
    for factor, kept in ((1.01, True), (0.99, False)):
        places = np.array([*(10 + 1e-6 * np.arange(64)), 10 * (1 + factor * gap)])
        assert (_kept(at(places)) > 10) is kept


@pytest.mark.parametrize("speed", [1, 3, 5, 8, 12, 31, 77])
def test_all_zeros_of_a_sine_up_to_the_reach(speed):
    """kπ/w: none near the end is missed or counted beyond it."""
    places, reach = crossings(sp.sin(speed * x))
    known = np.arange(-100, 101) * math.pi / speed
    np.testing.assert_allclose(sorted(map(float, places)), known[np.abs(known) < reach], atol=1e-14)


@pytest.mark.parametrize("speed", [5, 8, 12])
def test_means_of_waves_with_kinks(speed):
    """E |sin wa| = 2/π − 4/π Σ e^{−2 k² w²}/(4 k² − 1), 2/π here."""
    assert kc.gaussian_expectation(f"abs(sin({speed}*x))", "1", 1.0, 1.0, 0.0) == pytest.approx(2 / math.pi, rel=1e-12)


def test_signs_that_rounding_has_turned_are_put_right():
    """(x − 1)³ expanded: between float64 values of random signs beside 1 there is one change."""
    switch = sp.expand((x - 1) ** 3)
    places, reach = crossings(switch)
    assert reach == math.inf
    assert [float(at) for at in places] == pytest.approx([1.0], abs=1e-15)
    assert crossings(-switch)[0] == places
    assert crossings(x - sp.sin(x))[0] == {sp.S.Zero}


def test_a_zero_at_0_that_no_simplification_shows():
    """cos² 1 + sin² 1 = 1: max(tanh x, x/2) once more."""
    found = kc.Activation("max(tanh(x) + cos(1)^2 + sin(1)^2 - 1, x/2)")
    assert found.kinks == pytest.approx((-MEETS, 0, MEETS), abs=1e-15)
    mean = kc.gaussian_expectation(found, "1", 1.0, 1.0, 0.0)
    assert mean == pytest.approx(kc.gaussian_expectation("max(tanh(x), x/2)", "1", 1.0, 1.0, 0.0), rel=1e-13)


@pytest.mark.parametrize(("kind", "sign"), [(sp.Max, 1), (sp.Min, -1)])
def test_values_that_absolute_values_lose(kind, sign):
    """max(cos x, x + 2 − 10¹² x⁴) as absolute values is off by rounding of 10¹⁶ where pieces are compared with it."""
    breaks, pieces, reach = cut(kind(sign * sp.cos(x), sign * (x + 2 - 10**12 * x**4)))
    known = [float(mp.findroot(lambda v: mp.cos(v) - v - 2 + 10**12 * v**4, at)) for at in (-1e-3, 1e-3)]
    assert ([float(at) for at in breaks], reach) == (pytest.approx(known, rel=1e-14), math.inf)
    assert [float(piece.subs(x, 0)) for piece in pieces] == [sign, 2 * sign, sign]
