"""The Gaussian start of a network of two points whose kernels were chosen, and what is said of others."""

from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.errors import CovarianceError, InputError, ShapeError
from kernelcalc.training.start import along_points, covariance_root, initial_covariance, initial_draws

SIGMA = np.array([[2.0, 0.5], [0.5, 1.0]])
# row: point of G, column: point of Y
PHI = np.array([[0.3, 0.1], [-0.2, 0.4]])
XI = np.array([[1.5, 0.2], [0.2, 3.0]])
KERNELS = SimpleNamespace(sigma=SIGMA, phi=PHI, xi=XI)
WHOLE = [[2.0, 0.5, 0.3, -0.2], [0.5, 1.0, 0.1, 0.4], [0.3, 0.1, 1.5, 0.2], [-0.2, 0.4, 0.2, 3.0]]


def test_the_covariance_of_both():
    assert initial_covariance(KERNELS).tolist() == WHOLE
    with pytest.raises(ShapeError, match="phi"):
        initial_covariance(SimpleNamespace(sigma=SIGMA, phi=np.ones((3, 3)), xi=XI))


def test_draws_of_chosen_kernels():
    """Moments of 40,000 draws, beyond five deviations of what they are of; outputs are independent; the seed is 0."""
    y, g = initial_draws(KERNELS, 2, 40_000)
    assert y.shape == g.shape == (40_000, 2, 2)
    both = np.concatenate([y, g], axis=1)
    flat = both.transpose(0, 2, 1).reshape(40_000, 8)
    np.testing.assert_allclose(flat.T @ flat / 40_000, np.kron(np.eye(2), WHOLE), atol=0.08)
    assert np.array_equal(y, initial_draws(KERNELS, 2, 40_000, rng=0)[0])
    assert not np.array_equal(y, initial_draws(KERNELS, 2, 40_000, rng=1)[0])
    assert initial_draws(KERNELS, 1, 2)[0].shape == (2, 2, 1)
    with pytest.raises(InputError, match="samples"):
        initial_draws(KERNELS, 1, 1)


def test_roots_of_all_sizes_and_without_a_variance():
    # the second has no variance, the third is smaller than the first by 1e-9
    root = np.array([1e5, 0.0, 1e-4])[:, None] * np.array([[1.0, 0.0], [0.0, 0.0], [0.6, 0.8]])
    found = covariance_root(root @ root.T)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found @ found.T, root @ root.T, rtol=1e-14, atol=0)
    assert not found[1].any()


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_negative_beyond_the_accuracy_of_the_kernels(scale):
    """Of [[1, 1 + δ], [1 + δ, 1]] the eigenvalue −δ; for two numbers 2e-9 is allowed."""
    units = scale * np.array([[1.0, 1e3], [1e3, 1e6]])
    found = covariance_root(units * [[1, 1 + 1.5e-9], [1 + 1.5e-9, 1]])
    np.testing.assert_allclose(found @ found.T, units, rtol=2e-9)
    expected = (
        "expected kernels whose [[sigma, phi.T], [phi, xi]] is positive semidefinite, got the eigenvalue -3e-09 of its "
        "correlation matrix; all kernels must come from one network and one data set; duplicate points are fine"
    )
    with pytest.raises(CovarianceError) as caught:
        covariance_root(units * [[1, 1 + 3e-9], [1 + 3e-9, 1]])
    assert str(caught.value) == expected


def test_a_matrix_along_the_points():
    """Each of a batch times the matrix, in memory by outputs; so are draws."""
    matrix, batch = np.arange(6.0).reshape(2, 3), np.random.default_rng(0).normal(size=(4, 3, 5))
    found = along_points(matrix, batch)
    np.testing.assert_allclose(found, np.stack([matrix @ one for one in batch]), rtol=1e-14)
    assert np.moveaxis(found, -1, 0).flags.c_contiguous
    for one in initial_draws(KERNELS, 3, 5):
        assert np.moveaxis(one, -1, 0).flags.c_contiguous
