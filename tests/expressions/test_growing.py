"""Rates of growth by rules, beside values far out."""

import math

import mpmath as mp
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.growing import growth_rate, least_rates

# α of e^{αx²}, but for slower factors
RATES = {
    "x^5*tanh(x)": 0, "exp(20*x)*cos(x)": 0, "x*exp(x^2/8)": 1 / 8, "exp(-x^4)": 0,
    "cosh(3*x)^2": 0, "softplus(x^2)": 0, "softplus(x)^3": 0, "log(1+x^2)": 0, "x/(1+abs(x))": 0, "x/(x^4-x^2+1)": 0,
    "2^(x^2/4)": math.log(2) / 4, "exp(3*abs(x)+sin(x))": 0, "exp(x^2/8)+exp(x^2/16)": 1 / 8, "relu(x)^2*exp(x^2/8)": 1 / 8,
    "sqrt(1+x^2)": 0, "asinh(sinh(x))": 0, "exp(-softplus(x))": 0, "1/cosh(x)": 0, "sinh(x)/cosh(x)": 0,
}  # fmt: skip


@pytest.mark.parametrize(("text", "rate"), RATES.items(), ids=RATES)
def test_rates(text, rate):
    form = kc.Activation(text).form
    assert growth_rate(form.pieces, form.breaks) == pytest.approx(rate, rel=1e-14)
    # |f| e^{-αx²} stays below e^{100 |x|}
    for at, piece in ((-4000, form.pieces[0]), (4000, form.pieces[-1])):
        value = sp.lambdify(x, piece, ["mpmath"])(mp.mpf(at))
        assert mp.log(abs(value) + 1) <= rate * at**2 + 100 * abs(at)


@pytest.mark.parametrize("expr", [sp.exp(x**4), sp.exp(-(x**3)), sp.exp(sp.exp(x)), sp.gamma(x), 1 / (x**2 - 9), x**x])
def test_where_no_rule_shows_a_rate(expr):
    assert growth_rate((expr,)) == math.inf


def test_only_the_outer_pieces_count():
    pieces = (sp.tanh(x), sp.exp(x**4), x)
    assert growth_rate(pieces, (sp.Integer(-1), sp.Integer(1))) == 0
    assert growth_rate(pieces[:2], (sp.Integer(0),)) == math.inf
    # 1/(x − 3) has its pole where the other piece is
    assert growth_rate((1 / (x - 3), x), (sp.Integer(2),)) == 0
    assert growth_rate((1 / (x - 3), x), (sp.Integer(4),)) == math.inf


# α on the left and on the right of |f| ≥ A e^{αx² − B|x|}, −∞ where the rules show none
RECIPROCALS = {
    "1/erfc(x/10)": (0, 1 / 100), "1/Phi(x)": (1 / 2, 0), "sqrt(1/Phi(x))": (1 / 4, 0), "1/log(Phi(x/5))": (-math.inf, 1 / 50),
    "1/(1-Phi(x)^2)": (0, 1 / 2), "1/(1-erf(x)^2)": (1, 1), "1/log(1-Phi(x))": (1 / 2, -math.inf), "exp(-x)/erfc(x)": (0, 1),
    "1/(1+erfc(x))": (0, 0), "1/log(sigmoid(x))": (-math.inf, -math.inf), "1/(1-sigmoid(x)^2)": (0, 0),
}  # fmt: skip


@pytest.mark.parametrize(("text", "rates"), RECIPROCALS.items(), ids=RECIPROCALS)
def test_reciprocals_of_tails_grow(text, rates):
    form = kc.Activation(text).form
    assert least_rates(form.pieces, form.breaks) == pytest.approx(rates, rel=1e-14)
    call = sp.lambdify(x, form.pieces[0], ["mpmath"])
    with mp.workdps(3000):
        for at, rate in zip((-60, 60), rates, strict=True):
            assert rate == -math.inf or mp.log(abs(call(mp.mpf(at)))) == pytest.approx(
                rate * at**2, abs=2 * abs(at) + 10
            )
