"""λ_max(H) of finite networks against dense Hessians and automatic ones by finite differences."""

import numpy as np
import pytest

from kernelcalc.errors import InputError, SlowMethodWarning
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.mlp import MLP
from kernelcalc.kernels.parametrisation import pytorch_kernels, standard_theta
from kernelcalc.studies.prediction import predict
from kernelcalc.studies.validation.sharpness import affordable_networks, measure_top
from kernelcalc.training.losses import resolve_loss

X = np.random.default_rng(0).normal(size=(7, 3))
Y = np.sin(np.arange(14.0)).reshape(7, 2)
NET = MLP("tanh", depth=3, sigma_w=1.3, beta=0.4, n_out=2)


def literal_hessian(weights, biases, act, loss, targets):
    """Of the loss in w and b themselves, f = wᵀσ(wᵀσ(wᵀx + b) + b) + b, by central differences of the gradient's own."""
    shapes = [w.shape for w in weights]

    def value(theta):
        a, start = X, 0
        for i, (n, m) in enumerate(shapes):
            w = theta[start : start + n * m].reshape(n, m)
            start += n * m
            z = a @ w + theta[start : start + m]
            start += m
            a = act(z) if i < len(shapes) - 1 else z
        return loss.value(a, targets)

    theta = np.concatenate([v for w, b in zip(weights, biases, strict=True) for v in (w.ravel(), b)])
    h, p = 1e-4, len(theta)
    steps = h * np.eye(p)
    out = np.empty((p, p))
    for i, a in enumerate(steps):
        for j, b in enumerate(steps[: i + 1]):
            same, opposite = value(theta + a + b) + value(theta - a - b), value(theta + a - b) + value(theta - a + b)
            out[i, j] = out[j, i] = (same - opposite) / (4 * h * h)
    return out


@pytest.mark.parametrize("name", ["mse", "softmax", "log(cosh(y - t))"])
def test_against_hessians_in_the_weights_themselves(name):
    loss = resolve_loss(name)
    targets = loss.encode(np.arange(7) % 2 if name == "softmax" else Y)
    found = measure_top(NET, X, targets, loss, 3, networks=1, rng=5)
    rng, sizes = np.random.default_rng(5), [3, 3, 3, 2]
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    gauss = [1.3 * rng.standard_normal(s) / np.sqrt(s[0]) for s in pairs]
    biases = [0.4 * rng.standard_normal(s[1]) for s in pairs]
    even = [rng.uniform(-1, 1, s) / np.sqrt(s[0]) for s in pairs]
    even_biases = [rng.uniform(-1, 1, s[1]) / np.sqrt(s[0]) for s in pairs]
    standard = literal_hessian(gauss, biases, np.tanh, loss, targets)
    pytorch = literal_hessian(even, even_biases, np.tanh, loss, targets)
    assert found.standard[0] == pytest.approx(np.linalg.eigvalsh(standard)[-1], rel=2e-3)
    assert found.pytorch[0] == pytest.approx(np.linalg.eigvalsh(pytorch)[-1], rel=2e-3)
    # the same network with W ~ N(0, 1) trained instead
    ntk = FiniteNetwork(
        weights=[w * np.sqrt(len(w)) / 1.3 for w in gauss],
        biases=[b / 0.4 for b in biases],
        activations=NET.activations,
        sigma_w=1.3,
        beta=0.4,
    )
    if name != "log(cosh(y - t))":
        assert found.ntk[0] == pytest.approx(np.linalg.eigvalsh(ntk.hessian(X, targets, name))[-1], rel=2e-3)
    assert found.rate("ntk") == 2 / found.ntk[0]


def test_wide_networks_have_the_limit():
    net = MLP("erf", depth=2)
    found = measure_top(net, X, Y[:, :1], resolve_loss("mse"), 2000, networks=4)
    limits = (net.kernels(X).theta, standard_theta(net, X, [2000]), pytorch_kernels(net, X, [2000])[1])
    for name, theta in zip(("ntk", "standard", "pytorch"), limits, strict=True):
        assert getattr(found, name).mean() == pytest.approx(np.linalg.eigvalsh(theta)[-1] / 7, rel=0.1)


def test_deep_smooth_networks_exceed_it():
    """silu, L = 4, PyTorch's layers: 1.03 and 1.36 times the limit's at widths 64 and 1024, by torch on other data."""
    x = np.random.default_rng(1).normal(size=(16, 10))
    labels = np.where(x[:, 0] > 0, 1.0, -1.0)
    report = predict(MLP("silu", depth=4), x, labels, "binary", width=256, samples=16, networks=4, times=[0.0])
    factor = report.measured.pytorch.mean() / report.sample_pytorch_top.mean()
    assert 1.05 < factor < 1.7
    assert f"{factor:.3g} times the limit's" in str(report)


def test_how_many_are_measured():
    assert affordable_networks(NET, np.zeros((50, 10)), 1000) == 3
    assert affordable_networks(NET, np.zeros((200, 196)), 1000) == 1
    assert affordable_networks(NET, np.zeros((1000, 784)), 4000) == 0
    with pytest.raises(InputError):
        measure_top(NET, X, Y, resolve_loss("mse"), 4, networks=0)


def test_long_measurements_say_so(monkeypatch):
    monkeypatch.setattr("kernelcalc.studies.validation.sharpness._LARGE", 10.0)
    with pytest.warns(SlowMethodWarning, match="fewer points or networks"):
        measure_top(NET, X, Y, resolve_loss("mse"), 4, networks=1)
