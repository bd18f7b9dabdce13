"""A first look at any array with named axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.errors import InputError
from kernelcalc.output.style import axes_or_new, color_of, marker_size


def plot_values(ax: Any, name: str, values: Any, axes: Mapping[str, AnyArray]) -> Any:
    """Draw values along one named axis as points on a line, along two as colours (rows downwards, as in a matrix).

    Parameters
    ----------
    ax : matplotlib axes or None
        Where to draw; new axes by default.
    name : str
        Of the values, for the label.
    values : array_like, (A,) or (A, B)
    axes : mapping of one or two names to arrays
        Coordinates.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    ax = axes_or_new(ax)
    array = np.asarray(values, dtype=np.float64)
    (first, at), *others = axes.items()
    if not others:
        ax.plot(at, array, marker="o", ms=marker_size(0.5), color=color_of(0))
        ax.set_xlabel(_words(first))
        ax.set_ylabel(_words(name))
        return ax
    second, along = others[0]
    values = np.ma.masked_invalid(array)
    if all(_uniform(axis) for axis in (along, at)):
        # as an image, which is fast for any size
        left, right, bottom, top = (end for axis in (along, at) for end in _ends(axis))
        mesh = ax.imshow(values, extent=(left, right, bottom, top), origin="lower", aspect="auto")
    else:
        mesh = ax.pcolormesh(along, at, values, shading="nearest", rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label=_words(name))
    ax.set_xlabel(_words(second))
    ax.set_ylabel(_words(first))
    if first == "row":
        ax.invert_yaxis()
        ax.set_aspect("equal")
    return ax


def plot_columns(ax: Any, columns: Mapping[str, AnyArray]) -> Any:
    """Draw columns of numbers as points against the first of them, or a single one against its row.

    Columns of text, and what is not finite, are left out.

    Parameters
    ----------
    ax : matplotlib axes or None
        Where to draw; new axes by default.
    columns : mapping from str to (rows,) array

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        No column has numbers.
    MissingExtraError
        matplotlib is not installed.
    """
    ax = axes_or_new(ax)
    numbers = {
        name: np.asarray(column, dtype=np.float64) for name, column in columns.items() if column.dtype.kind in "biuf"
    }
    if not numbers:
        raise InputError("a table with a column of numbers", ", ".join(columns))
    first, *others = numbers
    at = numbers[first] if others else np.arange(numbers[first].size)
    for place, name in enumerate(others or [first]):
        ax.plot(at, numbers[name], marker="o", ls="", ms=marker_size(0.5), color=color_of(place), label=_words(name))
    ax.set_xlabel(_words(first) if others else "row")
    ax.legend()
    return ax


def _uniform(at: AnyArray) -> bool:
    """Whether steps are equal, to what a picture shows."""
    steps = np.diff(at)
    return steps.size > 0 and bool((np.abs(steps - steps[0]) <= 1e-6 * np.abs(steps[0])).all() and steps[0] != 0)


def _ends(at: AnyArray) -> tuple[float, float]:
    """Half a step beyond the first and the last."""
    half = (at[1] - at[0]) / 2
    return float(at[0] - half), float(at[-1] + half)


def _words(name: str) -> str:
    return name.replace("_", " ")
