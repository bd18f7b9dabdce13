"""Estimates with a stated error beside the exact way, in one run: ``python benchmarks/shortcuts.py``.

Rows: moments 3 and 4 of softmax from leading eigenvectors of Θ (at the start, in the middle and at the end of training, 256
digits, ten classes), and Tr S² of a finite network by random vectors. Seconds are those of the processor, on one thread; the
limit is that of the exact way's matrix products at the speed that this run measures for one of them.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import kernelcalc as kc
from kernelcalc.training.flow import gradient_flow
from kernelcalc.training.leading import LeadingTraces
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.weighted import bounded_moments


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and its processor seconds."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def product_speed(n: int = 1024) -> float:
    """Multiplications and additions a second in a product of float64 matrices."""
    a = np.random.default_rng(0).random((n, n))
    a @ a
    return 2 * n**3 / min(timed(lambda: a @ a)[1] for _ in range(3))


def softmax_rows(name: str, count: int, speed: float) -> None:
    """Traces of ``count`` Hessians at three times."""
    points, labels = kc.datasets.mnist14()
    theta = np.asarray(kc.MLP(name, depth=3).kernels(points).theta)
    law, n = resolve_loss("softmax"), len(points)
    targets = law.encode(labels, None)
    start = np.linalg.cholesky(theta + 1e-9 * np.eye(n)) @ np.random.default_rng(0).normal(size=(count, n, 10))
    times = [0.0, 1e3, 3e4]
    for when, (_, outputs) in zip(times, gradient_flow(theta, start, targets, law, np.array(times)), strict=True):
        hessians = law.curvature(outputs, targets) / n
        ways = [LeadingTraces(theta, rtol) for rtol in (0.0, 1e-3)]
        for way in ways:  # the rank is found, the products of eigenvectors are made
            bounded_moments(theta, hessians[:1], 4, way, has_blocks=True)
        work = (partial(bounded_moments, theta, hessians, 4, way, has_blocks=True) for way in ways)
        ((exact, _), slow), ((quick, bound), fast) = map(timed, work)
        missing, most = ((part / exact)[:, 2:].max() for part in (exact - quick, bound))
        # pairs of points, points, entries of a symmetric block of nine by nine
        limit = count * n**2 / 2 * n * 45 * 2 / speed
        what = f"softmax, {name}, t = {when:g}, {count} Hessians"
        print(
            f"| {what} | {slow:.3g} | {limit:.2g} | {fast:.3g} | {slow / fast:.1f} | {missing:.1e} | {most:.1e} |",
            flush=True,
        )


def network_row(width: int) -> None:
    """All moments of one network."""
    points, labels = kc.datasets.mnist14()
    net, y = kc.MLP("smooth_relu", depth=3, n_out=10), np.eye(10)[labels]
    ways = []
    for dtype, probes in ((np.float64, 0), (np.float32, 8)):
        fin = kc.FiniteNetwork.random(net, width, points.shape[1], 0, dtype)
        options = {"probes": 4, "deflation": 10, "whole_probes": probes}
        ways.append(timed(partial(fin.hessian_moments, points, y, **options)))
    (exact, slow), (quick, fast) = ways
    off, error = abs(quick.trace_s2 / exact.trace_s2 - 1), quick.trace_s2_error / exact.trace_s2
    print(
        f"| network of width {width}, Tr S² | {slow:.3g} | | {fast:.3g} | {slow / fast:.1f} | {off:.1e} | {error:.1e} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", nargs="*", default=["smooth_relu", "tanh"])
    parser.add_argument("--hessians", type=int, default=16)
    parser.add_argument("--width", type=int, default=500)
    options = parser.parse_args()
    speed = product_speed()
    print(f"one product of matrices: {speed / 1e9:.0f} Gflop/s\n")
    print("| what | exact s | its limit s | estimate s | ratio | error | stated |\n|---|---|---|---|---|---|---|")
    for name in options.names:
        softmax_rows(name, options.hessians, speed)
    network_row(options.width)


if __name__ == "__main__":
    main()
