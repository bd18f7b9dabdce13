"""Spectra against dense eigenvalues."""

import numpy as np
import pytest
from conftest import make_problem
from scipy.sparse import diags_array
from scipy.sparse.linalg import aslinearoperator

from kernelcalc.errors import InputError, NotFiniteError, ShapeError, UnknownNameError
from kernelcalc.finite.curvature.spectrum import eigenvalues, extreme_eigenvalues, spectral_density


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
    p = operator.shape[0]
    with pytest.raises(InputError, match=rf"between 1 and P - 1 = {p - 1} eigenvalues, got count={p}$"):
        extreme_eigenvalues(operator, p)
    with pytest.raises(InputError, match="steps"):
        spectral_density(operator, steps=0)
    with pytest.raises(InputError, match="width"):
        spectral_density(operator, steps=2, probes=1).density([0.0], 0.0)
    with pytest.raises(NotFiniteError, match=r"\bgrid\b"):
        spectral_density(operator, steps=2, probes=1).density([np.nan], 1.0)


def test_one_probe_has_no_error():
    value, error = spectral_density(np.diag([1.0, 3.0]), steps=2, probes=1).moment(2)
    assert value == pytest.approx(5.0)
    assert np.isnan(error)


VALUES = np.array([-3.0, -1.0, 0.5, 2.0, 5.0, 7.0])


class Diagonal:
    """Nothing but ``shape`` and ``@``."""

    def __init__(self, values):
        self.values, self.shape = values, (len(values),) * 2

    def __matmul__(self, v):
        return (self.values * v.T).T


class Lost(Diagonal):
    """∞ − ∞ in every product."""

    def __matmul__(self, v):
        return np.inf * v - np.inf * v


def test_products_that_are_no_numbers():
    for find in (lambda one: extreme_eigenvalues(one, 2), spectral_density):
        with np.errstate(all="raise"), pytest.raises(NotFiniteError):
            find(Lost(VALUES))


@pytest.mark.parametrize("kind", [np.diag, diags_array, lambda v: aslinearoperator(np.diag(v)), Diagonal])
def test_any_symmetric_operator(kind):
    operator = kind(VALUES)
    np.testing.assert_allclose(eigenvalues(operator), VALUES, atol=1e-12)
    np.testing.assert_allclose(extreme_eigenvalues(operator, 2), [7.0, 5.0], rtol=1e-12)
    np.testing.assert_allclose(extreme_eigenvalues(operator, 2, which="BE"), [7.0, -3.0], rtol=1e-12)
    values, vectors = extreme_eigenvalues(operator, 1, which="SA", vectors=True)
    np.testing.assert_allclose(values, [-3.0], rtol=1e-12)
    np.testing.assert_allclose(np.abs(vectors[:, 0]), np.eye(6)[0], atol=1e-12)
    density = spectral_density(operator, steps=6, probes=2)
    # every sign vector has the same weight on each unit vector
    np.testing.assert_allclose(density.nodes, [VALUES, VALUES], atol=1e-10)
    np.testing.assert_allclose(density.weights, 1 / 6, atol=1e-10)


def test_the_zero_operator():
    fin, X, *_ = make_problem("two hidden")
    # fitted targets: S = 0
    s = fin.curvature(X, fin(X)).s
    for operator in (s, np.zeros((5, 5)), Diagonal(np.zeros(5))):
        for which in ("LA", "SA", "LM", "BE"):
            np.testing.assert_array_equal(extreme_eigenvalues(operator, 3, which=which), np.zeros(3))
        values, vectors = extreme_eigenvalues(operator, 3, vectors=True)
        np.testing.assert_array_equal(values, np.zeros(3))
        np.testing.assert_array_equal(vectors.T @ vectors, np.eye(3))
        density = spectral_density(operator, steps=3, probes=2)
        assert density.moment(1) == density.moment(2) == (0.0, 0.0)


def test_bad_operators(monkeypatch):
    with pytest.raises(UnknownNameError, match="LA"):
        extreme_eigenvalues(np.eye(4), 2, which="la")
    with pytest.raises(InputError, match="whole number"):
        extreme_eigenvalues(np.eye(4), 1.5)
    with pytest.raises(InputError, match=r"^expected tol >= 0, got tol=-1\.0$"):
        extreme_eigenvalues(np.eye(4), 1, tol=-1.0)
    for find in (eigenvalues, extreme_eigenvalues, spectral_density):
        for bad in (np.ones((3, 4)), np.ones(3), [[1.0]], None):
            with pytest.raises(ShapeError):
                find(bad)
        for bad in (np.nan, np.inf):
            with pytest.raises(NotFiniteError):
                find(np.diag(np.full(12, bad)))
        with pytest.raises(InputError, match="real"):
            find(1j * np.eye(12))
    monkeypatch.setattr("kernelcalc.finite.curvature.spectrum.DENSE_LIMIT", 3)
    with pytest.raises(InputError, match="at most 3"):
        eigenvalues(np.eye(4))
