"""``kernelcalc figure``: the figures of Jacot, Gabriel, Hongler (ICLR 2020), drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import DataOptions, sample_options
from kernelcalc.cli.drawing import Drawing, drawing_options
from kernelcalc.cli.names import ACTIVATION
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import Commands, progress, say, say_written, shows_progress

if TYPE_CHECKING:
    from kernelcalc.studies.experiment import Experiment

# Digits of the paper's figures.
PAPER_POINTS = 256

# What the paper's "smooth ReLU" may be, and its normalised form.
_SMOOTH = {
    "gaussian": ("smooth_relu", "normalized smooth_relu"),
    "softplus": ("softplus", "normalized softplus"),
}

_out = drawing_options("kernelcalc-figure", "the CSV files and the picture", short_width=False)
_seed = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all that is drawn."
)
_activations = click.option(
    "-a", "--activation", "activations", type=ACTIVATION, multiple=True, metavar="TEXT",
    default=("smooth_relu", "normalized smooth_relu"),
    help="Nonlinearity of a panel; repeat for more.  [default: smooth_relu and its normalized form]",
)  # fmt: skip


def _width(default: int) -> Any:
    return click.option("--width", type=click.IntRange(min=2), default=default, show_default=True, help="Hidden width.")


def _points(default: int) -> Any:
    kind = click.IntRange(4)
    return click.option("-n", "--points", type=kind, default=default, show_default=True, help="Number of points.")


_chosen = click.option(
    "-n", "--points", type=click.IntRange(4), metavar="N",
    help="Number of points: the first digits, or of a file drawn with --seed, each class in proportion.  [default: 256 "
    "digits, all of a file]",
)  # fmt: skip


@click.group(cls=Commands)
def figure() -> None:
    """Figures 1, 2 and 3 of "The asymptotic spectrum of the Hessian of DNN throughout training"."""


@figure.command("1", cls=Remembered, epilog="Small setting: kernelcalc figure 1 --width 128 --trials 5 -n 16")
@_width(1000)
@click.option(
    "--trials", type=click.IntRange(min=2), default=20, show_default=True, help="Networks of each nonlinearity."
)
@click.option("--paper", is_flag=True, help="The paper's own size: 250 networks of width 5000 (days).")
@_chosen
@sample_options
@_activations
@click.option(
    "--smooth", type=click.Choice(["gaussian", "softplus"]),
    help="Which smooth ReLU stands in both panels, instead of -a: E relu(x + Z) or log(1 + e^x).",
)  # fmt: skip
@click.option(
    "--float32/--float64", default=True, show_default=True,
    help="Number type of the finite networks: single precision takes half the time and memory.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a core]")
@_seed
@_out
def figure_1(
    width: int,
    trials: int,
    paper: bool,
    data: DataOptions,
    activations: tuple[str, ...],
    smooth: str | None,
    float32: bool,
    workers: int | None,
    seed: int,
    drawing: Drawing,
) -> None:
    """Moments 1 to 4 of the Hessian through training: lines of the theory, crosses of finite networks.

    The paper says "smooth ReLU" without a formula: --smooth takes the Gaussian one, which has closed forms and is the
    default, or softplus. Finished networks are kept in the folder as they come; the same command goes on where it was
    stopped. The default takes about a quarter of an hour on two cores.

    Columns of figure1.csv: activation; k (power); time; theory, mean, error (E Tr H^k, mean over networks and its standard
    error), z; theory_i, mean_i, error_i the same of Tr I^k; theory_s, mean_s, error_s of their difference. Of
    figure1_theory.csv: activation, k, time, trace_h, trace_i, trace_h_std.
    """
    from kernelcalc.machine import processors
    from kernelcalc.studies.figures.figure1 import PAPER_TRIALS, PAPER_WIDTH, Figure1

    drawing.ready()
    drawn = Figure1(
        width=PAPER_WIDTH if paper else width,
        trials=PAPER_TRIALS if paper else trials,
        **_sample(data, seed),
        activations=activations if smooth is None else _SMOOTH[smooth],
        seed=seed,
        workers=workers or processors(),
        dtype="float32" if float32 else "float64",
        folder=drawing.folder,
    )
    _finish(drawn, drawing)


@figure.command(
    "2", cls=Remembered, epilog="Small setting: kernelcalc figure 2 --width 128 -n 64 --trials 8 --widths 32,64,128"
)
@_width(1000)
@_chosen
@sample_options
@click.option(
    "-a",
    "--activation",
    type=ACTIVATION,
    default="normalized smooth_relu",
    show_default=True,
    metavar="TEXT",
    help="Nonlinearity.",
)
@click.option("--count", type=click.IntRange(min=1), default=20, show_default=True, help="Number of eigenvectors.")
@click.option("--widths", default="32,64,128,256,512", show_default=True, help="Widths for the angle between I and S.")
@click.option("--trials", type=click.IntRange(min=2), default=24, show_default=True, help="Networks of each of these.")
@_seed
@_out
def figure_2(
    width: int, data: DataOptions, activation: str, count: int, widths: str, trials: int, seed: int, drawing: Drawing
) -> None:
    """Rayleigh quotients of the first eigenvectors of I and of S, and the angle between I and S against the width.

    Columns of figure2.csv: eigenvector_of (I or S), index, vIv, vSv. Of figure2_angles.csv: what (cosine of the angle, or
    norm of the product), width, rms over networks, error.
    """
    from kernelcalc.studies.figures.figure2 import Figure2

    several = _several(widths)
    drawing.ready()
    drawn = Figure2(
        width=width,
        **_sample(data, seed),
        activation=activation,
        count=count,
        widths=several,
        trials=trials,
        seed=seed,
    )
    _finish(drawn, drawing)


@figure.command("3", cls=Remembered, epilog="Small setting: kernelcalc figure 3 --width 128 --grid 11")
@_width(1000)
@_points(32)
@_activations
@click.option("--reach", type=float, default=2.0, show_default=True, help="Half the side of the square, in parameters.")
@click.option("--grid", type=click.IntRange(min=3), default=25, show_default=True, help="Steps on a side.")
@_seed
@_out
def figure_3(
    width: int, points: int, activations: tuple[str, ...], reach: float, grid: int, seed: int, drawing: Drawing
) -> None:
    """The loss around a minimum along the first and fourth eigenvector of I, and the quadratic form of the limit.

    Columns of figure3.csv: activation; index of the eigenvector; limit (eigenvalue of the limit), network (of I at the
    minimum), curvature (second difference of the loss). Of figure3_surface.csv: activation, x, y, loss, limit.
    """
    from kernelcalc.errors import InputError
    from kernelcalc.studies.figures.figure3 import Figure3

    if not 0 < reach < float("inf"):
        raise InputError("a finite reach > 0", f"--reach {reach:g}")
    drawing.ready()
    drawn = Figure3(width=width, points=points, activations=activations, reach=reach, grid=grid, seed=seed)
    _finish(drawn, drawing)


@figure.command("lemmas", cls=Remembered, epilog="Small setting: kernelcalc figure lemmas --widths 6,12 --trials 8")
@click.option(
    "-a", "--activation", type=ACTIVATION, default="tanh", show_default=True, metavar="TEXT", help="Nonlinearity."
)
@click.option("--widths", default="8,16,32", show_default=True, help="Widths; P² second derivatives are held a point.")
@click.option("--trials", type=click.IntRange(min=2), default=24, show_default=True, help="Networks of each.")
@_seed
@_out
def figure_lemmas(activation: str, widths: str, trials: int, seed: int, drawing: Drawing) -> None:
    """What the proofs say vanishes, against the width: the tensors of Lemmas 1, 2 and 5, and Remark 1's union of spectra.

    Besides, the operator norm of S and how many eigenvalues it has, the symmetric spectrum of S of a shallow ReLU network, and
    the third and fourth moment of the mean-field limit, of which the theory is silent.

    Columns of lemmas.csv: what, width, typical (geometric mean over networks), error. Of lemmas_spectra.csv: of (which
    matrix), rank, eigenvalue. Of lemmas_shallow.csv: activation, asymmetry.
    """
    from kernelcalc.studies.figures.lemmas import Lemmas

    several = _several(widths)
    drawing.ready()
    _finish(Lemmas(widths=several, trials=trials, activation=activation, seed=seed), drawing)


def _several(widths: str) -> tuple[int, ...]:
    """At least two different widths, from text."""
    from kernelcalc.errors import InputError

    try:
        several = tuple(int(part) for part in widths.split(","))
    except ValueError:
        several = ()
    if len(set(several)) < 2 or min(several) < 2:
        raise InputError("at least two different widths such as 32,64,128", f"--widths {widths}")
    return several


def _sample(data: DataOptions, seed: int) -> dict[str, Any]:
    """Settings that say which points."""
    sample = data.sample(seed)
    return {"points": data.points or PAPER_POINTS} if sample is None else {"points": len(sample[0]), "sample": sample}


def _finish(drawn: Experiment, drawing: Drawing) -> None:
    result = drawn.run(progress if shows_progress() else None)
    say(str(result))
    written = drawing.write(result.name, result.tables, result.figure)
    say_written(written, recipe() | {"notes": result.notes, "tables": result.tables})
