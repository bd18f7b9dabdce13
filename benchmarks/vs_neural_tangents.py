"""Speed beside neural-tangents, at equal accuracy, in one run: ``python benchmarks/vs_neural_tangents.py``.

Installs neural-tangents 0.6.5 (with jax and jaxlib 0.4.23, numpy < 2, scipy 1.12, tf2jax 0.3.6: newer ones break its
import) into a temporary environment and keeps it running there, compiled and warm, in float64. Both compute kernels of networks
with two hidden layers on the same 196-dimensional points; runs alternate, and the best of each counts, in processor seconds of
all threads together. Results are kept in benchmarks/results/peer_closed.json and peer_series.json. The peer computes Σ and
Θ; this package all six kernels where there is no closed form. There the peer's degree is the smallest tried that reaches
1e-9, its batch size the fastest tried at N = 256; what is computed here is good to 1e-12.
"""

from __future__ import annotations

import argparse
import json
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
from kernelcalc.kernels.gram import KernelComputation
from kernelcalc.kernels.state import KERNEL_NAMES

PEER = ("neural-tangents==0.6.5", "jax==0.4.23", "jaxlib==0.4.23", "numpy<2", "scipy==1.12", "tf2jax==0.3.6")
DEGREES = (25, 35, 50, 75, 100, 125, 150)
# 0 is the whole matrix at once, which needs N² degree² numbers; tried up to this degree.
BATCHES, WHOLE_UP_TO = (16, 32, 64, 128), 35
ACCURACY = 1e-9
# Points up to which a call takes some milliseconds, and the best of more runs is taken.
FEW = 256
PAIR = ("sigma", "theta")
LAYERS = {
    "tanh": "lambda deg: ElementwiseNumerical(jnp.tanh, deg=deg)",
    "softplus": "lambda deg: ElementwiseNumerical(jax.nn.softplus, deg=deg)",
    "silu": "lambda deg: ElementwiseNumerical(jax.nn.silu, deg=deg)",
    "arctan": "lambda deg: ElementwiseNumerical(jnp.arctan, deg=deg)",
    "relu": "lambda deg: Relu()",
    "erf": "lambda deg: Erf()",
    "gelu": "lambda deg: Gelu()",
    "sin": "lambda deg: Sin()",
}
SCRIPT = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from neural_tangents import stax
from neural_tangents.stax import ElementwiseNumerical, Erf, Gelu, Relu, Sin
layers = {LAYERS}
def points(n, sphere):
    x = np.random.default_rng(n).normal(size=(n, 196))
    return x * 14 / np.linalg.norm(x, axis=1, keepdims=True) if sphere else x
for line in sys.stdin:
    job = json.loads(line)
    parts = []
    for _ in range(2):
        parts += [stax.Dense(1, W_std=1.0, b_std=0.1), layers[job["layer"]](job["degree"])]
    _, _, kernel = stax.serial(*parts, stax.Dense(1, W_std=1.0, b_std=0.1))
    if job["batch"]:
        run = nt.batch(kernel, batch_size=job["batch"], store_on_device=False)
    else:
        run = jax.jit(lambda x, f=kernel: f(x, None, ("nngp", "ntk")))
    x = points(job["n"], job["sphere"])
    def once():
        start = time.process_time()
        k = run(x, None, ("nngp", "ntk")) if job["batch"] else run(x)
        k = jax.tree_util.tree_map(np.asarray, (k.nngp, k.ntk))
        return time.process_time() - start, k
    times = [once() for _ in range(job["runs"])]
    sample = [np.asarray(v)[:16, :16].tolist() for v in times[0][1]]
    print(json.dumps([min(t for t, _ in times), sample]), flush=True)
"""


class Peer:
    """neural-tangents in its own process, asked one job at a time."""

    def __init__(self, python: Path) -> None:
        table = ", ".join(f"{name!r}: {layer}" for name, layer in LAYERS.items())
        code = SCRIPT.replace("{LAYERS}", "{" + table + "}")
        self.process = subprocess.Popen(
            [str(python), "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, layer: str, n: int, *, sphere: bool, degree: int = 0, batch: int = 0, runs: int = 3) -> Any:
        """Seconds (best of the runs, the first of which compiles) and the corner of Σ and Θ; infinite if it died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"layer": layer, "n": n, "sphere": sphere, "degree": degree, "batch": batch, "runs": runs}
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            seconds, sample = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return float("inf"), None
        return seconds, [np.array(v) for v in sample]


def points(n: int, sphere: bool) -> np.ndarray:
    """The same points as the peer's."""
    x = np.random.default_rng(n).normal(size=(n, 196))
    return x * 14 / np.linalg.norm(x, axis=1, keepdims=True) if sphere else x


