"""Cost model of the kernels, fitted from measurement, and what a million points take: ``python benchmarks/scaling.py``.

Measured is processor time (all threads of the process together), which other work on the machine disturbs less than wall
time, and the peak of what NumPy allocates. With N points and L weight layers, for all six kernels,

    seconds = a + b N + c N² with each of a, b, c = (constant) + (constant) (L - 1),    bytes = 48 N² + d + e N,

and for one pair of points to D digits seconds = s + t D² + u D⁴. Coefficients are nonnegative least squares of relative errors.
Blocks of a matrix too large for memory are computed by the same code, two blocks of points at a time, which is measured too.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

import kernelcalc as kc
from kernelcalc.distributed import write_kernels
from kernelcalc.distributed.blocks import kernel_block
from kernelcalc.recursion import KERNEL_NAMES

INPUTS = 196
SIZES = (256, 512, 1024, 2048, 4096)
DEPTHS = (2, 3, 4, 5)
DIGITS = (15, 20, 30, 40, 50)
CHUNKS = 2048
MILLION = 10**6
# Kernels in this table take 8 bytes an entry each.
ENTRY = 8 * len(KERNEL_NAMES)
NODE_CORES, NODE_RATE = 64, 1e9
# A measurement that takes longer than this ends its row.
PATIENCE = 15.0


def cpu(work: Callable[[], object], least: float = 0.3) -> float:
    """Processor seconds of one run: the best of as many as fit into ``least`` seconds."""
    found, spent = math.inf, 0.0
    while spent < least:
        start = time.process_time()
        work()
        took = time.process_time() - start
        found, spent = min(found, took), spent + took
    return found


def points(count: int, sphere: bool) -> np.ndarray:
    """Random points, |x|² = n_0 on the sphere or close to it."""
    x = np.random.default_rng(0).standard_normal((count, INPUTS))
    return x * np.sqrt(INPUTS) / np.linalg.norm(x, axis=1, keepdims=True) if sphere else x


def fitted(columns: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Coefficients, root mean square and largest of the relative errors."""
    coefficients, _ = nnls(columns / measured[:, None], np.ones(len(measured)))
    error = columns @ coefficients / measured - 1
    return coefficients, float(np.sqrt(np.mean(error**2))), float(np.abs(error).max())


TERMS = ("", "(L-1)", "N", "(L-1) N", "N²", "(L-1) N²")


def terms(depth: int, size: int) -> list[float]:
    """The factors of the six coefficients."""
    hidden = depth - 1.0
    return [1.0, hidden, size, hidden * size, size**2, hidden * size**2]


def formula(coefficients: np.ndarray, names: tuple[str, ...]) -> str:
    """The terms that are there."""
    return " + ".join(f"{c:.2g} {name}".strip() for c, name in zip(coefficients, names, strict=True) if c > 0)


def times(name: str, sphere: bool, sizes: tuple[int, ...]) -> tuple[str, np.ndarray]:
    """Row of the table for one nonlinearity, and the coefficients."""
    rows, seconds, shown = [], [], []
    for depth in DEPTHS:
        net = kc.MLP(name, depth=depth)
        net.kernels(points(64, sphere))
        # Depth is varied where it is cheap.
        for size in sizes if depth == 3 else sizes[:3]:
            x = points(size, sphere)
            took = cpu(lambda net=net, x=x: net.kernels(x))
            rows.append(terms(depth, size))
            seconds.append(took)
            shown += [f"{took:.3g}"] if depth == 3 else []
            if took > PATIENCE:
                break
    coefficients, mean, worst = fitted(np.array(rows), np.array(seconds))
    kind = f"{name}, {'one norm' if sphere else 'any norms'}"
    return f"| {kind} | {' '.join(shown)} | {formula(coefficients, TERMS)} | {mean:.0%} | {worst:.0%} |", coefficients


