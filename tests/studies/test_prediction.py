import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from kernelcalc.errors import InputError, ShapeError, SmoothnessError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.layers import Conv, Dense, GlobalAverage, LayerNorm, Residual
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.kernels.parametrisation import pytorch_kernels, standard_theta
from kernelcalc.studies.prediction import predict
from kernelcalc.studies.rates import largest_learning_rate
from kernelcalc.studies.regression import predict_outputs
from kernelcalc.training.flow import hessian_moments
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.start import initial_draws

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(10, 3)), RNG.normal(size=(4, 3))
Y = np.sin(X[:, 0])


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


def test_a_wide_network_is_stable_up_to_the_predicted_rate():
    net, targets = MLP("erf", depth=3), np.sin(3 * X[:, :1])
    rate = largest_learning_rate(net.kernels(X).theta, targets, targets)
    for seed in range(3):
        network = FiniteNetwork.random(net, 2000, X.shape[1], np.random.default_rng(seed))
        for factor, shrinks in ((0.8, True), (1.25, False)):
            step = factor * rate
            run = network.train(X, targets, [0.0, 12 * step], method="gd", step=step)
            assert (run.loss[1] < run.loss[0]) == shrinks


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


@pytest.mark.parametrize("loss", ["binary", "softmax"])
def test_report(loss):
    labels = {"binary": Y > 0, "softmax": np.arange(10) % 3}[loss]
    report = predict(NET, X, labels, loss, width=500, samples=6)
    kernels = NET.kernels(X)
    same = hessian_moments(kernels, labels, report.moments.times, loss, samples=6)
    np.testing.assert_allclose(report.moments.loss, same.loss, rtol=1e-12)
    assert report.sample_top.shape == report.sample_pytorch_top.shape == (6, 7)
    # at the start, from the same draws: λ_max of the literal product 𝓗C Θ, and the ratio to its least nonzero eigenvalue
    law, starts = resolve_loss(loss), initial_draws(kernels, report.n_out, 6)[0]
    for y, top, condition in zip(starts, report.sample_top[:, 0], report.sample_condition[:, 0], strict=True):
        h = law.hessian(y, labels)
        blocks = h if h.ndim == 3 else h[:, :, None] * np.eye(h.shape[1])
        product = np.einsum("iab,ij->iajb", blocks, kernels.theta).reshape(y.size, y.size)
        values = np.sort(np.linalg.eigvals(product).real)[::-1]
        assert top == pytest.approx(values[0], rel=1e-9)
        least = values[10 * max(y.shape[1] - 1, 1) - 1]
        assert condition == pytest.approx(values[0] / least, rel=1e-4)
    assert report.top_std[0] == pytest.approx(np.std(report.sample_top[:, 0], ddof=1))
    # stable for every initialisation seen, not for the average one
    np.testing.assert_allclose(report.learning_rates, [2 / max(column) for column in report.sample_top.T])
    assert report.top[-1] < report.top[0]
    assert report.standard_learning_rate < report.learning_rates[0]
    text = str(report)
    assert f"{report.top[0]:.4g} ± {report.top_std[0]:.2g}" in text
    assert "(weights of standard deviation sigma_w/sqrt(n), biases beta)" in text.replace("(width 500; ", "(")
    assert "Least time constants" in text
    assert f"c = {law.curvature_bound:g} " in text
    table = text[text.index("Largest eigenvalue, condition") :].splitlines()[2:9]
    rows = np.array([[float(cell) for cell in row.replace("±", " ").split()] for row in table])
    np.testing.assert_allclose(rows[:, 0], report.moments.times, rtol=1e-3)
    np.testing.assert_allclose(rows[:, 4], report.learning_rates, rtol=1e-3)
    np.testing.assert_allclose(rows[:, 6], report.pytorch_learning_rates, rtol=1e-3)


