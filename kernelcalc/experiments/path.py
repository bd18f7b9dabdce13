"""Gradient descent and SGD, and the loss on the straight line between their solutions (2016, Figure 10; 2017, Section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernelcalc.datasets import mnist14
from kernelcalc.experiments.limit import Limit
from kernelcalc.experiments.pictures import below, grid, shades
from kernelcalc.experiments.result import Result, Table
from kernelcalc.experiments.task import Task, descend
from kernelcalc.finite import FiniteNetwork

Array = np.ndarray[Any, Any]

CASES = ("GD and SGD", "large, then small batch", "two starts")
# Points on the line, a quarter beyond either end.
LINE = np.linspace(-0.25, 1.25, 31)


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
    r"""Loss on the line between two solutions on digits, at several stages of training.

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
    """
    n, width = points or (128 if full else 60), width or (200 if full else 40)
    steps = (3000 if full else 200) if steps is None else steps
    images, digits = mnist14(min(2 * n, 256))
    both = Task.of(images, digits, loss=loss, activation=activation)
    task, test = both.subset(slice(n)), both.subset(slice(n, None))
    limit = Limit.of(task)
    small, large = max(n // 16, 1), n // 2
    starts = task.draw(width, [seed, 0]), task.draw(width, [seed, 7])
    size = limit.step_for(starts)
    at = sorted({round(steps * part) for part in (0.1, 0.3, 1.0)})
    names = ("pair", "step", "loss_a", "loss_b", "loss_a_theory", "loss_b_theory", "barrier", "barrier_theory")
    more = ("distance", "accuracy_a", "accuracy_b", "top_a", "top_b", "top_a_theory", "top_b_theory")
    rows = Table(*names, *more)
    lines = Table("pair", "step", "s", "loss", "loss_theory", "accuracy")
    for pair in (progress or (lambda items, _: items))(CASES, "pairs"):
        ends = _pair(pair, task, limit, starts, size, steps, at, small, large, seed)
        for step, a, b, y_a, y_b in zip(at, *ends, strict=True):
            theta_a, theta_b = a.parameters, b.parameters
            between = [a.with_parameters((1 - s) * theta_a + s * theta_b) for s in LINE]
            profile = np.array([task.loss_of(network) for network in between])
            correct = np.array([accuracy(network, test) for network in between])
            known = y_a is not None
            expected = np.array([limit.loss((1 - s) * y_a + s * y_b) if known else np.nan for s in LINE])
            own = [task.largest(network)[0] for network in (a, b)]
            tops = [limit.eigenvalues(y, 1)[0] if known else np.nan for y in (y_a, y_b)]
            values = [pair, step, *(task.loss_of(network) for network in (a, b))]
            values += [limit.loss(y) if known else np.nan for y in (y_a, y_b)]
            values += [barrier(profile), barrier(expected), np.linalg.norm(theta_a - theta_b)]
            values += [accuracy(a, test), accuracy(b, test), *own, *tops]
            rows.add(*values)
            lines.extend(pair, step, LINE, profile, expected, correct)
    title = (
        f"The line between solutions: {n} digits, {loss} loss, {task.net.activations[0].name}, two hidden layers of width "
        f"{width}, steps of size {size:.3g},\nbatches of {small} (SGD, small) and {large} (large)"
    )
    notes = (
        "barrier: largest loss on the line less that of its worse end (0: none); ..._theory: in the limit, with outputs "
        "(1 − s) Y_a + s Y_b, from the network's own first outputs through the same batches",
        "distance: of the parameters; accuracy: on digits not trained on; top: largest eigenvalue of H",
        "two starts are not joined by the limit's linear picture: no theory there. For relu only Θ is needed",
        *limit.cap_note(size),
    )

    def draw() -> Any:
        return _figure(lines.columns(), at)

    return Result(
        name="path", title=title, tables={"path": rows.columns(), "path_lines": lines.columns()}, notes=notes, draw=draw
    )


def barrier(profile: Array) -> float:
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


def _pair(
    pair: str,
    task: Task,
    limit: Limit,
    starts: tuple[FiniteNetwork, FiniteNetwork],
    step: float,
    steps: int,
    at: list[int],
    small: int,
    large: int,
    seed: int,
) -> tuple[list[FiniteNetwork], list[FiniteNetwork], list[Any], list[Any]]:
    start, other = starts
    first = start(task.x)
    options: dict[str, Any] = {"at": at, "batch": small, "rng": [seed, 1]}
    if pair == "two starts":
        ends = (
            descend(task, start, step, steps, **options),
            descend(task, other, step, steps, **options | {"rng": [seed, 2]}),
        )
        return *ends, [None] * len(at), [None] * len(at)
    if pair == "GD and SGD":
        ends = descend(task, start, step, steps, at=at), descend(task, start, step, steps, **options)
        return *ends, limit.descend(first, step, steps, at=at), limit.descend(first, step, steps, **options)
    (a,) = descend(task, start, step, steps, batch=large, rng=[seed, 3])
    (y,) = limit.descend(first, step, steps, batch=large, rng=[seed, 3])
    ends = [a] * len(at), descend(task, a, step, steps, **options)
    return *ends, [y] * len(at), limit.descend(y, step, steps, **options)


def _figure(table: dict[str, Array], at: list[int]) -> Any:
    figure, axes = grid(1, len(CASES), title="Loss on the line between solutions", size=(4.2, 3.4))
    ends = (("GD", "SGD"), ("large batch", "small batch"), ("start 1", "start 2"))
    for ax, pair, (left, right) in zip(axes[0], CASES, ends, strict=True):
        for step, color in zip(at, shades(len(at)), strict=True):
            own = (table["pair"] == pair) & (table["step"] == step)
            ax.semilogy(table["s"][own], table["loss"][own], "o", ms=3, color=color, label=f"{step} steps")
            ax.semilogy(table["s"][own], table["loss_theory"][own], color=color, lw=1.2)
        for s, name in ((0, left), (1, right)):
            ax.axvline(s, color="0.7", lw=0.8, zorder=0)
            ax.text(s, 1.01, name, transform=ax.get_xaxis_transform(), ha="center", fontsize=8.5)
        ax.set_title(pair, fontsize=10, pad=16)
        ax.set_xlabel("position on the line")
    axes[0, 0].set_ylabel("training loss")
    axes[0, 0].plot([], [], color="0.3", lw=1.2, label="limit")
    below(figure, axes[0, 0])
    return figure
