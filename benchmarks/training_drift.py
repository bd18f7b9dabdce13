"""How far training moves the tangent kernel of finite networks: ``python benchmarks/training_drift.py``, half a minute.

``kc.tangent_drift`` on five points in the plane; the limit has no drift, at order 1/n no column changes as the width grows.
"""

from __future__ import annotations

from record import Table

import kernelcalc as kc
from kernelcalc.cli.validate import spiral

NETWORKS = {32: 200, 64: 100, 128: 50}

if __name__ == "__main__":
    columns = {"nonlinearity": "", "width": "d", r"$n\,Δ\mathrm{Tr}\,\hatΘ / \mathrm{Tr}\,Θ$, mean": ".2f"}
    columns |= {"standard error": ".2f", r"$n\,\lVert Δ\hatΘ \rVert / \lVert Θ \rVert$, root mean square": ".1f"}
    table = Table("training_drift", columns, keys=2)
    for name in ("tanh", "gelu", "softplus"):
        for width, networks in NETWORKS.items():
            net = kc.MLP(name, depth=3, sigma_w=1.5, beta=0.3)
            found = kc.tangent_drift(net, *spiral(), [width], networks, rng=width)
            table.add(name, width, *(float(part[0]) for part in (found.trace, found.trace_error, found.size)))
