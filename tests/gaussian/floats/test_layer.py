"""Expectations of a layer: which way they go, blocks and points beside closed values and plain panels."""

from __future__ import annotations

import warnings

import mpmath as mp
import numpy as np
import pytest
from scipy.special import erfc, ndtr

import kernelcalc as kc
from kernelcalc.errors import PrecisionWarning, SlowMethodWarning
from kernelcalc.gaussian.covariance import Covariance, make_covariance
from kernelcalc.gaussian.floats import layer
from kernelcalc.gaussian.floats.layer import LayerExpectations, angle_growth, diagonal_expectations
from tests.gaussian.floats.test_quadrature import FUNCTIONS, in_the_plane, panels

Q, QP, RHO = np.array([0.5, 1.0, 3.0]), np.array([2.0, 0.7]), np.array([[0.3, -0.6], [0.9, 0.0], [-0.2, 0.5]])


def covariance(q, qp, rho):
    """Of a block: q is a column, q' a row."""
    q, qp = q[:, None], qp[None, :]
    full = make_covariance(*np.broadcast_arrays(q, qp, rho * np.sqrt(q * qp)))
    return Covariance(q=q, qp=qp, c=full.c, det=full.det)


def erf_values(q, qp, c):
    """E erf erf and E erf' erf', by Williams (1998)."""
    root = np.sqrt((1 + 2 * q) * (1 + 2 * qp))
    return 2 / np.pi * np.arcsin(2 * c / root), 4 / np.pi / np.sqrt(root**2 - 4 * c**2)


def test_blocks_by_closed_forms():
    found = LayerExpectations(kc.activation("erf"), Q, QP, ((0, 0), (1, 1)))
    assert (found.pair_by_pair, found.compiled, found.bytes_per_point) == (True, False, 0)
    assert found.focus(slice(0, 3), slice(0, 2)) is None
    cov = covariance(Q, QP, RHO)
    whole = found.block(slice(0, 3), slice(0, 2), cov)
    assert list(whole) == [(0, 0), (1, 1)]
    for value, wanted in zip(whole.values(), erf_values(cov.q, cov.qp, cov.c), strict=True):
        assert value.shape == (3, 2)
        np.testing.assert_allclose(value, wanted, rtol=1e-13, atol=1e-16)
    # the same pairs as a list
    rows, columns = np.array([2, 0]), np.array([1, 0])
    pairs = Covariance(q=Q[rows], qp=QP[columns], c=cov.c[rows, columns], det=cov.det[rows, columns])
    np.testing.assert_allclose(found.block(rows, columns, pairs)[0, 0], whole[0, 0][rows, columns], rtol=1e-14)


def test_a_constant_fills_its_block():
    found = LayerExpectations(kc.Activation("x"), Q, QP, ((0, 0), (1, 1)))
    cov = covariance(Q, QP, RHO)
    values = found.block(slice(0, 3), slice(0, 2), cov)
    np.testing.assert_allclose(values[0, 0], cov.c, rtol=1e-15)
    assert values[1, 1].tolist() == [[1.0, 1.0]] * 3


def test_blocks_by_series():
    found = LayerExpectations(kc.activation("tanh"), Q, QP, ((0, 0),))
    assert (found.pair_by_pair, found.compiled) == (False, False)
    assert found.bytes_per_point > 0
    cov = covariance(Q, QP, RHO)
    found.focus(slice(1, 3), slice(0, 2))
    part = Covariance(q=cov.q[1:], qp=cov.qp, c=cov.c[1:], det=cov.det[1:])
    value = found.block(slice(1, 3), slice(0, 2), part)[0, 0]
    for i, j in ((0, 0), (1, 0), (1, 1)):
        wanted = in_the_plane("tanh(x)", "tanh(x)", Q[i + 1], QP[j], part.c[i, j])[0]
        assert value[i, j] == pytest.approx(wanted, rel=1e-12)
    assert abs(value[0, 1]) < 1e-15


