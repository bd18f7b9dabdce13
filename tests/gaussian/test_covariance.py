"""The determinant keeps its digits; what is no covariance is refused."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelcalc.errors import CovarianceError, NotFiniteError, ShapeError
from kernelcalc.gaussian.covariance import (
    LARGEST,
    ApartCovariance,
    ApartPoints,
    Covariance,
    determinant,
    determinant_and_close,
    make_covariance,
)

positive = st.floats(1e-8, 1e4)


@given(q=positive, qp=positive, exponent=st.integers(1, 52), sign=st.sampled_from([-1, 1]))
def test_determinant_against_exact_fractions(q, qp, exponent, sign):
    c = sign * np.sqrt(q) * np.sqrt(qp) * (1 - 2.0**-exponent)
    exact = Fraction(q) * Fraction(qp) - Fraction(float(c)) ** 2
    got = float(determinant(np.float64(q), np.float64(qp), np.float64(c)))
    # Dekker's products are exact, three additions round.
    assert abs(Fraction(got) - exact) <= abs(exact) * Fraction(1, 2**50)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((-1.0, 1.0, 0.0), CovarianceError),
        ((1.0, -1e-300, 0.0), CovarianceError),
        ((1.0, 1.0, 1.1), CovarianceError),
        ((0.0, 1.0, 0.1), CovarianceError),
        ((1.0, 1.0, 1 + 1e-9), CovarianceError),
        ((1e-170, 1e-170, 1.5e-170), CovarianceError),
        ((1e200, 1.0, 0.0), CovarianceError),
        ((float("nan"), 1.0, 0.0), NotFiniteError),
        ((1.0, float("inf"), 0.0), NotFiniteError),
        (("a", 1.0, 0.0), ShapeError),
        ((np.ones(2), np.ones(3), 0.0), ShapeError),
        ((1j, 1.0, 0.0), ShapeError),
    ],
)
def test_what_is_no_covariance_is_refused(arguments, error):
    with pytest.raises(error):
        make_covariance(*arguments)


def test_rounding_beyond_one_is_taken_as_one():
    q = 0.1 + 0.2
    cov = make_covariance(q, q, np.nextafter(q, 1))
    assert cov.det == 0.0
    assert cov.rho == pytest.approx(1.0, abs=1e-15)


def exact_determinant(q, qp, c):
    return Fraction(float(q)) * Fraction(float(qp)) - Fraction(float(c)) ** 2


@pytest.mark.parametrize("near", ["all", "some", "none"])
@pytest.mark.parametrize("shape", [(40,), (4, 5)])
def test_determinants_of_arrays_are_those_of_their_entries(near, shape):
    """Only where the products nearly cancel their rounding is added, and there it must be, down to det/qq' = 1e-15."""
    rng = np.random.default_rng(0)
    q, qp = rng.uniform(0.3, 3.0, size=(2, *shape))
    distance = {
        "all": 10 ** rng.uniform(-15, -2, shape),
        "some": np.where(rng.random(shape) < 0.5, 10 ** rng.uniform(-15, -2, shape), rng.uniform(0.4, 1.0, shape)),
        "none": rng.uniform(0.4, 1.0, shape),
    }[near]
    c = np.sqrt(q) * np.sqrt(qp) * (1 - distance)
    before = q.copy(), qp.copy(), c.copy()
    found = determinant(q, qp, c)
    for at in np.ndindex(shape):
        exact = exact_determinant(q[at], qp[at], c[at])
        assert abs(Fraction(float(found[at])) - exact) <= abs(exact) * Fraction(1, 2**49), at
    np.testing.assert_array_equal(before, (q, qp, c))


def test_determinants_broadcast():
    q, c = np.array([1.0, 2.0, 3.0]), np.array([[0.999999999], [0.1]])
    found = determinant(q, np.float64(1.0), c)
    assert found.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        exact = exact_determinant(q[j], 1.0, c[i, 0])
        assert abs(Fraction(float(found[i, j])) - exact) <= abs(exact) * Fraction(1, 2**49)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, 1.0, 0.0), "expected a variance 0 ≤ q1 ≤ 1e+140, got -1.0"),
        ((1.0, [1.0, -2.0], 0.0), "expected a variance 0 ≤ q2 ≤ 1e+140, got -2.0"),
        ((float("nan"), 1.0, 0.0), "expected finite numbers in q1, got NaN or infinity"),
        ((1.0, float("inf"), 0.0), "expected finite numbers in q2, got NaN or infinity"),
        ((1.0, 1.0, [0.0, float("nan")]), "expected finite numbers in c, got NaN or infinity"),
        (([1.0, 4.0], 1.0, [1.0, 3.0]), "expected a covariance with c² ≤ q1·q2, got q1=4.0, q2=1.0, c=3.0"),
        ((1.0, 4.0, -3.0), "expected a covariance with c² ≤ q1·q2, got q1=1.0, q2=4.0, c=-3.0"),
    ],
)
def test_refusals_say_which_number(arguments, message):
    with pytest.raises(ValueError, match=r".*") as caught:
        make_covariance(*arguments)
    assert str(caught.value) == message


def test_shapes_that_do_not_broadcast_are_said():
    with pytest.raises(ShapeError, match=r"^expected real arrays q1, q2, c that broadcast, got .*shape mismatch"):
        make_covariance(np.ones(2), np.ones(3), 0.0)


