"""Spectra against dense eigenvalues."""

import numpy as np
import pytest
from conftest import make_problem

from kernelcalc.errors import InputError
from kernelcalc.finite.spectrum import eigenvalues, extreme_eigenvalues, spectral_density


@pytest.fixture
def operator():
    fin, X, Y, loss = make_problem("two hidden, softmax")
    return fin.curvature(X, Y, loss).h


def test_ends_by_lanczos(operator):
    dense = eigenvalues(operator)[::-1]
    np.testing.assert_allclose(extreme_eigenvalues(operator, 4), dense[:4], rtol=1e-10)
    np.testing.assert_allclose(extreme_eigenvalues(operator, 3, which="SA"), dense[-3:], rtol=1e-10)
    values, vectors = extreme_eigenvalues(operator, 3, vectors=True)
    np.testing.assert_allclose(operator @ vectors, vectors * values, atol=1e-10)


def test_quadrature_of_all_steps_is_exact_for_each_probe(operator):
    dense = operator.dense()
    density = spectral_density(operator, steps=operator.shape[0], probes=3, rng=1)
    generator = np.random.default_rng(1)
    for i in range(3):
        v = generator.choice(np.array([-1.0, 1.0]), size=operator.shape[0]) / np.sqrt(operator.shape[0])
        assert density.weights[i].sum() == pytest.approx(1, abs=1e-12)
        for k in range(1, 9):
            expected = v @ np.linalg.matrix_power(dense, k) @ v
            assert (density.weights[i] * density.nodes[i] ** k).sum() == pytest.approx(expected, rel=1e-9)


def test_few_steps_are_exact_for_low_moments(operator):
    dense = operator.dense()
    density = spectral_density(operator, steps=3, probes=2, rng=1)
    generator = np.random.default_rng(1)
    for i in range(2):
        v = generator.choice(np.array([-1.0, 1.0]), size=operator.shape[0]) / np.sqrt(operator.shape[0])
        for k in range(6):
            expected = v @ np.linalg.matrix_power(dense, k) @ v
            assert (density.weights[i] * density.nodes[i] ** k).sum() == pytest.approx(expected, rel=1e-11)


def test_moments_and_density(operator):
    dense = eigenvalues(operator)
    density = spectral_density(operator, steps=40, probes=200, rng=0)
    for k in (1, 2, 3):
        value, error = density.moment(k)
        assert abs(value - (dense**k).mean()) < 4 * error
    grid = np.linspace(dense[0] - 1, dense[-1] + 1, 400)
    smooth = density.density(grid, 0.05)
    exact = np.exp(-0.5 * ((grid[:, None] - dense) / 0.05) ** 2).mean(axis=1) / (0.05 * np.sqrt(2 * np.pi))
    assert np.trapezoid(smooth, grid) == pytest.approx(1, abs=1e-9)
    assert np.trapezoid(np.abs(smooth - exact), grid) < 0.05


def test_bad_numbers(operator):
    with pytest.raises(InputError, match="P - 1"):
        extreme_eigenvalues(operator, operator.shape[0])
    with pytest.raises(InputError, match="steps"):
        spectral_density(operator, steps=0)
    with pytest.raises(InputError, match="width"):
        spectral_density(operator, steps=2, probes=1).density([0.0], 0.0)
