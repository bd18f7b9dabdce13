"""The largest eigenvalues as two blobs merge (2016, Figure 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.output.pictures import grid
from kernelcalc.output.style import color_of, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Show, Tables, by_size
from kernelcalc.studies.sagun.claims import BEYOND_FLUCTUATION, SAME, far_note, stop_note, stopped, untrained
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import Task, descend_until


@dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
    """Networks and limit after training on blobs of one standard deviation.

    Attributes
    ----------
    task : Task
    values, expected : (trials, 2), (samples, 2) arrays
        The two largest eigenvalues of networks, and of the limit's initialisations.
    taken : tuple of int
        Steps of each network.
    first_losses, losses, gradients, sizes : (trials,) arrays
        C at the start; C, ‖∇C‖ and ‖θ‖ after training.
    expected_losses : (samples,) array
        C in the limit.
    """

    task: Task
    taken: tuple[int, ...]
    values: AnyArray
    expected: AnyArray
    first_losses: AnyArray
    losses: AnyArray
    gradients: AnyArray
    sizes: AnyArray
    expected_losses: AnyArray

    @property
    def beside_the_limit(self) -> dict[str, tuple[float, float]]:
        """Numbers of the networks, and what the limit has for them."""
        return {
            "loss": (self.losses.mean(), self.expected_losses.mean()),
            "λ_max": (self.values[:, 0].mean(), self.expected[:, 0].mean()),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A separation for each standard deviation, and the step that all took."""

    step: float
    flattest: Limit
    separations: list[Separation]


