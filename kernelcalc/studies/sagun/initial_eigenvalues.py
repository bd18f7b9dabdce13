"""The largest eigenvalue of the Hessian over many initialisations (2016, Figure 8)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.errors import InputError
from kernelcalc.finite.ensembles.trials import run_trials, trial_file
from kernelcalc.output.files import writable_folder
from kernelcalc.output.pictures import grid
from kernelcalc.output.style import color_of, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Show, Tables, by_size
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import Task, descend
from kernelcalc.studies.validation.comparison import Z_LIMIT, Quantity, Validation, compare

# Standard deviation of the blobs.
STD = 0.5
WHEN = ("start", "end")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    task: Task
    width: int
    step: float
    steps: int
    sphere: bool

    def settings(self) -> dict[str, Any]:
        """What defines a trial, as JSON values."""
        task = self.task
        return {
            "measured": "top at the end",
            "activation": task.net.activations[0].name,
            "loss": task.loss,
            "points": task.n,
            "width": self.width,
            "step": self.step,
            "steps": self.steps,
            "sphere": self.sphere,
        }

    def __call__(self, seed: np.random.SeedSequence) -> dict[str, AnyArray]:
        start = self.task.draw(self.width, np.random.default_rng(seed))
        if self.sphere:
            radius = np.sqrt(start.n_parameters) / np.linalg.norm(start.parameters)
            start = start.with_parameters(radius * start.parameters)
        (end,) = descend(self.task, start, self.step, self.steps)
        return {"top": self.task.largest(end)[0]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """λ_max of networks and of the limit, before and after training.

    Attributes
    ----------
    samples : list of (trials, 2) arrays
        Of networks, a width each.
    theory : (samples, 2) array
        Of the limit's initialisations.
    report : Validation
        The wider networks extrapolated, beside the mean of the limit.
    """

    limit: Limit
    step: float
    samples: list[AnyArray]
    theory: AnyArray
    report: Validation

    @property
    def noise(self) -> AnyArray:
        """Standard errors of the limit's own means, (2,)."""
        return np.array([column.std(ddof=1) / np.sqrt(len(column)) for column in self.theory.T])


