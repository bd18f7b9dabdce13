"""Command line: one module for each command, which parses, calls one function of the package and prints its report.

A command imports what is heavy inside its function, so that ``--help`` is fast; ``terminal`` and ``dataset`` are shared.
Nothing imports this folder.
"""

from __future__ import annotations

import click

from kernelcalc.cli.again import again
from kernelcalc.cli.curves import curves
from kernelcalc.cli.expect import expect
from kernelcalc.cli.figure import figure
from kernelcalc.cli.kernels import kernels
from kernelcalc.cli.phase import phase
from kernelcalc.cli.predict import predict
from kernelcalc.cli.report import report
from kernelcalc.cli.sagun import sagun
from kernelcalc.cli.spectrum import spectrum
from kernelcalc.cli.symbolic import symbolic
from kernelcalc.cli.terminal import Commands, json_option
from kernelcalc.cli.validate import validate
from kernelcalc.version import __version__


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kernelcalc")
def main() -> None:
    """Theory of infinitely wide networks and of the Hessian of their loss.

    Exit codes: 0 done; 1 a quantity failed in validate; 2 refused (a wrong argument, a file that cannot be read or written, a
    package that is missing), with one line on stderr; 130 interrupted. Files are written whole or not at all.
    """


for _command in (curves, phase, spectrum, predict, report, kernels, expect, symbolic, validate, figure, sagun, again):
    main.add_command(_command)
    for _one in _command.commands.values() if isinstance(_command, click.Group) else (_command,):
        if _one is not again:
            _one.params.append(json_option())
