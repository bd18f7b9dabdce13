"""An ensemble in one pass against its networks one by one."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from conftest import CASES, make_problem
from stand_ins import alternating

import kernelcalc as kc
from kernelcalc.errors import InputError, IntegrationError, NotFiniteError, ShapeError
from kernelcalc.finite.ensembles.batch import NetworkBatch
from kernelcalc.finite.network import FiniteNetwork


@pytest.fixture(params=CASES)
def ensemble(request):
    """(batch, X, Y, loss)."""
    fin, X, Y, loss = make_problem(request.param)
    theta = np.random.default_rng(3).standard_normal((4, fin.n_parameters))
    return NetworkBatch(first=fin, parameters=theta), X, Y, loss


def test_every_number_is_that_of_the_single_network(ensemble):
    batch, X, Y, loss = ensemble
    outputs, gradients, kernels, losses = batch(X), batch.gradient(X, Y, loss), batch.ntk(X), batch.loss(X, Y, loss)
    for i in range(len(batch)):
        one = batch[i]
        for found, expected in (
            (outputs[i], one(X)),
            (gradients[i], one.gradient(X, Y, loss)),
            (kernels[i], one.ntk(X)),
            (losses[i], one.loss(X, Y, loss)),
        ):
            assert np.shape(found) == np.shape(expected)
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13 * np.abs(expected).max())


def test_descent_is_that_of_the_single_network(ensemble):
    batch, X, Y, loss = ensemble
    after = batch.descend(X, Y, 5, 0.1, loss)
    for i in range(len(batch)):
        one = batch[i].train(X, Y, [0.5], loss=loss, method="gd", step=0.1).network
        np.testing.assert_allclose(after.parameters[i], one.parameters, rtol=1e-13, atol=1e-13)


def test_flow_is_that_of_the_single_network(ensemble):
    batch, X, Y, loss = ensemble
    after = batch.flow(X, Y, 0.3, loss, tol=1e-9)
    for i in range(len(batch)):
        one = batch[i].train(X, Y, [0.3], loss=loss, tol=1e-9).network
        np.testing.assert_allclose(after.parameters[i], one.parameters, atol=1e-7)
    np.testing.assert_array_equal(batch.flow(X, Y, 0.0, loss).parameters, batch.parameters)


def test_moments_are_those_of_the_networks():
    fin, X, Y, loss = make_problem("two hidden")
    batch = NetworkBatch(first=fin, parameters=np.stack([fin.parameters, -fin.parameters]))
    moments = batch.hessian_moments(X, Y, loss, kmax=2)
    assert moments[0].trace_h.tolist() == fin.hessian_moments(X, Y, loss, kmax=2).trace_h.tolist()
    assert moments[1].trace_h.tolist() != moments[0].trace_h.tolist()


def test_moments_are_those_of_the_loss():
    fin, X, Y, loss = make_problem("two hidden, binary")
    batch = NetworkBatch(first=fin, parameters=fin.parameters[None])
    (found,) = batch.hessian_moments(X, Y, loss)
    whole = fin.hessian(X, Y, loss)
    expected = [np.trace(np.linalg.matrix_power(whole, k)) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(found.trace_h, expected, rtol=1e-10)
    assert len(batch.hessian_moments(X, Y, loss, 2)[0].trace_h) == 2
    with pytest.raises(TypeError, match="nonsense"):
        batch.hessian_moments(X, Y, loss, nonsense=1)


def test_the_loss_is_the_mse_where_nothing_is_said():
    fin, X, Y, _ = make_problem("two hidden")
    batch = NetworkBatch(first=fin, parameters=fin.parameters[None])
    assert batch.loss(X, Y) == pytest.approx(np.mean((fin(X) - Y) ** 2) / 2, rel=1e-14)
    slope = fin.gradient(X, Y, "mse")
    np.testing.assert_allclose(batch.gradient(X, Y)[0], slope, rtol=1e-12)
    np.testing.assert_allclose(batch.descend(X, Y, 1, 0.1).parameters[0], fin.parameters - 0.1 * slope, rtol=1e-12)
    np.testing.assert_allclose(batch.flow(X, Y, 1e-6).parameters[0] - fin.parameters, -1e-6 * slope, atol=1e-10)
    # in steps whose error is below 1e-4
    ends = [batch.flow(X, Y, 20.0, **tol).parameters for tol in ({}, {"tol": 1e-4}, {"tol": 1e-3})]
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])
    (found,) = batch.hessian_moments(X, Y)
    assert found.trace_h[1] == pytest.approx(np.sum(fin.hessian(X, Y, "mse") ** 2), rel=1e-12)


def test_seeds_are_those_of_the_trials():
    net = alternating(3)
    batch = NetworkBatch.random(net, 3, 5, 4, rng=9)
    seed = np.random.SeedSequence(9).spawn(3)[2]
    expected = FiniteNetwork.random(net, 5, 4, np.random.default_rng(seed))
    np.testing.assert_array_equal(batch[2].parameters, expected.parameters)
    assert len(NetworkBatch.random(net, 3, 5, 4, dtype=np.float32)) == 3
    assert NetworkBatch.random(net, 3, 5, 4, dtype=np.float32)(np.ones((2, 4))).dtype == np.float32
    # 14 × 14 pixels, two hidden layers of 64, seed 0
    one = NetworkBatch.random(net, 1)
    assert one.first.sizes == (196, 64, 64, 1)
    np.testing.assert_array_equal(one.parameters, NetworkBatch.random(net, 1, (64, 64), 196, 0).parameters)
    assert one.parameters.dtype == np.float64


def test_refusals():
    fin, X, Y, _ = make_problem("two hidden")
    with pytest.raises(ShapeError, match="parameters of shape"):
        NetworkBatch(first=fin, parameters=np.zeros(3))
    with pytest.raises(InputError, match="at least one"):
        NetworkBatch.random(alternating(2), 0, 3, 3)
    batch = NetworkBatch(first=fin, parameters=fin.parameters[None])
    with pytest.raises(InputError, match="positive step"):
        batch.descend(X, Y, 1, 0.0)
    with pytest.raises(InputError, match="finite time"):
        batch.flow(X, Y, -1.0)
    with pytest.raises(IntegrationError, match="overflow"):
        batch.descend(X, Y, 200, 1e9)


def test_refusals_say_what_came():
    fin, X, Y, _ = make_problem("two hidden")
    batch = NetworkBatch(first=fin, parameters=fin.parameters[None])
    layered = FiniteNetwork.random(
        kc.Sequential(kc.layers.Dense(), kc.layers.LayerNorm(), "tanh", kc.layers.Dense()), 4, 3
    )
    size = fin.n_parameters
    for call, error, text in (
        (
            lambda: NetworkBatch(first=layered, parameters=layered.parameters[None]),
            InputError,
            f"fully connected networks, got {layered!r}; take other compositions one by one",
        ),
        (
            lambda: NetworkBatch(first=fin, parameters=fin.parameters),
            ShapeError,
            f"parameters of shape (E, {size}), got shape ({size},)",
        ),
        (
            lambda: NetworkBatch(first=fin, parameters=np.zeros((0, size))),
            ShapeError,
            f"parameters of shape (E, {size}), got shape (0, {size})",
        ),
        (
            lambda: NetworkBatch(first=fin, parameters=np.full((1, size), np.nan)),
            NotFiniteError,
            "parameters: finite numbers, got NaN or infinity (as float64)",
        ),
        (lambda: NetworkBatch.random(alternating(2), 0, 3, 3), InputError, "at least one network, got size=0"),
        (lambda: NetworkBatch.random(alternating(2), 1.5, 3, 3), InputError, "size: a whole number, got 1.5"),
        (lambda: batch.descend(X, Y, -1, 0.1), InputError, "steps >= 0 and a positive step, got steps=-1, step=0.1"),
        (lambda: batch.descend(X, Y, 1.5, 0.1), InputError, "steps: a whole number, got 1.5"),
        (lambda: batch.descend(X, Y, 1, "a"), InputError, "step: a real number, got 'a'"),
        (
            lambda: batch.flow(X, Y, 1.0, tol=0),
            InputError,
            "a finite time >= 0 and a positive tol, got time=1.0, tol=0.0",
        ),
        (lambda: batch.flow(X, Y, "a"), InputError, "time: a real number, got 'a'"),
        (lambda: batch.flow(X, Y, 1.0, tol=np.inf), NotFiniteError, "tol: a finite number, got inf"),
    ):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == f"expected {text}"
    with pytest.raises(IntegrationError) as caught:
        batch.descend(X, Y, 200, 1e9)
    assert str(caught.value) == "parameters overflow within 200 steps; try a step below 1e+09"
    np.testing.assert_array_equal(batch.descend(X, Y, 0, 0.1).parameters, batch.parameters)


def test_later_changes_of_the_given_array_do_not_reach_the_networks():
    fin, *_ = make_problem("linear")
    theta = np.random.default_rng(0).standard_normal((2, fin.n_parameters))
    batch, expected = NetworkBatch(first=fin, parameters=theta), theta.copy()
    theta -= 1.0
    np.testing.assert_array_equal(batch.parameters, expected)
    assert not batch.parameters.flags.writeable
    assert theta.flags.writeable
    # rows that lie together, however they came
    turned = NetworkBatch(first=fin, parameters=np.asfortranarray(expected)).parameters
    np.testing.assert_array_equal(turned, expected)
    assert turned.flags.c_contiguous
    # nor is another array put in its place; two batches are two, as arrays have no one answer
    with pytest.raises(FrozenInstanceError):
        batch.parameters = turned
    with pytest.raises(TypeError):
        NetworkBatch(fin, expected)
    assert batch != NetworkBatch(first=fin, parameters=expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_are_finite(bad):
    fin, X, Y, _ = make_problem("linear")
    theta = fin.parameters[None].copy()
    batch = NetworkBatch(first=fin, parameters=theta)
    with pytest.raises(NotFiniteError):
        batch.descend(X, Y, 1, bad)
    with pytest.raises(NotFiniteError):
        batch.flow(X, Y, bad)
    with pytest.raises(NotFiniteError):
        batch.loss(X, bad * np.ones_like(Y))
    theta[0, 0] = bad
    with pytest.raises(NotFiniteError):
        NetworkBatch(first=fin, parameters=theta)
    with pytest.raises(InputError):
        NetworkBatch(first=fin, parameters=1j * fin.parameters[None])
