"""Terms read off exact atoms: their sum is the function, written by hand from the definition of each kind."""

import math

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.gaussian.floats.kinds import Term, differentiate, feels_small_angles, homogeneous_weights, recognise

X = np.array([-3.1, -0.7, -0.2, 0.4, 1.3, 4.2])


def value(term):
    """x^p F(x) for orders up to 3."""
    u = X / math.sqrt(term.variance) if term.variance else None
    density = None if u is None else np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi * term.variance)
    if term.kind in ("R", "K"):
        if u is None:
            step = (X > 0) * 1.0
            right = (X * step, step)[term.order]
        else:
            right = (X * ndtr(u) + term.variance * density, ndtr(u), density, -u / math.sqrt(term.variance) * density)[
                term.order
            ]
        # |x|/2 smoothed is R_0 − x/2, its derivative R_1 − 1/2.
        left = 0 if term.kind == "R" else (X / 2, 0.5, 0.0, 0.0)[term.order]
        shape = right - left
    else:
        rate = term.rate * X
        shape = {"one": np.ones_like(X), "exp": np.exp(rate), "sin": np.sin(rate), "cos": np.cos(rate)}[term.kind]
    return X**term.power * shape


@pytest.mark.parametrize(
    "text",
    [
        "relu",
        "abs",
        "leaky_relu(slope=0.3)",
        "step",
        "sign",
        "max(x,0)**2 + abs(x)",
        "where(x<0, 0.1*x**2 - 1, 3*x)",
        "gelu",
        "smooth_relu(scale=0.3)",
        "probit",
        "erf(-2*x) + 3*x",
        "Phi(x) + erf(3*x)",
        "x**2*Phi(-x)",
        "x*Phi(x) + 3*x*Phi(-x)",
        "2*Phi(x)*x**2 + erf(x/sqrt(2))*x**2 - 5*x**2*Phi(-x)",
        "x*exp(-3*x**2) + 1",
        "sin(2*x + 1)*x",
        "cos(x - 0.3)**2",
        "sinh(x) + exp(-2*x + 1)",
        "x**2*exp(x/2) - 3*exp(x/2)",
        "x**6 - 2*x",
        "normalized gelu",
    ],
)
def test_the_sum_is_the_function(text):
    act = as_activation(text)
    terms = recognise(act)
    np.testing.assert_allclose(
        sum(weight * value(term) for term, weight in terms.items()), act(X), rtol=1e-13, atol=1e-14
    )


@pytest.mark.parametrize("text", ["gelu", "erf(2*x)", "x*sin(2*x)", "x**2*exp(x/2)", "x**4 - x"])
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_those_of_the_sum(text, order):
    act = as_activation(text)
    terms = recognise(act.derivative(order))
    with mpmath.workdps(30):
        whole = sum(weight * np.array([literal(term, mpmath.mpf(v)) for v in X]) for term, weight in terms.items())
        wanted = [mpmath.diff(act.mpmath_pieces[0], mpmath.mpf(v), order) for v in X]
    np.testing.assert_allclose(whole.astype(float), np.array(wanted, dtype=float), rtol=1e-12, atol=1e-13)


def test_what_cancels_in_a_tail_is_one_term():
    assert recognise(kc.activation("smooth_relu")) == {Term(kind="R", variance=1.0): 1.0}
    assert recognise(kc.activation("gelu")) == {Term(power=1, kind="R", order=1, variance=1.0): 1.0}
    assert recognise(kc.activation("erf")) == {Term(kind="K", order=1, variance=0.5): 2.0}
    assert recognise(kc.Activation("abs(x) + max(x, 0)**2")) == {Term(kind="K"): 2.0, Term(power=1, kind="R"): 1.0}
    assert recognise(kc.Activation("x*Phi(x) + exp(-x**2/2)/sqrt(2*pi)")) == {Term(kind="R", variance=1.0): 1.0}


@pytest.mark.parametrize(
    "text", ["tanh", "elu", "hard_tanh", "erf(x-1)", "x**7", "sin(x)*exp(x)", "erf(x)*erf(2*x)", "exp(x**2/9)"]
)
def test_what_is_no_sum(text):
    assert recognise(as_activation(text)) is None


def literal(term, at):
    """x^p F(x) in mpmath's numbers, for smooth kinds."""
    if term.kind in ("R", "K"):
        v = mpmath.mpf(term.variance)
        start = mpmath.ncdf(at / mpmath.sqrt(v)) - (mpmath.mpf(1) / 2 if term.kind == "K" else 0)
        density = mpmath.npdf(at, 0, mpmath.sqrt(v))
        first = [at * start + v * density, start, density]
        shape = (
            first[term.order]
            if term.order < 3
            else mpmath.diff(lambda x: mpmath.npdf(x, 0, mpmath.sqrt(v)), at, term.order - 2)
        )
    else:
        shape = {"one": lambda x: 1, "exp": mpmath.exp, "sin": mpmath.sin, "cos": mpmath.cos}[term.kind](term.rate * at)
    return at**term.power * shape


