"""Compare the finite network with PyTorch and curvlinops: Hessian, Gauss-Newton matrix, products, times.

    python benchmarks/finite_vs_curvlinops.py

makes a virtual environment in a temporary folder, installs torch and curvlinops-for-pytorch there, runs the comparison
with the same parameters on both sides, prints a table, keeps it as results/peer_curvlinops.json and exits with status 1 if
anything differs by more than 1e-10
(relative to the largest entry). ``--keep FOLDER`` keeps the environment for the next run.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import dataclass

from environment import run_with
from record import Table

PACKAGES = ("torch==2.13.0", "curvlinops-for-pytorch", "numpy>=2", "scipy")
TOLERANCE = 1e-10

# widths, n_out, loss, N, n_in; dense matrices for the first ones, products only for the last
CASES = (
    ((12, 10), 1, "mse", 20, 8),
    ((12, 10), 3, "softmax", 20, 8),
    ((10, 9, 8), 2, "mse", 20, 8),
    ((12, 10), 1, "binary", 20, 8),
    ((100, 100), 10, "mse", 256, 196),
)
DENSE_LIMIT = 2000


@dataclass(frozen=True)
class Softplus:
    """An activation written here, so that neither side borrows the other's."""

    order: int = 0

    def derivative(self, k: int) -> Softplus:
        return Softplus(self.order + k)

    def __call__(self, x):
        import numpy as np

        slope = 0.5 * (1 + np.tanh(0.5 * x))
        return (np.logaddexp(0, x), slope, slope * (1 - slope))[self.order]


@dataclass(frozen=True)
class Architecture:
    """What FiniteNetwork.random reads."""

    activations: tuple[Softplus, ...]
    n_out: int
    sigma_w: float = 1.2
    beta: float = 0.4


def torch_network(fin):
    """The same network as torch module; its parameters are W, b of every layer in our order and our layout."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = [part for pair in zip(fin.weights, fin.biases, strict=True) for part in pair]
            self.parts = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(p.copy())) for p in pairs])

        def forward(self, x):
            for layer, c in enumerate(fin.scales):
                x = c * (x @ self.parts[2 * layer]) + fin.beta * self.parts[2 * layer + 1]
                if layer < len(fin.scales) - 1:
                    x = torch.nn.functional.softplus(x, threshold=1e9)
            return x

    return Net()


def torch_loss(name: str, n_out: int):
    """(loss in torch, factor): ours is the factor times theirs, as MSELoss is the mean of squares also over outputs."""
    import torch

    if name == "mse":
        return torch.nn.MSELoss(), n_out / 2
    return (torch.nn.CrossEntropyLoss() if name == "softmax" else torch.nn.BCEWithLogitsLoss()), 1.0


def timed(function, repeat: int = 5):
    """(value, least processor time in seconds)."""
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        value = function()
        best = min(best, time.process_time() - start)
    return value, best


def compare() -> int:
    """Run all cases inside the environment."""
    import curvlinops
    import numpy as np
    import torch

    from kernelcalc.finite import FiniteNetwork

    torch.set_default_dtype(torch.float64)
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    print(json.dumps(versions | {"threads": torch.get_num_threads()}))
    columns = {"network": "", "loss": "", "parameters": "d", "what": "", "largest difference": ".1e"}
    columns |= {"here, ms": ".2f", "curvlinops, ms": ".2f"}
    table = Table("peer_curvlinops", columns, keys=4, packages=("numpy", "torch", "curvlinops-for-pytorch"))
    worst = 0.0
    for widths, n_out, loss, n, n_in in CASES:
        rng = np.random.default_rng(0)
        fin = FiniteNetwork.random(Architecture((Softplus(),) * len(widths), n_out), widths, n_in, rng=1)
        X = rng.standard_normal((n, n_in))
        Y = {
            "mse": lambda: rng.standard_normal((n, n_out)),  # noqa: B023
            "binary": lambda: np.where(rng.standard_normal((n, n_out)) > 0, 1.0, -1.0),  # noqa: B023
            "softmax": lambda: rng.integers(0, n_out, n),  # noqa: B023
        }[loss]()
        model, (criterion, factor) = torch_network(fin), torch_loss(loss, n_out)
        targets = torch.tensor((Y + 1) / 2 if loss == "binary" else Y)
        data = [(torch.tensor(X), targets)]
        parameters = list(model.parameters())
        np.testing.assert_allclose(model(torch.tensor(X)).detach().numpy(), fin(X), rtol=1e-12, atol=1e-13)
        p = fin.n_parameters
        split = fin.curvature(X, Y, loss)
        vectors = rng.standard_normal((p, 16))
        columns = torch.tensor(vectors)
        eye = torch.eye(p) if p <= DENSE_LIMIT else None
        for what, ours, theirs in (
            ("Hessian", split.h, curvlinops.HessianLinearOperator),
            ("Gauss-Newton", split.i, curvlinops.GGNLinearOperator),
        ):
            operator = theirs(model, criterion, parameters, data, check_deterministic=False)
            jobs = [
                ("16 products", lambda: ours @ vectors, lambda: operator @ columns),  # noqa: B023
            ]
            if eye is not None:
                jobs.append(("matrix", ours.dense, lambda: operator @ eye))  # noqa: B023
            for job, mine, other in jobs:
                a, time_a = timed(mine)
                b, time_b = timed(other)
                b = factor * b.detach().numpy()
                difference = float(np.abs(a - b).max() / np.abs(b).max())
                worst = max(worst, difference)
                shape = "-".join(map(str, fin.sizes))
                table.add(shape, loss, p, f"{what}, {job}", difference, 1e3 * time_a, 1e3 * time_b)
    print(f"largest difference {worst:.1e}, allowed {TOLERANCE:.0e}")
    return int(not worst <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(run_with(__file__, PACKAGES, "finite networks against torch and curvlinops", compare))
