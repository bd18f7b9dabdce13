"""Steps of gradient flow from factors against those of SciPy, whose method they are."""

import numpy as np
import pytest
from conftest import CASES, make_problem
from scipy.integrate import RK45, solve_ivp
from stand_ins import alternating

import kernelcalc.finite.training as module
from kernelcalc.errors import IntegrationError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.derivatives import Problem, propagate
from kernelcalc.finite.factored import FactoredSteps, factors_pay

TIMES = np.array([0.0, 0.2, 0.3, 2.0, 10.0])


def flows(monkeypatch, fin, X, Y, times=TIMES, **options):
    """Parameters on the way, by SciPy's solver and by factors."""
    found = []
    for pays in (False, True):
        monkeypatch.setattr(module, "factors_pay", lambda net, problem, pays=pays: pays)
        found.append(np.array(fin.train(X, Y, times, record=lambda _, now: now.parameters, **options).records))
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name != "relu"])
@pytest.mark.parametrize("tol", [1e-2, 1e-5])
def test_the_same_steps_as_scipy(monkeypatch, name, tol):
    fin, X, Y, loss = make_problem(name)
    whole, factored = flows(monkeypatch, fin, X, Y, loss=loss, tol=tol)
    np.testing.assert_allclose(factored, whole, rtol=0, atol=1e-9)


def test_the_flow(monkeypatch):
    fin, X, Y, loss = make_problem("two hidden, softmax")
    problem = Problem.of(fin, X, Y, loss)
    exact = solve_ivp(
        lambda t, theta: -problem.gradient(fin.with_parameters(theta)),
        *((0, 10), fin.parameters),
        t_eval=TIMES,
        rtol=1e-11,
        atol=1e-12,
        method="DOP853",
    ).y.T
    factored = flows(monkeypatch, fin, X, Y, loss=loss, tol=1e-5)[1]
    assert np.linalg.norm(factored - exact, axis=1).max() < 2e-4


def test_float32(monkeypatch):
    single, X, Y, loss = make_problem("two hidden", dtype=np.float32)
    whole, factored = flows(monkeypatch, single, X, Y, loss=loss)
    assert factored.dtype == np.float32
    np.testing.assert_allclose(factored, whole, rtol=0, atol=1e-5)


def test_rejected_steps_and_no_step_at_all(monkeypatch):
    fin, X, Y, loss = make_problem("two hidden")
    # the targets are far: the first steps are too long
    whole, factored = flows(monkeypatch, fin, X, 1e3 * Y, [0.1], loss=loss, tol=1e-3)
    np.testing.assert_allclose(factored, whole, rtol=1e-6)
    monkeypatch.setattr(module, "factors_pay", lambda *_: True)
    with pytest.raises(IntegrationError, match="not finite at the start"):
        fin.train(X, 1e308 * Y, [1.0], loss=loss)
    with pytest.raises(IntegrationError, match="could not be followed"):
        fin.train(1e2 * X, 1e150 * Y, [1.0], loss=loss)


def test_wide_networks_at_few_points_take_them():
    net, few, many = alternating(3), np.ones((4, 3)), np.ones((40, 3))
    for width, points, pays in ((256, few, True), (256, many, False), (32, few, False)):
        fin = FiniteNetwork.random(net, width, 3, rng=0)
        assert factors_pay(fin, Problem.of(fin, points, np.zeros(len(points)), "mse")) == pays


@pytest.mark.parametrize("end", [10.0, 1e-3, 1e-7])
@pytest.mark.parametrize("tol", [1e-2, 1e-5])
def test_the_first_steps_are_those_of_scipy(end, tol):
    """Of several networks side by side, one of which has learnt its targets: there the slope vanishes."""
    fin, X, _, loss = make_problem("two hidden")
    Y = propagate(fin, X).outputs
    problem = Problem.of(fin, X, Y, loss)
    theta = np.stack([fin.parameters * factor for factor in (1.0, 1.1, 30.0, 1e-9)])
    found = FactoredSteps(fin, theta, problem, end, tol)

    def slope(_, now):
        return -problem.gradient(fin.with_parameters(now))

    # SciPy's tolerances are those of a mean over θ, and it takes no relative one below 100 ε
    options = {"rtol": 1e-13, "atol": tol / theta.shape[1] ** 0.5}
    wanted = [RK45(slope, 0.0, start, end, **options).h_abs for start in theta]
    np.testing.assert_allclose(found.h_abs, wanted, rtol=1e-6)
    assert found.h_abs[0] == min(1e-6, end)
    assert found.speed[0] == 0
