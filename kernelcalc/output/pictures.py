"""What the experiments' pictures share: a grid of axes, and axes for eigenvalues of both signs."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelcalc.arrays import Array
from kernelcalc.output.style import LEAST_PANEL, fits, ink, legend_below, line_width, matplotlib_part, panels, setting


def theory_line() -> dict[str, Any]:
    """How a line of the limit looks."""
    return {"color": ink(0.85), "lw": line_width(0.93), "zorder": 4}


def grid(rows: int, columns: int, *, title: str = "", ratio: float = 0.78, least: float = LEAST_PANEL) -> Any:
    """A figure attached to no window and its axes (rows, columns), which stand in fewer columns where the width is small."""
    fitting = next(n for n in range(columns, 0, -1) if columns % n == 0 and (n == 1 or fits(n, least)))
    figure, axes = panels(rows * columns, ratio=ratio, most=fitting, least=0.0)
    if title:
        figure.suptitle(title)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.25)
    return figure, axes.reshape(rows, columns)


def below(figure: Any, ax: Any) -> None:
    """The legend of one of the axes, below all of them."""
    legend_below(figure, ax.get_legend_handles_labels()[0])


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


def shades(count: int, name: str = "viridis") -> list[Any]:
    """Colours of an ordered family, without the palest ones."""
    colormap = matplotlib_part("cm").ScalarMappable(cmap=name).get_cmap()
    dark = matplotlib_part("colors").rgb_to_hsv(matplotlib_part("colors").to_rgb(setting("axes.facecolor")))[2] < 0.5
    return [colormap(v) for v in np.linspace(0.18 if dark else 0.0, 1.0 if dark else 0.82, max(count, 1))]
