"""The largest eigenvalues as two blobs merge (2016, Figure 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.output.pictures import color_of, grid
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend


def run(
    *,
    full: bool = False,
    seed: int = 0,
    activation: Any = "relu",
    loss: str = "softmax",
    stds: Sequence[float] | None = None,
    points: int | None = None,
    width: int | None = None,
    trials: int | None = None,
    steps: int | None = None,
    progress: Callable[..., Any] | None = None,
) -> Result:
    """The two largest eigenvalues after training on blobs at (1, 1) and (−1, −1) of growing standard deviation.

    The same noise is scaled, so that the data move continuously; the limit is a curve with a band of one standard
    deviation over initialisations. All networks take the same steps of the same size.

    Parameters
    ----------
    full : bool
        Twelve standard deviations, 30 initialisations of 2-18-18-2 (434 parameters) each.
    stds, points, width, trials, steps
        Standard deviations of the blobs, points, hidden width, initialisations, steps of gradient descent.
    """
    default = np.linspace(0.2, 2.4, 12) if full else np.array([0.2, 0.6, 1.0, 1.6])
    stds = tuple(float(s) for s in (default if stds is None else stds))
    n, width = points or (200 if full else 60), width or 18
    trials = trials or (30 if full else 6)
    steps = (1000 if full else 150) if steps is None else steps
    tasks = [_task(n, std, seed, loss, activation) for std in stds]
    limits = [Limit.of(task) for task in tasks]
    starts = [[task.draw(width, [seed, k]) for k in range(trials)] for task in tasks]
    # one step for all: times are comparable
    step = min(limit.step_for(own) for limit, own in zip(limits, starts, strict=True))
    flattest = min(limits, key=lambda limit: limit.step)
    names = ("std", "distance", "top", "top_std", "second", "top_theory", "top_theory_std", "second_theory")
    rows = Table(*names, "loss", "loss_theory", "gradient", "weights")
    jobs = list(zip(stds, tasks, limits, starts, strict=True))
    for std, task, limit, own in (progress or (lambda items, _: items))(jobs, "separations"):
        (outputs,) = limit.descend(limit.starts(max(2 * trials, 32), seed), step, steps)
        theory = np.array([limit.eigenvalues(y, 2) for y in outputs])
        ends = [descend(task, start, step, steps)[0] for start in own]
        values = np.array([task.largest(end, 2) for end in ends])
        size = np.mean([np.linalg.norm(end.parameters) for end in ends])
        spread = values[:, 0].std(ddof=1) if trials > 1 else np.nan
        top, second = values.mean(axis=0)
        mean, deviation = theory.mean(axis=0), theory[:, 0].std(ddof=1)
        losses = np.mean([task.loss_of(end) for end in ends]), limit.loss(outputs).mean()
        slope = np.mean([task.gradient_norm(end) for end in ends])
        rows.add(std, 8**0.5 / std, top, spread, second, mean[0], deviation, mean[1], *losses, slope, size)
    title = (
        f"Two blobs merging: {n} points, {loss} loss, {tasks[0].net.activations[0].name}, two hidden layers of width "
        f"{width},\n{steps} steps of gradient descent of size {step:.3g}, {trials} initialisations"
    )
    notes = (
        "std: of the blobs; distance: of their centres, in standard deviations",
        "top, second: largest eigenvalues of H after training; ..._theory: those of 𝓗C^½ Θ 𝓗C^½ after the same steps",
        "gradient: mean of ‖∇C‖; weights: mean norm of all parameters, which hardly moves",
        "only Σ and Θ enter, so relu is covered",
        *flattest.cap_note(step),
    )

    def draw() -> Any:
        return _figure(rows.columns(), tasks, stds, loss, trials)

    return Result(name="separability", title=title, tables={"separability": rows.columns()}, notes=notes, draw=draw)


def _task(n: int, std: float, seed: int, loss: str, activation: Any) -> Task:
    x, labels = two_blobs(n, std=std, rng=seed)
    return Task.of(x, labels, loss=loss, activation=activation)


def _figure(table: dict[str, AnyArray], tasks: Sequence[Task], stds: Sequence[float], loss: str, trials: int) -> Any:
    figure, axes = grid(1, 4, title=f"Separability of two blobs, {loss} loss", size=(3.6, 3.2))
    for ax, i in zip(axes[0, :2], (0, len(tasks) - 1), strict=True):
        for k in range(2):
            ax.plot(*tasks[i].x[tasks[i].labels == k].T, "ox"[k], color=color_of(k), ms=3.5)
        ax.set(title=f"standard deviation {stds[i]:.3g}", aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    ax = axes[0, 2]
    low, high = (table["top_theory"] + sign * table["top_theory_std"] for sign in (-1, 1))
    ax.fill_between(table["std"], low, high, color=color_of(0), alpha=0.18, lw=0)
    ax.plot(table["std"], table["top_theory"], color=color_of(0), label="limit, largest")
    ax.plot(table["std"], table["second_theory"], color=color_of(1), label="limit, second")
    error = table["top_std"] / np.sqrt(trials)
    ax.errorbar(table["std"], table["top"], error, ls="none", marker="o", ms=4, color=color_of(0), label="networks")
    ax.plot(table["std"], table["second"], "s", ms=4, color=color_of(1), label="networks, second")
    ax.set(xlabel="standard deviation", ylabel="eigenvalue of $H$", title="largest eigenvalues")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    ax = axes[0, 3]
    ax.plot(table["std"], table["loss_theory"], color=color_of(0), label="limit")
    ax.plot(table["std"], table["loss"], "o", ms=4, color=color_of(0), label="networks")
    ax.set(xlabel="standard deviation", ylabel="loss", title="training loss")
    ax.legend(frameon=False, fontsize=8)
    for ax in axes[0]:
        ax.title.set_fontsize(10)
    return figure
