"""The limit on a task: against formulas by hand, linear networks, brute force, and wide networks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import kernelcalc as kc
from kernelcalc.studies.sagun import limit as limit_module
from kernelcalc.studies.sagun.heatmaps import block_squares, residual_squares
from kernelcalc.studies.sagun.limit import Limit, smooth
from kernelcalc.studies.sagun.task import Task, descend
from kernelcalc.studies.spectrum import spectrum_of_i


def blobs(n: int = 12, **options: object) -> Task:
    return Task.of(*kc.datasets.two_blobs(n, std=0.7, rng=1), **options)  # type: ignore[arg-type]


def arc_cosine(x: np.ndarray, sigma_w2: float, beta: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ¹, E[relu relu] and E[relu' relu'] by the formulas of Cho and Saul."""
    k = sigma_w2 * (x @ x.T) / x.shape[1] + beta**2
    q = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    angle = np.arccos(np.clip(k / q, -1, 1))
    return k, q * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi), (np.pi - angle) / (2 * np.pi)


@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_without_hidden_layers_every_network_is_the_limit(loss: str) -> None:
    """Logistic or linear regression: H = I with the parameters' own kernel, at any outputs."""
    task = blobs(loss=loss, depth=1)
    limit = Limit.of(task)
    start = task.draw(1, 0)
    (end,) = descend(task, start, limit.step, 9)
    (y,) = limit.descend(start(task.x), limit.step, 9)
    np.testing.assert_allclose(y, end(task.x), atol=1e-12)
    found = np.linalg.eigvalsh(task.split(end).h.dense())[::-1]
    np.testing.assert_allclose(limit.eigenvalues(y, 3), found[:3], rtol=1e-10)
    assert limit.residual_square(y) == 0


def test_two_class_softmax_is_logistic_regression() -> None:
    """𝓗C = s(1−s)[[1, −1], [−1, 1]]/N, hence eigenvalues of 2 √w Θ √w with w = s(1−s)/N."""
    task = blobs()
    limit = Limit.of(task)
    y = limit.starts(1, 0)[0]
    s = 1 / (1 + np.exp(y[:, 0] - y[:, 1]))
    root = np.sqrt(s * (1 - s) / task.n)
    direct = np.linalg.eigvalsh(2 * root[:, None] * limit.theta * root)[::-1]
    np.testing.assert_allclose(limit.eigenvalues(y), direct, atol=1e-13)
    np.testing.assert_allclose(limit.top(y[None]), direct[:1], rtol=1e-12)


def test_eigenvalues_are_those_of_the_library_for_many_classes() -> None:
    task = Task.of(*kc.datasets.mnist14(15), activation="tanh")
    limit = Limit.of(task)
    y = limit.starts(1, 0)[0]
    direct = spectrum_of_i(limit.kernels, y, task.y, "softmax").values
    size = task.n * (task.n_out - 1)
    np.testing.assert_allclose(limit.eigenvalues(y), direct[:size], atol=1e-13)
    assert direct[size:].max() < 1e-13


def test_lanczos_is_the_dense_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task.of(*kc.datasets.mnist14(25))
    limit = Limit.of(task)
    y = limit.starts(1, 0)[0]
    dense = limit.eigenvalues(y, 12)
    monkeypatch.setattr(limit_module, "_DENSE_KERNEL", 10)
    np.testing.assert_allclose(limit.eigenvalues(y, 12), dense, rtol=1e-10)


def test_mse_is_theta_once_an_output() -> None:
    task = blobs(loss="mse")
    limit = Limit.of(task)
    k, e00, e11 = arc_cosine(task.x, 2.0, 0.1)
    theta = 2 * k * e11 + 2 * e00 + 0.01
    sigma = 2 * e00 + 0.01
    q = np.sqrt(np.outer(np.diag(sigma), np.diag(sigma)))
    angle = np.arccos(np.clip(sigma / q, -1, 1))
    second = q * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    theta = 2 * theta * (np.pi - angle) / (2 * np.pi) + 2 * second + 0.01
    np.testing.assert_allclose(limit.theta, theta, rtol=1e-7)
    values = np.repeat(np.linalg.eigvalsh(theta)[::-1] / task.n, 2)
    np.testing.assert_allclose(limit.eigenvalues(np.zeros((task.n, 2)), 6), values[:6], rtol=1e-7)


