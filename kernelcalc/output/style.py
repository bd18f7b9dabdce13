"""What all pictures share: colours and sizes of the style in force, panels that fit its width, and matplotlib when needed.

Nothing here has a colour or a size of its own: curves take the style's cycle, grey lines lie between its background and its
text, widths and markers are multiples of its own, and a figure is as wide as ``figure.figsize`` says.
"""

from __future__ import annotations

import importlib
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arguments import shown
from kernelcalc.arrays import AnyArray
from kernelcalc.errors import InputError, MissingExtraError, UnknownNameError

# Okabe & Ito's palette, which colour-blind readers can tell apart ("Color Universal Design", 2008); dark ones first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Inches of one column and of the text of two columns, as in the styles of ICML and of many journals.
WIDTHS = {"column": 3.25, "text": 6.75}
# What pictures of the command line look like where neither the user's matplotlibrc nor a style says something else.
HOUSE: dict[str, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "figure.titlesize": 9.0,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "axes.linewidth": 0.7,
    "axes.titlepad": 4.0,
    "legend.frameon": False,
    "savefig.dpi": 300.0,
}
# Smallest text in print, in points.
LEAST_TEXT = 7.0
_TEXTS = tuple(key for key in HOUSE if key.endswith("size") and key != "lines.markersize")
# Inches: the narrowest panel whose labels do not collide, the width beyond which one grows no taller, limits of a width.
LEAST_PANEL, _TALL, _NARROWEST, _WIDEST = 1.9, 4.0, 1.5, 40.0
# A letter's mean width in parts of its height (measured with DejaVu Sans, matplotlib's own).
_LETTER = 0.56
_NO_BREAK = "\x00"
_PRINTED = {
    name.lower(): name
    for name in (
        "ReLU",
        "GELU",
        "SiLU",
        "ELU",
        "SELU",
        "CELU",
        "PReLU",
        "RReLU",
        "ReLU6",
        "GLU",
        "CReLU",
        "ISRU",
        "LiSHT",
    )
}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def matplotlib_part(name: str) -> Any:
    """The module ``matplotlib.name``.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    try:
        return importlib.import_module(f"matplotlib.{name}")
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot", "plotting") from error


def require_matplotlib() -> None:
    """Raise :class:`~kernelcalc.errors.MissingExtraError` now rather than after a long computation."""
    matplotlib_part("figure")


def axes_or_new(ax: Any) -> Any:
    """The axes given, or new ones.

    Raises
    ------
    InputError
        Something else than axes.
    """
    if ax is not None and not callable(getattr(ax, "errorbar", None)):
        raise InputError("ax, axes of matplotlib", shown(ax))
    return matplotlib_part("pyplot").subplots(layout="constrained")[1] if ax is None else ax


def setting(name: str) -> Any:
    """matplotlib's own ``rcParams[name]``."""
    return matplotlib_part("pyplot").rcParams[name]


def color_of(index: int) -> str:
    """A colour of the style's cycle."""
    colors = setting("axes.prop_cycle").by_key().get("color") or [ink()]
    return str(matplotlib_part("colors").to_hex(colors[index % len(colors)]))


def ink(share: float = 1.0, color: Any = None) -> str:
    """Between the axes' background (0) and the style's text (1), or another colour."""
    to_rgb = matplotlib_part("colors").to_rgb
    front, back = setting("text.color") if color is None else color, setting("axes.facecolor")
    mixed = share * np.array(to_rgb(front)) + (1 - share) * np.array(to_rgb(back))
    return str(matplotlib_part("colors").to_hex(mixed))


def shaded(index: int) -> str:
    """A colour of the cycle with a quarter of the text's: marks on lines of that colour."""
    to_rgb = matplotlib_part("colors").to_rgb
    mixed = 0.72 * np.array(to_rgb(color_of(index))) + 0.28 * np.array(to_rgb(setting("text.color")))
    return str(matplotlib_part("colors").to_hex(mixed))


