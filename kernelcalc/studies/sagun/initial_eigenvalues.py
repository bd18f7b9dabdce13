"""The largest eigenvalue of the Hessian over many initialisations (2016, Figure 8)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.errors import InputError
from kernelcalc.finite.ensembles.trials import run_trials, trial_file
from kernelcalc.output.pictures import color_of, grid
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend
from kernelcalc.studies.validation.comparison import Quantity, compare


def run(
    *,
    full: bool = False,
    seed: int = 0,
    activation: Any = "relu",
    loss: str = "softmax",
    points: int | None = None,
    widths: Sequence[int] | None = None,
    trials: int | None = None,
    steps: int | None = None,
    workers: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[..., Any] | None = None,
) -> Result:
    r"""Top eigenvalue of H over initialisations of a network on two blobs, before and after training.

    In the limit λ_max(H) → λ_max(:math:`𝓗C^{1/2} Θ 𝓗C^{1/2}`): under softmax a random number through the Gaussian outputs Y(0),
    under MSE the same number for every initialisation. The ensembles' means are extrapolated in 1/width and compared
    with the mean of the limit's law.

    Parameters
    ----------
    full : bool
        The paper's 5000 initialisations of its network of 162 parameters (2-10-10-2), and 500 of wider ones.
    seed : int
    activation, loss
        As :meth:`Task.of` takes them.
    points : int
        Number of points, 100 by default.
    widths : sequence of int
        At least three; the histogram is that of the first, the extrapolation uses the others.
    trials : int
        Networks of the first width; the others get a tenth, or 50 if that is more.
    steps : int
        Steps of gradient descent.
    workers : int
        Processes.
    folder : path, optional
        Finished networks are kept here, in two files a width; another run with the same settings goes on from there.
    """
    widths = tuple(widths or ((10, 20, 40, 80, 160) if full else (10, 20, 40)))
    if len(set(widths)) < 3:
        raise InputError("at least three different widths", f"{widths}")
    trials = trials or (5000 if full else 150)
    steps = 100 if steps is None else steps
    std = 0.5
    x, labels = two_blobs(points or (100 if full else 40), std=std, rng=seed)
    task = Task.of(x, labels, loss=loss, activation=activation)
    limit = Limit.of(task)
    start = limit.starts(max(trials, 400), seed)
    counts = [trials, *[max(trials // 10, min(trials, 50))] * (len(widths) - 1)]
    jobs = list(zip(widths, counts, np.random.SeedSequence(seed).spawn(len(widths)), strict=True))
    each = progress or (lambda items, _: items)

    def tops(step: float, steps: int, words: str) -> list[AnyArray]:
        found = []
        for w, count, rng in each(jobs, words):
            trial = _Trial(task=task, width=w, step=step, steps=steps)
            settings = trial.settings() | {"data": [seed, std]}
            path = None if folder is None else trial_file(folder, f"initial-{words}-{w}", settings, rng)
            found.append(run_trials(trial, count, rng=rng, workers=workers, path=path, settings=settings)["top"])
        return found

    # one step for all: times are comparable
    sharpest = max(values.max() for values in tops(0.0, 0, "starts"))
    step = limit.step_under([sharpest])
    samples = tops(step, steps, "widths")
    (end,) = limit.descend(start, step, steps)
    theory = np.stack([limit.top(start), limit.top(end)], axis=1)
    moments = ("start", "end")
    report = compare(
        {Quantity("lambda_max", when): theory[:, i].mean() for i, when in enumerate(moments)},
        {
            Quantity("lambda_max", when): np.stack([s[:, i] for s in samples[1:]], axis=1)
            for i, when in enumerate(moments)
        },
        widths[1:],
    )
    rows = Table("time", "width", "P", "networks", "mean", "error", "std", "z")
    for i, (when, row) in enumerate(zip(moments, report.rows, strict=True)):
        for width, values in zip(widths, samples, strict=True):
            column = values[:, i]
            error = column.std(ddof=1) / np.sqrt(len(column))
            p, spread = task.parameters(width), column.std(ddof=1)
            rows.add(when, str(width), p, len(column), column.mean(), error, spread, np.nan)
        # the limit's own mean has an error too
        noise = theory[:, i].std(ddof=1) / np.sqrt(len(theory))
        z = (row.limit - row.theory) / np.hypot(row.limit_error, noise)
        rows.add(when, "extrapolated", 0, 0, row.limit, row.limit_error, np.nan, z)
        rows.add(when, "theory", 0, len(theory), row.theory, noise, theory[:, i].std(ddof=1), np.nan)
    longest = max(map(len, [theory, *samples]))
    padded = {
        f"{name}_{when}": np.concatenate([v[:, i], np.full(longest - len(v), np.nan)])
        for name, v in [("theory", theory), *((f"width_{w}", s) for w, s in zip(widths, samples, strict=True))]
        for i, when in enumerate(moments)
    }
    title = (
        f"Largest eigenvalue of the Hessian over initialisations: two blobs, {task.n} points, {loss} loss, "
        f"{task.net.activations[0].name},\n{steps} steps of gradient descent of size {step:.3g}"
    )
    notes = (
        "theory: mean and standard deviation of λ_max(𝓗C^½ Θ 𝓗C^½) over Gaussian outputs, led through the same steps",
        f"z: mean extrapolated from the wider networks (a + b/width, without width {widths[0]}) minus theory, over their "
        "standard error",
        "only Σ and Θ enter, so relu is covered; the part of S in λ_max at finite width is in the 1/width term",
        *limit.cap_note(step),
    )

    def draw() -> Any:
        figure, axes = grid(1, 3, title=f"Largest eigenvalue over initialisations, two blobs, {loss} loss")
        for i, when in enumerate(moments):
            _histogram(axes[0, i], samples[0][:, i], theory[:, i], widths[0], samples[-1][:, i], widths[-1])
            axes[0, i].set_title("at initialisation" if when == "start" else f"after {steps} steps", fontsize=10)
        _approach(axes[0, 2], widths, samples, theory, report)
        return figure

    return Result(
        name="initial",
        title=title,
        tables={"initial": rows.columns(), "initial_values": padded},
        notes=notes,
        draw=draw,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    task: Task
    width: int
    step: float
    steps: int

    def settings(self) -> dict[str, Any]:
        """What defines a trial, as JSON values."""
        task = self.task
        return {
            "activation": task.net.activations[0].name,
            "loss": task.loss,
            "points": task.n,
            "width": self.width,
            "step": self.step,
            "steps": self.steps,
        }

    def __call__(self, seed: np.random.SeedSequence) -> dict[str, AnyArray]:
        start = self.task.draw(self.width, np.random.default_rng(seed))
        seen = descend(self.task, start, self.step, self.steps, at=(0, self.steps))
        return {"top": np.array([self.task.largest(network)[0] for network in seen])}


def _histogram(ax: Any, narrow: AnyArray, theory: AnyArray, width: int, wide: AnyArray, wide_width: int) -> None:
    top = max(np.quantile(narrow, 0.995), theory.max())
    low = 0.9 * min(narrow.min(), theory.min())
    edges = np.linspace(low, top, 61 if len(narrow) > 1000 else 25)
    spread = np.ptp(theory) > 1e-9 * theory.max()
    ax.hist(narrow, edges, density=True, color=color_of(5), alpha=0.7, label=f"width {width}")
    if len(wide) > 100:
        ax.hist(wide, edges, density=True, histtype="step", color=color_of(0), lw=1.3, label=f"width {wide_width}")
    if spread:
        ax.hist(theory, edges, density=True, histtype="step", color=color_of(1), lw=1.6, label="limit")
    ax.axvline(theory.mean(), color=color_of(1), lw=1.3, ls="--", label="mean of the limit")
    ax.set(xlabel=r"$\lambda_{\max}(H)$", ylabel="density", xlim=(low, top))
    ax.legend(frameon=False, fontsize=8.5)


def _approach(ax: Any, widths: Sequence[int], samples: list[AnyArray], theory: AnyArray, report: Any) -> None:
    inverse = 1 / np.array(widths)
    for i, (row, color) in enumerate(zip(report.rows, (color_of(0), color_of(2)), strict=True)):
        label = ("at initialisation", "after training")[i]
        scale = theory[:, i].mean()
        mean = [s[:, i].mean() / scale for s in samples]
        error = [s[:, i].std(ddof=1) / np.sqrt(len(s)) / scale for s in samples]
        ax.errorbar(inverse, mean, error, color=color, ls="none", marker="o", ms=4, label=label)
        line = np.array([0, inverse[1]])
        ax.plot(line, (row.limit + row.bias * line) / scale, color=color, lw=1)
        # the narrowest is not in the fit
        on = np.array([inverse[1], inverse[0]])
        words = "dotted: outside the fit" if i else None
        ax.plot(on, (row.limit + row.bias * on) / scale, color=color, lw=1, ls=":", label=words)
    ax.plot(0, 1, "*", ms=11, color=color_of(1), clip_on=False, zorder=5, ls="none", label="limit")
    ax.set(xlabel="1/width", ylabel=r"mean of $\lambda_{\max}(H)$ / limit", xlim=(0, inverse.max() * 1.06))
    # room for the legend below
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.4 * (high - low), high)
    ax.legend(frameon=False, fontsize=8.5, loc="lower right", ncols=2)
    ax.set_title("approach to the limit", fontsize=10)