@pytest.mark.parametrize(
    "term",
    [
        Term(power=3),
        Term(kind="R", variance=0.7),
        Term(power=1, kind="R", order=1, variance=0.7),
        Term(power=1, kind="K", order=1, variance=2.0),
        Term(power=2, kind="R", order=2, variance=0.7),
        Term(power=2, kind="K", order=2, variance=2.0),
        Term(power=1, kind="R", order=3, variance=0.7),
        Term(power=2, kind="exp", rate=-1.5),
        Term(power=1, kind="sin", rate=2.0),
        Term(kind="cos", rate=3.0),
    ],
)
def test_the_derivative_is_that_of_the_function(term):
    """Also of two such terms, whose derivatives add up; no x times the density is left, which is a derivative of it."""
    with mpmath.workdps(40):
        found = differentiate({term: 2.0, Term(power=1): 3.0})
        twice = differentiate(found)
        for at in map(mpmath.mpf, ("-1.3", "0.4", "2.1")):
            for terms, order in ((found, 1), (twice, 2)):
                wanted = 2 * mpmath.diff(lambda x: literal(term, x), at, order) + (3 if order == 1 else 0)
                value = mpmath.fsum(weight * literal(one, at) for one, weight in terms.items())
                assert abs(value - wanted) < 1e-13 * (1 + abs(wanted))
    assert not any(one.power == 1 and one.kind in ("R", "K") and one.order == 2 for one in [*found, *twice])


def test_a_slope_times_a_kink_stays():
    """x δ is no derivative of a density; x times a smooth density is −v φ'."""
    kept = Term(power=2, kind="R", order=2, variance=0.0)
    assert differentiate({kept: 1.0}) == {
        Term(power=1, kind="R", order=2): 2.0,
        Term(power=2, kind="R", order=3): 1.0,
    }
    found = recognise(kc.Activation("x*exp(-x**2/2)"))
    assert found == {Term(kind="R", order=3, variance=1.0): pytest.approx(-math.sqrt(2 * math.pi), rel=1e-15)}


def test_sums_of_narrow_kinks_are_one_term_too():
    v = 0.25
    text = "x*(1+erf(x*sqrt(2)))/2 + exp(-2*x**2)/(2*sqrt(2*pi))"
    assert recognise(kc.Activation(text)) == {Term(kind="R", variance=v): 1.0}
    # twice as much of the density is another function
    other = recognise(kc.Activation("x*(1+erf(x*sqrt(2)))/2 + exp(-2*x**2)/sqrt(2*pi)"))
    assert Term(kind="R", variance=v) not in other
    # ½ + K of another power, or of half the weight, is none
    assert Term(kind="R", order=1, variance=0.5) not in recognise(kc.Activation("erf(x) + 2"))
    assert Term(kind="R", order=1, variance=0.5) not in recognise(kc.Activation("erf(x) + x"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3*x", (3.0, 0.0)),
        ("relu", (0.5, 0.5)),
        ("2*abs(x)", (0.0, 2.0)),
        ("max(x,0) - 3*x + 5*abs(x)", (-2.5, 5.5)),
        ("erf(x)", None),
        ("x + 1", None),
        ("max(x,0)**2", None),
    ],
)
def test_homogeneous_functions(text, wanted):
    assert homogeneous_weights(recognise(as_activation(text))) == wanted


def test_small_angles_of_functions_without_terms():
    """Far above the function's own width everything is a kink; of a sum of terms the widths say when."""
    tanh, erf = as_activation("tanh"), as_activation("erf")
    assert [feels_small_angles(tanh, q) for q in (1.0, 100.0, 101.0)] == [False, False, True]
    assert [feels_small_angles(erf, q) for q in (1.0, 50.0, 51.0)] == [False, False, True]
    assert not feels_small_angles(as_activation("sin(x)"), 1e6)
    assert not feels_small_angles(as_activation("x**2"), 1e6)
    # a hundredth of unit variance is the least, whatever the points' size
    assert [feels_small_angles(as_activation(f"erf({r}*x)"), 1e-3) for r in (7, 7.1)] == [False, True]
    assert [feels_small_angles(kc.Activation(f"x*Phi({r}*x)")) for r in (9.9, 10.1)] == [False, True]
    assert feels_small_angles(as_activation("step"))


@pytest.mark.parametrize("count", [8, 9])
def test_no_more_than_eight_exponentials(count):
    found = recognise(kc.Activation("+".join(f"exp({k}*x/10)" for k in range(1, count + 1))))
    assert (found is None) is (count > 8)


def test_small_angles():
    assert [feels_small_angles(as_activation(t)) for t in ("tanh", "relu", "erf(100*x)", "erf")] == [
        False,
        True,
        True,
        False,
    ]
