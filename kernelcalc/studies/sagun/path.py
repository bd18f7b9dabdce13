"""Gradient descent and SGD, large and small batches, and the straight line between their solutions.

2016, Figure 10; 2017, Sections 3.3 and 4, Figures 7 to 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import mnist14
from kernelcalc.errors import InputError
from kernelcalc.output.pictures import decade_ticks, grid, shades
from kernelcalc.output.style import color_of, ink, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Sample, Show, Tables, by_size
from kernelcalc.studies.sagun.claims import far_note
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.path_claims import claims_of_path
from kernelcalc.studies.sagun.path_runs import LINE, TRIALS, Approach, Edges, Line, Run, Solution, barrier
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import Task
from kernelcalc.studies.spectrum import count_outliers

# The pairs, what stands at either end of their lines, and the runs that end there.
PAIRS = {
    "GD and SGD": ("GD", "SGD"),
    "large, then small batch": ("large batch", "large, then small"),
    "two starts": ("SGD", "SGD, start 2"),
}
# Runs from the common start that end after the same number of steps, for the comparison of spectra.
SOLUTIONS = ("GD", "large batch", "SGD")
# Moments of a run at which losses and accuracies are taken.
MOMENTS = 25


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """One moment of a run, with the distances of its parameters from the run's start and from another run's."""

    run: str
    step: int
    solution: Solution
    from_start: float
    apart: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """All that was measured, with one step."""

    limit: Limit
    tested: int
    step: float
    lines: list[Line]
    course: list[Moment]
    edges: list[Edges]
    approach: list[Approach]


@experiment
@dataclass(frozen=True, kw_only=True)
class Path(Experiment):
    r"""Training on digits by GD and by SGD, the edges of the spectrum where it ends, and the line between solutions.

    Three pairs: GD and SGD from the same start; the end of training with large batches and the end of going on with
    small ones; SGD from two starts. In the limit f is linear in the parameters around a common start, hence along the line
    the outputs are (1 − s) Y_a + s Y_b and the loss is convex: there can be no barrier. Both Y_a and Y_b follow the same
    batches as the networks. For two starts the limit says nothing of the kind.

    Parameters
    ----------
    full : bool
        128 digits to train and 128 to test, width 200, 3000 steps.
    sample : (points, labels), optional
        Instead of digits, one half of them to train on.
    points, width, steps
        Digits to train on, hidden width, steps; small batches have a sixteenth of the points, large ones the half.

    Raises
    ------
    InputError
        So many points that no digits are left to test on, or one.
    """

    name = "path"
    summary = "GD and SGD, large and small batches, the line between their solutions"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    points: int = by_size(60, 128)
    sample: Sample | None = None
    width: int = by_size(40, 200)
    steps: int = by_size(200, 3000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample is not None:
            object.__setattr__(self, "points", len(self.sample[0]) // 2)
        if self.points < 2 or (self.sample is None and self.points > 255):
            raise InputError(
                "2 to 255 points: training takes them from 256 digits and tests on others", f"points={self.points}"
            )

    @property
    def stages(self) -> list[int]:
        """Numbers of steps after which lines are drawn."""
        return sorted({round(self.steps * part) for part in (0.1, 0.3, 1.0)})

    @property
    def batches(self) -> tuple[int, int]:
        """Points of a small and of a large batch."""
        return max(self.points // 16, 1), self.points // 2

    def measure(self, show: Show) -> Found:
        images, digits = mnist14(min(2 * self.points, 256)) if self.sample is None else self.sample
        both = Task.of(images, digits, loss=self.loss, activation=self.activation)
        task, test = both.subset(slice(self.points)), both.subset(slice(self.points, None))
        limit = Limit.of(task)
        starts = [task.draw(self.width, [self.seed, k]) for k in (0, 7)]
        size = limit.step_for(starts)
        runs = self._runs(limit, starts, size, show)
        pairs = show(tuple(PAIRS), "lines")
        lines = [self._line(runs, limit, test, pair, step) for pair in pairs for step in self.stages]
        course = [moment for name in runs for moment in self._course(runs, limit, test, name)]
        edges = [Edges.of(name, limit, test, *runs[name].end) for name in show(SOLUTIONS, "edges")]
        widths = dict.fromkeys((max(self.width // 4, 1), self.width))
        approach = [Approach.of(limit, width, size, self.stages, self.seed) for width in widths]
        return Found(limit=limit, tested=test.n, step=size, lines=lines, course=course, edges=edges, approach=approach)

    def _runs(self, limit: Limit, starts: Sequence[Any], size: float, show: Show) -> dict[str, Run]:
        small, large = self.batches
        at = sorted({0, *self.stages, *(round(v) for v in np.geomspace(1, self.steps, MOMENTS))})
        recipes: list[tuple[str, int | None, Any]] = [
            ("GD", None, 0),
            ("SGD", small, [self.seed, 1]),
            ("large batch", large, [self.seed, 3]),
            ("large, then small", small, [self.seed, 1]),
            ("SGD, start 2", small, [self.seed, 2]),
        ]
        runs: dict[str, Run] = {}
        for name, batch, rng in show(recipes, "runs"):
            begin = starts[name == "SGD, start 2"]
            y = begin(limit.task.x)
            if name == "large, then small":
                begin, y = runs["large batch"].end
            runs[name] = Run.of(limit, begin, y, size, at, batch, rng)
        return runs

    def _line(self, runs: dict[str, Run], limit: Limit, test: Task, pair: str, step: int) -> Line:
        left, right = (runs[name] for name in PAIRS[pair])
        # the large-batch solution stands still while training goes on from it
        one = left.end if pair == "large, then small batch" else left.after(step)
        return Line.of(pair, step, limit, test, one, right.after(step), pair != "two starts")

    def _course(self, runs: dict[str, Run], limit: Limit, test: Task, name: str) -> list[Moment]:
        twin = {"GD": "SGD", "SGD": "GD", "SGD, start 2": "SGD"}
        own, second = runs[name], name == "large, then small"
        origin = runs["large batch" if second else name].networks[0].parameters
        moments = []
        for k, (step, network, y) in enumerate(zip(own.steps, own.networks, own.outputs, strict=True)):
            pair = runs[twin[name]].networks[k].parameters if name in twin else own.networks[0].parameters
            moments.append(
                Moment(
                    run=name,
                    # the second phase goes on counting
                    step=step + second * self.steps,
                    solution=Solution.of(limit, test, network, y),
                    from_start=float(np.linalg.norm(network.parameters - origin)),
                    apart=float(np.linalg.norm(network.parameters - pair)) if name in twin or second else np.nan,
                )
            )
        return moments

    def title(self, found: Found) -> str:
        (small, large), what = self.batches, "digits" if self.sample is None else "points"
        return (
            f"The line between solutions: {self.points} {what}, {self.loss} loss, {found.limit.task.activation_name}, two "
            f"hidden layers of width {self.width}, steps of size {found.step:.3g},\nbatches of {small} (SGD, small) and "
            f"{large} (large)"
        )

    def table(self, found: Found) -> Tables:
        rows, lines = _line_tables(found.lines)
        names = ("run", "step", "loss", "loss_theory", "loss_test", "accuracy", "accuracy_test", "gradient")
        course = Table(*names, "from_start", "apart")
        for now in found.course:
            own = now.solution
            right = own.accuracy, own.test[1]
            course.add(now.run, now.step, *own.losses, own.test[0], *right, own.gradient, now.from_start, now.apart)
        ends, edges = _edge_tables(found.edges)
        approach = Table("width", "step", "distance", "distance_error", "loss_ratio")
        for one in found.approach:
            error = one.distances.std(axis=0, ddof=1) / np.sqrt(TRIALS)
            approach.extend(one.width, self.stages, one.distance, error, np.exp(np.log(one.ratios).mean(axis=0)))
        tables = {"path": rows, "path_lines": lines, "path_training": course, "path_ends": ends}
        tables |= {"path_edges": edges, "path_approach": approach}
        return {name: table.columns() for name, table in tables.items()}

    def notes(self, found: Found) -> tuple[str, ...]:
        narrow, wide = found.approach[0], found.approach[-1]
        (near, far), (coarse, coarser) = (one.distance[[0, -1]] for one in (wide, narrow))
        return (
            "barrier: largest loss on the line less that of its worse end (0: none); ..._theory: in the limit, with outputs "
            "(1 − s) Y_a + s Y_b, from the network's own first outputs through the same batches",
            "distance: of the parameters; gradient: ‖∇C‖; accuracy: on digits not trained on; top: largest eigenvalue of H",
            "two starts are not joined by the limit's linear picture: no theory on that line. For relu only Θ is needed",
            f"outputs of networks are ‖f − Y‖/‖Y − Y(0)‖ = {near:.2g} from the limit's after {self.stages[0]} steps and "
            f"{far:.2g} after {self.stages[-1]} (width {narrow.width}: {coarse:.2g} and {coarser:.2g}), of order width^-½ at "
            "a fixed time: late losses, small as they are, may differ by more",
            "tables: path_training (losses and accuracies through training), path_ends and path_edges (spectra of solutions "
            "after the same number of steps), path_approach",
            *found.limit.cap_note(found.step),
            *far_note(
                (
                    (one.run, {"loss": one.solution.losses, "λ_max": (one.right[0], one.expected[0])})
                    for one in found.edges
                ),
                "n",
            ),
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        return claims_of_path(self.table(found), found.tested)

    def draw(self, found: Found) -> Any:
        tables, title = self.table(found), f"GD, SGD and the line between their solutions, {self.loss} loss"
        figure, axes = grid(4, 3, title=title, ratio=0.67)
        _draw_lines(axes[:2], tables["path_lines"], self.stages)
        _draw_course(axes[2], tables["path_training"])
        _draw_edges(axes[3], tables["path_edges"], tables["path_approach"])
        return figure


def _line_tables(found: Sequence[Line]) -> tuple[Table, Table]:
    names = ("pair", "step", "loss_a", "loss_b", "loss_a_theory", "loss_b_theory", "barrier", "barrier_theory")
    more = ("distance", "gradient_a", "gradient_b", "accuracy_a", "accuracy_b")
    rows = Table(*names, *more, "top_a", "top_b", "top_a_theory", "top_b_theory")
    lines = Table("pair", "step", "s", "loss", "loss_theory", "accuracy")
    for line in found:
        losses = [end.losses[i] for i in range(2) for end in line.ends]
        heights = barrier(line.profile), barrier(line.expected)
        gradients, accuracies = zip(*((end.gradient, end.test[1]) for end in line.ends), strict=True)
        rows.add(line.pair, line.step, *losses, *heights, line.distance, *gradients, *accuracies, *line.tops)
        lines.extend(line.pair, line.step, LINE, line.profile, line.expected, line.correct)
    return rows, lines


def _edge_tables(found: Sequence[Edges]) -> tuple[Table, Table]:
    names = ("run", "top", "top_theory", "bottom", "gap", "ratio", "elbow")
    ends = Table(*names, "loss", "loss_test", "accuracy_test", "gradient")
    edges = Table("run", "rank", "right", "right_theory", "left")
    for one in found:
        ranks = np.arange(1, len(one.right) + 1)
        edges.extend(one.run, ranks, one.right, one.expected, np.minimum(one.left, 0.0))
        counts = [count_outliers(one.right, rule) for rule in ("gap", "ratio", "cutoff")]
        own = one.solution
        tops = one.right[0], one.expected[0], one.left[0]
        ends.add(one.run, *tops, *counts, own.losses[0], *own.test, own.gradient)
    return ends, edges


def _draw_lines(axes: Any, lines: dict[str, AnyArray], stages: Sequence[int]) -> None:
    for column, (pair, ends) in enumerate(PAIRS.items()):
        for step, color in zip(stages, shades(len(stages)), strict=True):
            own = (lines["pair"] == pair) & (lines["step"] == step)
            s = lines["s"][own]
            axes[0, column].semilogy(
                s, lines["loss"][own], "o", ms=marker_size(0.5), color=color, label=f"{step} steps"
            )
            axes[0, column].semilogy(s, lines["loss_theory"][own], color=color, lw=line_width(0.8))
            axes[1, column].plot(s, lines["accuracy"][own], ".-", ms=marker_size(0.67), lw=line_width(0.6), color=color)
        for ax in axes[:2, column]:
            for s, name in enumerate(ends):
                ax.axvline(s, color=ink(0.3), lw=line_width(0.53), zorder=0)
                words = name.replace("large, then small", "then small")
                ax.text(s, 1.01, words, transform=ax.get_xaxis_transform(), ha="center")
            ax.set_xlabel("position on the line")
        axes[1, column].set_ylim(0, 1.02)
        decade_ticks(axes[0, column])
        axes[0, column].set_title(f"loss: {pair}", pad=16)
        axes[1, column].set_title("accuracy on other digits", pad=16)
    axes[0, 0].plot([], [], color=ink(0.7), lw=line_width(0.8), label="limit")
    axes[0, 2].legend(*axes[0, 0].get_legend_handles_labels())


def _draw_course(axes: Any, course: dict[str, AnyArray]) -> None:
    styles = {"GD": (0, "-"), "SGD": (1, "-"), "large batch": (2, "-"), "large, then small": (2, "--")}
    for name, (index, style) in styles.items():
        own = (course["run"] == name) & (course["step"] > 0)
        step, color = course["step"][own], color_of(index)
        axes[0].loglog(step, course["loss"][own], style, color=color, lw=line_width(0.93), label=name)
        axes[0].loglog(step, course["loss_test"][own], style, color=color, lw=line_width(0.53), alpha=0.7)
        axes[0].loglog(step, course["loss_theory"][own], ".", color=color, ms=marker_size(0.5))
        axes[1].semilogx(step, course["accuracy"][own], style, color=color, lw=line_width(0.93))
        axes[1].semilogx(step, course["accuracy_test"][own], style, color=color, lw=line_width(0.53), alpha=0.7)
    axes[0].plot([], [], ".", color=ink(0.7), ms=marker_size(0.5), label="limit")
    axes[0].legend()
    axes[1].plot([], [], color=ink(0.7), lw=line_width(0.93), label="digits trained on")
    axes[1].plot([], [], color=ink(0.7), lw=line_width(0.53), alpha=0.7, label="other digits")
    axes[1].legend()
    axes[0].set(xlabel="step", title="loss (thin: on other digits)")
    axes[1].set(xlabel="step", title="accuracy")
    ax = axes[2]
    for name, label, index in (("SGD", "GD and SGD", 1), ("SGD, start 2", "two starts", 3)):
        own = (course["run"] == name) & (course["step"] > 0)
        ax.loglog(
            course["step"][own],
            course["apart"][own],
            color=color_of(index),
            lw=line_width(0.93),
            label=f"apart: {label}",
        )
    for name, index in (("GD", 0), ("SGD", 1)):
        own = (course["run"] == name) & (course["step"] > 0)
        label = f"{name} from its start"
        ax.loglog(
            course["step"][own],
            course["from_start"][own],
            "--",
            color=color_of(index),
            lw=line_width(0.73),
            label=label,
        )
    ax.set(xlabel="step", title="distances of parameters")
    ax.legend()


def _draw_edges(axes: Any, edges: dict[str, AnyArray], approach: dict[str, AnyArray]) -> None:
    for index, name in enumerate(SOLUTIONS):
        own = edges["run"] == name
        rank, color = edges["rank"][own], color_of((0, 2, 1)[index])
        axes[0].semilogy(rank, edges["right"][own], "x", ms=marker_size(0.67), color=color, label=name)
        axes[0].semilogy(rank, edges["right_theory"][own], color=color, lw=line_width(0.67))
        axes[1].plot(rank, edges["left"][own], "x", ms=marker_size(0.67), color=color, label=name)
    axes[0].plot([], [], color=ink(0.7), lw=line_width(0.67), label="limit")
    axes[0].set(xlabel="rank", title="right edge after the same steps")
    axes[1].set(xlabel="rank", title="left edge after the same steps")
    for step, color in zip(dict.fromkeys(approach["step"].tolist()), shades(3), strict=False):
        own = approach["step"] == step
        width, distance = approach["width"][own], approach["distance"][own]
        axes[2].errorbar(
            width, distance, approach["distance_error"][own], color=color, marker="o", ms=marker_size(0.67), ls="none"
        )
        axes[2].plot(
            width, distance[-1] * np.sqrt(width[-1] / width), color=color, lw=line_width(0.67), label=f"{step} steps"
        )
    widths = np.unique(approach["width"])
    axes[2].set(xscale="log", yscale="log", xlabel="width", title=r"$\|f-Y\|/\|Y-Y(0)\|$, lines: width$^{-1/2}$")
    axes[2].set_xticks(widths, [str(v) for v in widths])
    axes[2].minorticks_off()
    decade_ticks(axes[2])
    decade_ticks(axes[0])
    axes[2].set_xlim(widths[0] / 1.4, widths[-1] * 1.4)
    for ax in axes:
        ax.legend()
