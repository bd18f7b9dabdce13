"""``kernelcalc spectrum``: eigenvalues of the Hessian's first part at initialisation, its outliers, the bulk of S."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kernelcalc.cli.dataset import count, data_options, loss_option, network_options, read


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
    data: Path | None,
    labels: str | None,
    points: int | None,
    scale: str,
    targets: str | None,
    loss: str,
    width: int,
    seed: int,
    out: Path,
    no_png: bool,
) -> None:
    """Spectrum of the Hessian H = I + S at initialisation, in the infinite-width limit.

    The nonzero eigenvalues of I are those of 𝓗C^½ Θ 𝓗C^½, drawn for one initialisation: a few outliers, which the class
    means of Θ predict, above a long tail. S is spread over a rank that grows with
    the width: what is known of it is Tr S², hence the root mean square of its eigenvalues.
    """
    import numpy as np

    from kernelcalc.catalogue import from_text
    from kernelcalc.export import writable_folder, write_csv, write_figure
    from kernelcalc.gradient_flow import covariance_root
    from kernelcalc.losses import resolve_loss
    from kernelcalc.network import MLP
    from kernelcalc.spectrum import bulk_scale, cluster_spectrum, rank_bound_i, rank_bound_s, spectrum_of_i

    law = resolve_loss(loss)
    folder = writable_folder(out)
    if not no_png:
        from kernelcalc.plot import require_matplotlib

        require_matplotlib()
    x, y = read(data, labels, points, scale, targets, law)
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
        directions = clusters * (n_out - 1 if law.has_blocks else n_out)
        _line("classes", f"{clusters}: at most {directions} outliers were each class one point")
        _line("largest from class means", ", ".join(f"{value:.4g}" for value in expected[:3]))
    if depth > 1:
        click.echo(f"\nS: the bulk, hidden layers of width {width}")
        _line("rank at most", f"2 N (n_1 + ... + n_(L-1)) = {rank}")
    if bulk > 0:
        _line("Tr S^2", f"{trace_s2:.5g}")
        _line("root mean square eigenvalue", f"{bulk:.4g}   (largest of I: {positive[0] / bulk:.3g} times that)")
    elif depth > 1:
        click.echo("  the nonlinearity is not smooth: Tr S^2 has no limit for it")
    columns: dict[str, Any] = {
        "rank": np.arange(1, found.values.size + 1),
        "eigenvalue": found.values,
        "class_means": np.concatenate([expected, np.full(found.values.size, np.nan)])[: found.values.size],
    }
    written = [write_csv(folder / "spectrum.csv", columns)]
    if not no_png:
        from kernelcalc.plot_spectrum import spectrum_figure

        name = net.activations[0].name.replace("_", " ") if net.activations else "linear"
        title = rf"{name}, $L = {depth}$, {law.name} loss, {n} points, {count(n_out, 'output')}, $t = 0$"
        figure = spectrum_figure(
            found, title=title, predicted=expected if clusters else None, outliers=outliers, bulk=bulk, width=width
        )
        written.append(write_figure(folder / "spectrum.png", figure))
    click.echo("\n" + " ".join(["written:", *map(str, written)]))


def _line(name: str, value: str) -> None:
    click.echo(f"  {name:<36}{value}")
