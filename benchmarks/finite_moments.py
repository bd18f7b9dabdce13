"""Time, memory and error of the Hessian moments of wide finite networks, against what the machine can multiply.

    python benchmarks/finite_moments.py            # width 1000, exact (under a minute)
    python benchmarks/finite_moments.py --wide     # and width 5000 with probes (minutes)

smooth ReLU, L = 3, 256 digits of 14 x 14 pixels, one output: Tr I^k, Tr S, Tr S², Tr IS, Tr H and Tr H². Every case runs in
a process of its own, so that its peak memory is known. The rate of a plain matrix product of the same size is measured in
the same process; as other programs may use the machine, CPU time is the number to look at (with several threads it has
BLAS's waiting in it).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from record import Table

ROOT = Path(__file__).resolve().parent.parent
POINTS, INPUTS = 256, 196
# unit_probes; measured: a standard error of 4e-5 of Tr S² at width 5000
PROBES = 64
# Limits asked of the two cases: seconds, standard error relative to Tr S², GiB.
LIMITS = {1000: (30.0, 0.0, 8.0), 5000: (300.0, 1e-4, 8.0)}


def operations(width: int, probes: int) -> float:
    """Floating-point operations of all matrix products, one output, two hidden layers of that width.

    With N points, n units and per pair of points: χ 2 n², two symmetric Gram matrices (A and M¹²) n² each, I S along the
    rows of the Jacobian 2 n². The matrices M¹¹ take n³ a point and their Gram matrix n²/2 a pair (both are symmetric);
    probes of the units take 4 n² a point and probe instead.
    """
    n, pairs = float(width), float(POINTS**2)
    square = probes * POINTS * 4 * n**2 if probes else POINTS * n**3 + 0.5 * pairs * n**2
    return 6 * pairs * n**2 + square


def main() -> int:
    """Run the cases and print a table."""
    parser = argparse.ArgumentParser(description="Hessian moments of wide finite networks")
    parser.add_argument("--wide", action="store_true", help="also width 5000")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="BLAS threads")
    parser.add_argument("--inside", type=int, metavar="WIDTH", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(measure(arguments.inside)))
        return 0
    columns = {"width": "d", "parameters": "d", "operations, 1e9": ".0f", "a product of that size, 1e9/s": ".3g"}
    columns |= {"wall s": ".3g", "processor s": ".3g", "GiB": ".2g", "standard error of Tr S²": ".1e"}
    table = Table("finite_moments", columns, options="--wide")
    failed = False
    for width in (1000, 5000) if arguments.wide else (1000,):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment |= {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        command = [sys.executable, __file__, "--inside", str(width)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        seen = json.loads(done.stdout)
        numbers = seen["possible"], seen["wall"], seen["cpu"], seen["memory"], seen["error"]
        table.add(width, seen["parameters"], seen["operations"] / 1e9, *numbers)
        print("       " + ", ".join(f"{name} = {value:.6g}" for name, value in seen["values"].items()))
        seconds, error, memory = LIMITS[width]
        failed |= not (seen["wall"] <= seconds and seen["error"] <= error and seen["memory"] <= memory)
    print("limits: " + "; ".join(f"width {w}: {s:g} s, error {e:g}, {m:g} GiB" for w, (s, e, m) in LIMITS.items()))
    return int(failed)


def measure(width: int) -> dict[str, object]:
    """One case, in this process."""
    import numpy as np

    import kernelcalc as kc

    X, labels = kc.datasets.mnist14(POINTS)
    Y = kc.datasets.parity(labels)
    fin = kc.FiniteNetwork.random(kc.MLP("smooth_relu", depth=3), width, INPUTS, rng=0)
    fin(X)  # SymPy makes the activation's functions at first use
    rate = product_rate(width)
    probes = PROBES if width > 1000 else 0
    start, cpu = time.perf_counter(), time.process_time()
    found = fin.hessian_moments(X, Y, kmax=2, unit_probes=probes)
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    values = {
        "Tr I": found.trace_i[0],
        "Tr I²": found.trace_i[1],
        "Tr S": found.trace_s,
        "Tr S²": found.trace_s2,
        "Tr IS": found.trace_is,
        "Tr H": found.trace_h[0],
        "Tr H²": found.trace_h[1],
    }
    return {
        "parameters": fin.n_parameters,
        "operations": operations(width, probes),
        "possible": rate,
        "wall": wall,
        "cpu": used,
        # kilobytes on Linux
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "error": found.trace_s2_error / found.trace_s2,
        "values": {name: float(np.asarray(value)) for name, value in values.items()},
    }


def product_rate(width: int) -> float:
    """1e9 operations a second of a plain product (2048, n)(n, n), wall time."""
    import numpy as np

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2048, width)), rng.standard_normal((width, width))
    a @ b
    start, repeat = time.perf_counter(), max(1, int(2e7 / width**2))
    for _ in range(repeat):
        a @ b
    return 2 * 2048 * width**2 * repeat / (time.perf_counter() - start) / 1e9


if __name__ == "__main__":
    sys.exit(main())
