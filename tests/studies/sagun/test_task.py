"""Tasks: coordinates in the span of the data, the papers' parameter counts, batches, descent."""

from __future__ import annotations

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.studies.sagun.task import Task, batches, descend, descend_until, digits, in_span, smallest


@pytest.mark.parametrize(("width", "count"), [(2, 18), (6, 74), (10, 162), (14, 282), (18, 434)])
def test_parameters_of_the_papers_networks_on_blobs(width: int, count: int) -> None:
    x, labels = kc.datasets.two_blobs(10)
    task = Task.of(x, labels)
    assert task.parameters(width) == count == task.draw(width).n_parameters
    assert task.orthogonal(width) == 0


@pytest.mark.parametrize(("clusters", "count"), [(2, 4022), (5, 4115), (10, 4270), (20, 4580)])
def test_parameters_of_the_papers_networks_on_clusters(clusters: int, count: int) -> None:
    task = Task.of(*kc.datasets.gaussian_clusters(40, clusters, 100))
    assert task.parameters(30) == count
    assert task.draw(30).n_parameters + task.orthogonal(30) == count


def test_parameters_of_the_papers_network_on_digits() -> None:
    """(n_0 + 1) k + (k + 1) k + (k + 1) 10, with k = 10."""
    task = Task.of(*digits(None, full=True))
    assert task.parameters(10) == 197 * 10 + 11 * 10 + 11 * 10
    assert task.n == 256


def test_spectrum_in_the_span_is_the_whole_spectrum_but_for_zeros() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((5, 12))
    labels = np.array([0, 1, 2, 0, 1])
    task = Task.of(points, labels, activation="tanh", depth=2)
    assert task.x.shape == (5, 5)
    whole = FiniteNetwork.random(task.net, 3, 12, rng=1)
    # the first layer of the network in the span is Vᵀ W, with x = z √(n_0/r) Vᵀ
    v = np.linalg.lstsq(task.x * np.sqrt(12 / 5), points, rcond=None)[0].T
    part = FiniteNetwork(
        weights=(v.T @ whole.weights[0], *whole.weights[1:]), biases=whole.biases, activations=whole.activations,
        sigma_w=whole.sigma_w, beta=whole.beta,
    )  # fmt: skip
    np.testing.assert_allclose(part(task.x), whole(points), atol=1e-12)
    full = np.linalg.eigvalsh(whole.hessian(points, task.y, "softmax"))
    small = np.linalg.eigvalsh(task.split(part).h.dense())
    padded = np.sort(np.concatenate([small, np.zeros(task.orthogonal(3))]))
    assert task.orthogonal(3) == 21
    np.testing.assert_allclose(padded, full, atol=1e-12)


def test_points_of_full_rank_stay_as_they_are() -> None:
    x = np.random.default_rng(0).standard_normal((6, 3))
    assert in_span(x) is x


def test_batches_see_every_point_once_an_epoch() -> None:
    rows = list(batches(10, 3, 6, rng=0))
    assert all(len(r) == 3 for r in rows)
    for epoch in (rows[:3], rows[3:]):
        assert len(set(np.concatenate(epoch).tolist())) == 9
    again = list(batches(10, 3, 6, rng=0))
    assert all((a == b).all() for a, b in zip(rows, again, strict=True))


def test_descent_is_that_of_the_finite_network() -> None:
    task = Task.of(*kc.datasets.two_blobs(12), activation="tanh")
    start = task.draw(4, 0)
    seen = descend(task, start, 0.1, 20, at=(0, 7, 20))
    run = start.train(task.x, task.y, [0.0, 0.7, 2.0], loss="softmax", method="gd", step=0.1)
    np.testing.assert_allclose([task.loss_of(network) for network in seen], run.loss, rtol=1e-12)
    np.testing.assert_allclose(seen[-1].parameters, run.network.parameters, rtol=1e-11)


def test_whole_batches_are_gradient_descent() -> None:
    task = Task.of(*kc.datasets.two_blobs(12))
    start = task.draw(4, 0)
    (one,), (other,) = descend(task, start, 0.1, 5, batch=12, rng=3), descend(task, start, 0.1, 5)
    np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-12)


def test_subset_keeps_coordinates_and_classes() -> None:
    task = Task.of(*kc.datasets.mnist14(20))
    part = task.subset(slice(5))
    assert (part.n, part.n_out) == (5, task.n_out)
    network = task.draw(3, 0)
    np.testing.assert_array_equal(network(part.x), network(task.x)[:5])


def test_bad_tasks() -> None:
    x, labels = kc.datasets.two_blobs(6)
    with pytest.raises(InputError, match="'softmax' or 'mse'"):
        Task.of(x, labels, loss="binary")
    with pytest.raises(InputError, match="two classes"):
        Task.of(x, np.zeros(6, dtype=int))


def test_smallest_are_those_of_the_dense_matrix() -> None:
    task = Task.of(*kc.datasets.mnist14(20))
    h = task.split(task.draw(8, 0)).h
    np.testing.assert_allclose(smallest(h, 12), np.linalg.eigvalsh(h.dense())[:12], rtol=1e-8)


def test_descent_until_the_gradient_is_small() -> None:
    task = Task.of(*kc.datasets.two_blobs(12), activation="tanh")
    start = task.draw(4, 0)
    norms = [task.gradient_norm(network) for network in descend(task, start, 0.3, 40, at=range(41))]
    wanted = 0.5 * norms[0]
    network, taken = descend_until(task, start, 0.3, 40, wanted)
    assert taken == next(k for k, norm in enumerate(norms) if norm <= wanted) > 0
    assert task.gradient_norm(network) == pytest.approx(norms[taken], rel=1e-10)
    assert descend_until(task, start, 0.3, 5, 1e-9)[1] == 5
    assert descend_until(task, start, 0.3, 5)[1] == 5
