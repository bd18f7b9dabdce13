"""Interpolated Hermite coefficients beside those of exponentials, e^{γ²q/2} (γ√q)^k/√k!, and beside mpmath's integrals."""

import math

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.floats import table as module
from kernelcalc.gaussian.floats.norms import P_NORMS
from kernelcalc.gaussian.floats.series import hermite_series
from kernelcalc.gaussian.floats.table import many_series, octave_tables, series_table

EPS = np.finfo(float).eps
LENGTH = 40
RATE = 0.25


def coefficients(q, length=LENGTH):
    """Of e^{x/4} at variances q, (n, K)."""
    k = np.arange(length)
    root = np.array([math.sqrt(math.factorial(int(n))) for n in k])
    return np.exp(RATE**2 * q[:, None] / 2) * (RATE * np.sqrt(q[:, None])) ** k / root


def energies(q):
    return np.exp(2 * RATE**2 * q)


@pytest.fixture(scope="module")
def exponential():
    return kc.Activation("exp(x/4)")


def test_a_table_between_two_variances(exponential):
    low, high = 0.7, 6.0
    found = series_table(exponential, low, high, length=LENGTH, nodes=24)
    assert (found.low, found.high) == (math.log(low), math.log(high))
    assert found.table.shape == (24, LENGTH + 1)
    q = np.array([0.7, 0.71, 1.0, 2.3, 5.9, 6.0])
    own, energy = found.values(q)
    norm = np.sqrt(energies(q))
    assert (np.linalg.norm(own - coefficients(q), axis=1) <= found.error * norm).all()
    np.testing.assert_allclose(energy, energies(q), rtol=found.slack)
    assert 0 < found.error < 1e-13
    assert 2 * EPS <= found.slack < 1e-13
    series = found(q)
    np.testing.assert_array_equal(series.coefficients, own)
    np.testing.assert_allclose(series.bounds.norm, norm, rtol=1e-13)
    assert (np.linalg.norm(own - coefficients(q), axis=1) <= series.bounds.error).all()
    assert (series.bounds.error < 1e-12 * norm).all()


def test_variances_that_rounding_puts_beside_the_ends(exponential):
    found = series_table(exponential, 0.7, 6.0, length=LENGTH, nodes=24)
    beside = np.array([0.7 * (1 - 1e-15), 6.0 * (1 + 1e-15)])
    np.testing.assert_allclose(found.values(beside)[0], coefficients(beside), rtol=1e-11, atol=1e-13)
    alone = series_table(exponential, 2.0, 2.0, length=LENGTH, nodes=24)
    np.testing.assert_allclose(alone.values(np.array([2.0]))[0], coefficients(np.array([2.0])), rtol=0, atol=1e-14)


def test_what_a_table_cannot_hold(exponential):
    """Features finer than its nodes, a function of no size, one without a second moment."""
    assert series_table(kc.Activation("tanh(30*x)"), 1e-3, 1e3, length=60, nodes=24) is None
    assert series_table(kc.Activation("0*x"), 1.0, 2.0, length=LENGTH, nodes=24) is None
    assert series_table(kc.Activation("exp(x^2)"), 0.1, 2.0, length=LENGTH, nodes=24) is None
    assert series_table(exponential, 1e-3, 400.0, length=LENGTH, nodes=24) is None
    wide = series_table(exponential, 1e-3, 400.0, length=LENGTH, nodes=96)
    assert wide is None or wide.error < 1e-12


def test_an_energy_alone_that_does_not_fit(monkeypatch, exponential):
    """Of two checks the energy's fails where it is told something else at a variance in between."""

    def told(act, q, *, length):
        series = hermite_series(act, q, length=length)
        bounds = series.bounds
        norm = bounds.norm.copy()
        norm[-1] *= 1 + 1e-9
        return type(series)(
            coefficients=series.coefficients,
            bounds=type(bounds)(**{**{k: getattr(bounds, k) for k in vars(bounds)}, "norm": norm}),
            relative=series.relative,
        )

    monkeypatch.setattr(module, "hermite_series", told)
    assert series_table(exponential, 0.7, 6.0, length=LENGTH, nodes=24) is None


