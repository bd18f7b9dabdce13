"""Networks of very many layers: what repeats is read once, and the wait is foretold."""

import warnings

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc import patience
from kernelcalc.errors import SlowMethodWarning
from kernelcalc.kernels import mlp

X = np.random.default_rng(0).standard_normal((40, 3))


def by_arcsine(gram, depth, beta):
    """Σ and Θ of erf networks, layer by layer (Williams 1997)."""
    sigma = gram + beta**2
    theta = sigma
    for _ in range(depth - 1):
        norm = 1 + 2 * np.diag(sigma)
        outer = norm[:, None] * norm
        dot = 4 / np.pi / np.sqrt(outer - 4 * sigma**2)
        sigma = 2 / np.pi * np.arcsin(2 * sigma / np.sqrt(outer)) + beta**2
        theta = sigma + dot * theta
    return sigma, theta


@pytest.mark.parametrize("points", [3, 40])
def test_layers_that_repeat(points):
    net = kc.MLP(["erf"] * 119, 120, beta=0.3)
    found = net.kernels(X[:points], only=("sigma", "theta"))
    sigma, theta = by_arcsine(X[:points] @ X[:points].T / 3, 120, 0.3)
    np.testing.assert_allclose(found.sigma, sigma, rtol=1e-11)
    np.testing.assert_allclose(found.theta, theta, rtol=1e-11)
    assert len(found.layers) == 120
    np.testing.assert_allclose(
        found.layers[59].theta, by_arcsine(X[:points] @ X[:points].T / 3, 60, 0.3)[1], rtol=1e-11
    )


def test_layers_of_two_kinds():
    """Each in its place, whatever was read before."""
    acts = ["erf", "identity", "erf", "erf", "identity"]
    found = kc.MLP(acts, 6, beta=0.3).kernels(X, only="sigma").sigma
    sigma = X @ X.T / 3 + 0.09
    for act in acts:
        norm = 1 + 2 * np.diag(sigma)
        sigma = 0.09 + (
            sigma if act == "identity" else 2 / np.pi * np.arcsin(2 * sigma / np.sqrt(np.outer(norm, norm)))
        )
    np.testing.assert_allclose(found, sigma, rtol=1e-11)


def test_every_text_is_read_once(monkeypatch):
    read, once = [], mlp.as_activation
    monkeypatch.setattr(mlp, "as_activation", lambda text: read.append(text) or once(text))
    net = kc.MLP(["tanh", "erf"] * 500, 1001)
    assert sorted(read) == ["erf", "tanh"]
    assert [act.name for act in net.activations[:3]] == ["tanh", "erf", "tanh"]


def test_a_long_wait_is_foretold(monkeypatch):
    monkeypatch.setattr(patience, "FORETOLD_AFTER", 0.02)
    monkeypatch.setattr(patience, "PATIENCE", 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SlowMethodWarning, match=r"through 398 steps: some .* a smaller depth"):
            kc.MLP("tanh", 200).kernels(X)
