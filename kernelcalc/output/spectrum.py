"""Spectrum of I: eigenvalues against their rank and their density, with the outliers and the scale of the bulk of S."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
from kernelcalc.output.pictures import grid
from kernelcalc.output.style import axes_or_new, color_of, ink, legend_below, line_width, marker_size, panels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike

BINS_A_DECADE = 6
# Pictures of components in a row.
_ACROSS = 6
# Eigenvalues below this part of the largest are rounding.
NOTHING = 1e-13
RULE_STYLES = {"gap": ("largest gap", "-"), "ratio": ("largest ratio", "--"), "cutoff": ("elbow", ":")}


class Eigenvalues(Protocol):
    """What holds eigenvalues, the largest first."""

    @property
    def values(self) -> Array:
        """(R,)."""


def plot_scree(
    spectrum: Eigenvalues,
    ax: Any = None,
    *,
    predicted: ArrayLike | None = None,
    outliers: Mapping[str, int] | None = None,
    bulk: float | None = None,
) -> Any:
    """Draw the eigenvalues of I against their rank, both on logarithmic axes.

    Parameters
    ----------
    spectrum : Eigenvalues
        What :func:`kernelcalc.spectrum_of_i` returns.
    ax : matplotlib axes, optional
        Where to draw; new axes by default.
    predicted : array_like, optional
        Outliers predicted from cluster means (:func:`kernelcalc.studies.spectrum.cluster_spectrum`), as open circles.
    outliers : mapping, optional
        Number of outliers by rule, as vertical lines: ``{"gap": 1, "ratio": 10, "cutoff": 12}``.
    bulk : float, optional
        Root mean square eigenvalue of S, as a horizontal line.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    values = _positive(spectrum.values)
    ax.plot(
        np.arange(1, values.size + 1),
        values,
        ".",
        color=color_of(0),
        ms=marker_size(0.8),
        label="eigenvalues of $I$",
        zorder=3,
    )
    if predicted is not None:
        means = _positive(np.asarray(predicted, dtype=np.float64))
        rank = np.arange(1, means.size + 1)
        ax.plot(rank, means, "o", mfc="none", mec=color_of(1), ms=marker_size(1.1), label="from class means", zorder=4)
    for index, (rule, number) in enumerate((outliers or {}).items()):
        name, style = RULE_STYLES.get(rule, (rule, "-."))
        ax.axvline(
            number + 0.5, color=color_of(2 + index), lw=line_width(0.8), ls=style, label=f"{name}: {number}", zorder=2
        )
    if bulk is not None and bulk > 0:
        ax.axhline(
            bulk, color=ink(0.65), lw=line_width(0.8), ls=(0, (5, 2)), label="scale of the bulk of $S$", zorder=2
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(0.85, max(values.size, 2) * 1.2)
    ax.set_xlabel("rank")
    ax.set_ylabel(r"eigenvalue $\lambda$")
    return ax


def plot_density(
    spectrum: Eigenvalues,
    ax: Any = None,
    *,
    bulk: float | None = None,
    law: Callable[[Array], Array] | None = None,
) -> Any:
    """Draw the histogram of log λ of the eigenvalues of I, with the scale of the bulk of S.

    Parameters
    ----------
    spectrum : Eigenvalues
        What :func:`kernelcalc.spectrum_of_i` returns.
    ax : matplotlib axes, optional
        Where to draw; new axes by default.
    bulk : float, optional
        Root mean square eigenvalue of S, as a vertical line.
    law : callable, optional
        A distribution function to draw over the histogram as numbers of eigenvalues in its bins.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    values = np.log10(_positive(spectrum.values))
    low, high = np.floor(values.min()), np.ceil(values.max() + 1e-9)
    edges = np.linspace(low, high, int(BINS_A_DECADE * max(high - low, 1)) + 1)
    ax.hist(10**values, bins=10**edges, color=color_of(0), alpha=0.85, label="eigenvalues of $I$")
    if law is not None:
        shares = np.diff(law(10**edges))
        label = "sampled by independent parameters"
        ax.stairs(values.size * shares, 10**edges, color=color_of(1), lw=line_width(1.0), label=label)
    if bulk is not None and bulk > 0:
        ax.axvline(bulk, color=ink(0.65), lw=line_width(0.8), ls=(0, (5, 2)), label="scale of the bulk of $S$")
    ax.set_xscale("log")
    # A single outlier stays visible beside thousands of eigenvalues.
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.6)
    ax.set_xlabel(r"eigenvalue $\lambda$")
    ax.set_ylabel(f"eigenvalues per 1/{BINS_A_DECADE} decade")
    return ax


def spectrum_figure(
    spectrum: Eigenvalues,
    *,
    title: str = "",
    predicted: ArrayLike | None = None,
    outliers: Mapping[str, int] | None = None,
    bulk: float | None = None,
    width: int | None = None,
    law: Callable[[Array], Array] | None = None,
) -> Any:
    """Rank plot and histogram side by side, with a common legend below.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    figure, (left, right) = panels(2)
    plot_scree(spectrum, left, predicted=predicted, outliers=outliers, bulk=bulk)
    plot_density(spectrum, right, bulk=bulk, law=law)
    if title:
        figure.suptitle(title)
    handles, labels = left.get_legend_handles_labels()
    for handle, label in zip(*right.get_legend_handles_labels(), strict=True):
        if label not in labels:
            handles, labels = [*handles, handle], [*labels, label]
    if width is not None:
        labels = [f"{label}, width {width}" if "bulk" in label else label for label in labels]
    legend_below(figure, handles, labels=labels)
    return figure


def classes_figure(columns: Mapping[str, Array]) -> Any:
    """Eigenvalues of I beside those of its class, cross-class, own-class and within-class parts; shares of its eigenvectors.

    Parameters
    ----------
    columns : mapping
        rank, eigenvalue, class, cross, own, within, class_share, mean_share; not a number where a part has fewer.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    figure, (left, right) = panels(2)
    rank, least = columns["rank"], NOTHING * np.nanmax(columns["eigenvalue"])
    names = {"eigenvalue": "$I$", "class": "class", "cross": "cross-class", "own": "own class", "within": "within"}
    for index, (column, name) in enumerate(names.items()):
        shown = columns[column] > least
        style = {"ls": "none", "marker": ".ox+v"[index], "ms": marker_size(0.8), "mfc": "none" if index == 1 else None}
        left.loglog(rank[shown], columns[column][shown], color=color_of(index), label=name, **style)
    left.set_xlabel("rank")
    left.set_ylabel(r"eigenvalue $\lambda$")
    for index, name in ((1, "class"), (2, "mean")):
        label = f"span of {'class' if index == 1 else 'all'} means"
        right.semilogx(rank, columns[f"{name}_share"], ".", color=color_of(index), ms=marker_size(0.8), label=label)
    right.set_xlabel("rank")
    right.set_ylabel("share of the eigenvector of $I$")
    pairs = [pair for ax in (left, right) for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    legend_below(figure, [handle for handle, _ in pairs], labels=[label for _, label in pairs])
    return figure


def components_figure(values: Array, pictures: Array) -> Any:
    """Kernel principal components as square pictures, with their eigenvalues above.

    Parameters
    ----------
    values : ndarray, (K,)
    pictures : ndarray, (K, side²)

    Raises
    ------
    InputError
        Points that are no square pictures.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    side = math.isqrt(pictures.shape[1])
    if side**2 != pictures.shape[1]:
        raise InputError("points of a square number of pixels", f"{pictures.shape[1]} inputs")
    columns = min(len(values), _ACROSS)
    figure, axes = grid(-(-len(values) // columns), columns, ratio=1.15)
    for ax in axes.ravel():
        ax.set_axis_off()
    for ax, value, picture in zip(axes.ravel(), values, pictures, strict=False):
        top = np.abs(picture).max()
        ax.imshow(picture.reshape(side, side), cmap="RdBu_r", vmin=-top, vmax=top)
        ax.set_title(rf"$\lambda = {value:.3g}$")
    return figure


def _positive(values: Array) -> Array:
    kept: Array = values[values > NOTHING * values.max()]
    return kept
