"""``kernelcalc report``: everything about a network on a data set as one HTML page."""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import DataOptions, data_options, drawn, loss_option, network_options, positioned
from kernelcalc.cli.drawing import OutputPath, ending_of
from kernelcalc.cli.names import ACTIVATION, HIDDEN_WIDTH
from kernelcalc.cli.predict import as_numbers
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import progress, say, say_written, shows_progress

if TYPE_CHECKING:
    import numpy as np

    from kernelcalc.kernels.mlp import Sequential
    from kernelcalc.training.losses import Loss

_ENDINGS = ("html", "htm")
# Figure 1 draws the loss's own number of points; a grid of this size shows the regions.
_GRID = ((0.2, 3.0, 57), (0.0, 2.0, 41))
_FORMULAS = (
    ("Kernels of a network with $L$ layers, with expectations over the Gaussian pair of the layer before:",
     (r"\Sigma^{(\ell+1)}(x, x') = \sigma_w^2\, \mathbb{E}[\sigma(f)\,\sigma(f')] + \beta^2",
      r"\Theta^{(\ell+1)}(x, x') = \Sigma^{(\ell+1)}(x, x') + \sigma_w^2\, \mathbb{E}[\dot\sigma(f)\,\dot\sigma(f')]\;"
      r"\Theta^{(\ell)}(x, x')")),
    ("The Hessian of the loss and its first part, under the mean squared error:",
     (r"H = I + S, \qquad I = \mathcal{J}^T\, \mathcal{H}C\, \mathcal{J}, \qquad \mathrm{Tr}\, I^k = \mathrm{Tr}\,(\Theta/N)^k",
      r"Y(t) = Y^* + e^{-t\,\Theta/N}\,(Y(0) - Y^*)")),
)  # fmt: skip


