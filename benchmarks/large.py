"""Six kernels of 10,000 points, in a process of its own: ``python benchmarks/large.py``, kept in benchmarks/results/large.json.

User seconds are what the computation takes; system seconds, what handing out fresh memory takes, differ much between
machines. ``--points FILE.npz`` takes the points from the first array of a file (digits, say) instead of random ones; they are
scaled to a mean |x|² = n_0.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
from record import Table

import kernelcalc as kc

INPUTS = 196
COLUMNS = {
    "points": "",
    "wall s": ".3g",
    "user s": ".3g",
    "system s": ".3g",
    "results, GiB": ".2f",
    "peak beyond, MiB": ".0f",
}


def points(file: str | None, count: int) -> np.ndarray:
    """Points of many norms."""
    if file is None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(count, INPUTS)) * rng.uniform(0.4, 1.6, size=(count, 1))
    else:
        with np.load(file) as arrays:
            x = next(array for array in arrays.values() if array.ndim > 1)[:count].reshape(count, -1).astype(float)
    return x * np.sqrt(x.shape[1] / np.mean((x**2).sum(axis=1)))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", metavar="FILE.npz", help="points from here")
    parser.add_argument("--name", default="random", help="what to call them")
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    x, net = points(options.points, options.count), kc.MLP("tanh", depth=3)
    net.kernels(x[:64])
    # ru_maxrss is in KiB, in bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    found = net.kernels(x)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    size = sum(getattr(found, name).nbytes for name in found.available)
    beyond = (after.ru_maxrss - before.ru_maxrss) * unit - size
    table = Table("large", COLUMNS, packages=("numpy", "numba"))
    used = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    table.add(f"{options.name}, N = {options.count}, tanh, L = 3", wall, *used, size / 2**30, beyond / 2**20)


if __name__ == "__main__":
    main()
