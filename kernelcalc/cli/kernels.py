"""``kernelcalc kernels``: the limiting kernels of a data set, written to an .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernelcalc.cli.dataset import ARCHITECTURE, DataOptions, point_options, positioned
from kernelcalc.cli.drawing import Folder, OutputPath, ending_of
from kernelcalc.cli.names import ACTIVATION, KERNEL
from kernelcalc.cli.recipe import Remembered, check_not_input, recipe
from kernelcalc.cli.terminal import say, say_written, shows_progress

if TYPE_CHECKING:
    import numpy as np

    from kernelcalc.kernels.mlp import Sequential


@click.command(cls=Remembered, epilog="Example: kernelcalc kernels -a tanh --depth 3 --data points.csv -o kernels.npz")
@click.option(
    "-a",
    "--activation",
    type=ACTIVATION,
    default="smooth_relu",
    show_default=True,
    metavar="TEXT",
    help="Name or expression.",
)
@ARCHITECTURE
@click.option("--depth", type=int, default=3, show_default=True, help="Number L of weight layers.")
@click.option("--sigma-w", type=float, default=1.0, show_default=True, help="Standard deviation of the weights.")
@click.option("--beta", type=float, default=0.1, show_default=True, help="Factor of the biases.")
@point_options
@click.option(
    "--only",
    type=KERNEL,
    multiple=True,
    metavar="NAMES",
    help="Compute this kernel only; repeat or use commas for more.",
)
@click.option(
    "-o",
    "--out",
    type=OutputPath(),
    help="Output file (.npz), with dask a folder (.zarr).  [default: kernels.npz/.zarr]",
)
@click.option(
    "--engine", "machinery", type=click.Choice(["memory", "numba", "dask", "dask+numba"]), default="memory", show_default=True,
    help="numba: compiled sums. dask: block by block into a Zarr folder, beyond memory; an unfinished folder is continued. "
    "dask+numba: both.",
)  # fmt: skip
@click.option("--chunks", type=click.IntRange(min=1), default=2048, show_default=True, help="Points in a block (dask).")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes (dask), each of which uses threads.  [default: one a core]"
)
@click.option("--scheduler", metavar="ADDRESS", help="A running dask cluster instead, such as tcp://host:8786.")
def kernels(
    activation: str,
    architecture: str | None,
    depth: int,
    sigma_w: float,
    beta: float,
    data: DataOptions,
    only: tuple[str, ...],
    out: Path | None,
    machinery: str,
    chunks: int,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Gram matrices of the limiting kernels Σ, Θ, Φ, Λ, Υ, Ξ, with a summary."""
    from kernelcalc.activations.names import as_activation
    from kernelcalc.errors import InputError, OutputFileError
    from kernelcalc.kernels.architecture import network_from_text
    from kernelcalc.kernels.state import KERNEL_NAMES
    from kernelcalc.output.files import check_writable, writable_folder, write_npz

    by_dask = machinery.startswith("dask")
    if not by_dask and (workers or scheduler):
        raise InputError("--engine dask with --workers or --scheduler", f"--engine {machinery}")
    out = out or Path("kernels.zarr" if by_dask else "kernels.npz")
    if not by_dask and (out.is_dir() or isinstance(out, Folder)):
        raise OutputFileError(f"expected a file name for the kernels, got the folder {out}")
    wanted = "zarr" if by_dask else "npz"
    is_device = out.exists() and not out.is_file() and not out.is_dir()
    if ending_of(out) not in (wanted, None):
        raise InputError(f"-o with the ending .{wanted} for --engine {machinery}", str(out))
    out = out if ending_of(out) or is_device else out.with_name(f"{out.name}.{wanted}")
    check_writable(out.parent)
    check_not_input([out])
    only = tuple(dict.fromkeys(name.strip() for text in only for name in text.split(",")))
    points, _ = data.load()
    points = data.scaled(points, "raw" if data.has_file else "sphere")
    net = network_from_text(architecture, as_activation(activation), depth=depth, sigma_w=sigma_w, beta=beta)
    heading = f"{net!r}: {points.shape[0]} points in {points.shape[1]} dimensions"
    points = positioned(net, points)
    if not by_dask:
        result = net.kernels(points, only=only or None, engine="numba" if machinery == "numba" else None)
        sums = {name: (getattr(result, name).trace(), getattr(result, name).sum()) for name in result.available}
        writable_folder(out.parent)
        write_npz(out, {name: getattr(result, name) for name in result.available})
    else:
        sums = _by_dask(net, points, only, machinery, chunks, out, workers, scheduler)
    say(heading)
    say(f"{'kernel':>8} {'mean diagonal':>15} {'mean off diagonal':>18}")
    n, means = len(points), {}
    for name, (trace, total) in sums.items():
        off = (total - trace) / (n * (n - 1)) if n > 1 else float("nan")
        say(f"{name:>8} {trace / n:15.8g} {off:18.8g}")
        means[name] = {"mean_diagonal": trace / n, "mean_off_diagonal": off}
    missing = [] if only else [name for name in KERNEL_NAMES if name not in sums]
    if missing:
        say(f"left out: {', '.join(missing)}, which need a nonlinearity in C⁴; smooth_relu(scale=...) is a smooth relu")
    say_written([out], recipe() | {"points": points.shape, "kernels": means, "left_out": missing})


def _by_dask(
    net: Sequential,
    points: np.ndarray,
    only: tuple[str, ...],
    machinery: str,
    chunks: int,
    out: Path,
    workers: int | None,
    scheduler: str | None,
) -> dict[str, tuple[float, float]]:
    """Write the folder; trace and sum of every kernel, from one pass over it."""
    from kernelcalc.kernels.distributed.engine import cluster, require
    from kernelcalc.kernels.distributed.lazy_kernels import LazyKernels
    from kernelcalc.machine import processors

    lazy = net.kernels(points, only=only or None, engine=machinery, chunks=chunks)
    assert isinstance(lazy, LazyKernels)
    with cluster(scheduler, workers or processors()) as client:
        stored = lazy.to_zarr(out, progress=shows_progress(), client=client)
        arrays = {name: getattr(stored, name) for name in stored.available}
        dask, da = (require(module, "--engine dask") for module in ("dask", "dask.array"))
        (found,) = dask.compute({name: (da.trace(a), a.sum()) for name, a in arrays.items()})
    return {name: (float(trace), float(total)) for name, (trace, total) in found.items()}
