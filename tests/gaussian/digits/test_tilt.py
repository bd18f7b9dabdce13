"""A growth moved into the density: the functions, the Gaussian and the factor, by matrices and by hand."""

import mpmath as mp
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.expressions.atoms import x
from kernelcalc.gaussian.digits.tilt import without_growth

COVARIANCES = [(1.0, 1.0, 0.5), (0.7, 1.1, -0.6), (0.9, 0.4, 0.6), (1.0, 0.0, 0.0)]


def given(covariance):
    q, qp, c = map(mp.mpf, covariance)
    return q, qp, c, q * qp - c * c


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(
    ("f", "g", "alpha", "beta"),
    [
        ("tanh(x)*exp(x^2/8)", "cos(x)", 0.125, 0.0),
        ("cos(x)", "exp(0.2*x^2)*arctan(x)", 0.0, 0.2),
        ("exp(x^2/5)*tanh(x)", "cosh(0.1*x^2)", 0.2, 0.1),
    ],
)
def test_the_gaussian_that_is_left(f, g, alpha, beta, covariance):
    r"""det(I − 2ΓΣ) and Σ(I − 2ΓΣ)^{-1} as matrices; functions times e^{−αx²}."""
    first, second = kc.Activation(f), kc.Activation(g)
    with mp.workdps(30):
        q, qp, c, det = given(covariance)
        found, other, *numbers, factor = without_growth((first,), (second,), q, qp, c, det)
        sigma, gamma = mp.matrix([[q, c], [c, qp]]), mp.diag([mp.mpf(str(alpha)), mp.mpf(str(beta))])
        left = mp.eye(2) - 2 * gamma * sigma
        tilted = sigma * left**-1
        for number, known in zip(numbers, (tilted[0, 0], tilted[1, 1], tilted[0, 1]), strict=True):
            assert mp.almosteq(number, known, rel_eps=mp.mpf(10) ** -26, abs_eps=mp.mpf(10) ** -26)
        assert mp.almosteq(factor, 1 / mp.sqrt(mp.det(left)), rel_eps=mp.mpf(10) ** -26)
        for act, before, rate in ((found[0], first, alpha), (other[0], second, beta)):
            assert (act is before) is (rate == 0)
            for at in ("-1.3", "0.4", "2"):
                known = before.expr.subs(x, sp.Rational(at)) * sp.exp(-sp.Rational(str(rate)) * sp.Rational(at) ** 2)
                piece = act.form.pieces[0] if rate else act.expr
                assert abs((piece.subs(x, sp.Rational(at)) - known).evalf(30)) < 1e-25


def test_all_functions_of_one_side_lose_the_growth_of_the_fastest():
    """Of two with e^{x²/8} and e^{x²/4} both are divided by the second."""
    slow, fast = kc.Activation("tanh(x)*exp(x^2/8)"), kc.Activation("tanh(x)*exp(x^2/4)")
    with mp.workdps(30):
        q, qp, c, det = given((0.5, 0.5, 0.25))
        (first, second), _, *_, factor = without_growth((slow, fast), (kc.Activation("cos(x)"),), q, qp, c, det)
        assert mp.almosteq(factor, 1 / mp.sqrt(mp.mpf("0.75")))
    for act, known in ((first, sp.tanh(x) * sp.exp(-(x**2) / 8)), (second, sp.tanh(x))):
        assert abs((act.form.pieces[0] - known).subs(x, sp.Rational(3, 2)).evalf(20)) < 1e-18
    assert (second.name, first.name) == (f"{fast.name} exp(-1/4 x^2)", f"{slow.name} exp(-1/4 x^2)")


def test_delta_functions_take_the_factor_of_their_place():
    """(|x − 1| e^{x²/4})'' has 2 e^{1/4} δ(x − 1), the step of the kink: without the growth 2 δ(x − 1)."""
    act = kc.Activation("abs(x-1)*exp(x^2/4)").derivative(2)
    with mp.workdps(30):
        (found,), _, *_ = without_growth((act,), (kc.Activation("1"),), *given((0.5, 0.5, 0.25)))
    (delta,) = found.form.deltas
    assert (delta.order, delta.at) == (0, 1)
    assert sp.simplify(delta.weight - 2) == 0
    assert found.form.breaks == act.form.breaks
    assert found.form.stable == found.form.pieces
    assert (found.root, found.order) == (act.root, act.order)


@pytest.mark.parametrize(
    ("f", "g", "covariance"),
    [
        # no growth; one that no rule shows; E that does not exist, of both or of one alone
        ("tanh(x)", "cos(x)", (1.0, 1.0, 0.5)),
        ("exp(x^4/1000)", "exp(x^2/8)", (1.0, 1.0, 0.5)),
        ("exp(x^2/3)*tanh(x)", "exp(x^2/3)*tanh(x)", (1.0, 1.0, 0.9)),
        ("exp(x^2)", "exp(x^2)", (1.0, 1.0, 0.0)),
        ("exp(x^2)", "cos(x)", (1.0, 1.0, 0.0)),
        ("exp(x^2/2)", "1", (1.0, 1.0, 0.0)),
    ],
)
def test_what_stays_as_it_is(f, g, covariance):
    sides, numbers = ((kc.Activation(f),), (kc.Activation(g),)), given(covariance)
    assert without_growth(*sides, *numbers) == (*sides, *numbers[:3], 1)
