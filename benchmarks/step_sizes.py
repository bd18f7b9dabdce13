"""Whether the rates that hold do hold, as a Markdown table: ``python benchmarks/step_sizes.py [--torch] [--full | --wide]``.

For each setting ``kernelcalc.studies.validation.descents.stable_rates`` takes five networks; then full-batch descent of other
networks runs for 50 steps at 0.9 and at 1.5 times the rate. Counted is how many diverge at the one and how many do not at the
other. With ``--torch`` the other networks are ``torch.nn.Sequential`` with default initialisation, trained by
``torch.optim.SGD`` in an environment of their own (then the rate of PyTorch's layers only). 64 digits, one-hot targets (parity
for binary). ``--wide`` takes chosen settings of widths up to 2048 and depths up to 5, with fewer networks: a quarter of
an hour of one core. Sums of ``--torch`` and of ``--wide`` are kept as results/step_sizes_torch.json and step_sizes_wide.json.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from environment import run_with
from record import Table

import kernelcalc as kc
from kernelcalc.finite.derivatives import Problem
from kernelcalc.studies.validation.descents import Descent, stable_rates
from kernelcalc.studies.validation.sharpness import PARAMETRISATIONS, as_finite, drawn_networks
from kernelcalc.training.losses import resolve_loss

POINTS, TRIED, STEPS = 64, 10, 50
# Widths, depths, nonlinearities, losses.
QUICK = tuple(itertools.product((64, 256), (2, 4), ("tanh", "gelu", "relu"), ("mse", "softmax", "binary")))
FULL = tuple(
    itertools.product((64, 256, 1024, 2048), (2, 3, 5), ("tanh", "gelu", "silu", "relu"), ("mse", "softmax", "binary"))
)
WIDE = (
    *itertools.product((64,), (5,), ("tanh", "gelu", "silu", "relu"), ("mse", "softmax", "binary")),
    *itertools.product((2048,), (2,), ("tanh", "gelu", "silu", "relu"), ("mse",)),
    *itertools.product((256,), (5,), ("tanh", "gelu", "silu", "relu"), ("mse",)),
    (1024, 3, "gelu", "softmax"),
)
# Networks of which the rate is taken, and on which it is tried; of --wide.
NETWORKS, WIDE_NETWORKS, WIDE_TRIED = 5, 3, 5
# Width, depth, loss, layers, rate over the limit's, and how many diverge at 0.9 and do not at 1.5 times it.
Row = tuple[int, int, str, str, float, int, int]


def setting(loss: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """Points, targets as the loss encodes them, and the loss."""
    x, labels = kc.datasets.mnist14(POINTS)
    law = resolve_loss(loss)
    targets = kc.datasets.parity(labels)[:, None] if loss == "binary" else kc.datasets.one_hot(labels)
    return x, law.encode(targets), law


def ours(net: Any, loss: str, width: int, rates: dict[str, float], tried: int) -> dict[str, tuple[int, int]]:
    """Per parametrisation: how many networks diverge at 0.9 times the rate, how many do not at 1.5 times."""
    x, y, law = setting(loss)
    own, generator = as_finite(law), np.random.default_rng(1)
    counts = {name: [0, 0] for name in rates}
    for _ in range(tried):
        for name, network, scale in drawn_networks(net, x.shape[1], y.shape[1], width, generator):
            descent = Descent(network=network, problem=Problem.of(network, x.astype(np.float32), y, own), scale=scale)
            counts[name][0] += descent.diverges(0.9 * rates[name], STEPS)
            counts[name][1] += not descent.diverges(1.5 * rates[name], STEPS)
    return {name: (below, above) for name, (below, above) in counts.items()}


def torchs(net: Any, loss: str, width: int, rates: dict[str, float], tried: int) -> dict[str, tuple[int, int]]:
    """The same of PyTorch's own networks, loss functions and optimiser."""
    import torch
    from torch import nn

    x, y, _ = setting(loss)
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    kinds = {"tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}
    laws = {
        # (1/N) Σ |f − y|²/2; mean log(1 + e^{−ty}); mean cross-entropy
        "mse": lambda f: ((f - targets) ** 2).sum(1).mean() / 2,
        "binary": lambda f: nn.functional.softplus(-targets * f).mean(),
        "softmax": lambda f: nn.functional.cross_entropy(f, targets.argmax(1)),
    }
    counts = [0, 0]
    for seed, (column, factor) in itertools.product(range(tried), enumerate((0.9, 1.5))):
        torch.manual_seed(seed)
        sizes = [x.shape[1], *[width] * (net.depth - 1), y.shape[1]]
        parts: list[Any] = []
        for a, b in itertools.pairwise(sizes):
            parts += [nn.Linear(a, b), kinds[net.activations[0].name]()]
        model = nn.Sequential(*parts[:-1])
        optimiser = torch.optim.SGD(model.parameters(), lr=factor * rates["pytorch"])
        seen = []
        for _ in range(STEPS + 1):
            optimiser.zero_grad()
            value = laws[loss](model(inputs))
            seen.append(float(value.detach()))
            value.backward()
            optimiser.step()
        diverged = not np.isfinite(seen).all() or np.mean(seen[-5:]) > seen[0]
        counts[column] += diverged if column == 0 else not diverged
    return {"pytorch": (counts[0], counts[1])}


def keep(rows: list[Row], tried: int, wide: bool) -> None:
    """Sums over all settings of ``--torch``, or over those of ``--wide`` that have the same width, depth and layers."""

    def sums(some: list[Row]) -> tuple[int, int, int]:
        return tried * len(some), sum(row[5] for row in some), sum(row[6] for row in some)

    counts = {"networks": "d", "diverge at 0.9 of the rate": "d", "do not at 1.5 of it": "d"}
    if not wide:
        Table("step_sizes_torch", {"layers": ""} | counts, options="--torch").add("pytorch", *sums(rows))
        return
    first = {"width": "d", "depth": "d", "losses": "", "layers": "", "rate over the limit's": ""}
    table = Table("step_sizes_wide", first | counts, keys=4, options="--wide")
    for width, depth, layers in dict.fromkeys((row[0], row[1], row[3]) for row in rows):
        some = [row for row in rows if (row[0], row[1], row[3]) == (width, depth, layers)]
        losses = ", ".join(dict.fromkeys(row[2] for row in some))
        least, largest = (f"{pick(row[4] for row in some):.2g}" for pick in (min, max))
        table.add(width, depth, losses, layers, least if len(some) == 1 else f"{least} to {largest}", *sums(some))


def compare(
    with_torch: bool = True,
    settings: Iterable[tuple[int, int, str, str]] = QUICK,
    networks: int = NETWORKS,
    tried: int = TRIED,
    wide: bool = False,
) -> int:
    """Measure, print, keep."""
    print("| width | depth | f | loss | layers | rate | of the limit's | diverge at 0.9 | do not at 1.5 |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows: list[Row] = []
    for width, depth, name, loss in settings:
        x, y, law = setting(loss)
        net = kc.MLP(name, depth, n_out=y.shape[1], sigma_w=2**0.5 if name == "relu" else 1.0)
        found = stable_rates(net, x, y, law, width, networks=networks, progress=True)
        limit = kc.predict(net, x, y, law, width=width)
        bounds = (limit.learning_rates[0], limit.standard_learning_rate, limit.pytorch_learning_rate)
        rates = {one: found.rate(one) for one in PARAMETRISATIONS}
        for one, (below, above) in (torchs if with_torch else ours)(net, loss, width, rates, tried).items():
            part = rates[one] / bounds[PARAMETRISATIONS.index(one)]
            rows.append((width, depth, loss, one, part, below, above))
            print(
                f"| {width} | {depth} | {name} | {loss} | {one} | {rates[one]:.3g} | {part:.2g} | {below} of {tried} | "
                f"{above} of {tried} |",
                flush=True,
            )
    if with_torch or wide:
        keep(rows, tried, wide)
    return 0


if __name__ == "__main__":
    flags = set(sys.argv[1:])
    sys.argv = [argument for argument in sys.argv if argument not in ("--full", "--wide", "--torch")]
    if flags & {"--torch", "--inside"}:
        packages = ["torch", "numpy", "scipy", "sympy", "mpmath", "click", "threadpoolctl", "tqdm"]
        sys.exit(run_with(__file__, packages, __doc__.splitlines()[0], compare))
    if "--wide" in flags:
        sys.exit(compare(with_torch=False, settings=WIDE, networks=WIDE_NETWORKS, tried=WIDE_TRIED, wide=True))
    sys.exit(compare(with_torch=False, settings=FULL if "--full" in flags else QUICK))
