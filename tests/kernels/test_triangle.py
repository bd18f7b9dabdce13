"""Squares on the diagonal of a Gram matrix, each pair once: against all pairs of the same points as two sets."""

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import DivergentExpectationError
from kernelcalc.gaussian.floats import layer
from kernelcalc.gaussian.floats.blocks import SeriesBlocks
from kernelcalc.kernels import blocks, gram
from kernelcalc.kernels.blocks import Matrix, even_sides, triangle
from kernelcalc.kernels.state import KERNEL_NAMES

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("side", [1, 2, 5, 6, 192, 193, 194])
def test_a_triangle_has_each_pair_once(side):
    """But those of points opposite each other in an even number, which stand there twice; first the points with themselves."""
    pairs = triangle(side)
    assert pairs.rows.shape == pairs.columns.shape == pairs.flat.shape == (side // 2 + 1, side)
    found = sorted(tuple(sorted(pair)) for pair in zip(pairs.rows.flat, pairs.columns.flat, strict=True))
    twice = [(i, i + side // 2) for i in range(side // 2)] if side % 2 == 0 else []
    assert found == sorted([(i, j) for i in range(side) for j in range(i, side)] + twice)
    assert pairs.rows[0].tolist() == pairs.columns[0].tolist() == list(range(side))
    values = RNG.normal(size=side)
    whole = np.broadcast_to(pairs.of_rows(values), pairs.rows.shape), pairs.of_columns(values)
    np.testing.assert_array_equal(whole, (values[pairs.rows], values[pairs.columns]))
    whole = RNG.normal(size=(side, side))
    x = RNG.integers(-9, 10, size=(side, 3)).astype(float)
    np.testing.assert_array_equal(pairs.products(x), (x @ x.T)[pairs.rows, pairs.columns])
    upper, lower = whole[pairs.rows, pairs.columns], whole[pairs.columns, pairs.rows]
    np.testing.assert_array_equal(pairs.square(upper, lower), whole)
    same = pairs.square(upper, upper)
    np.testing.assert_array_equal(same, same.T)
    assert np.isin(same, whole).all()
    upper[0, 0] = np.nan
    with pytest.raises(DivergentExpectationError):
        pairs.square(upper, upper)


@pytest.mark.parametrize("rows", [1, 9, 255, 256, 257, 300, 1000, 1025])
def test_every_pair_is_in_one_block(rows):
    sides = even_sides(rows)
    assert max(sides) <= 256
    seen = np.zeros((rows, rows), dtype=int)
    matrix = Matrix(shape=(rows, rows), symmetric=True, sides=sides, packed=True)
    matrix.every_block(lambda r, c: seen.__setitem__((r, c), seen[r, c] + 1))
    assert (np.triu(seen) == np.triu(np.ones_like(seen)) + np.triu(seen - 1)).all()
    assert (seen[np.triu_indices(rows)] == 1).all()


def points(count):
    """Many norms; also equal, opposite, nearly parallel and tiny ones, and one of zeros."""
    x = RNG.normal(size=(count, 7)) * RNG.uniform(0.3, 3, size=(count, 1))
    x[1], x[2], x[3] = x[0], -x[0], x[0] + 1e-9 * x[5]
    x[4], x[-1], x[-2] = 1e-6 * x[4], 2 * x[0], 0.0
    return x


@pytest.mark.parametrize("count", [12, 270])
@pytest.mark.parametrize(
    ("name", "beta"),
    [("relu", 0.0), ("abs", 0.3), ("erf", 0.0), ("gelu", 0.1), ("sin(2*x) + x", 0.1), ("x*erf(x)", 0.0)],
)
def test_as_two_sets_of_points(name, beta, count):
    x = points(count)
    net = kc.MLP(name, depth=4, sigma_w=1.3, beta=beta)
    names = ("sigma", "theta") if name in ("relu", "abs") else KERNEL_NAMES
    one, two = net.kernels(x, only=names), net.kernels(x, x.copy(), only=names)
    for kernel in names:
        values, expected = getattr(one, kernel), getattr(two, kernel)
        scale = np.sqrt(np.abs(np.outer(np.diagonal(expected), np.diagonal(expected)))) + np.abs(expected)
        assert (np.abs(values - expected) <= 2e-12 * scale.clip(1e-30)).all(), kernel
        if kernel not in ("phi", "lam"):
            np.testing.assert_array_equal(values, values.T)


@pytest.mark.parametrize("count", [12, 270])
def test_other_layers_before_the_first_nonlinearity(count):
    """Equal points are then looked for by their directions: multiples of a point are equal behind LayerNorm without a bias."""
    x, layers = points(count)[:-2], kc.layers
    for first in (layers.Dense(1.3, 0.0), layers.Dense(1.3, 0.4)):
        net = kc.Sequential(
            first,
            layers.LayerNorm(),
            "gelu",
            layers.Dense(1.1, 0.2),
            layers.Residual("erf", layers.Dense()),
            "sin",
            layers.Dense(),
        )
        one, two = net.kernels(x), net.kernels(x, x.copy())
        for kernel in KERNEL_NAMES:
            values, expected = getattr(one, kernel), getattr(two, kernel)
            scale = np.sqrt(np.abs(np.outer(np.diagonal(expected), np.diagonal(expected)))) + np.abs(expected)
            assert (np.abs(values - expected) <= 1e-11 * scale).all(), kernel


@pytest.mark.parametrize("two_sets", [False, True])
def test_equal_points_behind_layer_norm_are_equal(two_sets):
    """Their angle is 0, not the root of a rounding: Θ of relu would show it at 1e-8."""
    one, layers = RNG.normal(size=(40, 50)), kc.layers
    x = np.concatenate([one, one])
    net = kc.Sequential(layers.Dense(1.3, 0.4), layers.LayerNorm(), "relu", layers.Dense(), "relu", layers.Dense())
    K = net.kernels(x, x.copy() if two_sets else None, only=("sigma", "theta"))
    for values in (K.sigma, K.theta):
        np.testing.assert_allclose(np.diagonal(values[:40, 40:]), np.diagonal(values)[:40], rtol=1e-13)
        np.testing.assert_allclose(np.diagonal(values[40:, :40]), np.diagonal(values)[:40], rtol=1e-13)


def gelu_and_slope(mean, variance):
    """E g(b) and E g'(b), b ~ N(mean, variance), g(b) = b Φ(b)."""
    t = mp.sqrt(1 + variance)
    u = mean / t
    return (
        mean * mp.ncdf(u) + variance / t * mp.npdf(u),
        mp.ncdf(u) + mean / t * mp.npdf(u) - variance / t**2 * u * mp.npdf(u),
    )


def test_against_twenty_digits():
    """Σ and Θ of gelu by the recursion written out, its expectations as integrals over a of those given a."""
    x = points(10)
    K = kc.MLP("gelu", depth=2, sigma_w=1.3, beta=0.4).kernels(x)
    with mp.workdps(20):
        w2, b2 = mp.mpf(1.3) ** 2, mp.mpf(0.4) ** 2

        def first(i, j):
            return w2 * mp.fsum(mp.mpf(a) * mp.mpf(b) for a, b in zip(x[i], x[j], strict=True)) / 7 + b2

        for i, j in ((0, 1), (5, 6), (4, 8), (0, 9), (7, 7)):
            q, qp, c = first(i, i), first(j, j), first(i, j)
            root, rest = mp.sqrt(q), mp.mpf(0) if i == j else qp - c * c / q
            ends = [root * z for z in (-12, -6, -2, 0, 2, 6, 12)]
            both = [
                mp.quad(
                    lambda a, k=k: gelu_and_slope(a, 0)[k] * gelu_and_slope(c / q * a, rest)[k] * mp.npdf(a, 0, root),  # noqa: B023
                    ends,
                )
                for k in (0, 1)
            ]
            for value, expected in ((K.sigma, w2 * both[0] + b2), (K.theta, w2 * (c * both[1] + both[0]) + b2)):
                assert abs(value[i, j] - expected) <= 2e-14 * abs(expected), (i, j)


def no_fold(*_, **__):
    """Diagonals of all points beforehand."""
    raise AssertionError


def written_out(name, x, depth):
    """Σ and Θ by the arcsine law (Williams 1997) or sinh and cosh, in 25 digits."""
    n, weights, bias = len(x), mp.mpf(1.3) ** 2, mp.mpf(0.4) ** 2
    sigma = [
        [weights * mp.fsum(map(mp.fmul, map(mp.mpf, a), map(mp.mpf, b))) / x.shape[1] + bias for b in x] for a in x
    ]
    theta = sigma
    for _ in range(depth - 1):
        new = [[None] * n for _ in range(n)], [[None] * n for _ in range(n)]
        for i in range(n):
            for j in range(n):
                q, qp, c = sigma[i][i], sigma[j][j], sigma[i][j]
                if name == "erf":
                    both = (1 + 2 * q) * (1 + 2 * qp)
                    values = 2 / mp.pi * mp.asin(2 * c / mp.sqrt(both)), 4 / mp.pi / mp.sqrt(both - 4 * c * c)
                else:
                    values = mp.exp(-(q + qp) / 2) * mp.sinh(c), mp.exp(-(q + qp) / 2) * mp.cosh(c)
                new[0][i][j] = weights * values[0] + bias
                new[1][i][j] = weights * theta[i][j] * values[1] + new[0][i][j]
        sigma, theta = new
    return np.array(sigma, dtype=float), np.array(theta, dtype=float)


@pytest.mark.parametrize("name", ["erf", "sin"])
def test_one_block_of_points_that_are_apart(name, monkeypatch):
    x = RNG.normal(size=(11, 90))
    monkeypatch.setattr(gram, "Fold", no_fold)
    K = kc.MLP(name, depth=3, sigma_w=1.3, beta=0.4).kernels(x, only=("sigma", "theta"))
    with mp.workdps(25):
        sigma, theta = written_out(name, x, 3)
    np.testing.assert_allclose(K.sigma, sigma, rtol=4e-15)
    np.testing.assert_allclose(K.theta, theta, rtol=1e-14)


@pytest.mark.parametrize("count", [9, 64, 200])
@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "sin(2*x) + x", "residual"])
def test_one_block_as_two_sets(name, count, monkeypatch):
    x, layers = RNG.normal(size=(count, 400)) * RNG.uniform(0.9, 1.1, size=(count, 1)), kc.layers
    branch = layers.Residual("erf", layers.Dense(0.7, 0.1))
    net = kc.MLP(name, depth=3, beta=0.2) if name != "residual" else None
    net = net or kc.Sequential(
        layers.Dense(1.1, 0.2), layers.LayerNorm(), "gelu", layers.Dense(), branch, "sin", layers.Dense()
    )
    names = ("sigma", "theta") if name == "relu" else KERNEL_NAMES
    two = net.kernels(x, x.copy(), only=names)
    monkeypatch.setattr(gram, "Fold", no_fold)
    one = net.kernels(x, only=names)
    for kernel in names:
        values, expected = getattr(one, kernel), getattr(two, kernel)
        scale = np.sqrt(np.abs(np.outer(np.diagonal(expected), np.diagonal(expected)))) + np.abs(expected)
        assert (np.abs(values - expected) <= 1e-12 * scale).all(), kernel


def test_points_that_come_near_in_later_layers():
    """All of one block is then done again with what nearly parallel points need."""
    x = RNG.normal(size=(40, 30))
    net = kc.MLP("relu", depth=14, sigma_w=2**0.5, beta=0.1)
    one, two = net.kernels(x, only=("sigma", "theta")), net.kernels(x, x.copy(), only=("sigma", "theta"))
    np.testing.assert_allclose(one.sigma, two.sigma, rtol=1e-13)
    np.testing.assert_allclose(one.theta, two.theta, rtol=1e-11)


@pytest.mark.parametrize(("name", "layers"), [("tanh", 2), ("gelu", 0)])
def test_series_are_made_once(name, layers, monkeypatch):
    """What has no closed forms is not prepared for a block that it then does not go through."""
    made = []

    def series(points):
        made.append(points)
        return SeriesBlocks(points)

    monkeypatch.setattr(layer, "SeriesBlocks", series)
    kc.MLP(name, depth=3).kernels(RNG.normal(size=(30, 40)), only=("sigma", "theta"))
    assert len(made) == layers


def test_threads_and_strips_change_nothing(monkeypatch):
    x = points(600)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(blocks, "processors", lambda count=count: count)
        found.append(kc.MLP("gelu", 3).kernels(x).lam)
    np.testing.assert_array_equal(*found)
