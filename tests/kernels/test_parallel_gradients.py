"""Gradients of kernels at nearly parallel points beside the arc-cosine kernels (Cho and Saul, NeurIPS 2009) in 60 digits."""

from __future__ import annotations

import re
import warnings

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import DivergentExpectationError, PrecisionWarning
from kernelcalc.kernels.gradients import kernel_gradient


def _relu(q, qp, c):
    size, angle = mp.sqrt(q * qp), mp.atan2(mp.sqrt(q * qp - c * c), c)
    value = size * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / (2 * mp.pi)
    return value, (mp.pi - angle) / (2 * mp.pi)


def _abs(q, qp, c):
    """|x| = 2 relu(x) − x."""
    value, slope = _relu(q, qp, c)
    return 4 * value - c, 4 * slope - 1


def _step(q, qp, c):
    return _relu(q, qp, c)[1], mp.nan


FORMS = {"relu": _relu, "abs": _abs, "step": _step}


def _kernels(form, points, depth, sigma_w, beta):
    def dense(k):
        return sigma_w**2 * k + beta**2

    def first(i, j):
        return dense(mp.fdot(points[i], points[j]) / 2)

    q, qp, sigma = first(0, 0), first(1, 1), first(0, 1)
    theta = sigma
    for _ in range(depth - 1):
        value, slope = form(q, qp, sigma)
        theta = dense(value) + sigma_w**2 * theta * slope
        q, qp, sigma = dense(form(q, q, q)[0]), dense(form(qp, qp, qp)[0]), dense(value)
    return {"theta": theta, "sigma": sigma}


@pytest.mark.parametrize(
    ("name", "kernel", "angle", "depth", "warned"),
    [
        ("relu", "theta", 1e-7, 3, True),
        ("abs", "theta", 1e-6, 5, True),
        ("abs", "theta", 1e-4, 3, False),
        ("relu", "sigma", 1e-7, 3, False),
        ("step", "sigma", 1e-5, 3, True),
        ("step", "sigma", 1e-3, 2, False),
    ],
)
def test_nearly_parallel_points(name, kernel, angle, depth, warned):
    points = np.array([[1.0, 0.7], [np.cos(angle) - 0.7 * np.sin(angle), np.sin(angle) + 0.7 * np.cos(angle)]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value, gradient = kernel_gradient(kc.MLP(name, depth=depth, sigma_w=1.3, beta=0.1), points, kernel=kernel)
    messages = [str(one.message) for one in caught if one.category is PrecisionWarning]
    assert len(messages) == warned
    stated = float(re.search(r"up to (\S+?);", messages[0])[1]) if warned else 1e-10
    with mp.workdps(60):
        exact = [[mp.mpf(float(v)) for v in row] for row in points]
        at = mp.mpf(1.3), mp.mpf(0.1)
        right = _kernels(FORMS[name], exact, depth, *at)[kernel]
        slopes = [
            mp.diff(lambda w: _kernels(FORMS[name], exact, depth, w, at[1])[kernel], at[0]),
            mp.diff(lambda b: _kernels(FORMS[name], exact, depth, at[0], b)[kernel], at[1]),
        ]
        assert abs(value[0, 1] / right - 1) < stated
        assert max(abs(gradient[0, 1, k] - slopes[k]) for k in (0, 1)) < stated * abs(slopes[0])


@pytest.mark.parametrize("other", [[np.cos(5e-9), np.sin(5e-9)], [2.0, 0.0]])
def test_parallel_points_are_named(other):
    points = np.array([[0.3, 0.7], [1.0, 0.0], other])
    with pytest.raises(DivergentExpectationError, match=r"above 2e-8.*kinks of relu.*row 1 of X and row 2 .*leave one"):
        kernel_gradient(kc.MLP("relu", depth=2, sigma_w=1.3, beta=0), points)
