"""Cost model of the kernels, fitted from measurement, and what a million points take: ``python benchmarks/scaling.py``.

Measured is processor time (all threads of the process together), which other work on the machine disturbs less than wall
time, and the peak of what NumPy allocates. With N points of |x|² ≈ n_0 and L weight layers, for all six kernels,

    seconds = a + b N + c N²,    a, b = (constant) + (constant) (L - 1) + (constant) (L - 1) σ_w²,
    c = (constant) + (constant) (L - 1) + (constant) T

with T the terms of Mehler series summed for a pair of points in all layers and expectations, which are counted; they and the
number of coefficients a point grow with σ_w. For one pair of points to D digits
seconds = s + (t + u (L - 1) + v σ_w²) D² + w D⁴. Coefficients are nonnegative least squares of relative errors, and count
within the sizes measured, which are printed; one measurement that the fit has not seen checks it.
Matrices too large for memory are computed two blocks of points at a time, and their cost is that of such a pair, measured,
times the number of pairs.
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
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from record import Table
from scipy.optimize import nnls

import kernelcalc as kc
from kernelcalc.gaussian.floats import blocks
from kernelcalc.kernels.distributed import write_kernels
from kernelcalc.kernels.distributed.blocks import kernel_block
from kernelcalc.kernels.state import KERNEL_NAMES

INPUTS = 196
SIZES = (256, 512, 1024, 2048, 4096)
DEPTHS = (2, 3, 5)
SIGMAS = (0.5, 2.0, 3.0)
# Timed but not fitted: between 3 and this tanh takes a step that no power of σ_w follows.
LARGE_SIGMA = 4.0
# Size, depth and σ_w that the fit has not seen.
CHECK = (768, 4, 1.5)
DIGITS = (15, 20, 30, 40, 50)
CHUNKS = (2048, 4096, 8192, 16384)
MILLION = 10**6
# Bytes of an entry of one kernel.
ENTRY = 8
NODE_CORES, NODE_RATE = 64, 1e9
# Readings of Θ that the ten largest eigenvalues took for kernels of digits, and kernels that the moments at t = 0 read once.
EIGENVALUE_PASSES, MOMENT_KERNELS = 7, 5
# A measurement that takes longer than this ends its row.
PATIENCE = 15.0


def cpu(work: Callable[[], object], least: float) -> float:
    """Processor seconds of one run: the best of as many as fit into ``least`` seconds."""
    found, spent = math.inf, 0.0
    while spent < least:
        start = time.process_time()
        work()
        took = time.process_time() - start
        found, spent = min(found, took), spent + took
    return found


def peak(work: Callable[[], object]) -> int:
    """Bytes that NumPy holds at most."""
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
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


TERMS = ("", "(L-1)", "(L-1) σ_w²", "N", "(L-1) N", "(L-1) σ_w² N", "N²", "(L-1) N²", "T N²")


def factors(size: int, depth: int, sigma_w: float, series: float) -> list[float]:
    """The factors of the coefficients."""
    hidden = depth - 1.0
    below = [1.0, hidden, hidden * sigma_w**2]
    return [*below, *(size * factor for factor in below), size**2, size**2 * hidden, size**2 * series]


@lru_cache
def series_terms(name: str, sphere: bool, depth: int, sigma_w: float, size: int = 256) -> float:
    """Terms of Mehler series a pair of points, all layers and expectations together; none for points of one norm."""
    if sphere:
        return 0.0
    honest, count = blocks.mehler_block, []

    def counted(f: np.ndarray, g: np.ndarray, rho: np.ndarray, **options: bool) -> np.ndarray:
        count.append(min(len(f), len(g)) * rho.size)
        return honest(f, g, rho, **options)

    try:
        blocks.mehler_block = counted
        x = points(2 * size, sphere)
        kc.MLP(name, depth=depth, sigma_w=sigma_w).kernels(x[:size], x[size:])
    finally:
        blocks.mehler_block = honest
    return sum(count) / size**2


def formula(coefficients: np.ndarray, names: tuple[str, ...]) -> str:
    """The terms that are there."""
    return " + ".join(f"{c:.2g} {name}".strip() for c, name in zip(coefficients, names, strict=True) if c > 0)


def kind(name: str, sphere: bool) -> str:
    """First cell of a row."""
    return f"{name}, {'one norm' if sphere else 'any norms'}"


def seconds(name: str, sphere: bool, least: float, size: int, depth: int, sigma_w: float) -> float:
    """Six kernels of random points."""
    net, x = kc.MLP(name, depth=depth, sigma_w=sigma_w), points(size, sphere)
    net.kernels(x[:64])
    return cpu(lambda: net.kernels(x), least)


def times(name: str, sphere: bool, sizes: tuple[int, ...], least: float) -> str:
    """Row of the table for one nonlinearity."""
    cases = [(size, 3, 1.0) for size in sizes]
    # Depth and σ_w are varied where that is cheap.
    small = sizes[: max(2, len(sizes) - 2)]
    cases += [(size, depth, 1.0) for size in small for depth in DEPTHS if depth != 3]
    cases += [(size, 3, sigma_w) for size in small for sigma_w in SIGMAS]
    found: dict[tuple[int, int, float], float] = {}
    for case in cases:
        if all(took < PATIENCE or case < slow for slow, took in found.items()):
            found[case] = seconds(name, sphere, least, *case)

    def row(case: tuple[int, int, float]) -> list[float]:
        return factors(*case, series_terms(name, sphere, *case[1:]))

    coefficients, mean, worst = fitted(np.array([row(case) for case in found]), np.array(list(found.values())))
    shown = " ".join(f"{took:.3g}" for (_, depth, sigma_w), took in found.items() if (depth, sigma_w) == (3, 1.0))
    middle = sizes[1]
    found[middle, 3, LARGE_SIGMA] = seconds(name, sphere, least, middle, 3, LARGE_SIGMA)
    varied = (*SIGMAS, LARGE_SIGMA)
    steeper = " ".join(f"{found[middle, 3, sigma_w] / found[middle, 3, 1.0]:.2f}" for sigma_w in varied)
    counts = " ".join(f"{series_terms(name, sphere, 3, sigma_w):.0f}" for sigma_w in (1.0, *varied))
    by_fit, measured = float(coefficients @ row(CHECK)), seconds(name, sphere, least, *CHECK)
    quadratic = "" if coefficients[6:].any() else " (these sizes do not resolve N²: no use beyond them)"
    return (
        f"| {kind(name, sphere)} | {shown} | {steeper} | {counts} | {formula(coefficients, TERMS)}{quadratic} | {mean:.0%} "
        f"| {worst:.0%} | {by_fit:.2g} / {measured:.2g} |"
    )


def extra_bytes(name: str, sphere: bool, sizes: tuple[int, ...]) -> str:
    """Peak allocation beyond the six outputs, and its fit."""
    rows, beyond = [], []
    net = kc.MLP(name, depth=3)
    net.kernels(points(64, sphere))
    for size in sizes[:-1]:
        x = points(size, sphere)
        rows.append((1.0, float(size)))
        beyond.append(max(peak(lambda x=x: net.kernels(x)) - ENTRY * len(KERNEL_NAMES) * size**2, 1))
    (d, e), mean, worst = fitted(np.array(rows), np.array(beyond, dtype=float))
    shown = " ".join(f"{b / 2**20:.0f}" for b in beyond)
    return (
        f"| {kind(name, sphere)} | {shown} | {d / 2**20:.2g} MiB + {e / 2**10:.2g} KiB N | {mean:.0%} | {worst:.0%} |"
    )


def digits(name: str, asked: tuple[int, ...]) -> str:
    """One pair of points to many digits."""
    x = points(2, False)
    found = {}
    cases = [(dps, 3, 1.0) for dps in asked] + [(asked[2], depth, 1.0) for depth in (2, 5)]
    for dps, depth, sigma_w in [*cases, *((asked[2], 3, sigma_w) for sigma_w in (0.5, 2.0))]:
        start = time.process_time()
        kc.MLP(name, depth=depth, sigma_w=sigma_w).kernels(x[:1], x[1:], dps=dps)
        found[dps, depth, sigma_w] = time.process_time() - start
    columns = [(1.0, d**2, (depth - 1) * d**2, sigma_w**2 * d**2, d**4) for d, depth, sigma_w in found]
    coefficients, mean, worst = fitted(np.array(columns, dtype=float), np.array(list(found.values())))
    shown = " ".join(f"{found[case]:.2g}" for case in cases[: len(asked)])
    steeper = " ".join(f"{found[asked[2], 3, sigma_w] / found[asked[2], 3, 1.0]:.1f}" for sigma_w in (0.5, 2.0))
    told = formula(coefficients, ("", "D²", "(L-1) D²", "σ_w² D²", "D⁴"))
    return f"| {name} | {shown} | {steeper} | {told} | {mean:.0%} | {worst:.0%} |"


def blocks_of(chunks: int, count: int = MILLION) -> int:
    """Pairs of blocks of a symmetric matrix."""
    side = math.ceil(count / chunks)
    return side * (side + 1) // 2


def million(name: str, sphere: bool, chunks: int, least: float) -> tuple[list[Any], float]:
    """What a million points take, by the time of one pair of blocks; and seconds an entry of such a pair."""
    x = points(2 * chunks, sphere)
    pairs = []
    for sigma_w in (1.0, 2.0):
        net = kc.MLP(name, depth=3, sigma_w=sigma_w)
        kernel_block(net, x[:64], x[64:128], KERNEL_NAMES, both=True)
        pairs.append(cpu(lambda net=net: kernel_block(net, x[:chunks], x[chunks:], KERNEL_NAMES, both=True), least))
    hours = [pair * blocks_of(chunks) / 3600 for pair in pairs]
    one = ENTRY * MILLION**2 / NODE_RATE / 3600
    writing, moments, eigenvalues = len(KERNEL_NAMES) * one, MOMENT_KERNELS * one, EIGENVALUE_PASSES * one
    # A node writes while it computes; it reads afterwards.
    nodes = math.ceil(max(writing, hours[0] / NODE_CORES) + moments + eigenvalues)
    stored = writing, moments, eigenvalues
    cells = [kind(name, sphere), pairs[0], *hours, hours[0] / 2, hours[0] / NODE_CORES, *stored, nodes]
    return cells, pairs[0] / chunks**2


def task_bytes(name: str, largest: int) -> Callable[[int], float]:
    """Memory of one task as a function of chunks: its eight outputs (Φ and Λ in both orders), and what is fitted beyond."""
    net, sizes = kc.MLP(name, depth=3), np.array([largest // 4, largest // 2, largest])
    x = points(2 * largest, False)
    found = [
        peak(lambda c=c: kernel_block(net, x[:c], x[largest : largest + c], KERNEL_NAMES, both=True)) for c in sizes
    ]
    outputs = ENTRY * (len(KERNEL_NAMES) + 2)
    beyond = np.maximum(np.array(found, dtype=float) - outputs * sizes**2, 1.0)
    constant, each = fitted(np.stack([sizes**0, sizes], axis=1).astype(float), beyond)[0]
    return lambda chunks: float(outputs * chunks**2 + each * chunks + constant)


def files(table: Table, name: str, measured: int, rate: float) -> None:
    """Rows of the table of block sizes for a million points: files and memory."""
    memory = task_bytes(name, measured)
    for chunks in CHUNKS:
        side = math.ceil(MILLION / chunks)
        count = len(KERNEL_NAMES) * side**2 + blocks_of(chunks)
        sizes = ENTRY * chunks**2 / 2**20, memory(chunks) / 2**30, rate * chunks**2
        table.add(chunks, blocks_of(chunks), count, side, *sizes)


def stored_bytes(size: int = 1024) -> str:
    """Size of a written folder beside 48 N²."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_kernels(kc.MLP("erf", depth=3), points(size, True), Path(folder, "K.zarr"), chunks=size // 4)
        took = time.perf_counter() - start
        found = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    whole = ENTRY * len(KERNEL_NAMES) * size**2
    return f"N = {size}: {found / whole:.4f} × 48 N² bytes on disk, computed and written in {took:.1f} s (wall)"


