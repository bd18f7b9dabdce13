"""Spectra against dense eigenvalues."""

import numpy as np
import pytest
from conftest import make_problem
from scipy.sparse import diags_array
from scipy.sparse.linalg import ArpackNoConvergence, aslinearoperator

from kernelcalc.errors import InputError, NotFiniteError, PrecisionError, ShapeError, UnknownNameError
from kernelcalc.finite.curvature.spectrum import (
    SpectralDensity,
    _orthogonal,
    eigenvalues,
    extreme_eigenvalues,
    spectral_density,
)


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


def test_refusals_say_what_came(monkeypatch):
    four, density = np.eye(4), spectral_density(np.eye(4), steps=2, probes=1)
    for call, text in (
        (lambda: density.moment(-1), "k of at least 0, got k=-1"),
        (lambda: density.moment(1.5), "k: a whole number, got 1.5"),
        (lambda: density.density([0.0], -1.0), "a positive width, got width=-1.0"),
        (lambda: density.density([0.0], "a"), "width: a real number, got 'a'"),
        (lambda: density.density(["a"], 1.0), "grid: real numbers, got dtype <U1"),
        (lambda: eigenvalues(np.ones((3, 4))), "a symmetric operator with shape (P, P) and @, got ndarray of shape (3, 4)"),
        (lambda: eigenvalues(np.ones((0, 0))), "a symmetric operator with shape (P, P) and @, got ndarray of shape (0, 0)"),
        (lambda: eigenvalues(None), "a symmetric operator with shape (P, P) and @, got NoneType of shape ()"),
        (lambda: eigenvalues(1j * four), "operator: real numbers, got dtype complex128"),
        (lambda: eigenvalues(Diagonal(1j * VALUES)), "a real operator, got products of dtype complex128"),
        (lambda: eigenvalues(np.nan * four), "an operator with finite entries, got NaN or infinity in a product with it"),
        (lambda: extreme_eigenvalues(four, 4), "between 1 and P - 1 = 3 eigenvalues, got count=4"),
        (lambda: extreme_eigenvalues(four, 0), "between 1 and P - 1 = 3 eigenvalues, got count=0"),
        (lambda: extreme_eigenvalues(four, 1.5), "count: a whole number, got 1.5"),
        (lambda: extreme_eigenvalues(four, 1, tol="a"), "tol: a real number, got 'a'"),
        (lambda: extreme_eigenvalues(four, 1, vectors=3), "vectors, True or False, got 3"),
        (lambda: spectral_density(four, steps=0), "steps >= 1 and probes >= 1, got steps=0, probes=4"),
        (lambda: spectral_density(four, probes=0), "steps >= 1 and probes >= 1, got steps=80, probes=0"),
        (lambda: spectral_density(four, steps=1.5), "steps: a whole number, got 1.5"),
        (lambda: spectral_density(four, probes=1.5), "probes: a whole number, got 1.5"),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == f"expected {text}"
    with pytest.raises(UnknownNameError, match=r"an end of the spectrum.*'la'"):
        extreme_eigenvalues(four, 1, which="la")
    monkeypatch.setattr("kernelcalc.finite.curvature.spectrum.DENSE_LIMIT", 3)
    with pytest.raises(
        InputError, match=r"^expected at most 3 rows for a dense matrix, got P=4; use extreme_eigenvalues$"
    ):
        eigenvalues(four)
    assert eigenvalues(np.eye(3)).tolist() == [1.0, 1.0, 1.0]


def test_restarts_that_end_early_are_told_of(monkeypatch):
    def lost(*_, **__):
        raise ArpackNoConvergence("no", np.array([5.0]), np.ones((6, 1)))

    monkeypatch.setattr("scipy.sparse.linalg.eigsh", lost)
    with pytest.raises(PrecisionError, match=r"^1 of 2 eigenvalues converged; raise tol or count$"):
        extreme_eigenvalues(np.diag(VALUES), 2)


def test_steps_after_an_early_end_weigh_nothing():
    """Id has one eigenvalue, of which the first step knows; two values need two steps."""
    found = spectral_density(2 * np.eye(5), steps=3, probes=2)
    np.testing.assert_allclose(found.nodes, [[2.0, 0.0, 0.0]] * 2, rtol=1e-15)
    np.testing.assert_array_equal(found.weights, [[1.0, 0.0, 0.0]] * 2)
    found = spectral_density(np.diag([1.0, 1.0, 1.0, 5.0]), steps=4, probes=1)
    np.testing.assert_allclose(found.nodes, [[1.0, 5.0, 0.0, 0.0]], rtol=1e-13)
    np.testing.assert_allclose(found.weights, [[0.75, 0.25, 0.0, 0.0]], rtol=1e-13)
    assert found.size == 4
    # no more steps than there are dimensions
    assert spectral_density(np.diag(VALUES)).nodes.shape == (4, 6)


def test_the_density_is_a_mean_of_bumps():
    """Half of it at -1 and half at 2 by hand, in the grid's shape."""
    found = spectral_density(np.diag([-1.0, 2.0]), steps=2, probes=3)
    grid = np.array([[-1.0, 0.5], [2.0, 4.0]])
    width = 0.7
    bump = lambda d: np.exp(-(d**2) / (2 * width**2)) / (width * np.sqrt(2 * np.pi))  # noqa: E731
    np.testing.assert_allclose(found.density(grid, width), (bump(grid + 1) + bump(grid - 2)) / 2, rtol=1e-12)
    assert found.moment(0) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-15))


