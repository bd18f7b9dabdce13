"""Reference values of E[f(a)g(b)] by brute force, without kernelcalc: run to rewrite reference.json.

Smooth functions at q ≤ 4: the two-dimensional trapezoidal rule in mpmath at 32 digits, spacing halved until 26 digits stay.
Kinked functions: nested mpmath.quad split at the kinks. Large variances: two-dimensional Gauss–Legendre panels in long
double, fine enough that two spacings agree to 1e-15 of E|fg|.

Every entry: f, i, g, j, q, qp, c, value, magnitude (E|f^(i)(a) g^(j)(b)|), method.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import mpmath as mp
import numpy as np

DIGITS = 32


def _gauss(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def _sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def _sech2(x):
    return 1 / mp.cosh(x) ** 2


# Derivatives 0 to 3, written by hand.
SMOOTH = {
    "tanh": (
        mp.tanh,
        _sech2,
        lambda x: -2 * mp.tanh(x) * _sech2(x),
        lambda x: (4 * mp.tanh(x) ** 2 - 2 * _sech2(x)) * _sech2(x),
    ),
    "softplus": (
        lambda x: mp.log1p(mp.exp(x)),
        _sigmoid,
        lambda x: _sigmoid(x) * _sigmoid(-x),
        lambda x: _sigmoid(x) * _sigmoid(-x) * (1 - 2 * _sigmoid(x)),
    ),
    "silu": (
        lambda x: x * _sigmoid(x),
        lambda x: _sigmoid(x) + x * _sigmoid(x) * _sigmoid(-x),
        lambda x: _sigmoid(x) * _sigmoid(-x) * (2 + x * (1 - 2 * _sigmoid(x))),
        lambda x: (
            _sigmoid(x)
            * _sigmoid(-x)
            * (3 * (1 - 2 * _sigmoid(x)) + x * ((1 - 2 * _sigmoid(x)) ** 2 - 2 * _sigmoid(x) * _sigmoid(-x)))
        ),
    ),
    "arctan": (
        mp.atan,
        lambda x: 1 / (1 + x * x),
        lambda x: -2 * x / (1 + x * x) ** 2,
        lambda x: (6 * x * x - 2) / (1 + x * x) ** 3,
    ),
    "erf": (
        mp.erf,
        lambda x: 2 * mp.exp(-x * x) / mp.sqrt(mp.pi),
        lambda x: -4 * x * mp.exp(-x * x) / mp.sqrt(mp.pi),
        lambda x: (8 * x * x - 4) * mp.exp(-x * x) / mp.sqrt(mp.pi),
    ),
    "gelu": (
        lambda x: x * mp.ncdf(x),
        lambda x: mp.ncdf(x) + x * _gauss(x),
        lambda x: (2 - x * x) * _gauss(x),
        lambda x: (x**3 - 4 * x) * _gauss(x),
    ),
    "smooth_relu": (
        lambda x: x * mp.ncdf(x) + _gauss(x),
        mp.ncdf,
        _gauss,
        lambda x: -x * _gauss(x),
    ),
    "sin": (mp.sin, mp.cos, lambda x: -mp.sin(x), lambda x: -mp.cos(x)),
    "gaussian": (
        lambda x: mp.exp(-x * x / 2),
        lambda x: -x * mp.exp(-x * x / 2),
        lambda x: (x * x - 1) * mp.exp(-x * x / 2),
        lambda x: (3 * x - x**3) * mp.exp(-x * x / 2),
    ),
}
KINKED = {
    "relu": (lambda x: x if x > 0 else mp.mpf(0), lambda x: mp.mpf(1) if x > 0 else mp.mpf(0)),
    "abs": (abs, mp.sign),
    "leaky_relu": (lambda x: x if x > 0 else x / 100, lambda x: mp.mpf(1) if x > 0 else mp.mpf(1) / 100),
    "elu": (
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.exp(x),
        lambda x: mp.mpf(0) if x > 0 else mp.exp(x),
    ),
}


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _np_sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _np_sech2(x):
    e = np.exp(-2 * np.abs(x))
    return 4 * e / (1 + e) ** 2


LARGE = {
    "tanh": (np.tanh, _np_sech2, lambda x: -2 * np.tanh(x) * _np_sech2(x)),
    "softplus": (_softplus, _np_sigmoid, lambda x: _np_sigmoid(x) * _np_sigmoid(-x)),
    "arctan": (np.arctan, lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2),
}


def trapezoid(f, g, q, qp, c):
    """Two-dimensional trapezoidal sum; returns value and E|fg|."""
    with mp.workdps(DIGITS + 6):
        q, qp, c = mp.mpf(q), mp.mpf(qp), mp.mpf(c)
        std, slope = mp.sqrt(q), c / q
        spread = mp.sqrt(max(qp - c * c / q, 0))
        previous, steps = None, 64
        while True:
            h = mp.mpf(25) / steps
            nodes = [(-mp.mpf(25) / 2 + k * h) for k in range(steps + 1)]
            density = [h * _gauss(z) for z in nodes]
            value = size = mp.mpf(0)
            for z, w in zip(nodes, density, strict=True):
                left = w * f(std * z)
                if spread == 0:
                    right, bound = g(slope * std * z), abs(g(slope * std * z))
                else:
                    terms = [u * g(slope * std * z + spread * y) for y, u in zip(nodes, density, strict=True)]
                    right, bound = mp.fsum(terms), mp.fsum(terms, absolute=True)
                value += left * right
                size += abs(left) * bound
            if previous is not None and abs(value - previous) < size * mp.mpf(10) ** -26:
                return value, size
            previous, steps = value, steps * 3 // 2


def split(f, g, q, qp, c):
    """Nested quadrature, split at the kink 0 of both functions."""
    with mp.workdps(DIGITS):
        q, qp, c = mp.mpf(q), mp.mpf(qp), mp.mpf(c)
        std, slope = mp.sqrt(q), c / q
        spread = mp.sqrt(max(qp - c * c / q, 0))
        edges = [-13, -4, -1, 0, 1, 4, 13]
        if spread == 0:
            run = lambda wrap: mp.quad(lambda z: wrap(f(std * z) * g(slope * std * z)) * _gauss(z), edges)  # noqa: E731
            return run(lambda v: v), run(abs)

        def inner(mean, wrap):
            kink = -mean / spread
            points = (
                [-13, -3, kink, 3, 13]
                if -3 < kink < 3
                else ([-13, kink, 0, 13] if -13 < kink < 0 else ([-13, 0, kink, 13] if 0 < kink < 13 else [-13, 0, 13]))
            )
            return mp.quad(lambda z: wrap(g(mean + spread * z)) * _gauss(z), points)

        def run(wrap):
            return mp.quad(lambda z: wrap(f(std * z)) * inner(slope * std * z, wrap) * _gauss(z), edges)

        return run(lambda v: v), run(abs)


def panels(f, g, q, qp, c):
    """Two-dimensional Gauss–Legendre panels in long double."""
    q, qp, c = np.longdouble(q), np.longdouble(qp), np.longdouble(c)
    std, slope = np.sqrt(q), c / q
    spread = np.sqrt(np.maximum(qp - c * c / q, 0))
    results = []
    for count in (12, 16):
        x, w = (v.astype(np.longdouble) for v in np.polynomial.legendre.leggauss(count))
        # Nodes and weights of leggauss are doubles: one Newton step makes them long double.
        for _ in range(2):
            p0, p1 = np.ones_like(x), x.copy()
            for k in range(2, count + 1):
                p0, p1 = p1, ((2 * k - 1) * x * p1 - (k - 1) * p0) / k
            slope_p = count * (x * p1 - p0) / (x * x - 1)
            x = x - p1 / slope_p
        w = 2 / ((1 - x * x) * slope_p**2)

        def line(width, w=w, x=x):
            grid = np.arange(0, 13, 1, dtype=np.longdouble)
            graded = np.longdouble(2.0) ** -np.arange(1, 1 + max(1, math.ceil(math.log2(8 * width))))
            edges = np.unique(np.concatenate([grid, graded]))
            edges = np.concatenate([-edges[::-1], edges[1:]])
            half, centre = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
            z = (centre[:, None] + half[:, None] * x).ravel()
            return z, (half[:, None] * w).ravel() * np.exp(-z * z / 2) / np.sqrt(2 * np.longdouble(np.pi))

        two_pi = 2 * np.longdouble(mp.nstr(mp.pi, 25))
        z, density = line(float(std))
        density = density * np.sqrt(2 * np.longdouble(np.pi)) / np.sqrt(two_pi)
        a = std * z
        value = size = np.longdouble(0)
        x_edges = np.concatenate(
            [-(np.longdouble(2.0) ** np.arange(12, -4, -1)), [0], np.longdouble(2.0) ** np.arange(-3, 13)]
        )
        for a_k, w_k in zip(a, density, strict=True):
            mean = slope * a_k
            if spread == 0:
                terms = np.array([g(mean)])
            else:
                edges = np.concatenate([x_edges, mean + spread * np.arange(-13, 13.5, 1)])
                edges = np.unique(np.clip(edges, mean - 13 * spread, mean + 13 * spread))
                half, centre = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
                b = (centre[:, None] + half[:, None] * x).ravel()
                u = (half[:, None] * w).ravel() * np.exp(-(((b - mean) / spread) ** 2) / 2) / (spread * np.sqrt(two_pi))
                terms = u * g(b)
            left = w_k * f(np.array([a_k]))[0]
            value += left * terms.sum()
            size += abs(left) * np.abs(terms).sum()
        results.append((value, size))
    (coarse, _), (value, size) = results
    assert abs(value - coarse) < 1e-15 * size, (q, qp, c, value, coarse, size)
    return mp.mpf(np.format_float_positional(value, unique=True)), mp.mpf(float(size))


def cases():
    """(f, i, g, j, q, qp, c, method): every name, orders up to three, both ends of ρ, small and large variances."""
    orders = [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1), (0, 3)]
    settings = [
        (1.0, 1.0, 0.5),
        (0.7, 1.9, -1.1),
        (1.0, 1.0, 1.0),
        (1.0, 1.0, -1.0),
        (1e-6, 1e-6, 9e-7),
        (1e-6, 2.0, 1e-3),
    ]
    for index, name in enumerate(SMOOTH):
        for k, (q, qp, c) in enumerate(settings):
            for m in range(2):
                i, j = orders[(index + k + 3 * m) % len(orders)]
                yield name, i, name, j, q, qp, c, "trapezoid"
    for f, g, c in (("tanh", "gelu", 0.25), ("silu", "arctan", -0.75), ("softplus", "sin", 0.999)):
        yield f, 0, g, 1, 1.0, 1.0, c, "trapezoid"
    for name, functions in KINKED.items():
        for q, qp, c in ((1.0, 1.0, 0.5), (2.0, 0.5, -0.9), (1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (1e-6, 1e3, 0.031)):
            for order in range(len(functions)):
                yield name, order, name, order, q, qp, c, "split"
    for name in LARGE:
        for q, qp, rho in (
            (1e3, 1e3, 0.3),
            (1e3, 900.0, 0.99),
            (1e3, 1e3, -0.9999),
            (1e3, 1e-6, 0.9),
            (50.0, 40.0, 0.999),
        ):
            for order in range(3):
                yield name, order, name, order, q, qp, rho * math.sqrt(q * qp), "panels"


def compute(case):
    """One entry of the table."""
    f, i, g, j, q, qp, c, method = case
    tables = {"trapezoid": (SMOOTH, trapezoid), "split": (KINKED, split), "panels": (LARGE, panels)}
    functions, rule = tables[method]
    value, size = rule(functions[f][i], functions[g][j], q, qp, c)
    return dict(f=f, i=i, g=g, j=j, q=q, qp=qp, c=c, value=mp.nstr(value, 26), magnitude=float(size), method=method)


if __name__ == "__main__":
    table = [compute(case) for case in cases()]
    target = Path(__file__).with_name("reference.json")
    target.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in table) + "\n]\n")
    print(f"{len(table)} values in {target.name}")
