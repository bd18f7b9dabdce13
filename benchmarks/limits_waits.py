"""How close whole computations come to what the machine can do: ``python benchmarks/limits_waits.py [ROWS]``.

Each is run twice in a process of its own, on one thread: once as it is, for its processor seconds, and once with its operations
counted (counted.py). "Could take" is what its products take as matrix products, its element-wise operations as NumPy's
multiplications in cache, and its bytes as copies, each at the rate that is measured in this run (limits.py). Bytes beyond the
cache and operations on them are done at once: the slower of both counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from limits import ceilings
from record import Table, cpu_seconds
from waits import NETWORK, SOFTMAX, process

COUNTED = Path(__file__).with_name("counted.py")
SIGMA_THETA, SIX = ("sigma", "theta"), ("sigma", "lam", "theta", "phi", "upsilon", "xi")
# Runs within a process, which prints their seconds: the interpreter's start and a first run do not count.
RUNS = {256: 200, 1024: 20, 4096: 2}
WITHIN = (
    "import time, kernelcalc as kc, numpy as np; x = np.random.default_rng(0).normal(size=({count}, 196)); "
    "net = kc.MLP({name!r}, 3); net.kernels(x[:50], only={which}); started = time.process_time(); "
    "[net.kernels(x, only={which}) for _ in range({runs})]; "
    "print(time.process_time() - started)"
)
KINDS = {"Σ and Θ": SIGMA_THETA, "six kernels": SIX}
CLOSED = [(words, name, count) for name in ("relu", "erf", "gelu", "sin") for count in RUNS for words in KINDS]
ROWS = {
    f"{words}, {name}, N = {count}, {RUNS[count]} times": (
        "-c",
        WITHIN.format(count=count, name=name, which=KINDS[words], runs=RUNS[count]),
    )
    for words, name, count in CLOSED
    if (words, name) != ("six kernels", "relu")
}
ROWS |= {
    "Σ and Θ, elu, N = 256": ("-c", WITHIN.format(count=256, name="elu", which=SIGMA_THETA, runs=1)),
    "`hessian_moments`, softmax": ("-c", SOFTMAX),
    "`kernelcalc curves`": ("-m", "kernelcalc.cli", "curves"),
    "`kernelcalc curves --band quantiles`": ("-m", "kernelcalc.cli", "curves", "--band", "quantiles"),
    "`kernelcalc validate`": ("-m", "kernelcalc.cli", "validate", "--workers", "1"),
    "one network of `kernelcalc figure 1`": ("-c", NETWORK),
}
COLUMNS = {
    "what": "",
    "products, 1e9": ".3g",
    "element-wise, 1e9": ".3g",
    "GB beyond the cache": ".3g",
    "could take s": ".3g",
    "took s": ".3g",
    "took / could": ".1f",
}


def counts(arguments: tuple[str, ...], folder: str) -> dict[str, float]:
    """Operations of a process."""
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(COUNTED), *arguments]
    done = subprocess.run(
        command, check=True, cwd=tempfile.mkdtemp(dir=folder), capture_output=True, env=one, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Count, measure, keep."""
    wanted = tuple(sys.argv[1:])
    rates = ceilings()
    table = Table("limits_waits", COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        for what, arguments in ROWS.items():
            if wanted and not what.startswith(wanted):
                continue
            found = counts(arguments, folder)
            passes = found["elements"] / rates["NumPy in cache"]
            could = found["products"] / rates["matrix product"] + max(passes, found["bytes"] / rates["copy"])
            run = process(arguments, folder, OMP_NUM_THREADS="1")
            took = float(run().stdout) if "process_time" in arguments[-1] else cpu_seconds(run, 1)
            table.add(what, *(found[k] / 1e9 for k in ("products", "elements", "bytes")), could, took, took / could)


if __name__ == "__main__":
    main()
