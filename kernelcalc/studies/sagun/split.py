"""The Gauss–Newton split H = I + S before and after training, and where negative eigenvalues come from (2017, Section 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.output.pictures import color_of, grid, signed_scale
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit, smooth
from kernelcalc.studies.sagun.task import Task, descend, digits

# Relative to the largest eigenvalue in size, below this an eigenvalue is rounding.
ROUNDING = 1e-11


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
    r"""Spectra of H, I and S on digits, and the shares of I and S in every eigenvalue of H.

    I is positive semidefinite, so :math:`v^T S v ≤ λ` for every eigenpair of H: a negative eigenvalue is due to S, and H
    has at most as many of them as S. S shrinks with ∇C as training goes on. The limit gives the eigenvalues of I, and
    Tr S² = ∇CᵀΥ∇C.

    Parameters
    ----------
    full : bool
        All 256 digits and width 20.
    points, width, steps
        Number of digits, hidden width, steps of gradient descent.
    """
    width = width or (20 if full else 10)
    steps = (3000 if full else 300) if steps is None else steps
    task = Task.of(*digits(points, full), loss=loss, activation=activation)
    limit = Limit.of(task)
    start = task.draw(width, seed)
    step = limit.step_for([start])
    networks = descend(task, start, step, steps, at=(0, steps))
    outputs = limit.descend(start(task.x), step, steps, at=(0, steps))
    names = ("time", "matrix", "top", "bottom", "positive", "negative", "zero", "square", "top_theory", "square_theory")
    rows = Table(*names)
    shares = Table("time", "eigenvalue", "from_i", "from_s", "i", "s")
    overlaps = []
    stages = list(zip(("start", "end"), networks, outputs, strict=True))
    zeros = task.orthogonal(width)
    for when, network, y in (progress or (lambda items, _: items))(stages, "stages"):
        split = task.split(network)
        parts = {"H": split.h.dense(), "I": split.i.dense(), "S": split.s.dense()}
        values, vectors = np.linalg.eigh(parts["H"])
        spectra = {"H": values, "I": np.linalg.eigvalsh(parts["I"]), "S": np.linalg.eigvalsh(parts["S"])}
        expected = limit.eigenvalues(y)
        theory = {"H": (np.nan, np.nan), "I": (expected[0], float(expected @ expected))}
        theory["S"] = (np.nan, float(limit.residual_square(y)))
        for name, own in spectra.items():
            small = ROUNDING * np.abs(own).max()
            signs = [int((own > small).sum()), int((own < -small).sum())]
            numbers = (when, name, own[-1], own[0], *signs, own.size - sum(signs) + zeros, own @ own, *theory[name])
            rows.add(*numbers)
        from_i, from_s = (np.einsum("pk,pq,qk->k", vectors, parts[n], vectors, optimize=True) for n in ("I", "S"))
        shares.extend(when, values, from_i, from_s, spectra["I"], spectra["S"])
        norms = np.linalg.norm(parts["I"]) * np.linalg.norm(parts["S"])
        overlaps.append(f"{np.linalg.norm(parts['I'] @ parts['S']) / norms:.2g}" if norms else "undefined, as S = 0,")
    title = (
        f"Gauss–Newton split of the Hessian: {task.n} digits, {loss} loss, {task.net.activations[0].name}, two hidden "
        f"layers of width {width},\n{steps} steps of gradient descent of size {step:.3g}; loss "
        f"{task.loss_of(networks[0]):.3g} → {task.loss_of(networks[1]):.3g}, ‖∇C‖ {task.gradient_norm(networks[0]):.3g} → "
        f"{task.gradient_norm(networks[1]):.3g}"
    )
    covered = (
        "square_theory: Tr I² and Tr S² = ∇CᵀΥ∇C of the limit"
        if smooth(task)
        else "square_theory: Tr I² and, with σ̈ = 0, Tr S² = ∇CᵀΥ₀∇C of the limit; the theory's own Υ does not exist for relu"
    )
    notes = (
        "positive, negative, zero: numbers of eigenvalues; square: Tr of the square; the limit is led from the network's "
        "own first outputs",
        covered,
        f"‖I S‖/(‖I‖ ‖S‖): {overlaps[0]} before and {overlaps[1]} after training; it vanishes in the limit",
        *limit.cap_note(step),
    )

    def draw() -> Any:
        return _figure(shares.columns(), limit, outputs, task, width)

    return Result(
        name="split",
        title=title,
        tables={"split": rows.columns(), "split_spectra": shares.columns()},
        notes=notes,
        draw=draw,
    )


def _figure(table: dict[str, AnyArray], limit: Limit, outputs: Any, task: Task, width: int) -> Any:
    figure, axes = grid(2, 2, title=f"H = I + S: {task.n} digits, {task.loss} loss, width {width}", size=(4.8, 3.4))
    for row, (when, words) in zip(axes, (("start", "at initialisation"), ("end", "after training")), strict=True):
        own = table["time"] == when
        values = table["eigenvalue"][own]
        linear = 1e-4 * values[-1]
        rank = np.arange(1, values.size + 1)
        for name, label, color in (("eigenvalue", "$H$", 0), ("i", "$I$", 2), ("s", "$S$", 1)):
            row[0].plot(rank, np.sort(table[name][own])[::-1], color=color_of(color), lw=1.6, label=label)
        expected = limit.eigenvalues(outputs[0 if when == "start" else 1])
        row[0].plot(np.arange(1, expected.size + 1), expected, color="0.15", lw=1.1, ls=":", label="$I$ in the limit")
        signed_scale(row[0], "y", linear)
        row[0].set_xscale("log")
        row[0].set(xlabel="rank", ylabel="eigenvalue", title=f"spectra {words}")
        row[0].legend(frameon=False, fontsize=8.5)
        row[1].plot(values, table["from_i"][own], ".", ms=3, color=color_of(2), label="$v^T I v$")
        row[1].plot(values, table["from_s"][own], ".", ms=3, color=color_of(1), label="$v^T S v$")
        row[1].plot(values, values, color="0.4", lw=0.8, label="sum")
        row[1].set(xlabel="eigenvalue of $H$", title=f"shares of $I$ and $S$ {words}")
        signed_scale(row[1], "x", linear)
        signed_scale(row[1], "y", linear)
        row[1].legend(frameon=False, fontsize=8.5)
    for ax in axes.ravel():
        ax.title.set_fontsize(10)
        ax.axhline(0, color="0.8", lw=0.7, zorder=0)
    return figure