@experiment
@dataclass(frozen=True, kw_only=True)
class InitialEigenvalues(Experiment):
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
        Number of points.
    widths : sequence of int
        At least three; the histogram is that of the first, the extrapolation uses the others.
    trials : int
        Networks of the first width; the others get a tenth, or 50 if that is more.
    steps : int
        Steps of gradient descent.
    sphere : bool
        Initial points on the sphere of radius √P, as in the paper, instead of Gaussian ones, whose norm is √P up to a
        relative 1/√(2P).
    workers : int
        Processes.
    folder : path, optional
        Finished networks are kept here, in two files a width; another run with the same settings goes on from there.
    """

    name = "initial"
    summary = "the largest eigenvalue over thousands of initialisations"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    points: int = by_size(40, 100)
    widths: tuple[int, ...] = by_size((10, 20, 40), (10, 20, 40, 80, 160))
    trials: int = by_size(150, 5000)
    steps: int = 100
    sphere: bool = False
    workers: int = 1
    folder: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.widths)) < 3:
            raise InputError("at least three different widths", f"{self.widths}")

    def measure(self, show: Show) -> Found:
        x, labels = two_blobs(self.points, std=STD, rng=self.seed)
        task = Task.of(x, labels, loss=self.loss, activation=self.activation)
        limit = Limit.of(task)
        start = limit.starts(max(self.trials, 400), self.seed)
        # one step for all: times are comparable
        first = self._tops(task, 0.0, 0, show, "starts")
        step = limit.step_under(values.max() for values in first)
        last = self._tops(task, step, self.steps, show, "ends")
        samples = [np.stack(pair, axis=1) for pair in zip(first, last, strict=True)]
        (end,) = limit.descend(start, step, self.steps)
        theory = np.stack([limit.top(start), limit.top(end)], axis=1)
        quantities = [Quantity("lambda_max", when) for when in WHEN]
        report = compare(
            {quantity: theory[:, i].mean() for i, quantity in enumerate(quantities)},
            {quantity: np.stack([s[:, i] for s in samples[1:]], axis=1) for i, quantity in enumerate(quantities)},
            self.widths[1:],
        )
        return Found(limit=limit, step=step, samples=samples, theory=theory, report=report)

    def _tops(self, task: Task, step: float, steps: int, show: Show, words: str) -> list[AnyArray]:
        """λ_max of every network after the steps, (trials,) a width."""
        count = len(self.widths)
        counts = [self.trials, *[max(self.trials // 10, min(self.trials, 50))] * (count - 1)]
        jobs = list(zip(self.widths, counts, np.random.SeedSequence(self.seed).spawn(count), strict=True))
        found = []
        for width, trials, rng in show(jobs, words):
            trial = _Trial(task=task, width=width, step=step, steps=steps, sphere=self.sphere)
            settings = trial.settings() | {"data": [self.seed, STD]}
            folder = None if self.folder is None else writable_folder(self.folder)
            path = None if folder is None else trial_file(folder, f"initial-{words}-{width}", settings, rng)
            kept = run_trials(trial, trials, rng=rng, workers=self.workers, path=path, settings=settings)
            found.append(kept["top"])
        return found

    def title(self, found: Found) -> str:
        task = found.limit.task
        return (
            f"Largest eigenvalue of the Hessian over initialisations: two blobs, {task.n} points, {self.loss} loss, "
            f"{task.activation_name},\n{self.steps} steps of gradient descent of size {found.step:.3g}"
        )

    def table(self, found: Found) -> Tables:
        rows = Table("time", "width", "P", "networks", "mean", "error", "std", "z")
        for i, (when, row) in enumerate(zip(WHEN, found.report.rows, strict=True)):
            for width, values in zip(self.widths, found.samples, strict=True):
                column = values[:, i]
                error = column.std(ddof=1) / np.sqrt(len(column))
                p, spread = found.limit.task.parameters(width), column.std(ddof=1)
                rows.add(when, str(width), p, len(column), column.mean(), error, spread, np.nan)
            # the limit's own mean has an error too
            noise, spread = found.noise[i], found.theory[:, i].std(ddof=1)
            z = (row.limit - row.theory) / np.hypot(row.limit_error, noise)
            rows.add(when, "extrapolated", 0, 0, row.limit, row.limit_error, np.nan, z)
            rows.add(when, "theory", 0, len(found.theory), row.theory, noise, spread, np.nan)
        return {"initial": rows.columns(), "initial_values": dict(self._values(found))}

    def _values(self, found: Found) -> Iterator[tuple[str, AnyArray]]:
        """All values, in columns of equal length."""
        longest = max(map(len, [found.theory, *found.samples]))
        named = zip((f"width_{width}" for width in self.widths), found.samples, strict=True)
        for name, values in [("theory", found.theory), *named]:
            for i, when in enumerate(WHEN):
                missing = np.full(longest - len(values), np.nan)
                yield f"{name}_{when}", np.concatenate([values[:, i], missing])

    def notes(self, found: Found) -> tuple[str, ...]:
        return (
            "theory: mean and standard deviation of λ_max(𝓗C^½ Θ 𝓗C^½) over Gaussian outputs, led through the same steps",
            f"z: mean extrapolated from the wider networks (a + b/width, without width {self.widths[0]}) minus theory, over "
            "their standard error",
            "only Σ and Θ enter, so relu is covered; the part of S in λ_max at finite width is in the 1/width term",
            *(("initial points are on the sphere of radius √P",) if self.sphere else ()),
            *found.limit.cap_note(found.step),
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        own = found.samples[0][:, 1]
        z = self.table(found)["initial"]
        extrapolated = z["z"][z["width"] == "extrapolated"]
        return (
            Verdict(
                source="2016, Section 3, Figure 8",
                claim="the largest eigenvalue after training fluctuates with the initial point",
                measured=f"standard deviation over mean, width {self.widths[0]}",
                number=float(own.std(ddof=1) / own.mean()),
                above=0.01,
            ),
            Verdict(
                source="2016, Figure 8",
                claim="of the shape of these fluctuations",
                measured="skewness",
                number=float((((own - own.mean()) / own.std()) ** 3).mean()),
                undecided="the paper has a histogram and no statement",
            ),
            Verdict(
                source="Jacot et al. 2020, Proposition 1",
                claim="its mean tends to that of the limit as the width grows",
                measured="largest |z| of the extrapolations",
                number=float(np.abs(extrapolated).max()),
                below=Z_LIMIT,
            ),
        )

    def draw(self, found: Found) -> Any:
        figure, axes = grid(1, 3, title=f"Largest eigenvalue over initialisations, two blobs, {self.loss} loss")
        first, last = found.samples[0], found.samples[-1]
        for i, words in enumerate(("at initialisation", f"after {self.steps} steps")):
            ax = axes[0, i]
            _histogram(ax, first[:, i], found.theory[:, i], self.widths[0], last[:, i], self.widths[-1])
            ax.set_title(words)
        _approach(axes[0, 2], self.widths, found)
        return figure


def _histogram(ax: Any, narrow: AnyArray, theory: AnyArray, width: int, wide: AnyArray, wide_width: int) -> None:
    top = max(np.quantile(narrow, 0.995), theory.max())
    low = 0.9 * min(narrow.min(), theory.min())
    edges = np.linspace(low, top, 61 if len(narrow) > 1000 else 25)
    spread = np.ptp(theory) > 1e-9 * theory.max()
    ax.hist(narrow, edges, density=True, color=color_of(5), alpha=0.7, label=f"width {width}")
    if len(wide) > 100:
        ax.hist(
            wide,
            edges,
            density=True,
            histtype="step",
            color=color_of(0),
            lw=line_width(0.87),
            label=f"width {wide_width}",
        )
    if spread:
        ax.hist(theory, edges, density=True, histtype="step", color=color_of(1), lw=line_width(1.07), label="limit")
    ax.axvline(theory.mean(), color=color_of(1), lw=line_width(0.87), ls="--", label="mean of the limit")
    ax.set(xlabel=r"$\lambda_{\max}(H)$", ylabel="density", xlim=(low, top))
    # room for the legend above
    ax.set_ylim(0, 1.5 * ax.get_ylim()[1])
    ax.legend(loc="upper right")


def _approach(ax: Any, widths: Sequence[int], found: Found) -> None:
    samples, theory, report = found.samples, found.theory, found.report
    inverse = 1 / np.array(widths)
    for i, (row, color) in enumerate(zip(report.rows, (color_of(0), color_of(2)), strict=True)):
        label = ("at initialisation", "after training")[i]
        scale = theory[:, i].mean()
        mean = [s[:, i].mean() / scale for s in samples]
        error = [s[:, i].std(ddof=1) / np.sqrt(len(s)) / scale for s in samples]
        ax.errorbar(inverse, mean, error, color=color, ls="none", marker="o", ms=marker_size(0.67), label=label)
        line = np.array([0, inverse[1]])
        ax.plot(line, (row.limit + row.bias * line) / scale, color=color, lw=line_width(0.67))
        # the narrowest is not in the fit
        on = np.array([inverse[1], inverse[0]])
        words = "dotted: outside the fit" if i else None
        ax.plot(on, (row.limit + row.bias * on) / scale, color=color, lw=line_width(0.67), ls=":", label=words)
    ax.plot(0, 1, "*", ms=marker_size(1.83), color=color_of(1), clip_on=False, zorder=5, ls="none", label="limit")
    ax.set(xlabel="1/width", ylabel=r"mean of $\lambda_{\max}(H)$ / limit", xlim=(0, inverse.max() * 1.06))
    # room for the legend below
    low, high = ax.get_ylim()
    ax.set_ylim(low - 1.1 * (high - low), high)
    ax.legend(loc="lower right")
    ax.set_title("approach to the limit")
