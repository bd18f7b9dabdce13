"""The spectrum of the Hessian through training (2016, Figure 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.finite.curvature.spectrum import eigenvalues, extreme_eigenvalues
from kernelcalc.output.pictures import color_of, grid, shades, signed_scale
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend

# Eigenvalues followed through training.
FOLLOWED = 4
# Half the band around zero, relative to the largest eigenvalue, that counts as zero.
NEAR_ZERO = 1e-3


def run(
    *,
    full: bool = False,
    seed: int = 0,
    activation: Any = "relu",
    loss: str = "softmax",
    points: int | None = None,
    widths: Sequence[int] | None = None,
    steps: int | None = None,
    progress: Callable[..., Any] | None = None,
) -> Result:
    """Eigenvalues of H on two blobs every ten steps of gradient descent, narrow and wide, beside those of the limit.

    The limit is led from each network's own first outputs, so that there is nothing random between the two.

    Parameters
    ----------
    full : bool
        200 points, ten times as many steps, and a width of 300.
    points, widths, steps
        Points, two hidden widths (the whole spectrum is drawn for the first), steps of gradient descent.
    """
    widths = tuple(widths or ((18, 300) if full else (18, 80)))
    n = points or (200 if full else 60)
    steps = (1000 if full else 100) if steps is None else steps
    x, labels = two_blobs(n, std=0.5, rng=seed)
    task = Task.of(x, labels, loss=loss, activation=activation)
    limit = Limit.of(task)
    at = sorted({round(v) for v in np.linspace(0, steps, 11)})
    names = ["width", "step", "loss", "loss_theory", "gradient"]
    names += [f"{kind}_{j}" for j in range(1, FOLLOWED + 1) for kind in ("top", "theory")]
    rows = Table(*names, "bottom", "near_zero")
    spectra = Table("step", "rank", "eigenvalue")
    jobs = []
    starts = {width: task.draw(width, [seed, width]) for width in widths}
    size = limit.step_for(starts.values())
    for width, start in starts.items():
        networks = descend(task, start, size, steps, at=at)
        jobs += list(
            zip([width] * len(at), at, networks, limit.descend(start(task.x), size, steps, at=at), strict=True)
        )
    for width, step, network, y in (progress or (lambda items, _: items))(jobs, "times"):
        operator = task.split(network).h
        expected = limit.eigenvalues(y, FOLLOWED)
        near = np.nan
        if operator.shape[0] <= 1500:
            values = eigenvalues(operator)[::-1]
            top, bottom = values[:FOLLOWED], values[-1]
            near = float((np.abs(values) < NEAR_ZERO * values[0]).mean())
        else:
            top = extreme_eigenvalues(operator, FOLLOWED, tol=1e-7)
            bottom = extreme_eigenvalues(operator, 1, which="SA", tol=1e-4)[0]
        if width == widths[0]:
            shown = values if operator.shape[0] <= 1500 else top
            spectra.extend(step, np.arange(1, shown.size + 1), shown)
        pairs = np.stack([top, expected], axis=1).ravel()
        rows.add(width, step, task.loss_of(network), limit.loss(y), task.gradient_norm(network), *pairs, bottom, near)
    title = (
        f"Spectrum through training: two blobs, {n} points, {loss} loss, {task.net.activations[0].name}, two hidden layers,"
        f"\ngradient descent of size {size:.3g}"
    )
    notes = (
        "top_j: j-th largest eigenvalue of H; theory_j: of 𝓗C^½ Θ 𝓗C^½ after the same steps from the network's first outputs",
        f"gradient: ‖∇C‖; near_zero: part of the eigenvalues within {NEAR_ZERO:g} of the largest around zero",
        "only Θ enters, so relu is covered; S, which the network has in its spectrum at finite width, is of order width^-½",
        *limit.cap_note(size),
    )

    def draw() -> Any:
        return _figure(rows.columns(), spectra.columns(), widths, at, loss)

    return Result(
        name="training",
        title=title,
        tables={"training": rows.columns(), "training_spectra": spectra.columns()},
        notes=notes,
        draw=draw,
    )


def _figure(
    rows: dict[str, AnyArray], table: dict[str, AnyArray], widths: Sequence[int], at: Sequence[int], loss: str
) -> Any:
    figure, axes = grid(1, 1 + len(widths), title=f"Spectrum through training, two blobs, {loss} loss", size=(4.3, 3.5))
    ax = axes[0, 0]
    largest = np.abs(table["eigenvalue"]).max()
    for step, color in zip(at, shades(len(at)), strict=True):
        own = table["step"] == step
        label = f"step {step}" if step in (at[0], at[len(at) // 2], at[-1]) else None
        ax.plot(table["rank"][own], table["eigenvalue"][own], "-", lw=1.2, color=color, label=label)
    signed_scale(ax, "y", 1e-4 * largest)
    ax.set_xscale("log")
    ax.set(xlabel="rank", ylabel="eigenvalue of $H$", title=f"whole spectrum, width {widths[0]}")
    ax.legend(frameon=False, fontsize=8.5)
    table = rows
    for ax, width in zip(axes[0, 1:], widths, strict=True):
        own = table["width"] == width
        for j in range(1, FOLLOWED + 1):
            color, steps = color_of(j - 1), table["step"][own]
            ax.semilogy(steps, table[f"theory_{j}"][own], color=color, lw=1.3, label="limit" if j == 1 else None)
            ax.semilogy(steps, table[f"top_{j}"][own], "o", ms=4, color=color, label="network" if j == 1 else None)
        ax.set(xlabel="step", title=f"largest eigenvalues, width {width}")
        ax.legend(frameon=False, fontsize=8.5)
    for ax in axes[0]:
        ax.title.set_fontsize(10)
    return figure
