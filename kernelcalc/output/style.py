"""What all pictures share: the palette, axes to draw on, and matplotlib, which is loaded when first needed."""

from __future__ import annotations

import importlib
from typing import Any

from kernelcalc.errors import MissingExtraError

# Okabe & Ito's palette, which colour-blind readers can tell apart ("Color Universal Design", 2008); dark ones first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


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
    """The axes given, or new ones."""
    return matplotlib_part("pyplot").subplots(layout="constrained")[1] if ax is None else ax
