"""``kernelcalc curves``: moments of the Hessian through training, as a table, a CSV file and a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import DataOptions, data_options, loss_option, network_options, positioned
from kernelcalc.cli.drawing import Drawing, drawing_options
from kernelcalc.cli.names import ACTIVATION, HIDDEN_WIDTH
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import progress, say, say_written, shows_progress

if TYPE_CHECKING:
    from kernelcalc.kernels.mlp import Sequential

# The paper's Figure 1: smooth ReLU (left), normalised smooth ReLU (right).
DEFAULT_ACTIVATIONS = ("smooth_relu", "normalized smooth_relu")
POINTS_IN_TIME = 60


class LogTimes(click.ParamType):
    """START:STOP:COUNT, spaced logarithmically."""

    name = "START:STOP:COUNT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = str(value).split(":")
        try:
            start, stop, count = float(parts[0]), float(parts[1]), int(parts[2]) if len(parts) > 2 else POINTS_IN_TIME
        except (ValueError, IndexError):
            self.fail(f"expected START:STOP:COUNT such as 1e-2:1e4:60, got {value!r}", param, ctx)
        if len(parts) > 3 or not 0 < start < stop < math.inf or not 2 <= count <= 100_000:
            self.fail(f"expected 0 < START < STOP and a COUNT from 2 to 100000, got {value!r}", param, ctx)
        return start, stop, count


@click.command(
    cls=Remembered, epilog="Example: kernelcalc curves -a tanh -a 'x*erf(x)' --depth 4 --finite 64 --trials 20"
)
@click.option(
    "-a", "--activation", "activations", type=ACTIVATION, multiple=True, default=DEFAULT_ACTIVATIONS, metavar="TEXT",
    help="Nonlinearity: a name (tanh), a name with parameters (smooth_relu(scale=0.5)), an expression (x*erf(x)), or "
    "'normalized ...' of these. Repeat for more panels.  [default: smooth_relu and its normalized form]",
)  # fmt: skip
@network_options
@click.option("--times", type=LogTimes(), help="Log-spaced times; 0 is added.  [default: from the eigenvalues of Θ]")
@click.option("--kmax", type=click.IntRange(1, 20), default=4, show_default=True, help="Highest moment.")
@data_options
@loss_option
@click.option(
    "--samples", type=click.IntRange(min=2), default=64, show_default=True,
    help="Initialisations drawn, for a loss other than mse (mse is exact).",
)  # fmt: skip
@click.option(
    "--band", type=click.Choice(["std", "quantiles"]), default="std", show_default=True,
    help="What is shaded: ± one standard deviation over initialisations, or from the 5 % to the 95 % quantile of one "
    "network, under mse by inversion of their law, to 1e-4 in the level (some three seconds for 256 points).",
)  # fmt: skip
@click.option(
    "--average", type=click.IntRange(min=1), metavar="T",
    help="Quantiles of the mean of T networks too, in the file and as a darker band (mse).",
)  # fmt: skip
@click.option(
    "--width", "first_order", type=HIDDEN_WIDTH, metavar="WIDTH",
    help="Add the moments at t = 0 at this width, to first order in 1/width, as diamonds (mse, fully connected networks; "
    "up to half a minute for 256 points).",
)  # fmt: skip
@click.option("--finite", type=click.IntRange(min=1), metavar="WIDTH", help="Add networks of this width, as crosses.")
@click.option("--trials", type=click.IntRange(min=2), default=20, show_default=True, help="Number of finite networks.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes for the finite networks.  [default: one a core]")
@drawing_options("kernelcalc-curves", "curves.csv and curves.png", short_width=False)
def curves(
    activations: tuple[str, ...],
    architecture: str | None,
    depth: int,
    sigma_w: float,
    beta: float,
    times: tuple[float, float, int] | None,
    kmax: int,
    data: DataOptions,
    loss: str,
    samples: int,
    band: str,
    average: int | None,
    first_order: int | None,
    finite: int | None,
    trials: int,
    seed: int,
    workers: int | None,
    drawing: Drawing,
) -> None:
    """Moments E Tr H(t)^k of the Hessian through training, in the infinite-width limit.

    Gradient flow on a loss (1/N) Σ c(f(x), y), by default the mean squared error |f(x) - y|²/2, in its own time t.
    Without arguments: smooth ReLU beside normalized smooth ReLU, three layers, on 256 digits of 14 x 14 pixels (MNIST;
    LeCun, Cortes, Burges; CC BY-SA 3.0) with one-hot targets. Prints a table and writes curves.csv and curves.png.

    For a loss other than mse, 64 initialisations are drawn and followed, on 100 digits and at 25 times unless said
    otherwise: about 15 seconds for softmax on two cores.

    Columns of curves.csv: activation; time (of gradient flow); k (power); trace_h, trace_i, trace_s (E Tr H^k, Tr I^k, their
    difference); trace_h_std (standard deviation over initialisations); loss; with --finite finite_mean and finite_std over
    networks; with --width, at t = 0 for k = 1 and 2, width_trace_h, width_trace_i, width_trace_s (means to first order in
    1/width, of Tr H^k, Tr I^k and their difference), and for k = 1 width_trace_h_std and width_trace_i_std (one standard
    deviation of Tr H and of Tr I over networks); with quantiles q05, q95 and, of the mean of T networks, mean_q05, mean_q95.
    """
    from kernelcalc.errors import InputError
    from kernelcalc.machine import processors
    from kernelcalc.studies.experiment import silent
    from kernelcalc.studies.figures.curves import SAMPLED_POINTS, Curves
    from kernelcalc.training.losses import NAMED_LOSSES, resolve_loss

    law = resolve_loss(loss)
    if finite is not None and law.name not in NAMED_LOSSES:
        raise InputError("--finite with --loss " + ", ".join(NAMED_LOSSES), f"--loss {loss!r}")
    if average is not None and not law.is_quadratic:
        raise InputError("--average with --loss mse", f"--loss {loss!r}", "--band quantiles takes any loss")
    if first_order is not None and not law.is_quadratic:
        raise InputError("--width with --loss mse", f"--loss {loss!r}", "--finite draws networks under any named loss")
    drawing.ready()
    x, y = data.read(law, seed, None if law.is_quadratic else SAMPLED_POINTS)
    nets = _networks(architecture, activations, depth=depth, sigma_w=sigma_w, beta=beta, n_out=y.shape[1])
    x = positioned(next(iter(nets.values())), x)
    report = Curves(
        nets=nets,
        law=law,
        times=times,
        kmax=kmax,
        samples=samples,
        quantiles=band == "quantiles",
        average=average,
        width=finite,
        trials=trials,
        first_order=first_order,
        workers=workers or processors(),
        seed=seed,
    ).measure(x, y, progress if shows_progress() else silent)
    say(str(report))
    columns = report.columns()
    written = drawing.write("curves", {"curves": columns}, report.figure)
    say_written(written, recipe() | {"curves": columns})


def _networks(architecture: str | None, activations: tuple[str, ...], **settings: Any) -> dict[str, Sequential]:
    """By the names of their nonlinearities, or one by its text."""
    from kernelcalc.activations.names import from_text
    from kernelcalc.kernels.architecture import network_from_text

    nets = {one.name: network_from_text(architecture, one, **settings) for one in map(from_text, activations)}
    if architecture is None or len(set(nets.values())) > 1:
        return nets
    return {architecture: next(iter(nets.values()))}
