"""Terms read off exact atoms: their sum is the function, written by hand from the definition of each kind."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.gaussian.floats.kinds import Term, feels_small_angles, recognise

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
        "x*exp(-3*x**2) + 1",
        "sin(2*x + 1)*x",
        "cos(x - 0.3)**2",
        "sinh(x) + exp(-2*x + 1)",
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


def test_small_angles():
    assert [feels_small_angles(as_activation(t)) for t in ("tanh", "relu", "erf(100*x)", "erf")] == [
        False,
        True,
        True,
        False,
    ]