def test_under_mse_everything_is_exact():
    targets = np.stack([Y, np.cos(X[:, 1])], axis=1)
    report = predict(NET, X, targets, width=500, times=[0.0, 3.0, 40.0], samples=2)
    k = NET.kernels(X)
    top = np.linalg.eigvalsh(k.theta)[-1] / 10
    np.testing.assert_allclose(report.top, top, rtol=1e-10)
    assert report.time_constants[0] == pytest.approx(1 / top)
    np.testing.assert_allclose(
        2 / report.standard_learning_rates, np.linalg.eigvalsh(standard_theta(NET, X, (500, 500)))[-1] / 10
    )
    pytorch = pytorch_kernels(NET, X, (500, 500))[1]
    np.testing.assert_allclose(2 / report.pytorch_learning_rates, np.linalg.eigvalsh(pytorch)[-1] / 10)
    np.testing.assert_allclose(report.conditions, np.linalg.cond(k.theta), rtol=1e-6)
    # Corollary 1 with dense matrices, M = n_L Σ + Y*Y*ᵀ; the deviation of the loss from that of a quadratic form
    m = 2 * k.sigma + targets @ targets.T
    for i, time in enumerate(report.moments.times):
        e = expm(-time * k.theta / 10)
        s = (
            -np.trace((np.eye(10) - e) @ np.linalg.solve(k.theta, k.lam.T) @ e @ m) / 10
            + 2 * np.trace(e @ k.phi.T) / 10
        )
        assert report.moments.loss[i] == pytest.approx(np.trace(e @ e @ m) / 20, rel=1e-9)
        assert report.moments.trace_h[0, i] == pytest.approx(2 * np.trace(k.theta) / 10 + s, rel=1e-7)
        a = e @ e / 20
        variance = 2 * 2 * np.trace(a @ k.sigma @ a @ k.sigma) + 4 * np.trace(targets.T @ a @ k.sigma @ a @ targets)
        assert report.moments.loss_std[i] == pytest.approx(np.sqrt(variance), rel=1e-9)
    text = str(report)
    assert "(exact)" in text
    assert "initialisations)" not in text
    assert "condition number of I" not in text
    assert f"{report.pytorch_learning_rate:.4g}" in next(line for line in text.splitlines() if "PyTorch" in line)


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
    np.testing.assert_allclose(report.sample_standard_top[:, 1], top, rtol=1e-4)
    assert report.standard_learning_rates[1] == pytest.approx(2 / np.max(top), rel=1e-4)


def test_pytorch_rates_start_from_their_own_covariance():
    labels = (Y > 0) * 2.0 - 1
    report = predict(NET, X, labels, "binary", width=50, samples=400, times=[0.0])
    sigma, theta = pytorch_kernels(NET, X, (50, 50))
    draws = np.random.default_rng(5).multivariate_normal(np.zeros(10), sigma, size=400)
    s = 1 / (1 + np.exp(-draws))
    top = [np.linalg.eigvals((row * (1 - row))[:, None] * theta / 10).real.max() for row in s]
    error = np.hypot(np.std(top, ddof=1), report.sample_pytorch_top.std(ddof=1)) / np.sqrt(400)
    assert abs(np.mean(top) - report.sample_pytorch_top.mean()) < 4 * error


def test_report_shows_progress(capsys):
    pytest.importorskip("tqdm")
    predict(NET, X, Y > 0, "binary", samples=2, times=[0.0, 1.0], progress=True)
    assert "times" in capsys.readouterr().err


def test_report_for_relu_says_what_is_missing():
    report = predict(MLP("relu", depth=3), X, Y)
    assert not report.smooth
    assert "Tr I alone" in str(report)
    assert "sagun split" in str(report)
    assert np.abs(report.moments.trace_s).max() == 0


def test_time_constants_of_a_loss_without_a_known_curvature():
    report = predict(NET, X, Y, "cosh(y - t)", samples=2, times=[0.0])
    assert "no known bound" in str(report)
    np.testing.assert_allclose(report.time_constants, 10 / report.spectrum)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: predict_outputs(NET, X, Y[:3], X_TEST), ShapeError),
        (lambda: predict_outputs(NET, X, Y, X_TEST, -1.0), InputError),
        (lambda: predict(MLP("step", depth=2), X, Y), SmoothnessError),
    ],
)
def test_named_errors(call, error):
    with pytest.raises(error):
        call()


def test_convolutions_have_rates_of_the_ntk_parametrisation_only():
    net = Sequential(Conv(3), "tanh", GlobalAverage(), Dense())
    x = RNG.normal(size=(6, 5, 2))
    report = predict(net, x, Y[:6])
    top = np.linalg.eigvalsh(np.asarray(net.kernels(x).theta))[-1]
    assert report.learning_rates[0] == pytest.approx(12 / top, rel=1e-9)
    assert report.n_in == 10
    assert "without positions" in str(report)
    assert "standard_learning_rates" not in report.columns()
    assert len(report.to_dataframe()) == len(report.moments.times)
    with pytest.raises(InputError, match="points \\(N, n_0\\) for rates in other"):
        _ = report.standard_learning_rate
    binary = predict(net, x, np.sign(Y[:6]), "binary", times=[0.0, 1.0], samples=3)
    assert "rate, NTK" in str(binary)
    assert "standard," not in str(binary)


def test_residual_networks_have_rates_of_all_parametrisations():
    net = Sequential(Dense(), Residual(LayerNorm(), "tanh", Dense()), LayerNorm(), Dense())
    report = predict(net, X, Y, width=20)
    theta = standard_theta(net, X, (20, 20))
    assert report.standard_learning_rate == pytest.approx(2 * len(X) / np.linalg.eigvalsh(theta)[-1], rel=1e-9)
    assert 0 < report.pytorch_learning_rate < report.learning_rates[0]
    with pytest.raises(InputError, match="fully connected network"):
        predict(net, X, Y, width=20, networks=1)
