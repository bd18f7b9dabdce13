"""A number is one whatever its type: Fraction, Decimal, what only float() reads; answers are those of the same float."""

from decimal import Decimal
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

import kernelcalc as kc

X = np.array([[1.0, 0.2], [0.3, -1.0], [-0.5, 0.8]])
Y = np.array([1.0, -1.0, 1.0])
KERNELS = kc.MLP("erf", 2).kernels(X)
DENSITY = kc.finite.SpectralDensity(nodes=np.array([[0.5, 1.0]]), weights=np.array([[0.25, 0.75]]), size=2)


class Scalar:
    """As a tensor of no dimension."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return float(self.value)


def through_descent(step, momentum):
    return kc.mse_moments(KERNELS, Y, [0.0, 1.0], descent=kc.Descent(step, momentum)).loss


def through_flow(rtol, trace_rtol):
    found = kc.hessian_moments(KERNELS, [0, 1, 1], [0.0, 1.0], "binary", samples=2, rtol=rtol, trace_rtol=trace_rtol)
    return found.trace_h


CALLS = {
    "fixed_points": (lambda a, b: [p.q for p in kc.phase.fixed_points("erf", a, b)], (1.5, 0.25)),
    "phase_diagram": (lambda a, b: kc.phase_diagram("erf", [float(a)], [float(b)]).q, (1.5, 0.25)),
    "stack_profile": (
        lambda q, rho: kc.stack_profile("erf", kc.layers.Dense(), depths=[2], q=q, correlation=rho).q,
        (0.5, 0.25),
    ),
    "mse_quantiles": (lambda tol: kc.mse_quantiles(KERNELS, Y, [0.5], "loss", tol=tol), (0.125,)),
    "Descent": (through_descent, (0.125, 0.5)),
    "hessian_moments": (through_flow, (1 / 1024, 1 / 64)),
    "density": (lambda width: DENSITY.density([1.0], width), (0.125,)),
    "mercer": (lambda rtol: kc.symbolic.mercer(kc.symbolic.rho**2, 3, 4, rtol=rtol).eigenvalues, (2.0**-20,)),
    "predict": (
        lambda p: kc.predict(kc.MLP("erf", 2), X, Y, width=4, descents=3, probability=p).stable.rate("ntk"),
        (0.5,),
    ),
}


@cache
def of_floats(name):
    call, numbers = CALLS[name]
    return call(*numbers)


@pytest.mark.parametrize("kind", [Fraction, Decimal, Scalar, np.float32, np.longdouble])
@pytest.mark.parametrize("name", list(CALLS))
def test_the_answer_is_that_of_the_float(name, kind):
    call, numbers = CALLS[name]
    np.testing.assert_array_equal(call(*map(kind, numbers)), of_floats(name))


@pytest.mark.parametrize("kind", [Fraction, Decimal])
def test_descent_by_hand(kind):
    """One point with Θ = 4: a step of ¼ meets the target at once."""
    decay, ramp = kc.Descent(kind("0.25")).modes(np.array([4.0]), 1, np.array([0.25]))
    assert decay.tolist() == [[0.0]]
    assert ramp.tolist() == [[0.25]]