def test_pairs_that_go_one_by_one(monkeypatch):
    """A kink that no closed form knows, all but parallel: by quadrature, and said once from the fourth on."""
    text = "max(tanh(x-1),0)"
    monkeypatch.setattr(layer, "MANY_PAIRS", 3)
    monkeypatch.setattr(layer, "SECONDS_ONE_BY_ONE", (2.0, 20.0))
    q, rho = np.array([1.0, 4.0]), np.array([[0.9999, 0.1], [0.2, -0.9999]])
    found, cov = LayerExpectations(kc.Activation(text), q, q, ((0, 0),)), covariance(q, q, rho)
    asked, one_by_one = [], layer.pair_estimate

    def counted(f, g, pairs, *, rtol):
        asked.append(pairs.c.tolist())
        return one_by_one(f, g, pairs, rtol=rtol)

    monkeypatch.setattr(layer, "pair_estimate", counted)
    value = found.block(slice(0, 2), slice(0, 2), cov)[0, 0]
    slow = sum(map(len, asked))
    assert 2 <= slow <= 3
    for i in range(2):
        for j in range(2):
            wanted, size = in_the_plane(text, text, q[i], q[j], cov.c[i, j])
            assert abs(value[i, j] - wanted) <= 1e-10 * size
    said = (
        rf"^at least {2 * slow} expectations of max\(tanh\(x-1\),0\) at variances up to 4 in a layer go through quadrature "
        rf"one by one, so far some {4 * slow} to {40 * slow} s; points scaled to \|x\|² = n_0 or a nonlinearity with a "
        "closed form are faster$"
    )
    with pytest.warns(SlowMethodWarning, match=said):
        found.block(slice(0, 2), slice(0, 2), cov)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.block(slice(0, 2), slice(0, 2), cov)


def refused(*_, **__):
    raise AssertionError("not asked for")


def test_closed_forms_of_several_terms(monkeypatch):
    """gelu: one bound for the whole block, no look at every pair."""
    monkeypatch.setitem(FUNCTIONS, "gelu", (lambda v: v * ndtr(v), ()))
    monkeypatch.setattr(layer.ClosedBlocks, "_bad", refused)
    found, cov = LayerExpectations(kc.activation("gelu"), Q, QP, ((0, 0),)), covariance(Q, QP, RHO)
    value = found.block(slice(0, 3), slice(0, 2), cov)[0, 0]
    for i, j in ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1)):
        assert value[i, j] == pytest.approx(in_the_plane("gelu", "gelu", Q[i], QP[j], cov.c[i, j])[0], rel=1e-12)


@pytest.mark.parametrize("least", [0.0, 1.0])
@pytest.mark.parametrize("at_once", [True, False])
def test_values_that_vanish_are_judged_by_norms(monkeypatch, least, at_once):
    """(E|Z| − √(2/π))² = 0 beside E(|Z| − √(2/π))² = 1 − 2/π; of a variance of 0 there are no norms."""
    monkeypatch.setattr(layer, "pair_estimate", refused)
    if not at_once:
        monkeypatch.setattr(layer.ClosedBlocks, "_surely", lambda *_: False)
    q, one = np.array([least, 1.0, 4.0]), np.array([1.0])
    found = LayerExpectations(kc.Activation("Abs(x)-sqrt(2/pi)"), q, one, ((0, 0),))
    assert found.pair_by_pair
    cov = covariance(q[1:], one, np.array([[0.0], [0.0]]))
    if at_once:
        monkeypatch.setattr(layer.ClosedBlocks, "_bad", refused)
    value = found.block(slice(1, 3), slice(0, 1), cov)[0, 0]
    np.testing.assert_allclose(value, 0, atol=1e-15)
    pairs = Covariance(q=q[[2, 1]], qp=np.ones(2), c=np.zeros(2), det=q[[2, 1]])
    np.testing.assert_allclose(found.block(np.array([2, 1]), np.array([0, 0]), pairs)[0, 0], 0, atol=1e-15)


