"""Gradient descent and SGD, large and small batches, and the straight line between their solutions.

2016, Figure 10; 2017, Sections 3.3 and 4, Figures 7 to 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import mnist14
from kernelcalc.errors import InputError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.spectrum import eigenvalues, extreme_eigenvalues
from kernelcalc.output.pictures import color_of, decade_ticks, grid, shades
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend, smallest
from kernelcalc.studies.spectrum import count_outliers

# The pairs, what stands at either end of their lines, and the runs that end there.
PAIRS = {
    "GD and SGD": ("GD", "SGD"),
    "large, then small batch": ("large batch", "large, then small"),
    "two starts": ("SGD", "SGD, start 2"),
}
# Runs from the common start that end after the same number of steps, for the comparison of spectra.
SOLUTIONS = ("GD", "large batch", "SGD")
# Points on the line, a quarter beyond either end.
LINE = np.linspace(-0.25, 1.25, 31)
# Moments of a run at which losses and accuracies are taken; networks of each width for the approach to the limit.
MOMENTS, TRIALS = 25, 3
# Parameters up to which the edges are those of the dense matrix; eigenvalues at either edge.
DENSE, EDGE = 800, 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run of descent: networks and limit after the same steps.

    Attributes
    ----------
    steps : tuple of int
        When the networks are taken, from 0 on.
    networks : list of FiniteNetwork
    outputs : list of (N, n_out) arrays
        Of the limit.
    """

    steps: tuple[int, ...]
    networks: list[FiniteNetwork]
    outputs: list[AnyArray]

    @classmethod
    def of(
        cls,
        limit: Limit,
        start: FiniteNetwork,
        y: AnyArray,
        size: float,
        at: Sequence[int],
        batch: int | None,
        rng: Any,
    ) -> Run:
        """From a network and the limit's outputs, with the same batches."""
        networks = descend(limit.task, start, size, at[-1], at=at, batch=batch, rng=rng)
        outputs = limit.descend(y, size, at[-1], at=at, batch=batch, rng=rng)
        return cls(steps=tuple(at), networks=networks, outputs=outputs)

    def after(self, step: int) -> tuple[FiniteNetwork, AnyArray]:
        """Network and outputs of the limit."""
        index = self.steps.index(step)
        return self.networks[index], self.outputs[index]

    @property
    def end(self) -> tuple[FiniteNetwork, AnyArray]:
        """The last of them."""
        return self.after(self.steps[-1])


