"""What all commands share: errors as one line, progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, TypeVar

import click

from kernelcalc.errors import KernelcalcError

T = TypeVar("T")


class Refusal(click.ClickException):
    """A named error of kernelcalc as one line on stderr."""

    exit_code = 2

    def format_message(self) -> str:
        return " ".join(self.message.split())


class Commands(click.Group):
    """A group whose commands end with one line instead of a traceback when kernelcalc refuses something."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KernelcalcError as error:
            raise Refusal(str(error)) from error


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
