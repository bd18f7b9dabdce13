"""How the operator norm of S falls with the width: ``python benchmarks/norm_of_s.py``, two minutes.

Networks of three layers at the start, 32 digits with signs as targets, mean squared error. S is linear in the residuals, whose
size differs much from network to network: so everything is per √Tr S² of the same network. Per width: the mean of ‖S‖/√Tr S²
(Lanczos), n^½ times it, and what stands below it by theory: 1/√rank, if S were spread evenly over the bound 2N(n_1 + n_2) of
its rank, and √(Tr S⁴)/Tr S², both traces from random signs. Then the exponent: a least-squares line through the logarithms.
Kept as results/norm_of_s.json and norm_of_s_exponents.json.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from record import Table
from scipy.sparse.linalg import LinearOperator, eigsh

import kernelcalc as kc

# Networks of each width.
NETWORKS = {64: 24, 128: 16, 256: 12, 512: 8, 1024: 6}
POINTS, PROBES = 32, 8
NORM = r"$\lVert S\rVert/\sqrt{\mathrm{Tr}\,S^2}$"


def norm(s: Any) -> float:
    """Largest absolute eigenvalue."""
    size = s.shape[0]
    operator = LinearOperator((size, size), matvec=lambda v: np.asarray(s @ v.ravel(), dtype=float), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    return float(abs(eigsh(operator, k=1, which="LM", ncv=24, tol=1e-3, v0=start, return_eigenvectors=False)[0]))


def powers(s: Any, rng: np.random.Generator) -> tuple[float, float]:
    """Tr S² and Tr S⁴, unbiased."""
    signs = rng.choice(np.array([-1.0, 1.0]), size=(PROBES, s.shape[0]))
    once = np.stack([np.asarray(s @ v, dtype=float) for v in signs])
    twice = np.stack([np.asarray(s @ v, dtype=float) for v in once])
    return float((once**2).sum() / PROBES), float((twice**2).sum() / PROBES)


def measure(table: Table, name: str, depth: int = 3) -> tuple[float, float]:
    """A row a width; the exponent and its standard error."""
    x, labels = kc.datasets.mnist14(POINTS)
    y = kc.datasets.parity(labels)
    net = kc.MLP(name, depth=depth)
    points = []
    for n, networks in NETWORKS.items():
        rng, found = np.random.default_rng(n), []
        for _ in range(networks):
            fin = kc.FiniteNetwork.random(net, (n,) * (depth - 1), n_in=x.shape[1], rng=rng)
            s = fin.curvature(x, y).s
            square, fourth = powers(s, rng)
            found.append((norm(s) / square**0.5, fourth**0.5 / square))
        norms, below = np.array(found).T
        points += [(np.log(n), np.log(one)) for one in norms]
        error, even = norms.std(ddof=1) / networks**0.5, (2 * POINTS * (depth - 1) * n) ** -0.5
        ours, ratio = norms.mean(), (norms / below).mean()
        table.add(name, n, ours, error, ours * n**0.5, even, below.mean(), ratio)
    log_n, log_norm = np.array(points).T
    design = np.stack([np.ones_like(log_n), log_n], axis=1)
    fit, *_ = np.linalg.lstsq(design, log_norm, rcond=None)
    spread = (log_norm - design @ fit).var(ddof=2)
    return float(fit[1]), float(np.sqrt(spread * np.linalg.inv(design.T @ design)[1, 1]))


if __name__ == "__main__":
    columns = {"f": "", "n": "d", NORM: ".4f", "standard error": ".4f", r"times $\sqrt n$": ".2f"}
    columns |= {
        "evenly over the rank": ".4f",
        r"$\sqrt{\mathrm{Tr}\,S^4}/\mathrm{Tr}\,S^2$": ".4f",
        "first over last": ".2f",
    }
    table = Table("norm_of_s", columns, keys=2)
    exponents = {name: measure(table, name) for name in sys.argv[1:] or ("tanh", "gelu", "silu")}
    table = Table("norm_of_s_exponents", {"f": "", "exponent of n": ".3f", "standard error": ".3f"})
    for name, found in exponents.items():
        table.add(name, *found)
