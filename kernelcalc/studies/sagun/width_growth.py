"""Growth of the width on fixed data: the right edge tends to the limit, the bulk shrinks (2017, Figures 4 to 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.spectrum import extreme_eigenvalues, spectral_density
from kernelcalc.output.pictures import grid, shades, theory_line
from kernelcalc.output.style import color_of, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Sample, Show, Tables, by_size, called
from kernelcalc.studies.sagun.claims import SAME, TINY, far_note, stop_note, untrained
from kernelcalc.studies.sagun.limit import Limit, smooth
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import ROUNDED_ZERO, Task, descend_until, digits, smallest

# Parameters up to which the matrix is dense (measured: Lanczos is faster from here on).
DENSE_ENDS = 1500
STAGES = {"start": "at initialisation", "end": "after training"}


class Ends(NamedTuple):
    """Largest eigenvalues of H, smallest ones, the range of the middle 90 %, Tr S², C, ‖∇C‖."""

    right: AnyArray
    left: AnyArray
    spread: float
    square: float
    loss: float
    gradient: float


def _ends(task: Task, networks: Iterable[FiniteNetwork], count: int) -> list[Ends]:
    found = []
    for network in networks:
        split, zeros = task.split(network), task.orthogonal(network.sizes[1])
        p = split.h.shape[0]
        if p <= DENSE_ENDS:
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
            square = network.hessian_moments(task.x, task.y, task.loss, kmax=2).trace_s2
        # zeros of the matrix are roundings here
        values = np.where(np.abs(values) > ROUNDED_ZERO * np.abs(values).max(), values, 0.0)
        spread = middle(np.append(values, 0.0), np.append(weights, zeros))
        numbers = spread, float(square), task.loss_of(network), task.gradient_norm(network)
        found.append(Ends(right, np.minimum(left, 0.0), *numbers))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Width:
    """Networks of one width at one time, and the limit from their first outputs.

    Attributes
    ----------
    ends : list of Ends
        One a network.
    edge : array
        Mean of the largest eigenvalues of I in the limit.
    square, loss : float
        Means of Tr S² and of C in the limit.
    taken : int
        Most steps that one of the networks took.
    """

    width: int
    parameters: int
    when: str
    ends: list[Ends]
    edge: AnyArray
    square: float
    loss: float
    taken: int

    def mean(self, what: str) -> Any:
        """Mean over the networks."""
        return np.mean([getattr(end, what) for end in self.ends], axis=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """All widths at both times, and with which step."""

    limit: Limit
    step: float
    widths: list[Width]


@experiment
@dataclass(frozen=True, kw_only=True)
class WidthGrowth(Experiment):
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
    sample : (points, labels), optional
        Instead of digits.
    widths, trials, steps
        Hidden widths, initialisations of each, steps of gradient descent.
    stop : float, optional
        ‖∇C‖ at which descent ends before that.
    """

    name = "width"
    summary = "right edge, bulk and left edge as the width grows"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    points: int | None = None
    sample: Sample | None = None
    widths: tuple[int, ...] = by_size((8, 16, 32, 64), (10, 20, 40, 80, 160))
    trials: int = 3
    steps: int = by_size(150, 2000)
    stop: float | None = None

    def measure(self, show: Show) -> Found:
        task = Task.of(*digits(self.points, self.full, self.sample), loss=self.loss, activation=self.activation)
        limit = Limit.of(task)
        drawn = {width: [task.draw(width, [self.seed, width, k]) for k in range(self.trials)] for width in self.widths}
        # one step for all: times are comparable
        step = limit.step_for(start for starts in drawn.values() for start in starts)
        widths = [
            one for width in show(self.widths, "widths") for one in self._measured(limit, step, width, drawn[width])
        ]
        return Found(limit=limit, step=step, widths=widths)

    def _measured(self, limit: Limit, step: float, width: int, starts: list[FiniteNetwork]) -> list[Width]:
        task, count = limit.task, min(30, limit.task.n)
        trained = [descend_until(task, start, step, self.steps, self.stop) for start in starts]
        seen = [_ends(task, (start, end), count) for start, (end, _) in zip(starts, trained, strict=True)]
        own = np.stack([start(task.x) for start in starts])
        outputs = own, np.stack([limit.descend(y, step, n)[0] for y, (_, n) in zip(own, trained, strict=True)])
        return [
            Width(
                width=width,
                parameters=task.parameters(width),
                when=when,
                taken=max(n for _, n in trained),
                ends=[s[i] for s in seen],
                edge=np.mean([limit.eigenvalues(y, count) for y in outputs[i]], axis=0),
                square=float(limit.residual_square(outputs[i]).mean()),
                loss=limit.loss(outputs[i]).mean(),
            )
            for i, when in enumerate(STAGES)
        ]

    def title(self, found: Found) -> str:
        task = found.limit.task
        return (
            f"Growth of the width: {called(self.sample, task.n)}, {self.loss} loss, {task.activation_name}, "
            "two hidden layers,\n"
            f"{self.steps} steps of gradient descent of size {found.step:.3g}, means over {self.trials} initialisations"
        )

    def table(self, found: Found) -> Tables:
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
        )
        rows = Table(*names, "top_theory", "trace_s2", "trace_s2_theory", "loss", "loss_theory", "gradient")
        curves = Table("time", "width", "rank", "right", "right_theory", "left")
        for one in found.widths:
            right, left, p, width = one.mean("right"), one.mean("left"), one.parameters, one.width
            trace = one.mean("square")
            edges = right[0], right[1], left[0], left[0] * np.sqrt(width), one.mean("spread")
            bulk = np.sqrt(trace / p), np.sqrt(one.square / p)
            ends = trace, one.square, one.mean("loss"), one.loss, one.mean("gradient")
            rows.add(one.when, width, p, *edges, *bulk, one.edge[0], *ends)
            curves.extend(one.when, width, np.arange(1, len(right) + 1), right, one.edge, left)
        return {"width": rows.columns(), "width_edges": curves.columns()}

    def notes(self, found: Found) -> tuple[str, ...]:
        covered = (
            "trace_s2: Tr S² of the networks beside ∇CᵀΥ∇C"
            if smooth(found.limit.task)
            else "trace_s2: Tr S² beside ∇CᵀΥ₀∇C with σ̈ = 0; the Υ of the theory does not exist for a kinked nonlinearity"
        )
        return (
            "top_theory: largest eigenvalue of 𝓗C^½ Θ 𝓗C^½, led from the networks' own first outputs through the same steps",
            "bottom_root_width: the left edge times √width; range_90: between the 5 and 95 % quantiles of all P eigenvalues "
            "of H (0: at least nine of ten vanish)",
            "bulk: √(Tr S²/P), the root mean square of all eigenvalues of S; bulk_theory: √(trace_s2_theory/P)",
            covered,
            "loss, gradient: C and ‖∇C‖, means over networks; loss_theory: of the limit after the same steps",
            *stop_note(self.stop, [(f"n = {one.width}", one.taken) for one in found.widths if one.when == "end"]),
            *found.limit.cap_note(found.step),
            *far_note(
                (
                    (
                        f"width {one.width}",
                        {"loss": (one.mean("loss"), one.loss), "λ_max": (one.mean("right")[0], one.edge[0])},
                    )
                    for one in found.widths
                    if one.when == "end"
                ),
                "n",
            ),
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        before = [one for one in found.widths if one.when == "start"]
        after = [one for one in found.widths if one.when == "end"]
        early = next(
            filter(None, (untrained(a.mean("loss"), b.mean("loss")) for a, b in zip(before, after, strict=True))), ""
        )
        ratios = np.array([-one.mean("left")[0] / one.mean("right")[0] for one in after])
        narrow, wide = after[0], after[-1]
        alone = "" if narrow is not wide else "one width only"
        return (
            Verdict(
                source="2017, Section 3.2",
                claim="there are negative eigenvalues after training",
                measured="smallest -λ_min/λ_max over widths",
                number=float(ratios.min()),
                above=ROUNDED_ZERO,
                undecided=early,
            ),
            Verdict(
                source="2017, Section 3.2",
                claim="the left edge is tiny beside the right one",
                measured="largest -λ_min/λ_max over widths",
                number=float(ratios.max()),
                below=TINY,
                undecided=early,
            ),
            Verdict(
                source="2017, Section 3.2, Figure 4",
                claim="the shape of the right edge does not change as the width grows",
                measured="largest difference of λ_k/λ_1 between the narrowest and the widest",
                number=_difference(narrow.mean("right"), wide.mean("right")),
                below=SAME,
                undecided=early or alone,
            ),
            Verdict(
                source="2017, Section 3.2, Figure 6",
                claim="against rank/P the left edges have one shape",
                measured="largest difference of the edges over their ends between the narrowest and the widest",
                number=_difference(narrow.mean("left"), wide.mean("left"), narrow.parameters, wide.parameters),
                below=SAME,
                undecided=early or alone,
            ),
            Verdict(
                source="Jacot et al. 2020, Proposition 1",
                claim="the right edge tends to the limit as the width grows",
                measured="|λ_max/limit - 1| of the widest over that of the narrowest, after training",
                number=_excess(wide) / _excess(narrow),
                below=0.75,
                undecided=alone,
            ),
        )

    def draw(self, found: Found) -> Any:
        title = f"Growth of the width: {called(self.sample, found.limit.task.n)}, {self.loss} loss"
        figure, axes = grid(2, 4, title=title, ratio=0.84)
        # a line through one width cannot be seen
        limit = theory_line() | ({"marker": "_", "ms": marker_size(2.67)} if len(self.widths) == 1 else {})
        table = self.table(found)["width"]
        for row, (when, words) in zip(axes, STAGES.items(), strict=True):
            own = {name: column[table["time"] == when] for name, column in table.items()}
            _draw_edges(row[:2], [one for one in found.widths if one.when == when], words)
            _draw_ends(row[2], own, limit, words, slope=when == "end")
            _draw_bulk(row[3], own, limit, words)
        axes[0, 0].legend()
        return figure


def _difference(one: AnyArray, other: AnyArray, p: float = 1.0, q: float = 1.0) -> float:
    """Of two edges over their first values, against rank/p and rank/q, as far as both reach."""
    ranks = [np.arange(1, len(edge) + 1) / size for edge, size in ((one, p), (other, q))]
    at = ranks[0][ranks[0] <= ranks[1][-1]] if p >= q else ranks[1][ranks[1] <= ranks[0][-1]]
    curves = [np.interp(at, rank, edge / edge[0]) for rank, edge in zip(ranks, (one, other), strict=True) if edge[0]]
    return float(np.abs(curves[0] - curves[1]).max()) if len(curves) == 2 and at.size > 1 else np.nan


def _excess(one: Width) -> float:
    return float(abs(one.mean("right")[0] / one.edge[0] - 1))


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


def _draw_edges(axes: Any, widths: list[Width], words: str) -> None:
    for one, color in zip(widths, shades(len(widths)), strict=True):
        right, left = one.mean("right"), one.mean("left")
        rank = np.arange(1, len(right) + 1)
        axes[0].semilogy(
            rank, right, ".-", ms=marker_size(0.67), lw=line_width(0.6), color=color, label=f"width {one.width}"
        )
        axes[1].plot(rank / one.parameters, left / -left[0] if left[0] < 0 else left, lw=line_width(0.8), color=color)
    edge = widths[-1].edge
    axes[0].semilogy(np.arange(1, len(edge) + 1), edge, **theory_line(), label="limit")
    axes[0].set(xlabel="rank", ylabel="largest eigenvalues", title=f"right edge {words}")
    axes[1].set(xlabel="rank / P", ylabel=r"eigenvalue / $|\lambda_{\min}|$", title=f"left edge {words}, rescaled")
    axes[1].set_xscale("log")
    axes[1].tick_params(axis="x", which="minor", labelbottom=False)


def _draw_ends(ax: Any, table: dict[str, AnyArray], limit: dict[str, Any], words: str, slope: bool) -> None:
    widths = table["width"]
    ax.loglog(widths, table["top"], "o", color=color_of(0), label=r"$\lambda_{\max}(H)$")
    ax.loglog(widths, table["top_theory"], **limit, label="limit")
    ax.loglog(widths, -table["bottom"], "s", color=color_of(1), label=r"$-\lambda_{\min}(H)$")
    if slope:
        line = -table["bottom"][-1] * np.sqrt(widths[-1] / widths)
        ax.loglog(widths, line, color=color_of(1), lw=line_width(0.67), ls="--", label=r"$\propto$ width$^{-1/2}$")
    ax.set(xlabel="width", title=f"both edges {words}")
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.minorticks_off()
    low, high = ax.get_ylim()
    ax.set_ylim(low / 6, high * 1.3)
    ax.legend(loc="lower left", ncols=2)


def _draw_bulk(ax: Any, table: dict[str, AnyArray], limit: dict[str, Any], words: str) -> None:
    p = table["P"]
    ax.loglog(p, table["bulk"], "o", color=color_of(0), label=r"$\sqrt{\mathrm{Tr}\,S^2/P}$")
    ax.loglog(p, table["bulk_theory"], **limit, label="limit")
    ax.loglog(p, table["range_90"], "s", color=color_of(1), label="5 to 95 % of $H$")
    ax.set(xlabel="number of parameters P", title=f"bulk {words}")
    ax.set_xticks(p, [str(value) for value in p])
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    ax.legend()
