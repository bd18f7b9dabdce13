"""``kernelcalc curves``: moments of the Hessian through training, as a table, a CSV file and a picture."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import DataOptions, count, data_options, loss_option, network_options

if TYPE_CHECKING:
    import numpy as np

    from kernelcalc.kernels.mlp import MLP
    from kernelcalc.training.trajectory import Trajectory

# The paper's Figure 1: smooth ReLU (left), normalised smooth ReLU (right).
DEFAULT_ACTIVATIONS = ("smooth_relu", "normalized smooth_relu")
POINTS_IN_TIME = 60
TABLE_ROWS = 7
# What a loss without a closed form does by default: measured 20 s for softmax on two cores.
SAMPLED_POINTS = 100
SAMPLED_TIMES = 24
FINITE_TIMES = 8
# An explicit integrator needs about λ_max t/2N steps; beyond this many units N/λ_max crosses cost more than they tell.
FINITE_HORIZON = 100.0
LEVELS = (0.05, 0.95)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What one panel shows."""

    name: str
    trajectory: Trajectory
    finite: Any = None
    # Names of columns to (kmax, T) arrays.
    quantiles: dict[str, np.ndarray] = field(default_factory=dict)


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


@click.command(epilog="Example: kernelcalc curves -a tanh -a 'x*erf(x)' --depth 4 --finite 64 --trials 20")
@click.option(
    "-a", "--activation", "activations", multiple=True, default=DEFAULT_ACTIVATIONS, metavar="TEXT",
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
    "network, which under mse are exact (half a minute for 256 points).",
)  # fmt: skip
@click.option(
    "--average", type=click.IntRange(min=1), metavar="T",
    help="Exact quantiles of the mean of T networks too, in the file and as a darker band (mse).",
)  # fmt: skip
@click.option("--finite", type=click.IntRange(min=1), metavar="WIDTH", help="Add networks of this width, as crosses.")
@click.option("--trials", type=click.IntRange(min=2), default=20, show_default=True, help="Number of finite networks.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes for the finite networks.  [default: one a core]")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("kernelcalc-curves"), show_default=True,
    help="Folder for curves.csv and curves.png.",
)  # fmt: skip
@click.option("--no-png", is_flag=True, help="Write no picture (matplotlib is not needed then).")
def curves(
    activations: tuple[str, ...],
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
    finite: int | None,
    trials: int,
    seed: int,
    workers: int | None,
    out: Path,
    no_png: bool,
) -> None:
    """Moments E Tr H(t)^k of the Hessian through training, in the infinite-width limit.

    Gradient flow on a loss (1/N) Σ c(f(x), y), by default the mean squared error |f(x) - y|²/2, in its own time t.
    Without arguments: smooth ReLU beside normalized smooth ReLU, three layers, on 256 digits of 14 x 14 pixels (MNIST;
    LeCun, Cortes, Burges; CC BY-SA 3.0) with one-hot targets. Prints a table and writes curves.csv and curves.png.

    For a loss other than mse, 64 initialisations are drawn and followed, on 100 digits and at 25 times unless said
    otherwise: about 15 seconds for softmax on two cores.
    """
    from kernelcalc.activations.names import from_text
    from kernelcalc.cli import progress, shows_progress
    from kernelcalc.errors import InputError
    from kernelcalc.kernels.mlp import MLP
    from kernelcalc.output.files import writable_folder
    from kernelcalc.training.losses import NAMED_LOSSES, resolve_loss
    from kernelcalc.training.moments import moments

    law = resolve_loss(loss)
    if finite is not None and law.name not in NAMED_LOSSES:
        raise InputError("--finite with --loss " + ", ".join(NAMED_LOSSES), f"--loss {loss!r}")
    if average is not None and not law.is_quadratic:
        raise InputError("--average with --loss mse", f"--loss {loss!r}", "--band quantiles takes any loss")
    folder = writable_folder(out)
    if not no_png:
        from kernelcalc.output.style import require_matplotlib

        require_matplotlib()
    exact = law.is_quadratic
    x, y = data.read(law, seed, None if exact else SAMPLED_POINTS)
    nets = {
        activation: MLP(activation, depth=depth, sigma_w=sigma_w, beta=beta, n_out=y.shape[1])
        for activation in map(from_text, activations)
    }
    kernels = {activation: net.kernels(x) for activation, net in progress(nets.items(), "kernels")}
    grid = _times(times, [k.theta for k in kernels.values()], POINTS_IN_TIME if exact else SAMPLED_TIMES)
    found = []
    # The sampled losses show their own bar, one step a time.
    for activation, limit in progress(kernels.items(), "moments") if exact else kernels.items():
        trajectory = moments(limit, y, grid, law, kmax=kmax, samples=samples, rng=seed, progress=shows_progress())
        _ = trajectory.trace_h_std  # computed here, under the progress bar
        found.append(Curve(name=activation.name, trajectory=trajectory))
    if band == "quantiles" or average is not None:
        pairs = list(zip(found, kernels.values(), strict=True))
        found = [
            replace(curve, quantiles=_quantiles(curve.trajectory, limit, y, average))
            for curve, limit in progress(pairs, "quantiles")
        ]
    if finite is not None:
        late = FINITE_HORIZON * min(len(x) / _largest_eigenvalue(k.theta) for k in kernels.values())
        options: dict[str, Any] = {
            "width": finite,
            "trials": trials,
            "rng": seed,
            "workers": workers or os.cpu_count() or 1,
            "progress": shows_progress(),
        }
        options["loss"] = law.name
        found = [_with_finite(curve, net, x, y, late, options) for curve, net in zip(found, nets.values(), strict=True)]
    setting = f"{len(x)} points in {x.shape[1]} dimensions, {count(y.shape[1], 'output')}"
    network = f"L = {depth}, sigma_w = {sigma_w:g}, beta = {beta:g}"
    network += "" if exact else f", {law.name} loss, {samples} initialisations"
    click.echo(f"Moments of the Hessian through training: {setting}, {network}")
    for curve in found:
        click.echo("\n" + table(curve))
    click.echo("\n" + " ".join(["written:", *map(str, _write(folder, found, no_png, average))]))


