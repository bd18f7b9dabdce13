"""``kernelcalc again``: a picture or table made once more from the recipe inside it."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from kernelcalc.cli.recipe import digest_of
from kernelcalc.version import __version__

# Commands that leave a recipe.
MAKERS = ("curves", "phase", "spectrum", "validate", "figure", "sagun")
_FIELDS = {"version": str, "command": str, "arguments": list}


@click.command(
    epilog="Example: kernelcalc again fig.pdf -o poster.svg --style dark_background",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--show", is_flag=True, help="Print the command and do nothing.")
@click.option("-o", "--out", metavar="PATH", help="Where to write.  [default: beside FILE, named FILE-again]")
@click.pass_context
def again(ctx: click.Context, file: Path, options: tuple[str, ...], show: bool, out: str | None) -> None:
    """Make a picture (.png, .pdf, .svg) or table (.csv) of kernelcalc's again, from itself.

    The settings, the seed and the version that made it are in its metadata. More OPTIONS are added to the recorded ones and
    win over them. A data file must lie where it lay, relative to this folder; it is said where its contents changed.
    """
    from kernelcalc.output.recipe import recipe_of

    made = _checked(recipe_of(file), file)
    names = made["command"].split()
    arguments = [*names, *made["arguments"], *options, "-o", out or str(file.with_stem(f"{file.stem}-again"))]
    # the numbers of --json - stay alone on standard output
    aside = "--json=-" in options or ("--json", "-") in pairwise(options)
    click.echo("kernelcalc " + shlex.join(arguments), err=aside)
    if show:
        return
    if made["version"] != __version__:
        click.echo(f"made by kernelcalc {made['version']}, this is {__version__}: numbers may differ", err=aside)
    data = next((one.removeprefix("--data=") for one in made["arguments"] if one.startswith("--data=")), None)
    if "sha256" in made and digest_of(data) not in (None, made["sha256"]):
        click.echo(f"{data} has changed since", err=aside)
    group = ctx.find_root().command
    with group.make_context("kernelcalc", arguments, parent=None) as inner:
        group.invoke(inner)


def _checked(text: str, file: Path) -> dict[str, Any]:
    """The recipe, whatever stands in the file: a drawing command with text arguments, nothing that writes elsewhere."""
    from kernelcalc.errors import DataFileError

    try:
        made = json.loads(text)
        fits = isinstance(made, dict) and all(isinstance(made[part], kind) for part, kind in _FIELDS.items())
    except (ValueError, KeyError, RecursionError):
        fits = False
    if fits:
        texts = [one for one in made["arguments"] if isinstance(one, str)]
        writes = ("-o", "--out", "--json", "--resume", "--scheduler", "--workers")
        fits = (
            len(texts) == len(made["arguments"])
            and made["command"].split()[:1] in [[name] for name in MAKERS]
            and not any(one.split("=")[0].startswith(writes) for one in texts)
        )
    if not fits:
        raise DataFileError("a recipe that kernelcalc wrote", f"another text in {file}")
    return dict(made)
