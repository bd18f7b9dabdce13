"""Times of the main job and of its parts: ``python benchmarks/speed.py``, kept in benchmarks/results/speed.json.

Every figure is processor time of all threads, the least of several runs of the same work; whole processes include the
interpreter's start. The first row is a yardstick for the machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np
from record import Table, cpu_seconds

import kernelcalc as kc


def process(*arguments: str, folder: str = ".") -> Callable[[], object]:
    """Work that is one Python process."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, cwd=folder, capture_output=True)


def main() -> None:
    """Measure, print, keep."""
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

    table = Table("speed", {"what": "", "processor seconds": ".2g"})
    square = np.random.default_rng(0).normal(size=(1000, 1000))
    table.add("product of two 1000 × 1000 matrices", cpu_seconds(lambda: square @ square, 10))
    with tempfile.TemporaryDirectory() as folder:
        table.add("`import kernelcalc` (process)", cpu_seconds(process("-c", "import kernelcalc"), 5))
        table.add(
            "`kernelcalc curves` (process)", cpu_seconds(process("-m", "kernelcalc.cli", "curves", folder=folder))
        )
        table.add("process to six kernels of 256 digits, tanh, L = 3", cpu_seconds(process("-c", first_kernels)))
    for name in ("tanh", "softplus", "erf", "smooth_relu"):
        table.add(f"six kernels, {name}, L = 3, 256 digits", cpu_seconds(kernels(name, digits)))
    uneven = np.random.default_rng(1).normal(size=(4096, 196))
    for name in ("tanh", "erf"):
        table.add(f"six kernels, {name}, L = 3, N = 1024, one norm", cpu_seconds(kernels(name, data)))
        table.add(f"six kernels, {name}, L = 3, N = 1024, many norms", cpu_seconds(kernels(name, uneven[:1024])))
    table.add("six kernels, tanh, L = 3, N = 4096, many norms", cpu_seconds(kernels("tanh", uneven), 2))
    table.add(
        'six kernels, tanh, L = 3, N = 4096, many norms, `engine="numba"`',
        cpu_seconds(kernels("tanh", uneven, engine="numba"), 2),
    )
    table.add("Σ and Θ, relu, L = 3, N = 4096, many norms", cpu_seconds(kernels("relu", uneven)))
    for name in ("elu", "selu", "hard_tanh", "relu6", "hard_swish"):
        table.add(f"Σ and Θ, {name}, L = 3, N = 256, many norms", cpu_seconds(kernels(name, uneven[:256])))
    for name, what in (("tanh", "six kernels"), ("gelu", "six kernels"), ("relu", "Σ and Θ")):
        net = kc.MLP(name, depth=3)
        table.add(f"{what} of one pair, {name}, L = 3", cpu_seconds(lambda net=net: net.kernels(*pair), 20))
    times = np.geomspace(1e-2, 1e6, 1000)
    table.add("moments at 1000 times, N = 1024", cpu_seconds(lambda: kc.mse_moments(large, targets, times), 2))
    table.add(
        "six kernels of one pair to 30 digits, tanh, L = 2",
        cpu_seconds(lambda: kc.MLP("tanh", 2).kernels(*pair, dps=30), 1),
    )


if __name__ == "__main__":
    main()
