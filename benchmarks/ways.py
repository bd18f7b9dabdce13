"""What each way through a Gram matrix is worth, as a Markdown table: ``python benchmarks/ways.py``.

Every row takes one way out and measures the same call with and without it, alternately in one run; the ratio says how many
times slower the call is without. The ways that are there for their digits, not for time, are taken out by tests: they are named
below the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

import kernelcalc as kc
from kernelcalc.gaussian.floats import blocks, layer, table
from kernelcalc.kernels import blocks as matrices
from kernelcalc.kernels import few_points, gram

ROUNDS = 3


@dataclass(frozen=True)
class Way:
    """A way, the module and name that hold it, what stands there without it, and the call that it serves."""

    name: str
    module: Any
    attribute: str
    instead: Any
    network: kc.MLP
    points: np.ndarray
    repeats: int = 1
    others: tuple[tuple[Any, str, Any], ...] = ()

    def seconds(self, with_it: bool) -> float:
        """One call; warm, so that what is kept from call to call counts as a user meets it."""
        with ExitStack() as stack:
            for module, attribute, instead in self.others:
                stack.enter_context(patch.object(module, attribute, instead))
            if not with_it:
                stack.enter_context(patch.object(self.module, self.attribute, self.instead))
            self._call()
            start = time.perf_counter()
            for _ in range(self.repeats):
                self._call()
            return (time.perf_counter() - start) / self.repeats

    def _call(self) -> None:
        kernels = self.network.kernels(self.points)
        for name in kernels.keys():  # noqa: SIM118
            getattr(kernels, name)


def points(count: int, spread: bool, inputs: int = 20) -> np.ndarray:
    """Random points of one norm, or of norms between 0.4 and 1.6 times their mean."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, inputs))
    x *= np.sqrt(inputs) / np.linalg.norm(x, axis=1, keepdims=True)
    return x * rng.uniform(0.4, 1.6, size=(count, 1)) if spread else x


def nothing(*_: Any) -> None:
    """In place of a way: it is none."""


def ways() -> list[Way]:
    """The ways in the order in which a call meets them."""
    tanh, erf, gelu, relu = (kc.MLP(name, 3) for name in ("tanh", "erf", "gelu", "relu"))
    no: Callable[..., Any] = nothing
    return [
        Way("a few points, closed forms", few_points, "_closed_forms", no, relu, points(2, True), 30),
        Way("a few points, tables by octave", few_points, "_series", no, tanh, points(2, True), 3),
        Way("points apart as one block", gram.KernelComputation, "_one_block", no, erf, points(256, True, 400), 20),
        Way("one norm, polynomials in ρ", gram, "one_norm", no, tanh, points(1024, False)),
        Way("closed forms of blocks", layer, "_closed_forms", no, erf, points(1024, True)),
        Way("coefficients interpolated in log q", table, "TABLE_NODES", (), tanh, points(1024, True)),
        Way("every other coefficient left out", blocks, "_has_parity", lambda *_: False, tanh, points(1024, True)),
        Way("pairs near |ρ| = 1 apart", blocks, "EDGES", (), tanh, np.repeat(points(512, True), 2, axis=0)),
        Way("machine code", gram, "compiling_pays", lambda *_: False, tanh, points(4096, True)),
        Way("threads over blocks", matrices, "processors", lambda: 1, gelu, points(2048, True)),
    ]


def main() -> None:
    """Measure and print."""
    print("| way | call | with | without / with |\n|---|---|---|---|")
    for way in ways():
        pairs = [(way.seconds(True), way.seconds(False)) for _ in range(ROUNDS)]
        best = min(with_it for with_it, _ in pairs)
        ratio = sorted(without / with_it for with_it, without in pairs)[ROUNDS // 2]
        call = f"{way.network.activations[0].name}, {len(way.points)} points"
        print(f"| {way.name} | {call} | {1e3 * best:.3g} ms | {ratio:.3g} |", flush=True)
    print(
        "\nFor digits: quadrature of single pairs whose bound is too large (tests/gaussian/test_honest_errors.py), closed "
        "forms left where their terms cancel\nand determinants of nearly parallel points from their difference "
        "(tests/gaussian/test_extreme_variances.py, tests/kernels/test_few_points.py)."
    )


if __name__ == "__main__":
    main()
