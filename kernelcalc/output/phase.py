r"""Phase diagrams: χ as colour over (σ_w, β), order and chaos on the two sides of the line χ = 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
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
    printed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Colours end at this factor from χ = 1: beyond, only the side matters.
CHI_RANGE = 4.0
# A region that holds no square of this part of the plane's height gets no name.
ROOM = 0.12


class Phases(Protocol):
    """q* and χ over a plane of σ_w and β."""

    @property
    def activation(self) -> str:
        """Name of the nonlinearity."""

    @property
    def sigma_w(self) -> Array:
        """(A,)."""

    @property
    def beta(self) -> Array:
        """(B,)."""

    @property
    def q(self) -> Array:
        """(B, A)."""

    @property
    def chi(self) -> Array:
        """(B, A), NaN where the variance grows without bound."""

    @property
    def line(self) -> tuple[Array, Array, Array]:
        """σ_w, β and q of the critical line."""


class Profiled(Protocol):
    """Two points behind so many blocks."""

    @property
    def depth(self) -> NDArray[np.intp]:
        """(D,)."""

    @property
    def correlation(self) -> Array:
        """(D,)."""


def plot_phase(diagram: Phases, ax: Any = None, *, quantity: str = "chi", names: bool = True) -> Any:
    r"""Draw χ (blue: order, red: chaos) or q* over the plane, with the critical line χ = 1, which may be a point.

    Parameters
    ----------
    diagram : Phases
        What :func:`kernelcalc.phase_diagram` returns.
    ax : matplotlib axes, optional
        Where to draw; new axes by default.
    quantity : {"chi", "q", "depth"}
        What the colours show: χ, the fixed point q* or the correlation depth 1/\|log χ\|.
    names : bool
        Write "order", "chaos" and "no fixed point" into the regions.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        Another quantity.
    MissingExtraError
        matplotlib is not installed.
    """
    if quantity not in ("chi", "q", "depth"):
        raise InputError("quantity 'chi', 'q' or 'depth'", repr(quantity))
    colors = matplotlib_part("colors")
    ax = axes_or_new(ax)
    with np.errstate(divide="ignore"):
        values = {"chi": diagram.chi, "q": diagram.q, "depth": 1 / np.abs(np.log(diagram.chi))}[quantity]
    if quantity == "chi":
        norm, cmap, label = colors.LogNorm(1 / CHI_RANGE, CHI_RANGE), "RdBu_r", r"$\chi$"
        ticks: Any = [0.25, 0.5, 1, 2, 4]
    else:
        finite = values[np.isfinite(values) & (values > 0)]
        low, high = (
            (np.quantile(finite, (0.02, 0.98)) if finite.size else (1.0, 10.0)) if quantity == "q" else (0.3, 30)
        )
        norm, cmap, ticks = colors.LogNorm(low, max(high, 1.01 * low)), "YlGn", None
        label = "$q^*$" if quantity == "q" else "layers"
    mesh = ax.pcolormesh(
        diagram.sigma_w, diagram.beta, np.ma.masked_invalid(np.maximum(values, norm.vmin)), norm=norm, cmap=cmap,
        shading="gouraud" if np.isfinite(diagram.chi).all() else "nearest", rasterized=True,
    )  # fmt: skip
    bar = ax.figure.colorbar(mesh, ax=ax, ticks=ticks, extend="both", pad=0.02, aspect=28)
    bar.ax.set_title(label)
    if ticks:
        bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])
        bar.ax.minorticks_off()
    ax.set_facecolor(ink(0.2))
    window = ((diagram.sigma_w[0], diagram.sigma_w[-1]), (diagram.beta[0], diagram.beta[-1]))
    line = diagram.line
    inside = (line[0] <= window[0][1]) & (line[1] <= window[1][1])
    if inside.any():
        look = {"lw": line_width(1.1), "label": r"critical line $\chi = 1$"}
        if line[0].size == 1:
            look = {
                "marker": "o",
                "ms": marker_size(0.9),
                "ls": "none",
                "clip_on": False,
                "label": r"critical point $\chi = 1$",
            }
        ax.plot(*_reached(diagram), color="k", zorder=3, **look)
    if names:
        regions = {"order": diagram.chi < 1, "chaos": diagram.chi > 1, "no fixed point": np.isnan(diagram.chi)}
        for name, region in regions.items():
            _name(ax, diagram, region, name)
    ax.set_xlim(window[0])
    ax.set_ylim(window[1])
    ax.set_xlabel(r"weights $\sigma_w$")
    ax.set_ylabel(r"biases $\beta$")
    return ax


def plot_stack(profile: Profiled, ax: Any = None, *, label: str | None = None) -> Any:
    """1 − ρ of two points against the number of blocks, both logarithmic: a power of depth is a straight line.

    Parameters
    ----------
    profile : Profiled
        What :func:`kernelcalc.stack_profile` returns.
    ax : matplotlib axes, optional
        Where to draw; new axes by default.
    label : str, optional
        For the legend.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    ax.loglog(profile.depth, 1 - profile.correlation, lw=line_width(), label=label)
    ax.set_xlabel("blocks")
    ax.set_ylabel(r"$1 - \rho$")
    return ax


