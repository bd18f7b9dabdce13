"""Points and what the first layer makes of pairs of them, beside exact fractions."""

from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest

from kernelcalc.errors import CovarianceError, NotFiniteError, ShapeError
from kernelcalc.kernels import points as module
from kernelcalc.kernels.layers import Scales
from kernelcalc.kernels.points import Points, check_points, check_variances, first_covariance

RNG = np.random.default_rng(3)
X = np.concatenate([RNG.normal(size=(3, 5)), np.zeros((1, 5))])
# equal to a row, twice one, near one (by 1e-9 and by 1e-15), opposite, another, the origin
OTHER = np.stack(
    [X[1], 2 * X[0], X[2] + 1e-9 * RNG.normal(size=5), X[0] * (1 + 4e-16), -X[1], RNG.normal(size=5), np.zeros(5)]
)


def exact(x, other, weight, bias):
    """qq' − c² of fractions: what floats say is taken as it is."""
    a, b = (list(map(Fraction, one.tolist())) for one in (x, other))
    q, qp, c = (
        Fraction(weight) * sum(u * v for u, v in zip(*pair, strict=True)) / len(a) + Fraction(bias)
        for pair in ((a, a), (b, b), (a, b))
    )
    return float(q * qp - c * c)


def first(weight, bias, **options):
    q, qp = (weight * Points.of(x).square + bias for x in (X, OTHER))
    scales = Scales(weight=weight, bias=bias, bias_gradient=bias)

    def points(where):
        rows, columns = where
        return X[rows], OTHER[columns]

    c = weight * (X @ OTHER.T) / 5 + bias
    return q, c, first_covariance(points, q[:, None], qp[None, :], c, scales, **options)


@pytest.mark.parametrize("together", [4096, 2, 1])
@pytest.mark.parametrize(("weight", "bias"), [(1.0, 0.0), (2.25, 0.0), (2.25, 0.49), (0.36, 4.0)])
def test_determinants_are_right_to_rounding_however_near_points_are(monkeypatch, together, weight, bias):
    monkeypatch.setattr(module, "_TOGETHER", together)
    q, c, (cov, same) = first(weight, bias)
    known = np.array([[exact(x, other, weight, bias) for other in OTHER] for x in X])
    np.testing.assert_allclose(cov.det, known, rtol=4e-15, atol=1e-30)
    # one row, and the origin
    assert [index.tolist() for index in same] == [[1, 3], [0, 6]]
    # a point with itself: no determinant, and c is q
    beside = np.ones(c.shape, dtype=bool)
    for pair in ((1, 0), (3, 6)):
        assert cov.det[pair] == 0
        assert cov.c[pair] == q[pair[0]]
        beside[pair] = False
    assert np.array_equal(cov.c[beside], c[beside])


def test_rows_that_are_known_to_be_the_same():
    """The first row of pairs is of points with themselves; in the second one pair is equal as well."""
    points, other = np.stack([X[0], X[1], X[2]]), np.stack([X[1], X[1], X[0]])
    q = Points.of(points).square
    asked = []

    def given(where):
        rows, columns = where
        asked.append((rows.tolist(), columns.tolist()))
        return points[columns], other[columns]

    c = np.stack([q * (1 + 3e-16), np.einsum("ij,ij->i", points, other) / 5])
    qp = np.stack([q, Points.of(other).square])
    scales = Scales(weight=1.0, bias=0.0, bias_gradient=0.0)
    cov, same = first_covariance(given, q[None, :], qp, c, scales, own=1)
    assert asked == [([1], [1])]
    assert sorted(zip(*(index.tolist() for index in same), strict=True)) == [(0, 0), (0, 1), (0, 2), (1, 1)]
    assert np.array_equal(cov.c[0], q)
    assert cov.det[0].tolist() == [0, 0, 0]
    known = [exact(a, b, 1.0, 0.0) for a, b in zip(points, other, strict=True)]
    np.testing.assert_allclose(cov.det[1], known, rtol=1e-14, atol=0)


