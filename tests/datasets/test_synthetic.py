"""Clusters, blobs, random patterns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernelcalc import datasets
from kernelcalc.errors import InputError


def test_clusters_are_normalised_together_and_as_far_apart_as_their_centres() -> None:
    x, labels = datasets.gaussian_clusters(4000, 4, 50, spread=0.5, rng=3)
    assert x.shape == (4000, 50)
    assert abs(x.mean()) < 1e-12
    assert x.std() == pytest.approx(1)
    assert np.bincount(labels).tolist() == [1000] * 4
    inside = np.mean([x[labels == c].var(axis=0).mean() for c in range(4)])
    centres = np.array([x[labels == c].mean(axis=0) for c in range(4)])
    # 4 × 50 normal numbers: their variance is 1 to a relative standard deviation of 0.1
    assert inside / (centres - centres.mean()).var() == pytest.approx(0.25, rel=0.35)
    # the same centres, whatever the spread; the noise inside is isotropic
    assert np.linalg.norm(np.cov(x[labels == 0].T) / inside - np.eye(50), 2) < 4 * np.sqrt(50 / 1000)


def test_clusters_repeat_with_their_seed() -> None:
    one, other = (datasets.gaussian_clusters(6, 2, 3, rng=seed)[0] for seed in (1, 2))
    np.testing.assert_array_equal(one, datasets.gaussian_clusters(6, 2, 3, rng=1)[0])
    assert (one != other).all()


@pytest.mark.parametrize(
    "options",
    [{"n": 2, "clusters": 3}, {"n": 0}, {"n": 5, "n_in": 0}, {"n": 5, "spread": 0.0}, {"n": 5, "spread": math.nan}],
)
def test_bad_clusters(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        datasets.gaussian_clusters(**options)  # type: ignore[arg-type]


def test_two_blobs_are_where_the_paper_has_them() -> None:
    x, labels = datasets.two_blobs(2000, std=0.3, rng=0)
    for label, centre in ((0, 1.0), (1, -1.0)):
        own = x[labels == label]
        np.testing.assert_allclose(own.mean(axis=0), centre, atol=4 * 0.3 / np.sqrt(1000))
        np.testing.assert_allclose(own.std(axis=0), 0.3, rtol=4 / np.sqrt(2000))
    # one noise, scaled
    wide = datasets.two_blobs(2000, std=0.6, rng=0)[0]
    centres = 1.0 - 2.0 * labels[:, None]
    np.testing.assert_allclose(wide - centres, 2 * (x - centres), atol=1e-12)
    with pytest.raises(InputError, match="std"):
        datasets.two_blobs(4, std=-1.0)


def test_random_patterns_know_nothing_of_their_labels() -> None:
    x, labels = datasets.random_patterns(5000, 20, 4, rng=1)
    np.testing.assert_allclose((x**2).sum(axis=1), 20)
    assert set(labels.tolist()) == {0, 1, 2, 3}
    means = np.array([x[labels == c].mean(axis=0) for c in range(4)])
    assert np.abs(means).max() < 4.5 / np.sqrt(1000)
    raw = datasets.random_patterns(5000, 20, 4, scale="raw", rng=1)[0]
    assert raw.var() == pytest.approx(1, rel=4 * np.sqrt(2 / raw.size))
    np.testing.assert_allclose(datasets.rescale(raw, "sphere"), x)
