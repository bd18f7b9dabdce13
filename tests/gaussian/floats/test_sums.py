"""Mehler sums: the compiled and the NumPy scheme against exact rational arithmetic."""

import builtins
from fractions import Fraction

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import MissingExtraError
from kernelcalc.gaussian.floats import sums as mehler
from kernelcalc.gaussian.floats.sums import mehler_block, mehler_pairs, mehler_sum

RNG = np.random.default_rng(3)


@pytest.fixture
def interpreted(monkeypatch):
    """The functions that numba is given, run by Python: every index of theirs is checked then."""
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba, "njit", lambda signature, **options: lambda function: function)
    mehler.compiled_sums.cache_clear()
    yield
    mehler.compiled_sums.cache_clear()


@pytest.mark.parametrize("count", [1, 3, 4, 5, 10])
def test_the_compiled_scheme_run_by_python(interpreted, count):
    test_against_rational_arithmetic(count, True)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("count", [3, 8, 9])
def test_against_rational_arithmetic(count, compiled):
    f, g = RNG.normal(size=(count, 2)), RNG.normal(size=(count, 3))
    rho = RNG.uniform(-1, 1, size=(2, 3))
    found = mehler_block(f, g, rho, compiled=compiled)
    pairs = np.array([1, 0, 1]), np.array([2, 1, 0])
    apart = mehler_pairs(f, g, pairs, rho[pairs], compiled=compiled)
    for i in range(2):
        for j in range(3):
            terms = [Fraction(f[k, i]) * Fraction(g[k, j]) * Fraction(rho[i, j]) ** k for k in range(count)]
            for value in (found[i, j], *apart[(pairs[0] == i) & (pairs[1] == j)]):
                assert abs(value - float(sum(terms))) < 1e-15 * float(sum(abs(t) for t in terms))


def test_pairs_one_by_one_and_series_of_one_term():
    f, g, rho = np.array([[2.0, 3.0]]), np.array([[5.0, 7.0]]), np.array([0.1, 0.2])
    assert mehler_sum(f, g, rho).tolist() == [10.0, 21.0]
    for compiled in (False, True):
        assert mehler_block(f, g, np.full((2, 2), 0.5), compiled=compiled).tolist() == [[10.0, 14.0], [15.0, 21.0]]


def test_without_numba(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "numba":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    mehler.compiled_sums.cache_clear()
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[fast\]"):
        mehler_block(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), compiled=True)


@pytest.mark.parametrize("name", ["tanh", "softplus", "gelu"])
def test_gram_matrices_agree(name):
    points = RNG.normal(size=(300, 10))
    points[7] = points[3]
    net = kc.MLP(name, 3, sigma_w=1.3)
    plain, fast = net.kernels(points), net.kernels(points, engine="numba")
    for kernel in plain.available:
        wanted = getattr(plain, kernel)
        atol = 1e-14 * np.abs(wanted).max()
        np.testing.assert_allclose(getattr(fast, kernel), wanted, rtol=1e-13, atol=atol, err_msg=kernel)


def test_large_blocks_hold_the_same_numbers():
    points = RNG.normal(size=(1030, 6)) * RNG.uniform(0.5, 2, size=(1030, 1))
    net = kc.MLP("tanh", 2)
    at = [0, 300, 1029]
    whole, rows = net.kernels(points, engine="numba"), net.kernels(points[at], points)
    for kernel in whole.available:
        wanted = getattr(rows, kernel)
        np.testing.assert_allclose(getattr(whole, kernel)[at], wanted, rtol=0, atol=1e-14 * np.abs(wanted).max())
