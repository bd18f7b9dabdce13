"""Blocks of pairs by themselves: covariances against fractions, and which points are the same."""

from dataclasses import FrozenInstanceError
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from kernelcalc.kernels import point_blocks as module
from kernelcalc.kernels.fold import INPUT
from kernelcalc.kernels.layer import Scales
from kernelcalc.kernels.point_blocks import Block, CorrelationBlock, PointBlock, Prepared, Source, TriangleBlock
from kernelcalc.kernels.state import DiagonalKernels, PairKernels

RNG = np.random.default_rng(8)
SCALES = Scales(weight=1.75, bias=0.25)
X = RNG.normal(size=(12, 4))
# equal, opposite and nearly parallel ones
X[7], X[8], X[9] = X[6], -X[6], X[6] + 1e-9 * X[0]


def exact(x, y):
    """σ_w² x·y/n_0 + β² as a fraction."""
    dot = sum((Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), y.tolist(), strict=True)), Fraction(0))
    return Fraction(SCALES.weight) * dot / len(x) + Fraction(SCALES.bias)


def step(x, xp, small_angles=False, growth=1.0):
    """Before a nonlinearity, with Σ of all rows and of all columns."""
    own = (DiagonalKernels(sigma=np.array([float(exact(p, p)) for p in points])) for points in (x, xp))
    prepared = Prepared(expectations=None, small_angles=small_angles, slopes=True, growth=growth)
    return SimpleNamespace(diagonals=tuple(own), prepared=prepared, own_diagonal=False)


def kernels(block, origin):
    return PairKernels(origin=origin, sigma=SCALES.weight * block.gram() + SCALES.bias)


def judge(cov, pairs):
    """Each pair of points against fractions; the same points have no determinant and c = q."""
    q, qp = (np.broadcast_to(v, cov.c.shape) for v in (cov.q, cov.qp))
    for place, (x, y) in pairs.items():
        wanted = exact(x, x), exact(y, y), exact(x, y)
        det = wanted[0] * wanted[1] - wanted[2] ** 2
        for value, right in zip((q[place], qp[place], cov.c[place]), wanted, strict=True):
            assert value == pytest.approx(float(right), rel=1e-14, abs=1e-15)
        assert cov.det[place] == pytest.approx(float(det), rel=1e-12, abs=0)
        if (x == y).all():
            assert cov.c[place] == q[place]


def test_rows_and_columns():
    rows, columns = slice(6, 9), slice(5, 10)
    block = PointBlock(rows, columns, X[rows], X[columns])
    assert (block.looked, block.same) == (False, None)
    cov = block.covariance(step(X, X), kernels(block, (INPUT, SCALES)))
    assert (cov.q.shape, cov.qp.shape) == ((3, 1), (1, 5))
    judge(cov, {(i, j): (X[6 + i], X[5 + j]) for i in range(3) for j in range(5)})
    # points 6 and 7 are the same, 8 is opposite
    assert sorted(zip(*block.same, strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 3)]
    assert block.looked
    at = np.array([0, 2]), np.array([1, 4])
    np.testing.assert_array_equal(block.points(at), (X[[6, 8]], X[[6, 9]]))


@pytest.mark.parametrize("part", [slice(0, 10), slice(5, 10), slice(4, 10)])
def test_a_triangle(part):
    """Pairs as the triangle has them, of the rows' diagonals alone; each gathered once for a step."""
    block, before = TriangleBlock(part, X[part]), step(X, X)
    before.diagonals = before.diagonals[0], None
    k = kernels(block, (INPUT, SCALES))
    cov = block.covariance(before, k)
    i, j = block.triangle.rows, block.triangle.columns
    np.testing.assert_array_equal(block.rows, part.start + i)
    np.testing.assert_array_equal(block.columns, part.start + j)
    own = X[part]
    np.testing.assert_allclose(block.gram(), np.einsum("abn,abn->ab", own[i], own[j]) / 4, rtol=1e-12, atol=1e-14)
    judge(cov, {place: (own[i[place]], own[j[place]]) for place in np.ndindex(cov.c.shape)})
    np.testing.assert_array_equal(cov.variances, before.diagonals[0].sigma[part])
    assert (cov.det[0] == 0).all()
    same = {tuple(place) for place in zip(*block.same, strict=True)}
    assert same == {place for place in np.ndindex(cov.c.shape) if (own[i[place]] == own[j[place]]).all()}
    np.testing.assert_array_equal(block.points(([0, 1], [2, 3])), (own[i[[0, 1], [2, 3]]], own[j[[0, 1], [2, 3]]]))
    first, second = block.sides(before, k)
    again = block.sides(before, k)
    assert again[0] is first
    assert again[1] is second
    np.testing.assert_array_equal(np.broadcast_to(first.sigma, i.shape), before.diagonals[0].sigma[part][i])
    np.testing.assert_array_equal(second.sigma, before.diagonals[0].sigma[part][j])
    assert block.sides(step(X, X), k)[0] is not first


