"""How costs grow: ``python benchmarks/exponents.py [ROWS]`` fits seconds ∝ size^exponent, kept in benchmarks/results.

Least squares of log seconds over the range that is named, processor time of all threads, the least of several runs. An exponent
below that of the operations says that fixed costs still count in the range.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from record import Table, cpu_seconds

import kernelcalc as kc

INPUTS = 196
COLUMNS = {
    "work": "",
    "grows with": "",
    "from": "d",
    "to": "d",
    "exponent": ".2f",
    "largest error of the fit": ".0%",
    "s at the first": ".2g",
    "s at the last": ".2g",
}
Case = tuple[str, str, tuple[int, ...], Callable[[int], Callable[[], Any]]]


def points(count: int, seed: int = 0) -> np.ndarray:
    """Random points of many norms."""
    return np.random.default_rng(seed).normal(size=(count, INPUTS))


def kernels(count: int, depth: int, name: str = "tanh") -> Callable[[], Any]:
    """Six kernels."""
    net, x = kc.MLP(name, depth=depth), points(count)
    return lambda: net.kernels(x)


def moments(count: int, n_out: int, times: int = 20) -> Callable[[], Any]:
    """Moments of the Hessian through training, from kernels that are there."""
    found = kc.MLP("erf", depth=3, n_out=n_out).kernels(points(count))
    targets, at = points(count, 1)[:, :n_out], np.geomspace(0.1, 1e3, times)
    return lambda: kc.mse_moments(found, targets, at)


def finite(count: int, width: int, n_out: int = 1) -> Callable[[], Any]:
    """All moments of one network's Hessian at the start."""
    net, x = kc.MLP("tanh", depth=3, n_out=n_out), points(count)
    network = kc.FiniteNetwork.random(net, (width, width), INPUTS, 0)
    return lambda: network.hessian_moments(x, np.zeros((count, n_out)))


def softmax(samples: int) -> Callable[[], Any]:
    """Moments of the Hessian under a loss without closed form, whose outputs are sampled."""
    x, labels = kc.datasets.mnist14(64)
    found = kc.MLP("tanh", depth=3, n_out=10).kernels(x)
    return lambda: kc.hessian_moments(found, labels, np.r_[0, np.geomspace(0.1, 100, 9)], "softmax", samples=samples)


CASES: tuple[Case, ...] = (
    ("six kernels, tanh, L = 3", "points N", (512, 1024, 2048, 4096), lambda n: kernels(n, 3)),
    ("six kernels, tanh, N = 512", "depth L − 1", (2, 4, 8, 16), lambda hidden: kernels(512, hidden + 1)),
    ("moments at 20 times, erf", "points N", (256, 512, 1024), lambda n: moments(n, 1)),
    ("moments at 20 times, erf, N = 256", "outputs n_out", (1, 4, 16, 64), lambda n_out: moments(256, n_out)),
    ("softmax moments at 10 times, tanh, 64 digits", "samples", (16, 32, 64, 128), softmax),
    ("Hessian moments, width 64", "points N", (32, 64, 128, 256), lambda n: finite(n, 64)),
    ("Hessian moments, N = 64", "width", (64, 128, 256, 512), lambda width: finite(64, width)),
    ("Hessian moments, N = 32, width 64", "outputs n_out", (1, 2, 4, 8), lambda n_out: finite(32, 64, n_out)),
)


def main() -> None:
    """Measure, fit, keep."""
    table = Table("exponents", COLUMNS, keys=2)
    wanted = tuple(sys.argv[1:])
    for what, variable, sizes, make in CASES:
        if wanted and not what.startswith(wanted):
            continue
        seconds = []
        for size in sizes:
            work = make(size)
            work()
            seconds.append(cpu_seconds(work, 2))
        logs, found = np.log(sizes), np.log(seconds)
        slope, start = np.polyfit(logs, found, 1)
        worst = float(np.abs(np.expm1(found - slope * logs - start)).max())
        table.add(what, variable, sizes[0], sizes[-1], float(slope), worst, seconds[0], seconds[-1])


if __name__ == "__main__":
    main()
