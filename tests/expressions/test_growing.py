"""Rates of growth by rules, beside values far out."""

import math

import mpmath as mp
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.growing import growth_rate

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
