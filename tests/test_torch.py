"""PyTorch's networks: read from objects that only look like them, and, where PyTorch is installed, from real ones."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, MissingExtraError
from kernelcalc.finite.composition import Architecture
from kernelcalc.finite.network import LayeredNetwork
from kernelcalc.kernels.parametrisation import pytorch_kernels, standard_theta
from kernelcalc.studies.validation.sharpness import measure_top
from kernelcalc.training.losses import resolve_loss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3))
ROOT = math.sqrt(1 / 3)


class FakeParameter:
    """As much of a tensor as is read."""

    def __init__(self, values, dtype="float32", complex_=False, meta=False):
        self.values, self.dtype, self.is_meta, self._complex = values, dtype, meta, complex_

    def is_complex(self):
        return self._complex

    def detach(self):
        return self

    cpu = double = detach

    def numpy(self):
        return np.asarray(self.values, dtype=np.float64)


def fake(kind, where="torch.nn.modules.activation", parts=(), **attributes):
    made = type(kind, (), {"forward": lambda self, v: v, "__iter__": lambda self: iter(parts)})
    made.__module__ = where
    found = made()
    vars(found).update(attributes)
    return found


def linear(n, m, bias=True, **options):
    w, b = RNG.uniform(-1, 1, (m, n)), RNG.uniform(-1, 1, m)
    return fake(
        "Linear",
        "torch.nn.modules.linear",
        in_features=n,
        out_features=m,
        weight=FakeParameter(w, **options),
        bias=FakeParameter(b) if bias else None,
    )


def sequential(*parts):
    return fake("Sequential", "torch.nn.modules.container", parts)


def test_architecture_and_default_scales():
    hidden = sequential(linear(3, 7), fake("Tanh"), fake("Identity"))
    net = kc.torch.from_torch(sequential(hidden, linear(7, 5), fake("LeakyReLU", negative_slope=0.2), linear(5, 2)))
    betas = [1 / math.sqrt(3 * n) for n in (3, 7, 5)]
    assert [(one.sigma_w, one.beta) for one in net.layers[::2]] == [
        (pytest.approx(ROOT), pytest.approx(beta)) for beta in betas
    ]
    assert [act.expr for act in net.activations] == [kc.activation(t).expr for t in ("tanh", "leaky_relu(0.2)")]
    assert net.n_out == 2


def test_equal_scales_are_a_fully_connected_network():
    net = kc.torch.from_torch(sequential(linear(3, 7, bias=False), fake("ReLU"), linear(7, 1, bias=False)))
    assert net == kc.MLP("relu", 2, sigma_w=ROOT, beta=0.0)
    same = kc.torch.from_torch(sequential(linear(3, 3), fake("ReLU"), linear(3, 1)))
    assert isinstance(same, kc.MLP)
    assert same.beta == pytest.approx(1 / 3)
    one = kc.torch.from_torch(linear(3, 4))
    assert (one.depth, one.n_out) == (1, 4)


@pytest.mark.parametrize("sizes", [(3, 7, 5, 2), (3, 3, 3, 2)])
@pytest.mark.parametrize("biases", [(True, True, True), (False, False, False), (True, False, True)])
def test_weights(sizes, biases):
    parts = [linear(n, m, bias) for (n, m), bias in zip(pairwise(sizes), biases, strict=True)]
    fin = kc.torch.finite_network(sequential(parts[0], fake("Tanh"), parts[1], parts[2]))
    value = X
    for place, part in enumerate(parts):
        value = value @ part.weight.values.T + (0 if part.bias is None else part.bias.values)
        value = np.tanh(value) if place == 0 else value
    np.testing.assert_allclose(fin(X), value, rtol=1e-13, atol=1e-15)


def test_predictions():
    model = sequential(linear(3, 40), fake("Tanh"), linear(40, 1))
    net, y = kc.torch.from_torch(model), np.sign(X[:, 0])
    report = kc.predict(net, X, y, width=40)
    # what PyTorch's layers do does not depend on the scales that a network is described with
    other = kc.predict(kc.MLP("tanh", 2), X, y, width=40)
    np.testing.assert_allclose(report.pytorch.sample_top, other.pytorch.sample_top, rtol=1e-12)
    sigma, _ = pytorch_kernels(net, X, (40,))
    np.testing.assert_allclose(sigma, net.kernels(X).sigma, rtol=1e-12)


def test_standard_parametrisation_with_a_beta_for_each_layer():
    """f = w₂(w₁x + b₁) + b₂ has E ∇f·∇f' = σ²(x·x' + 1) + n₁Σ₁ + 1."""
    first, last = kc.layers.Dense(1.3, 0.4), kc.layers.Dense(0.7, 0.2)
    sigma = 1.3**2 * X @ X.T / 3 + 0.4**2
    expected = 0.7**2 * (X @ X.T + 1) + 5 * sigma + 1
    np.testing.assert_allclose(standard_theta(kc.Sequential(first, "linear", last), X, [5]), expected, rtol=1e-12)
    with pytest.raises(InputError, match="positions"):
        standard_theta(kc.Sequential(kc.layers.Conv(3), "tanh", kc.layers.Flatten(), last), X, [5])


def test_measured_sharpness_with_a_beta_for_each_layer():
    scales, sizes, y = ((1.3, 0.4), (0.7, 0.9)), (3, 5, 1), np.sign(X[:, :1])
    net = kc.Sequential(kc.layers.Dense(*scales[0]), "tanh", kc.layers.Dense(*scales[1]))
    found = measure_top(net, X, y, resolve_loss("mse"), 5, networks=1, rng=1)
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(shape) for shape in pairwise(sizes)]
    biases = [rng.standard_normal(m) for m in sizes[1:]]
    fin = LayeredNetwork(
        weights=tuple(weights),
        biases=tuple(biases),
        activations=tuple(net.activations),
        architecture=Architecture.of(net, 5, 3),
    )
    hessian = fin.hessian(X, y)
    assert found.ntk[0] == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-3)
    # in w = cW and b' = βb every derivative is divided by c or β
    divisor = np.concatenate(
        [
            part
            for (n, m), (sigma_w, beta) in zip(pairwise(sizes), scales, strict=True)
            for part in (np.full(n * m, sigma_w / math.sqrt(n)), np.full(m, beta))
        ]
    )
    top = np.linalg.eigvalsh(hessian / np.outer(divisor, divisor))[-1]
    assert found.standard[0] == pytest.approx(top, rel=1e-3)


TWICE = linear(3, 3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (sequential(linear(3, 4), fake("Softmax")), "all units"),
        (sequential(linear(3, 4), fake("Sigmoid")), r"sigmoid behind it.*model\[:-1\]"),
        (sequential(fake("Tanh"), linear(3, 4)), "Tanh before the first"),
        (sequential(linear(3, 4), fake("Tanh"), fake("ReLU"), linear(4, 1)), "ReLU behind another"),
        (sequential(linear(3, 4), fake("Dropout", "torch.nn.modules.dropout"), linear(4, 1)), "Dropout.*random"),
        (sequential(linear(3, 4), fake("BatchNorm1d", "torch.nn.modules.batchnorm"), linear(4, 1)), "BatchNorm1d"),
        (sequential(linear(3, 4), fake("LayerNorm", "torch.nn.modules.normalization"), linear(4, 1)), "LayerNorm"),
        (sequential(fake("Conv2d", "torch.nn.modules.conv"), linear(4, 1)), "Conv2d.*channels"),
        (sequential(linear(3, 4), fake("PReLU"), linear(4, 1)), "slope"),
        (sequential(linear(3, 4), fake("Softplus", beta=1, threshold=2), linear(4, 1)), "threshold"),
        (sequential(linear(3, 4), fake("LSTM", "torch.nn.modules.rnn")), "LSTM"),
        (sequential(TWICE, fake("Tanh"), TWICE), "used twice"),
        (sequential(linear(3, 4), fake("Flatten", start_dim=0, end_dim=-1), linear(4, 1)), "start_dim=0"),
        (sequential(), "at least one"),
        (fake("MyNet", "mine"), r"mine\.MyNet"),
        (sequential(fake("MyLinear", "mine")), r"mine\.MyLinear"),
        ("model", "str"),
    ],
)
def test_what_cannot_be_read_is_named(model, words):
    with pytest.raises(InputError, match=words):
        kc.torch.from_torch(model)


def test_parameters_without_real_values_and_hooks_are_named():
    with pytest.raises(InputError, match="complex64"):
        kc.torch.finite_network(linear(3, 4, dtype="complex64", complex_=True))
    with pytest.raises(InputError, match="meta"):
        kc.torch.finite_network(linear(3, 4, meta=True))
    hooked = linear(3, 4)
    hooked._forward_pre_hooks = {0: print}
    with pytest.raises(InputError, match="hook"):
        kc.torch.from_torch(hooked)


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[torch\]"):
        kc.torch.to_torch(kc.FiniteNetwork.random(kc.MLP("tanh"), 3, 2))


def test_what_cannot_be_written_is_named():
    layers = kc.layers
    residual = kc.Sequential(layers.Dense(), layers.Residual("tanh", layers.Dense()), layers.Dense())
    for value, words in (
        (kc.MLP("tanh"), "MLP"),
        (kc.FiniteNetwork.random(residual, 4, 3), "Sum"),
        (kc.FiniteNetwork.random(kc.Sequential(layers.Dense(), layers.Dense()), 4, 3), "Nonlinearity, got Dense"),
    ):
        with pytest.raises(InputError, match=words):
            kc.torch.to_torch(value)


# With PyTorch (extra torch)

NAMES = [
    "tanh",
    "relu",
    "gelu",
    "gelu(approximate=tanh)",
    "silu",
    "mish",
    "elu",
    "selu",
    "softsign",
    "relu6",
    "hardtanh",
]
NAMES += [
    "hardswish",
    "leaky_relu(0.2)",
    "softplus(beta=2)",
    "erf",
    "x*erf(x)",
    "smooth_relu(scale=0.5)",
    "log_sigmoid",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_written_networks_give_the_same_outputs(name, beta):
    torch = pytest.importorskip("torch")
    fin = kc.FiniteNetwork.random(kc.MLP(name, 4, sigma_w=1.4, beta=beta, n_out=2), (8, 9, 7), 3)
    model = kc.torch.to_torch(fin)
    for points in (X, 30 * X):
        right = fin(points)
        assert np.abs(model(torch.tensor(points)).detach().numpy() - right).max() <= 1e-12 * max(1, np.abs(right).max())
    assert isinstance(model, torch.nn.Sequential)
    assert kc.torch.from_torch(model).depth == 4
    np.testing.assert_allclose(kc.torch.finite_network(model)(X), fin(X), rtol=1e-12, atol=1e-13)


def test_number_types_and_compositions():
    torch = pytest.importorskip("torch")
    small = kc.FiniteNetwork.random(kc.MLP("tanh"), 8, 3, dtype=np.float32)
    assert kc.torch.to_torch(small)[0].weight.dtype == torch.float32
    dense = kc.layers.Dense
    fin = kc.FiniteNetwork.random(kc.Sequential(dense(1.2, 0.1), "erf", dense(0.8, 0.0), "relu", dense()), 5, 3)
    model = kc.torch.to_torch(fin)
    assert model[2].bias is None
    assert np.abs(model(torch.tensor(X)).detach().numpy() - fin(X)).max() < 1e-13


# PyTorch's forward mode calls what PyTorch itself deprecates
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_gradients_of_functions_that_pytorch_does_not_have():
    torch = pytest.importorskip("torch")
    model = kc.torch.to_torch(kc.FiniteNetwork.random(kc.MLP("x*erf(x)", 2), 4, 3))
    z = torch.tensor(X[:2], requires_grad=True)
    assert torch.autograd.gradcheck(model, z)
    assert torch.autograd.gradgradcheck(model, z)
    point = torch.tensor(X[0])
    forward = torch.func.hessian(lambda v: model(v)[0])(point)
    backward = torch.autograd.functional.hessian(lambda v: model(v)[0], point)
    assert torch.allclose(forward, backward, rtol=1e-12, atol=1e-14)


def test_real_networks_are_read():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 200), nn.GELU(), nn.Sequential(nn.Linear(200, 50), nn.CELU(0.5)))
    model.append(nn.Linear(50, 2))
    fin = kc.torch.finite_network(model)
    right = model.double()(torch.tensor(X)).detach().numpy()
    assert np.abs(fin(X) - right).max() < 1e-12
    # the default initialisation has these scales: W and b of variance one
    net = kc.torch.from_torch(model)
    assert fin.weights[1].var() == pytest.approx(1, rel=0.05)
    assert kc.predict(net, X, np.sign(X[:, :2]), width=200).n_out == 2
    for wrong in (nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 1)), nn.LSTM(4, 2)):
        with pytest.raises(InputError, match=type(wrong[1] if isinstance(wrong, nn.Sequential) else wrong).__name__):
            kc.torch.from_torch(wrong)
    with pytest.raises(InputError, match="hook"):
        kc.torch.from_torch(nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4))))
    with pytest.raises(InputError, match="meta"):
        kc.torch.finite_network(nn.Linear(3, 4, device="meta"))
