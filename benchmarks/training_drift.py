"""How far training moves the tangent kernel of finite networks: ``python benchmarks/training_drift.py``, half a minute.

``kc.tangent_drift`` on five points in the plane; the limit has no drift, at order 1/n no column changes as the width grows.
"""

from __future__ import annotations

import kernelcalc as kc
from kernelcalc.cli.validate import spiral

NETWORKS = {32: 200, 64: 100, 128: 50}

if __name__ == "__main__":
    print(f"{'':10}{'width':>6}{'n ΔTr Θ / Tr Θ':>20}{'n |ΔΘ| / |Θ|':>15}{'C(t)/C(0)':>12}")
    for name in ("tanh", "gelu", "softplus"):
        for width, networks in NETWORKS.items():
            net = kc.MLP(name, depth=3, sigma_w=1.5, beta=0.3)
            found = kc.tangent_drift(net, *spiral(), [width], networks, rng=width)
            mean = f"{found.trace[0]:.2f} ± {found.trace_error[0]:.2f}"
            print(f"{name:10}{width:>6}{mean:>20}{found.size[0]:>15.1f}{found.loss[0]:>12.3f}", flush=True)
