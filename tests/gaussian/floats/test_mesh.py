"""Panels that resolve functions: what they miss, where they end, and how many there are."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.gaussian.floats import mesh as module
from kernelcalc.gaussian.floats.mesh import (
    Mesh,
    doubt,
    feature_mesh,
    hidden_beyond,
    mesh_radius,
    mesh_rule,
    resolution,
    rounded,
    rounds,
)

FUNCTIONS = {
    "tanh(x)": np.tanh,
    "tanh(100*(x-1.3))": lambda v: np.tanh(100 * (v - 1.3)),
    "exp(-1000*(x+2.7)**2)+sin(x)": lambda v: np.exp(-1000 * (v + 2.7) ** 2) + np.sin(v),
    "max(tanh(3*x-1),0)": lambda v: np.maximum(np.tanh(3 * v - 1), 0),
    "1/(1+2500*x**2)": lambda v: 1 / (1 + 2500 * v**2),
}


# Breakpoints, counted.
MOST = dict(zip(FUNCTIONS, (19, 29, 38, 13, 65), strict=True))


@pytest.mark.parametrize("text", FUNCTIONS)
def test_polynomials_of_degree_fifteen_on_the_panels(text):
    """Interpolation at Gauss nodes of every panel meets the function between them; there are few panels."""
    mesh = feature_mesh(kc.Activation(text), 16.0)
    function = FUNCTIONS[text]
    assert mesh.resolves
    assert (mesh.edges[0], mesh.edges[-1]) == (-16, 16)
    assert (np.diff(mesh.edges) > 0).all()
    assert mesh.edges.size <= MOST[text]
    assert missed(function, mesh.edges) < 1e-11
    assert 0.0 in mesh.edges
    if "max" in text:
        assert np.abs(mesh.edges - 1 / 3).min() < 1e-15
    values = np.array([-20.0, 0.1, 3.0])
    assert np.all(mesh.unresolved(values) == 0)


def test_faint_bumps_and_those_in_the_first_panel_are_resolved():
    """Errors are relative to what the function is on a panel, and features are looked at to the very end."""
    cases = {
        "exp(x)+exp(-10000*(x+5)**2)/1000": (lambda v: np.exp(v) + np.exp(-10000 * (v + 5) ** 2) / 1000, (-8, -2)),
        "sin(x)+exp(-100000*(x+15.9)**2)": (lambda v: np.sin(v) + np.exp(-100000 * (v + 15.9) ** 2), (-16, -8)),
    }
    for text, (function, (low, high)) in cases.items():
        edges = feature_mesh(kc.Activation(text), 16.0).edges
        assert missed(function, edges[(edges >= low) & (edges <= high)]) < 1e-11


def test_the_largest_value_nearer_to_0():
    """Of e^{−x} it is e^d at the distance d, of both sides."""
    act, samples = kc.Activation("exp(-x)"), np.array([0.5])
    distances, largest = module._inner_scale(act, 8.0, samples, act(samples))
    assert distances.size == largest.size == 402
    assert (distances[0], largest[0]) == (0.0, 1.0)
    np.testing.assert_allclose(largest[distances > 0], np.exp(distances[distances > 0]), rtol=0.05)
    assert largest[-1] == np.exp(8.0)


def missed(function, edges):
    """The largest difference between a function and its interpolation on panels."""
    nodes = np.polynomial.legendre.leggauss(16)[0]
    at = np.linspace(-0.99, 0.99, 41)
    inverse = np.linalg.inv(np.polynomial.legendre.legvander(nodes, 15))
    between = np.polynomial.legendre.legvander(at, 15) @ inverse
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    rough = between @ function(middle + half * nodes[:, None])
    return float(np.abs(rough - function(middle + half * at[:, None])).max())


def test_what_has_features_without_end_is_given_up():
    """sin(e^x) up to x = 16: where halving ends, what polynomials miss is of the size of the function."""
    mesh = feature_mesh(kc.Activation("sin(exp(x))"), 16.0)
    assert not mesh.resolves
    assert mesh.left.size == mesh.right.size == mesh.missed.size
    assert (mesh.right > mesh.left).all()
    places = np.array([-3.0, 15.9, 16.5])
    found = mesh.unresolved(places)
    assert found[0] == found[2] == 0
    assert found[1] > 0.1


def test_which_panel_was_given_up():
    mesh = Mesh(np.array([0.0, 4.0]), np.array([1.0, 3.0]), np.array([2.0, 4.0]), np.array([0.5, 0.7]))
    at = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 4.1])
    assert mesh.unresolved(at).tolist() == [0, 0.5, 0.5, 0.5, 0, 0.7, 0.7, 0]
    assert not mesh.resolves
    plain = Mesh(np.array([0.0, 4.0]), *np.empty((3, 0)))
    assert plain.resolves
    assert plain.unresolved(at) == 0.0


def test_jumps_and_poles_of_callables_are_cut_to_nothing():
    act = as_activation(lambda v: np.where(v > 0.3, 1.0, 0.0))
    mesh = feature_mesh(act, 16.0)
    assert mesh.resolves
    assert np.diff(mesh.edges).min() < 1e-10
    assert np.abs(mesh.edges - 0.3).min() < 1e-10


def test_a_jump_that_is_known_needs_no_panels():
    """The value at a jump itself, half of it, belongs to neither side."""
    for text, jump in (("step(x-0.3)", 0.3), ("sign(x)", 0.0)):
        assert feature_mesh(kc.Activation(text), 16.0).edges.tolist() == sorted({-16.0, 0.0, jump, 16.0})


def test_callables_are_looked_at_most_closely_around_0():
    """tanh(10⁶ x) is ±1 at every place of a grid besides 0."""
    edges = feature_mesh(as_activation(lambda v: np.tanh(1e6 * v)), 16.0).edges
    assert missed(lambda v: np.tanh(1e6 * v), edges) < 1e-11
    assert 1e-9 < np.diff(edges).min() < 1e-6


@pytest.mark.parametrize("at", [-15.3, -5.3, 7.7, 15.9])
def test_callables_are_looked_at_everywhere(at):
    """Some hundred places of a bump as wide as 1/30."""

    def bump(v):
        return np.exp(-1000 * (v - at) ** 2)

    edges = feature_mesh(as_activation(bump), 16.0).edges
    assert missed(bump, edges) < 1e-11


def test_doubt_is_rounding_and_what_panels_miss():
    steep, plain = kc.Activation("exp(-3000*tanh(x)**2)"), kc.Activation("tanh(x)")
    at = np.array([0.01, 0.02, 3.0])
    mesh = Mesh(np.array([0.0, 4.0]), np.array([2.0]), np.array([4.0]), np.array([0.5]))
    felt = doubt(steep, mesh, at, rounded=True)
    np.testing.assert_allclose(felt, steep.form.rounding(at) + np.array([0, 0, 0.5]))
    assert doubt(plain, mesh, at, rounded=False).tolist() == [0, 0, 0.5]


def test_where_rounding_is_looked_at():
    """1/cosh x − 0.9999 cancels where |x| < 0.1; what is narrow, everywhere; sums where the other factor is narrow."""
    steep, plain, close = (
        kc.Activation("exp(-3000*tanh(x)**2)"),
        kc.Activation("tanh(x)"),
        kc.Activation("sech(x)-0.9999"),
    )
    one, small = np.ones(1), np.array([1e-3, 0.02])
    assert rounds(steep, one)
    assert not rounds(plain, one)
    assert not rounds(plain, small)
    assert rounds(close, small)
    assert not rounds(close, one)
    assert not rounds(as_activation(lambda v: np.tanh(v) - v), one)
    assert rounded(steep, close, one, one) == (True, True)
    assert rounded(steep, plain, one, one) == (True, False)
    assert rounded(plain, close, one, one) == (False, False)
    assert rounded(close, plain, small, one) == (True, False)


@pytest.mark.parametrize(
    "name", ["tanh", "sigmoid", "softplus", "silu", "gelu", "erf", "arctan", "mish", "sqrt(1+x^2)"]
)
def test_rounding_of_ordinary_functions_is_not_looked_at(name):
    """It takes several times as long as the function, and is covered by what every rule states."""
    act = as_activation(name)
    for order in range(4):
        assert not rounds(act.derivative(order), 10.0 ** np.arange(-3, 4))


def test_radii_are_powers_of_two():
    assert mesh_radius(1.0) == 16.0
    assert mesh_radius(1.0, 3.0) == 16.0
    assert mesh_radius(1.0, -3.5) == 32.0
    assert mesh_radius(2.0, reach=10.0) == 32.0
    assert mesh_radius(0.0) == 2.0**-39
    assert resolution(16.0) == pytest.approx(32 / 2**15, rel=1e-4)


def test_what_lies_far_out():
    act = kc.Activation("exp(-50*(x-20)**2)")
    std, mean = np.array([1.0, 2.0, 0.5, 0.0, 1.0]), np.array([0.0, 0.0, 0.0, 0.0, 15.0])
    assert hidden_beyond(act, std, mean).tolist() == [True, False, False, False, False]
    assert hidden_beyond(act, std, mean, near=8.0).tolist() == [True, True, False, False, False]
    kink = kc.Activation("max(x-20,0)")
    assert hidden_beyond(kink, np.array([-1.0, 1.6]), np.zeros(2)).tolist() == [True, False]
    # a constant at the kink, and one beside it
    assert hidden_beyond(kink, np.zeros(2), np.array([20.0, 19.0])).tolist() == [False, False]


def moments(act, std, mean, width, count):
    z, weight, meshes = mesh_rule(((act, std, mean),), width, count)
    density = weight * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return z, (act(mean[:, None] + std[:, None] * z) * density).sum(axis=1), meshes


def test_rules_for_rows_of_functions():
    """E[(m + sZ − 0.4)₊] = s φ(d/s) + d Φ(d/s), d = m − 0.4."""
    act, std, mean = (
        kc.Activation("max(x-0.4,0)"),
        np.array([1.0, -0.3, 2.0, 0, 0, 0]),
        np.array([0.0, 0.5, -1.0, 0.7, 0.4, 0]),
    )
    z, found, meshes = moments(act, std, mean, 1.0, 16)
    shift = mean[:3] - 0.4
    ratio = shift / np.abs(std[:3])
    phi = np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in ratio])
    wanted = np.abs(std[:3]) * np.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi) + shift * phi
    np.testing.assert_allclose(found, [*wanted, 0.3, 0, 0], rtol=1e-14)
    assert (z.min(), z.max()) == (-13, 13)
    assert len(meshes) == 1
    assert z.shape[1] % 16 == 0
    # panels half as wide are twice as many
    more = moments(act, std, mean, 0.5, 16)[0].shape[1]
    assert more - z.shape[1] == 26 * 16


def test_rules_reach_features_far_out():
    """E e^{−50(Z − 20)²} = e^{−50·400/101}/√101, beyond 13 deviations."""
    act, one = kc.Activation("exp(-50*(x-20)**2)"), np.ones(1)
    z, found, _ = moments(act, one, 0 * one, 1.0, 24)
    assert z.max() > 37.9
    assert found[0] == pytest.approx(math.exp(-50 * 400 / 101) / 101**0.5, rel=1e-10, abs=0)


def test_rules_resolve_every_function():
    f, g, std = kc.Activation("tanh(50*x)"), kc.Activation("exp(-300*(x-1)**2)"), np.array([1.0])
    z, weight, meshes = mesh_rule(((f, std, 0 * std), (g, 2 * std, 0 * std)), 1.0, 24)
    assert len(meshes) == 2
    density = weight[0] * np.exp(-(z[0] ** 2) / 2) / math.sqrt(2 * math.pi)
    # E e^{−300(2Z − 1)²} = e^{−300/2401·…}: variance 4, so 1/√2401 e^{−300/2401}
    assert (density @ g(2 * z[0])) == pytest.approx(math.exp(-300 / 2401) / 2401**0.5, rel=1e-12)
    # 1 − E tanh² 50Z = ∫ sech²(50 z) φ = 2 φ(0)/50 (1 − π²/24/2500 + …)
    rest = 2 / 50 / math.sqrt(2 * math.pi) * (1 - math.pi**2 / 24 / 2500)
    assert 1 - density @ f(z[0]) ** 2 == pytest.approx(rest, rel=1e-6)
    assert module.MESH_NODES == 16
