"""What all commands share: errors as one line, output that may go nowhere, progress on a terminal."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from kernelcalc.errors import KernelcalcError

T = TypeVar("T")
_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
# What a shell reports of a command that SIGINT ended: 128 + 2.
INTERRUPTED = 130
_JSON = "kernelcalc.json"
# An argument that a warning speaks of, with dots for its value.
_ARGUMENT = re.compile(r"\b([a-z_]+)=\.\.\.")


class Refusal(click.ClickException):
    """A named error of kernelcalc as one line on stderr."""

    exit_code = 2

    def format_message(self) -> str:
        return " ".join(self.message.split())


class Interruption(click.ClickException):
    """The user's Ctrl-C, as one line on stderr."""

    exit_code = INTERRUPTED

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"\n{self.format_message()}", file=file, err=True)


class Commands(click.Group):
    """A group whose commands end with one line instead of a traceback when they are refused, interrupted or cannot write.

    Each is listed with the whole first sentence of its help.
    """

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _sentence(self.commands[name])) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().main(*args, **options)
        except OSError as error:
            # what a file refuses has a name of its own: this is standard output
            if error.errno not in _NO_OUTPUT:
                raise
            drop_output()
            click.echo(f"Error: cannot write the output: {error.strerror or error}", err=True)
            sys.exit(Refusal.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KernelcalcError as error:
            raise Refusal(str(error)) from error
        except MemoryError as error:
            why = f", got: {error}" if str(error) else ""
            hint = "fewer points, networks or draws and smaller widths take less"
            raise Refusal(f"expected settings that fit into memory{why}; {hint}") from error
        except KeyboardInterrupt as error:
            raise Interruption("Interrupted; no unfinished file is left.") from error


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """One line on stderr, without the line of code that Python would quote; arguments that help as they are given here."""
    text = " ".join(str(message).split()).replace("progress=True", "a terminal with tqdm installed")
    click.echo(f"{category.__name__}: {_ARGUMENT.sub(_option, text)}", err=True)


def _option(argument: re.Match[str]) -> str:
    return f"--{argument[1].replace('_', '-')}"


def say(text: str) -> None:
    """Print; where nobody reads any more, as behind ``| head``, work goes on for the sake of the files.

    With ``--json -`` standard output is for the numbers alone, and this is for the person at the terminal.
    """
    if _json_file() == "-":
        click.echo(text, err=True)
        return
    _print(text)


def json_option() -> click.Option:
    """The option ``--json FILE``, which every command has."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None and value != "-":
            from kernelcalc.errors import OutputFileError
            from kernelcalc.output.files import check_opens, check_writable

            try:
                is_folder = not value or Path(value).is_dir()
            except OSError as error:
                raise OutputFileError(f"cannot write {value[:80]}: {error.strerror}") from error
            if is_folder or "\0" in value:
                raise OutputFileError(f"expected the name of a file with --json, got {value!r}")
            check_writable(Path(value).parent)
            check_opens(value)
        ctx.meta[_JSON] = value

    return click.Option(
        ["--json", "json_file"], metavar="FILE|-", expose_value=False, callback=keep,
        help="Write all numbers here as JSON, what is not finite as null; - for standard output, and nothing else there.",
    )  # fmt: skip


def say_numbers(numbers: Mapping[str, Any], written: Iterable[os.PathLike[str] | str] = ()) -> Path | None:
    """Write the numbers where ``--json`` says, if it does, never over a file that was just written; the file."""
    target = _json_file()
    if target is None:
        return None
    text = json.dumps(plain_numbers(numbers), indent=None if target == "-" else 1, allow_nan=False, ensure_ascii=False)
    if target == "-":
        _print(text)
        return None
    from kernelcalc.errors import OutputFileError
    from kernelcalc.output.files import atomic_file, same_file, writable_folder

    if any(same_file(target, one) for one in written):
        raise OutputFileError(f"expected another name with --json than that of a file just written, got {target}")
    writable_folder(Path(target).parent)
    with atomic_file(target) as file:
        file.write(text.encode() + b"\n")
    return Path(target)


def plain_numbers(value: Any) -> Any:
    """Arrays as lists, numbers as Python's, what is not finite as None, anything else as text.

    Examples
    --------
    >>> plain_numbers({"a": (1, float("inf")), "b": True})
    {'a': [1, None], 'b': True}
    """
    if isinstance(value, Mapping):
        return {str(key): plain_numbers(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(part) for part in value]
    if hasattr(value, "tolist"):
        return plain_numbers(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _json_file() -> Any:
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.meta.get(_JSON)


def json_target() -> list[Path]:
    """The file of ``--json``, if it is one."""
    target = _json_file()
    return [] if target in (None, "-") else [Path(target)]


def _sentence(command: click.Command) -> str:
    first = " ".join((command.help or "").split("\n\n")[0].split())
    return first


def _print(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:
        drop_output()


def drop_output() -> None:
    """Let standard output go nowhere, so that what is left in its buffer is no error at the end either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def say_written(paths: Iterable[os.PathLike[str] | str], numbers: Mapping[str, Any] | None = None) -> None:
    """The last line of a command: its files, that of ``--json`` among them."""
    paths = list(paths)
    more = None if numbers is None else say_numbers(numbers, paths)
    paths += [] if more is None else [more]
    if not paths:
        return
    say("\n" + " ".join(["written:", *map(str, paths)]))


def progress(steps: Iterable[T], label: str) -> Iterator[T]:
    """The steps, with a bar on a terminal once they take more than a second (where tqdm is installed)."""
    if not shows_progress():
        yield from steps
        return
    from tqdm import tqdm

    yield from tqdm(steps, desc=label, delay=1.0, leave=False)


def shows_progress() -> bool:
    """Whether stderr is a terminal and tqdm is installed."""
    return sys.stderr.isatty() and find_spec("tqdm") is not None
