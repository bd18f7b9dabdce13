import math
import tracemalloc

import numpy as np
import pytest

from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.architecture import network_from_text
from kernelcalc.kernels.mlp import MLP
from kernelcalc.studies.heldout import class_shares, held_out
from kernelcalc.studies.regression import predict_outputs
from kernelcalc.training.losses import resolve_loss

RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(10, 3)), RNG.normal(size=(5, 3))
NET = MLP("erf", depth=3, n_out=2)
CLASSES, NEW_CLASSES = (X[:, 0] > 0).astype(int), (NEW[:, 0] > 0).astype(int)


def test_mse_is_kernel_regression():
    y = np.eye(2)[CLASSES]
    found = held_out(NET, X, y, NEW, np.eye(2)[NEW_CLASSES])
    theta, cross = NET.kernels(X).theta, NET.kernels(NEW, X).theta
    mean = cross @ np.linalg.solve(theta, y)
    np.testing.assert_allclose(found.mean, mean, atol=1e-8)
    assert found.accuracy == np.mean((mean[:, 1] > mean[:, 0]) == NEW_CLASSES)
    assert found.loss == pytest.approx(np.mean(np.sum((mean - np.eye(2)[NEW_CLASSES]) ** 2, axis=1)) / 2)
    assert found.samples is None
    assert "kernel regression" in str(found)
    assert f"accuracy {found.accuracy:.1%}" in str(found)
    assert f"loss {found.network_loss:.4g}, accuracy {found.network_accuracy:.1%}" in str(found)


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("time", [0.0, 20.0])
def test_expected_scores_of_one_network_are_averages_over_networks(classes, time):
    net, count = MLP("erf", depth=3), 20000
    y, new = (np.eye(2)[CLASSES], np.eye(2)[NEW_CLASSES]) if classes else (2.0 * CLASSES - 1, 2.0 * NEW_CLASSES - 1)
    found = held_out(net, X, y, NEW, new, time=time)
    law = predict_outputs(net, X, y, NEW, time)
    rng = np.random.default_rng(1)
    outputs = np.stack(
        [rng.multivariate_normal(column, law.covariance, size=count) for column in law.mean.T], axis=-1
    )  # (count, M, n_out)
    losses = np.sum((outputs - new.reshape(5, -1)) ** 2, axis=-1).mean(axis=-1) / 2
    right = outputs.argmax(axis=-1) == NEW_CLASSES if classes else np.sign(outputs[..., 0]) == new
    scores = right.mean(axis=-1)
    for sample, expected in ((losses, found.network_loss), (scores, found.network_accuracy)):
        assert abs(sample.mean() - expected) < 4 * sample.std(ddof=1) / np.sqrt(count)
    assert found.network_loss > found.loss


def test_a_certain_network_is_as_good_as_the_mean():
    y = np.eye(2)[CLASSES]
    found = held_out(NET, X, y, X, y)
    assert found.network_accuracy == found.accuracy == 1.0
    assert found.network_loss == pytest.approx(found.loss, abs=1e-10)


def test_a_sampled_loss_has_the_exact_law_where_it_is_the_mse():
    y, new, net = np.sin(X[:, 0]), np.sin(NEW[:, 0]), MLP("erf", depth=3)
    exact = held_out(net, X, y, NEW, new, time=20.0)
    drawn = held_out(net, X, y, NEW, new, "(y - t)^2/2", time=20.0, samples=4000)
    for mean, other, std in ((drawn.mean, exact.mean, exact.std), (drawn.g_mean, exact.g_mean, exact.g_std)):
        assert (np.abs(mean - other) < 4 * std / np.sqrt(4000)).all()
    np.testing.assert_allclose(drawn.std, exact.std, rtol=0.06)
    np.testing.assert_allclose(drawn.g_std, exact.g_std, rtol=0.06)
    assert drawn.accuracy is None
    assert drawn.network_accuracy is None
    assert drawn.network_loss == pytest.approx(exact.network_loss, rel=0.06)
    assert drawn.loss < drawn.network_loss


def test_softmax_against_trained_finite_networks():
    time, width, count = 20.0, 256, 24
    drawn = held_out(NET, X, CLASSES, NEW, NEW_CLASSES, "softmax", time=time, samples=2000)
    outputs = np.array(
        [
            FiniteNetwork.random(NET, width, n_in=3, rng=seed)
            .train(X, np.eye(2)[CLASSES], [time], loss="softmax")
            .network(NEW)
            for seed in range(count)
        ]
    )
    # 1/width bias apart: 3 percent of the largest output
    allowed = 4 * outputs.std(axis=0, ddof=1) / np.sqrt(count) + 0.03 * np.abs(drawn.mean).max()
    assert (np.abs(outputs.mean(axis=0) - drawn.mean) < allowed).all()
    p = np.exp(drawn.mean) / np.exp(drawn.mean).sum(axis=1, keepdims=True)
    assert drawn.loss == pytest.approx(-np.mean(np.log(p[np.arange(5), NEW_CLASSES])))
    assert drawn.accuracy == np.mean(drawn.mean.argmax(axis=1) == NEW_CLASSES)


