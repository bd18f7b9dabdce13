"""First order in 1/n at large variances: behind a linear layer the covariance of the next one is a Wishart matrix, exactly."""

from __future__ import annotations

import re
import warnings

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import PrecisionWarning
from kernelcalc.kernels.first_order.finite_width import finite_width

BETA = 0.1
FORMS = {
    "erf": lambda q, qp, c: 2 / mp.pi * mp.asin(2 * c / mp.sqrt((1 + 2 * q) * (1 + 2 * qp))),
    "sin": lambda q, qp, c: mp.exp(-(q + qp) / 2) * mp.sinh(c),
}


def _right(form, points, a, b):
    """Σ¹ = ½ Σ_uv ∂²E[σσ']/∂u∂v n Cov(u, v), n Cov(Q_ab, Q_cd) = k_ac k_bd + k_ad k_bc: Taylor to second order in q, q', c."""
    k = [[mp.fdot(x, y) / 2 + mp.mpf(BETA) ** 2 for y in points] for x in points]
    ends = (a, a), (b, b), (a, b)
    at = tuple(k[i][j] + mp.mpf(BETA) ** 2 for i, j in ends)
    if a == b:
        return mp.diff(lambda q: form(q, q, q), at[0], 2) * k[a][a] ** 2
    total = mp.mpf(0)
    for u, (i, j) in enumerate(ends):
        for v, (m, n) in enumerate(ends):
            order = tuple((u == w) + (v == w) for w in range(3))
            total += mp.diff(form, at, order) * (k[i][m] * k[j][n] + k[i][n] * k[j][m]) / 2
    return total


@pytest.mark.parametrize(
    ("name", "size", "warned"), [("erf", 4, False), ("erf", 100, True), ("erf", 1e4, True), ("sin", 4, False)]
)
def test_corrections_are_right_or_say_how_far_off(name, size, warned):
    points = size * np.array([[1.0, 0.3], [0.4, -0.9]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = finite_width(kc.MLP(["x", name], depth=3, sigma_w=1.0, beta=BETA), points).sigma
    messages = [str(one.message) for one in caught if one.category is PrecisionWarning]
    assert len(messages) == warned
    stated = float(re.search(r"up to (\S+) of", messages[0])[1]) if warned else 1e-10
    with mp.workdps(60):
        exact = [[mp.mpf(float(v)) for v in row] for row in points]
        right = np.array([[float(_right(FORMS[name], exact, a, b)) for b in (0, 1)] for a in (0, 1)])
    assert np.abs(found - right).max() < stated * np.abs(right).max()