def test_relu_with_one_hidden_layer_by_hand() -> None:
    """Parts of Θ and Υ₀ = 2 σ_w² Σ̇ Θ¹, from the formulas of Cho and Saul."""
    task = blobs(depth=2)
    limit = Limit.of(task)
    assert not smooth(task)
    k, e00, e11 = arc_cosine(task.x, 2.0, 0.1)
    first, second = limit.layer_kernels
    np.testing.assert_allclose(first, 2 * k * e11, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(second, 2 * e00 + 0.01, rtol=1e-7)
    np.testing.assert_allclose(limit.upsilon, 4 * k * e11, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_parts_of_theta_sum_to_theta(activation: str) -> None:
    limit = Limit.of(Task.of(*kc.datasets.mnist14(10), activation=activation, depth=4))
    assert len(limit.layer_kernels) == 4
    np.testing.assert_allclose(sum(limit.layer_kernels), limit.theta, rtol=1e-10)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_size_of_s_is_that_of_wide_networks(activation: str) -> None:
    """Tr S² over ∇CᵀΥ∇C of the same outputs: extrapolated in 1/width it is 1, for relu with σ̈ = 0."""
    task = Task.of(*kc.datasets.mnist14(8), activation=activation)
    limit = Limit.of(task)
    means, errors, widths = [], [], np.array([60, 240])
    for width, trials in zip(widths, (60, 30), strict=True):
        ratios = []
        for k in range(trials):
            network = task.draw(int(width), [width, k])
            square = network.hessian_moments(task.x, task.y, "softmax", kmax=2).trace_s2
            ratios.append(square / limit.residual_square(network(task.x)))
        means.append(np.mean(ratios))
        errors.append(np.std(ratios, ddof=1) / np.sqrt(trials))
    # a + b/n through two widths
    weights = np.array([-1.0, widths[1] / widths[0]]) / (widths[1] / widths[0] - 1)
    extrapolated, error = weights @ means, np.hypot(*(weights * errors))
    assert error < 0.05
    assert abs(extrapolated - 1) < 4 * error


def test_kinked_upsilon_is_not_the_wrong_one() -> None:
    """The same networks tell Υ₀ from the recursion without its factor 2."""
    task = Task.of(*kc.datasets.mnist14(8))
    limit = Limit.of(task)
    ratios = []
    for k in range(30):
        network = task.draw(240, [240, k])
        square = network.hessian_moments(task.x, task.y, "softmax", kmax=2).trace_s2
        ratios.append(square / (limit.residual_square(network(task.x)) / 2))
    assert (np.mean(ratios) - 1) / (np.std(ratios, ddof=1) / np.sqrt(30)) > 10


def test_blocks_of_s_sum_to_upsilon() -> None:
    limit = Limit.of(Task.of(*kc.datasets.mnist14(9), depth=4))
    np.testing.assert_allclose(limit.between_layers.sum(axis=(0, 1)), limit.upsilon, rtol=1e-10)
    y = limit.starts(1, 0)[0]
    assert limit.residual_block_squares(y).sum() == pytest.approx(limit.residual_square(y))
    smooth_one = Limit.of(Task.of(*kc.datasets.mnist14(9), activation="tanh"))
    assert np.isnan(smooth_one.residual_block_squares(smooth_one.starts(1, 0)[0])).all()


def test_blocks_of_s_of_wide_networks() -> None:
    task = Task.of(*kc.datasets.mnist14(8), depth=4)
    limit = Limit.of(task)
    off = ~np.eye(4, dtype=bool)
    ratios = []
    for k in range(60):
        network = task.draw(120, [120, k])
        found = residual_squares(task, network, k, probes=8)
        assert (found[~off] == 0).all()
        ratios.append(found[off] / limit.residual_block_squares(network(task.x))[off])
    error = np.std(ratios, axis=0, ddof=1) / np.sqrt(60)
    assert error.max() < 0.06
    # 1/width of bias
    assert (np.abs(np.mean(ratios, axis=0) - 1) < 4 * error + 4 / 120).all()


def test_small_steps_are_gradient_flow() -> None:
    task = blobs()
    limit = Limit.of(task)
    start = limit.starts(1, 0)[0]
    time, steps = 5.0, 4000
    (y,) = limit.descend(start, time / steps, steps)

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        f = flat.reshape(task.n, 2)
        p = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
        return -(limit.theta @ (p - task.y) / task.n).ravel()

    flow = solve_ivp(velocity, (0, time), start.ravel(), rtol=1e-10, atol=1e-12).y[:, -1].reshape(task.n, 2)
    np.testing.assert_allclose(y, flow, atol=2e-3)
    (finer,) = limit.descend(start, time / steps / 2, 2 * steps)
    # first order in the step
    assert 1.8 < np.abs(y - flow).max() / np.abs(finer - flow).max() < 2.2


def test_wide_networks_follow_the_same_batches() -> None:
    task = blobs(activation="tanh", sigma_w=1.0)
    limit = Limit.of(task)
    errors = []
    for width in (100, 1600):
        start = task.draw(width, 3)
        (end,) = descend(task, start, limit.step, 5, batch=1, rng=7)
        (y,) = limit.descend(start(task.x), limit.step, 5, batch=1, rng=7)
        (other,) = limit.descend(start(task.x), limit.step, 5, batch=1, rng=8)
        moved = np.linalg.norm(y - start(task.x))
        errors.append(np.linalg.norm(end(task.x) - y) / moved)
    # of order width^-1/2, and the batches matter
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1
    assert np.linalg.norm(other - y) / moved > 3 * errors[1]


def test_blocks_of_wide_networks() -> None:
    task = blobs()
    limit = Limit.of(task)
    ratios = []
    for k in range(80):
        network = task.draw(256, [9, k])
        ratios.append(block_squares(task, network) / limit.block_squares(network(task.x)))
    error = np.std(ratios, axis=0, ddof=1) / np.sqrt(80)
    assert error.max() < 0.06
    # 1/width of bias
    assert (np.abs(np.mean(ratios, axis=0) - 1) < 4 * error + 4 / 256).all()


def test_blocks_of_the_limit_sum_to_the_trace() -> None:
    limit = Limit.of(Task.of(*kc.datasets.mnist14(12)))
    y = limit.starts(1, 0)[0]
    values = limit.eigenvalues(y)
    assert limit.block_squares(y).sum() == pytest.approx(values @ values, rel=1e-10)


def test_step_is_a_quarter_of_the_stability_bound() -> None:
    limit = Limit.of(blobs(loss="mse"))
    assert limit.step == pytest.approx(0.25 * 2 / limit.eigenvalues(np.zeros((12, 2)), 1)[0])


def test_step_is_that_of_the_sharpest_start() -> None:
    task = blobs(loss="mse")
    limit = Limit.of(task)
    starts = [task.draw(3, k) for k in range(20)]
    tops = [np.linalg.eigvalsh(task.split(start).h.dense())[-1] for start in starts]
    sharp, flat = starts[int(np.argmax(tops))], starts[int(np.argmin(tops))]
    assert max(tops) > 0.5 / limit.step > min(tops)
    assert limit.step_for(starts) == pytest.approx(0.5 / max(tops)) == limit.step_for([sharp])
    assert limit.step_for([flat]) == limit.step
    assert limit.cap_note(limit.step) == ()
    assert "0.5 of what" in limit.cap_note(limit.step / 2)[0]


def test_points_at_cluster_centres_have_the_spectrum_of_class_means() -> None:
    x, labels = kc.datasets.gaussian_clusters(12, 3, 20, spread=1e-7)
    limit = Limit.of(Task.of(x, labels))
    # equal outputs within a cluster, as a network has them there
    y = limit.starts(1, 0)[0][labels]
    np.testing.assert_allclose(limit.eigenvalues(y, 6), limit.class_means(y)[:6], rtol=1e-5)
    assert limit.eigenvalues(y, 7)[6] < 1e-5 * limit.eigenvalues(y, 1)[0]
