"""Where a command's tables and pictures go and what the pictures look like: ``-o``, ``--format``, ``--style``, the width."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from kernelcalc.cli.recipe import as_text, check_not_input, recipe

F = TypeVar("F", bound=Callable[..., Any])
FORMATS = ("png", "pdf", "svg")
_TABLE = "csv"


class OutputPath(click.Path):
    """A name that a file or folder can have."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        if not text:
            self.fail("expected the name of a file or folder, got an empty text", param, ctx)
        try:
            os.lstat(text)
        except (ValueError, OSError) as error:
            if isinstance(error, ValueError) or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self.fail(f"expected the name of a file or folder, got {text[:40]!r}: {error.args[-1]}", param, ctx)
        path = super().convert(value, param, ctx)
        return Folder(path) if text.endswith(("/", os.sep)) else path


class Folder(type(Path())):  # type: ignore[misc]
    """A path that was typed with a slash at its end."""


class Formats(click.ParamType):
    """Formats of pictures, with commas."""

    name = "FORMATS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        parts = tuple(dict.fromkeys(part.strip().lower().lstrip(".") for part in str(value).split(",")))
        wrong = [part for part in parts if part not in FORMATS]
        if wrong:
            self.fail(f"expected {', '.join(FORMATS)} or several with commas, got {value!r}", param, ctx)
        return parts


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Files of a command: a folder with names of the command's own, or the name of a picture or of a table."""

    out: Path
    formats: tuple[str, ...] | None = None
    figure_width: str | None = None
    style: tuple[str, ...] = ()
    no_picture: bool = False

    @property
    def ending(self) -> str | None:
        """Of the file that was named; None for a folder."""
        return None if self.out.is_dir() or isinstance(self.out, Folder) else ending_of(self.out)

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.out if self.ending is None else self.out.parent

    @property
    def pictures(self) -> tuple[str, ...]:
        """Formats to be written."""
        if self.no_picture or (self.ending == _TABLE and self.formats is None):
            return ()
        named = (self.ending,) if self.ending in FORMATS else ()
        return tuple(dict.fromkeys((*named, *(self.formats or (() if named else ("png",))))))

    def ready(self) -> None:
        """Refuse now, before a long computation, what could not be written or drawn."""
        from kernelcalc.errors import InputError
        from kernelcalc.output.files import check_writable

        if self.ending not in (None, *FORMATS, _TABLE):
            known = ", ".join(f".{one}" for one in (*FORMATS, _TABLE))
            raise InputError(f"-o with an ending {known}, or a folder", str(self.out), f"{self.out}/ makes a folder")
        if self.pictures:
            from kernelcalc.output.style import check_styles, require_matplotlib

            require_matplotlib()
            check_styles(self.style)
            self.inches()
        check_writable(self.folder)
        if self.ending is not None:
            named = [_TABLE, *self.pictures]
            check_not_input(self.folder / f"{self.out.stem}.{one}" for one in named)

    def inches(self) -> float | None:
        """Width asked for."""
        from kernelcalc.output.style import inches_of

        return None if self.figure_width is None else inches_of(self.figure_width)

    def write(self, name: str, tables: Mapping[str, Mapping[str, Any]], draw: Callable[[], Any]) -> list[Path]:
        """Tables as CSV and the picture in each format; the picture is drawn before anything is written.

        Settings, version and seed are in the picture's metadata and beside the tables. Where a file was named, its stem takes
        the place of ``name`` in all names.
        """
        from kernelcalc.output.files import atomic_file, writable_folder, write_csv, write_figure
        from kernelcalc.output.recipe import BESIDE, tables_text

        stem, text = name if self.ending is None else self.out.stem, as_text(recipe())
        figures: list[tuple[str, Any]] = []
        style: AbstractContextManager[None] = nullcontext()
        if self.pictures:
            from kernelcalc.output.style import applied

            style = applied(self.style, self.inches())
        with style:
            pictures = [self.folder / f"{stem}.{one}" for one in self.pictures]
            check_not_input([*pictures, *(self._path(stem, name, table) for table in tables)])
            figures = [(one, draw()) for one in self.pictures]
            writable_folder(self.folder)
            written = [write_csv(self._path(stem, name, table), columns) for table, columns in tables.items()]
            with atomic_file(self.folder / f"{stem}{BESIDE}") as file:
                file.write(tables_text([path.name for path in written], tables.values(), text).encode())
            return written + [
                write_figure(self.folder / f"{stem}.{one}", figure, recipe=text) for one, figure in figures
            ]

    def _path(self, stem: str, name: str, table: str) -> Path:
        own = (
            stem + table.removeprefix(name) if table.startswith(name) else table if stem == name else f"{stem}_{table}"
        )
        return self.folder / f"{own}.{_TABLE}"


def ending_of(path: Path) -> str | None:
    """The letters behind a file's last dot; None without any, as in ``run-0.1``.

    Examples
    --------
    >>> ending_of(Path("a/k.CSV")), ending_of(Path("run-0.1")), ending_of(Path("folder"))
    ('csv', None, None)
    """
    found = re.fullmatch(r"\.([A-Za-z]\w*)", path.suffix)
    return None if found is None else found[1].lower()


def drawing_options(default: str, files: str, *, short_width: bool = True) -> Callable[[F], F]:
    """Add -o, --format, --figure-width, --style and --no-png; the command gets ``drawing``."""
    width = ("--figure-width", "--width") if short_width else ("--figure-width",)
    options = (
        click.option(
            "-o", "--out", type=OutputPath(), default=Path(default), show_default=True,
            help=f"Folder for {files}, or the name of the picture (.png, .pdf, .svg) or of the table (.csv).",
        ),
        click.option("--format", "formats", type=Formats(), help="Formats of the picture: png, pdf, svg.  [default: png]"),
        click.option(
            *width, "figure_width", metavar="column|text|INCHES",
            help="Width of the picture: one column (3.25), both (6.75) or inches.  [default: text, or the style's]",
        ),
        click.option(
            "--style", multiple=True, metavar="NAME",
            help="A style of matplotlib (SciencePlots' too) or an .mplstyle file; repeat for more.",
        ),
        click.option(
            "--no-picture", "--no-png", "no_picture", is_flag=True,
            help="Write no picture (matplotlib is not needed then).",
        ),
    )  # fmt: skip
    names = ("out", "formats", "figure_width", "style", "no_picture")

    def decorate(command: F) -> F:
        def taking(**given: Any) -> Any:
            return command(drawing=Drawing(**{name: given.pop(name) for name in names}), **given)

        decorated: Any = functools.update_wrapper(taking, command)
        for option in reversed(options):
            decorated = option(decorated)
        return cast("F", decorated)

    return decorate
