"""Packed symmetric blocks beside whole ones."""

import numpy as np
import pytest

from kernelcalc.training.packed import folded, largest_eigenvalues, overlaps, packed, side, unpacked


@pytest.mark.parametrize("c", [1, 2, 5, 10])
def test_unpacking_undoes_packing(c):
    blocks = np.random.default_rng(c).normal(size=(3, 4, c, c))
    blocks += blocks.swapaxes(-1, -2)
    entries = packed(blocks)
    assert entries.shape == (3, 4, c * (c + 1) // 2)
    assert side(entries.shape[-1]) == c
    np.testing.assert_array_equal(unpacked(entries), blocks)


@pytest.mark.parametrize("n", [1, 6, 64, 131])
def test_overlaps_against_a_double_sum(n):
    rng = np.random.default_rng(1)
    blocks, weights = rng.normal(size=(2, n, 3, 3)), rng.normal(size=(n, n))
    blocks += blocks.swapaxes(-1, -2)
    weights += weights.T
    expected = [np.sum(weights * np.trace(b[:, None] @ b, axis1=2, axis2=3)) for b in blocks]
    for entries in (packed(blocks), np.asfortranarray(packed(blocks))):
        found = overlaps(entries, folded(weights))
        np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("c", [2, 5, 10])
def test_largest_eigenvalues_are_bounded_and_met_where_the_others_are_equal(c):
    rng = np.random.default_rng(c)
    blocks = rng.normal(size=(50, c, c))
    blocks += blocks.swapaxes(-1, -2)
    assert (largest_eigenvalues(packed(blocks)) >= np.linalg.eigvalsh(blocks)[:, -1] * (1 - 1e-14)).all()
    for values in ([3.0] + [1.0] * (c - 1), [2.0] * c, [0.0] * c):
        vectors = np.linalg.qr(rng.normal(size=(c, c)))[0]
        found = largest_eigenvalues(packed((vectors * values) @ vectors.T))
        assert values[0] * (1 - 1e-15) <= found <= values[0] * (1 + 1e-6)
