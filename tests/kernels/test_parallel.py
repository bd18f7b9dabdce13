"""Nearly parallel points before a kinked layer: against many digits of the whole recursion."""

import mpmath
import numpy as np
import pytest

import kernelcalc as kc

RNG = np.random.default_rng(0)
POINT, STEP = RNG.normal(size=(2, 1, 5))


def worst(net, points):
    names = ("sigma", "theta")
    exact = net.kernels(points, only=names, dps=25)
    found = net.kernels(points, only=names)
    return max(float(np.abs(getattr(found, name) / getattr(exact, name).astype(float) - 1).max()) for name in names)


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize(
    "names",
    [("tanh", "relu"), ("erf", "relu"), ("softplus", "abs"), ("elu", "relu"), ("hard_tanh", "relu"), ("relu", "relu")],
)
def test_close_points(names, distance):
    net = kc.MLP(list(names), 3)
    assert worst(net, np.concatenate([POINT, POINT + distance * STEP])) < 1e-11


def test_a_smooth_layer_between_passes_the_angle_on():
    net = kc.MLP(["tanh", "softplus", "relu"], 4, sigma_w=1.5)
    assert worst(net, np.concatenate([POINT, POINT + 1e-7 * STEP])) < 1e-11


@pytest.mark.parametrize("names", [("abs", "abs"), ("abs", "relu"), ("tanh", "abs"), ("leaky_relu", "abs")])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_nearly_opposite_points(names, beta):
    net = kc.MLP(list(names), 3, beta=beta)
    assert worst(net, np.concatenate([POINT, -POINT + 1e-8 * STEP])) < 1e-11


def test_linear_layers_before_a_kink():
    x = kc.Activation("x + 0*x")
    for sign in (1, -1):
        points = np.concatenate([POINT, sign * POINT + 1e-8 * STEP])
        deep = kc.MLP([x, "relu"], 3, beta=0.0).kernels(points)
        flat = kc.MLP("relu", 2, beta=0.0).kernels(points)
        np.testing.assert_allclose(deep.sigma, flat.sigma, rtol=1e-14)


def test_the_precision_of_the_caller_does_not_matter():
    net = kc.MLP(["hard_tanh", "relu"], 3)
    points = np.concatenate([POINT, POINT + 1e-7 * STEP])
    expected = net.kernels(points).theta
    with mpmath.workdps(5):
        np.testing.assert_array_equal(net.kernels(points).theta, expected)
