"""Traces from leading eigenvectors of Θ beside the assembled matrix: the bound against the true error."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.training import leading
from kernelcalc.training.leading import FEWEST, LeadingTraces, norm_bound
from kernelcalc.training.losses import SoftmaxCrossEntropy
from kernelcalc.training.packed import packed
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


@pytest.mark.parametrize(("exact", "kept"), [(False, 1), (True, 1), (False, 3), (True, 8)])
@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("decay", [1.5, 3.0])
def test_true_traces_are_within_the_bounds_and_the_bounds_within_the_tolerance(decay, scale, exact, kept, monkeypatch):
    levels = [(exact, rank, kept * rank) for rank in (*range(6, 16), 20, 28, 48)]
    monkeypatch.setattr("kernelcalc.training.leading._LEVELS", levels)
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


def test_the_same_hessians_again_give_the_same():
    """Each Hessian by the rank it ended with."""
    theta, leading = theta_of(1.2), LeadingTraces(theta_of(1.2), 0.03)
    blocks = np.concatenate([hessians(scale, seed=7) for scale in (1.0, 30.0)])
    first, bounds = bounded_moments(theta, blocks, 4, leading, has_blocks=True)
    assert len(set(leading._levels)) > 1
    again, bounds_again = bounded_moments(theta, blocks, 4, leading, has_blocks=True)
    # products in float32, of other Hessians together
    np.testing.assert_allclose(again, first, rtol=1e-6)
    np.testing.assert_allclose(bounds_again, bounds, rtol=1e-5)
    seconds = leading.second_traces(packed(blocks))
    np.testing.assert_allclose(seconds, literal(theta, blocks, 2), rtol=1e-12)


def test_what_no_rank_can_do_is_exact():
    flat = theta_of(0.05)
    assert not LeadingTraces(flat, 1e-3).is_likely()
    assert not LeadingTraces(flat[:9, :9], 1e-3).is_likely()
    assert LeadingTraces(theta_of(2.0), 1e-3).is_likely()
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


def parts_of(theta, blocks, rank, kept, sizes):
    """A, P, τ, |Z|_F² and the bound of |Z| by G: of the assembled M = Lᵀ 𝓗C L in its basis of eigenvectors of Θ."""
    values, vectors = np.linalg.eigh(theta)
    root = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]
    m = np.einsum("ie,iab,if->eafb", root, blocks, root, optimize=True).reshape(N * C, N * C)
    r, k = rank * C, kept * C
    a, x = m[:r, :r], m[:r, r:]
    p, rest = x[:, : k - r] @ x[:, : k - r].T, x[:, k - r :]
    z2 = np.sum(m**2) - np.sum(a**2) - 2 * np.sum(x**2)
    g = np.linalg.eigvalsh(root[:, rank:kept].T * sizes @ root[:, rank:kept])
    return a, p, np.sum(rest**2), z2, np.sum(g**16) ** (1 / 16) + values[-kept - 1] * sizes.max()


@pytest.mark.parametrize("decay", [1.2, 2.5])
def test_traces_and_bounds_are_those_of_the_formula(decay):
    theta, blocks, rank = theta_of(decay), hessians(2.0), 6
    sizes = np.abs(blocks).sum(axis=-1).max(axis=-1)
    second = literal(theta, blocks, 2)
    found, bounds = LeadingTraces(theta, 0.9).traces(packed(blocks), sizes, second)
    rounding = 64 * np.finfo(np.float32).eps
    for s in range(S):
        a, p, tau, z2, norm = parts_of(theta, blocks[s], rank, 5 * rank, sizes[s])
        low = [np.vdot(a, a @ a) + 3 * np.vdot(a, p), np.sum((a @ a) ** 2) + 4 * np.vdot(a @ a, p) + 2 * np.sum(p**2)]
        np.testing.assert_allclose(found[s], np.array(low) * (1 - rounding), rtol=2e-6)
        # as much as float32 may leave of Tr M² counts as left out
        tau, z2 = tau + rounding * second[s], max(z2 - 2 * rounding * second[s], 0) + rounding * second[s]
        f, size_a, size_p = np.sqrt(z2), np.sum(np.linalg.eigvalsh(a) ** 8) ** 0.125, np.linalg.norm(p)
        z, q, size_q = min(f, norm), np.trace(p) + tau, size_p + tau
        third = 3 * size_a * tau + 3 * min(z * q, f * size_q) + z * z2
        fourth = 4 * (size_a**2 + size_p) * tau + 2 * tau**2
        mixed = np.sqrt(np.trace(a @ p @ a @ p)) + size_a * tau
        fourth += 4 * min(z * (np.vdot(a, p) + size_a * tau), f * mixed) + 4 * min(z**2 * q, z2 * size_q) + z**2 * z2
        expected = np.array([third, fourth]) + 2 * rounding * np.array(low)
        np.testing.assert_allclose(bounds[s], expected, rtol=2e-3)


def test_one_eigenvalue_below_zero_is_enough():
    values, vectors = np.linalg.eigh(theta_of(3.0))
    values[0] = -1e-9
    theta, blocks = (vectors * values) @ vectors.T, hessians(1.0)
    _, bounds = bounded_moments(theta, blocks, 4, LeadingTraces(theta, 0.5), has_blocks=True)
    assert not bounds.any()


@pytest.mark.parametrize("n", [FEWEST - 1, FEWEST])
def test_as_many_points_as_pay(n):
    theta, blocks = theta_of(3.0)[:n, :n], hessians(1.0)[:, :n]
    found, bounds = bounded_moments(theta, blocks, 4, LeadingTraces(theta, 1e-2), has_blocks=True)
    assert bounds.any() == (n == FEWEST)
    full = np.array([np.einsum("iab,ij->iajb", b, theta).reshape(n * C, n * C) for b in blocks])
    true = np.trace(np.linalg.matrix_power(full, 3), axis1=1, axis2=2)
    assert (found[:, 2] <= true * (1 + 1e-12)).all()
    assert (true <= (found + bounds)[:, 2] * (1 + 1e-12)).all()


@pytest.mark.parametrize("seed", range(5))
def test_powers_bound_the_largest_eigenvalue(seed):
    factor = np.random.default_rng(seed).normal(size=(30, 40)) * np.arange(1.0, 41.0) ** -seed
    gram = 1e-30 * factor.T @ factor
    largest = np.linalg.eigvalsh(gram)[-1]
    # 30 eigenvalues: at most 30^(1/16) of the largest
    assert largest * (1 - 1e-12) <= norm_bound(gram) <= 1.24 * largest
    assert norm_bound(0 * gram) == 0


@pytest.mark.parametrize("kept", [1, 8])
@pytest.mark.parametrize(("exact", "rank"), [(False, 6), (False, 20), (True, 5), (True, 19)])
def test_z_is_not_below_the_largest_eigenvalue_of_the_rest(exact, rank, kept, monkeypatch):
    monkeypatch.setattr("kernelcalc.training.leading._LEVELS", [(exact, rank, kept * rank)])
    theta, blocks, traces = theta_of(1.5), hessians(10.0), LeadingTraces(theta_of(1.5), 1e-3)
    bounds = traces._rest_norms(np.linalg.eigvalsh(blocks)[..., -1], traces._columns(0))
    rank += exact
    values, vectors = np.linalg.eigh(theta)
    rest = vectors[:, : N - rank] * np.sqrt(values[: N - rank])
    for block, bound in zip(blocks, bounds, strict=True):
        z = np.einsum("ie,iab,if->eafb", rest, block, rest).reshape(C * (N - rank), -1)
        assert np.linalg.eigvalsh(z)[-1] <= bound
    if kept == 8:
        # what was taken before: the largest block times the largest eigenvalue of what is left of Θ
        assert (bounds < values[N - rank - 1] * np.linalg.eigvalsh(blocks)[..., -1].max(axis=1)).all()


def test_the_first_column_is_exact():
    """The powers of the whole matrix less those of its block without that column."""
    theta, blocks = theta_of(0.7), hessians(3.0)
    values, vectors = np.linalg.eigh(theta)
    v = vectors[:, -1] * np.sqrt(values[-1])
    rest = theta - np.outer(v, v)
    found = leading._of_first(packed(blocks), v, rest)
    second, third, fourth = (literal(theta, blocks, k) - literal(rest, blocks, k) for k in (2, 3, 4))
    np.testing.assert_allclose(found, np.stack([second, third, fourth], axis=1), rtol=1e-12)