def test_the_edges_are_allowed():
    assert make_covariance(LARGEST, LARGEST, LARGEST).det == 0.0
    assert make_covariance(0.0, 3.0, 0.0).det == 0.0
    assert make_covariance(0, 0, 0).rho == 0.0
    with pytest.raises(CovarianceError):
        make_covariance(np.nextafter(LARGEST, np.inf), 1.0, 0.0)
    # a few ulp beyond one are rounding, 1e-12 is not
    assert make_covariance(1.0, 1.0, 1 + 4e-16).det == 0.0
    for c in (1 + 1e-12, -1 - 1e-12):
        with pytest.raises(CovarianceError):
            make_covariance(1.0, 1.0, c)


def test_an_excess_is_measured_by_the_products():
    """c² may exceed q q' by 1e-13 of it, at variances that differ."""
    for q, qp in ((1.0, 4.0), (4.0, 1.0), (0.25, 1.0)):
        root = np.sqrt(q * qp)
        assert make_covariance(q, qp, root * (1 + 0.3e-13)).det == 0.0
        with pytest.raises(CovarianceError):
            make_covariance(q, qp, root * (1 + 0.7e-13))


def test_pairs_are_selected_and_turned():
    cov = make_covariance([1.0, 4.0, 0.0], [4.0, 1.0, 2.0], [1.0, -1.6, 0.0])
    np.testing.assert_allclose(cov.rho, [0.5, -0.8, 0.0], rtol=1e-15)
    np.testing.assert_allclose(cov.det, [3.0, 1.44, 0.0], rtol=1e-15)
    part = cov.take(np.array([False, True, False]))
    assert [float(v[0]) for v in (part.q, part.qp, part.c)] == [4.0, 1.0, -1.6]
    np.testing.assert_array_equal(part.det, cov.det[1:2])
    turned = cov.swapped()
    np.testing.assert_array_equal((turned.q, turned.qp, turned.c, turned.det), (cov.qp, cov.q, cov.c, cov.det))
    assert isinstance(turned, Covariance)
    assert make_covariance([[1], [2]], [1, 2, 3], 0).q.tolist() == [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]


def test_no_warning_where_products_leave_the_range():
    """Warnings are errors in tests."""
    for size in (1e-200, 1e-320, 1e139):
        assert make_covariance(size, size, size / 2).rho == pytest.approx(0.5, rel=1e-3)
    for c in (1e200, [0.0, -1e308]):
        with pytest.raises(CovarianceError):
            make_covariance(1.0, 1.0, c)


@pytest.mark.parametrize("own", [0, 1])
@pytest.mark.parametrize("reach", [0.3, 0.9, 0.94, 0.999])
@pytest.mark.parametrize("spread", [1.0, 1.3, 6.0])
def test_which_pairs_are_close(spread, reach, own):
    """Those with |ρ| ≥ √(7/8) = 0.935, found pair by pair, whatever bounds of all pairs together say."""
    rng = np.random.default_rng(3)
    q = rng.uniform(1.0, spread, 12)
    # row d: points i and i + d; with ``own`` the first row are the points with themselves
    qp = np.stack([np.roll(q, -d) for d in range(7)]) if own else rng.uniform(1.0, spread, (7, 12))
    rho = rng.uniform(-reach, reach, (7, 12))
    rho[3, 5], rho[6, 2] = reach, -reach
    if own:
        rho[0] = 1.0
    c = rho * np.sqrt(q * qp)
    det, close = determinant_and_close(q[None], qp, c, own)
    expected = [(d, i) for d in range(own, 7) for i in range(12) if abs(rho[d, i]) > np.sqrt(7 / 8)]
    assert ([] if close is None else list(zip(*(index.tolist() for index in close), strict=True))) == expected
    np.testing.assert_allclose(det[own:], ((1 - rho**2) * q * qp)[own:], rtol=1e-12)
    assert not det[:own].any()


def apart(points, ratio):
    """Random variances within a factor 1.2, covariances up to a part of the smallest."""
    rng = np.random.default_rng(3)
    q = rng.uniform(1.0, 1.2, size=7)
    if points:
        qp, c = np.stack([np.roll(q, -d) for d in range(4)]), rng.uniform(-ratio, ratio, size=(4, 7))
        c[0] = q
        return ApartPoints(q[None], qp, c, 1, variances=q)
    return ApartCovariance(q[:, None], q[None, ::-1], rng.uniform(-ratio, ratio, size=(7, 7)))


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize(("v", "vp"), [(0.0, 0.0), (0.5, 2.0), (1e-9, 0.0)])
def test_determinants_of_pairs_that_are_apart(points, v, vp):
    cov = apart(points, 0.93)
    assert cov.holds
    found = cov.smoothed(v, vp) if v or vp else cov.det
    q, qp = (np.broadcast_to(one, cov.c.shape) for one in (cov.q, cov.qp))
    for at in np.ndindex(cov.c.shape):
        exact = (Fraction(q[at]) + Fraction(v)) * (Fraction(qp[at]) + Fraction(vp)) - Fraction(cov.c[at]) ** 2
        assert abs(Fraction(float(found[at])) - exact) <= abs(exact) * Fraction(8, 2**52), at
    np.testing.assert_array_equal(cov.det, determinant(cov.q, cov.qp, cov.c, cov.own))


@pytest.mark.parametrize("points", [True, False])
def test_pairs_that_may_not_be_apart_are_told(points):
    assert not apart(points, 1.0).holds
    cov = apart(points, 0.1)
    assert cov.holds
    for value in (0.99, -0.99, np.nan):
        cov = apart(points, 0.1)
        cov.c[-1, 2] = value
        assert not cov.holds
