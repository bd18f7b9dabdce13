"""What all commands share: errors as one line, output that may go nowhere, progress on a terminal."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import IO, Any, TypeVar

import click

from kernelcalc.errors import KernelcalcError

T = TypeVar("T")
_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
# What a shell reports of a command that SIGINT ended: 128 + 2.
INTERRUPTED = 130


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
    """A group whose commands end with one line instead of a traceback when they are refused, interrupted or cannot write."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
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
        except KeyboardInterrupt as error:
            raise Interruption("Interrupted; no unfinished file is left.") from error


def say(text: str) -> None:
    """Print; where nobody reads any more, as behind ``| head``, work goes on for the sake of the files."""
    try:
        click.echo(text)
    except BrokenPipeError:
        drop_output()


def drop_output() -> None:
    """Let standard output go nowhere, so that what is left in its buffer is no error at the end either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def say_written(paths: Iterable[os.PathLike[str] | str]) -> None:
    """The last line of a command: its files."""
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
