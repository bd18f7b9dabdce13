"""Large and small batches with a small convolutional network: the jump where the batch is made smaller, and two phases.

2017, Sections 3.3 and 4, Figures 7 to 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.output.pictures import decade_ticks, grid, shades
from kernelcalc.output.style import color_of, ink, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Sample, Show, Tables, by_size, called
from kernelcalc.studies.sagun.batch_claims import claims_of_batches
from kernelcalc.studies.sagun.batch_runs import BETWEEN, CURVED, Part, Pictures, Switch, switched
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.spectrum import count_outliers

RUNS = ("large", "small")


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The switches, a run of each batch size from the start, and the edges of the spectrum at their ends."""

    parameters: int
    tested: int
    switches: list[Switch]
    runs: tuple[Part, Part]
    edges: list[tuple[AnyArray, AnyArray]]


@experiment
@dataclass(frozen=True, kw_only=True)
class Batches(Experiment):
    r"""A convolutional network trained with large batches, then with small ones, at the same step size.

    A small batch adds Tr Cov/B to the square of the gradient, Cov the covariance of single pictures' gradients. Along an
    eigenvector of H with eigenvalue λ the steps amplify that noise by 1/(2 − ηλ): hence the jump is looked for at several
    step sizes, in units of 1/λ_max(H) of the start, and at several small batches. The limit is not drawn beside it: it
    needs kernels of all pairs of positions of all pairs of pictures.

    Parameters
    ----------
    full : bool
        1000 digits to train on, 8 and 16 channels, 1000 steps a part.
    points : int
        Pictures to train on, and as many to test on; of the 28 × 28 digits, averaged over 2 × 2 pixels.
    sample : (points, labels), optional
        Square pictures instead, one half to train on: 28 × 28 digits as they are with ``--data mnist28 -n 2000``.
    channels, rates, batches, steps
        Channels of both convolutions, step sizes over 1/λ_max(H) of the start, small batches (those below the large one, half
        of the pictures trained on), steps of each part.
    """

    name = "batches"
    summary = "a convolutional network: large batches, then small ones"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    points: int = by_size(400, 1000)
    sample: Sample | None = None
    channels: tuple[int, int] = by_size((4, 8), (8, 16))
    rates: tuple[float, ...] = (0.5, 1.0, 2.0)
    batches: tuple[int, ...] = (4, 16, 64)
    steps: int = by_size(150, 1000)

    def measure(self, show: Show) -> Found:
        pictures = Pictures.of(self.points, self.sample, self.channels, self.activation, self.loss, self.seed)
        unit, switches = 1 / pictures.sharpness(pictures.start), []
        larges: dict[float, Part] = {}
        few = [batch for batch in self.batches if batch < pictures.n // 2] or [1]
        for rate, batch in show([(rate, batch) for rate in self.rates for batch in (None, *few)], "parts"):
            step, rng = rate * unit, [self.seed, batch or 0]
            if batch is None:
                own = rate == min(self.rates)
                large = Part.of(pictures, pictures.start, step, self.steps, pictures.n // 2, rng, noise=own)
                larges[rate], sharpness = large, step * pictures.sharpness(large.end)
            else:
                small = Part.of(pictures, large.end, step, self.steps, batch, rng)
                switches.append(switched(pictures, large, small, rate, step, sharpness))
        step, batch = min(self.rates) * unit, few[len(few) // 2]
        other = Part.of(pictures, pictures.start, step, self.steps, batch, [self.seed, 1], noise=True)
        runs = larges[min(self.rates)], other
        edges = [pictures.edges(run.end) for run in show(runs, "edges")]
        return Found(
            parameters=pictures.start.n_parameters, tested=len(pictures.test.x), switches=switches, runs=runs, edges=edges
        )  # fmt: skip

    def title(self, found: Found) -> str:
        large = found.runs[0].batch
        return (
            f"Large, then small batches: {called(self.sample, 2 * self.points)}, half of them trained on, {self.loss} loss, a "
            f"convolutional network of {found.parameters} parameters,\n{self.steps} steps with batches of {large}, then as "
            "many with small ones"
        )

    def table(self, found: Found) -> Tables:
        head = ("rate", "batch")
        rows = Table(
            *head, "step", "sharpness", "noise", "loss", "jump", "back", "end", "loss_test", "jump_test", "end_test",
            "accuracy_test", "accuracy_test_end", "barrier",
        )  # fmt: skip
        names = ("loss", "loss_test", "accuracy", "accuracy_test", "gradient", "noise")
        course = Table(*head, "part", "moment", *names)
        lines = Table(*head, "s", "loss")
        for one in found.switches:
            own, first, last = (one.rate, one.small.batch), one.small.at, one.small.last
            rows.add(
                *own, one.step, one.sharpness, one.noise, first.loss, one.small.worst, one.small.back, last.loss,
                first.loss_test, one.small.worst_test, last.loss_test, first.accuracy_test, last.accuracy_test, one.barrier,
            )  # fmt: skip
            lines.extend(*own, BETWEEN, one.line)
            for part, phase in ((1, one.large), (2, one.small)):
                _add_course(course, own, part, phase, (part - 1) * self.steps)
        for phase in found.runs:
            _add_course(course, (min(self.rates), phase.batch), 0, phase, 0)
        edges, ends = (
            Table("run", "rank", "right", "left"),
            Table("run", "batch", "top", "bottom", "gap", "ratio", *names[:4]),
        )
        for name, phase, (right, left) in zip(RUNS, found.runs, found.edges, strict=True):
            edges.extend(name, np.arange(1, len(left) + 1), right, left)
            counts = [count_outliers(right, rule) for rule in ("gap", "ratio")]
            ends.add(name, phase.batch, right[0], left[0], *counts, *(getattr(phase.last, what) for what in names[:4]))
        tables = {"batches": rows, "batches_training": course, "batches_lines": lines}
        tables |= {"batches_ends": ends, "batches_edges": edges}
        return {name: table.columns() for name, table in tables.items()}

    def notes(self, found: Found) -> tuple[str, ...]:
        rate, (large, small) = min(self.rates), (run.batch for run in found.runs)
        return (
            "rate: the step over 1/λ_max(H) of the start; sharpness: the step times λ_max where the batch is made smaller; "
            "noise: √(Tr Cov/batch)/‖∇C‖ there, Cov the covariance of single pictures' gradients",
            "jump: the largest loss with small batches over that at the switch (1: it never rose); back: steps until it is "
            "below that again; end: the last loss; ..._test: on pictures not trained on; barrier: on the line between both "
            "ends, over the loss before training",
            f"tables: batches_training (part 1 large, 2 small, 0 the two runs from the start at rate {rate:g}, batches of "
            f"{large} and {small}; noise for the part's own batch), batches_ends and batches_edges (spectra "
            f"where those two end, on {CURVED} pictures), batches_lines",
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        return claims_of_batches(found.switches, found.runs, self.table(found)["batches_ends"], found.tested)

    def draw(self, found: Found) -> Any:
        tables = self.table(found)
        title = f"Large, then small batches: a convolutional network, {self.loss} loss"
        figure, axes = grid(2, 3, title=title, ratio=0.72)
        _draw_switches(axes[0], tables["batches_training"], self.rates[:3])
        _draw_phases(axes[1, 0], tables["batches_training"])
        _draw_lines(axes[1, 1], tables["batches_lines"], self.rates)
        _draw_edges(axes[1, 2], tables["batches_edges"])
        return figure


def _add_course(course: Table, own: tuple[float, int], part: int, phase: Part, offset: int) -> None:
    for m in phase.moments:
        losses = m.loss, m.loss_test, m.accuracy, m.accuracy_test
        course.add(*own, part, m.step + offset, *losses, np.sqrt(m.square), m.noise_over_gradient(phase.batch))


def _draw_switches(axes: Any, course: dict[str, AnyArray], rates: tuple[float, ...]) -> None:
    batches = np.unique(course["batch"][course["part"] == 1])
    for ax, rate in zip(axes, rates, strict=False):
        for batch, color in zip(batches, shades(len(batches)), strict=True):
            own = (course["rate"] == rate) & (course["batch"] == batch)
            large = "large batch" if batch == batches[0] else None
            for part, shade, label in ((1, ink(0.8), large), (2, color, f"then {batch}")):
                now = own & (course["part"] == part)
                steps = course["moment"][now]
                ax.semilogy(steps, course["loss"][now], lw=line_width(0.9), color=shade, label=label)
                ax.semilogy(steps, course["loss_test"][now], lw=line_width(0.45), alpha=0.7, color=shade)
        decade_ticks(ax)
        ax.set(xlabel="step", title=rf"step {rate:g}/$λ_{{\max}}$")
    _room(axes[0])
    axes[0].set_ylabel("loss (thin: test)")


def _draw_phases(ax: Any, course: dict[str, AnyArray]) -> None:
    for index, batch in enumerate(np.unique(course["batch"][course["part"] == 0])[::-1]):
        own = (course["part"] == 0) & (course["batch"] == batch)
        gradient, noise = course["gradient"][own], (course["noise"] * course["gradient"])[own]
        style = {"color": color_of(index), "lw": line_width(0.9)}
        ax.semilogy(course["moment"][own], gradient, label=f"batch {batch}", **style)
        ax.semilogy(course["moment"][own], noise, "--", label="noise", **style)
    decade_ticks(ax)
    ax.set(xlabel="step", title="gradient and noise")
    _room(ax)


def _draw_lines(ax: Any, lines: dict[str, AnyArray], rates: tuple[float, ...]) -> None:
    batches = np.unique(lines["batch"])
    for index, rate in enumerate(rates):
        for batch, style in zip(batches, ("-", "--", ":", "-.") * len(batches), strict=False):
            own = (lines["rate"] == rate) & (lines["batch"] == batch)
            label = rf"{rate:g}/$λ_{{\max}}$" if style == "-" else None
            ax.semilogy(
                lines["s"][own], lines["loss"][own], style, color=color_of(index), lw=line_width(0.8), label=label
            )
    decade_ticks(ax)
    ax.set(xlabel="from large to small batches", title=f"loss on the line (solid: {batches[0]})")
    _room(ax)


def _draw_edges(ax: Any, edges: dict[str, AnyArray]) -> None:
    for index, name in enumerate(RUNS):
        own = edges["run"] == name
        style = {"color": color_of(index), "ms": marker_size(0.7), "ls": "none"}
        ax.semilogy(edges["rank"][own], edges["right"][own], "x", label=name, **style)
        ax.semilogy(edges["rank"][own], np.maximum(-edges["left"][own], 1e-12), "v", label=f"{name}, < 0", **style)
    decade_ticks(ax)
    ax.locator_params(axis="x", integer=True)
    ax.set(xlabel="rank", title="edges of the spectrum")
    _room(ax)


def _room(ax: Any) -> None:
    """A legend above what is drawn."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.45)
    ax.legend(loc="upper right", ncols=2, handlelength=1.0, handletextpad=0.4, columnspacing=0.8)