def extra_bytes(name: str, sphere: bool, sizes: tuple[int, ...]) -> str:
    """Peak allocation beyond the six outputs, and its fit."""
    rows, beyond = [], []
    net = kc.MLP(name, depth=3)
    net.kernels(points(64, sphere))
    for size in sizes[:-1]:
        x = points(size, sphere)
        tracemalloc.start()
        net.kernels(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append((1.0, float(size)))
        beyond.append(max(peak - ENTRY * size**2, 1))
    (d, e), mean, worst = fitted(np.array(rows), np.array(beyond, dtype=float))
    kind = f"{name}, {'one norm' if sphere else 'any norms'}"
    shown = " ".join(f"{b / 2**20:.0f}" for b in beyond)
    return f"| {kind} | {shown} | {d / 2**20:.2g} MiB + {e / 2**10:.2g} KiB N | {mean:.0%} | {worst:.0%} |"


def digits(name: str) -> str:
    """One pair of points to many digits, two hidden layers."""
    x = points(2, False)
    found = {}
    for dps in DIGITS:
        start = time.process_time()
        kc.MLP(name, depth=3).kernels(x[:1], x[1:], dps=dps)
        found[dps] = time.process_time() - start
        if found[dps] > PATIENCE:
            break
    asked = np.array(list(found), dtype=float)
    coefficients, mean, worst = fitted(np.stack([asked**0, asked**2, asked**4], axis=1), np.array(list(found.values())))
    shown = " ".join(f"{seconds:.2g}" for seconds in found.values())
    return f"| {name} | {shown} | {formula(coefficients, ('', 'D²', 'D⁴'))} | {mean:.0%} | {worst:.0%} |"


def million(name: str, sphere: bool, coefficients: np.ndarray) -> str:
    """What a million points take by the fit, and by the time of one pair of blocks."""
    net, x = kc.MLP(name, depth=3), points(2 * CHUNKS, sphere)
    pair = cpu(lambda: kernel_block(net, x[:CHUNKS], x[CHUNKS:], KERNEL_NAMES, both=True))
    count = math.ceil(MILLION / CHUNKS)
    by_blocks = pair * count * (count + 1) / 2
    by_fit = float(coefficients @ terms(3, MILLION))
    hours = by_blocks / 3600
    writing = ENTRY * MILLION**2 / NODE_RATE / 3600
    kind = f"{name}, {'one norm' if sphere else 'any norms'}"
    return (
        f"| {kind} | {pair:.2f} | {hours:.0f} | {by_fit / 3600:.0f} | {hours / 2:.0f} | {math.ceil(hours / NODE_CORES)} | "
        f"{ENTRY * MILLION**2 / 1e12:.0f} | {math.ceil(max(writing, hours / NODE_CORES))} |"
    )


def stored_bytes(size: int = 1024) -> str:
    """Size of a written folder beside 48 N²."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_kernels(kc.MLP("erf", depth=3), points(size, True), Path(folder, "K.zarr"), chunks=size // 4)
        took = time.perf_counter() - start
        found = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return (
        f"N = {size}: {found / ENTRY / size**2:.4f} × 48 N² bytes on disk, computed and written in {took:.1f} s (wall)"
    )


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller matrices: for a look, not for numbers")
    sizes = SIZES[:3] if parser.parse_args().quick else SIZES
    cases = (("tanh", False), ("tanh", True), ("erf", False), ("erf", True))
    print(f"{os.cpu_count()} cores, NumPy {np.__version__}, Python {platform.python_version()}, {INPUTS} inputs\n")
    print(f"Six kernels, processor seconds at L = 3, N = {', '.join(map(str, sizes))}; fit over L = 2..5")
    print("| nonlinearity | seconds | fit | rms error | largest |\n|---|---|---|---|---|")
    coefficients = {}
    for case in cases:
        line, coefficients[case] = times(*case, sizes)
        print(line, flush=True)
    print(f"\nMiB beyond the six outputs at L = 3, N = {', '.join(map(str, sizes[:-1]))}")
    print("| nonlinearity | MiB | fit | rms error | largest |\n|---|---|---|---|---|")
    for case in cases:
        print(extra_bytes(*case, sizes), flush=True)
    print(f"\nSix kernels of one pair at L = 3, processor seconds for {', '.join(map(str, DIGITS))} digits")
    print("| nonlinearity | seconds | fit | rms error | largest |\n|---|---|---|---|---|")
    for name in ("tanh", "erf"):
        print(digits(name), flush=True)
    print(f"\nZarr folder: {stored_bytes()}")
    print(f"\nN = 10^6 at L = 3 in blocks of {CHUNKS}, if every core is as fast as one here and none waits")
    print(
        "| nonlinearity | seconds a pair of blocks | core hours | by the fit | hours on 2 cores | "
        f"nodes of {NODE_CORES} cores for an hour | TB | nodes that also write it ({NODE_RATE / 1e9:g} GB/s each) |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for case in cases:
        print(million(*case, coefficients[case]), flush=True)


if __name__ == "__main__":
    main()
