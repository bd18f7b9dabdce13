"""``kernelcalc spectrum``: eigenvalues of the Hessian's first part at initialisation, its outliers, the bulk of S."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import DataOptions, count, data_options, loss_option, network_options

if TYPE_CHECKING:
    import numpy as np


@click.command(epilog="Example: kernelcalc spectrum -a tanh --loss softmax -n 200 --width 512")
@click.option(
    "-a", "--activation", default="smooth_relu", show_default=True, metavar="TEXT", help="Name or expression."
)
@network_options
@data_options
@loss_option
@click.option("--width", type=click.IntRange(min=1), default=1000, show_default=True, help="Hidden width, for S.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the initialisation.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("kernelcalc-spectrum"), show_default=True,
    help="Folder for spectrum.csv and spectrum.png.",
)  # fmt: skip
@click.option("--no-png", is_flag=True, help="Write no picture (matplotlib is not needed then).")
def spectrum(
    activation: str,
    depth: int,
    sigma_w: float,
    beta: float,
    data: DataOptions,
    loss: str,
    width: int,
    seed: int,
    out: Path,
    no_png: bool,
) -> None:
    """Spectrum of the Hessian H = I + S at initialisation, in the infinite-width limit.

    The nonzero eigenvalues of I are those of 𝓗C^½ Θ 𝓗C^½, drawn for one initialisation: a few outliers, which the class
    means of Θ predict, above a long tail. Were the gradients of the outputs independent random vectors, their eigenvalues
    would keep within the edges of Marchenko and Pastur, and a direction would have to pass the threshold of Baik, Ben
    Arous and Péché (BBP) to stand out. S is spread over a rank that grows with the width: what is known of it is Tr S²,
    hence the root mean square of its eigenvalues. In the mean-field limit (outputs divided by √width) I stays and S grows
    by √width.
    """
    import numpy as np

    from kernelcalc.activations.names import from_text
    from kernelcalc.kernels.mlp import MLP
    from kernelcalc.output.files import writable_folder, write_csv, write_figure
    from kernelcalc.studies.meanfield import mean_field_moments
    from kernelcalc.studies.spectrum import (
        bulk_scale,
        cluster_spectrum,
        marchenko_pastur_edges,
        rank_bound_i,
        rank_bound_s,
        spectrum_of_i,
    )
    from kernelcalc.training.losses import resolve_loss
    from kernelcalc.training.start import covariance_root

    law = resolve_loss(loss)
    folder = writable_folder(out)
    if not no_png:
        from kernelcalc.output.style import require_matplotlib

        require_matplotlib()
    x, y = data.read(law, seed)
    n, n_out = y.shape
    net = MLP(from_text(activation), depth=depth, sigma_w=sigma_w, beta=beta, n_out=n_out)
    kernels = net.kernels(x)
    start = covariance_root(kernels.sigma) @ np.random.default_rng(seed).standard_normal((n, n_out))
    found = spectrum_of_i(kernels, start, y, law)
    classes, members = np.unique(y, axis=0, return_inverse=True)
    clusters = len(classes) if len(classes) <= n // 2 else 0
    expected = cluster_spectrum(kernels.theta, law.hessian(start, y), members.ravel()) if clusters else np.zeros(0)
    widths = [width] * (depth - 1)
    rank, bulk, trace_s2 = rank_bound_s(n, widths) if widths else 0, 0.0, 0.0
    if "upsilon" in kernels.available and widths:
        slope = law.gradient(start, y)
        # i, j: points; a: output
        trace_s2 = float(np.einsum("ia,ij,ja->", slope, kernels.upsilon, slope))
        bulk = bulk_scale(trace_s2, n, widths)
    outliers = {rule: found.outliers(rule) for rule in ("gap", "ratio", "cutoff")}
    positive = found.values[found.values > 1e-13 * found.values[0]]
    click.echo(
        f"Spectrum of the Hessian at initialisation: {count(n, 'point')} in {x.shape[1]} dimensions, "
        f"{count(n_out, 'output')}, {law.name} loss\n{net!r}\n"
    )
    click.echo("I = J^T (Hessian of C) J: the outliers")
    _line("nonzero eigenvalues", f"{positive.size}   (at most N n_out = {rank_bound_i(n, n_out)})")
    _line("largest, median, smallest", ", ".join(f"{positive[i]:.4g}" for i in (0, positive.size // 2, -1)))
    _line("Tr I, Tr I^2", f"{found.moment(1):.5g}, {found.moment(2):.5g}")
    for rule, name in (("gap", "largest gap"), ("ratio", "largest ratio"), ("cutoff", "elbow of the rank plot")):
        _line(f"outliers by {name}", str(outliers[rule]))
    if clusters:
        possible = clusters * (n_out - 1 if law.has_blocks else n_out)
        _line("were each class a single point", f"{possible} nonzero eigenvalues, {_largest(expected)}")
    sizes = [x.shape[1], *widths, n_out]
    parameters = sum((a + (beta > 0)) * b for a, b in pairwise(sizes))
    gamma, mean = positive.size / parameters, found.moment(1) / positive.size
    low, high = marchenko_pastur_edges(gamma, mean)
    click.echo(f"\nWere its gradients independent: {positive.size} vectors of {parameters} parameters, width {width}")
    _line("eigenvalues (Marchenko-Pastur)", f"{low:.4g} to {high:.4g}   ({(positive > high).sum()} are above)")
    _line("a direction stands out from (BBP)", f"{1 + gamma**0.5:.4g} times the mean eigenvalue {mean:.4g}")
    if depth > 1:
        click.echo(f"\nS: the bulk, hidden layers of width {width}")
        _line("rank at most", f"2 N (n_1 + ... + n_(L-1)) = {rank}")
    if bulk > 0:
        _line("Tr S^2", f"{trace_s2:.5g}")
        _line("root mean square eigenvalue", f"{bulk:.4g}   (largest of I: {positive[0] / bulk:.3g} times that)")
    elif depth > 1:
        click.echo(
            "  the nonlinearity is not smooth enough for the theory's Upsilon to exist. Where sigma'' = 0 almost\n"
            "  everywhere, as for relu, Tr S = 0 and Tr S^2 has the limit that `kernelcalc sagun split` gives"
        )
    if depth > 1 and {"upsilon", "xi"} <= set(kernels.available):
        at = mean_field_moments(kernels, y, law).at_width(width)
        click.echo(f"\nMean-field limit: outputs divided by sqrt(width), learning rate times the width, {width}")
        _line("Tr H", f"{at['trace_h_mean']:.4g} ± {at['trace_h_std']:.4g}")
        _line("Tr H^2, leading order", f"{at['trace_h2']:.5g}")
    columns: dict[str, Any] = {
        "rank": np.arange(1, found.values.size + 1),
        "eigenvalue": found.values,
        "class_means": np.concatenate([expected, np.full(found.values.size, np.nan)])[: found.values.size],
    }
    written = [write_csv(folder / "spectrum.csv", columns)]
    if not no_png:
        from kernelcalc.output.spectrum import spectrum_figure

        name = net.activations[0].name.replace("_", " ") if net.activations else "linear"
        title = rf"{name}, $L = {depth}$, {law.name} loss, {n} points, {count(n_out, 'output')}, $t = 0$"
        figure = spectrum_figure(
            found, title=title, predicted=expected if clusters else None, outliers=outliers, bulk=bulk, width=width
        )
        written.append(write_figure(folder / "spectrum.png", figure))
    click.echo("\n" + " ".join(["written:", *map(str, written)]))


def _largest(values: np.ndarray) -> str:
    """The three largest of descending values, equal ones counted.

    Examples
    --------
    >>> _largest([2.0, 2.0, 1.0, 0.5, 0.5])
    'the largest 2 (2 times), 1, 0.5 (2 times)'
    """
    found: list[tuple[float, int]] = []
    for value in values:
        if found and abs(value - found[-1][0]) <= 1e-9 * abs(found[-1][0]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif len(found) == 3:
            break
        else:
            found.append((float(value), 1))
    return "the largest " + ", ".join(f"{value:.4g}" + (f" ({k} times)" if k > 1 else "") for value, k in found)


def _line(name: str, value: str) -> None:
    click.echo(f"  {name:<36}{value}")
