"""Residual and normalised networks at nearly parallel points: as good as is said, beside their recursion in 60 digits."""

import re
import warnings

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import PrecisionWarning
from kernelcalc.kernels.layers import Dense, LayerNorm, Residual

W, BETA = 3.0, 0.125
POINT, STEP = np.random.default_rng(7).normal(size=(2, 4))


def _abs(q, qp, c):
    """E |a||b| and E sign a sign b."""
    root = mp.sqrt(q * qp)
    rho = c / root
    return 2 / mp.pi * root * (mp.sqrt(max(1 - rho * rho, 0)) + rho * mp.asin(rho)), 2 / mp.pi * mp.asin(rho)


def _relu(q, qp, c):
    """relu = (x + |x|)/2."""
    value, slope = _abs(q, qp, c)
    return (value + c) / 4, (slope + 1) / 4


def _sin(q, qp, c):
    size = mp.exp(-(q + qp) / 2)
    return size * mp.sinh(c), size * mp.cosh(c)


def _sign(q, qp, c):
    return _abs(q, qp, c)[1], mp.mpf(0)


FORMS = {"abs": _abs, "relu": _relu, "sin": _sin, "sign": _sign}


def network(name, blocks, normalised, residual):
    inner = [*([LayerNorm()] if normalised else []), name, Dense(W, BETA)]
    every = [Residual(*inner) if residual else layer for _ in range(blocks) for layer in ([0] if residual else inner)]
    return kc.Sequential(Dense(W, BETA), *every, name, Dense(W, BETA))


def recursion(name, blocks, normalised, residual, points):
    """Σ and Θ at (x, x), (x', x') and (x, x')."""
    form = FORMS[name]
    w2, b2 = mp.mpf(W) ** 2, mp.mpf(BETA) ** 2
    x, y = ([mp.mpf(float(v)) for v in point] for point in points)
    sigma = [w2 * mp.fdot(u, v) / len(x) + b2 for u, v in ((x, x), (y, y), (x, y))]
    theta = list(sigma)
    for block in range(blocks + 1):
        at, tangent = list(sigma), list(theta)
        last = block == blocks
        if normalised and not last:
            scale = sigma[0], sigma[1], mp.sqrt(sigma[0] * sigma[1])
            at, tangent = ([value / by for value, by in zip(values, scale, strict=True)] for values in (at, tangent))
        means = [form(*of) for of in ((at[0],) * 3, (at[1],) * 3, tuple(at))]
        of_branch = [w2 * value + b2 for value, _ in means]
        of_tangents = [w2 * t * slope + value for t, (_, slope), value in zip(tangent, means, of_branch, strict=True)]
        stream = residual and not last
        sigma, theta = (
            [a + b if stream else b for a, b in zip(before, after, strict=True)]
            for before, after in ((sigma, of_branch), (theta, of_tangents))
        )
    return {"sigma": sigma, "theta": theta}


def found(net, points, names):
    """Kernels, and the error that is said of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernels = net.kernels(points, only=names)
    said = [str(one.message) for one in caught if one.category is PrecisionWarning]
    assert len(said) == len(caught) <= 1
    pattern = (
        r"points that are nearly parallel behind sums of branches or LayerNorm: relative error .* up to (\S+); leave .*"
    )
    return kernels, float(re.fullmatch(pattern, said[0])[1]) if said else 1e-10


@pytest.mark.parametrize("kind", [(True, False), (False, True), (True, True)], ids=["norm", "residual", "both"])
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("more", [0, 9])
def test_errors_are_those_that_are_said(name, kind, more):
    names = ("sigma",) if name == "sign" else ("sigma", "theta")
    others = np.random.default_rng(3).normal(size=(more, 4))
    for apart in (1e-2, 1e-4, 1e-6, 1e-8):
        points = np.array([POINT, POINT + apart * STEP])
        kernels, error = found(network(name, 10, *kind), np.concatenate([points, others]), names)
        with mp.workdps(60):
            known = recursion(name, 10, *kind, points)
            for kernel in names:
                for place, right in zip(((0, 0), (1, 1), (0, 1)), known[kernel], strict=True):
                    assert abs(kernels[kernel][place] - right) < error * known[kernel][0], (apart, kernel, place)
        assert error == 1e-10 or apart < 1e-2


def test_where_no_angle_is_felt_nothing_is_said():
    points = np.array([POINT, POINT + 1e-8 * STEP])
    for name, names, residual, said in (
        ("relu", "theta", True, True),
        ("relu", "sigma", True, False),
        ("relu", "theta", False, False),
    ):
        net = network(name, 3, False, residual)
        assert (found(net, points, names)[1] > 1e-10) is said
    # points with themselves, and equal ones
    assert found(network("relu", 3, True, True), np.array([POINT, POINT, STEP]), "theta")[1] == 1e-10