def line_width(factor: float = 1.0) -> float:
    """A multiple of the style's line width."""
    return factor * float(setting("lines.linewidth"))


def marker_size(factor: float = 1.0) -> float:
    """A multiple of the style's marker size."""
    return factor * float(setting("lines.markersize"))


def panels(count: int, *, ratio: float = 0.78, most: int = 3, least: float = LEAST_PANEL, **options: Any) -> Any:
    """A figure as wide as the style says, attached to no window, and ``count`` axes in as many columns as fit.

    Parameters
    ----------
    count : int
    ratio : float
        Height of a panel over its width, labels included.
    most : int
        Columns at most.
    least : float
        Inches of the narrowest panel.
    **options
        Of ``Figure.subplots``.

    Returns
    -------
    (matplotlib.figure.Figure, array of axes)
    """
    width = float(setting("figure.figsize")[0])
    columns = max(n for n in range(1, max(1, min(count, most)) + 1) if n == 1 or fits(n, least))
    rows = -(-count // columns)
    height = rows * ratio * min(width / columns, _TALL)
    figure = matplotlib_part("figure").Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def fits(columns: int, least: float = LEAST_PANEL) -> bool:
    """Whether so many panels of that width stand side by side in the style's figure."""
    return columns * least <= float(setting("figure.figsize")[0])


def first_in_row(axes: AnyArray) -> list[bool]:
    """Which of the axes stand at the left."""
    return [bool(ax.get_subplotspec().is_first_col()) for ax in axes]


def legend_below(figure: Any, handles: Sequence[Any], **options: Any) -> Any:
    """One legend under all axes, in as many columns as the figure is wide, and the figure grown by its height."""
    canvas = matplotlib_part("backends.backend_agg").FigureCanvasAgg(figure)
    renderer, legend = canvas.get_renderer(), None
    for columns in range(len(handles), 0, -1):
        if legend is not None:
            legend.remove()
        legend = figure.legend(
            handles=handles, loc="outside lower center", ncols=columns, handlelength=1.6, columnspacing=1.2, **options
        )
        if legend.get_window_extent(renderer).width <= 0.98 * figure.bbox.width:
            break
        for text in legend.get_texts() if columns == 1 else ():
            text.set_text(text.get_text().replace(", ", ",\n"))
    if legend is not None:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + legend.get_window_extent(renderer).height / figure.dpi)
    return legend


def finish(figure: Any) -> None:
    """Break titles that are wider than what they stand over."""
    width = figure.get_size_inches()[0]
    for ax in figure.axes:
        spec = ax.get_subplotspec()
        share = 1.0 if spec is None else (spec.colspan.stop - spec.colspan.start) / spec.get_gridspec().ncols
        _break(ax.title, share * width - 0.45)
    if figure.get_suptitle():
        _break(figure._suptitle if hasattr(figure, "_suptitle") else None, width)


@contextmanager
def laid_out(figure: Any) -> Iterator[None]:
    """The figure's layout made once, at the resolution of files of pixels, and off within the block.

    Saving a figure that has a layout draws it twice, the first time for the layout alone (of matplotlib 3.10).
    """
    engine, shown_dpi, dpi = figure.get_layout_engine(), figure.dpi, setting("savefig.dpi")
    try:
        if engine is not None:
            figure.dpi = shown_dpi if dpi == "figure" else dpi
            engine.execute(figure)
            figure.dpi = shown_dpi
            figure.set_layout_engine(None)
        yield
    finally:
        figure.dpi = shown_dpi
        figure.set_layout_engine(engine)


def _break(title: Any, inches: float) -> None:
    if title is None:
        return
    most = int(inches * 72 / (_LETTER * title.get_fontsize()))
    # formulas stay whole
    whole = re.sub(r"\$[^$]*\$", lambda found: found[0].replace(" ", _NO_BREAK), title.get_text())
    lines = [textwrap.fill(line, max(most, 12), break_long_words=False) for line in whole.splitlines()]
    title.set_text("\n".join(lines).replace(_NO_BREAK, " "))


