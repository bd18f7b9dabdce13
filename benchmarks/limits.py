"""How close kernels come to what the machine can do: ``python benchmarks/limits.py``.

Counts the floating-point operations and bytes of each step of six kernels (tanh, two hidden layers, N points of different
norms), measures the ceilings (multiply-adds of NumPy on arrays that stay in the second-level cache, of the compiled scheme,
matrix products, first writes to memory), and prints achieved over possible. One thread, so that the counts compare.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from kernelcalc import MLP, kernels
from kernelcalc.gaussian import layer
from kernelcalc.gaussian.mehler import mehler_block
from kernelcalc.kernels import KernelComputation
from kernelcalc.recursion import KERNEL_NAMES

DIMENSION = 196


def best(work: Callable[[], object], runs: int = 5) -> float:
    """Shortest processor time, seconds."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def ceilings(terms: int = 64) -> dict[str, float]:
    """Billions of operations (bytes for memory) a second."""
    rows, columns = kernels.BLOCK_ROWS, kernels.BLOCK_COLUMNS
    rng = np.random.default_rng(0)
    total, rho, product = rng.uniform(-0.9, 0.9, size=(3, rows, columns))
    f, g = rng.normal(size=(terms, rows)), rng.normal(size=(terms, columns))

    def numpy_terms() -> None:
        for _ in range(terms):
            np.multiply(total, rho, out=total)
            np.add(total, product, out=total)

    left, right = rng.normal(size=(2, 512, 512))
    mehler_block(f, g, rho, compiled=True)
    return {
        "NumPy multiply or add in cache": 2 * terms * rho.size / best(numpy_terms) / 1e9,
        "compiled f·g and multiply-add": 3
        * terms
        * rho.size
        / best(lambda: mehler_block(f, g, rho, compiled=True))
        / 1e9,
        "matrix product": 2 * 512**3 / best(lambda: left @ right) / 1e9,
        "first write to memory, bytes": 2**27 / best(lambda: np.empty(2**24).fill(1.0)) / 1e9,
    }


class Counted:
    """Counts the terms summed by the blocks of a computation and the time spent in them."""

    def __init__(self) -> None:
        self.terms = 0
        self.seconds = 0.0

    def __call__(self, f: np.ndarray, g: np.ndarray, rho: np.ndarray, *, compiled: bool = False) -> np.ndarray:
        self.terms += len(f) * rho.size
        start = time.process_time()
        value = mehler_block(f, g, rho, compiled=compiled)
        self.seconds += time.process_time() - start
        return value


def main() -> None:
    """Count, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=2048)
    count = parser.parse_args().points
    x = np.random.default_rng(0).normal(size=(count, DIMENSION))
    net = MLP("tanh", 3)
    possible = ceilings()
    for name, value in possible.items():
        print(f"{name}: {value:.2f} G/s")
    kernels.processors = lambda: 1  # type: ignore[assignment]
    for compiled in (False, True):
        counted = Counted()
        layer.mehler_block = counted  # type: ignore[assignment]
        KernelComputation(net, x[:300], None, KERNEL_NAMES, compiled=compiled).run(layers=False)
        counted.terms, counted.seconds = 0, 0.0
        start = time.process_time()
        KernelComputation(net, x, None, KERNEL_NAMES, compiled=compiled).run(layers=False)
        total = time.process_time() - start
        ceiling = possible["compiled f·g and multiply-add" if compiled else "NumPy multiply or add in cache"]
        rate = 3 * counted.terms / counted.seconds / 1e9
        gram = count * (count + 1) / 2 * 2 * DIMENSION / possible["matrix product"] / 1e9
        written = len(KERNEL_NAMES) * count**2 * 8 / possible["first write to memory, bytes"] / 1e9
        pairs = count * (count + 1) / 2
        print(
            f"\n{'compiled' if compiled else 'NumPy'}, N = {count}: {total:.2f} s on one thread\n"
            f"  series: {3 * counted.terms / 1e9:.2f} G operations, {counted.terms / pairs:.0f} terms a pair, "
            f"{counted.seconds:.2f} s, {rate:.2f} of {ceiling:.2f} G/s = {rate / ceiling:.0%} of possible\n"
            f"  matrix products could take {gram:.3f} s, first writes of the six matrices {written:.3f} s\n"
            f"  all else (layer step, coefficients, bounds, copies): {total - counted.seconds - gram - written:.2f} s"
        )


if __name__ == "__main__":
    main()
