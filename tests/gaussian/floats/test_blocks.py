"""Parts of a Gram matrix's series: which pairs are summed apart, how long sums are, which norms belong to a block."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats import blocks, layer
from kernelcalc.gaussian.floats.blocks import EDGES, Correlations, Points, SeriesBlocks
from kernelcalc.gaussian.floats.norms import lower_norms
from kernelcalc.gaussian.floats.series import damping_tier

EPS = np.finfo(float).eps
RNG = np.random.default_rng(5)


def covariance(q, qp, rho):
    root = np.sqrt(q[:, None] * qp[None, :])
    return Covariance(q=q[:, None], qp=qp[None, :], c=rho * root, det=root**2 * (1 - rho**2))


def points(name, q, qp, orders=((0, 0), (1, 1))):
    return Points(kc.activation(name), q, qp, orders, 1e-11, False)


@pytest.mark.parametrize("beyond", [(), (0.85,), (0.85, 0.95, -0.99, 0.98), (-0.92, 0.999), (0.98,) * 3])
def test_pairs_near_one_are_summed_apart(beyond):
    """Each once, with those between the same two edges; of the others the largest |ρ| is known."""
    rho = RNG.uniform(-0.7, 0.7, size=(20, 20))
    rho.flat[: len(beyond)] = beyond
    found = Correlations.of(covariance(np.ones(20), np.ones(20), rho))
    apart = np.zeros(rho.shape, dtype=int)
    for near in found.near:
        apart[near.pairs] += 1
        size = np.abs(found.rho[near.pairs])
        assert near.reach == size.max()
        assert len({sum(v > edge for edge, _ in EDGES) for v in size}) == 1
    assert apart.max(initial=0) <= 1
    assert apart.sum() == len(beyond)
    assert found.reach == np.abs(found.rho[apart == 0]).max()
    np.testing.assert_array_equal(found.square, found.rho**2)


def test_many_pairs_near_one_stay():
    rho = RNG.uniform(0.81, 0.89, size=(20, 20))
    found = Correlations.of(covariance(np.ones(20), np.ones(20), rho))
    assert found.near == ()
    assert found.reach == found.rho.max()


@pytest.mark.parametrize(
    ("name", "parity"), [("tanh", 1), ("cos(x)/(1+x**2)", 0), ("softplus", None), ("tanh(x)+1", None)]
)
def test_parity_and_length(name, parity):
    q = np.array([0.3, 1.0, 2.0])
    found = SeriesBlocks(points(name, q, q))
    assert found.parity == parity
    assert found.bytes_per_point == 8 * found.kept * 2 // (1 if parity is None else 2)


@pytest.mark.parametrize("name", ["tanh", "cos(x)/(1+x**2)", "softplus"])
def test_sums_are_as_long_as_their_rounding_asks(name):
    """What is left out is below an ulp of √(Σ f² r^k Σ g² r^k), which all terms give; one term in four could not go."""
    q, qp = np.array([0.3, 1.0, 2.0]), np.array([0.5, 1.5])
    found = SeriesBlocks(points(name, q, qp))
    found.focus(slice(0, 3), slice(0, 2))
    for order in (0, 1):
        left, right = found._rows[order], found._columns[order]
        for reach in (0.05, 0.3, 0.7, 0.9, 0.99):
            count = blocks._terms(left, right, reach)
            k = left.offset + left.stride * np.arange(len(left.terms))
            products = np.abs(left.terms[:, :, None] * right.terms[:, None, :]) * reach ** k[:, None, None]
            tier = damping_tier(reach)
            size = left.bounds.damped[:, None, tier] * right.bounds.damped[None, :, tier]
            assert 1 <= count <= len(products)
            assert (products[count:].sum(axis=0) <= EPS * size).all()
            if count > 8 and count < len(products):
                assert (products[count * 3 // 4 - 2 :].sum(axis=0) > EPS / 64 * size).any()


def test_a_part_of_the_columns_and_rows_that_are_pairs():
    assert blocks._within(slice(5, 9), slice(3, 20)) == slice(2, 6)
    assert blocks._within(np.array([5, 8]), slice(3, 20)).tolist() == [2, 5]
    assert layer._points(slice(5, 9), (np.array([0, 3]),), 0).tolist() == [5, 8]
    assert layer._points(np.array([7, 2, 9]), (np.array([1, 1]), np.array([0, 2])), 1).tolist() == [7, 9]
    assert layer._reach(slice(5, 9)) == slice(5, 9)
    assert layer._reach(np.array([7, 2, 9])) == slice(2, 10)


def test_norms_of_many_variances():
    tanh = kc.activation("tanh")
    q = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 200)])
    found = blocks._norms(tanh, q)
    np.testing.assert_allclose(found, lower_norms(tanh, q), rtol=2e-2)
    assert (found[0] == 0).all()
    np.testing.assert_array_equal(blocks._norms(tanh, q[1:60]), lower_norms(tanh, q[1:60]))
    # each side has its own, and one that is both the same
    both = points("tanh", q[1:4], q[50:52])
    np.testing.assert_array_equal(both.norms(0, "rows"), lower_norms(tanh, q[1:4]))
    np.testing.assert_array_equal(both.norms(0, "columns"), lower_norms(tanh, q[50:52]))
    np.testing.assert_array_equal(both.least(0, "columns")[0], both.norms(0, "columns").min(axis=0))
    same = points("tanh", q[1:4], q[1:4])
    alone = Points(same.act, same.q, same.q, same.orders, 1e-11, False)
    assert alone.norms(1, "rows") is alone.norms(1, "columns")


@pytest.mark.parametrize("name", ["tanh", "softplus"])
def test_pairs_that_one_bound_does_not_cover(name):
    """Rows of tiny variances beside others, in a part of the matrix: means by a rule in the plane, 0 of even beside odd."""
    q, qp = np.array([4.0, 1e-4, 1.0, 2.5]), np.array([1.0, 3.0, 1e-5])
    rho = np.array([[0.3, -0.97, 0.5], [0.9, 0.2, -0.6], [0.999, 0.1, 0.4], [-0.5, 0.7, 0.99]])
    found = layer.LayerExpectations(kc.activation(name), q, qp, ((0, 0), (1, 0)))
    cov = covariance(q, qp, rho)
    part = Covariance(q=cov.q[1:], qp=cov.qp[:, 1:], c=cov.c[1:, 1:], det=cov.det[1:, 1:])
    value = found.block(slice(1, 4), slice(1, 3), part)
    functions = {
        "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
        "softplus": (lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x))),
    }[name]
    z = np.linspace(-8.5, 8.5, 171)
    weight = np.exp(-(z**2) / 2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    for i in range(3):
        for j in range(2):
            a, r = np.sqrt(q[i + 1]) * z, rho[i + 1, j + 1]
            b = np.sqrt(qp[j + 1]) * (r * z[:, None] + np.sqrt(1 - r * r) * z[None, :])
            second = functions[0](b) @ weight
            for order in (0, 1):
                first = functions[order](a)
                wanted, size = (first * weight) @ second, np.abs(first * weight) @ np.abs(second)
                assert abs(value[order, 0][i, j] - wanted) <= 1e-10 * size, (i, j, order)


def test_pairs_whose_series_is_too_short_are_named():
    """E tanh'(a) tanh'(b) at variances of 900: 2048 terms do not reach ρ = 0.99 and 1, and say so; elsewhere they are right."""
    q, rho = np.full(2, 900.0), np.array([[1.0, 0.5], [-0.3, 0.99]])
    cov = covariance(q, q, rho)
    ((value, bad),) = SeriesBlocks(points("tanh", q, q, ((1, 1),))).values(slice(0, 2), slice(0, 2), cov)
    assert bad.tolist() == [[True, False], [False, True]]
    # sech² is 0 in float64 beyond ±20, and analytic in a strip: sums over a lattice
    at = np.arange(-200, 201) / 10
    bump = 1 / np.cosh(at) ** 2
    line = (bump**2 * np.exp(-(at**2) / 1800)).sum() / 10 / np.sqrt(2 * np.pi * 900)
    for (i, j), r in np.ndenumerate(rho):
        if r == 1:
            known = line
        else:
            form = (at[:, None] ** 2 - 2 * r * at[:, None] * at + at**2) / (1800 * (1 - r * r))
            known = bump @ np.exp(-form) @ bump / 100 / (2 * np.pi * 900 * np.sqrt(1 - r * r))
        if not bad[i, j]:
            assert value[i, j] == pytest.approx(known, rel=1e-11)
        # a bound may be larger than the error, which it is at 0.99
        assert r < 1 or value[i, j] < 0.95 * known


@pytest.mark.parametrize(("text", "parities"), [("sinh(x)", [1]), ("cosh(x)", [0]), ("exp(x)", []), ("x - x", [0, 1])])
def test_parity_of_what_overflows_far_out(text, parities):
    assert [parity for parity in (0, 1) if blocks._has_parity(kc.Activation(text), parity)] == parities