def test_pairs_whose_closed_form_cancels_go_one_by_one(monkeypatch):
    """|x| − x erf 30x = |x| erfc 30|x| at variances of 1; at 10⁻⁸ nothing cancels."""
    q, rho, asked, one_by_one = np.array([1e-8, 1.0, 1e-6]), 0.5, [], layer.pair_estimate

    def counted(f, g, pairs, *, rtol):
        asked.extend(zip(pairs.q.tolist(), pairs.qp.tolist(), strict=True))
        return one_by_one(f, g, pairs, rtol=rtol)

    monkeypatch.setattr(layer, "pair_estimate", counted)
    found = LayerExpectations(kc.Activation("Abs(x)-x*erf(30*x)"), q, q, ((0, 0),))
    assert found.pair_by_pair
    cov = covariance(q, q, np.full((3, 3), rho))
    value = found.block(slice(0, 3), slice(0, 3), cov)[0, 0]
    assert (1.0, 1.0) in asked
    assert all(1.0 in pair for pair in asked)
    node, weight = np.polynomial.legendre.leggauss(40)
    edges = np.array([0, 0.25, 0.5, 1, 2, 4, 6, 8, 12])
    z = ((edges[1:] + edges[:-1])[:, None] / 2 + np.diff(edges)[:, None] / 2 * node).ravel()
    w = (np.diff(edges)[:, None] / 2 * weight).ravel()
    for i in range(3):
        for j in range(3):
            # in units of the deviation, or of the width of erfc
            scale, scale_p = (min(v**0.5, 1 / 60) for v in (q[i], q[j]))
            a, b = (scale * z)[:, None], (scale_p * z)[None, :]
            u, v = a / q[i] ** 0.5, b / q[j] ** 0.5
            exponents = (-(u**2 - 2 * s * rho * u * v + v**2) / (2 * (1 - rho**2)) for s in (1, -1))
            density = 2 * sum(map(np.exp, exponents)) / (2 * np.pi * np.sqrt((1 - rho**2) * q[i] * q[j]))
            terms = a * erfc(30 * a) * b * erfc(30 * b) * density * (scale * w)[:, None] * (scale_p * w)
            assert value[i, j] == pytest.approx(terms.sum(), rel=1e-10, abs=0), (i, j)
    # a list of the same pairs
    rows, columns = np.array([1, 0, 1]), np.array([1, 2, 0])
    pairs = Covariance(q=q[rows], qp=q[columns], c=cov.c[rows, columns], det=cov.det[rows, columns])
    asked.clear()
    np.testing.assert_allclose(found.block(rows, columns, pairs)[0, 0], value[rows, columns], rtol=1e-11)
    assert (1.0, 1.0) in asked


def test_points_of_an_index():
    """At the places (0, 1) and (2, 0) of a block; an index is a range, counts along an axis or names every pair."""
    at = np.array([0, 2]), np.array([1, 0])
    assert [layer._points(slice(3, 9), at, axis).tolist() for axis in (0, -1)] == [[3, 5], [4, 3]]
    assert [layer._points(np.array([7, 1, 4]), at, axis).tolist() for axis in (0, -1)] == [[7, 4], [1, 7]]
    every = np.array([[7, 8], [1, 2], [4, 5]])
    assert [layer._points(every, at, axis).tolist() for axis in (0, -1)] == [[8, 4], [8, 4]]
    assert layer._points(np.array([7, 1, 4]), at[:1], -1).tolist() == [7, 4]
    assert layer._reach(slice(3, 9)) == slice(3, 9)
    assert layer._reach(np.array([7, 1, 4])) == slice(1, 8)


def moment(function, std):
    """E function(std Z)."""
    z, weight = panels([0.0])
    return float(weight @ function(std * z))


def slope(v):
    return 1 / np.cosh(v) ** 2


def test_expectations_at_points():
    q = np.array([1.0, 4.0, 1.0])
    orders = ((0, 0), (0, 1), (1, 0), (1, 1))
    found = diagonal_expectations(kc.activation("tanh"), q, orders)
    assert list(found) == list(orders)
    assert found[1, 0] is found[0, 1]
    for k, std in enumerate((1.0, 2.0, 1.0)):
        assert found[0, 0][k] == pytest.approx(moment(lambda v: np.tanh(v) ** 2, std), rel=1e-12)
        assert found[1, 1][k] == pytest.approx(moment(lambda v: slope(v) ** 2, std), rel=1e-12)
    gelu = diagonal_expectations(kc.activation("gelu"), q, ((1, 0), (0, 0)))
    for k, std in enumerate((1.0, 2.0, 1.0)):
        wanted = moment(lambda v: v * ndtr(v) * (ndtr(v) + v * np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi)), std)
        assert gelu[1, 0][k] == pytest.approx(wanted, rel=1e-12)
    exact = diagonal_expectations(kc.activation("erf"), q, ((0, 0), (1, 1)))
    for value, wanted in zip(exact.values(), erf_values(q, q, q), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-13)