@click.command(
    cls=Remembered, epilog="Example: kernelcalc report points.csv --labels class -a tanh --loss softmax -o points.html"
)
@click.argument("file", metavar="[DATA]", required=False)
@click.option(
    "-a", "--activation", type=ACTIVATION, default="smooth_relu", show_default=True, metavar="TEXT",
    help="Name or expression.",
)  # fmt: skip
@network_options
@data_options
@loss_option
@click.option("--width", type=HIDDEN_WIDTH, default=1000, show_default=True, help="Hidden width.")
@click.option("--samples", type=click.IntRange(min=2), default=8, show_default=True, help="Draws for losses but mse.")
@click.option("--networks", type=click.IntRange(min=0), help="Finite networks measured beside.  [default: as predict]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("--style", multiple=True, metavar="NAME", help="A style of matplotlib; repeat for more.")
@click.option("-o", "--out", type=OutputPath(), default=Path("report.html"), show_default=True, help="The page.")
def report(
    file: str | None,
    activation: str,
    architecture: str | None,
    depth: int,
    sigma_w: float,
    beta: float,
    data: DataOptions,
    loss: str,
    width: int,
    samples: int,
    networks: int | None,
    seed: int,
    style: tuple[str, ...],
    out: Path,
) -> None:
    """One HTML page about a network on DATA: predictions, curves, spectrum, phase, formulas, how to reproduce it.

    The page holds everything in itself: it opens from the disk, without network and without scripts. DATA is a file as
    --data takes it, by default 256 digits; a fifth of the points is held out for testing, as in predict.
    """
    from dataclasses import replace

    from kernelcalc.errors import InputError
    from kernelcalc.kernels.architecture import network_from_text
    from kernelcalc.output.files import check_writable, writable_folder
    from kernelcalc.output.page import page, write_page
    from kernelcalc.output.style import WIDTHS, applied, check_styles, require_matplotlib
    from kernelcalc.training.losses import resolve_loss

    law = resolve_loss(loss)
    if out.is_dir() or ending_of(out) not in _ENDINGS:
        raise InputError("-o with the ending .html", str(out))
    if file is not None and data.data is not None:
        raise InputError("DATA or --data", "both")
    require_matplotlib()
    check_styles(style)
    check_writable(out.parent)
    x, y = replace(data, data=file or data.data).read(law, seed)
    net = network_from_text(architecture, activation, depth=depth, sigma_w=sigma_w, beta=beta, n_out=y.shape[1])
    x = positioned(net, x)
    words, numbers = _predictions(net, x, y, law, width, samples, networks, seed)
    source = str(file or data.data or "256 digits")
    title = f"{net.activations[0].name if net.activations else 'linear'} on {source}: what a wide network does"
    with applied(style, WIDTHS["text"]):
        sections = [
            ("Setting", _setting(net, source, x, law, width, seed)),
            ("Predictions", words),
            *_drawn(net, x, y, law, width, seed, samples),
            ("Formulas", list(_formulas(net))),
            ("How to reproduce", _reproduce()),
        ]
        writable_folder(out.parent)
        written = write_page(out, page(title, sections))
    say_written([written], recipe() | numbers)


def _setting(net: Sequential, source: str, x: np.ndarray, law: Loss, width: int, seed: int) -> list[str]:
    from kernelcalc.output.page import settings_table

    rows = [
        ("network", repr(net)),
        ("data", f"{source}: {len(x)} points of {x[0].size} inputs, {net.n_out} outputs"),
        ("loss", law.name),
        ("hidden width, where one is needed", str(width)),
        ("seed", str(seed)),
    ]
    return [settings_table(rows)]


def _predictions(
    net: Sequential, x: np.ndarray, y: np.ndarray, law: Loss, width: int, samples: int, networks: int | None, seed: int
) -> tuple[list[str], dict[str, Any]]:
    """What ``predict`` prints, and its numbers."""
    from kernelcalc import datasets
    from kernelcalc.errors import PrecisionWarning
    from kernelcalc.output.page import paragraph, verbatim
    from kernelcalc.studies import heldout, prediction

    train, test = datasets.split(y, len(x) // 5, rng=seed)
    sampling: dict[str, Any] = {"samples": samples, "rng": seed, "networks": networks, "progress": shows_progress()}
    found = prediction.predict(net, x[train], y[train], law, width=width, n_out=y.shape[1], **sampling)
    say(str(found))
    if not len(test):
        return [verbatim(str(found))], as_numbers(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)  # the report says it
        end = math.inf if law.is_quadratic else float(found.moments.times[-1])
        parts = (x[train], y[train], x[test], y[test])
        tested = heldout.held_out(net, *parts, law, time=end, samples=samples, rng=seed)
    held = f"held out for testing: {len(test)} of {len(x)} points, {drawn(y, seed)}"
    return [verbatim(str(found)), paragraph(held), verbatim(str(tested))], as_numbers(found, tested, test.tolist())


def _drawn(
    net: Sequential, x: np.ndarray, y: np.ndarray, law: Loss, width: int, seed: int, samples: int
) -> Iterator[tuple[str, list[str]]]:
    """Curves, spectrum and phase; what the nonlinearity has no theory for says so."""
    from kernelcalc.errors import SmoothnessError
    from kernelcalc.output.page import paragraph

    parts: dict[str, Callable[[], list[str]]] = {
        "Curves through training": lambda: _curves(net, x, y, law, seed, samples),
        "Spectrum at initialisation": lambda: _spectrum(net, x, y, law, width, seed),
        "Order and chaos": lambda: _phase(net),
    }
    for head, part in parts.items():
        try:
            yield head, part()
        except SmoothnessError as error:
            yield head, [paragraph(f"Left out: {error}")]


def _curves(net: Sequential, x: np.ndarray, y: np.ndarray, law: Loss, seed: int, samples: int) -> list[str]:
    from kernelcalc.output.page import picture, verbatim
    from kernelcalc.studies.experiment import silent
    from kernelcalc.studies.figures.curves import SAMPLED_POINTS, Curves

    name = net.activations[0].name if net.activations else "linear"
    few = slice(None if law.is_quadratic else SAMPLED_POINTS)
    found = Curves(nets={name: net}, law=law, samples=samples, seed=seed).measure(
        x[few], y[few], progress if shows_progress() else silent
    )
    caption = "Moments E Tr H(t)^k of the Hessian against gradient-flow time; shaded: ± one standard deviation"
    return [picture(found.figure(), caption), verbatim(str(found))]


def _spectrum(net: Sequential, x: np.ndarray, y: np.ndarray, law: Loss, width: int, seed: int) -> list[str]:
    from kernelcalc.output.page import picture, verbatim
    from kernelcalc.studies.spectrum_report import SpectrumReport

    found = SpectrumReport.of(net, x, y, law, width, seed)
    return [picture(found.figure(), "Eigenvalues of I against their rank, and their density"), verbatim(str(found))]


def _phase(net: Sequential) -> list[str]:
    import numpy as np

    from kernelcalc.cli.phase import table
    from kernelcalc.errors import SmoothnessError
    from kernelcalc.kernels.mlp import MLP
    from kernelcalc.output.page import paragraph, picture, verbatim
    from kernelcalc.output.phase import phase_figure
    from kernelcalc.studies.phase import fixed_points, phase_diagram

    if not isinstance(net, MLP):
        return [paragraph("Left out: the plane of weights and biases is that of plain networks.")]
    if not net.activations or net.activations[0].smoothness < 0:
        raise SmoothnessError("a continuous nonlinearity", "none")
    act, sigma_w, beta = net.activations[0], net.sigma_w, net.beta
    with np.errstate(all="ignore"):
        diagram = phase_diagram(act, *(np.linspace(*part) for part in _GRID))
    label = rf"this network: $\sigma_w = {sigma_w:g}$, $\beta = {beta:g}$"
    words = table(act, fixed_points(act, sigma_w, beta), sigma_w, beta, None)
    caption = "Growth of small differences from layer to layer, and the fixed point of the variance"
    return [picture(phase_figure(diagram, None, sigma_w, beta, label), caption), verbatim(words)]


def _formulas(net: Sequential) -> Iterator[str]:
    from kernelcalc.output.page import formula, paragraph, verbatim

    for words, lines in _FORMULAS:
        yield paragraph(words.replace("$", ""))
        yield from map(formula, lines)
    if net.activations:
        yield paragraph("The nonlinearity:")
        yield verbatim(f"sigma(x) = {net.activations[0].expr}")


def _reproduce() -> list[str]:
    from kernelcalc.output.page import paragraph, settings_table, verbatim

    made = recipe()
    rows = [("version", f"kernelcalc {made['version']}"), ("seed", str(made["seed"]))]
    rows += [("data, SHA-256", made["sha256"])] if "sha256" in made else []
    command = f"kernelcalc {made['command']} {shlex.join(made['arguments'])}"
    return [settings_table(rows), paragraph("The command, with every default written out:"), verbatim(command)]
