"""Arguments whose values a shell can complete: nonlinearities and kernels."""

from __future__ import annotations

import math
from typing import Any

import click
from click.shell_completion import CompletionItem


class Finite(click.FloatRange):
    """A number of a range, neither NaN nor infinite, which click lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a finite number, got {value!r}", param, ctx)
        return number


# Of hidden layers in formulas; powers of them stay within float64.
HIDDEN_WIDTH = click.IntRange(1, 10**12)


class Named(click.ParamType):
    """Text, of which a table of the package knows the usual ones; anything else is judged by the command."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self.kind: str = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.known() if name.startswith(incomplete)]

    def known(self) -> list[str]:
        """Names, and "normalized ..." of nonlinearities."""
        if self.kind == "kernel":
            from kernelcalc.kernels.state import KERNEL_NAMES

            return list(KERNEL_NAMES)
        from kernelcalc.activations.names import ACTIVATIONS

        names = sorted(ACTIVATIONS)
        return names + [f"normalized {name}" for name in names]


ACTIVATION, KERNEL = Named("activation"), Named("kernel")