def test_at_the_start_g_has_the_law_of_xi():
    kernels = NET.kernels(NEW)
    found = held_out(NET, X, CLASSES, NEW, NEW_CLASSES, "softmax", time=0.0, samples=4000)
    np.testing.assert_allclose(found.g_std[:, 0], np.sqrt(np.diagonal(kernels.xi)), rtol=0.06)
    np.testing.assert_allclose(found.std[:, 1], np.sqrt(np.diagonal(kernels.sigma)), rtol=0.06)


@pytest.mark.parametrize("loss", ["mse", "binary"])
def test_relu_has_outputs_without_g(loss):
    found = held_out(MLP("relu", depth=3), X, 2 * CLASSES - 1, NEW, 2 * NEW_CLASSES - 1, loss, time=5.0)
    assert found.g_mean is None
    assert found.g_std is None
    assert 0 <= found.accuracy <= 1
    assert "Tr Hf" not in str(found)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"time": -1.0}, InputError),
        ({"loss": "softmax", "time": math.inf}, NotFiniteError),
        ({"Y_test": [0, 1]}, ShapeError),
        ({"X_test": NEW[:, :2]}, ShapeError),
        ({"samples": 1, "loss": "softmax", "time": 1.0}, InputError),
    ],
)
def test_named_errors(options, error):
    loss = options.get("loss", "mse")
    labels = np.eye(2)[CLASSES] if loss == "mse" else CLASSES
    arguments = {"X_test": NEW, "Y_test": np.eye(2)[NEW_CLASSES] if loss == "mse" else NEW_CLASSES} | options
    if options.get("Y_test") == [0, 1]:
        arguments["Y_test"] = np.eye(2)
    with pytest.raises(error):
        held_out(NET, X, labels, **arguments)


def test_encoded_targets_pass_unchanged():
    # the command line encodes before it splits
    encoded = resolve_loss("softmax").encode(CLASSES)
    one = held_out(NET, X, encoded, NEW, np.eye(2)[NEW_CLASSES], "softmax", time=3.0)
    other = held_out(NET, X, CLASSES, NEW, NEW_CLASSES, "softmax", time=3.0)
    np.testing.assert_array_equal(one.mean, other.mean)


def test_shares_of_classes_beside_draws():
    mean, std = np.array([[0.3, -0.1, 0.2]]), np.array([0.4])
    draws = mean + std * np.random.default_rng(0).normal(size=(200_000, 3))
    shares = np.bincount(draws.argmax(axis=1), minlength=3) / 200_000
    # three standard errors
    assert class_shares(mean, std)[0] == pytest.approx(shares, abs=3.4e-3)
    assert class_shares(mean, std).sum() == pytest.approx(1, abs=1e-12)


def _by_all_kernels(net, x, y, new, ridge):
    """Mean and standard deviation of f and of g by the kernels of all points together: Θ's solve, no modes, no blocks."""
    k, n = net.kernels(np.concatenate([x, new])), len(x)
    weights = np.linalg.inv(k.theta[:n, :n] + ridge * np.eye(n))
    b, d = k.theta[n:, :n] @ weights, k.lam[n:, :n] @ weights

    def std(drift, start, start_with_y):
        mixed = start_with_y[n:, :n] @ drift.T
        return np.sqrt(np.diagonal(start[n:, n:] - mixed - mixed.T + drift @ k.sigma[:n, :n] @ drift.T))

    return b @ y, std(b, k.sigma, k.sigma), d @ y, std(d, k.xi, k.phi)


@pytest.mark.parametrize(
    "net",
    [
        MLP("erf", depth=3, n_out=2),
        MLP("tanh", depth=2, sigma_w=1.4, n_out=2),
        MLP("x^2", depth=2, sigma_w=1.1, beta=0.3, n_out=2),
        network_from_text("conv(2); activation; flatten; dense", "erf", n_out=2),
    ],
    ids=repr,
)
def test_test_points_have_the_law_of_all_kernels(net):
    x, new = (v[:, :, None] if net.has_positions else v for v in (X, np.random.default_rng(1).normal(size=(40, 3))))
    y = np.eye(2)[CLASSES]
    mean, std, g_mean, g_std = _by_all_kernels(net, x, y, new, ridge=0.5)
    found = held_out(net, x, y, new, np.zeros((len(new), 2)), ridge=0.5)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.g_mean, g_mean, rtol=1e-9, atol=1e-12)
    for each in range(2):
        np.testing.assert_allclose(found.std[:, each], std, rtol=1e-9)
        np.testing.assert_allclose(found.g_std[:, each], g_std, rtol=1e-9)


def test_many_test_points_cost_no_matrix_of_theirs():
    many = np.random.default_rng(1).normal(size=(1100, 3))
    tracemalloc.start()
    held_out(NET, X, np.eye(2)[CLASSES], many, np.zeros((len(many), 2)), ridge=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # six kernels and what comes of them took more than ten
    assert peak < 1100**2 * 8