def mark_setting(ax: Any, label: str, sigma_w: float, beta: float, *, marker: str = "o") -> None:
    """A marker at (σ_w, β), if the axes reach there."""
    for value, (low, high) in ((sigma_w, ax.get_xlim()), (beta, ax.get_ylim())):
        if not low <= value <= high:
            return
    ax.plot(sigma_w, beta, label=label, zorder=5, clip_on=False, **_mark(marker))


def phase_figure(plain: Phases, normalized: Phases | None, sigma_w: float, beta: float, label: str) -> Any:
    r"""χ and q* of a nonlinearity, and χ of its normalised form with the circle σ_w² + β² = 1 on which q* = 1.

    Parameters
    ----------
    plain, normalized : Phases
        The second is left out where the nonlinearity cannot be normalised.
    sigma_w, beta : float
        Marked in the panels of the plain nonlinearity; the normalised one is marked on the circle at the same β.
    label : str
        Of that mark in the legend.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = panels(2 if normalized is None else 3, most=2)
    name = printed(plain.activation)
    plot_phase(plain, axes[0])
    plot_phase(plain, axes[1], quantity="q", names=False)
    axes[0].set_title(rf"{name}: growth $\chi$ of small differences")
    axes[1].set_title(rf"{name}: fixed point $q^*$ of the variance")
    for ax in axes[:2]:
        mark_setting(ax, label, sigma_w, beta)
    if normalized is not None:
        ax = plot_phase(normalized, axes[2])
        angle = np.linspace(0, np.pi / 2, 200)
        ax.plot(np.cos(angle), np.sin(angle), color="k", lw=line_width(0.9), ls=(0, (4, 2)), zorder=4)
        mark_setting(ax, "", float(np.sqrt(1 - beta**2)), beta, marker="s")
        ax.set_title(rf"normalized {name}: growth $\chi$")
    for ax, left in zip(axes, first_in_row(axes), strict=True):
        if not left:
            ax.set_ylabel("")
    lines = matplotlib_part("lines").Line2D
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    # black on the map's colours, in the legend the colour of its text
    for label, drawn in found.items():
        if drawn.get_color() == "k" and drawn.get_marker() != "s" and "critical" in label:
            look = {"ls": drawn.get_linestyle(), "marker": drawn.get_marker(), "ms": drawn.get_markersize()}
            found[label] = lines([], [], color=ink(), label=label, **look)
    handles = list(found.values())
    if normalized is not None:
        handles.append(
            lines(
                [],
                [],
                color=ink(),
                lw=line_width(0.9),
                ls=(0, (4, 2)),
                label=r"$\sigma_w^2 + \beta^2 = 1$, where $q^* = 1$",
            )
        )
        handles.append(lines([], [], label=rf"normalized, $\beta = {beta:g}$", **_mark("s")))
    legend_below(figure, handles)
    return figure


def _mark(marker: str) -> dict[str, Any]:
    # over any of the map's colours
    return {"marker": marker, "ms": marker_size(1.3), "mfc": "#E69F00", "mec": "k", "ls": "none"}


def _reached(diagram: Phases) -> tuple[Array, Array]:
    """The critical line where its fixed points are stable or nearly so: NaN more than two cells from any that are."""
    from scipy.ndimage import binary_dilation

    sigma_w, beta, _ = diagram.line
    near = binary_dilation(np.isfinite(diagram.q), iterations=2)
    column = np.abs(diagram.sigma_w[:, None] - sigma_w).argmin(axis=0)
    row = np.abs(diagram.beta[:, None] - beta).argmin(axis=0)
    return sigma_w, np.where(near[row, column], beta, np.nan)


def _name(ax: Any, diagram: Phases, region: NDArray[np.bool_], name: str) -> None:
    """Write at the point of the region farthest from its border."""
    from scipy.ndimage import distance_transform_edt

    effects = matplotlib_part("patheffects")

    distance = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), region.shape)
    if 2 * distance[row, column] < max(ROOM * min(region.shape), 3.0):
        return
    ax.text(
        diagram.sigma_w[column], diagram.beta[row], name, ha="center", va="center", color="k", style="italic", zorder=6,
        path_effects=[effects.withStroke(linewidth=2.5, foreground="w")],
    )  # fmt: skip


class Depths(Protocol):
    """Spectra of Θ of several depths."""

    @property
    def depth(self) -> NDArray[np.intp]:
        """(D,)."""

    @property
    def eigenvalues(self) -> Array:
        """(D, N), descending."""


def depth_figure(profiles: Mapping[str, Depths]) -> Any:
    """Eigenvalues of Θ over its mean diagonal entry against depth, a panel for each profile.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    figure, axes = panels(len(profiles))
    for ax, (title, profile) in zip(np.atleast_1d(axes), profiles.items(), strict=True):
        values = profile.eigenvalues
        for rank in range(values.shape[1]):
            # the first and the last stand out
            end = rank in (0, values.shape[1] - 1)
            ax.plot(
                profile.depth,
                np.where(values[:, rank] > 0, values[:, rank], np.nan),
                color=color_of(0) if end else ink(0.55),
                lw=line_width(1.1 if end else 0.35),
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("depth $L$")
        ax.set_ylabel(r"eigenvalues of $\Theta$ / mean diagonal")
        ax.set_title(title)
    return figure
