"""Command line: one module for each command; what is heavy is imported inside the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import click

from kernelcalc import __version__
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
    from importlib.util import find_spec

    return sys.stderr.isatty() and find_spec("tqdm") is not None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kernelcalc")
def main() -> None:
    """Theory of infinitely wide networks and of the Hessian of their loss."""


def _register() -> None:
    from kernelcalc.cli.curves import curves
    from kernelcalc.cli.expect import expect
    from kernelcalc.cli.figure import figure
    from kernelcalc.cli.kernels import kernels
    from kernelcalc.cli.phase import phase
    from kernelcalc.cli.predict import predict
    from kernelcalc.cli.sagun import sagun
    from kernelcalc.cli.spectrum import spectrum
    from kernelcalc.cli.symbolic import symbolic
    from kernelcalc.cli.validate import validate

    for command in (curves, phase, spectrum, predict, kernels, expect, symbolic, validate, figure, sagun):
        main.add_command(command)


_register()
