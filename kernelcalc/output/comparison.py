"""Pictures of a comparison: means against 1/width, their extrapolation and the theory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from kernelcalc.output.style import (
    axes_or_new,
    color_of,
    ink,
    legend_below,
    line_width,
    marker_size,
    panels,
)

_COLUMNS = 4
_PANELS = 12


class Row(Protocol):
    """One number of the theory beside means of networks of several widths."""

    @property
    def quantity(self) -> Any:
        """Which number: hashable, with ``name``, ``part``, ``time`` and the ``label`` that formulas write."""

    @property
    def theory(self) -> float:
        """Its limit."""

    @property
    def means(self) -> Sequence[float]:
        """(W,), one a width."""

    @property
    def errors(self) -> Sequence[float]:
        """Their standard errors, (W,)."""

    @property
    def limit(self) -> float:
        """Fitted value at infinite width."""

    @property
    def limit_error(self) -> float:
        """Its standard error."""

    @property
    def bias(self) -> float:
        """Fitted slope in 1/width."""

    @property
    def first_order(self) -> float:
        """Predicted slope, NaN where it is not known."""

    @property
    def z(self) -> float:
        """Distance of limit and theory in standard errors."""

    @property
    def passed(self) -> bool:
        """Whether they agree."""


class Report(Protocol):
    """A comparison."""

    @property
    def rows(self) -> Sequence[Row]:
        """One a number."""

    @property
    def failures(self) -> Sequence[Row]:
        """Those that did not pass."""

    @property
    def widths(self) -> Sequence[int]:
        """(W,)."""

    @property
    def trials(self) -> int:
        """Networks a width."""


def plot_comparison(report: Report, ax: Any = None, row: Row | None = None) -> Any:
    """Draw one quantity against 1/width, or twelve of them.

    Means with their standard errors, the fitted line, its value at infinite width (open circle) with its standard error,
    and the theory: a diamond at 1/width = 0 and a line from it, with the slope in 1/width where that is known, else level.

    Parameters
    ----------
    report : Report
        What :func:`kernelcalc.validate` returns.
    ax : matplotlib axes, optional
        Where to draw ``row``; new axes by default.
    row : Row, optional
        One of ``report.rows``. By default the row with the largest z-score if ``ax`` is given, and twelve panels (failures
        first, then a choice of kernels and moments) if not.

    Returns
    -------
    matplotlib axes, or an array of them for the panels

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    if ax is None:
        if row is None:
            return _panels(report, _chosen(report))[1]
        ax = axes_or_new(None)
    return _draw(report, ax, row or max(report.rows, key=lambda one: abs(one.z)))


def comparison_figure(report: Report, rows: Iterable[Row] | None = None) -> Any:
    """The panels as a matplotlib figure that is attached to no window."""
    return _panels(report, _chosen(report) if rows is None else list(rows))[0]


def _chosen(report: Report) -> list[Row]:
    """Failures first; then the diagonals of the kernels at t = 0 and moments at the second time."""
    times = sorted({row.quantity.time for row in report.rows})
    at = times[min(1, len(times) - 1)]
    wanted: list[tuple[str, str, float]] = [
        (name, "diagonal", times[0]) for name in ("sigma", "theta", "phi", "lam", "upsilon", "xi")
    ]
    wanted += [
        (name, "", at) for name in ("trace_i2", "trace_h1", "trace_h2", "trace_h4", "trace_s", "trace_s2", "loss")
    ]
    rows = {row.quantity: row for row in report.failures[:_PANELS]}
    known = {tuple(row.quantity): row for row in report.rows}
    for key in wanted:
        if key in known:
            rows.setdefault(known[key].quantity, known[key])
    rest = [row for row in report.rows if row.quantity not in rows]
    return (list(rows.values()) + rest)[:_PANELS]


def _panels(report: Report, rows: Sequence[Row]) -> Any:
    figure, axes = panels(len(rows), ratio=0.85, most=_COLUMNS, least=1.6)
    for ax, row in zip(axes, rows, strict=True):
        _draw(report, ax, row)
    legend_below(figure, axes[0].get_legend_handles_labels()[0])
    return figure, axes


def _draw(report: Report, ax: Any, row: Row) -> Any:
    widths = np.array(report.widths, dtype=np.float64)
    x, end = 1 / widths, 1.12 / widths.min()
    color = color_of(0 if row.passed else 1)
    slope = 0.0 if np.isnan(row.first_order) else row.first_order
    ax.axline((0, row.theory), slope=slope, color=ink(0.75), lw=line_width(0.67), ls=(0, (4, 2)), zorder=1)
    ax.plot(
        [0],
        [row.theory],
        color=ink(0.75),
        marker="D",
        ms=marker_size(1.1),
        ls="none",
        zorder=2,
        clip_on=False,
        label="theory",
    )
    ax.plot(
        [0, end],
        [row.limit, row.limit + row.bias * end],
        color=color,
        lw=line_width(0.67),
        alpha=0.6,
        zorder=2,
        label="a + b/width",
    )
    ax.errorbar(
        x, row.means, yerr=row.errors, color=color, ls="none", marker="o", ms=marker_size(0.67), capsize=2, zorder=3,
        label=f"mean of {report.trials} networks ± standard error",
    )  # fmt: skip
    ax.errorbar(
        [0], [row.limit], yerr=[row.limit_error], color=color, ls="none", marker="o", ms=marker_size(), mfc=ink(0), capsize=2,
        zorder=4,
        clip_on=False, label="extrapolation",
    )  # fmt: skip
    name, part, time = row.quantity.label, row.quantity.part, row.quantity.time
    ax.set_title(
        f"{name} {part}".strip() + f", t = {time:g}\n$z = {row.z:.1f}$",
        **({} if row.passed else {"color": color}),
    )
    ax.set_xlim(-0.06 * end, end)
    ax.set_xticks([0, *x], ["∞", *(f"{width:g}" for width in widths)])
    ax.set_xlabel("width $n$")
    return ax
