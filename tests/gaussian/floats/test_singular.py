"""Expectations with delta functions beside mpmath's derivatives of density times conditional mean."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.activation import ONE
from kernelcalc.arrays import EPS
from kernelcalc.expressions.atoms import Delta
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats.norms import RTOL
from kernelcalc.gaussian.floats.singular import delta_expectation, regular_part


def _ramp(m, v):
    """E max(b, 0), b ~ N(m, v)."""
    s = mp.sqrt(v)
    return m * mp.ncdf(m / s) + s * mp.npdf(m / s)


# a name and an order of its derivative, and E[g(b)] for b ~ N(m, v); of a step, of two deltas, of a step and a dipole
CONDITIONAL = {
    ("sin", 0): lambda m, v: mp.exp(-v / 2) * mp.sin(m),
    ("relu", 0): _ramp,
    ("relu", 1): lambda m, v: mp.ncdf(m / mp.sqrt(v)),
    ("hard_tanh", 2): lambda m, v: mp.npdf(m + 1, 0, mp.sqrt(v)) - mp.npdf(m - 1, 0, mp.sqrt(v)),
    ("x^2*(x > 0.5)", 1): lambda m, v: (
        2 * (_ramp(m - 0.5, v) + 0.5 * mp.ncdf((m - 0.5) / mp.sqrt(v))) + mp.npdf(m - 0.5, 0, mp.sqrt(v)) / 4
    ),
}
COVARIANCES = [(0.7, 0.4, 0.3), (0.5, 1.5, -0.6), (2.0, 0.3, 0.0)]


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize(("name", "derivative"), CONDITIONAL)
def test_derivatives_of_the_density_times_the_conditional_mean(name, derivative, order):
    """(−1)^m w dᵐ/daᵐ φ_q(a) E[g(b) | a] at τ, and no error beyond some hundred roundings of the parts."""
    g, mean = kc.Activation(name) if "x" in name else kc.activation(name), CONDITIONAL[name, derivative]
    delta = Delta(at=sp.Rational(1, 4), order=order, weight=sp.Rational(-3, 2))
    q, qp, c = np.array(COVARIANCES).T
    found = delta_expectation(delta, g.derivative(derivative), make_covariance(q, qp, c), rtol=RTOL)
    with mp.workdps(40):

        def exact(one, other, both):
            def part(a):
                return mp.npdf(a, 0, mp.sqrt(one)) * mean(both / one * a, other - both**2 / one)

            return float((-1) ** order * mp.mpf(-1.5) * mp.diff(part, mp.mpf(0.25), order))

        right = [exact(*map(mp.mpf, covariance)) for covariance in COVARIANCES]
    assert (np.abs(found.value - right) <= np.maximum(found.error, 2 * EPS * np.abs(right))).all()
    assert (np.abs(right) <= found.magnitude * (1 + 1e-12)).all()
    assert (found.error >= 16 * EPS * found.magnitude).all()
    assert (found.error <= 300 * EPS * found.magnitude).all()


def test_what_cancels_leaves_its_size():
    """E[−2 δ(a) sin b] is 0 at c = 0; the magnitude is 2 φ_q(0) E|sin b|, the error relative to that."""
    delta = Delta(at=sp.Integer(0), order=0, weight=sp.Integer(-2))
    found = delta_expectation(delta, kc.activation("sin"), make_covariance(0.7, [0.4], 0.0), rtol=RTOL)
    size = 2 * mp.npdf(0, 0, mp.sqrt(0.7)) * mp.quad(lambda b: abs(mp.sin(b)) * mp.npdf(b, 0, mp.sqrt(0.4)), [-7, 0, 7])
    assert abs(found.value[0]) <= found.error[0]
    assert found.magnitude[0] == pytest.approx(float(size), rel=1e-6)
    assert 16 * EPS * float(size) <= found.error[0] <= 1e-13


@pytest.mark.parametrize("at", [3.0, 12.0])
def test_rounding_of_places_far_out_is_counted(at):
    """Of e^{−z²/2} at z = at/√q it is z² ε, for the density of a and that of b alike."""
    delta, q, qp = Delta(at=sp.Float(at), order=0, weight=sp.Integer(1)), np.array([0.7]), np.array([0.4])
    beside, slope = kc.Activation(f"max(x - {at}, 0)").derivative(2), 0.3 / 0.7
    for g, least in ((ONE, at**2 / 0.7), (beside, at**2 / 0.7 + (at * (1 - slope)) ** 2 / (0.4 - 0.3 * slope))):
        found = delta_expectation(delta, g, make_covariance(q, qp, 0.3), rtol=RTOL)
        assert least * EPS <= found.error[0] / found.magnitude[0] <= (100 + 4 * least) * EPS


def test_deltas_on_a_line():
    """b = 2a: δ(a − ¼) δ(b − τ) is infinite at τ = ½, and 0 elsewhere; a step there is 1 beyond it and 0 before it."""
    delta, cov = Delta(at=sp.Rational(1, 4), order=0, weight=sp.Integer(1)), make_covariance([0.25], [1.0], 0.5)
    for at, value in ((0.5, np.inf), (0.75, 0.0)):
        found = delta_expectation(delta, kc.Activation(f"max(x - {at}, 0)").derivative(2), cov, rtol=RTOL)
        assert found.value[0] == value
    density = float(mp.npdf(0.25, 0, 0.5))
    for at, value in ((0.4, density), (0.75, 0.0)):
        found = delta_expectation(delta, kc.Activation(f"max(x - {at}, 0)").derivative(1), cov, rtol=RTOL)
        assert found.value[0] == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_constant_has_no_derivative(order):
    """E[δ^{(m)}(a − ¼) max(b, 0)] is 0 for b = 0, whatever the derivatives of max at 0; nothing of it is rounded."""
    delta = Delta(at=sp.Rational(1, 4), order=order, weight=sp.Integer(1))
    found = delta_expectation(delta, kc.activation("relu"), make_covariance([0.7], [0.0], 0.0), rtol=RTOL)
    assert (found.value[0], found.error[0], found.magnitude[0]) == (0.0, 0.0, 0.0)


def test_functions_without_their_deltas():
    bent = kc.Activation("x^2*(x > 1)").derivative(1)
    assert len(bent.deltas) == 1
    regular = regular_part(bent)
    assert not regular.deltas
    assert regular.name == f"{bent.name} (regular part)"
    assert regular(np.array([0.5, 1.5])).tolist() == [0.0, 3.0]
    assert regular_part(regular) is regular
