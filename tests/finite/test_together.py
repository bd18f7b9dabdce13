"""Networks trained side by side against each of them trained alone by SciPy's solver."""

import numpy as np
import pytest
from conftest import CASES, make_problem
from stand_ins import Architecture, Table, alternating

import kernelcalc.finite.training as module
from kernelcalc.errors import IntegrationError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.factored import networks_together
from kernelcalc.finite.training import train_together

TIMES = np.array([0.0, 0.2, 0.3, 2.0, 10.0])


def like(fin, count, largest=3.0):
    """Networks of one architecture that take different numbers of steps."""
    rng = np.random.default_rng(7)
    sizes = np.linspace(0.3, largest, count)
    return [fin.with_parameters((a * rng.standard_normal(fin.n_parameters)).astype(fin.dtype)) for a in sizes]


def alone(monkeypatch, nets, X, Y, times=TIMES, **options):
    monkeypatch.setattr(module, "factors_pay", lambda *_: False)
    return [net.train(X, Y, times, record=lambda t, now: (t, now.parameters), **options) for net in nets]


def together(monkeypatch, nets, X, Y, times=TIMES, size=3, loss="mse", tol=1e-4):
    """Times (T,), parameters (T, P) and losses (T,) of every network, as those of its group came."""
    monkeypatch.setattr(module, "networks_together", lambda *_: size)
    problem, found = Problem.of(nets[0], X, Y, loss), [([], [], []) for _ in nets]
    for members, time, theta, losses in train_together(nets, problem, np.asarray(times), tol):
        for row, *values in zip(found[members], theta, losses, strict=True):
            for known, value in zip(row, (time, *values), strict=True):
                known.append(value)
    return [tuple(map(np.array, row)) for row in found]


@pytest.mark.parametrize("name", [name for name in CASES if name != "relu"])
def test_each_goes_where_it_goes_alone(monkeypatch, name):
    fin, X, Y, loss = make_problem(name)
    nets = like(fin, 5)
    expected = alone(monkeypatch, nets, X, Y, loss=loss, tol=1e-4)
    found = together(monkeypatch, nets, X, Y, loss=loss, tol=1e-4)
    for (times, thetas, losses), other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(times, other.times)
        np.testing.assert_allclose(thetas, [theta for _, theta in other.records], atol=1e-9)
        np.testing.assert_allclose(losses, other.loss, rtol=1e-8, atol=1e-12)


def test_rejected_steps_of_some(monkeypatch):
    """Far targets make the first step of the large networks too long, not that of the small ones."""
    fin, X, Y, loss = make_problem("two hidden")
    nets = like(fin, 4, largest=8.0)
    expected = alone(monkeypatch, nets, X, 30 * Y, [0.1, 0.4], loss=loss, tol=1e-3)
    found = together(monkeypatch, nets, X, 30 * Y, [0.1, 0.4], size=4, loss=loss, tol=1e-3)
    for (_, thetas, _), other in zip(found, expected, strict=True):
        np.testing.assert_allclose(thetas[1], other.records[1][1], rtol=1e-6, atol=1e-7)


def test_float32(monkeypatch):
    fin, X, Y, loss = make_problem("two hidden", dtype=np.float32)
    nets = like(fin, 3)
    expected = alone(monkeypatch, nets, X, Y, loss=loss)
    for (_, thetas, _), other in zip(together(monkeypatch, nets, X, Y, loss=loss), expected, strict=True):
        assert thetas.dtype == np.float32
        np.testing.assert_allclose(thetas[-1], other.network.parameters, rtol=0, atol=1e-5)


def test_times_that_are_all_zero(monkeypatch):
    fin, X, Y, loss = make_problem("two hidden")
    nets = like(fin, 3)
    for net, (times, thetas, _) in zip(nets, together(monkeypatch, nets, X, Y, [0.0, 0.0], loss=loss), strict=True):
        assert times.tolist() == [0.0, 0.0]
        np.testing.assert_array_equal(thetas, np.stack([net.parameters] * 2))


def test_one_that_cannot_be_followed(monkeypatch):
    fin, X, Y, loss = make_problem("two hidden")
    nets = [*like(fin, 2), fin.with_parameters(1e120 * fin.parameters)]
    with pytest.raises(IntegrationError):
        together(monkeypatch, nets, X, Y, loss=loss)
    assert len(together(monkeypatch, nets[:2], X, Y, loss=loss)) == 2


def test_what_cannot_be_followed_says_why(monkeypatch):
    fin, X, Y, _ = make_problem("two hidden")
    hint = r"; raise tol or shorten the times \(units sliding along a kink, as of relu, may need method='gd'\)$"
    with monkeypatch.context() as patched:
        patched.setattr("kernelcalc.finite.flow._MAX_STEPS", 3)
        with pytest.raises(IntegrationError, match=rf"past t=0\.\d+: no end after 3 steps{hint}"):
            together(patched, like(fin, 2), X, Y, [50.0], tol=1e-6)
    # a step over a kink can be no shorter than the distance of two times, which is too long for this tolerance
    fin, X, Y, loss = make_problem("relu", n=3)
    nets = [fin, fin.with_parameters(2 * fin.parameters)]
    why = "Required step size is less than spacing between numbers."
    with pytest.raises(IntegrationError, match=rf"^the flow could not be followed past t=\d\.\d+: {why}{hint}"):
        together(monkeypatch, nets, X, Y, [3.0], loss=loss, tol=1e-17)


def test_a_gradient_that_is_no_number_is_named(monkeypatch):
    """Infinite slopes of either sign, whose sum is none; the loss does not know of them."""
    bad = Table((np.tanh, lambda x: np.inf * np.sign(x), np.tanh))
    fin = FiniteNetwork.random(Architecture(activations=(bad,)), 5, 3, rng=0)
    X, Y = np.random.default_rng(0).standard_normal((6, 3)), np.ones(6)
    text = r"^the gradient is not finite at the start \(an overflow, or NaN from an activation\)$"
    with pytest.raises(IntegrationError, match=text):
        fin.train(X, Y, [1.0])
    with pytest.raises(IntegrationError, match=text):
        together(monkeypatch, like(fin, 2), X, Y, [1.0])


def test_many_small_networks_and_few_large_ones():
    net, points = alternating(3), np.ones((4, 3))
    problem = Problem.of(FiniteNetwork.random(net, 64, 3, rng=0), points, np.zeros(4), "mse")
    sizes = [networks_together(FiniteNetwork.random(net, width, 3, rng=0), problem) for width in (64, 128, 256, 1024)]
    assert sizes[0] > 8 > 1 == sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert networks_together(FiniteNetwork.random(net, 16, 3, rng=0), problem) == 1
