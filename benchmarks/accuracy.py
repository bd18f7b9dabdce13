"""Accuracy of Σ and Θ against neural-tangents, both measured against 20-digit values: ``python benchmarks/accuracy.py``.

Installs neural-tangents 0.6.5 (with jax and jaxlib 0.4.23, numpy < 2, scipy 1.12, tf2jax 0.3.6: newer ones break its
import) into a temporary environment, runs it there in float64 on the same points, prints a table and keeps it.

Rows: network with two hidden layers, four points on a sphere of radius √8, the first two of them equal; error = largest
relative error over the pairs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
from record import Table

import kernelcalc as kc

PEER = ("neural-tangents==0.6.5", "jax==0.4.23", "jaxlib==0.4.23", "numpy<2", "scipy==1.12", "tf2jax==0.3.6")
SCALES = (1.0, 3.0)
# Name here, and the peer's layers: its closed form, or its Gauss–Hermite rule of a degree.
CASES = (
    ("relu", "closed", "Relu()"),
    ("erf", "closed", "Erf()"),
    ("gelu", "closed", "Gelu()"),
    ("sin", "closed", "Sin()"),
    ("tanh", "degree 25", "ElementwiseNumerical(jnp.tanh, deg=25)"),
    ("tanh", "degree 100", "ElementwiseNumerical(jnp.tanh, deg=100)"),
    ("softplus", "degree 25", "ElementwiseNumerical(jax.nn.softplus, deg=25)"),
    ("silu", "degree 25", "ElementwiseNumerical(jax.nn.silu, deg=25)"),
    ("arctan", "degree 100", "ElementwiseNumerical(jnp.arctan, deg=100)"),
)
SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
from neural_tangents import stax
from neural_tangents.stax import ElementwiseNumerical, Erf, Gelu, Relu, Sin
given = json.load(open(sys.argv[1]))
X = np.array(given["points"])
out = []
for layer, scale in given["cases"]:
    parts = []
    for _ in range(2):
        parts += [stax.Dense(1, W_std=scale, b_std=0.1), LAYERS[layer]()]
    parts.append(stax.Dense(1, W_std=scale, b_std=0.1))
    _, _, kernel = stax.serial(*parts)
    k = kernel(X, None, ("nngp", "ntk"))
    out.append([np.array(k.nngp).tolist(), np.array(k.ntk).tolist()])
json.dump(out, open(sys.argv[2], "w"))
"""
LAYERS = {call: call for _, _, call in CASES}


def peer_script() -> str:
    """The program run in the peer's environment, its layers written out as code."""
    table = ", ".join(f"{call!r}: lambda: {call}" for call in LAYERS)
    return SCRIPT.replace("given = json", f"LAYERS = {{{table}}}\ngiven = json")


def peer_values(python: Path, points: np.ndarray, cases: list[tuple[str, float]]) -> list[list[list[list[float]]]]:
    """Σ and Θ of every case from neural-tangents."""
    with tempfile.TemporaryDirectory() as folder:
        given, got, script = (Path(folder, name) for name in ("given.json", "got.json", "peer.py"))
        given.write_text(json.dumps({"points": points.tolist(), "cases": cases}))
        script.write_text(peer_script())
        subprocess.run([python, script, given, got], check=True, capture_output=True)
        return json.loads(got.read_text())


def worst(found: np.ndarray, exact: np.ndarray) -> float:
    """Largest relative error; NaN if any value is."""
    return float(np.abs(found / exact - 1).max())


def main() -> None:
    """Install the peer, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="Python that has neural-tangents (default: install it).")
    peer = parser.parse_args().peer_python
    with tempfile.TemporaryDirectory() as folder:
        if peer is None:
            venv.create(folder, with_pip=True)
            peer = Path(folder, "bin", "python")
            subprocess.run([peer, "-m", "pip", "install", "-q", *PEER], check=True, stdout=sys.stderr)
        points = np.random.default_rng(1).normal(size=(4, 8))
        points *= np.sqrt(8) / np.linalg.norm(points, axis=1, keepdims=True)
        points[1] = points[0]
        cases = [(call, scale) for _, _, call in CASES for scale in SCALES]
        values = peer_values(peer, points, cases)
    columns = {"nonlinearity": "", "σ_w": "g", "neural-tangents": ""}
    columns |= dict.fromkeys(("its error Σ", "its error Θ", "ours Σ", "ours Θ"), ".1e")
    exact: dict[tuple[str, float], kc.LimitingKernels] = {}
    table = Table("accuracy", columns, keys=3, others={"neural-tangents": "0.6.5"})
    for (name, rule, _), scale, (nngp, ntk) in zip(
        [case for case in CASES for _ in SCALES], SCALES * len(CASES), values, strict=True
    ):
        net = kc.MLP(name, depth=3, sigma_w=scale, beta=0.1)
        if (name, scale) not in exact:
            exact[name, scale] = net.kernels(points, only=("sigma", "theta"), dps=20)
        truth = exact[name, scale]
        ours = net.kernels(points, only=("sigma", "theta"))
        errors = [
            worst(np.array(found), getattr(truth, kernel).astype(float))
            for kernel, found in (("sigma", nngp), ("theta", ntk), ("sigma", ours.sigma), ("theta", ours.theta))
        ]
        table.add(name, scale, rule, *errors)


if __name__ == "__main__":
    main()
