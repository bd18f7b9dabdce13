"""The determinant keeps its digits; what is no covariance is refused."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelcalc.errors import CovarianceError, NotFiniteError, ShapeError
from kernelcalc.gaussian.covariance import determinant, make_covariance

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