def run(
    *,
    full: bool = False,
    seed: int = 0,
    activation: Any = "relu",
    loss: str = "softmax",
    points: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    progress: Callable[..., Any] | None = None,
) -> Result:
    r"""Training on digits by GD and by SGD, the edges of the spectrum where it ends, and the line between solutions.

    Three pairs: GD and SGD from the same start; the end of training with large batches and the end of going on with
    small ones; SGD from two starts. In the limit f is linear in the parameters around a common start, hence along the line
    the outputs are (1 − s) Y_a + s Y_b and the loss is convex: there can be no barrier. Both Y_a and Y_b follow the same
    batches as the networks. For two starts the limit says nothing of the kind.

    Parameters
    ----------
    full : bool
        128 digits to train and 128 to test, width 200, 3000 steps.
    points, width, steps
        Digits to train on, hidden width, steps; small batches have a sixteenth of the points, large ones the half.

    Raises
    ------
    InputError
        So many points that no digits are left to test on, or one.
    """
    n, width = points or (128 if full else 60), width or (200 if full else 40)
    if not 2 <= n <= 255:
        raise InputError("2 to 255 points: training takes them from 256 digits and tests on others", f"points={n}")
    steps = (3000 if full else 200) if steps is None else steps
    images, digits = mnist14(min(2 * n, 256))
    both = Task.of(images, digits, loss=loss, activation=activation)
    task, test = both.subset(slice(n)), both.subset(slice(n, None))
    limit = Limit.of(task)
    small, large = max(n // 16, 1), n // 2
    start, other = task.draw(width, [seed, 0]), task.draw(width, [seed, 7])
    size = limit.step_for((start, other))
    stages = sorted({round(steps * part) for part in (0.1, 0.3, 1.0)})
    at = sorted({0, *stages, *(round(v) for v in np.geomspace(1, steps, MOMENTS))})
    show = progress or (lambda items, _: items)

    runs: dict[str, Run] = {}
    recipes: list[tuple[str, int | None, Any]] = [
        ("GD", None, 0),
        ("SGD", small, [seed, 1]),
        ("large batch", large, [seed, 3]),
        ("large, then small", small, [seed, 1]),
        ("SGD, start 2", small, [seed, 2]),
    ]
    for name, batch, rng in show(recipes, "runs"):
        begin, y = (start, start(task.x)) if name != "SGD, start 2" else (other, other(task.x))
        if name == "large, then small":
            begin, y = runs["large batch"].end
        runs[name] = Run.of(limit, begin, y, size, at, batch, rng)

    rows, lines = _lines(runs, task, test, limit, stages, show)
    course = _course(runs, task, test, limit, steps)
    ends, edges = _edges(runs, task, test, limit, show)
    approach = _approach(task, limit, width, size, stages, seed)
    title = (
        f"The line between solutions: {n} digits, {loss} loss, {task.net.activations[0].name}, two hidden layers of width "
        f"{width}, steps of size {size:.3g},\nbatches of {small} (SGD, small) and {large} (large)"
    )
    first, last = stages[0], stages[-1]
    distance = {(w, s): d for w, s, d in zip(approach["width"], approach["step"], approach["distance"], strict=True)}
    narrow = min(approach["width"])
    notes = (
        "barrier: largest loss on the line less that of its worse end (0: none); ..._theory: in the limit, with outputs "
        "(1 − s) Y_a + s Y_b, from the network's own first outputs through the same batches",
        "distance: of the parameters; gradient: ‖∇C‖; accuracy: on digits not trained on; top: largest eigenvalue of H",
        "two starts are not joined by the limit's linear picture: no theory on that line. For relu only Θ is needed",
        f"outputs of networks are ‖f − Y‖/‖Y − Y(0)‖ = {distance[width, first]:.2g} from the limit's after {first} steps and "
        f"{distance[width, last]:.2g} after {last} (width {narrow}: {distance[narrow, first]:.2g} and "
        f"{distance[narrow, last]:.2g}), of order width^-½ at a fixed time: late losses, small as they are, may differ by more",
        "tables: path_training (losses and accuracies through training), path_ends and path_edges (spectra of solutions after "
        "the same number of steps), path_approach",
        *limit.cap_note(size),
    )

    def draw() -> Any:
        return _figure(lines, course, edges, approach, stages, loss)

    tables = {"path": rows, "path_lines": lines, "path_training": course, "path_ends": ends}
    tables |= {"path_edges": edges, "path_approach": approach}
    return Result(name="path", title=title, tables=tables, notes=notes, draw=draw)


def barrier(profile: AnyArray) -> float:
    """Largest loss on the line between the ends less that of the worse end, at least 0.

    Examples
    --------
    >>> barrier(np.where(LINE == 0.5, 3.0, 1.0)), barrier(LINE)
    (2.0, 0.0)
    """
    inside = profile[(LINE > -1e-9) & (LINE < 1 + 1e-9)]
    return float(inside.max() - max(inside[0], inside[-1]))


def accuracy(network: FiniteNetwork, test: Task) -> float:
    """Part of the points whose largest output is that of their class."""
    return float((network(test.x).argmax(axis=1) == test.y.argmax(axis=1)).mean())


def _lines(
    runs: dict[str, Run], task: Task, test: Task, limit: Limit, stages: Sequence[int], show: Callable[..., Any]
) -> tuple[dict[str, AnyArray], dict[str, AnyArray]]:
    names = ("pair", "step", "loss_a", "loss_b", "loss_a_theory", "loss_b_theory", "barrier", "barrier_theory")
    more = ("distance", "gradient_a", "gradient_b", "accuracy_a", "accuracy_b")
    rows = Table(*names, *more, "top_a", "top_b", "top_a_theory", "top_b_theory")
    lines = Table("pair", "step", "s", "loss", "loss_theory", "accuracy")
    for pair in show(tuple(PAIRS), "lines"):
        left, right = (runs[name] for name in PAIRS[pair])
        for step in stages:
            # the large-batch solution stands still while training goes on from it
            (a, y_a), (b, y_b) = left.end if pair == "large, then small batch" else left.after(step), right.after(step)
            between = [a.with_parameters((1 - s) * a.parameters + s * b.parameters) for s in LINE]
            profile = np.array([task.loss_of(network) for network in between])
            correct = np.array([accuracy(network, test) for network in between])
            joined = pair != "two starts"
            expected = np.array([limit.loss((1 - s) * y_a + s * y_b) if joined else np.nan for s in LINE])
            values = [pair, step, *(task.loss_of(network) for network in (a, b)), limit.loss(y_a), limit.loss(y_b)]
            values += [barrier(profile), barrier(expected), np.linalg.norm(a.parameters - b.parameters)]
            values += [task.gradient_norm(network) for network in (a, b)]
            values += [accuracy(a, test), accuracy(b, test), *(task.largest(network)[0] for network in (a, b))]
            rows.add(*values, *(limit.eigenvalues(y, 1)[0] for y in (y_a, y_b)))
            lines.extend(pair, step, LINE, profile, expected, correct)
    return rows.columns(), lines.columns()


def _course(runs: dict[str, Run], task: Task, test: Task, limit: Limit, steps: int) -> dict[str, AnyArray]:
    names = ("run", "step", "loss", "loss_theory", "loss_test", "accuracy", "accuracy_test", "gradient")
    table = Table(*names, "from_start", "apart")
    twin = {"GD": "SGD", "SGD": "GD", "SGD, start 2": "SGD"}
    for name, own in runs.items():
        # the second phase goes on counting
        before = steps if name == "large, then small" else 0
        origin = runs["large batch" if before else name].networks[0].parameters
        for k, (step, network, y) in enumerate(zip(own.steps, own.networks, own.outputs, strict=True)):
            losses = task.loss_of(network), limit.loss(y), test.loss_of(network)
            right = accuracy(network, task), accuracy(network, test)
            moved = np.linalg.norm(network.parameters - origin)
            pair = runs[twin[name]].networks[k].parameters if name in twin else own.networks[0].parameters
            apart = np.linalg.norm(network.parameters - pair) if name in twin or before else np.nan
            table.add(name, before + step, *losses, *right, task.gradient_norm(network), moved, apart)
    return table.columns()


def _edges(
    runs: dict[str, Run], task: Task, test: Task, limit: Limit, show: Callable[..., Any]
) -> tuple[dict[str, AnyArray], dict[str, AnyArray]]:
    names = ("run", "top", "top_theory", "bottom", "gap", "ratio", "elbow")
    ends = Table(*names, "loss", "loss_test", "accuracy_test", "gradient")
    edges = Table("run", "rank", "right", "right_theory", "left")
    for name in show(SOLUTIONS, "edges"):
        network, y = runs[name].end
        operator = task.split(network).h
        count = min(EDGE, task.n, operator.shape[0] - 1)
        if operator.shape[0] <= DENSE:
            values = eigenvalues(operator)
            right, left = values[::-1][:count], values[:count]
        else:
            right, left = extreme_eigenvalues(operator, count, tol=1e-6), smallest(operator, count)
        theory = limit.eigenvalues(y, count)
        edges.extend(name, np.arange(1, count + 1), right, theory, np.minimum(left, 0.0))
        counts = [count_outliers(right, rule) for rule in ("gap", "ratio", "cutoff")]
        losses = task.loss_of(network), test.loss_of(network)
        ends.add(
            name, right[0], theory[0], left[0], *counts, *losses, accuracy(network, test), task.gradient_norm(network)
        )
    return ends.columns(), edges.columns()


def _approach(
    task: Task, limit: Limit, width: int, size: float, stages: Sequence[int], seed: int
) -> dict[str, AnyArray]:
    """Distance of GD's outputs from the limit's, relative to how far these have moved, at a quarter of the width and at it."""
    table = Table("width", "step", "distance", "distance_error", "loss_ratio")
    for own in dict.fromkeys((max(width // 4, 1), width)):
        found = []
        for k in range(TRIALS):
            start = task.draw(own, [seed, own, k])
            first = start(task.x)
            # a narrow, hence sharper network takes the same time in smaller steps
            pieces = max(1, int(np.ceil(2 * size * task.largest(start)[0])))
            at = [pieces * step for step in stages]
            networks = descend(task, start, size / pieces, at[-1], at=at)
            outputs = limit.descend(first, size / pieces, at[-1], at=at)
            apart = [np.linalg.norm(f(task.x) - y) / _moved(y, first) for f, y in zip(networks, outputs, strict=True)]
            ratio = [task.loss_of(f) / limit.loss(y) for f, y in zip(networks, outputs, strict=True)]
            found.append([apart, ratio])
        distances, ratios = np.moveaxis(np.array(found), 1, 0)
        error = distances.std(axis=0, ddof=1) / np.sqrt(TRIALS)
        table.extend(own, stages, np.sqrt((distances**2).mean(axis=0)), error, np.exp(np.log(ratios).mean(axis=0)))
    return table.columns()


def _moved(y: AnyArray, first: AnyArray) -> float:
    return max(float(np.linalg.norm(y - first)), float(np.finfo(float).tiny))


def _figure(
    lines: dict[str, AnyArray],
    course: dict[str, AnyArray],
    edges: dict[str, AnyArray],
    approach: dict[str, AnyArray],
    stages: Sequence[int],
    loss: str,
) -> Any:
    figure, axes = grid(4, 3, title=f"GD, SGD and the line between their solutions, {loss} loss", size=(4.3, 2.9))
    for column, (pair, ends) in enumerate(PAIRS.items()):
        for step, color in zip(stages, shades(len(stages)), strict=True):
            own = (lines["pair"] == pair) & (lines["step"] == step)
            s = lines["s"][own]
            axes[0, column].semilogy(s, lines["loss"][own], "o", ms=3, color=color, label=f"{step} steps")
            axes[0, column].semilogy(s, lines["loss_theory"][own], color=color, lw=1.2)
            axes[1, column].plot(s, lines["accuracy"][own], ".-", ms=4, lw=0.9, color=color)
        for ax in axes[:2, column]:
            for s, name in enumerate(ends):
                ax.axvline(s, color="0.7", lw=0.8, zorder=0)
                words = name.replace("large, then small", "then small")
                ax.text(s, 1.01, words, transform=ax.get_xaxis_transform(), ha="center", fontsize=8.5)
            ax.set_xlabel("position on the line")
        axes[1, column].set_ylim(0, 1.02)
        decade_ticks(axes[0, column])
        axes[0, column].set_title(f"loss: {pair}", pad=16)
        axes[1, column].set_title("accuracy on other digits", pad=16)
    axes[0, 0].plot([], [], color="0.3", lw=1.2, label="limit")
    axes[0, 2].legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, fontsize=8)
    _draw_course(axes[2], course)
    _draw_edges(axes[3], edges, approach)
    for ax in axes.ravel():
        ax.title.set_fontsize(10)
    return figure


def _draw_course(axes: Any, course: dict[str, AnyArray]) -> None:
    styles = {"GD": (0, "-"), "SGD": (1, "-"), "large batch": (2, "-"), "large, then small": (2, "--")}
    for name, (index, style) in styles.items():
        own = (course["run"] == name) & (course["step"] > 0)
        step, color = course["step"][own], color_of(index)
        axes[0].loglog(step, course["loss"][own], style, color=color, lw=1.4, label=name)
        axes[0].loglog(step, course["loss_test"][own], style, color=color, lw=0.8, alpha=0.7)
        axes[0].loglog(step, course["loss_theory"][own], ".", color=color, ms=3)
        axes[1].semilogx(step, course["accuracy"][own], style, color=color, lw=1.4)
        axes[1].semilogx(step, course["accuracy_test"][own], style, color=color, lw=0.8, alpha=0.7)
    axes[0].plot([], [], ".", color="0.3", ms=3, label="limit")
    axes[0].legend(frameon=False, fontsize=7.5)
    axes[1].plot([], [], color="0.3", lw=1.4, label="digits trained on")
    axes[1].plot([], [], color="0.3", lw=0.8, alpha=0.7, label="other digits")
    axes[1].legend(frameon=False, fontsize=8)
    axes[0].set(xlabel="step", title="loss (thin: on other digits)")
    axes[1].set(xlabel="step", title="accuracy")
    ax = axes[2]
    for name, label, index in (("SGD", "GD and SGD", 1), ("SGD, start 2", "two starts", 3)):
        own = (course["run"] == name) & (course["step"] > 0)
        ax.loglog(course["step"][own], course["apart"][own], color=color_of(index), lw=1.4, label=f"apart: {label}")
    for name, index in (("GD", 0), ("SGD", 1)):
        own = (course["run"] == name) & (course["step"] > 0)
        label = f"{name} from its start"
        ax.loglog(course["step"][own], course["from_start"][own], "--", color=color_of(index), lw=1.1, label=label)
    ax.set(xlabel="step", title="distances of parameters")
    ax.legend(frameon=False, fontsize=8)


def _draw_edges(axes: Any, edges: dict[str, AnyArray], approach: dict[str, AnyArray]) -> None:
    for index, name in enumerate(SOLUTIONS):
        own = edges["run"] == name
        rank, color = edges["rank"][own], color_of((0, 2, 1)[index])
        axes[0].semilogy(rank, edges["right"][own], "x", ms=4, color=color, label=name)
        axes[0].semilogy(rank, edges["right_theory"][own], color=color, lw=1)
        axes[1].plot(rank, edges["left"][own], "x", ms=4, color=color, label=name)
    axes[0].plot([], [], color="0.3", lw=1, label="limit")
    axes[0].set(xlabel="rank", title="right edge after the same steps")
    axes[1].set(xlabel="rank", title="left edge after the same steps")
    for step, color in zip(dict.fromkeys(approach["step"].tolist()), shades(3), strict=False):
        own = approach["step"] == step
        width, distance = approach["width"][own], approach["distance"][own]
        axes[2].errorbar(width, distance, approach["distance_error"][own], color=color, marker="o", ms=4, ls="none")
        axes[2].plot(width, distance[-1] * np.sqrt(width[-1] / width), color=color, lw=1, label=f"{step} steps")
    widths = np.unique(approach["width"])
    axes[2].set(xscale="log", yscale="log", xlabel="width", title=r"$\|f-Y\|/\|Y-Y(0)\|$, lines: width$^{-1/2}$")
    axes[2].set_xticks(widths, [str(v) for v in widths])
    axes[2].minorticks_off()
    decade_ticks(axes[2])
    decade_ticks(axes[0])
    axes[2].set_xlim(widths[0] / 1.4, widths[-1] * 1.4)
    for ax in axes:
        ax.legend(frameon=False, fontsize=8)
