"""Drift of the tangent kernel in training, measured: beside networks one by one, conserved quantities, and 1/n."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.finite.ensembles.trials import trial_seeds

X = np.array([[1.0, 0.3, -0.5], [0.2, -1.1, 0.7], [-0.4, 0.6, 0.9]])
Y = np.array([[1.0, 0.2], [-1.0, 0.4], [0.5, -0.7]])


@pytest.mark.parametrize("outputs", [1, 2])
def test_networks_one_by_one(outputs: int) -> None:
    net, width, networks, time = kc.MLP("gelu", depth=3, sigma_w=1.2, n_out=outputs), 5, 3, 2.0
    y = Y[:, :outputs]
    found = kc.tangent_drift(net, X, y, [width], networks, time, rng=4)
    theta = np.kron(net.kernels(X).theta, np.eye(outputs))
    traces, squares, falls = [], [], []
    for seed in trial_seeds(4, networks):
        start = kc.FiniteNetwork.random(net, (width, width), 3, np.random.default_rng(seed))
        end = start.train(X, y, [time], tol=1e-8).network
        gram = [fin.jacobian(X).reshape(3 * outputs, -1) for fin in (start, end)]
        change = gram[1] @ gram[1].T - gram[0] @ gram[0].T
        traces.append(width * np.trace(change) / np.trace(theta))
        squares.append((width * np.linalg.norm(change) / np.linalg.norm(theta)) ** 2)
        falls.append(end.loss(X, y) / start.loss(X, y))
    assert found.trace[0] == pytest.approx(np.mean(traces), rel=1e-2)
    assert found.trace_error[0] == pytest.approx(np.std(traces, ddof=1) / networks**0.5, rel=1e-2)
    assert found.size[0] == pytest.approx(np.mean(squares) ** 0.5, rel=1e-2)
    assert found.loss[0] == pytest.approx(np.mean(falls), rel=1e-2)


def test_one_linear_hidden_layer_of_width_one() -> None:
    """f = v u x at x = 1: v² − u² is conserved and Θ̂ = u² + v²; at the end v u = y, so Θ̂² = (v² − u²)² + 4y²."""
    net, y, networks = kc.MLP("x", depth=2, beta=0), 2.0, 8
    found = kc.tangent_drift(net, [[1.0]], [y], [1], networks, 60.0)
    changes = []
    for seed in trial_seeds(0, networks):
        fin = kc.FiniteNetwork.random(net, (1,), 1, np.random.default_rng(seed))
        u, v = (float(w[0, 0]) for w in fin.weights)
        changes.append(np.hypot(v**2 - u**2, 2 * y) - u**2 - v**2)
    assert found.trace[0] == pytest.approx(np.mean(changes) / 2, rel=2e-3)


def test_the_drift_is_of_order_one_over_the_width() -> None:
    net = kc.MLP("softplus", depth=2, sigma_w=1.5, beta=0.3)
    found = kc.tangent_drift(net, X, Y[:, 0], (16, 32), 60)
    assert found.trace[0] == pytest.approx(found.trace[1], abs=4 * np.hypot(*found.trace_error))
    assert found.size[0] == pytest.approx(found.size[1], rel=0.3)
    assert (found.size > 0.3).all()


@pytest.mark.parametrize(
    ("net", "changes", "words"),
    [
        (kc.MLP("tanh"), {"networks": 1}, "networks"),
        (kc.MLP("tanh"), {"widths": []}, "widths"),
        (kc.MLP("tanh", n_out=2), {}, "n_out"),
        (kc.Sequential(kc.layers.Dense(), "tanh", kc.layers.Dense()), {}, "fully connected"),
    ],
)
def test_wrong_calls_are_named(net: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        kc.tangent_drift(net, X, Y[:, 0], **changes)
