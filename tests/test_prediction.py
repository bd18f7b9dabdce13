import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kernelcalc.errors import InputError, ShapeError, SmoothnessError
from kernelcalc.gradient_flow import hessian_moments, initial_draws
from kernelcalc.losses import resolve_loss
from kernelcalc.network import MLP
from kernelcalc.prediction import (
    largest_learning_rate,
    predict,
    predict_outputs,
    pytorch_defaults,
    standard_theta,
    top_eigenvalue,
)
from kernelcalc.spectrum import spectrum_of_i

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(10, 3)), RNG.normal(size=(4, 3))
Y = np.sin(X[:, 0])


def test_top_eigenvalue_against_the_whole_spectrum():
    kernels = MLP("erf", depth=3).kernels(np.random.default_rng(1).normal(size=(90, 5)))
    labels = np.arange(90) % 8  # 720 outputs: beyond the dense size
    outputs = RNG.normal(size=(90, 8))
    h = resolve_loss("softmax").hessian(outputs, labels)
    values = spectrum_of_i(kernels, outputs, labels, "softmax").values
    assert top_eigenvalue(kernels.theta, h) == pytest.approx(values[0], rel=1e-10)
    assert top_eigenvalue(kernels.theta[:9, :9], h[:9] * 10) == pytest.approx(
        spectrum_of_i(
            MLP("erf", depth=3).kernels(np.random.default_rng(1).normal(size=(90, 5))[:9]),
            outputs[:9],
            labels[:9],
            "softmax",
        ).values[0],
        rel=1e-10,
    )


@pytest.mark.parametrize("loss", ["mse", "binary"])
def test_descent_on_the_linearised_network_is_stable_up_to_the_predicted_rate(loss):
    theta = np.asarray(MLP("erf", depth=3).kernels(X).theta)
    law, labels = resolve_loss(loss), np.sign(Y)
    if loss == "binary":
        # at the minimum of a problem without one at infinity: labels that contradict each other
        theta, labels = np.kron(theta, np.ones((2, 2))), np.kron(labels, [1, -1])
    n = len(labels)
    minimum = labels if loss == "mse" else np.zeros(n)
    rate = largest_learning_rate(theta, minimum, labels, loss)
    start = np.linalg.eigh(theta)[1][:, -1]
    for factor, shrinks in ((0.98, True), (1.02, False)):
        y = minimum + 1e-3 * start
        for _ in range(50):
            y = y - factor * rate * theta @ law.gradient(y, labels)
        assert (np.linalg.norm(y - minimum) < 1e-3) == shrinks


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_standard_kernel_against_a_finite_network_in_standard_parametrisation(beta):
    sigma_w, widths, rng = 1.2, (300, 300), np.random.default_rng(0)
    net = MLP("tanh", depth=3, sigma_w=sigma_w, beta=beta)
    sums = []
    for _ in range(12):
        sizes = (3, *widths, 1)
        w = [sigma_w / math.sqrt(a) * rng.normal(size=(a, b)) for a, b in pairwise(sizes)]
        b = [beta * rng.normal(size=size) for size in sizes[1:]]
        inputs, back = [X], None
        for layer in range(2):
            inputs.append(np.tanh(inputs[-1] @ w[layer] + b[layer]))
        back, kernel = np.ones((10, 1)), np.zeros((10, 10))
        for layer in (2, 1, 0):
            # gradients in w and b of the layer, as trained by a framework
            kernel += (back @ back.T) * (inputs[layer] @ inputs[layer].T + 1)
            back = (back @ w[layer].T) * (1 - inputs[layer] ** 2)
        sums.append(kernel)
    mean, error = np.mean(sums, axis=0), np.std(sums, axis=0, ddof=1) / math.sqrt(12)
    expected = standard_theta(net, X, widths)
    # 1/width bias allowed apart: 1 percent of the largest entry
    assert (np.abs(mean - expected) < 4 * error + 0.01 * expected.max()).all()


def test_standard_kernel_of_unit_width_scale_is_the_tangent_kernel():
    # n_ℓ = σ_w² and β = 1 make both parametrisations the same
    net = MLP("erf", depth=3, sigma_w=2.0, beta=1.0)
    points = X[:, :1] @ np.ones((1, 4)) + RNG.normal(size=(10, 4))
    np.testing.assert_allclose(standard_theta(net, points, (4, 4)), net.kernels(points).theta, rtol=1e-10)


def test_pytorch_layer_statistics():
    values = pytorch_defaults(50)
    u = np.random.default_rng(0).uniform(-(50**-0.5), 50**-0.5, size=10**6)
    assert u.var() == pytest.approx(values["sigma_w"] ** 2 / 50, rel=0.01)
    assert u.var() == pytest.approx(values["beta"] ** 2, rel=0.01)


NET = MLP("erf", depth=3)


