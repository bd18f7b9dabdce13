"""Enclosures of E[f(a)g(b)] at random covariances, by ball arithmetic: run to rewrite enclosures.json.

Where a certificate would take seconds (large variances, most of all near |ρ| = 1) the many-digit lattice, which test_lattice.py
holds against enclosures and which shares nothing with the float64 methods, stands in.

Every entry: name, orders i and j of the derivatives, q, q', c, 20 digits of the value, a bound of their error.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import kernelcalc as kc
from kernelcalc.errors import PrecisionError
from kernelcalc.gaussian.balls import expectation as certified

NAMES = ("tanh", "softplus", "silu", "sigmoid", "arctan")
ORDERS = [(i, j) for i in range(4) for j in range(i, 4)]
# Independent streams and draws of each.
STREAMS, COUNT = 50, 20
DEAR = 20_000


def draw(rng):
    """q and q' from 1e-8 to 1e4, a third of them within a decade of each other; ρ uniform, 1e-1 to 1e-13 from ±1, or ±1."""
    q, qp = (float(v) for v in 10 ** rng.uniform(-8, 4, size=2))
    if rng.random() < 1 / 3:
        qp = q * float(10 ** rng.uniform(-1, 1))
    sign = float(rng.choice([-1.0, 1.0]))
    kind = rng.random()
    if kind < 0.1:
        return q, q, sign * q
    rho = rng.uniform(-1, 1) if kind < 0.5 else sign * (1 - 10 ** rng.uniform(-13, -1))
    if kind > 0.95:
        rho = sign * (1 - 1e-12)
    return q, qp, float(rho * np.sqrt(q) * np.sqrt(qp))


def enclose(name, i, j, q, qp, c):
    """Digits and their error bound, as text and float."""
    f, g = (kc.activation(name).derivative(k) for k in (i, j))
    usual, certified.MAX_VALUES = certified.MAX_VALUES, DEAR
    try:
        ball = kc.gaussian_expectation(f, g, q, qp, c, certified=True, dps=17)
        return ball.mid().str(20, radius=False), float(ball.rad()) + 1e-19 * float(abs(ball).upper())
    except PrecisionError:
        value = kc.gaussian_expectation(f, g, q, qp, c, dps=20)
        return str(value), 1e-18 * abs(float(value))
    finally:
        certified.MAX_VALUES = usual


def entries(seed, count=COUNT):
    """Draws with their digits."""
    rng = np.random.default_rng([20, seed])
    found = []
    for _ in range(count):
        name, (i, j) = NAMES[rng.integers(len(NAMES))], ORDERS[rng.integers(len(ORDERS))]
        covariance = draw(rng)
        found.append([name, i, j, *covariance, *enclose(name, i, j, *covariance)])
    return found


if __name__ == "__main__":
    with ProcessPoolExecutor() as pool:
        table = [entry for part in pool.map(entries, range(STREAMS)) for entry in part]
    target = Path(__file__).with_name("enclosures.json")
    target.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in table) + "\n]\n")
    print(f"{len(table)} enclosures in {target.name}")