@contextmanager
def applied(style: Sequence[str] = (), width: float | None = None) -> Iterator[None]:
    """Within the block pictures have the house's look where the user's matplotlibrc has none, these styles, that width.

    Text is never smaller than 7 points, files are as wide as the figure, labels are set without LaTeX.

    Parameters
    ----------
    style : sequence of str
        Names that matplotlib knows (SciencePlots' too, where it is installed), or ``.mplstyle`` files.
    width : float, optional
        Inches; by default what the styles say, else that of two columns.

    Raises
    ------
    UnknownNameError
        No such style.
    """
    pyplot, base = matplotlib_part("pyplot"), matplotlib_part("style")
    with pyplot.rc_context():
        now, first = pyplot.rcParams, pyplot.rcParamsDefault
        now.update({key: value for key, value in HOUSE.items() if now[key] == first[key]})
        if now["axes.prop_cycle"] == first["axes.prop_cycle"]:
            now["axes.prop_cycle"] = matplotlib_part("rcsetup").cycler(color=COLORS)
        size = list(now["figure.figsize"])
        for name in style:
            _use(base, name)
        if width is not None or list(now["figure.figsize"]) == size == list(first["figure.figsize"]):
            inches = WIDTHS["text"] if width is None else width
            now["figure.figsize"] = (inches, 0.75 * inches)
        properties = matplotlib_part("font_manager").FontProperties
        for key in _TEXTS:
            if now[key] is not None and properties(size=now[key]).get_size_in_points() < LEAST_TEXT:
                now[key] = LEAST_TEXT
        now.update({"savefig.bbox": None, "text.usetex": False, "svg.hashsalt": "kernelcalc"})
        yield


def check_styles(style: Sequence[str]) -> None:
    """Raise :class:`~kernelcalc.errors.UnknownNameError` now for a style that matplotlib does not know."""
    with applied(style):
        pass


def _use(base: Any, name: str) -> None:
    if name not in base.available and not name.endswith(".mplstyle") and name != "default":
        # it adds its styles to matplotlib's, by functions that matplotlib warns of
        with suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("scienceplots")
    try:
        if Path(name).is_file() and not re.search(rb"^\s*[a-z][\w.]*\s*:", Path(name).read_bytes(), re.MULTILINE):
            raise InputError("a style file, with lines such as font.size: 9", name)
        base.use(name)
    except (OSError, UnicodeDecodeError) as error:
        raise UnknownNameError("a style of matplotlib", name, base.available) from error


def inches_of(text: str) -> float:
    """Inches of ``"column"``, ``"text"`` or a number.

    Examples
    --------
    >>> inches_of("column"), inches_of("5.5")
    (3.25, 5.5)
    """
    if text in WIDTHS:
        return WIDTHS[text]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not _NARROWEST <= value <= _WIDEST:
        raise InputError(f"a width 'column', 'text' or from {_NARROWEST:g} to {_WIDEST:g} inches", repr(text))
    return value


def printed(name: str) -> str:
    """A nonlinearity's name as one would print it.

    Examples
    --------
    >>> printed("normalized smooth_relu"), printed("smooth_relu(scale=0.5)"), printed("x**2*erf(x)")
    ('normalized smooth ReLU', 'smooth ReLU(scale=0.5)', 'x² erf(x)')
    """
    text = re.sub(r"\*\*(\d+)", lambda found: found[1].translate(_SUPERSCRIPTS), name)
    text = re.sub(r"(?<=[\w)⁰¹²³⁴⁵⁶⁷⁸⁹])\s*\*(?!\*)\s*", " ", text).replace("_", " ")
    return re.sub(r"[A-Za-z]\w*", lambda found: _PRINTED.get(found[0].lower(), found[0]), text)