@pytest.mark.parametrize(("count", "computed"), [(48, 48), (49, 33), (400, 33)])
def test_many_variances_are_read_off(monkeypatch, exponential, count, computed):
    """24 nodes and 9 checks between them, from twice as many variances on."""
    asked = []

    def counted(act, q, *, length):
        asked.append(q.size)
        return hermite_series(act, q, length=length)

    monkeypatch.setattr(module, "hermite_series", counted)
    q = np.linspace(0.7, 6.0, count)
    found = many_series(exponential, q, length=LENGTH)
    assert sum(asked) == computed
    off = np.linalg.norm(found.coefficients - coefficients(q), axis=1)
    assert (off <= found.bounds.error + 4 * EPS * np.sqrt(energies(q))).all()
    np.testing.assert_allclose(found.bounds.norm, np.sqrt(energies(q)), rtol=1e-13)


@pytest.mark.parametrize(
    ("text", "low", "high", "first"),
    [
        ("tanh(x)", 0.5, 30.0, 57),
        pytest.param("tanh(x)", 3.0, 5.0, 21, marks=pytest.mark.long),
        pytest.param("tanh(x) + sin(3*x)", 4.0, 16.0, 33, marks=pytest.mark.long),
    ],
)
def test_more_nodes_where_few_are_not_enough(monkeypatch, text, low, high, first):
    """As many as poles on the imaginary axis let suffice, and 9 checks; waves need more, or each variance by itself."""
    asked = []

    def counted(act, q, *, length):
        asked.append(q.size)
        return hermite_series(act, q, length=length)

    monkeypatch.setattr(module, "hermite_series", counted)
    q, act = np.geomspace(low, high, 300), kc.Activation(text)
    found = many_series(act, q, length=30)
    assert asked[0] == first
    assert (len(asked) > 1) == ("sin" in text)
    for row in (0, 137, 299):
        with mp.workdps(30):
            for k in (1, 5, 9):
                wanted = mp.quad(
                    lambda z, r=row, n=k: act.mpmath_pieces[0](mp.sqrt(q[r]) * z) * _hermite(n, z) * mp.npdf(z),
                    np.linspace(-12, 12, 25).tolist(),
                ) / mp.sqrt(mp.factorial(k))
                assert abs(found.coefficients[row, k] - wanted) < 1e-14


def _hermite(n, z):
    """Probabilists' Hermite polynomials by their recursion."""
    before, now = mp.mpf(0), mp.mpf(1)
    for k in range(n):
        before, now = now, z * now - k * before
    return now


def test_small_variances_and_kinks_apart(exponential):
    """Both parts of a range that begins at 0 are exact; of relu the mean is √(q/2π) and f_1 √q/2."""
    q = np.concatenate([[0.0, 1e-12, 1e-6], np.linspace(0.5, 3.0, 60)])
    found = many_series(exponential, q, length=LENGTH)
    np.testing.assert_allclose(found.coefficients, coefficients(q), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(found.bounds.norm, np.sqrt(energies(q)), rtol=1e-13)
    assert found.relative.shape[0] == q.size
    many = np.linspace(0.5, 3.0, 300)
    kinked = many_series(kc.activation("relu"), many, length=LENGTH)
    np.testing.assert_allclose(kinked.coefficients[:, 0], np.sqrt(many / (2 * np.pi)), rtol=1e-13)
    np.testing.assert_allclose(kinked.coefficients[:, 1], np.sqrt(many) / 2, rtol=1e-13)


def test_tables_of_an_octave(exponential):
    """Derivatives of e^{x/4} are its halves."""
    found = octave_tables(exponential, (0, 1, 3), 1)
    length = found.table.shape[2] - 1
    for q in (2.0, 2.7, 3.999, 4.0, 2.0 * (1 - 1e-15), 4.0 * (1 + 1e-15)):
        values = found.values(q)
        at = np.array([q])
        for row, order in enumerate((0, 1, 3)):
            factor, norm = RATE**order, math.sqrt(energies(at)[0])
            off = np.linalg.norm(values[row, :-1] / factor - coefficients(at, length)[0]) / norm
            assert off <= found.error[row] + 1e-15
            assert values[row, -1] == pytest.approx(factor**2 * energies(at)[0], rel=found.slack[row] + 1e-15)
    assert found.octave == 1
    assert found.norms.shape == (3, 10)
    # norms grow with q: the smallest is that of q = 2; E|f|^p = e^{p²γ²q/2}
    np.testing.assert_allclose(found.norms[0, :6], [math.exp(p * RATE**2) for p in P_NORMS], rtol=1e-10)
    np.testing.assert_allclose(found.norms[1], RATE * found.norms[0], rtol=1e-12)
    assert octave_tables(kc.Activation("sin(3*x)"), (0,), 4) is None
    assert octave_tables(kc.Activation("exp(x^2)"), (0,), 4) is None
