"""Traces from leading eigenvectors of Θ beside the assembled matrix: the bound against the true error."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.training.leading import FEWEST, LeadingTraces
from kernelcalc.training.losses import SoftmaxCrossEntropy
from kernelcalc.training.weighted import bounded_moments

N, C, S = FEWEST + 2, 4, 3


def theta_of(decay, seed=0):
    """Random eigenvectors, eigenvalues that fall like a power."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(N, N)))[0]
    return (vectors * np.arange(1.0, N + 1) ** -decay) @ vectors.T


def hessians(scale, seed=1):
    y = scale * np.random.default_rng(seed).normal(size=(S, N, C))
    return SoftmaxCrossEntropy().curvature(y, np.zeros((N, C))) / N


def literal(theta, blocks, k):
    """Tr M^k of the assembled M, all S of them."""
    full = np.array([np.einsum("iab,ij->iajb", b, theta).reshape(N * C, N * C) for b in blocks])
    return np.trace(np.linalg.matrix_power(full, k), axis1=1, axis2=2)


@pytest.mark.parametrize("kept", [1, 3, 8])
@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("decay", [1.5, 3.0])
def test_true_traces_are_within_the_bounds_and_the_bounds_within_the_tolerance(decay, scale, kept, monkeypatch):
    monkeypatch.setattr("kernelcalc.training.leading._KEPT_COLUMNS", kept)
    theta, blocks, rtol = theta_of(decay), hessians(scale), 1e-2
    found, bounds = bounded_moments(theta, blocks, 4, LeadingTraces(theta, rtol), has_blocks=True)
    assert (bounds[:, :2] == 0).all()
    assert (bounds[:, 2:] > 0).any()
    for k in range(1, 5):
        true = literal(theta, blocks, k)
        missing, slack = true - found[:, k - 1], bounds[:, k - 1]
        assert (missing >= -1e-12 * true).all()
        assert (missing <= slack + 1e-12 * true).all()
        assert (slack <= rtol * true).all()


def test_bounds_hold_where_most_columns_are_left_out():
    theta, blocks = theta_of(1.0), hessians(1.0)
    for rtol in (0.5, 0.2):
        found, bounds = bounded_moments(theta, blocks, 4, LeadingTraces(theta, rtol), has_blocks=True)
        missing = np.stack([literal(theta, blocks, k) for k in (3, 4)], axis=1) - found[:, 2:]
        assert (missing > 0).all()
        assert (missing <= bounds[:, 2:]).all()
        assert (bounds[:, 2:] <= rtol * found[:, 2:]).all()


@pytest.mark.parametrize("rtol", [1e-2, 5e-5])
def test_batches_that_need_more_and_more(rtol):
    theta = theta_of(2.0)
    leading = LeadingTraces(theta, rtol)
    for scale in (0.0, 3.0, 60.0, 1.0):
        blocks = hessians(scale, seed=7)
        found, bounds = bounded_moments(theta, blocks, 4, leading, has_blocks=True)
        for k in (3, 4):
            missing = literal(theta, blocks, k) - found[:, k - 1]
            assert (missing >= -1e-12 * found[:, k - 1]).all()
            assert (missing <= bounds[:, k - 1] + 1e-12 * found[:, k - 1]).all()
            assert (bounds[:, k - 1] <= rtol * found[:, k - 1]).all()


def test_what_no_rank_can_do_is_exact():
    flat = theta_of(0.05)
    found, bounds = bounded_moments(flat, hessians(1.0), 4, LeadingTraces(flat, 1e-3), has_blocks=True)
    np.testing.assert_allclose(found[:, 3], literal(flat, hessians(1.0), 4), rtol=1e-12)
    assert not bounds.any()


@pytest.mark.parametrize("why", ["an eigenvalue below zero", "a block below zero", "tolerance 0"])
def test_where_bounds_would_mean_nothing_traces_are_exact(why):
    theta, blocks = theta_of(3.0), hessians(1.0)
    if why == "an eigenvalue below zero":
        theta = theta - 1e-3 * np.eye(N)
    if why == "a block below zero":
        blocks = blocks - 1e-3 * np.eye(C)
    leading = LeadingTraces(theta, 0.0 if why == "tolerance 0" else 0.5)
    found, bounds = bounded_moments(theta, blocks, 4, leading, has_blocks=True)
    np.testing.assert_allclose(found[:, 2], literal(theta, blocks, 3), rtol=1e-10)
    assert not bounds.any()


def test_one_hessian_alone():
    theta, blocks = theta_of(3.0), hessians(1.0)
    one, bound = bounded_moments(theta, blocks[:1], 4, LeadingTraces(theta, 1e-2), has_blocks=True)
    missing = literal(theta, blocks[:1], 4) - one[:, 3]
    assert 0 < missing[0] <= bound[0, 3]


def test_threads_change_nothing():
    theta, blocks = theta_of(2.0), hessians(3.0)
    alone = bounded_moments(theta, blocks, 4, LeadingTraces(theta, 1e-3), has_blocks=True)
    with ThreadPoolExecutor(3) as pool:
        threaded = bounded_moments(theta, blocks, 4, LeadingTraces(theta, 1e-3, pool.map), has_blocks=True)
    np.testing.assert_array_equal(alone, threaded)


def test_a_trajectory_carries_the_bound_of_its_means():
    theta = theta_of(3.0)
    kernels = SimpleNamespace(sigma=theta, theta=theta, phi=0 * theta, lam=0 * theta, upsilon=theta, xi=0 * theta)
    labels, times = np.arange(N) % C, [0.0, 100.0]
    exact = kc.hessian_moments(kernels, labels, times, "softmax", samples=3, trace_rtol=0)
    quick = kc.hessian_moments(kernels, labels, times, "softmax", samples=3, trace_rtol=1e-2)
    assert not exact.trace_i_bound.any()
    missing = exact.trace_i - quick.trace_i
    assert (missing[2:] > 0).all()
    assert (missing <= quick.trace_i_bound + 1e-12 * exact.trace_i).all()
    with pytest.raises(InputError, match="below 1"):
        kc.hessian_moments(kernels, labels, times, "softmax", trace_rtol=1.0)


def test_float32_is_for_tolerances_it_keeps():
    theta, blocks = theta_of(3.0), hessians(1.0)
    loose, fine = (
        bounded_moments(theta, blocks, 4, LeadingTraces(theta, rtol), has_blocks=True) for rtol in (1e-3, 9e-5)
    )
    assert (LeadingTraces(theta, 1e-3).dtype, LeadingTraces(theta, 9e-5).dtype) == (np.float32, np.float64)
    for found, bounds in (loose, fine):
        missing = np.stack([literal(theta, blocks, k) for k in (3, 4)], axis=1) - found[:, 2:]
        assert (missing >= 0).all()
        assert (missing <= bounds[:, 2:]).all()
    # a fifth of the slack is what rounding was
    assert (loose[1][:, 2:] > 64 * np.finfo(np.float32).eps * loose[0][:, 2:]).all()
