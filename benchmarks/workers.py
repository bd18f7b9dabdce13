"""Strong scaling over dask worker processes: ``python benchmarks/workers.py``, kept in benchmarks/results/workers.json.

The same work on one worker process and on two, one thread each: Gram matrices written to a Zarr folder, and an ensemble of
finite networks. Wall time tells what one waits; on a machine with other work the two share what is left of its cores, and
processor seconds tell more: those of the single worker over those of the busier of two are the ratio on two free cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from record import Table

import kernelcalc as kc
from kernelcalc.finite.ensembles.ensemble import moments_through_training
from kernelcalc.kernels.distributed import write_kernels
from kernelcalc.kernels.distributed.engine import local_client

INPUTS, CHUNKS = 196, 2048
# Points of Gram matrices; points, width and networks of the ensemble.
SIZE, POINTS, WIDTH, TRIALS = 16384, 32, 64, 64
PAIR = ("sigma", "theta")
COLUMNS = {
    "what": "",
    "wall s, one worker": ".3g",
    "wall s, two": ".3g",
    "processor s, one worker": ".3g",
    "processor s, busier of two": ".3g",
    "ratio, wall": ".2f",
    "ratio, processor": ".2f",
}


def measured(work: Callable[[Any], object], workers: int) -> tuple[float, float]:
    """Wall seconds, and processor seconds of the worker that used most, with every worker warm."""
    with local_client(workers) as client:
        client.run(_warm)
        before, started = client.run(time.process_time), time.perf_counter()
        work(client)
        wall, after = time.perf_counter() - started, client.run(time.process_time)
        return wall, max(after[name] - before[name] for name in before)


def _warm() -> None:
    """Imports of a worker, and what a first call makes."""
    for name in ("relu", "tanh"):
        kc.MLP(name, depth=3).kernels(np.eye(16), only=PAIR)


def matrices(name: str, size: int) -> Callable[[Any], object]:
    """Σ and Θ of random points, written to a folder that goes away."""
    x = np.random.default_rng(0).normal(size=(size, INPUTS))

    def work(client: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_kernels(kc.MLP(name, depth=3), x, f"{folder}/K.zarr", only=PAIR, chunks=CHUNKS, client=client)

    return work


def ensemble(trials: int) -> Callable[[Any], object]:
    """Moments of the Hessian of networks through training."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(POINTS, INPUTS)), rng.normal(size=(POINTS, 1))

    def work(client: Any) -> None:
        moments_through_training(
            kc.MLP("tanh", depth=3), x, y, [0.0, 1.0], width=WIDTH, trials=trials, executor=client.get_executor()
        )

    return work


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the points and networks, nothing kept")
    quick = parser.parse_args().quick
    size, trials = (SIZE // 4, TRIALS // 4) if quick else (SIZE, TRIALS)
    table = Table("workers", COLUMNS, stored=not quick, packages=("numpy", "dask", "distributed", "zarr"))
    cases = {
        f"{trials} networks, tanh, L = 3, width {WIDTH}, {POINTS} points, Hessian moments": ensemble(trials),
        f"Σ and Θ, relu, L = 3, N = {size}": matrices("relu", size),
    }
    for what, work in cases.items():
        (wall, alone), (shared, busier) = measured(work, 1), measured(work, 2)
        table.add(what, wall, shared, alone, busier, wall / shared, alone / busier)


if __name__ == "__main__":
    main()
