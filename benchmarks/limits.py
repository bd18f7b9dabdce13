"""How close kernels come to what the machine can do: ``python benchmarks/limits.py``.

Counts the operations and bytes of each step of a Gram matrix of N points (two hidden layers), measures the ceilings of this
machine, times each step inside a whole computation and prints the time it could take over the time it took. One thread, so that
the counts compare.

- Operations are counted, not guessed: of the layer step by numbers that count, of closed forms by arrays that count, of series
  by their terms (two multiplications and an addition each), of Gram matrices and eigenvalues by the usual formulas.
- Ceilings: matrix products; one NumPy multiplication of arrays of the block's size, which stay in the second-level cache
  (divisions, roots and arctangents count as one, though they take longer); multiply-add of registers in compiled code; copies
  into fresh memory, each block once straight and once transposed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
from record import Table

import kernelcalc as kc
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats import blocks as series_blocks
from kernelcalc.gaussian.floats import closed as closed_form
from kernelcalc.gaussian.floats import layer
from kernelcalc.gaussian.floats.kinds import recognise
from kernelcalc.kernels import blocks, point_blocks
from kernelcalc.kernels.fold import plan
from kernelcalc.kernels.gram import KernelComputation
from kernelcalc.kernels.layers import Layer, Scales
from kernelcalc.kernels.state import KERNEL_NAMES, DiagonalKernels, PairKernels, with_transposes

DIMENSION, DEPTH, POINTS = 196, 3, 512
BLOCK = blocks.BLOCK_ROWS, blocks.BLOCK_COLUMNS


def best(work: Callable[[], object], runs: int = 5) -> float:
    """Shortest processor time, seconds."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def multiply_adds(repeats: int) -> Callable[[], object]:
    """Compiled multiply-adds on 64 numbers, which stay in registers or next to them: 2 · 64 · repeats operations."""
    import numba

    @numba.njit("float64(int64)", fastmath={"contract"})
    def run(count: int) -> float:  # type: ignore[misc]
        total = np.arange(64.0)
        for _ in range(count):
            for i in range(64):
                total[i] = total[i] * 0.999 + 0.5
        return float(total.sum())

    return lambda: run(repeats)


def ceilings() -> dict[str, float]:
    """Operations a second, or bytes a second for "copy"."""
    rng = np.random.default_rng(0)
    total, other = rng.uniform(0.5, 0.9, size=(2, *BLOCK))
    left, right = rng.normal(size=(2, 512, 512))

    def passes() -> None:
        for _ in range(64):
            np.multiply(total, other, out=total)

    block, n = rng.normal(size=BLOCK), 2048

    def copies() -> None:
        target = np.empty((n, n))
        for i in range(0, n, BLOCK[0]):
            for j in range(0, n, BLOCK[1]):
                target[i : i + BLOCK[0], j : j + BLOCK[1]] = block
        for i in range(0, n, BLOCK[1]):
            for j in range(0, n, BLOCK[0]):
                target[i : i + BLOCK[1], j : j + BLOCK[0]] = block.T

    compiled = multiply_adds(200_000)
    return {
        "matrix product": 2 * 512**3 / best(lambda: left @ right),
        "NumPy in cache": 64 * total.size / best(passes),
        "compiled multiply-add": 2 * 64 * 200_000 / best(compiled),
        "copy": 2 * n * n * 8 / best(copies),
    }


class Number:
    """A number that counts what is done with it."""

    operations = 0

    def _count(self, _: Any) -> Number:
        Number.operations += 1
        return self

    __add__ = __radd__ = __mul__ = __rmul__ = _count


class Array(np.ndarray):
    """An array that counts element-wise operations on whole blocks."""

    operations = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(v) if isinstance(v, Array) else v for v in inputs]
        if "out" in options:
            options["out"] = tuple(np.asarray(v) for v in options["out"])
        found = getattr(ufunc, method)(*plain, **options)
        Array.operations += max(np.size(found), *(np.size(v) for v in plain))
        return found.view(Array) if isinstance(found, np.ndarray) else found


def step_operations(names: tuple[str, ...]) -> tuple[int, int]:
    """Additions and multiplications a pair of the first hidden layer with its weights and of the last one."""
    _, *steps = plan(kc.MLP("tanh", 3).layers, with_transposes(names))
    diagonal = DiagonalKernels(sigma=Number(), theta=Number(), phi=Number())
    orders = {(i, j): Number() for i in range(4) for j in range(4)}
    scales = Scales(weight=1.0, bias=1.0, bias_gradient=1.0)
    counts = []
    for hidden in (steps[:2], steps[2:]):
        Number.operations = 0
        k = PairKernels(**{name: Number() for name in hidden[0].before})
        for step, given in zip(hidden, (orders, scales), strict=True):
            k = step.layer.apply(k, diagonal, diagonal, given, step.after)
        counts.append(Number.operations)
    return counts[0], counts[1]


def closed_operations(name: str, orders: tuple[tuple[int, int], ...]) -> float:
    """Element-wise operations a pair of all closed forms of a layer."""
    act = kc.activation(name)
    rng = np.random.default_rng(0)
    q, qp, rho = rng.uniform(0.5, 2, (BLOCK[0], 1)), rng.uniform(0.5, 2, (1, BLOCK[1])), rng.uniform(-0.9, 0.9, BLOCK)
    cov = make_covariance(q, qp, rho * np.sqrt(q * qp))
    cov = type(cov)(q=q.view(Array), qp=qp.view(Array), c=cov.c.view(Array), det=cov.det.view(Array))
    shared = closed_form.SharedPairs(cov)
    Array.operations = 0
    for i, j in orders:
        closed_form.expectation(recognise(act.derivative(i)), recognise(act.derivative(j)), cov, shared)
    return Array.operations / rho.size