def ours(name: str, n: int, names: tuple[str, ...], *, sphere: bool, compiled: bool, runs: int = 3) -> float:
    """Least processor time of a Gram matrix, seconds."""
    net, x = kc.MLP(name, 3), points(n, sphere)
    times = []
    for _ in range(runs):
        start = time.process_time()
        KernelComputation(net, x, None, names, compiled=compiled).run(layers=False)
        times.append(time.process_time() - start)
    return min(times)


def error(name: str, n: int, sphere: bool, sample: list[np.ndarray] | None) -> float:
    """Largest error of the peer's corner, relative to the corner's largest entry."""
    if sample is None:
        return float("inf")
    K = kc.MLP(name, 3).kernels(points(n, sphere)[:16], only=PAIR)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(sample, (K.sigma, K.theta), strict=True))


def without_closed_form(peer: Peer, names: list[str], sizes: list[int], batches: list[int], table: Table) -> None:
    """Six kernels against the peer's two."""
    for name in names:
        for degree in DEGREES:
            _, sample = peer(name, 16, sphere=False, degree=degree, runs=1)
            reached = error(name, 16, False, sample)
            if reached <= ACCURACY:
                break
        shown = f"degree {degree}" + ("" if reached <= ACCURACY else f", error {reached:.0e}")
        tried = (0, *batches) if degree <= WHOLE_UP_TO else batches
        batch = min(tried, key=lambda b: peer(name, 256, sphere=False, degree=degree, batch=b, runs=2)[0])
        shown += f", batch {batch}" if batch else ", whole"
        for n in sizes:
            theirs, _ = peer(name, n, sphere=False, degree=degree, batch=batch, runs=2)
            many, one = (ours(name, n, KERNEL_NAMES, sphere=sphere, compiled=False) for sphere in (False, True))
            fast = ours(name, n, KERNEL_NAMES, sphere=False, compiled=True)
            table.add(name, n, theirs, shown, many, fast, one, theirs / many)


def closed_forms(peer: Peer, sizes: list[int], table: Table) -> None:
    """Σ and Θ against Σ and Θ, and all six; the peer runs before, between and after them."""
    for name in ("relu", "erf", "gelu", "sin"):
        for n in sizes:
            runs = 20 if n <= FEW else 5
            theirs, rows = [peer(name, n, sphere=False, runs=runs)[0]], []
            # as many runs as those of the peer together
            own = runs * (2 if name == "relu" else 3)
            for names, kernels in ((PAIR, "Σ, Θ"), (KERNEL_NAMES, "six")):
                if name == "relu" and names is not PAIR:
                    continue
                many, one = (ours(name, n, names, sphere=sphere, compiled=False, runs=own) for sphere in (False, True))
                fast = ours(name, n, names, sphere=False, compiled=True, runs=own)
                rows.append((kernels, many, fast, one))
                theirs.append(peer(name, n, sphere=False, runs=runs)[0])
            least = min(theirs)
            for kernels, many, fast, one in rows:
                table.add(name, n, kernels, least, many, fast, one, least / many)


def main() -> None:
    """Install the peer, alternate, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="Python that has neural-tangents (default: install it).")
    parser.add_argument("--names", nargs="*", default=["tanh", "softplus", "silu", "arctan"])
    parser.add_argument("--sizes", nargs="*", type=int, default=[256, 1024])
    parser.add_argument("--closed-sizes", nargs="*", type=int, default=[256, 1024, 4096])
    parser.add_argument("--batches", nargs="*", type=int, default=list(BATCHES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = options.peer_python
        if python is None:
            venv.create(folder, with_pip=True)
            python = Path(folder, "bin", "python")
            subprocess.run([python, "-m", "pip", "install", "-q", *PEER], check=True, stdout=sys.stderr)
        peer = Peer(python)
        here = {
            "here, many norms": ".2g",
            "here, compiled": ".2g",
            "here, one norm": ".2g",
            "peer / here, many norms": ".2g",
        }
        version = {"neural-tangents": "0.6.5"}
        columns = {"nonlinearity": "", "N": "d", "kernels here": "", "peer": ".2g"}
        table = Table("peer_closed", columns | here, keys=3, others=version)
        closed_forms(peer, options.closed_sizes, table)
        columns = {"nonlinearity": "", "N": "d", "peer": ".2g", "its quadrature": ""}
        table = Table("peer_series", columns | here, keys=2, others=version)
        without_closed_form(peer, options.names, options.sizes, options.batches, table)
        peer.process.kill()


if __name__ == "__main__":
    main()
