"""The spectrum of the Hessian through training (2016, Figure 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.spectrum import eigenvalues, extreme_eigenvalues
from kernelcalc.output.pictures import grid, shades, signed_scale
from kernelcalc.output.style import color_of, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Show, Tables, by_size
from kernelcalc.studies.sagun.claims import far_note, stop_note, stopped, untrained
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import NEAR_ZERO, Task, descend, descend_until

# Eigenvalues followed through training.
FOLLOWED = 4
# Parameters up to which the whole spectrum is computed.
WHOLE = 1500


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """A network and the limit after some steps.

    Attributes
    ----------
    values : array
        Eigenvalues of H, descending: all of them, or the largest :data:`FOLLOWED` (``whole``).
    bottom : float
        The smallest one.
    expected : array
        The largest :data:`FOLLOWED` in the limit.
    losses : (float, float)
        C of network and limit.
    """

    width: int
    step: int
    values: AnyArray
    whole: bool
    bottom: float
    expected: AnyArray
    losses: tuple[float, float]
    gradient: float

    @property
    def near_zero(self) -> float:
        """Part of the eigenvalues near zero, if all are known."""
        return float((np.abs(self.values) < NEAR_ZERO * self.values[0]).mean()) if self.whole else np.nan

    @classmethod
    def of(cls, task: Task, limit: Limit, width: int, step: int, network: FiniteNetwork, y: AnyArray) -> Moment:
        """The network's spectrum beside that of the limit with outputs y."""
        operator = task.split(network).h
        whole = operator.shape[0] <= WHOLE
        if whole:
            values = eigenvalues(operator)[::-1]
            bottom = values[-1]
        else:
            values = extreme_eigenvalues(operator, FOLLOWED, tol=1e-7)
            bottom = extreme_eigenvalues(operator, 1, which="SA", tol=1e-4)[0]
        return cls(
            width=width,
            step=step,
            values=values,
            whole=whole,
            bottom=bottom,
            expected=limit.eigenvalues(y, FOLLOWED),
            losses=(task.loss_of(network), limit.loss(y)),
            gradient=task.gradient_norm(network),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Eleven moments a width, and with which step they were reached."""

    limit: Limit
    step: float
    moments: list[Moment]

    @property
    def ends(self) -> list[Moment]:
        """The last moment of each width."""
        return list({now.width: now for now in self.moments}.values())


@experiment
@dataclass(frozen=True, kw_only=True)
class ThroughTraining(Experiment):
    """Eigenvalues of H on two blobs every ten steps of gradient descent, narrow and wide, beside those of the limit.

    The limit is led from each network's own first outputs, so that there is nothing random between the two.

    Parameters
    ----------
    full : bool
        200 points, ten times as many steps, and a width of 300.
    points, widths, steps
        Points, two hidden widths (the whole spectrum is drawn for the first), steps of gradient descent.
    stop : float, optional
        ‖∇C‖ at which descent ends before that.
    """

    name = "training"
    summary = "the spectrum through training"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    points: int = by_size(60, 200)
    widths: tuple[int, ...] = by_size((18, 80), (18, 300))
    steps: int = by_size(100, 1000)
    stop: float | None = None

    def measure(self, show: Show) -> Found:
        x, labels = two_blobs(self.points, std=0.5, rng=self.seed)
        task = Task.of(x, labels, loss=self.loss, activation=self.activation)
        limit = Limit.of(task)
        starts = {width: task.draw(width, [self.seed, width]) for width in self.widths}
        size = limit.step_for(starts.values())
        moments = []
        for width, start in show(list(starts.items()), "widths"):
            taken = self.steps if self.stop is None else descend_until(task, start, size, self.steps, self.stop)[1]
            at = sorted({round(v) for v in np.linspace(0, taken, 11)})
            networks = descend(task, start, size, taken, at=at)
            outputs = limit.descend(start(task.x), size, taken, at=at)
            seen = list(zip(at, networks, outputs, strict=True))
            moments += [Moment.of(task, limit, width, *now) for now in show(seen, "times")]
        return Found(limit=limit, step=size, moments=moments)

    def title(self, found: Found) -> str:
        return (
            f"Spectrum through training: two blobs, {self.points} points, {self.loss} loss, "
            f"{found.limit.task.activation_name}, two hidden layers,\ngradient descent of size {found.step:.3g}"
        )

    def table(self, found: Found) -> Tables:
        names = [f"{kind}_{j}" for j in range(1, FOLLOWED + 1) for kind in ("top", "theory")]
        rows = Table("width", "step", "loss", "loss_theory", "gradient", *names, "bottom", "near_zero")
        spectra = Table("step", "rank", "eigenvalue")
        for now in found.moments:
            pairs = np.stack([now.values[:FOLLOWED], now.expected], axis=1).ravel()
            rows.add(now.width, now.step, *now.losses, now.gradient, *pairs, now.bottom, now.near_zero)
            if now.width == self.widths[0]:
                spectra.extend(now.step, np.arange(1, now.values.size + 1), now.values)
        return {"training": rows.columns(), "training_spectra": spectra.columns()}

    def notes(self, found: Found) -> tuple[str, ...]:
        return (
            "top_j: j-th largest eigenvalue of H; theory_j: of 𝓗C^½ Θ 𝓗C^½ after the same steps from the network's first "
            "outputs",
            f"gradient: ‖∇C‖; near_zero: part of the eigenvalues within {NEAR_ZERO:g} of the largest around zero",
            "only Θ enters, so relu is covered; S, which the network has in its spectrum at finite width, is of order "
            "width^-½",
            *stop_note(self.stop, [(f"width {now.width}", now.step) for now in found.ends]),
            *found.limit.cap_note(found.step),
            *far_note(
                (f"width {now.width}", {"loss": now.losses, "λ_max": (now.values[0], now.expected[0])})
                for now in found.ends
            ),
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        own = [now for now in found.moments if now.width == self.widths[0]]
        first, last = own[0], own[-1]
        early = untrained(first.losses[0], last.losses[0])
        return (
            stopped(np.array([now.gradient for now in found.ends])),
            Verdict(
                source="2016, Section 3, Figure 7",
                claim="training acts like a process by which eigenvalues concentrate at zero",
                measured=f"root mean square eigenvalue of width {self.widths[0]} after training over that before",
                number=float(np.sqrt((last.values**2).mean() / (first.values**2).mean())) if first.whole else np.nan,
                below=0.5,
                undecided=early,
            ),
            Verdict(
                source="2016, Section 3, Figure 7",
                claim="and not only because all of them shrink together",
                measured=f"part within {NEAR_ZERO:g} λ_max of zero after training over that before",
                number=last.near_zero / first.near_zero if first.near_zero else np.nan,
                above=1.0,
                undecided=early,
            ),
        )

    def draw(self, found: Found) -> Any:
        tables = self.table(found)
        title = f"Spectrum through training, two blobs, {self.loss} loss"
        figure, axes = grid(1, 1 + len(self.widths), title=title, ratio=0.81)
        _draw_spectra(axes[0, 0], tables["training_spectra"], self.widths[0])
        for ax, width in zip(axes[0, 1:], self.widths, strict=True):
            _draw_largest(ax, tables["training"], width)
        return figure


def _draw_spectra(ax: Any, table: dict[str, AnyArray], width: int) -> None:
    at = np.unique(table["step"])
    largest = np.abs(table["eigenvalue"]).max()
    for step, color in zip(at, shades(len(at)), strict=True):
        own = table["step"] == step
        label = f"step {step}" if step in (at[0], at[len(at) // 2], at[-1]) else None
        ax.plot(table["rank"][own], table["eigenvalue"][own], "-", lw=line_width(0.8), color=color, label=label)
    signed_scale(ax, "y", 1e-4 * largest)
    ax.set_xscale("log")
    ax.set(xlabel="rank", ylabel="eigenvalue of $H$", title=f"whole spectrum, width {width}")
    ax.legend()


def _draw_largest(ax: Any, table: dict[str, AnyArray], width: int) -> None:
    own = table["width"] == width
    for j in range(1, FOLLOWED + 1):
        color, steps = color_of(j - 1), table["step"][own]
        ax.semilogy(
            steps, table[f"theory_{j}"][own], color=color, lw=line_width(0.87), label="limit" if j == 1 else None
        )
        ax.semilogy(
            steps, table[f"top_{j}"][own], "o", ms=marker_size(0.67), color=color, label="network" if j == 1 else None
        )
    ax.set(xlabel="step", title=f"largest eigenvalues, width {width}")
    ax.legend()