class Timed:
    """Seconds spent in a function, and the terms of series it summed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds, self.terms = function, 0.0, 0

    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., Any]:
        return lambda *a, **k: self(instance, *a, **k)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        value = self.function(*arguments, **options)
        self.seconds += time.process_time() - start
        return value


class Series(Timed):
    """Also counts terms."""

    def __call__(self, f: Any, g: Any, rho: Any, **options: Any) -> Any:
        self.terms += len(f) * rho.size
        return super().__call__(f, g, rho, **options)


def report(
    table: Table, name: str, count: int, possible: dict[str, float], *, compiled: bool, names: tuple[str, ...]
) -> None:
    """Run one computation with all its steps timed and print the table."""
    net = kc.MLP(name, DEPTH)
    x = np.random.default_rng(0).normal(size=(count, DIMENSION))
    KernelComputation(net, x[:300], None, names, compiled=compiled).run(layers=False)
    gram = "Gram matrix and ρ"
    timed = [
        (gram, point_blocks, "first_covariance", Timed),
        (gram, point_blocks.PointBlock, "gram", Timed),
        (gram, point_blocks.TriangleBlock, "gram", Timed),
        ("coefficients of the points", layer.LayerExpectations, "__init__", Timed),
        ("expectations", layer.LayerExpectations, "block", Timed),
        ("of which series", series_blocks, "mehler_block", Series),
        ("layer step", Layer, "apply", Timed),
        ("writing", KernelComputation, "_store", Timed),
    ]
    with ExitStack() as stack:
        clocks: dict[str, list[Timed]] = {}
        for step, owner, attribute, kind in timed:
            clock = kind(getattr(owner, attribute))
            clocks.setdefault(step, []).append(clock)
            stack.enter_context(patch.object(owner, attribute, clock))
        start = time.process_time()
        KernelComputation(net, x, None, names, compiled=compiled).run(layers=False)
        total = time.process_time() - start
    pairs = count * (count + 1) / 2
    first, last = step_operations(names)
    wanted = with_transposes(names)
    series = clocks["of which series"][0].terms
    numpy_rate = possible["NumPy in cache"]
    if series:
        rate = possible["compiled multiply-add"] if compiled else numpy_rate
        needed = {"of which series": (3 * series, rate, "operations")}
    else:
        costly = [step.orders for step in plan(kc.MLP(name, DEPTH).layers, wanted) if step.orders]
        forms = sum(closed_operations(name, orders) for orders in costly)
        needed = {"expectations": (forms * pairs, numpy_rate, "operations")}
    needed |= {
        "Gram matrix and ρ": (2 * DIMENSION * pairs, possible["matrix product"], "operations"),
        "layer step": (((DEPTH - 2) * first + last) * pairs, numpy_rate, "operations"),
        "writing": (len(names) * count**2 * 8, possible["copy"], "bytes"),
    }
    words = "all six kernels" if len(names) > 2 else "Σ and Θ"
    what = f"{name}, {words}, N = {count}{', compiled' if compiled else ''}"
    inside = 0.0
    for step, parts in clocks.items():
        seconds = sum(clock.seconds for clock in parts)
        if not seconds:
            continue
        inside += 0.0 if step.startswith("of which") else seconds
        if step in needed:
            amount, rate, unit = needed[step]
            could = amount / rate
            shown = f"{amount / 1e9:.2f} {'GB' if unit == 'bytes' else ''}".strip()
            table.add(what, step, shown, could, seconds, could / seconds)
        else:
            table.add(what, step, None, None, seconds, None)
    table.add(what, "all else", None, None, max(0.0, total - inside), None)


def eigenvalues(count: int, possible: dict[str, float]) -> None:
    """The one eigendecomposition behind a trajectory: 4/3 n³ for the tridiagonal form, some 4 n³ for vectors (LAPACK)."""
    matrix = np.random.default_rng(0).normal(size=(count, count))
    matrix = matrix @ matrix.T
    taken = best(lambda: np.linalg.eigh(matrix), 2)
    could = (4 / 3 + 4) * count**3 / possible["matrix product"]
    print(f"\neigendecomposition, n = {count}: could take {could:.3f} s as matrix products, took {taken:.3f} s")


def main() -> None:
    """Count, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=POINTS, help=f"kept are the steps at {POINTS}")
    count = parser.parse_args().points
    possible = ceilings()
    rates = Table("limits_machine", {"rate of one thread": "", "1e9 operations a second, 1e9 bytes for copy": ".2f"})
    for name, value in possible.items():
        rates.add(name, value / 1e9)
    columns = {
        "kernels": "",
        "step": "",
        "1e9 operations": "",
        "could take s": ".3f",
        "took s": ".3f",
        "could / took": ".0%",
    }
    table = Table("limits", columns, keys=2, stored=count == POINTS)
    with patch.object(blocks, "processors", lambda: 1):
        for name, names, compiled in (
            ("tanh", KERNEL_NAMES, False),
            ("tanh", KERNEL_NAMES, True),
            ("erf", KERNEL_NAMES, False),
            ("gelu", KERNEL_NAMES, False),
            ("erf", ("sigma", "theta"), False),
        ):
            report(table, name, count, possible, compiled=compiled, names=names)
    eigenvalues(1024, possible)


if __name__ == "__main__":
    main()