def blocks():
    rows, columns, part = slice(6, 9), slice(5, 10), slice(4, 10)
    yield PointBlock(rows, columns, X[rows], X[columns])
    yield TriangleBlock(part, X[part])


@pytest.mark.parametrize("which", [0, 1])
def test_behind_another_layer_equal_points_are_looked_for_once(which, monkeypatch):
    block = list(blocks())[which]
    first = list(blocks())[which]
    wanted = first.covariance(step(X, X), kernels(first, (INPUT, SCALES)))
    for origin in (None, ("what LayerNorm knows", SCALES)):
        cov = block.covariance(step(X, X, True, 1e9), kernels(block, origin))
        assert {tuple(place) for place in zip(*map(np.asarray, block.same), strict=True)} == {
            tuple(place) for place in zip(*map(np.asarray, first.same), strict=True)
        }
        assert (cov.det[block.same] == 0).all()
        # rounding of Σ, of which the points are not asked
        scale = np.broadcast_to(cov.q * cov.qp, cov.c.shape)
        assert (cov.det >= 0).all()
        assert (np.abs(cov.det - wanted.det) <= 1e-14 * scale).all()
        monkeypatch.setattr(block, "equal", None)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("small_angles", "growth", "least"),
    [(False, 4000.0, None), (True, 1.0, 1e-8), (True, 4000.0, 4e-5), (False, 5000.0, 1e-4), (True, 5000.0, 1e-4)],
)
def test_where_small_angles_are_felt_determinants_are_refined(monkeypatch, which, small_angles, growth, least):
    block, seen = list(blocks())[which], []

    def refine(*given):
        seen.append(given)
        given[2].det[...] = -1.0
        return given[2]

    monkeypatch.setattr(module, "refined", refine)
    source = Source(act="an activation", cov="its covariance")
    before = step(X, X, small_angles, growth)
    cov = block.covariance(before, kernels(block, (source, SCALES)))
    if least is None:
        assert not seen
        return
    ((act, before_it, later, same, scales, bound),) = seen
    assert (act, before_it, bound) == ("an activation", "its covariance", pytest.approx(least))
    assert same is block.same
    assert scales is SCALES
    assert later.q is cov.q
    assert later.qp is cov.qp
    # never below 0
    assert (cov.det == 0).all()
    # without scales there is nothing to refine it with
    block.covariance(before, kernels(block, (source, None)))
    assert len(seen) == 1


def test_correlations():
    """q² (1 − ρ)(1 + ρ) has all its digits, however near to 1 ρ is."""
    rho = np.array([0.5, 1.0, 1 - 2.0**-50, -1.0, -0.25])
    one = DiagonalKernels(sigma=np.array([3.0]))
    before = SimpleNamespace(
        diagonals=(one, one), prepared=Prepared(expectations=None, small_angles=False, slopes=False, growth=1.0)
    )
    block = CorrelationBlock(rho)
    cov = block.covariance(before, PairKernels(origin=(INPUT, SCALES), sigma=3.0 * rho[None, :]))
    np.testing.assert_array_equal(cov.c, 3 * rho[None, :])
    assert cov.det.tolist() == [[float(9 * (1 - Fraction(r) ** 2)) for r in rho.tolist()]]
    assert (np.ravel(cov.q).tolist(), np.ravel(cov.qp).tolist()) == ([3.0], [3.0] * 5)
    assert [place.tolist() for place in block.same] == [[0], [1]]
    behind = CorrelationBlock(rho)
    behind.covariance(before, PairKernels(origin=None, sigma=3.0 * rho[None, :]))
    assert [place.tolist() for place in behind.same] == [[0], [1]]
    assert CorrelationBlock(rho[2:]).equal(None, None, None) is None


def test_a_block_of_no_kind_knows_no_points():
    block = Block(slice(0, 1), slice(0, 1))
    for ask in (block.equal, block.first):
        with pytest.raises(NotImplementedError):
            ask(None, None, None)


def test_what_is_prepared_stays_as_it_was():
    for kind, values in ((Prepared, ("expectations", "small_angles", "slopes", "growth")), (Source, ("act", "cov"))):
        one = kind(**dict.fromkeys(values, 1))
        assert one != kind(**dict.fromkeys(values, 1))
        with pytest.raises(FrozenInstanceError):
            setattr(one, values[0], 2)
        with pytest.raises(TypeError):
            kind(*[1] * len(values))