def table(title: str, *columns: str) -> None:
    """Heading of a Markdown table."""
    print(f"\n{title}\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def fits(cases: tuple[tuple[str, bool], ...], sizes: tuple[int, ...], asked: tuple[int, ...], least: float) -> None:
    """The cost model."""
    size, depth, sigma_w = CHECK
    table(
        f"Six kernels, processor seconds at L = 3, σ_w = 1, N = {', '.join(map(str, sizes))}. The fit holds for N = {sizes[0]} "
        f"to {sizes[-1]}, L = {DEPTHS[0]} to {DEPTHS[-1]}, σ_w = {SIGMAS[0]} to {SIGMAS[-1]}",
        "nonlinearity", "seconds", f"times as long at σ_w = {', '.join(map(str, (*SIGMAS, LARGE_SIGMA)))}",
        f"T at σ_w = {', '.join(map(str, (1.0, *SIGMAS, LARGE_SIGMA)))}", "fit", "rms error", "largest",
        f"fit / measured at N = {size}, L = {depth}, σ_w = {sigma_w}, not fitted",
    )  # fmt: skip
    for case in cases:
        print(times(*case, sizes, least), flush=True)
    table(
        f"MiB beyond the six outputs at L = 3, N = {', '.join(map(str, sizes[:-1]))}",
        "nonlinearity", "MiB", "fit", "rms error", "largest",
    )  # fmt: skip
    for case in cases:
        print(extra_bytes(*case, sizes), flush=True)
    table(
        f"Six kernels of one pair at L = 3, σ_w = 1, processor seconds for D = {', '.join(map(str, asked))} digits",
        "nonlinearity", "seconds", "times as long at σ_w = 0.5, 2.0", "fit", "rms error", "largest",
    )  # fmt: skip
    for name in ("tanh", "erf"):
        print(digits(name, asked), flush=True)
    print(f"\nZarr folder: {stored_bytes()}")


def millions(cases: tuple[tuple[str, bool], ...], chunks: int, least: float, stored: bool) -> None:
    """A million points."""
    print(
        f"\nN = 10^6 at L = 3 in blocks of {chunks}: the time of one pair of blocks times their number, if every core is as "
        f"fast as one here and none waits; nodes of {NODE_CORES} cores and {NODE_RATE / 1e9:g} GB/s; "
        f"{ENTRY * MILLION**2 / 1e12:.0f} TB a kernel. Moments at t = 0 read {MOMENT_KERNELS} kernels once, "
        f"ten eigenvalues read one kernel {EIGENVALUE_PASSES} times (Lanczos about 40 times)"
    )
    whole = (
        "core s a pair of blocks",
        "core hours",
        "core hours at σ_w = 2",
        "hours on 2 cores",
        "node hours computing",
        "writing all six",
    )
    whole += ("reading for the moments", "reading for the eigenvalues", "nodes to do all of it in an hour")
    rows = Table("million", {"nonlinearity": ""} | dict.fromkeys(whole, ".3g"), stored=stored)
    rates = {}
    for case in cases:
        cells, rates[case] = million(*case, chunks, least)
        rows.add(*cells)
    print(
        f"\nSize of blocks for N = 10^6, tanh, any norms; memory of a task beyond its outputs continued linearly from "
        f"chunks={chunks // 4} to {chunks}, time in proportion to chunks²"
    )
    columns = dict.fromkeys(("chunks", "tasks", "files", "files in a folder"), "d")
    columns |= {"MiB a file": ".0f", "GiB a task": ".1f", "core seconds a task": ".0f"}
    rows = Table("million_blocks", columns, stored=stored)
    files(rows, "tanh", chunks, rates["tanh", False])
    print(
        "\nTake the largest blocks whose task fits in a worker's memory twice (one is computed while another is written)."
    )


def main() -> None:
    """Measure, fit, print; what a million points take is kept as results/million.json and million_blocks.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", action="store_true", help="only what a million points take")
    parser.add_argument("--quick", action="store_true", help="smaller matrices: for a look, nothing kept")
    options = parser.parse_args()
    quick = options.quick
    sizes, asked, chunks, least = (SIZES[:3], DIGITS[:3], 1024, 0.1) if quick else (SIZES, DIGITS, 2048, 0.3)
    cases = (("tanh", False), ("tanh", True), ("erf", False), ("erf", True))
    print(f"{os.cpu_count()} cores, NumPy {np.__version__}, Python {platform.python_version()}, {INPUTS} inputs")
    if not options.million:
        fits(cases, sizes, asked, least)
    millions(cases, chunks, least, stored=not quick)


if __name__ == "__main__":
    main()
