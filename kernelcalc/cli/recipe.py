"""What a command was asked, kept in its files so that ``kernelcalc again`` makes them once more."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kernelcalc.cli.terminal import json_target
from kernelcalc.version import __version__

# Where results go and how they are computed is the user's own business in another run.
_LEFT_OUT = {"out", "json_file", "resume", "workers", "scheduler", "formats", "no_picture", "all_rows"}
_GIVEN = "kernelcalc.arguments"


class Remembered(click.Command):
    """A command that keeps its arguments as they were typed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[f"{_GIVEN}.{self.name}"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        _check_outputs(ctx)
        return super().invoke(ctx)


def recipe() -> dict[str, Any]:
    """Of the command that runs: version, arguments with all defaults written out, seed, digest of the data file."""
    ctx = click.get_current_context()
    command = " ".join(_names(ctx))
    made: dict[str, Any] = {"version": __version__, "command": command, "arguments": list(_arguments(ctx))}
    if "seed" in ctx.params:
        made["seed"] = ctx.params["seed"]
    digest = digest_of(_raw(ctx).get("data"))
    return made | ({"sha256": digest} if digest else {})


def check_not_input(paths: Iterable[Path]) -> None:
    """Refuse to write over a file that is read.

    Raises
    ------
    OutputFileError
    """
    from kernelcalc.errors import OutputFileError

    typed = _raw(click.get_current_context())
    read = [
        Path(one) for one in (typed.get("data"), typed.get("labels"), typed.get("file")) if isinstance(one, str) and one
    ]
    for path in paths:
        if any(os.path.isfile(one) and path.exists() and path.samefile(one) for one in read):
            raise OutputFileError(f"expected another name than that of a file that is read, got {path}")


# Of files that -o names, and of those that take its stem.
_TAKEN_ENDINGS = ("csv", "png", "pdf", "svg", "csv-metadata.json")


def _check_outputs(ctx: click.Context) -> None:
    """Refuse, before the work, one file for two outputs, and outputs in the place of what is read.

    Raises
    ------
    OutputFileError
    """
    from kernelcalc.errors import OutputFileError
    from kernelcalc.output.files import check_opens, same_file

    out, resume, numbers = ctx.params.get("out"), ctx.params.get("resume"), json_target()
    named = [Path(one) for one in (out, resume) if one is not None]
    endings = [*_TAKEN_ENDINGS, *(["json"] if ctx.command.name == "validate" else [])]
    beside = [] if out is None or not Path(out).suffix else [Path(out).with_suffix(f".{one}") for one in endings]
    for one in numbers:
        if any(same_file(one, other) for other in (*named, *beside)):
            raise OutputFileError(
                f"expected a file of its own with --json, got {one}, which another output is written to"
            )
    if len(named) == 2 and same_file(*named):
        raise OutputFileError(f"expected two files with -o and --resume, got {named[0]} for both")
    check_not_input([*numbers, *(one for one in named if one.is_file())])
    if out is not None:
        check_opens(out)


def as_text(made: dict[str, Any]) -> str:
    """The recipe as one line of ASCII."""
    return json.dumps(made)


def digest_of(data: Any) -> str | None:
    """SHA-256 of a data file; None where there is none."""
    if not isinstance(data, str) or not os.path.isfile(data):
        return None
    return hashlib.sha256(Path(data).read_bytes()).hexdigest()


def _names(ctx: click.Context) -> list[str]:
    above = [] if ctx.parent is None or ctx.parent.parent is None else _names(ctx.parent)
    return [*above, str(ctx.info_name)]


def _raw(ctx: click.Context) -> dict[str, Any]:
    """What was typed for each parameter, as text."""
    given = ctx.meta.get(f"{_GIVEN}.{ctx.command.name}", [])
    return dict(ctx.command.make_parser(ctx).parse_args(list(given))[0])


def _arguments(ctx: click.Context) -> Iterator[str]:
    typed = _raw(ctx)
    for one in ctx.command.params:
        name = str(one.name)
        if name in _LEFT_OUT or not one.expose_value:
            continue
        is_typed = ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
        value = typed.get(name) if is_typed else one.get_default(ctx)
        if isinstance(one, click.Argument):
            yield from [value] if isinstance(value, str) else []
        elif isinstance(one, click.Option):
            yield from _option(one, value)


def _option(one: click.Option, value: Any) -> Iterator[str]:
    if one.is_flag:
        if value is True or (value is False and one.secondary_opts):
            yield one.opts[-1] if value else one.secondary_opts[-1]
        return
    several = value if isinstance(value, list | tuple) else [value]
    for part in several:
        if isinstance(part, str | int | float | Path) and not isinstance(part, bool):
            yield f"{max(one.opts, key=len)}={part}"
