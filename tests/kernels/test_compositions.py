"""Residual, normalised and standard-parametrised networks: all six limiting kernels against finite networks of two widths."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.kernels.layers import Dense, LayerNorm, Residual
from kernelcalc.kernels.parametrisation import pytorch, pytorch_defaults, standard, standard_theta
from kernelcalc.kernels.state import KERNEL_NAMES
from tests.kernels.finite_compositions import Chain, DenseLayer, Norm, Skip, Tanh, six_kernels

X = np.array([[1.0, 0.5, -0.7], [-0.3, 1.2, 0.4]])
W, B = 1.2, 0.4


def dense(n_in, n_out):
    return DenseLayer(n_in, n_out, W, B)


def plain(n):
    return Chain(dense(3, n), Tanh(), dense(n, n), Tanh(), dense(n, 1))


def residual(n):
    return Chain(dense(3, n), Skip(Chain(Tanh(), dense(n, n)), 0.7), Tanh(), dense(n, 1))


def normalised(n):
    return Chain(dense(3, n), Skip(Chain(Norm(), Tanh(), dense(n, n))), Norm(), Tanh(), dense(n, 1))


LIMITS = {
    plain: kc.MLP("tanh", 3, sigma_w=W, beta=B),
    residual: kc.Sequential(Dense(W, B), Residual("tanh", Dense(W, B), scale=0.7), "tanh", Dense(W, B)),
    normalised: kc.Sequential(
        Dense(W, B), Residual(LayerNorm(), "tanh", Dense(W, B)), LayerNorm(), "tanh", Dense(W, B)
    ),
}


def ensemble(build, width, trials, seed):
    rng, network = np.random.default_rng(seed), build(width)
    found = [six_kernels(network, X, rng.standard_normal(network.size)) for _ in range(trials)]
    return {name: np.array([one[name] for one in found]) for name in KERNEL_NAMES}


def z_scores(build, limit, widths=(6, 12), trials=(200, 120)):
    """(2 · mean at the larger width − mean at the smaller − limit)/standard error: the bias of 1/width cancels."""
    small, large = (ensemble(build, n, count, n) for n, count in zip(widths, trials, strict=True))
    scores = {}
    for name in KERNEL_NAMES:
        mean = 2 * large[name].mean(axis=0) - small[name].mean(axis=0)
        error = np.sqrt(4 * large[name].var(axis=0) / trials[1] + small[name].var(axis=0) / trials[0])
        scores[name] = (mean - getattr(limit, name)) / error
    return scores


@pytest.mark.parametrize("build", LIMITS, ids=lambda build: build.__name__)
def test_six_kernels_of_finite_networks(build):
    scores = z_scores(build, LIMITS[build].kernels(X))
    worst = {name: float(np.abs(score).max()) for name, score in scores.items()}
    # 18 numbers a network; 1/width² is left over
    assert max(worst.values()) < 4.0, worst


def theta_scores(build, limit, widths=(16, 32), trials=4000):
    """The same of Θ alone, which needs no second derivatives and is therefore seen to a few tenths of a percent."""
    found = []
    for n in widths:
        network = build(n)
        theta = np.random.default_rng(n).standard_normal((trials, network.size))
        value, kept = network.forward(theta, X)
        gradient, _ = network.backward(np.ones_like(value), kept)
        found.append(np.einsum("tip,tjp->tij", gradient, gradient))
    small, large = found
    mean = 2 * large.mean(axis=0) - small.mean(axis=0)
    return (mean - limit) / np.sqrt((4 * large.var(axis=0) + small.var(axis=0)) / trials)


@pytest.mark.parametrize("build", LIMITS, ids=lambda build: build.__name__)
def test_theta_of_many_networks(build):
    assert np.abs(theta_scores(build, LIMITS[build].kernels(X).theta)).max() < 4


def test_a_factor_that_is_not_squared_is_seen():
    wrong = kc.Sequential(Dense(W, B), Residual("tanh", Dense(W, B), scale=0.7**0.5), "tanh", Dense(W, B))
    assert np.abs(theta_scores(residual, wrong.kernels(X).theta)).max() > 6


@pytest.mark.parametrize("which", ["standard", "pytorch"])
def test_trained_weights_themselves(which):
    """Σ of the same function; derivatives in w = (σ_w/√n) W and b' = βb, at finite width and in the limit's formula."""
    n, trials, rng = 12, 100, np.random.default_rng(5)
    net, sizes = kc.MLP("tanh", 3, sigma_w=W, beta=B), (3, n, n)
    defaults = [pytorch_defaults(m) for m in sizes]
    pairs = [(d["sigma_w"], d["beta"]) for d in defaults] if which == "pytorch" else [(W, B)] * 3
    layers = [DenseLayer(m, out, *pair) for m, out, pair in zip(sizes, (n, n, 1), pairs, strict=True)]
    network = Chain(layers[0], Tanh(), layers[1], Tanh(), layers[2])
    # a derivative in w is √n/σ_w times one in W, and second derivatives count both
    rates = np.concatenate(
        [
            np.concatenate([np.full(m * out, m / s**2), np.full(out, 1 / b**2)])
            for m, out, (s, b) in zip(sizes, (n, n, 1), pairs, strict=True)
        ]
    )
    limit = (standard if which == "standard" else pytorch)(net, (n, n), 3).kernels(X)
    found = [six_kernels(network, X, rng.standard_normal(network.size), rates) for _ in range(trials)]
    for name in KERNEL_NAMES:
        values = np.array([one[name] for one in found])
        mean, error = values.mean(axis=0), values.std(axis=0) / np.sqrt(trials)
        # the bias of this width, about 1/n of the largest entry, is not removed here
        allowed = 4 * error + 0.2 * np.abs(getattr(limit, name)).max()
        assert (np.abs(mean - getattr(limit, name)) < allowed).all(), (name, mean, getattr(limit, name))
    if which == "standard":
        np.testing.assert_allclose(limit.theta, standard_theta(net, X, (n, n)), rtol=1e-13)


@pytest.mark.parametrize(
    ("build", "dps"),
    [
        (residual, None),
        (normalised, None),
        (normalised, 20),
        pytest.param(residual, 20, marks=pytest.mark.long),
    ],
)
def test_two_sets_are_a_block_of_their_union(build, dps):
    net, points = LIMITS[build], np.random.default_rng(2).normal(size=(5, 3))
    rows, columns = points[:2], points[2:] if dps is None else points[2:3]
    union = net.kernels(np.concatenate([rows, columns]), dps=dps)
    for name, block in net.kernels(rows, columns, dps=dps).items():
        scale = max(float(abs(value)) for value in block.ravel())
        error = np.abs((block - union[name][:2, 2:]).astype(float))
        assert error.max() < (1e-12 if dps is None else 1e-19) * scale, name


@pytest.mark.parametrize("dps", [None, 20])
def test_a_point_without_variance_before_layernorm_is_refused_in_either_set(dps):
    net = kc.Sequential(Dense(W, 0.0), LayerNorm(), "tanh", Dense(W, B))
    for sets in ((X, 0 * X), (0 * X, X), (np.concatenate([X, 0 * X]),)):
        with pytest.raises(InputError, match=r"a variance above 0, got a variance of 0.*; beta > 0 before LayerNorm"):
            net.kernels(*sets, dps=dps)


@pytest.mark.parametrize("dps", [None, 20])
def test_rates_of_one_layer(dps):
    """Θ = r_w σ_w² x·x/n_0 + r_b β², and Σ has no rates."""
    K = kc.Sequential(Dense(W, B, weight_rate=3.0, bias_gradient=0.5)).kernels([[1.0, 2.0]], dps=dps)
    np.testing.assert_allclose(
        [float(K.sigma[0, 0]), float(K.theta[0, 0])], [1.44 * 2.5 + 0.16, 3 * 1.44 * 2.5 + 0.5], rtol=1e-15
    )


@pytest.mark.parametrize("one_norm", [False, True])
def test_layernorm_before_the_first_nonlinearity_in_gram_matrices(one_norm):
    """Gram matrices of many points, two of them equal, beside the same recursion in 20 digits."""
    points = np.random.default_rng(1).normal(size=(40, 5))
    points[7] = points[3]
    if one_norm:
        points = kc.datasets.rescale(points, "sphere")
    net = LIMITS[normalised]
    K = net.kernels(points)
    some = [0, 3, 7]
    wanted = net.kernels(points[some], dps=20)
    for name in KERNEL_NAMES:
        exact = np.array(getattr(wanted, name).tolist(), dtype=float)
        np.testing.assert_allclose(getattr(K, name)[np.ix_(some, some)], exact, rtol=1e-10, atol=1e-11, err_msg=name)