def table(curve: Curve) -> str:
    """The moments at a few times, as text."""
    import numpy as np

    trajectory = curve.trajectory
    rows = np.unique(np.linspace(0, trajectory.times.size - 1, TABLE_ROWS).astype(int))
    head, lines = f"{'t':>10}", []
    for k in range(1, trajectory.kmax + 1):
        head += f"{'Tr H' if k == 1 else f'Tr H^{k}':>11}" + (f"{'± std':>9}" if k <= 2 else "")
    for i in rows:
        line = f"{trajectory.times[i]:>10.4g}"
        for k in range(trajectory.kmax):
            line += f"{trajectory.trace_h[k, i]:>11.4g}" + (f"{trajectory.trace_h_std[k, i]:>9.2g}" if k < 2 else "")
        lines.append(line + f"{trajectory.loss[i]:>11.3g}")
    return "\n".join([curve.name, head + f"{'loss':>11}", *lines])


def csv_columns(found: list[Curve]) -> dict[str, Any]:
    """Tidy columns of all curves; cells without a finite network are NaN."""
    import numpy as np

    parts = []
    for curve in found:
        columns: dict[str, Any] = curve.trajectory.columns()
        columns = {"activation": np.full(columns["k"].size, curve.name, dtype=object), **columns}
        if curve.finite is not None:
            at = np.searchsorted(curve.trajectory.times, curve.finite.times)
            for name, rows in (("finite_mean", curve.finite.trace_h), ("finite_std", curve.finite.trace_h_std)):
                cells = np.full((curve.trajectory.times.size, curve.trajectory.kmax), np.nan)
                cells[at] = np.asarray(rows).T
                columns[name] = cells.ravel()
        columns |= {name: rows.T.ravel() for name, rows in curve.quantiles.items()}
        parts.append(columns)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _quantiles(trajectory: Trajectory, limit: Any, y: np.ndarray, average: int | None) -> dict[str, np.ndarray]:
    """5 % and 95 % quantiles of Tr H^k, (kmax, T) each: of one network, and of the mean of ``average``."""
    from kernelcalc.training.flow import SampledTrajectory
    from kernelcalc.training.law import mse_quantiles

    if isinstance(trajectory, SampledTrajectory):
        return dict(zip(("q05", "q95"), trajectory.quantiles("trace_h", LEVELS), strict=True))
    columns: dict[str, np.ndarray] = {}
    for prefix, copies in (("", 1), ("mean_", average)):
        if copies is None:
            continue
        low, high = trajectory.trace_i.copy(), trajectory.trace_i.copy()
        for k, moment in enumerate(("trace_s", "trace_s2")[: trajectory.kmax]):
            spread = mse_quantiles(limit, y, trajectory.times, moment, LEVELS, copies=copies)
            low[k] += spread[0]
            high[k] += spread[1]
        columns |= {f"{prefix}q05": low, f"{prefix}q95": high}
    return columns


def _times(times: tuple[float, float, int] | None, thetas: list[np.ndarray], default: int) -> np.ndarray:
    import numpy as np

    from kernelcalc.training.mse import training_times

    if times is None:
        spans = np.array([training_times(theta, 2)[1:] for theta in thetas])
        start, stop, count = spans[:, 0].min(), spans[:, 1].max(), default
    else:
        start, stop, count = times
    return np.concatenate([[0.0], np.geomspace(start, stop, count)])


def _with_finite(curve: Curve, net: MLP, x: np.ndarray, y: np.ndarray, late: float, options: dict[str, Any]) -> Curve:
    import numpy as np

    from kernelcalc.finite.ensembles.ensemble import moments_through_training

    times = curve.trajectory.times
    early = np.flatnonzero(times <= max(late, times[1]))
    at = np.unique(early[np.linspace(0, early.size - 1, FINITE_TIMES).astype(int)])
    finite = moments_through_training(net, x, y, times[at], kmax=curve.trajectory.kmax, **options)
    return replace(curve, finite=finite)


def _write(folder: Path, found: list[Curve], no_png: bool, average: int | None) -> list[Path]:
    from kernelcalc.output.files import write_csv, write_figure

    written = [write_csv(folder / "curves.csv", csv_columns(found))]
    if not no_png:
        from kernelcalc.output.moments import curves_figure

        panels = [(curve.name.replace("_", " "), curve.trajectory, curve.finite) for curve in found]
        if found[0].quantiles:
            prefixes = ("", "mean_") if average is not None else ("",)
            bands = [[(curve.quantiles[f"{p}q05"], curve.quantiles[f"{p}q95"]) for p in prefixes] for curve in found]
            labels = ("5–95 % of networks", f"mean of {average}")[: len(prefixes)]
            figure = curves_figure(panels, bands, labels)
        else:
            figure = curves_figure(panels)
        written.append(write_figure(folder / "curves.png", figure))
    return written


def _largest_eigenvalue(theta: np.ndarray) -> float:
    import numpy as np

    return float(np.linalg.norm(theta, 2))
