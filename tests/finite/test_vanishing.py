"""Tr S^k for k >= 3 vanishes as the width grows, and how fast; the special case of the ReLU."""

import numpy as np
import pytest
from stand_ins import RELU, SOFTPLUS, TANH, Architecture

import kernelcalc as kc
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.derivatives import forward

# By the counting of clusters (Dyer, Gur-Ari, "Asymptotics of wide networks from Feynman diagrams", 2020): k second
# derivatives of outputs, contracted in a ring, are of the order n^{1 - k/2} for even k; for odd k the mean of the
# square is that of two rings, n^{2·(0) + (2 - 2k)/2}, so that the ring itself is of the order n^{(1-k)/2}.
RATES = {2: 0.0, 3: -1.0, 4: -1.0, 5: -2.0, 6: -2.0}


def problem():
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 3)), rng.standard_normal((4, 1))


def ring_traces(s):
    """Tr S^k for k = 2..6."""
    s2 = s @ s
    s3 = s2 @ s
    return [np.vdot(s, s), np.vdot(s, s2), np.vdot(s2, s2), np.vdot(s2, s3), np.vdot(s3, s3)]


@pytest.mark.parametrize(("depth", "act", "widths"), [(2, TANH, (16, 32, 64)), (3, SOFTPLUS, (5, 10, 20))])
def test_higher_moments_of_s_vanish_at_the_derived_rates(depth, act, widths):
    X, Y = problem()
    net = Architecture(activations=(act,) * (depth - 1))
    trials = 40
    logs, errors = [], []
    for n in widths:
        traces = []
        for seed in range(trials):
            run = forward(FiniteNetwork.random(net, n, 3, rng=[n, seed]), X)
            # ∇C frozen at the targets: it has a limit anyhow, and its own powers would be most of the noise
            split = HessianSplit(run=run, residual=Y, root=np.zeros((len(X), 1, 1)))
            traces.append(ring_traces(split.s.dense()))
        squares = np.square(traces)
        logs.append(0.5 * np.log(squares.mean(axis=0)))
        errors.append(0.5 * squares.std(axis=0, ddof=1) / squares.mean(axis=0) / np.sqrt(trials))
    spread = np.log(widths) - np.mean(np.log(widths))
    slope = spread @ np.array(logs) / (spread @ spread)
    error = np.sqrt((spread**2) @ np.square(errors)) / (spread @ spread)
    # 0.25 for the next order in 1/width at these widths
    assert np.all(np.abs(slope - list(RATES.values())) < 4 * error + 0.2), (slope, error)
    # so that a rate one power off is seen for k <= 4
    assert np.all((3 * error + 0.25)[:3] < 1), (slope, error)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_relu_has_no_second_derivative_almost_everywhere(depth):
    X, Y = problem()
    fin = FiniteNetwork.random(Architecture(activations=(RELU,) * (depth - 1)), 6, 3, rng=1)
    split, moments = fin.curvature(X, Y), fin.hessian_moments(X, Y)
    s = split.s.dense()
    assert moments.trace_s == 0
    np.testing.assert_allclose(moments.trace_s2, (s * s).sum(), rtol=1e-12)
    assert moments.trace_s2 > 0
    np.testing.assert_array_equal(fin.hessian_trace(X), 0)
    # a step of 1e-6 crosses no kink here, so differences of gradients are those of a smooth function
    v = np.random.default_rng(2).standard_normal(fin.n_parameters)
    ahead, back = (fin.with_parameters(fin.parameters + h * v).gradient(X, Y) for h in (1e-6, -1e-6))
    np.testing.assert_allclose((ahead - back) / 2e-6, split.h @ v, rtol=1e-6, atol=1e-7)
    values = np.linalg.eigvalsh(s)
    if depth == 2:
        # the spectrum of a shallow ReLU network's S is symmetric (Pennington and Bahri, 2017)
        np.testing.assert_allclose(values, -values[::-1], atol=1e-12)


def test_the_named_relu_is_the_same_network():
    X, Y = problem()
    named = FiniteNetwork.random(kc.MLP("relu", depth=3, sigma_w=1.3, beta=0.3), 6, 3, rng=1)
    plain = FiniteNetwork.random(Architecture(activations=(RELU,) * 2), 6, 3, rng=1)
    for one, other in (
        (named.hessian(X, Y), plain.hessian(X, Y)),
        (named.hessian_moments(X, Y).trace_h, plain.hessian_moments(X, Y).trace_h),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
