"""The base of what computations hand back."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import math
import os
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.errors import InputError, MissingExtraError
from kernelcalc.output.overview import plot_values
from kernelcalc.output.style import matplotlib_part
from kernelcalc.results.storage import write_result
from kernelcalc.version import __version__

# Rows of the table and inches of the picture that a notebook shows.
_ROWS, _INCHES = 7, (3.6, 2.4)
# Its dots per inch, fewer where it is wider than so many inches.
_PREVIEW_DPI, _PREVIEW_WIDTH = 100, 4.0
# Rows of a table that is made whole to show its beginning.
_WHOLE_TABLE = 10_000


def axes(**names: str) -> dict[str, tuple[str, ...]]:
    """Axes of arrays by the arrays' names, each a text such as ``"k time"``.

    Examples
    --------
    >>> axes(loss="time", trace_h="k time")
    {'loss': ('time',), 'trace_h': ('k', 'time')}
    """
    return {name: tuple(text.split()) for name, text in names.items()}


def origin_of(kernels: Any) -> dict[str, Any]:
    """What kernels were computed from, if they know."""
    return kernels.origin if isinstance(kernels, Result) else {}


def seed_of(rng: Any) -> int | str | None:
    """What to remember of a seed or a generator."""
    return int(rng) if isinstance(rng, int | np.integer) else None if rng is None else type(rng).__name__


class Result:
    """What a computation hands back: a short text, a table, named dimensions, a picture and a file of it.

    A subclass is a frozen dataclass without ``eq`` and ``repr`` of its own. It names the axes of its arrays in
    :attr:`DIMENSIONS`; where these have more natural coordinates than 0, 1, 2, ..., it says so in :meth:`coordinates`.
    """

    DIMENSIONS: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Axes of every array, fields and properties, by its name; those that are ``None`` are left out."""
    TABLE: ClassVar[str] = ""
    """Axes that the rows of the table run over, by default those of the array with the most."""

    @property
    def origin(self) -> dict[str, Any]:
        """What it was computed from as far as that is known: network, digest of the data, seed."""
        return dict(self.__dict__.get("_origin", {}))

    def with_origin(self, **known: Any) -> Self:
        """Remembers what it was computed from, as JSON values, and returns the same object."""
        before = self.__dict__.get("_origin", {})
        self.__dict__["_origin"] = before | {name: value for name, value in known.items() if value is not None}
        return self

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        """Axes of the arrays that are there, by name."""
        return {name: own for name, own in self.DIMENSIONS.items() if self.array(name) is not None}

    def array(self, name: str) -> Any:
        """One of the arrays with named axes."""
        return getattr(self, name)

    def coordinates(self) -> dict[str, Any]:
        """Values along axes that have other ones than 0, 1, 2, ..."""
        return {}

    def meanings(self) -> dict[str, str]:
        """What the arrays are, in a few words, where the name does not say it."""
        return {}

    def scalars(self) -> dict[str, Any]:
        """Fields that are a single number or text."""
        fields = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        values = {name: getattr(self, name) for name in fields}
        plain = {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}
        return {name: value for name, value in plain.items() if isinstance(value, bool | int | float | str)}

    def _axes(self) -> dict[str, AnyArray]:
        """Coordinates of every axis."""
        found = {name: np.asarray(values) for name, values in self.coordinates().items()}
        for name, own in self.dimensions().items():
            for axis, size in zip(own, np.shape(self.array(name)), strict=True):
                found.setdefault(axis, np.arange(size))
        return found

    def columns(self) -> dict[str, AnyArray]:
        """A tidy table: a row for each element of the array with the most axes, and a column for all that fit to them."""
        return self._tidy() or {name: np.array([value]) for name, value in self.scalars().items()}

    def _along(self) -> tuple[str, ...]:
        """Axes that the rows of the table run over."""
        return tuple(self.TABLE.split()) or max(self.dimensions().values(), key=len, default=())

    def _tidy(self, first: int | None = None) -> dict[str, AnyArray]:
        """The table, or what belongs to the first few values of its first axis."""
        along, coordinates = self._along(), self._axes()
        kept = {axis: coordinates[axis][:first] if axis == along[0] else coordinates[axis] for axis in along}
        shape = tuple(map(len, kept.values()))
        rows = dict(zip(along, map(np.ravel, np.meshgrid(*kept.values(), indexing="ij")), strict=True)) if along else {}
        for name, own in self.dimensions().items():
            if name not in rows and set(own) <= set(along):
                part = tuple(slice(first) if axis == along[0] else slice(None) for axis in own)
                order = sorted(range(len(own)), key=lambda i: along.index(own[i]))
                array = np.transpose(np.asarray(_lazy_or_array(self.array(name))[part]), order)
                spread = array[tuple(slice(None) if axis in own else None for axis in along)]
                rows[name] = np.broadcast_to(spread, shape).ravel()
        return rows

    def to_dataframe(self) -> Any:
        """The tidy table as :class:`pandas.DataFrame`; ``attrs`` has the single numbers and what they were computed from.

        Raises
        ------
        MissingExtraError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("pandas", "table", "to_dataframe") from error
        frame = pd.DataFrame(self.columns())
        frame.attrs.update(self._attributes())
        return frame

    def to_xarray(self) -> Any:
        """All arrays as :class:`xarray.Dataset`: named dimensions, coordinates, and the single numbers as attributes.

        Raises
        ------
        MissingExtraError
            xarray is not installed.
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise MissingExtraError("xarray", "xarray", "to_xarray") from error
        coordinates, meanings = self._axes(), self.meanings()
        variables = {
            name: (own, _lazy_or_array(self.array(name)), {"long_name": meanings[name]} if name in meanings else {})
            for name, own in self.dimensions().items()
            if name not in coordinates
        }
        along = {axis: (axis, values) for axis, values in coordinates.items()}
        return xr.Dataset(variables, coords=along, attrs=self._attributes())

    def _attributes(self) -> dict[str, Any]:
        numbers = {name: int(v) if isinstance(v, bool) else v for name, v in self.scalars().items()}
        return {"result": type(self).__name__, "kernelcalc": __version__, **self.origin, **numbers}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to a file that :func:`kernelcalc.load` reads: a NumPy archive (``.npz``), nothing pickled.

        Raises
        ------
        InputError
            Another ending, or a part that cannot be written.
        OutputFileError
            The file cannot be written; an older one stays as it was.
        """
        return write_result(path, self, self.origin)

    def stored(self) -> dict[str, Any]:
        """The fields that a file keeps."""
        kept = [field.name for field in dataclasses.fields(self) if field.init]  # type: ignore[arg-type]
        return {name: getattr(self, name) for name in kept}

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        """The result with the fields that a file has kept."""
        return cls(**fields)

    def plot(self, ax: Any = None) -> Any:
        """Draw the first array: a line along one axis, colours over two; single values along an axis do not count as one.

        Raises
        ------
        InputError
            There is no array of one or two axes.
        MissingExtraError
            matplotlib is not installed.
        """
        coordinates = self._axes()
        for name, own in self.dimensions().items():
            # an axis with a single value, such as that of one output, is none to draw along
            long = [axis for axis in own if len(coordinates[axis]) > 1] or list(own[:1])
            if name not in coordinates and len(long) <= 2:
                values = np.reshape(self.array(name), [len(coordinates[axis]) for axis in long])
                return plot_values(ax, name, values, {axis: coordinates[axis] for axis in long})
        raise InputError("a result with an array of one or two axes", repr(self))

    def plot_small(self, ax: Any) -> None:
        """What a notebook shows of :meth:`plot`."""
        self.plot(ax)

    def small_figure(self) -> Any:
        """The picture that a notebook shows."""
        figure = matplotlib_part("figure").Figure(figsize=_INCHES, layout="constrained")
        self.plot_small(figure.subplots())
        return figure

    def __repr__(self) -> str:
        arrays = [f"{name} {' × '.join(map(str, np.shape(self.array(name))))}" for name in self.dimensions()]
        numbers = [f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={_short(v)}" for n, v in self.scalars().items()]
        return f"{type(self).__name__}({', '.join(numbers + arrays)})"

    def _repr_html_(self) -> str:
        return f"<div><code>{html.escape(repr(self))}</code>{self.html_table()}{self._picture()}</div>"

    def html_table(self) -> str:
        """The first rows of the table, for notebooks."""
        if not self.dimensions():
            return ""
        count = math.prod(len(self._axes()[axis]) for axis in self._along())
        columns = self.columns() if count <= _WHOLE_TABLE else self._tidy(1)
        count = max(count, *map(len, columns.values()))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(column[i]))}</td>" for column in columns.values()) + "</tr>"
            for i in range(min(*map(len, columns.values()), _ROWS))
        )
        more = f"<p>{count} rows</p>" if count > _ROWS else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"

    def _picture(self) -> str:
        """What :meth:`plot` draws, inside the text; nothing without matplotlib or without anything to draw."""
        if not self.dimensions():
            return ""
        try:
            return _embedded(self.small_figure(), type(self).__name__)
        except MissingExtraError:
            return ""


def _embedded(figure: Any, name: str) -> str:
    """A figure inside the text of a page."""
    file = io.BytesIO()
    dpi = min(_PREVIEW_DPI, _PREVIEW_DPI * _PREVIEW_WIDTH / figure.get_figwidth())
    figure.savefig(file, format="png", dpi=dpi)
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _lazy_or_array(values: Any) -> Any:
    """Dask arrays as they are."""
    return values if hasattr(values, "dask") else np.asarray(values)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
