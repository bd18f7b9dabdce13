import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kernelcalc.errors import ShapeError
from kernelcalc.training import weighted
from kernelcalc.training.losses import SoftmaxCrossEntropy, curvature_sqrt
from kernelcalc.training.weighted import (
    _of_couplings,
    _without_null_direction,
    symmetric_weighted_kernel,
    weighted_moments,
)

N, C, S = 37, 4, 3


def gram(rng, n=N):
    z = rng.normal(size=(n, n + 5))
    return z @ z.T / n


def literal(theta, h, kmax):
    """Tr M^k of the assembled nonsymmetric M = 𝓗C (Θ ⊗ Id)."""
    n, c = h.shape[:2]
    blocks = h if h.ndim == 3 else np.array([np.diag(v) for v in h])
    m = np.einsum("iab,ij->iajb", blocks, theta).reshape(n * c, n * c)
    return np.array([np.trace(np.linalg.matrix_power(m, k)) for k in range(1, kmax + 1)])


@pytest.mark.parametrize("kmax", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", ["diagonal", "softmax", "saturated softmax", "general blocks"])
def test_moments_against_the_assembled_matrix(kind, kmax):
    rng = np.random.default_rng(2)
    theta = gram(rng)
    if kind == "diagonal":
        h = rng.random((S, N, C))
    elif kind == "general blocks":
        z = rng.normal(size=(S, N, C, C))
        h = z @ np.swapaxes(z, -1, -2)
    else:
        y = rng.normal(size=(S, N, C)) * (30 if "saturated" in kind else 2)
        h = SoftmaxCrossEntropy().curvature(y, np.zeros((N, C)))
    moments = weighted_moments(theta, h, kmax, has_blocks=kind != "diagonal")
    np.testing.assert_allclose(moments, [literal(theta, x, kmax) for x in h], rtol=1e-11)


def test_two_classes_and_equal_weights_take_the_short_way():
    rng = np.random.default_rng(3)
    theta = gram(rng)
    two = SoftmaxCrossEntropy().curvature(rng.normal(size=(S, N, 2)), np.zeros((N, 2)))
    np.testing.assert_allclose(
        weighted_moments(theta, two, 4, has_blocks=True), [literal(theta, x, 4) for x in two], rtol=1e-12
    )
    equal = np.full((S, N, 2), 0.3)
    np.testing.assert_allclose(weighted_moments(theta, equal, 3), [literal(theta, x, 3) for x in equal], rtol=1e-12)


def test_threads_change_nothing():
    rng = np.random.default_rng(4)
    theta = gram(rng)
    h = SoftmaxCrossEntropy().curvature(rng.normal(size=(S, N, C)), np.zeros((N, C)))
    with ThreadPoolExecutor(3) as pool:
        threaded = weighted_moments(theta, h, 4, has_blocks=True, each=pool.map)
    np.testing.assert_array_equal(threaded, weighted_moments(theta, h, 4, has_blocks=True))


def test_narrow_tiles_give_the_same_sums(monkeypatch):
    rng = np.random.default_rng(6)
    theta = gram(rng)
    h = SoftmaxCrossEntropy().curvature(rng.normal(size=(S, N, C)), np.zeros((N, C)))
    whole = weighted_moments(theta, h, 4, has_blocks=True)
    monkeypatch.setattr("kernelcalc.training.weighted._ENTRIES", 5 * 16 * N)
    monkeypatch.setattr("kernelcalc.training.weighted._HESSIANS", 2)
    np.testing.assert_allclose(weighted_moments(theta, h, 4, has_blocks=True), whole, rtol=1e-13)


def test_symmetric_form_has_the_moments_as_power_sums():
    rng = np.random.default_rng(5)
    theta = gram(rng)
    h = SoftmaxCrossEntropy().curvature(rng.normal(size=(N, C)), np.zeros((N, C)))
    values = np.linalg.eigvalsh(symmetric_weighted_kernel(theta, curvature_sqrt(h, True), has_blocks=True))
    assert values.min() > -1e-12
    np.testing.assert_allclose([np.sum(values**k) for k in (1, 2, 3)], literal(theta, h, 3), rtol=1e-12)
    weights = rng.random((N, 2))
    values = np.linalg.eigvalsh(symmetric_weighted_kernel(theta, np.sqrt(weights)))
    np.testing.assert_allclose([np.sum(values**k) for k in (1, 2, 3)], literal(theta, weights, 3), rtol=1e-12)


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"hessians of 3 points, got shape \(1, 4, 1\)"):
        weighted_moments(np.eye(3), np.ones((1, 4, 1)))
    with pytest.raises(ShapeError, match=r"got shape \(1, 3, 1\)"):
        weighted_moments(np.eye(3), np.ones((1, 3, 1)), has_blocks=True)


def test_a_faint_block_that_keeps_its_null_direction_counts():
    """Beside one 10²⁵ times as large; a row of its own decides."""
    rng = np.random.default_rng(7)
    theta = gram(rng, 2)
    blocks = SoftmaxCrossEntropy().curvature(rng.normal(size=(1, 2, C)), np.zeros((2, C)))
    assert weighted._without_null_direction(blocks)[0].shape == (1, 2, (C - 1) * C // 2)
    blocks = np.stack([blocks[:, 0], 1e-25 * np.eye(C)[None]], axis=1)
    entries, sizes = weighted._without_null_direction(blocks)
    assert entries.shape == (1, 2, C * (C + 1) // 2)
    assert sizes[0, 1] == 1e-25
    assert sizes[0, 0] >= np.linalg.eigvalsh(blocks[0, 0])[-1]
    alone = weighted_moments(theta[1:, 1:], blocks[:, 1:], 3, has_blocks=True)
    np.testing.assert_allclose(alone, [[C * (1e-25 * theta[1, 1]) ** k for k in (1, 2, 3)]], rtol=1e-12)


def test_hessians_in_parts_of_which_one_keeps_its_null_direction(monkeypatch):
    rng = np.random.default_rng(7)
    theta, n = gram(rng, 5), 5
    blocks = SoftmaxCrossEntropy().curvature(rng.normal(size=(3, n, C)), np.zeros((n, C))).copy()
    blocks[1, 2] += 0.1 * np.eye(C)
    for cached in (2**17, 1):
        monkeypatch.setattr(weighted, "_CACHED", cached)
        found = weighted_moments(theta, blocks, has_blocks=True)
        np.testing.assert_allclose(found, [literal(theta, h, 4) for h in blocks], rtol=1e-12)


def test_many_points_to_rounding():
    """No leading eigenvectors take the place of the others."""
    n = 130
    theta = (np.arange(1.0, n + 1) ** -3.0)[:, None] * np.eye(n) + 1e-3
    h = SoftmaxCrossEntropy().curvature(np.random.default_rng(8).normal(size=(1, n, 3)), np.zeros((n, 3)))
    found = weighted_moments(theta, h, has_blocks=True)
    assert found.shape == (1, 4)
    np.testing.assert_allclose(found[0], literal(theta, h[0], 4), rtol=1e-12)


@pytest.mark.parametrize("c", [2, 3, 10])
def test_pairs_of_outputs_are_packed_as_their_blocks_are(c):
    weights = np.random.default_rng(5).random((3, 7, c * (c - 1) // 2)) ** 4
    blocks = np.zeros((3, 7, c, c))
    for which, (a, b) in enumerate(itertools.combinations(range(c), 2)):
        between = np.eye(c)[a] - np.eye(c)[b]
        blocks += weights[..., which, None, None] * np.outer(between, between)
    for found, wanted in zip(_of_couplings(weights, c), _without_null_direction(blocks), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
