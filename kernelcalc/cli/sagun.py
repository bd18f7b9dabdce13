"""``kernelcalc sagun``: the experiments of Sagun et al. on finite networks, with the limit beside them."""

from __future__ import annotations

import os
from typing import Any

import click

from kernelcalc.cli.dataset import DataOptions, sample_options
from kernelcalc.cli.drawing import Drawing, drawing_options
from kernelcalc.cli.names import ACTIVATION, Finite
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import progress, say, say_written

# Experiments on points with classes.
WITH_DATA = ("batches", "heatmaps", "path", "spectra", "split", "width")


class _Listing(Remembered):
    """A command whose help lists the experiments, which are imported only then."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from kernelcalc.studies.sagun import experiments

        super().format_help_text(ctx, formatter)
        with formatter.section("Experiments"):
            formatter.write_dl([(name, kind.summary) for name, kind in experiments().items()])


def _numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected whole numbers such as 10,20,40, got {text!r}") from error
    if min(values) < 1:
        raise click.BadParameter(f"expected numbers of at least 1, got {text!r}")
    return values


def _points(experiment: str, data: DataOptions, seed: int) -> dict[str, Any]:
    """Settings that say which points: a number of them, names of the experiment spectra, or the user's own."""
    given = data.data or ""
    if experiment == "spectra" and given and not os.path.exists(given) and given not in ("mnist14", "mnist28"):
        chosen: dict[str, Any] = {"data": tuple(dict.fromkeys(part.strip() for part in given.split(",")))}
    elif given and experiment not in WITH_DATA:
        raise click.UsageError(f"the experiment {experiment} has no --data; {', '.join(WITH_DATA)} have")
    else:
        sample = data.sample(seed)
        if sample is not None:
            return {"sample": sample}
        chosen = {}
    return chosen if data.points is None else chosen | {"points": data.points}


@click.command(cls=_Listing, epilog="Example: kernelcalc sagun outliers --full -o results")
@click.argument("experiment")
@click.option(
    "--full", is_flag=True,
    help="The papers' settings, on 14 × 14 digits. On an idle core training takes 10 seconds, heatmaps, split and path about a "
    "minute, separability 2, outliers 8, batches some 10; spectra, all eigenvalues of matrices of up to 19,470 rows "
    "(3 GB), about 70 minutes, with --approximate 2.",
)  # fmt: skip
@click.option("-a", "--activation", type=ACTIVATION, metavar="TEXT", help="Name or expression.  [default: relu]")
@click.option("--loss", metavar="softmax|mse", help="Loss.  [default: softmax; both in the experiment spectra]")
@click.option(
    "--approximate", is_flag=True, default=None,
    help="The experiment spectra by Lanczos and quadrature: no numbers of zero and negative eigenvalues.",
)  # fmt: skip
@click.option("-n", "--points", type=click.IntRange(min=1), help="Number of points.")
@sample_options
@click.option("--width", type=click.IntRange(min=1), help="Hidden width.")
@click.option("--widths", callback=_numbers, metavar="N,N,...", help="Hidden widths, where there are several.")
@click.option(
    "--clusters", callback=_numbers, metavar="N,N,...", help="Numbers of clusters of the experiment outliers."
)
@click.option("--trials", type=click.IntRange(min=2), help="Number of initialisations.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of gradient descent.")
@click.option(
    "--stop", type=Finite(min=0, min_open=True), metavar="G",
    help="End gradient descent where the norm of the gradient is G, before --steps (in the papers 1e-4); not in path, "
    "batches and initial, where all take the same steps.",
)  # fmt: skip
@click.option(
    "--sphere", is_flag=True, default=None,
    help="Initial points of the experiment initial on the sphere of radius √P, as the paper has them.",
)  # fmt: skip
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes of the experiment initial.  [default: one a core with --full, else one]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random.")
@drawing_options("kernelcalc-sagun", "the CSV files and the picture, named after the experiment", short_width=False)
def sagun(
    experiment: str,
    full: bool,
    activation: str | None,
    seed: int,
    data: DataOptions,
    drawing: Drawing,
    **options: Any,
) -> None:
    """Experiments of Sagun et al. on the Hessian of finite networks, with the limit beside them.

    Those of Sagun, Bottou, LeCun (2016) and Sagun et al. (2017), with the infinite-width theory beside every number it
    predicts.

    Networks are in NTK parametrisation, where the right edge of the spectrum has a limit as the width grows; the papers
    trained the weights themselves. The experiment initial keeps finished networks in the folder: the same command goes on
    where it was stopped. Options that an experiment does not have are refused with the list of its own.

    The main table, named after the experiment, is the one that is printed; what its columns mean stands below it, and in the
    metadata of its CSV file. EXPERIMENT_verdicts.csv has a row a claim: source, claim, verdict, measured, number, wanted, why.
    """
    from kernelcalc.machine import processors
    from kernelcalc.studies.sagun import experiments, run

    given = {name: value for name, value in options.items() if value is not None} | _points(experiment, data, seed)
    if activation is not None:
        from kernelcalc.activations.names import from_text

        given["activation"] = from_text(activation)
    if experiment == "spectra" and "loss" in given:
        given["losses"] = (given.pop("loss"),)
    if experiment in experiments():
        drawing.ready()
    if experiment == "initial":
        given = {"workers": processors() if full else 1} | given | {"folder": drawing.folder}
    result = run(experiment, full=full, seed=seed, progress=progress, **given)
    say(str(result))
    written = drawing.write(result.name, result.tables, result.figure)
    say_written(written, recipe() | {"notes": result.notes, "tables": result.tables})