def test_how_much_angles_grow():
    """q E σ'²/E σ² at the powers of two above the least and the largest variance, to a few digits."""
    tanh = kc.activation("tanh")

    def growth(q):
        return q * moment(lambda v: slope(v) ** 2, q**0.5) / moment(lambda v: np.tanh(v) ** 2, q**0.5)

    # it grows with q
    assert angle_growth(tanh, np.array([0.0, 0.3, 3.0])) == pytest.approx(growth(4.0), rel=1e-6)
    assert angle_growth(tanh, np.array([0.3, 0.4])) == pytest.approx(growth(0.5), rel=1e-6)
    bump = kc.Activation("1+exp(-(x-1)**2)*x/100")
    both = [angle_growth(bump, np.array([v])) for v in (0.5, 500.0)]
    assert both[0] != both[1]
    assert angle_growth(bump, np.array([0.5, 500.0])) == max(both)
    assert angle_growth(kc.activation("relu"), np.array([3.0])) == pytest.approx(1.0, rel=1e-14)
    # no variance, infinite slopes, nothing at all
    assert angle_growth(tanh, np.zeros(2)) == 1.0
    assert angle_growth(kc.Activation("step(x)"), np.ones(1)) == 1.0
    assert angle_growth(kc.Activation("0*x"), np.ones(1)) == 1.0


def test_when_closed_forms_are_used():
    def closed(text, q=(1.0, 4.0), orders=((0, 0),), compiled=False, count=1):
        q = np.tile(np.array(q), count)
        return LayerExpectations(kc.activation(text), q, q, orders, compiled=compiled).pair_by_pair

    assert closed("gelu")
    assert closed("relu")
    assert not closed("tanh")
    # one of the derivatives has none
    assert not closed("log(1+exp(x))")
    # machine code is faster from 128² pairs on, of several terms
    assert not closed("gelu", compiled=True, count=64)
    assert closed("gelu", compiled=True, count=63)
    assert closed("gelu", count=64)
    assert closed("erf", compiled=True, count=64)


def test_a_closed_form_that_cancels_is_not_used():
    """E cos λa cos μb = e^{−(λ² q + μ² q')/2} cosh λμc, four of which leave a billionth where variances are small."""
    q, text = np.array([1e-6]), "cos(2*x)-cos(3*x)"
    found = LayerExpectations(kc.Activation(text), q, q, ((0, 0),))
    assert not found.pair_by_pair
    assert LayerExpectations(kc.Activation(text), np.ones(1), np.ones(1), ((0, 0),)).pair_by_pair
    cov = covariance(q, q, np.array([[0.5]]))
    with mp.workdps(40):
        v, c = mp.mpf(float(q[0])), mp.mpf(float(cov.c[0, 0]))
        wanted = sum(
            s * t * mp.exp(-(m * m + n * n) * v / 2) * mp.cosh(m * n * c)
            for s, m in ((1, 2), (-1, 3))
            for t, n in ((1, 2), (-1, 3))
        )
    assert found.block(slice(0, 1), slice(0, 1), cov)[0, 0][0, 0] == pytest.approx(float(wanted), rel=1e-10, abs=0)


def test_the_word_of_a_long_wait_is_heard_within_an_estimate(monkeypatch):
    """Another thread says it, and filters are those of all threads; of the estimate's own precision nothing is said."""

    def long(act, q, orders):
        warnings.warn("about the estimate", PrecisionWarning, stacklevel=2)
        warnings.warn("overflow", RuntimeWarning, stacklevel=2)
        warnings.warn("has been running for 10 s", SlowMethodWarning, stacklevel=2)
        return {(0, 0): np.array([2.0]), (1, 1): np.array([3.0])}

    monkeypatch.setattr(layer, "diagonal_expectations", long)
    with pytest.warns(SlowMethodWarning, match="running for 10 s") as said:
        assert layer._growth.__wrapped__(kc.activation("gelu"), 2) == 6.0
    assert len(said) == 1