@experiment
@dataclass(frozen=True, kw_only=True)
class Separability(Experiment):
    """The two largest eigenvalues after training on blobs at (1, 1) and (−1, −1) of growing standard deviation.

    The same noise is scaled, so that the data move continuously; the limit is a curve with a band of one standard
    deviation over initialisations. All networks take the same steps of the same size.

    Parameters
    ----------
    full : bool
        Twelve standard deviations, 30 initialisations of 2-18-18-2 (434 parameters) each.
    stds, points, width, trials, steps
        Standard deviations of the blobs, points, hidden width, initialisations, steps of gradient descent.
    stop : float, optional
        ‖∇C‖ at which descent ends before that; the limit takes as many steps as the median network.
    """

    name = "separability"
    summary = "the largest eigenvalues as two blobs merge"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    stds: tuple[float, ...] = by_size((0.2, 0.6, 1.0, 1.6), tuple(np.linspace(0.2, 2.4, 12).tolist()))
    points: int = by_size(60, 200)
    width: int = 18
    trials: int = by_size(6, 30)
    steps: int = by_size(150, 1000)
    stop: float | None = None

    def measure(self, show: Show) -> Found:
        tasks = [self._task(std) for std in self.stds]
        limits = [Limit.of(task) for task in tasks]
        starts = [[task.draw(self.width, [self.seed, k]) for k in range(self.trials)] for task in tasks]
        # one step for all: times are comparable
        step = min(limit.step_for(own) for limit, own in zip(limits, starts, strict=True))
        separations = []
        for task, limit, own in show(list(zip(tasks, limits, starts, strict=True)), "separations"):
            begin = limit.starts(max(2 * self.trials, 32), self.seed)
            ends, taken = zip(*(descend_until(task, start, step, self.steps, self.stop) for start in own), strict=True)
            (outputs,) = limit.descend(begin, step, round(float(np.median(taken))))
            separations.append(
                Separation(
                    task=task,
                    taken=taken,
                    values=np.array([task.largest(end, 2) for end in ends]),
                    expected=np.array([limit.eigenvalues(y, 2) for y in outputs]),
                    first_losses=np.array([task.loss_of(start) for start in own]),
                    losses=np.array([task.loss_of(end) for end in ends]),
                    gradients=np.array([task.gradient_norm(end) for end in ends]),
                    sizes=np.array([np.linalg.norm(end.parameters) for end in ends]),
                    expected_losses=limit.loss(outputs),
                )
            )
        return Found(step=step, flattest=min(limits, key=lambda limit: limit.step), separations=separations)

    def _task(self, std: float) -> Task:
        x, labels = two_blobs(self.points, std=std, rng=self.seed)
        return Task.of(x, labels, loss=self.loss, activation=self.activation)

    def title(self, found: Found) -> str:
        name = found.separations[0].task.activation_name
        return (
            f"Two blobs merging: {self.points} points, {self.loss} loss, {name}, two hidden layers of width {self.width},\n"
            f"{self.steps} steps of gradient descent of size {found.step:.3g}, {self.trials} initialisations"
        )

    def table(self, found: Found) -> Tables:
        names = ("std", "distance", "top", "top_std", "second", "top_theory", "top_theory_std", "second_theory")
        rows = Table(*names, "loss", "loss_theory", "gradient", "weights")
        for std, own in zip(self.stds, found.separations, strict=True):
            spread = own.values[:, 0].std(ddof=1) if self.trials > 1 else np.nan
            top, second = own.values.mean(axis=0)
            mean, deviation = own.expected.mean(axis=0), own.expected[:, 0].std(ddof=1)
            losses = own.losses.mean(), own.expected_losses.mean()
            ends = *losses, own.gradients.mean(), own.sizes.mean()
            rows.add(std, 8**0.5 / std, top, spread, second, mean[0], deviation, mean[1], *ends)
        return {"separability": rows.columns()}

    def notes(self, found: Found) -> tuple[str, ...]:
        return (
            "std: of the blobs; distance: of their centres, in standard deviations",
            "top, second: largest eigenvalues of H after training; ..._theory: those of 𝓗C^½ Θ 𝓗C^½ after the same steps",
            "gradient: mean of ‖∇C‖; weights: mean norm of all parameters, which hardly moves",
            "only Σ and Θ enter, so relu is covered",
            *stop_note(
                self.stop, [(f"std {s:g}", max(o.taken)) for s, o in zip(self.stds, found.separations, strict=True)]
            ),
            *found.flattest.cap_note(found.step),
            *far_note(
                (f"std {std:.3g}", own.beside_the_limit) for std, own in zip(self.stds, found.separations, strict=True)
            ),
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        first, last = found.separations[0], found.separations[-1]
        early = untrained(first.first_losses.mean(), first.losses.mean())
        grown = last.values.mean(axis=0) - first.values.mean(axis=0)
        # of one network to the next: the paper's "natural fluctuations due to the initialization"
        fluctuation = np.hypot(first.values.std(axis=0, ddof=1), last.values.std(axis=0, ddof=1))
        sizes = np.array([own.sizes.mean() for own in found.separations])
        return (
            stopped(np.array([own.gradients.mean() for own in found.separations])),
            Verdict(
                source="2016, Section 3, Figure 9",
                claim="the two largest eigenvalues grow, beyond fluctuations, as the blobs merge",
                measured="growth of the top two over its standard deviation between networks, the smaller",
                number=float((grown / fluctuation).min()) if self.trials > 1 and len(self.stds) > 1 else np.nan,
                above=BEYOND_FLUCTUATION,
                undecided=early,
            ),
            Verdict(
                source="2016, Section 3",
                claim="the norm of the weights is similar for all separations",
                measured="range of ‖θ‖ over its mean",
                number=float(np.ptp(sizes) / sizes.mean()),
                below=SAME,
            ),
            Verdict(
                source="2016, Section 3",
                claim="the error is higher as the blobs merge",
                measured="loss of the widest blobs over that of the narrowest",
                number=float(last.losses.mean() / first.losses.mean()),
                above=1.0,
                undecided=early,
            ),
        )

    def draw(self, found: Found) -> Any:
        figure, axes = grid(1, 4, title=f"Separability of two blobs, {self.loss} loss", ratio=0.89)
        for ax, i in zip(axes[0, :2], (0, -1), strict=True):
            task = found.separations[i].task
            for k in range(2):
                ax.plot(*task.x[task.labels == k].T, "ox"[k], color=color_of(k), ms=marker_size(0.58))
            ax.set(title=f"standard deviation {self.stds[i]:.3g}", aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
        _draw_curves(axes[0, 2:], self.table(found)["separability"], self.trials)
        return figure


def _draw_curves(axes: Any, table: dict[str, AnyArray], trials: int) -> None:
    ax = axes[0]
    low, high = (table["top_theory"] + sign * table["top_theory_std"] for sign in (-1, 1))
    ax.fill_between(table["std"], low, high, color=color_of(0), alpha=0.18, lw=0)
    ax.plot(table["std"], table["top_theory"], color=color_of(0), label="limit, largest")
    ax.plot(table["std"], table["second_theory"], color=color_of(1), label="limit, second")
    error = table["top_std"] / np.sqrt(trials)
    ax.errorbar(
        table["std"],
        table["top"],
        error,
        ls="none",
        marker="o",
        ms=marker_size(0.67),
        color=color_of(0),
        label="networks",
    )
    ax.plot(table["std"], table["second"], "s", ms=marker_size(0.67), color=color_of(1), label="networks, second")
    ax.set(xlabel="standard deviation", ylabel="eigenvalue of $H$", title="largest eigenvalues")
    ax.set_ylim(bottom=0)
    ax.legend()
    ax = axes[1]
    ax.plot(table["std"], table["loss_theory"], color=color_of(0), label="limit")
    ax.plot(table["std"], table["loss"], "o", ms=marker_size(0.67), color=color_of(0), label="networks")
    ax.set(xlabel="standard deviation", ylabel="loss", title="training loss")
    ax.legend()
