"""How far training moves the tangent kernel of finite networks: ``python benchmarks/training_drift.py``, half a minute.

Gradient flow on the mean squared error; the relative change of Θ̂ times the width, as mean of Tr Θ̂ and as root mean square
of ‖ΔΘ̂‖ over networks. The limit has none; at order 1/n both columns stand still as the width grows.
"""

from __future__ import annotations

import numpy as np

import kernelcalc as kc
from kernelcalc.cli.validate import spiral
from kernelcalc.finite import NetworkBatch

ENSEMBLES = {32: 200, 64: 100, 128: 50}


def drift(net: kc.MLP, width: int, networks: int) -> tuple[float, float, float]:
    """Width times: the mean relative change of Tr Θ̂, its standard error, the root mean square of ‖ΔΘ̂‖/‖Θ‖."""
    x, y = spiral()
    theta = net.kernels(x).theta
    time = 3 * len(x) / np.linalg.eigvalsh(theta)[-2]
    start = NetworkBatch.random(net, networks, (width,) * (net.depth - 1), n_in=x.shape[1], rng=width)
    change = start.flow(x, y[:, None], float(time)).ntk(x) - start.ntk(x)
    trace = np.trace(change, axis1=1, axis2=2) / np.trace(theta)
    size = np.linalg.norm(change, axis=(1, 2)) / np.linalg.norm(theta)
    return width * trace.mean(), width * trace.std(ddof=1) / networks**0.5, width * float(np.sqrt((size**2).mean()))


if __name__ == "__main__":
    print(f"{'':10}{'width':>6}{'n ΔTr Θ / Tr Θ':>20}{'n |ΔΘ| / |Θ|':>15}")
    for name in ("tanh", "gelu", "softplus"):
        for width, networks in ENSEMBLES.items():
            mean, error, size = drift(kc.MLP(name, depth=3, sigma_w=1.5, beta=0.3), width, networks)
            print(f"{name:10}{width:>6}{f'{mean:.2f} ± {error:.2f}':>20}{size:>15.1f}", flush=True)
