"""Times of the main job and of its parts, as a Markdown table: ``python benchmarks/speed.py``.

Every figure is the best of several runs of the same work; whole processes include the interpreter's start.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import kernelcalc as kc


def best(work: Callable[[], object], runs: int = 3) -> float:
    """Shortest wall time of several runs, seconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def process(*arguments: str, folder: str = ".") -> Callable[[], object]:
    """Work that is one Python process."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, cwd=folder, capture_output=True)


def processor() -> str:
    """Model name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Measure and print."""
    data = np.random.default_rng(0).normal(size=(1024, 196))
    data *= np.sqrt(196) / np.linalg.norm(data, axis=1, keepdims=True)
    digits, _ = kc.datasets.mnist14()
    large = kc.MLP("erf", depth=3).kernels(data)
    targets = np.sign(data[:, 0])
    first_kernels = "import kernelcalc as kc; X, _ = kc.datasets.mnist14(); kc.MLP('tanh', 3).kernels(X)"
    pair = digits[:1], digits[1:2]

    def kernels(name: str, points: np.ndarray, **options: object) -> Callable[[], object]:
        net = kc.MLP(name, depth=3)
        net.kernels(points[:2])
        return lambda: net.kernels(points, **options)

    rows: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        rows.append(("`import kernelcalc` (process)", best(process("-c", "import kernelcalc"), 5)))
        rows.append(("`kernelcalc curves` (process)", best(process("-m", "kernelcalc.cli", "curves", folder=folder))))
        rows.append(("process to six kernels of 256 digits, tanh, L = 3", best(process("-c", first_kernels))))
    for name in ("tanh", "softplus", "erf", "smooth_relu"):
        rows.append((f"six kernels, {name}, L = 3, 256 digits", best(kernels(name, digits))))
    uneven = np.random.default_rng(1).normal(size=(4096, 196))
    for name in ("tanh", "erf"):
        rows.append((f"six kernels, {name}, L = 3, N = 1024, one norm", best(kernels(name, data))))
        rows.append((f"six kernels, {name}, L = 3, N = 1024, many norms", best(kernels(name, uneven[:1024]))))
    rows.append(("six kernels, tanh, L = 3, N = 4096, many norms", best(kernels("tanh", uneven), 2)))
    rows.append(('the same with `engine="numba"`', best(kernels("tanh", uneven, engine="numba"), 2)))
    rows.append(("Σ and Θ, relu, L = 3, N = 4096, many norms", best(kernels("relu", uneven))))
    for name in ("elu", "hard_tanh", "hard_swish"):
        rows.append((f"Σ and Θ, {name}, L = 3, N = 256, many norms", best(kernels(name, uneven[:256]))))
    for name, what in (("tanh", "six kernels"), ("gelu", "six kernels"), ("relu", "Σ and Θ")):
        net = kc.MLP(name, depth=3)
        rows.append((f"{what} of one pair, {name}, L = 3", best(lambda net=net: net.kernels(*pair), 20)))
    times = np.geomspace(1e-2, 1e6, 1000)
    rows.append(("moments at 1000 times, N = 1024", best(lambda: kc.mse_moments(large, targets, times), 2)))
    rows.append(
        ("six kernels of one pair to 30 digits, tanh, L = 2", best(lambda: kc.MLP("tanh", 2).kernels(*pair, dps=30), 1))
    )
    print(f"{processor()}, {os.cpu_count()} cores, NumPy {np.__version__}, Python {platform.python_version()}\n")
    print("| what | seconds |\n|---|---|")
    for what, seconds in rows:
        print(f"| {what} | {seconds:.2g} |")


if __name__ == "__main__":
    main()
