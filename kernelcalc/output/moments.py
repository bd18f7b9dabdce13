"""Plots: every function draws on given axes (or new ones), returns them, and never shows anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from kernelcalc.arguments import check_count, counts, flag, floats, shown
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.output.style import (
    axes_or_new,
    color_of,
    first_in_row,
    ink,
    legend_below,
    line_width,
    marker_size,
    matplotlib_part,
    panels,
    shaded,
)

# Ratio of the largest to the smallest value above which an axis is logarithmic.
LOG_RANGE = 5.0
BAND = 0.16
FORMULA = r"$\mathbb{E}\,\mathrm{Tr}\,H(t)^k$"


class Moments(Protocol):
    """Moments of the Hessian along training: row k - 1 of a (kmax, T) array is the k-th moment."""

    @property
    def kmax(self) -> int:
        """Number of moments."""

    @property
    def times(self) -> Array:
        """(T,)."""

    @property
    def trace_i(self) -> Array:
        """(kmax, T)."""

    @property
    def trace_h(self) -> Array:
        """(kmax, T)."""

    @property
    def trace_h_std(self) -> Array:
        """(kmax, T)."""


class FiniteMoments(Protocol):
    """Mean moments of finite networks."""

    @property
    def times(self) -> Any:
        """(T,)."""

    @property
    def trace_h(self) -> Any:
        """(kmax, T)."""

    @property
    def trace_h_std(self) -> Any:
        """(kmax, T)."""

    @property
    def trials(self) -> int:
        """How many networks."""

    @property
    def width(self) -> Any:
        """Of their hidden layers."""


class MomentsAtStart(Protocol):
    """Moments before training, at one width."""

    @property
    def width(self) -> float:
        """Of the hidden layers."""

    @property
    def trace_h(self) -> float:
        """E Tr H."""

    @property
    def trace_i(self) -> float:
        """E Tr I."""

    @property
    def trace_i2(self) -> float:
        """E Tr I²."""

    @property
    def trace_h2(self) -> float:
        """E Tr H²."""

    @property
    def trace_i_std(self) -> float:
        """Standard deviation of Tr I over networks."""


def plot_moments(
    trajectory: Moments,
    ax: Any = None,
    *,
    k: int | Iterable[int] | None = None,
    band: bool = True,
    quantiles: Sequence[tuple[Any, Any]] = (),
    limit: bool = True,
    legend: bool = True,
) -> Any:
    r"""Draw :math:`\mathbb{E}\,\mathrm{Tr}\,H(t)^k` against time.

    Parameters
    ----------
    trajectory : Moments
        What :func:`kernelcalc.mse_moments` returns.
    ax : matplotlib axes, optional
        Where to draw; new axes by default.
    k : int or iterable of int, optional
        Which moments; all by default.
    band : bool
        Shade ± one standard deviation over initialisations; under the MSE it vanishes for k ≥ 3.
    quantiles : sequence of (low, high)
        Pairs of (kmax, T) arrays to shade instead, such as those of one network and of a mean of several.
    limit : bool
        Dotted line at Tr I^k for the moments S contributes to.
    legend : bool
        Add a legend to the axes.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        No trajectory, or a moment that it does not have.
    MissingExtraError
        matplotlib is not installed.
    """
    _require(trajectory, "trajectory", Moments)
    band, limit, legend = flag("band", band), flag("limit", limit), flag("legend", legend)
    powers = _powers(k, trajectory.kmax)
    bands = _bands(quantiles, np.shape(trajectory.trace_h))
    ax = axes_or_new(ax)
    order = np.argsort(trajectory.times)
    order = order[np.isfinite(trajectory.times[order])]
    t = trajectory.times[order]
    for power in powers:
        color, mean = color_of(power - 1), trajectory.trace_h[power - 1, order]
        ax.plot(t, mean, color=color, label=f"$k = {power}$", zorder=3)
        if power <= 2 and limit:
            ax.plot(
                t, trajectory.trace_i[power - 1, order], color=color, lw=line_width(0.67), ls=(0, (1, 1.5)), zorder=2
            )
        pairs = [(low[power - 1, order], high[power - 1, order]) for low, high in bands]
        if band and not bands:
            std = trajectory.trace_h_std[power - 1, order]
            pairs = [(mean - std, mean + std)]
        for low, high in pairs:
            if (high > low).any():
                ax.fill_between(t, low, high, color=color, alpha=BAND, lw=0, zorder=1)
    _scale_time(ax, t)
    _scale_values(ax)
    ax.set_xlabel("gradient-flow time $t$")
    ax.set_ylabel(FORMULA)
    if legend and powers:
        ax.legend()
    return ax


def plot_finite(moments: FiniteMoments, ax: Any = None, *, k: int | Iterable[int] | None = None) -> Any:
    """Draw the moments of finite networks as crosses, with the standard error of their mean.

    Parameters
    ----------
    moments : FiniteMoments
        ``times`` (T,), ``trace_h`` and ``trace_h_std`` (kmax, T), ``trials``.
    ax : matplotlib axes, optional
        Where to draw; new axes by default.
    k : int or iterable of int, optional
        Which moments; all by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        No moments, or a moment k that there is not.
    MissingExtraError
        Without matplotlib.
    """
    _require(moments, "moments", FiniteMoments)
    mean, std = np.asarray(moments.trace_h), np.asarray(moments.trace_h_std)
    powers = _powers(k, mean.shape[0])
    ax = axes_or_new(ax)
    for power in powers:
        error = std[power - 1] / np.sqrt(moments.trials)
        ax.errorbar(
            moments.times, mean[power - 1], yerr=error, color=shaded(power - 1),
            ls="none", marker="x", ms=marker_size(), elinewidth=line_width(0.67), zorder=4, clip_on=False,
        )  # fmt: skip
    _scale_values(ax)
    return ax


def plot_start(moments: MomentsAtStart, ax: Any, *, kmax: int = 2) -> Any:
    """Draw moments at t = 0 of networks of one width, beside the limit's lines at their left end.

    Filled diamonds: E Tr H and E Tr H², beside their lines. Open diamonds: E Tr I with its standard deviation, and E Tr I²,
    beside the dotted lines.

    Parameters
    ----------
    moments : MomentsAtStart
        What :func:`kernelcalc.hessian_moments_at_width` returns.
    ax : matplotlib axes
        Where :func:`plot_moments` has drawn.
    kmax : int
        1 leaves the squares out.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        No moments at a width, or no axes.
    """
    _require(moments, "moments", MomentsAtStart)
    if ax is None:
        raise InputError("ax, axes of matplotlib", "None", "those that plot_moments has returned")
    check_count("kmax", kmax, 1)
    ax = axes_or_new(ax)
    look = {"ls": "none", "marker": "D", "ms": marker_size(0.9), "zorder": 5, "clip_on": False}
    ax.plot([0.0], [moments.trace_h], color=shaded(0), **look)
    ax.errorbar(
        [0.0],
        [moments.trace_i],
        yerr=[moments.trace_i_std],
        color=shaded(0),
        mfc=ink(0),
        elinewidth=line_width(0.67),
        **look,
    )
    if kmax > 1:
        ax.plot([0.0], [moments.trace_h2], color=shaded(1), **look)
        ax.plot([0.0], [moments.trace_i2], color=shaded(1), mfc=ink(0), **look)
    _scale_values(ax)
    return ax


def curves_figure(
    shown: Sequence[tuple[str, Moments, FiniteMoments | None]],
    quantiles: Sequence[Sequence[tuple[Any, Any]]] = (),
    labels: Sequence[str] = (r"$\pm 1$ std over initialisations",),
    at_width: Sequence[MomentsAtStart | None] = (),
    *,
    note: str = "",
) -> Any:
    """One panel for each (title, trajectory, finite moments or ``None``), with a common legend below.

    ``quantiles`` holds the bands of each panel as :func:`plot_moments` takes them, ``labels`` says what they are;
    ``at_width`` what :func:`plot_start` adds to each, ``note`` what the legend says of the networks besides their width and
    number.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.

    Raises
    ------
    InputError
        No such sequences.
    MissingExtraError
        Without matplotlib.
    """
    if not isinstance(shown, list | tuple) or not shown or not all(isinstance(one, list | tuple) for one in shown):
        raise InputError("shown, a sequence of (title, trajectory, finite moments or None)", type(shown).__name__)
    _per_panel("quantiles", quantiles, len(shown))
    _per_panel("at_width", at_width, len(shown))
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
        raise InputError("labels, a sequence of texts", type(labels).__name__)
    if not isinstance(note, str):
        raise InputError("note, a text", type(note).__name__)
    lines, patches = matplotlib_part("lines"), matplotlib_part("patches")
    figure, axes = panels(len(shown), most=2 if len(shown) in (2, 4) else 3)
    for index, (ax, (title, trajectory, finite)) in enumerate(zip(axes, shown, strict=True)):
        plot_moments(trajectory, ax, legend=False, quantiles=quantiles[index] if quantiles else ())
        if finite is not None:
            plot_finite(finite, ax, k=range(1, min(len(finite.trace_h), trajectory.kmax) + 1))
        start = at_width[index] if at_width else None
        if start is not None:
            plot_start(start, ax, kmax=trajectory.kmax)
        ax.set_title(title)
    for ax, left in zip(axes, first_in_row(axes), strict=True):
        if not left:
            ax.set_ylabel("")
    line, patch = lines.Line2D, patches.Patch
    kmax = max(trajectory.kmax for _, trajectory, _ in shown)
    handles = [line([], [], color=color_of(j), label=f"$k={j + 1}$") for j in range(kmax)]
    handles.append(line([], [], color=ink(0.65), lw=line_width(0.67), ls=(0, (1, 1.5)), label=r"$\mathrm{Tr}\,I^k$"))
    # Each band lies over the one before.
    handles += [
        patch(color=ink(0.65), alpha=1 - (1 - BAND - 0.04) ** (j + 1), lw=0, label=label)
        for j, label in enumerate(labels)
    ]
    finite = next((finite for _, _, finite in shown if finite is not None), None)
    if finite is not None:
        label = f"width {finite.width}, mean of {finite.trials}{note}"
        handles.append(line([], [], color=ink(0.75), ls="none", marker="x", label=label))
    start = next((one for one in at_width if one is not None), None)
    if start is not None:
        look = {"color": ink(0.75), "ls": "none", "marker": "D"}
        handles.append(line([], [], label=rf"$\mathrm{{Tr}}\,H^k$ at width {start.width:g}, first order", **look))
        handles.append(line([], [], mfc=ink(0), label=rf"$\mathrm{{Tr}}\,I^k$ at width {start.width:g}", **look))
    legend_below(figure, handles)
    return figure


def _scale_time(ax: Any, t: Any) -> None:
    positive = t[t > 0]
    if positive.size < 2 or positive[-1] / positive[0] < LOG_RANGE:
        return
    if t[0] > 0:
        ax.set_xscale("log")
    else:
        # t = 0 is the left edge of an axis that is logarithmic from the first positive time on.
        ax.set_xscale("symlog", linthresh=positive[0], linscale=0.3)
        ticker = matplotlib_part("ticker")
        decades = 10.0 ** np.arange(np.ceil(np.log10(positive[0])), np.floor(np.log10(positive[-1])) + 1)
        minor = np.outer([*decades[:1] / 10, *decades], np.arange(2, 10)).ravel()
        if decades.size:
            ax.xaxis.set_major_locator(ticker.FixedLocator([0.0, *decades[:: -(-decades.size // 7)]]))
            ax.xaxis.set_minor_locator(ticker.FixedLocator(minor[(minor > positive[0]) & (minor < positive[-1])]))
    ax.set_xlim(t[0], positive[-1])


def _scale_values(ax: Any) -> None:
    drawn = [np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.get_lines()]
    values = np.concatenate([np.zeros(0), *drawn])
    values = values[np.isfinite(values)]
    if not values.size:
        return
    low, high = values.min(), values.max()
    if low > 0:
        if high / low >= LOG_RANGE:
            # The limits follow the means: a band that reaches below zero would otherwise stretch the axis without end.
            ax.set_yscale("log")
            ax.set_ylim(low / 1.6, high * 1.6)
            if high / low < 300:
                ticker = matplotlib_part("ticker")
                ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
                ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
                ax.yaxis.set_minor_formatter(ticker.NullFormatter())
        return
    size = np.abs(values[values != 0])
    if size.size and size.max() / size.min() > 100:
        ax.set_yscale("symlog", linthresh=size.max() / 100)


def _powers(k: int | Iterable[int] | None, kmax: int) -> list[int]:
    if k is None:
        return list(range(1, kmax + 1))
    powers = counts("k", [k] if isinstance(k, int | np.integer) else k, 1)
    if any(power > kmax for power in powers):
        raise InputError(f"moments k from 1 to {kmax}", f"{powers}")
    return list(powers)


def _bands(quantiles: Any, shape: tuple[int, ...]) -> list[list[Array]]:
    """Pairs of arrays of the shape of the moments."""
    if not isinstance(quantiles, list | tuple):
        raise InputError("quantiles, a sequence of (low, high)", shown(quantiles))
    for pair in quantiles:
        if not isinstance(pair, list | tuple | np.ndarray) or len(pair) != 2:
            raise InputError("quantiles, each (low, high)", shown(pair))
    bands = [[floats(edge, "quantiles", "arrays of numbers") for edge in pair] for pair in quantiles]
    for edge in itertools.chain.from_iterable(bands):
        if edge.shape != shape:
            raise ShapeError(f"quantiles of the shape {shape}, (kmax, T)", f"the shape {edge.shape}")
    return bands


def _per_panel(name: str, values: Any, panels: int) -> None:
    """Refuse what is no sequence with one value a panel; it may be empty."""
    if not isinstance(values, list | tuple) or len(values) not in (0, panels):
        raise InputError(f"{name}, a sequence with one value for each of {panels} panels, or empty", shown(values))


def _require(value: Any, what: str, protocol: type) -> None:
    """Refuse what has not the attributes of the protocol."""
    names = [name for name, kind in vars(protocol).items() if isinstance(kind, property)]
    if not all(hasattr(value, name) for name in names):
        raise InputError(f"{what} with {', '.join(names)}", type(value).__name__)