@pytest.mark.parametrize("time", [0.0, 5.0, 200.0])
def test_test_points_against_joint_simulation(time):
    # Joint training on data and test points with zero gradient from the test points gives the same law by sampling.
    joint, n, m = NET.kernels(np.concatenate([X, X_TEST])), len(X), len(X_TEST)
    covariance = np.block([[joint.sigma, joint.phi.T], [joint.phi, joint.xi]])
    draws = np.random.default_rng(1).multivariate_normal(np.zeros(2 * (n + m)), covariance, size=20000, method="eigh")
    values, vectors = np.linalg.eigh(joint.theta[:n, :n])
    moved = (vectors * (-np.expm1(-values * time / n) / values)) @ vectors.T @ (draws[:, :n] - Y).T
    f = draws[:, n : n + m] - (joint.theta[n:, :n] @ moved).T
    g = draws[:, 2 * n + m :] - (joint.lam[n:, :n] @ moved).T
    prediction = predict_outputs(NET, X, Y, X_TEST, time)
    for sample, mean, covariance in (
        (f, prediction.mean, prediction.covariance),
        (g, prediction.g_mean, prediction.g_covariance),
    ):
        deviation = np.sqrt(np.diagonal(covariance))
        assert (np.abs(sample.mean(axis=0) - mean[:, 0]) < 4.5 * deviation / np.sqrt(20000)).all()
        error = np.abs(np.cov(sample.T) - covariance) / np.outer(deviation, deviation)
        assert error.max() < 4.5 * np.sqrt(2 / 20000)


def test_end_of_training_interpolates():
    prediction = predict_outputs(NET, X, np.stack([Y, -Y], axis=1), X)
    np.testing.assert_allclose(prediction.mean, np.stack([Y, -Y], axis=1), atol=1e-8)
    np.testing.assert_allclose(prediction.covariance, 0, atol=1e-8)
    late = predict_outputs(NET, X, Y, X_TEST, 1e9)
    ended = predict_outputs(NET, X, Y, X_TEST)
    np.testing.assert_allclose(late.mean, ended.mean, rtol=1e-6)


def test_relu_has_no_g():
    prediction = predict_outputs(MLP("relu", depth=3), X, Y, X_TEST)
    assert prediction.g_mean is None
    assert prediction.mean.shape == (4, 1)


@pytest.mark.parametrize("loss", ["mse", "binary", "softmax"])
def test_report(loss):
    labels = {"mse": Y, "binary": Y > 0, "softmax": np.arange(10) % 3}[loss]
    report = predict(NET, X, labels, loss, width=500, samples=6)
    kernels = NET.kernels(X)
    same = hessian_moments(kernels, labels, report.moments.times, loss, samples=6)
    np.testing.assert_allclose(report.moments.loss, same.loss, rtol=1e-12)
    np.testing.assert_allclose(report.learning_rates * report.top, 2)
    if loss == "mse":
        top = np.linalg.eigvalsh(kernels.theta)[-1] / 10
        np.testing.assert_allclose(report.top, top, rtol=1e-10)
        assert report.time_constants[0] == pytest.approx(1 / top)
        standard = standard_theta(NET, X, (500, 500))
        np.testing.assert_allclose(report.standard_top, np.linalg.eigvalsh(standard)[-1] / 10)
    else:
        assert report.top[-1] < report.top[0]
    assert report.standard_learning_rate < report.learning_rates[0]
    text = str(report)
    assert f"{report.learning_rates[0]:.4g}" in text
    rows = text.splitlines()[-len(report.moments.times) :]
    assert [float(row.split()[0]) for row in rows] == pytest.approx(report.moments.times, rel=1e-3)


def test_standard_rates_follow_the_flow_of_the_standard_kernel():
    labels = (Y > 0) * 2.0 - 1
    report = predict(NET, X, labels, "binary", width=50, samples=3, times=[0.0, 30.0])
    standard = standard_theta(NET, X, (50, 50))
    ratio = np.linalg.eigvalsh(NET.kernels(X).theta)[-1] / np.linalg.eigvalsh(standard)[-1]
    np.testing.assert_allclose(report.standard_times, [0.0, 30.0 * ratio])
    starts, _ = initial_draws(NET.kernels(X), 1, 3)
    top = []
    for y0 in starts[..., 0]:
        # gradient flow by Radau, curvature s(1 - s) by hand
        end = 30.0 * ratio
        flow = solve_ivp(
            lambda t, y: standard @ (labels / (1 + np.exp(labels * y))) / 10,
            (0, end),
            y0,
            "Radau",
            rtol=1e-8,
            atol=1e-10,
        )
        s = 1 / (1 + np.exp(-flow.y[:, -1]))
        top.append(np.linalg.eigvals((s * (1 - s))[:, None] * standard / 10).real.max())
    assert report.standard_learning_rates[1] == pytest.approx(2 / np.mean(top), rel=1e-4)


def test_report_shows_progress(capsys):
    pytest.importorskip("tqdm")
    predict(NET, X, Y, samples=2, times=[0.0, 1.0], progress=True)
    assert "times" in capsys.readouterr().err


def test_report_for_relu_says_what_is_missing():
    report = predict(MLP("relu", depth=3), X, Y)
    assert not report.smooth
    assert "Tr I alone" in str(report)
    assert np.abs(report.moments.trace_s).max() == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: standard_theta(NET, X, (5,)), InputError),
        (lambda: standard_theta(NET, X, (5, 0)), InputError),
        (lambda: pytorch_defaults(0), InputError),
        (lambda: predict_outputs(NET, X, Y[:3], X_TEST), ShapeError),
        (lambda: predict_outputs(NET, X, Y, X_TEST, -1.0), InputError),
        (lambda: predict(MLP("step", depth=2), X, Y), SmoothnessError),
    ],
)
def test_named_errors(call, error):
    with pytest.raises(error):
        call()
