"""What the experiments' pictures share: a grid of axes, and axes for eigenvalues of both signs."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelcalc.arrays import Array
from kernelcalc.output.style import COLORS, matplotlib_part

THEORY: dict[str, Any] = {"color": "0.15", "lw": 1.4, "zorder": 4}


def grid(rows: int, columns: int, *, title: str = "", size: tuple[float, float] = (4.3, 3.3), **options: Any) -> Any:
    """A figure attached to no window and its axes (rows, columns)."""
    extra = 0.35 if title else 0.0
    figure = matplotlib_part("figure").Figure(figsize=(size[0] * columns, size[1] * rows + extra), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.06)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def below(figure: Any, ax: Any) -> None:
    """The legend of one of the axes, below all of them."""
    handles, labels = ax.get_legend_handles_labels()
    # two equal rows where one is too long
    ncols = len(labels) if figure.get_size_inches()[0] > 2.2 * len(labels) else -(-len(labels) // 2)
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize=9)


def signed_scale(ax: Any, axis: str, linear: float) -> None:
    """Logarithmic in both directions, linear between ±``linear``, with ticks at zero and at powers of ten far from it."""
    low, high = getattr(ax, f"get_{axis}lim")()
    getattr(ax, f"set_{axis}scale")("symlog", linthresh=linear, linscale=0.4)
    first = int(np.ceil(np.log10(linear))) + 1
    every = 1 if max(high, -low, linear) / linear < 1e3 else 2
    powers = [10.0**e for e in range(first, first + 12, every)]
    ticks = [-v for v in powers if v <= -low] + [0.0] + [v for v in powers if v <= high]
    getattr(ax, f"set_{axis}ticks")(sorted(ticks))
    getattr(ax, f"set_{axis}lim")(low, high)
    getattr(ax, f"{axis}axis").set_minor_locator(matplotlib_part("ticker").NullLocator())


def signed_bins(values: Array, linear: float, bins: int = 40) -> Array:
    """Edges of bins for eigenvalues of both signs: equal on a logarithmic axis, one for all within ±``linear``."""
    top, bottom = max(values.max(), 2 * linear), min(values.min(), -linear)
    return np.concatenate(
        [
            -np.geomspace(-bottom * 1.001, linear, bins // 3)[:-1] if bottom < -linear else np.zeros(0),
            [-linear, linear],
            np.geomspace(linear, top * 1.001, bins)[1:],
        ]
    )


def decade_ticks(ax: Any) -> None:
    """Labels on a logarithmic y-axis at powers of ten, and at 2 and 5 times them where there are fewer than two."""
    ticker = matplotlib_part("ticker")
    low, high = ax.get_ylim()
    powers = np.floor(np.log10(high)) - np.ceil(np.log10(low)) + 1
    subs = (1.0,) if powers >= 2 else (1.0, 2.0, 5.0)
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=subs))
    if powers < 2:
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())


def color_of(index: int) -> str:
    """The palette's colours, in turn."""
    return COLORS[index % len(COLORS)]


def shades(count: int, name: str = "viridis") -> list[Any]:
    """Colours of an ordered family, without the palest ones."""
    colormap = matplotlib_part("cm").ScalarMappable(cmap=name).get_cmap()
    return [colormap(v) for v in np.linspace(0.0, 0.82, max(count, 1))]
