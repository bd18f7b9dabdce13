"""How long a whole command takes: ``python benchmarks/waits.py [ROWS]``, kept in benchmarks/results/waits.json.

Processor seconds of the process and its workers, or of the part that is named, with one BLAS thread and with the threads that
it takes by itself, and how long that is on the clock; ROWS are beginnings of the rows to measure. The package is compiled
before, as it is where it was installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from record import Table, cpu_seconds

SOFTMAX = (
    "import kernelcalc as kc, numpy as np; X, labels = kc.datasets.mnist14(); K = kc.MLP('tanh', 3, n_out=10).kernels(X); "
    "kc.hessian_moments(K, labels, np.r_[0, np.geomspace(0.02, 3e3, 49)], 'softmax', samples=64)"
)
NETWORK = (
    "import kernelcalc as kc; from kernelcalc.finite import moments_through_training; X, labels = kc.datasets.mnist14(256); "
    "net = kc.MLP('smooth_relu', depth=3, n_out=10); moments_through_training(net, X, kc.datasets.one_hot(labels), "
    "[0, 0.2, 0.6, 2, 6, 20], width=1000, trials=1, tol=1e-3, probes=4, deflation=10, whole_probes=8, dtype='float32')"
)
OCTAVE = (
    "import time, kernelcalc as kc, numpy as np; X = np.random.default_rng(0).normal(size=(64, 196)); net = kc.MLP('tanh', 3); "
    "net.kernels(X); started = time.process_time(); net.kernels(2 * X); print(time.process_time() - started)"
)
WAITS = {
    "`kernelcalc validate`": ("-m", "kernelcalc.cli", "validate"),
    "`kernelcalc curves`": ("-m", "kernelcalc.cli", "curves"),
    "`kernelcalc curves --band quantiles`": ("-m", "kernelcalc.cli", "curves", "--band", "quantiles"),
    "`hessian_moments`, softmax, tanh, 256 digits, 64 samples at 50 times": ("-c", SOFTMAX),
    "one of the 40 networks of `kernelcalc figure 1`": ("-c", NETWORK),
    "`kernelcalc figure 1`": ("-m", "kernelcalc.cli", "figure", "1"),
}
PRODUCT = (
    "import time, numpy as np; a = np.random.default_rng(0).normal(size=(1000, 1000)); started = time.process_time(); "
    "[a @ a for _ in range(10)]; print((time.process_time() - started) / 10)"
)
# Scripts that print their own seconds; the first is what to compare machines by.
WITHIN = {
    "product of two 1000 × 1000 matrices, within a process": PRODUCT,
    "first kernels in another octave of norms, tanh, 64 points, within a process": OCTAVE,
}


def process(
    arguments: tuple[str, ...], folder: str, **variables: str
) -> Callable[[], subprocess.CompletedProcess[bytes]]:
    """Work that is one Python process, in an empty folder."""
    unset = "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"PYTHONPYCACHEPREFIX": os.path.join(folder, "compiled"), **variables}
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(
        command, check=True, cwd=tempfile.mkdtemp(dir=folder), capture_output=True, env=environment
    )


def main() -> None:
    """Measure, print, keep."""
    wanted = tuple(sys.argv[1:])
    columns = {
        "what": "",
        "one thread, processor seconds": ".3g",
        "by itself, processor seconds": ".3g",
        "wall s": ".3g",
    }
    table = Table("waits", columns)
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (WAITS["`kernelcalc curves`"], WAITS["`kernelcalc validate`"]):
            process(arguments, folder)()
        for what, arguments in WAITS.items():
            if not wanted or what.startswith(wanted):
                one = cpu_seconds(process(arguments, folder, OMP_NUM_THREADS="1"), 1)
                started = time.perf_counter()
                by_itself = cpu_seconds(process(arguments, folder), 1)
                table.add(what, one, by_itself, time.perf_counter() - started)
        for what, script in WITHIN.items():
            if not wanted or what.startswith(wanted):
                runs = process(("-c", script), folder, OMP_NUM_THREADS="1"), process(("-c", script), folder)
                table.add(what, *(min(float(run().stdout) for _ in range(3)) for run in runs), None)


if __name__ == "__main__":
    main()
