"""The digits that come with the package."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernelcalc import datasets
from kernelcalc.errors import InputError, UnknownNameError


def test_digits_on_the_sphere_and_raw() -> None:
    x, labels = datasets.mnist14()
    assert x.shape == (256, 196)
    assert x.dtype == np.float64
    assert labels.shape == (256,)
    assert set(labels) == set(range(10))
    np.testing.assert_allclose([math.fsum(v * v for v in row) for row in x], 196.0, rtol=1e-14)
    raw, again = datasets.mnist14(256, scale="raw")
    np.testing.assert_array_equal(labels, again)
    assert raw.min() == 0.0
    assert raw.max() == 1.0
    np.testing.assert_array_equal(raw * 255, np.rint(raw * 255))
    np.testing.assert_allclose(x, raw * np.sqrt(196 / np.sum(raw**2, axis=1, keepdims=True)), rtol=1e-13)


def test_digits_are_all_different_and_look_like_digits() -> None:
    x, labels = datasets.mnist14(scale="raw")
    assert len(np.unique(x, axis=0)) == 256
    images = x.reshape(-1, 14, 14)
    # The mean zero has a hole where the mean one has its stroke.
    assert images[labels == 1].mean(axis=0)[7, 7] > 2 * images[labels == 0].mean(axis=0)[7, 7]


def test_first_n_digits() -> None:
    x, labels = datasets.mnist14(5)
    everything, all_labels = datasets.mnist14()
    np.testing.assert_array_equal(x, everything[:5])
    np.testing.assert_array_equal(labels, all_labels[:5])


@pytest.mark.parametrize("n", [0, 257, -1, 2.0, "3", True])
def test_bad_number_of_digits(n: object) -> None:
    with pytest.raises(InputError, match="from 1 to 256"):
        datasets.mnist14(n)  # type: ignore[arg-type]


def test_unknown_scale_suggests() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sphere'"):
        datasets.mnist14(scale="spere")


def test_digits_of_28_pixels() -> None:
    x, labels = datasets.mnist28()
    assert x.shape == (2000, 784)
    assert labels.shape == (2000,)
    assert labels.dtype == np.int64
    np.testing.assert_allclose([math.fsum(v * v for v in row) for row in x[::40]], 784.0, rtol=1e-14)
    raw, few = datasets.mnist28(300, scale="raw")
    np.testing.assert_array_equal(few, labels[:300])
    np.testing.assert_array_equal(raw * 255, np.rint(raw * 255))
    np.testing.assert_allclose(
        x[:300] / raw.max(), raw * np.sqrt(784 / np.sum(raw**2, axis=1, keepdims=True)), atol=1e-13
    )
    # no class is rare: a fair sample of 2000 has 200 ± 13 of each
    assert np.abs(np.bincount(labels) - 200).max() < 40


def test_both_sets_of_digits_agree_where_they_share_images() -> None:
    small, small_labels = datasets.mnist14(scale="raw")
    large, large_labels = datasets.mnist28(scale="raw")
    pooled = np.rint(np.rint(255 * large).reshape(-1, 14, 2, 14, 2).sum(axis=(2, 4)) / 4).reshape(-1, 196)
    place = {row.tobytes(): label for row, label in zip(pooled.astype(np.uint8), large_labels, strict=True)}
    rows = [row.tobytes() for row in np.rint(255 * small).astype(np.uint8)]
    shared = [(place[row], label) for row, label in zip(rows, small_labels, strict=True) if row in place]
    assert len(shared) > 30
    assert all(theirs == ours for theirs, ours in shared)


@pytest.mark.parametrize("n", [0, 2001, -1, 2.0])
def test_bad_number_of_larger_digits(n: object) -> None:
    with pytest.raises(InputError, match="from 1 to 2000"):
        datasets.mnist28(n)  # type: ignore[arg-type]
