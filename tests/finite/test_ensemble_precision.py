"""What ensembles compute in float32: slopes against a solver of high order, high moments against float64."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import kernelcalc as kc
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.together import moments_of_networks
from kernelcalc.finite.derivatives import Problem, forward
from kernelcalc.finite.factored import FactoredSteps, slope_type
from kernelcalc.finite.flow import side_by_side
from kernelcalc.finite.training import train_together

X = np.array([[0.6, 0.2], [-0.9, 0.4], [1.1, -1.3]])
Y = np.array([1.0, -1.0, 1.0])


def networks(activation="tanh", width=64, count=3):
    net = kc.MLP(activation, depth=3, sigma_w=1.2)
    nets = [FiniteNetwork.random(net, width, 2, rng=seed) for seed in range(count)]
    return nets, np.stack([one.parameters for one in nets])


def chosen(activation="tanh", x=X, y=Y, end=10.0, tol=1e-4, loss="mse"):
    nets, theta = networks(activation)
    problem = Problem.of(nets[0], x, y, loss)
    return slope_type(nets[0], problem.values(nets[0].at(theta)).max(), problem, end, tol)


@pytest.mark.parametrize("activation", ["tanh", "x*erf(x)"])
def test_they_end_as_near_as_float64_does(activation):
    nets, theta = networks(activation, width=48)
    problem, times, tol = Problem.of(nets[0], X, Y, "mse"), np.array([0.0, 10.0]), 1e-4
    exact = [
        solve_ivp(
            lambda _, now, fin=fin: -problem.gradient(fin.with_parameters(now)),
            (0, 10), fin.parameters, rtol=1e-10, atol=1e-12, method="DOP853",
        ).y[:, -1]
        for fin in nets
    ]  # fmt: skip
    off = []
    for slopes in (np.float64, np.float32):
        *_, (_, found) = side_by_side(nets[0], theta, problem, times, tol, slopes)
        assert found.dtype == np.float64
        off.append(np.linalg.norm(found - exact, axis=1))
    assert np.all(off[1] < off[0] + tol / 4)
    *_, (members, _, found, _) = train_together(nets, problem, times, tol, single=True)
    assert members == slice(0, 3)
    assert np.linalg.norm(found - exact, axis=1).tolist() == off[1].tolist()


def test_only_where_rounding_is_below_the_tolerance():
    assert chosen() == np.float32
    for change in (
        {"tol": 1e-6},
        {"end": 1e5},
        {"y": 100 * Y},
        {"x": 1000 * X},
        {"x": X / 1000},
        {"activation": "relu"},
        {"loss": "binary"},
    ):
        assert chosen(**change) == np.float64, change


def test_the_size_of_a_sum_of_slopes():
    """From inner products, and from the vector itself where these cancel: of all stages alike and of differences."""
    nets, theta = networks(count=2)
    steps = FactoredSteps(nets[0], theta, Problem.of(nets[0], X, Y, "mse"), 1e-9, 1e-4)
    steps.attempt()
    for row in (np.ones(7), np.arange(7) - 3.0, np.eye(7)[0] - np.eye(7)[6]):
        coefficients = np.tile(row, (2, 1))
        whole = np.linalg.norm(steps._combined(coefficients), axis=1)
        np.testing.assert_allclose(steps._size(coefficients), whole, rtol=1e-5, atol=1e-16)


@pytest.mark.parametrize(
    ("activation", "size", "rtol"),
    [("tanh", 1.0, 1e-5), ("tanh", 30.0, 1e-5), ("x**3", 0.1, 1e-5), ("x**3", 30.0, 0.0)],
)
def test_high_moments(activation, size, rtol):
    """The last case overflows in float32, and is computed in float64 then, from the same probes."""
    nets, theta = networks(activation)
    problem = Problem.of(nets[0], size * X, Y, "mse")
    run, options = forward(nets[0].at(theta), problem.x), {"kmax": 4, "probes": 5, "pairs": None}
    exact, found = (moments_of_networks(run, problem, [1, 2, 3], single=single, **options) for single in (False, True))
    scale = np.abs(exact["trace_i"]).max(axis=0)
    np.testing.assert_allclose(found["trace_h"] / scale, exact["trace_h"] / scale, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found["trace_h_error"], exact["trace_h_error"], rtol=rtol)
    assert (found["trace_h"] == exact["trace_h"]).all() == (rtol == 0)
