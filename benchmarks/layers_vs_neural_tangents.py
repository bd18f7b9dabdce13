"""Convolution, pooling, LayerNorm and residual branches beside neural-tangents: values and times of Σ and Θ.

``python benchmarks/layers_vs_neural_tangents.py`` installs neural-tangents 0.6.5 with the packages it works with into a
temporary environment; ``--python PATH`` takes an environment that has it. ``--write FILE`` keeps its values, which the tests
read.
The peer is compiled and warm, in float64; times are the least processor seconds of three runs, one package after the other.
The table is kept in benchmarks/results/peer_layers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
from record import Table

import kernelcalc as kc
from kernelcalc.kernels.layers import AveragePool, Conv, Dense, Flatten, GlobalAverage, Layer, LayerNorm, Residual

PACKAGES = ("neural-tangents==0.6.5", "jax==0.4.23", "jaxlib==0.4.23", "numpy<2", "scipy==1.12", "tf2jax==0.3.6")
W, B = 1.1, 0.3
RUNS = 3
# A peer's network for each of ours; c(window, padding) and f() are a convolution and a nonlinearity in its words.
PEER = """
import jax; jax.config.update("jax_enable_x64", True)
import json, sys, time
import numpy as np, jax.numpy as jnp
from neural_tangents import stax
W, B, RUNS = {w}, {b}, {runs}
def dense(): return stax.Dense(1, W_std=W, b_std=B, parameterization="ntk")
def build(kind, nd, f):
    def c(k, p="SAME"): return stax.Conv(8, (k,) * nd, None, p, W_std=W, b_std=B, parameterization="ntk")
    block = stax.serial(stax.LayerNorm(axis=-1, eps=0.0), f(), c(3))
    parts = {{
        "flatten": lambda: (c(3, "CIRCULAR"), f(), c(3, "CIRCULAR"), f(), stax.Flatten()),
        "global": lambda: (c(3), f(), c(3), f(), stax.GlobalAvgPool()),
        "pool": lambda: (c(3, "VALID"), f(), stax.AvgPool((2,) * nd, (2,) * nd, "VALID"), c(2, "VALID"), f(), stax.Flatten()),
        "residual": lambda: (
            c(3), stax.FanOut(2), stax.parallel(stax.Identity(), block), stax.FanInSum(), f(), stax.GlobalAvgPool()
        ),
    }}[kind]()
    kernel = stax.serial(*parts, dense())[2]
    return jax.jit(lambda x: tuple(kernel(x, None, ("nngp", "ntk"))))
for line in sys.stdin:
    kind, name, x = json.loads(line)
    x = jnp.array(x)
    f = stax.Erf if name == "erf" else lambda: stax.ElementwiseNumerical(jnp.tanh, deg=25)
    k = build(kind, x.ndim - 2, f)
    run = lambda: [np.array(part) for part in k(x)]
    (sigma, theta), best = run(), np.inf
    for _ in range(RUNS):
        start = time.process_time(); run(); best = min(best, time.process_time() - start)
    print(json.dumps([sigma.tolist(), theta.tolist(), best]), flush=True)
"""


def layers(kind: str, name: str) -> list[Layer | str]:
    """Ours."""

    def conv(window: int, padding: str = "zeros") -> Conv:
        return Conv(window, W, B, padding)

    found: dict[str, list[Layer | str]] = {
        "flatten": [conv(3, "circular"), name, conv(3, "circular"), name, Flatten()],
        "global": [conv(3), name, conv(3), name, GlobalAverage()],
        "pool": [conv(3, "valid"), name, AveragePool(2), conv(2, "valid"), name, Flatten()],
        "residual": [conv(3), Residual(LayerNorm(), name, conv(3)), name, GlobalAverage()],
    }
    return [*found[kind], Dense(W, B)]


def points(shape: tuple[int, ...]) -> np.ndarray:
    """Random points; digits where there are 14 × 14 positions."""
    if shape[1:3] == (14, 14):
        return kc.datasets.mnist14()[0][: shape[0]].reshape(shape)
    return np.round(0.7 * np.random.default_rng(len(shape)).standard_normal(shape), 3)


SMALL = [
    *((kind, "erf", (2, 6, 2)) for kind in ("flatten", "global", "pool", "residual")),
    *((kind, "erf", (2, 6, 6, 1)) for kind in ("flatten", "global", "pool", "residual")),
]
LARGE = [
    ("flatten", "erf", (64, 14, 14, 1)),
    ("flatten", "tanh", (8, 14, 14, 1)),
    ("pool", "erf", (8, 14, 14, 1)),
    ("global", "erf", (8, 14, 14, 1)),
    ("residual", "erf", (8, 14, 14, 1)),
]


def ours(kind: str, name: str, x: np.ndarray) -> tuple[Any, float]:
    """Kernels, and the best time."""
    net, best = kc.Sequential(*layers(kind, name)), np.inf
    for _ in range(RUNS):
        start = time.process_time()
        kernels = net.kernels(x, only=("sigma", "theta"))
        best = min(best, time.process_time() - start)
    return kernels, best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="an interpreter that has neural-tangents")
    parser.add_argument("--write", type=Path, help="keep the peer's values of the small cases")
    parser.add_argument("--small", action="store_true", help="values only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = options.python
        if python is None:
            venv.create(folder, with_pip=True)
            python = str(Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python")
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        kept = measure(python, SMALL if options.small else SMALL + LARGE)
    if options.write is not None:
        source = "neural-tangents 0.6.5, jax 0.4.23, float64: benchmarks/layers_vs_neural_tangents.py --write"
        options.write.write_text(json.dumps({"source": source, "W": W, "B": B, "cases": kept}, indent=1) + "\n")


def measure(python: str, cases: list[tuple[str, str, tuple[int, ...]]]) -> list[dict[str, Any]]:
    """One line a case; the small ones with their values."""
    kept = []
    code = PEER.format(w=W, b=B, runs=RUNS)
    with subprocess.Popen(
        [python, "-W", "ignore", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        columns = {
            "network": "",
            "nonlinearity": "",
            "points": "",
            "here, s": ".2g",
            "peer, s": ".2g",
            "peer / here": ".2g",
        }
        columns |= {"Σ differs": ".1e", "Θ differs": ".1e"}
        table = Table("peer_layers", columns, keys=3, others={"neural-tangents": "0.6.5"})
        for kind, name, shape in cases:
            x = points(shape)
            peer.stdin.write(json.dumps([kind, name, x.tolist()]) + "\n")
            peer.stdin.flush()
            sigma, theta, there = json.loads(peer.stdout.readline())
            kernels, here = ours(kind, name, x)
            pairs = (kernels.sigma, sigma), (kernels.theta, theta)
            apart = [float(np.abs(found / np.array(other) - 1).max()) for found, other in pairs]
            table.add(kind, name, " × ".join(map(str, shape)), here, there, there / here, *apart)
            if shape[1:3] != (14, 14):
                kept.append({"kind": kind, "nonlinearity": name, "x": x.tolist(), "sigma": sigma, "theta": theta})
        peer.stdin.close()
    return kept


if __name__ == "__main__":
    sys.exit(main())
