"""Points of one law after each other, on a contour found for the first, against a contour of their own."""

import numpy as np
import pytest
from scipy import stats

from kernelcalc.training.inversion import Tail
from kernelcalc.training.quadratic import Form, square_of

LAWS = {
    "chi-squared": (np.ones(3), np.zeros(3)),
    "both signs": (np.array([1.0, 0.4, -0.7, -0.2]), np.array([0.3, 0.0, 1.0, 0.5])),
    "one large": (np.array([5.0, *[0.1] * 20]), np.zeros(21)),
    "nearly normal": (np.full(40, 0.05), np.ones(40)),
}


def tail(weights, linear):
    scale = np.sqrt(np.sum(2 * weights**2 + linear**2))
    return Tail(weights / scale, (linear / scale) ** 2, np.ones(len(weights)), 1)


@pytest.mark.parametrize("name", LAWS)
def test_points_near_and_far_from_the_last(name):
    weights, linear = LAWS[name]
    shared = tail(weights, linear)
    for x in (1.6, 1.7, 1.65, 0.0, 8.0, 0.01, 4.0):
        np.testing.assert_allclose(shared.invert(x), tail(weights, linear).invert(x), rtol=1e-8, atol=1e-11)


def test_chisquare_ofd_at_many_points():
    shared = tail(np.ones(3), np.zeros(3))
    for x in np.linspace(0, 6, 13):
        exact = stats.chi2.sf(3 + x * 6**0.5, 3)
        np.testing.assert_allclose(shared.invert(x)[0], exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("zero", [0, 3, 4])
@pytest.mark.parametrize("size", [8, 9])
def testsquare_ofs_of_forms_with_an_empty_quarter(size, zero):
    a = np.random.default_rng(0).standard_normal((size, size))
    a += a.T
    if zero:
        a[size - zero :, size - zero :] = 0
    np.testing.assert_allclose(square_of(a), np.linalg.matrix_power(a, 2), rtol=1e-12, atol=1e-12)


def test_a_form_in_turned_directions_is_the_same_law():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((6, 6)), rng.standard_normal((6, 2))
    turned = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    levels = np.array([0.05, 0.5, 0.95])
    one = Form(inner=a + a.T, image=b, constant=0.5).quantiles(levels)
    other = Form(inner=turned.T @ (a + a.T) @ turned, image=turned.T @ b, constant=0.5).quantiles(levels)
    np.testing.assert_allclose(other, one, rtol=1e-8)
