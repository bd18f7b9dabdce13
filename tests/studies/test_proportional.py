"""Spectra at width proportional to the number of points, against histograms of finite networks and Marčenko and Pastur."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.studies.proportional import at_width
from kernelcalc.studies.sample_covariance import MarchenkoPastur

RNG = np.random.default_rng(0)
LEVELS = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 0.97])


def on_sphere(n, n_in, rng=RNG):
    x = rng.normal(size=(n, n_in))
    return x * np.sqrt(n_in) / np.linalg.norm(x, axis=1, keepdims=True)


def finite_spectrum(net, x, n, kernel, seed):
    fin = kc.FiniteNetwork.random(net, (n,) * (net.depth - 1), n_in=x.shape[1], rng=seed)
    if kernel == "theta":
        return np.linalg.eigvalsh(fin.ntk(x))
    a = x
    for w, b, act in zip(fin.weights[:-1], fin.biases[:-1], net.activations, strict=True):
        a = act(net.sigma_w * a @ w / np.sqrt(a.shape[1]) + net.beta * b)
    return np.linalg.eigvalsh(net.sigma_w**2 * a @ a.T / n + net.beta**2)


X = on_sphere(240, 240)


@pytest.mark.parametrize("ratio", [0.5, 1.0, pytest.param(2.0, marks=pytest.mark.long)])
@pytest.mark.parametrize(("kernel", "depth"), [("sigma", 2), ("sigma", 3), ("theta", 2), ("theta", 3)])
def test_histograms_of_finite_networks(kernel, depth, ratio):
    """The trace of one network's Θ̂ is 1/√n from its mean, whatever N: its spectrum is scaled to the mean."""
    net = kc.MLP("tanh", depth=depth, sigma_w=1.2, beta=0.0)
    n = int(240 * ratio)
    found = at_width(net, X, n, kernel)
    values = np.array([finite_spectrum(net, X, n, kernel, seed) for seed in range(3)])
    mean = values.mean(axis=1, keepdims=True)
    assert np.abs(mean / found.infinite.mean() - 1).max() < 3 / np.sqrt(n)
    values = (values * found.infinite.mean() / mean).ravel()
    above = np.array([found.mass(x, found.x[-1]) for x in found.x])
    assert found.atom + above[0] == pytest.approx(1, abs=0.03)  # of 1/√x at γ = 1 a part is below the grid
    levels = LEVELS[found.atom + 0.05 < LEVELS]
    measured = np.quantile(values, levels)
    error = np.abs(np.interp(levels, 1 - above, found.x) - measured)
    # and it is not the infinitely wide network's
    infinite = np.abs(np.quantile(found.infinite, levels) - measured).max()
    assert error.max() < min(0.05 * measured[-1], 0.3 * infinite)


def test_one_layer_is_a_sample_covariance_of_any_data():
    """The digits are far from orthogonal: the population of one hidden layer is exact all the same."""
    digits = kc.datasets.mnist14()[0][:120]
    net = kc.MLP("tanh", depth=2, sigma_w=1.3, beta=0.1)
    population = np.linalg.eigvalsh((net.kernels(digits, only="sigma").sigma - 0.01) / 1.69)
    law = MarchenkoPastur.of(np.maximum(population, 0), 120 / 80)
    x = np.linspace(0.15, 0.8, 9)
    found = at_width(net, digits, 80, "sigma", x=1.69 * x, height=1e-8)
    np.testing.assert_allclose(1.69 * found.density, law.density(x), rtol=1e-5)


def test_wide_networks_have_the_limit():
    """Seen through the same blur, at width 4000 N."""
    net = kc.MLP("erf", depth=3, sigma_w=1.1, beta=0.0)
    x = on_sphere(100, 400)
    grid = np.linspace(2, 8, 30)
    found = at_width(net, x, 400_000, "theta", x=grid, height=0.3)
    blurred = np.mean(0.3 / ((grid[:, None] - found.infinite) ** 2 + 0.09), axis=1) / np.pi
    np.testing.assert_allclose(found.density, blurred, rtol=0.03)


@pytest.mark.parametrize(
    "change", [{"kernel": "phi"}, {"widths": [3]}, {"height": 0.0}, {"widths": 0}, {"net": kc.MLP([], depth=1)}]
)
def test_what_is_refused(change):
    given = {"net": kc.MLP("tanh", depth=3), "X": X[:5], "widths": 4} | change
    with pytest.raises(InputError):
        at_width(**given)
