"""Growth of the width on fixed data: the right edge tends to the limit, the bulk shrinks (2017, Figures 4 to 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.spectrum import extreme_eigenvalues, spectral_density
from kernelcalc.output.pictures import THEORY, color_of, grid, shades
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit, smooth
from kernelcalc.studies.sagun.task import Task, descend, digits, smallest

# Parameters up to which the matrix is dense (measured: Lanczos is faster from here on).
DENSE = 1500
# Relative to the largest eigenvalue in size, below this an eigenvalue is rounding.
ROUNDING = 1e-11


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
    progress: Callable[..., Any] | None = None,
) -> Result:
    r"""Both ends and the centre of the Hessian's spectrum on digits, at growing widths, before and after training.

    The limit gives the right edge: the eigenvalues of :math:`𝓗C^{1/2} Θ 𝓗C^{1/2}`, whatever the width. All else is S, whose
    Tr S² → ∇CᵀΥ∇C stays while its rank grows like the width n: its nonzero eigenvalues shrink like n^{-½}, those of all P
    parameters, in root mean square, like P^{-½}.

    Parameters
    ----------
    full : bool
        All 256 digits, widths 10 to 160, training 2000 steps.
    points : int
        Number of digits.
    widths, trials, steps
        Hidden widths, initialisations of each, steps of gradient descent.
    """
    widths = tuple(widths or ((10, 20, 40, 80, 160) if full else (8, 16, 32, 64)))
    trials = trials or 3
    steps = (2000 if full else 150) if steps is None else steps
    task = Task.of(*digits(points, full), loss=loss, activation=activation)
    limit = Limit.of(task)
    count = min(30, task.n)
    moments = ("start", "end")
    names = (
        "time",
        "width",
        "P",
        "top",
        "second",
        "bottom",
        "bottom_root_width",
        "range_90",
        "bulk",
        "bulk_theory",
        "top_theory",
        "trace_s2",
    )
    rows = Table(*names, "trace_s2_theory", "loss", "loss_theory", "gradient")
    curves = Table("time", "width", "rank", "right", "right_theory", "left")
    each = progress or (lambda items, _: items)
    drawn = {width: [task.draw(width, [seed, width, k]) for k in range(trials)] for width in widths}
    # one step for all: times are comparable
    step = limit.step_for(start for starts in drawn.values() for start in starts)
    for width in each(widths, "widths"):
        starts, p = drawn[width], task.parameters(width)
        seen = [_ends(task, start, step, steps, count) for start in starts]
        own = np.stack([start(task.x) for start in starts])
        outputs = limit.descend(own, step, steps, at=(0, steps))
        for i, when in enumerate(moments):
            edge = np.mean([limit.eigenvalues(y, count) for y in outputs[i]], axis=0)
            square = float(limit.residual_square(outputs[i]).mean())
            now = [s[i] for s in seen]
            right, left = np.mean([e.right for e in now], axis=0), np.mean([e.left for e in now], axis=0)
            spread, trace = np.mean([e.spread for e in now]), np.mean([e.square for e in now])
            losses = np.mean([e.loss for e in now]), limit.loss(outputs[i]).mean()
            ends = *losses, np.mean([e.gradient for e in now])
            values = (when, width, p, right[0], right[1], left[0], left[0] * np.sqrt(width), spread)
            rows.add(*values, np.sqrt(trace / p), np.sqrt(square / p), edge[0], trace, square, *ends)
            curves.extend(when, width, np.arange(1, count + 1), right, edge, left)
    title = (
        f"Growth of the width: {task.n} digits, {loss} loss, {task.net.activations[0].name}, two hidden layers,\n"
        f"{steps} steps of gradient descent of size {step:.3g}, means over {trials} initialisations"
    )
    covered = (
        "trace_s2: Tr S² of the networks beside ∇CᵀΥ∇C"
        if smooth(task)
        else "trace_s2: Tr S² beside ∇CᵀΥ₀∇C with σ̈ = 0; the Υ of the theory does not exist for a kinked nonlinearity"
    )
    notes = (
        "top_theory: largest eigenvalue of 𝓗C^½ Θ 𝓗C^½, led from the networks' own first outputs through the same steps",
        "bottom_root_width: the left edge times √width; range_90: between the 5 and 95 % quantiles of all P eigenvalues of H "
        "(0: at least nine of ten vanish)",
        "bulk: √(Tr S²/P), the root mean square of all eigenvalues of S; bulk_theory: √(trace_s2_theory/P)",
        covered,
        "loss, gradient: C and ‖∇C‖, means over networks; loss_theory: of the limit after the same steps",
        *limit.cap_note(step),
    )

    def draw() -> Any:
        return _figure(rows.columns(), curves.columns(), widths, loss, task.n)

    return Result(
        name="width",
        title=title,
        tables={"width": rows.columns(), "width_edges": curves.columns()},
        notes=notes,
        draw=draw,
    )


class _Ends(NamedTuple):
    """Largest eigenvalues of H, smallest ones, the range of the middle 90 %, Tr S², C, ‖∇C‖."""

    right: AnyArray
    left: AnyArray
    spread: float
    square: float
    loss: float
    gradient: float


def _ends(task: Task, start: FiniteNetwork, step: float, steps: int, count: int) -> list[_Ends]:
    found = []
    zeros = task.orthogonal(start.sizes[1])
    for network in descend(task, start, step, steps, at=(0, steps)):
        split = task.split(network)
        p = split.h.shape[0]
        if p <= DENSE:
            dense, part = split.h.dense(), split.s.dense()
            values, square = np.linalg.eigvalsh(dense)[::-1], float(np.vdot(part, part))
            right, left = values[:count], values[::-1][:count]
            weights = np.ones(p)
        else:
            right = extreme_eigenvalues(split.h, count, tol=1e-6)
            left = smallest(split.h, count)
            # 200 steps and 4 probes: quantiles to some 10 %
            density = spectral_density(split.h, steps=200, probes=4)
            values, weights = density.nodes.ravel(), density.weights.ravel() * p / len(density.nodes)
            square = network.hessian_moments(task.x, task.y, 2, task.loss).trace_s2
        # zeros of the matrix are roundings here
        values = np.where(np.abs(values) > ROUNDING * np.abs(values).max(), values, 0.0)
        spread = middle(np.append(values, 0.0), np.append(weights, zeros))
        numbers = spread, float(square), task.loss_of(network), task.gradient_norm(network)
        found.append(_Ends(right, np.minimum(left, 0.0), *numbers))
    return found


def middle(values: AnyArray, weights: AnyArray) -> float:
    """Distance of the 5 and 95 % quantiles.

    Examples
    --------
    >>> middle(np.arange(101.0), np.ones(101))
    90.0
    """
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    low, high = values[order][np.searchsorted(below, (0.05, 0.95))]
    return float(high - low)


def _figure(table: dict[str, AnyArray], lines: dict[str, AnyArray], widths: Sequence[int], loss: str, n: int) -> Any:
    figure, axes = grid(2, 4, title=f"Growth of the width: {n} digits, {loss} loss", size=(3.7, 3.1))
    # a line through one width cannot be seen
    expected = THEORY | ({"marker": "_", "ms": 16} if len(widths) == 1 else {})
    for i, (when, words) in enumerate((("start", "at initialisation"), ("end", "after training"))):
        for width, color in zip(widths, shades(len(widths)), strict=True):
            own = (lines["time"] == when) & (lines["width"] == width)
            p = table["P"][table["width"] == width][0]
            rank = lines["rank"][own]
            axes[i, 0].semilogy(rank, lines["right"][own], ".-", ms=4, lw=0.9, color=color, label=f"width {width}")
            negative = lines["left"][own]
            axes[i, 1].plot(rank / p, negative / -negative[0] if negative[0] < 0 else negative, lw=1.2, color=color)
        own = (lines["time"] == when) & (lines["width"] == widths[-1])
        axes[i, 0].semilogy(lines["rank"][own], lines["right_theory"][own], **THEORY, label="limit")
        axes[i, 0].set(xlabel="rank", ylabel="largest eigenvalues", title=f"right edge {words}")
        axes[i, 1].set(
            xlabel="rank / P", ylabel=r"eigenvalue / $|\lambda_{\min}|$", title=f"left edge {words}, rescaled"
        )
        axes[i, 1].set_xscale("log")
        axes[i, 1].tick_params(axis="x", which="minor", labelbottom=False)
        own = table["time"] == when
        ax = axes[i, 2]
        ax.loglog(table["width"][own], table["top"][own], "o", color=color_of(0), label=r"$\lambda_{\max}(H)$")
        ax.loglog(table["width"][own], table["top_theory"][own], **expected, label="limit")
        ax.loglog(table["width"][own], -table["bottom"][own], "s", color=color_of(1), label=r"$-\lambda_{\min}(H)$")
        if when == "end":
            slope = -table["bottom"][own][-1] * np.sqrt(widths[-1] / table["width"][own])
            ax.loglog(table["width"][own], slope, color=color_of(1), lw=1, ls="--", label=r"$\propto$ width$^{-1/2}$")
        ax.set(xlabel="width", title=f"both edges {words}")
        ax.set_xticks(widths, [str(width) for width in widths])
        ax.minorticks_off()
        low, high = ax.get_ylim()
        ax.set_ylim(low / 6, high * 1.3)
        ax.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
        ax = axes[i, 3]
        p = table["P"][own]
        ax.loglog(p, table["bulk"][own], "o", color=color_of(0), label=r"$\sqrt{\mathrm{Tr}\,S^2/P}$")
        ax.loglog(p, table["bulk_theory"][own], **expected, label="limit")
        ax.loglog(p, table["range_90"][own], "s", color=color_of(1), label="5 to 95 % of $H$")
        ax.set(xlabel="number of parameters P", title=f"bulk {words}")
        ax.set_xticks(p, [str(value) for value in p])
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        ax.legend(frameon=False, fontsize=8)
    axes[0, 0].legend(frameon=False, fontsize=8)
    for ax in axes.ravel():
        ax.title.set_fontsize(10)
    return figure
