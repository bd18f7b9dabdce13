import math
from itertools import pairwise

import numpy as np
import pytest

from kernelcalc.errors import InputError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.layers import Conv, Dense, Flatten, LayerNorm, Residual, Serial
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.kernels.parametrisation import pytorch, pytorch_defaults, pytorch_kernels, standard, standard_theta

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3))


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


def test_pytorch_kernels_against_networks_with_its_default_layers():
    # 40 inputs: the uniform first layer is Gaussian to 1/40
    x, widths, rng = np.random.default_rng(2).normal(size=(8, 40)), (300, 200), np.random.default_rng(0)
    thetas, outputs = [], []
    for _ in range(40):
        sizes = (40, *widths, 50)
        w = [rng.uniform(-(a**-0.5), a**-0.5, size=(a, b)) for a, b in pairwise(sizes)]
        b = [rng.uniform(-(a**-0.5), a**-0.5, size=c) for a, c in pairwise(sizes)]
        inputs = [x]
        for layer in range(2):
            inputs.append(np.maximum(inputs[-1] @ w[layer] + b[layer], 0))
        outputs.append(inputs[2] @ w[2] + b[2])
        # the first output's kernel
        back, kernel = np.ones((8, 1)), np.zeros((8, 8))
        columns = [w[0], w[1], w[2][:, :1]]
        for layer in (2, 1, 0):
            kernel += (back @ back.T) * (inputs[layer] @ inputs[layer].T + 1)
            back = (back @ columns[layer].T) * (inputs[layer] > 0)
        thetas.append(kernel)
    sigma, theta = pytorch_kernels(MLP("relu", depth=3, sigma_w=7.0, beta=3.0), x, widths)
    products = [y @ y.T / 50 for y in outputs]
    for sample, expected in ((thetas, theta), (products, sigma)):
        error = np.std(sample, axis=0, ddof=1) / math.sqrt(40)
        # 1/width bias allowed apart: 1 percent of the largest entry
        assert (np.abs(np.mean(sample, axis=0) - expected) < 4 * error + 0.01 * expected.max()).all()
    # a beta that is the hidden layers' everywhere is another network
    hidden = MLP("relu", depth=3, **pytorch_defaults(300))
    assert np.abs(standard_theta(hidden, x, widths) / theta - 1).max() > 0.005


def test_pytorch_kernels_of_equal_layers_are_the_standard_ones():
    net = MLP("tanh", depth=3, **pytorch_defaults(3))
    sigma, theta = pytorch_kernels(MLP("tanh", depth=3), X, (3, 3))
    np.testing.assert_allclose(theta, standard_theta(net, X, (3, 3)), rtol=1e-12)
    np.testing.assert_allclose(sigma, net.kernels(X).sigma, rtol=1e-10)


@pytest.mark.parametrize(
    "call",
    [
        lambda: standard_theta(MLP("erf", depth=3), X, (5,)),
        lambda: standard_theta(MLP("erf", depth=3), X, (5, 0)),
        lambda: pytorch_kernels(MLP("erf", depth=3), X, (5,)),
        lambda: pytorch_kernels(MLP("erf", depth=3), X, (0, 5)),
        lambda: pytorch_defaults(0),
    ],
)
def test_named_errors(call):
    with pytest.raises(InputError):
        call()


def test_standard_kernel_of_a_residual_network_against_finite_ones():
    """w = (σ_w/√n) W and b' = βb are trained: the gradient in them is that in W and b divided by their factors."""
    net = Sequential(
        Dense(1.2, 0.3), Residual(LayerNorm(), "tanh", Dense(0.9, 0.2), scale=0.7), "tanh", Dense(1.1, 0.4)
    )
    width, factors = 250, []
    for sigma_w, beta, n, m in ((1.2, 0.3, 3, width), (0.9, 0.2, width, width), (1.1, 0.4, width, 1)):
        factors += [np.full(n * m, math.sqrt(n) / sigma_w), np.full(m, 1 / beta)]
    rates, seen = np.concatenate(factors) ** 2, []
    for seed in range(16):
        jacobian = FiniteNetwork.random(net, width, 3, rng=seed).jacobian(X)[:, 0]
        seen.append((jacobian * rates) @ jacobian.T)
    mean, error = np.mean(seen, axis=0), np.std(seen, axis=0, ddof=1) / 4
    expected = standard_theta(net, X, (width, width))
    # 1/width bias allowed apart: 1 percent of the largest entry
    assert (np.abs(mean - expected) < 4 * error + 0.01 * expected.max()).all()


def test_networks_with_positions_have_no_standard_parametrisation_here():
    net = Sequential(Conv(3), "tanh", Flatten(), Dense())
    with pytest.raises(InputError, match="standard parametrisation, got one with positions"):
        standard(net, (4,), 3)
    with pytest.raises(InputError, match="equally many units"):
        standard(Sequential(Dense(), Residual("tanh", Dense()), Dense()), (4, 5), 3)


@pytest.mark.parametrize("make", [standard, pytorch])
def test_one_width_is_refused_by_name(make):
    with pytest.raises(InputError, match="a sequence of 2 whole numbers"):
        make(MLP("tanh", 3), 512, 10)


def test_layers_within_others_keep_their_place_and_what_they_are_multiplied_by():
    """Layers in one another are those one after the other; a factor of a branch counts squared."""
    inner = [Dense(1.2, 0.3), "tanh", Dense(0.9, 0.2)]
    flat = standard(Sequential(*inner, "erf", Dense(1.1, 0.4), n_out=3), (4, 5), 3)
    nested = standard(Sequential(inner[0], Serial(*inner[1:]), "erf", Dense(1.1, 0.4), n_out=3), (4, 5), 3)
    assert flat.n_out == nested.n_out == 3
    np.testing.assert_array_equal(flat.kernels(X).theta, nested.kernels(X).theta)
    # a branch b of factor s behind one layer: Θ = Θ₁ + s² (Θ of Dense ∘ first), linear throughout, by hand
    net = standard(Sequential(Dense(2.0, 0.5), Residual(Dense(1.5, 0.25), scale=0.5), Dense(1.0, 0.0)), (4, 4), 3)
    gram = X @ X.T
    sigma1, theta1 = 4 * gram / 3 + 0.25, gram + 1
    sigma2 = sigma1 + 0.25 * (2.25 * sigma1 + 0.0625)
    theta2 = theta1 + 0.25 * (2.25 * theta1 + 4 * sigma1 + 1)
    np.testing.assert_allclose(net.kernels(X).theta, theta2 + 4 * sigma2 + 1, rtol=1e-13)


def test_what_is_refused_is_named():
    positions = Sequential(Conv(3), "tanh", Flatten(), Dense())
    for make, what in ((standard, "the standard parametrisation"), (pytorch, "PyTorch's parametrisation")):
        with pytest.raises(InputError) as caught:
            make(positions, (4,), 3)
        assert str(caught.value).startswith(f"expected a network on points (N, n_0) for {what}, got one with positions")
        with pytest.raises(InputError) as caught:
            make(MLP("tanh", 3), 512, 10)
        text = "expected widths, a sequence of 2 whole numbers, got 512; try widths=[n] * 2"
        assert str(caught.value) == text
    with pytest.raises(InputError, match=r"^expected an integer width ≥ 1, got 0$"):
        pytorch_defaults(0)
    for call in (standard_theta, pytorch_kernels):
        with pytest.raises(InputError, match=r"parametrisation, got one with positions"):
            call(positions, np.ones((2, 4, 1)), (4,))
