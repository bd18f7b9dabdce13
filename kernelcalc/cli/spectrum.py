"""``kernelcalc spectrum``: eigenvalues of the Hessian's first part at initialisation, its outliers, the bulk of S."""

from __future__ import annotations

import click

from kernelcalc.cli.dataset import DataOptions, data_options, loss_option, network_options, positioned
from kernelcalc.cli.drawing import Drawing, drawing_options
from kernelcalc.cli.names import ACTIVATION, HIDDEN_WIDTH
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import say, say_written


@click.command(cls=Remembered, epilog="Example: kernelcalc spectrum -a tanh --loss softmax -n 200 --width 512")
@click.option(
    "-a",
    "--activation",
    type=ACTIVATION,
    default="smooth_relu",
    show_default=True,
    metavar="TEXT",
    help="Name or expression.",
)
@network_options
@data_options
@loss_option
@click.option("--width", type=HIDDEN_WIDTH, default=1000, show_default=True, help="Hidden width, for S.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the initialisation.")
@click.option(
    "--components", type=click.IntRange(min=1), metavar="K",
    help="Draw the K leading kernel principal components as pictures of the points instead.",
)  # fmt: skip
@click.option(
    "--classes", is_flag=True,
    help="Draw Papyan's hierarchy of I instead: class, cross-class, own-class and within-class parts.",
)  # fmt: skip
@drawing_options("kernelcalc-spectrum", "spectrum.csv and spectrum.png", short_width=False)
def spectrum(
    activation: str,
    architecture: str | None,
    depth: int,
    sigma_w: float,
    beta: float,
    data: DataOptions,
    loss: str,
    width: int,
    seed: int,
    components: int | None,
    classes: bool,
    drawing: Drawing,
) -> None:
    """Spectrum of the Hessian H = I + S at initialisation, in the infinite-width limit.

    The nonzero eigenvalues of I are those of 𝓗C^½ Θ 𝓗C^½, drawn for one initialisation: a few outliers, which the class
    means of Θ predict, above a long tail. Were the gradients of the outputs independent random vectors, their eigenvalues
    would keep within the edges of Marchenko and Pastur, and a direction would have to pass the threshold of Baik, Ben
    Arous and Péché (BBP) to stand out. S is spread over a rank that grows with the width: what is known of it is Tr S²,
    hence the root mean square of its eigenvalues. In the mean-field limit (outputs divided by √width) I stays and S grows
    by √width.

    Columns of spectrum.csv: rank, eigenvalue (of I, descending), class_means (the eigenvalue were each class one point).
    With --components, of spectrum_components.csv: component, eigenvalue, point, weight (its kernel principal component).
    With --classes, of spectrum_classes.csv: rank, eigenvalue (of I), class, cross, own, within (of its parts), predicted (of
    the first three together), class_share, mean_share (of each eigenvector of I in the span of the class means, of all means).
    """
    import numpy as np

    from kernelcalc.kernels.architecture import network_from_text
    from kernelcalc.output.spectrum import classes_figure
    from kernelcalc.studies.spectrum_report import SpectrumReport, hierarchy_at_start, leading_components
    from kernelcalc.training.losses import resolve_loss

    law = resolve_loss(loss)
    drawing.ready()
    x, y = data.read(law, seed)
    net = network_from_text(architecture, activation, depth=depth, sigma_w=sigma_w, beta=beta, n_out=y.shape[1])
    x = positioned(net, x)
    if classes and components is not None:
        raise click.UsageError("one of --components and --classes")
    report = SpectrumReport.of(net, x, y, law, width, seed)
    say(str(report))
    if classes:
        hierarchy = hierarchy_at_start(net, x, y, law, seed)
        say(f"\n{hierarchy.text()}")
        parts = {"spectrum_classes": hierarchy.columns()}
        written = drawing.write("spectrum_classes", parts, lambda: classes_figure(parts["spectrum_classes"]))
        say_written(written, recipe() | parts)
        return
    if components is not None:
        values, weights = leading_components(report.found, components)
        columns = {
            "component": np.repeat(np.arange(1, len(values) + 1), len(x)),
            "eigenvalue": np.repeat(values, len(x)),
            "point": np.tile(np.arange(len(x)), len(values)),
            "weight": weights.ravel(),
        }
        tables = {"spectrum_components": columns}
        written = drawing.write("spectrum_components", tables, lambda: report.components_figure(x, components))
        say_written(written, recipe() | tables)
        return
    written = drawing.write("spectrum", {"spectrum": report.columns()}, report.figure)
    about = {
        "outliers": report.outliers,
        "trace_s2": report.trace_s2,
        "bulk": report.bulk,
        "parameters": report.parameters,
    }
    say_written(written, recipe() | about | {"spectrum": report.columns()})
