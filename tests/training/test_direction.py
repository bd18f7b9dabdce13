"""Appendix A: training along a given direction against gradient flow, and layerwise directions against a wide network."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import IntegrationError, NotFiniteError, ShapeError
from kernelcalc.training import direction as module
from kernelcalc.training.direction import layer_directions, train_along

RNG = np.random.default_rng(3)
NET = kc.MLP(["tanh", "erf"], depth=3, sigma_w=1.3, beta=0.2)
X = RNG.normal(size=(4, 3))
K = NET.kernels(X)
Y = RNG.normal(size=(4, 2))


def test_the_gradient_is_the_flow():
    """D = -∇C of the mean network, (Y* - E_t...)/N: outputs reach Y* (1 - e^{-tΘ/N})."""
    values, vectors = np.linalg.eigh(K.theta)

    def residual(t):
        return vectors @ (np.exp(-values * t / 4)[:, None] * (vectors.T @ Y))

    found = train_along(K, lambda t: residual(t) / 4, [5.0, 0.0, 1.0])
    for i, t in enumerate((5.0, 0.0, 1.0)):
        np.testing.assert_allclose(found.outputs[i], Y - residual(t), rtol=1e-8, atol=1e-12)
        drift = K.lam @ np.linalg.solve(K.theta, Y - residual(t))
        np.testing.assert_allclose(found.g[i], drift, rtol=1e-7, atol=1e-12)
    assert found.length[0] > found.length[2] > found.length[1] == 0


def direction(t):
    return np.array([np.cos(t), np.sin(t), 0.5, -t])


def along(seed, width=192, count=16):
    """How far f and g of a network move along D: θ' = (∂Y)ᵀD by midpoint steps."""
    start = fin = kc.FiniteNetwork.random(NET, (width, width), n_in=3, rng=seed)
    theta, step = fin.parameters, 1 / count
    for i in range(count):
        theta = theta + step * np.einsum("nkp,n->p", fin.jacobian(X), direction((i + 0.5) * step))
        fin = fin.at(theta)
    return (fin(X) - start(X))[:, 0], (fin.hessian_trace(X) - start.hessian_trace(X))[:, 0]


def test_finite_networks_along_a_direction():
    """The mean of 40 of width 192, within 4 standard errors and a bias of 5/width."""
    moved = np.array([along(seed) for seed in range(40)])
    found = train_along(K, direction, [1.0])
    for samples, exact in zip(moved.transpose(1, 0, 2), (found.outputs[0, :, 0], found.g[0, :, 0]), strict=True):
        error = samples.std(axis=0, ddof=1) / np.sqrt(40)
        assert (error < 0.1 * np.abs(exact).max()).all()
        assert (np.abs(samples.mean(axis=0) - exact) < 4 * error + 5 / 192 * np.abs(exact).max()).all()


def backwards(net, n, seed):
    """Products of the layerwise directions of a network, written out."""
    fin = kc.FiniteNetwork.random(net, (n, n), n_in=3, rng=seed)
    z = [X @ fin.weights[0] * 1.3 / np.sqrt(3) + 0.2 * fin.biases[0]]
    z.append(np.tanh(z[0]) @ fin.weights[1] * 1.3 / np.sqrt(n) + 0.2 * fin.biases[1])
    slopes = [1 / np.cosh(z[0]) ** 2, 2 / np.sqrt(np.pi) * np.exp(-(z[1] ** 2))]
    second = slopes[1] * (Y @ fin.weights[2].T) * 1.3 / np.sqrt(n)
    first = slopes[0] * (second @ fin.weights[1].T) * 1.3 / np.sqrt(n)
    return first @ first.T, second @ second.T


def test_directions_of_layers():
    limit = layer_directions(NET.replace(n_out=2), X, Y)
    samples = np.array([backwards(NET.replace(n_out=2), 600, seed) for seed in range(40)])
    error = samples.std(axis=0, ddof=1) / np.sqrt(40)
    for layer in range(2):
        assert error[layer].max() < 0.02 * limit[layer].max()
        bias = 5 / 600 * np.abs(limit[layer]).max()
        assert (np.abs(samples.mean(axis=0)[layer] - limit[layer]) < 4 * error[layer] + bias).all()
    np.testing.assert_allclose(limit[2], Y @ Y.T)


def test_kinks_have_no_g():
    kernels = kc.MLP("relu").kernels(X)
    assert train_along(kernels, lambda t: np.ones(4), [1.0]).g is None


def test_what_is_refused():
    with pytest.raises(
        ShapeError, match=r"expected the direction D\(0\) of the shape \(4,\) or \(4, n_out\), got the shape \(3,\)"
    ):
        train_along(K, lambda t: np.ones(3), [1.0])
    with pytest.raises(ShapeError, match=r"expected the direction D\(0\.\d+\) of the shape .*, got the shape \(4, 2\)"):
        train_along(K, lambda t: np.ones((4, 1 + (t > 0))), [1.0])
    with pytest.raises(ShapeError, match=r"expected the direction D\(0\.\d+\) of the shape .*, got the shape \(5,\)"):
        train_along(K, lambda t: np.ones(4 + (t > 0)), [1.0])
    with pytest.raises(NotFiniteError):
        train_along(K, lambda t: np.full(4, np.nan), [1.0])
    with pytest.raises(ShapeError, match="a direction for 4 points, got 3"):
        layer_directions(NET, X, np.ones(3))
    with pytest.raises(NotFiniteError, match="finite the direction"):
        layer_directions(NET, X, np.full(4, np.nan))


def test_a_direction_that_is_too_wild(monkeypatch):
    """What is integrated to a millionth only is refused, whatever its size."""
    integrate = module.quad_vec

    def rough(*given, **options):
        step, _, *rest = integrate(*given, **options)
        return step, 1e-6 * np.abs(step).max(), *rest

    monkeypatch.setattr(module, "quad_vec", rough)
    with pytest.raises(IntegrationError, match=r"is integrated to .* only between 0 and 2"):
        train_along(K, lambda t: 1e-3 * np.ones(4), [2.0])


def test_faint_directions_have_all_digits():
    """D = 10⁻⁵⁰ sin(40 t): 10⁻⁵⁰ (1 − cos 40t)/40."""
    found = train_along(K, lambda t: 1e-50 * np.sin(40 * t) * np.ones((4, 2)), [0.3, 2.0])
    wanted = 1e-50 * (1 - np.cos(40 * np.array([0.3, 2.0]))) / 40
    np.testing.assert_allclose(found.integral, np.broadcast_to(wanted[:, None, None], (2, 4, 2)), rtol=1e-8)
    assert found.integral.shape == found.outputs.shape == found.g.shape == (2, 4, 2)
    assert found.dimensions() == {
        "times": ("time",),
        "integral": ("time", "point", "output"),
        "outputs": ("time", "point", "output"),
        "g": ("time", "point", "output"),
        "length": ("time",),
    }
