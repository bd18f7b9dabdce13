"""Points brought to one norm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernelcalc import datasets
from kernelcalc.errors import InputError, NotFiniteError


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_sphere_of_extreme_points(size: float) -> None:
    x = datasets.rescale(size * np.array([[1.0, 2.0, 2.0]]), "sphere")
    np.testing.assert_allclose(x, np.array([[1.0, 2.0, 2.0]]) / math.sqrt(3), rtol=1e-14)


def test_zero_point_has_no_direction() -> None:
    with pytest.raises(InputError, match="row 1"):
        datasets.rescale([[1.0, 0.0], [0.0, 0.0]], "sphere")
    np.testing.assert_array_equal(datasets.rescale([[0.0, 0.0]], "raw"), [[0.0, 0.0]])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scale", ["sphere", "raw"])
def test_numbers_that_are_not_finite_are_refused(wrong: float, scale: str) -> None:
    with pytest.raises(NotFiniteError, match="X, finite numbers"):
        datasets.rescale([[1.0, wrong]], scale)