def test_rows_that_are_known_to_be_the_same_where_no_other_is_near():
    x = np.eye(3)
    q, scales = np.ones(3) / 3, Scales(weight=1.0, bias=0.0, bias_gradient=0.0)
    c = np.stack([q * (1 + 3e-16), np.zeros(3)])
    cov, same = first_covariance(lambda where: (x[:0], x[:0]), q[None, :], np.stack([q, q]), c, scales, own=1)
    assert same == (slice(1),)
    assert np.array_equal(cov.c, [q, np.zeros(3)])
    np.testing.assert_allclose(cov.det, [np.zeros(3), np.full(3, 1 / 9)], rtol=1e-15)


def test_where_none_is_near():
    x = np.eye(3)
    q = np.ones(3) / 3
    scales = Scales(weight=1.0, bias=0.0, bias_gradient=0.0)
    cov, same = first_covariance(lambda where: 1 / 0, q[:2, None], q[None, 2:], x[:2] @ x[2:].T / 3, scales)
    assert same is None
    np.testing.assert_allclose(cov.det, np.full((2, 1), 1 / 9), rtol=1e-15)


@pytest.mark.parametrize("bad", [1.1e140, 0.9e-100, np.inf, np.nan])
def test_variances_out_of_range_are_named(bad):
    kept = np.array([0.0, 1e-100, 1e140, 1.0])
    assert check_variances(kept) is kept
    text = "points whose σ_w²|x|²/n_0 + β² is 0 or lies between 1e-100 and 1e+140"
    with pytest.raises(CovarianceError) as caught:
        check_variances(np.array([1.0, 0.0, bad, bad]))
    assert str(caught.value) == f"expected {text}, got {bad:.3g} in row 2"


GRID = "(N, positions, channels) or (N, height, width, channels)"


@pytest.mark.parametrize(
    ("given", "positions", "text"),
    [
        (np.ones(3), False, "X of shape (points, inputs), got shape (3,); one point x is X = x[None, :]"),
        (np.ones((2, 0)), False, "X of shape (points, inputs), got shape (2, 0); one point x is X = x[None, :]"),
        (np.ones((2, 2, 2)), False, "X of shape (points, inputs), got shape (2, 2, 2); images: X.reshape(len(X), -1)"),
        (np.ones((2, 2)), True, f"X of shape {GRID}, got shape (2, 2); grey images: X.reshape(N, height, width, 1)"),
        (np.ones((2, 2)) * 1j, False, "X as a real array of shape (points, inputs), got complex numbers"),
        (
            np.array([["2020-01-01"]], dtype="M8[D]"),
            True,
            f"X as a real array of shape {GRID}, got dtype datetime64[D]",
        ),
    ],
)
def test_other_shapes_and_types_are_named(given, positions, text):
    with pytest.raises(ShapeError) as caught:
        check_points(given, positions=positions)
    assert str(caught.value) == f"expected {text}"


def test_points_that_are_no_numbers():
    with pytest.raises(ShapeError, match=r"Z as a real array of shape \(points, inputs\), got could not convert"):
        check_points([["a"]], "Z")
    for bad in (np.nan, -np.inf):
        given = np.ones((4, 2, 3))
        given[2, 1, 0] = given[3, 0, 0] = bad
        with pytest.raises(NotFiniteError, match=r"^expected finite numbers in Z, got NaN or infinity in row 2$"):
            check_points(given, "Z", positions=True)


@pytest.mark.parametrize("given", [[[True, False]], [[1, 0]], [["1", "0"]], np.array([[1, 0]], dtype=object)])
def test_points_of_other_types_are_floats(given):
    found = check_points(given)
    assert found.dtype == np.float64
    assert found.tolist() == [[1.0, 0.0]]


def test_squares_that_overflow_say_nothing_here():
    assert Points.of(np.array([[1e200, 0.0], [3.0, 4.0]])).square.tolist() == [np.inf, 12.5]


def test_points_are_kept_as_they_were():
    """Two are never one, as arrays have no one answer; what they hold is named."""
    one = Points.of(X)
    assert one != Points.of(X)
    with pytest.raises(FrozenInstanceError):
        one.x = X[:2]
    with pytest.raises(TypeError):
        Points(X, one.square)
