"""``kernelcalc kernels``: the limiting kernels of a data set, written to an .npz file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: kernelcalc kernels -a tanh --depth 3 --data points.csv -o kernels.npz")
@click.option(
    "-a", "--activation", default="smooth_relu", show_default=True, metavar="TEXT", help="Name or expression."
)
@click.option("--depth", type=int, default=3, show_default=True, help="Number L of weight layers.")
@click.option("--sigma-w", type=float, default=1.0, show_default=True, help="Standard deviation of the weights.")
@click.option("--beta", type=float, default=0.1, show_default=True, help="Factor of the biases.")
@click.option("--data", type=click.Path(path_type=Path), help="Points, .npz or .csv.  [default: 256 digits]")
@click.option("--labels", help="Name (or, in a CSV file, number) of the labels in the data file.")
@click.option("--only", multiple=True, metavar="NAME", help="Compute this kernel only; repeat for more.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("kernels.npz"), show_default=True, help="Output file."
)
def kernels(
    activation: str,
    depth: int,
    sigma_w: float,
    beta: float,
    data: Path | None,
    labels: str | None,
    only: tuple[str, ...],
    out: Path,
) -> None:
    """Gram matrices of the limiting kernels Σ, Θ, Φ, Λ, Υ, Ξ, with a summary."""
    import numpy as np

    from kernelcalc import datasets
    from kernelcalc.activations import as_activation
    from kernelcalc.errors import OutputFileError
    from kernelcalc.export import writable_folder, write_npz
    from kernelcalc.network import MLP

    writable_folder(out.parent)
    if out.is_dir():
        raise OutputFileError(f"expected a file name for the kernels, got the folder {out}")
    points, _ = datasets.mnist14() if data is None else datasets.load(data, labels=labels)
    net = MLP(as_activation(activation), depth=depth, sigma_w=sigma_w, beta=beta)
    result = net.kernels(points, only=only or None)
    click.echo(f"{net!r}: {points.shape[0]} points in {points.shape[1]} dimensions")
    click.echo(f"{'kernel':>8} {'mean diagonal':>15} {'mean off diagonal':>18} {'trace / N':>12}")
    for name in result.available:
        matrix = getattr(result, name)
        n = len(matrix)
        off = (matrix.sum() - np.trace(matrix)) / (n * (n - 1)) if n > 1 else float("nan")
        click.echo(f"{name:>8} {np.diag(matrix).mean():15.8g} {off:18.8g} {np.trace(matrix) / n:12.6g}")
    write_npz(out, {name: getattr(result, name) for name in result.available})
    click.echo(f"\nwritten: {out}")