def test_the_error_of_a_moment_is_that_of_the_mean():
    """Of 9 and 1 it is √(((9 − 5)² + (1 − 5)²)/1)/√2 = 4."""
    found = SpectralDensity(nodes=np.array([[3.0], [1.0]]), weights=np.ones((2, 1)), size=1)
    assert found.moment(2) == (5.0, pytest.approx(4.0, rel=1e-15))


def test_what_is_orthogonal_stays_and_what_cancels_is_made_so():
    basis = np.eye(4)[:2]
    w, norm = _orthogonal(np.array([0.0, 0.0, 3.0, 4.0]), basis)
    assert (w.tolist(), norm) == ([0.0, 0.0, 3.0, 4.0], 5.0)
    # rounding of what is left after the first time is as large as what is sought
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 40)))[0]
    w, norm = _orthogonal(1e8 * turned[0] + 1e8 * turned[1] + 1e-6 * turned[2], turned[:2])
    assert norm == np.linalg.norm(w) > 0
    assert np.abs(turned[:2] @ w).max() < 1e-13 * norm


def test_single_precision_stays():
    fin, X, Y, _ = make_problem("two hidden", dtype=np.float32)
    split = fin.curvature(X, Y)
    values, vectors = extreme_eigenvalues(split.h, 2, vectors=True)
    assert values.dtype == vectors.dtype == np.float32
    assert eigenvalues(split.h).dtype == np.float32
    zeros, units = extreme_eigenvalues(0.0 * np.eye(4, dtype=np.float32), 2, vectors=True)
    assert (zeros.tolist(), units.shape) == ([0.0, 0.0], (4, 2))
    assert spectral_density(split.h, steps=2).nodes.dtype == np.float64


@pytest.mark.parametrize("size", [1e299, 1e200, 1e-200, 1e-299])
def test_operators_of_any_size(size):
    """Squares of their products would be beyond the range; three eigenvalues, three steps."""
    values = size * np.array([1.0, 2.0, 4.0])
    found = spectral_density(np.diag(values), steps=3, probes=2)
    np.testing.assert_allclose(np.sort(found.nodes, axis=1), [values, values], rtol=1e-12)
    np.testing.assert_allclose(found.weights, 1 / 3, rtol=1e-12)
