"""``kernelcalc validate``: theory beside ensembles of finite networks, as a table, files and a picture."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import DataOptions, check_options, network_options, positioned
from kernelcalc.cli.drawing import Drawing, OutputPath, drawing_options
from kernelcalc.cli.names import ACTIVATION
from kernelcalc.cli.recipe import Remembered, check_not_input, recipe
from kernelcalc.cli.terminal import say, say_written, shows_progress

if TYPE_CHECKING:
    import numpy as np

EMBEDDED_POINTS = 5
# Processor seconds up to which one process is enough, as each other one takes more than one to start; those of a fully
# connected network at N points, of two hidden layers of width n: measured, N = 5, n = 64 to 256.
_FEW_SECONDS, _NETWORK_SECONDS, _SECONDS_A_PRODUCT = 20.0, 0.004, 1.4e-8


class Numbers(click.ParamType):
    """Numbers separated by commas."""

    def __init__(self, kind: type[int] | type[float], example: str) -> None:
        self.kind: type[int] | type[float] = kind
        self.example: str = example
        self.name = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"expected numbers such as {self.example}, got {value!r}", param, ctx)


@click.command(
    cls=Remembered, epilog="Example: kernelcalc validate -a 'x*erf(x)' --depth 2 --widths 32,64,128 --trials 400"
)
@click.option(
    "-a", "--activation", type=ACTIVATION, default="tanh", show_default=True, metavar="TEXT",
    help="Smooth nonlinearity: a name (softplus), a name with parameters (smooth_relu(scale=0.5)), an expression "
    "(x*erf(x)), or 'normalized ...' of these.",
)  # fmt: skip
@network_options
@click.option(
    "--widths",
    type=Numbers(int, "64,128,256"),
    help="Hidden widths.  [default: 64,128,256; with --architecture 24,48,96]",
)
@click.option("--trials", type=click.IntRange(min=2), default=100, show_default=True, help="Networks of each width.")
@click.option("--times", type=Numbers(float, "0,1,10"), default="0,1,10", show_default=True, help="Times in training.")
@check_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all that is drawn.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a core, one for few seconds]")
@click.option("--scheduler", metavar="ADDRESS", help="Run on this dask cluster, such as tcp://host:8786.")
@click.option(
    "--resume",
    type=OutputPath(),
    metavar="FILE",
    help="Keep finished networks here and go on from there.",
)
@drawing_options("kernelcalc-validate", "validate.csv, validate.json and validate.png")
@click.option("--all", "all_rows", is_flag=True, help="Print every row of the table, not only the summary.")
def validate(
    activation: str,
    architecture: str | None,
    depth: int,
    sigma_w: float,
    beta: float,
    widths: tuple[int, ...] | None,
    trials: int,
    times: tuple[float, ...],
    data: DataOptions,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    resume: Path | None,
    drawing: Drawing,
    all_rows: bool,
) -> None:
    """Check the theory against ensembles of finite networks.

    Every kernel and every moment of the Hessian through training (gradient flow on the mean squared error), as mean over
    networks of several widths, extrapolated to infinite width, beside the prediction. Whole-number labels are taken as
    parity (±1), others as they are. Of a nonlinearity with kinks, such as relu, Σ and Θ are checked, which is all that the
    limit has. The exit code is 1 if a quantity fails.

    Columns of validate.csv: quantity, part, time, theory; mean_n and error_n for every width n (the standard error of the
    mean); bias (the fitted slope in 1/n), bias_error; first_order (that slope by theory, where it is known), first_order_z;
    limit, limit_error (at n = ∞); z (of limit - theory); passed.
    """
    from kernelcalc.kernels.architecture import network_from_text
    from kernelcalc.kernels.distributed.engine import cluster
    from kernelcalc.output.comparison import comparison_figure
    from kernelcalc.studies.validation.validate import validate as run

    drawing.ready()
    check_not_input([] if resume is None else [resume])
    settings: dict[str, Any] = {"depth": depth, "sigma_w": sigma_w, "beta": beta}
    convolves = network_from_text(architecture, activation, **settings).has_positions
    x, y = _read(data, seed, convolves)
    net = network_from_text(architecture, activation, **settings, n_out=y.shape[1])
    x = positioned(net, x)
    with nullcontext() if scheduler is None else cluster(scheduler, 1) as client:
        report = run(
            net, x, y, widths, trials, times, seed,
            workers=workers or _processes(net, x, widths, trials), progress=shows_progress(), path=resume, client=client,
        )  # fmt: skip
    say(report.summary() + ("\n\n" + report.rows_text() if all_rows else ""))
    columns = {name: [record[name] for record in report.table] for name in report.table[0]}
    written = drawing.write("validate", {"validate": columns}, lambda: comparison_figure(report))
    stem = "validate" if drawing.ending is None else drawing.out.stem
    written.insert(1, report.to_json(drawing.folder / f"{stem}.json"))
    say_written(written, recipe() | {"passed": report.passed, "validate": columns})
    if not report.passed:
        raise click.exceptions.Exit(1)


def _processes(net: Any, x: np.ndarray, widths: tuple[int, ...] | None, trials: int) -> int:
    """One a core, or one alone where others would take longer to start than they save."""
    from kernelcalc.kernels.mlp import MLP
    from kernelcalc.machine import processors
    from kernelcalc.studies.validation.validate import default_widths

    if not isinstance(net, MLP):
        return processors()
    each = [_NETWORK_SECONDS + _SECONDS_A_PRODUCT * (len(x) * n) ** 2 for n in widths or default_widths(net)]
    return 1 if trials * sum(each) < _FEW_SECONDS else processors()


def _read(data: DataOptions, seed: int, convolves: bool) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, n_0) and targets (N, n_out)."""
    import numpy as np

    from kernelcalc import datasets
    from kernelcalc.errors import InputError

    if data.data is None:
        if any((data.labels, data.columns, data.drop, data.flatten)):
            raise InputError("--data FILE together with --labels, --columns, --drop or --flatten", "the spiral")
        x, y = waves() if convolves else spiral()
        n = len(x) if data.points is None else data.points
        if n > len(x):
            raise InputError(f"at most {len(x)} points, or --data", f"--points {n}")
        x, y = x[:n], y[:n]
    elif data.has_file:
        x, y = data.labelled(seed=seed)
    else:
        x, y = replace(data, points=data.points or EMBEDDED_POINTS).labelled()
        x = datasets.rescale(x, "sphere")
    if y.dtype.kind not in "biuf":
        raise InputError("numbers as labels", f"{y.flat[0].item()!r}")
    if datasets.are_classes(y) and not np.isin(y, (-1, 0, 1)).all():
        y = datasets.parity(y)
    return x, y.astype(np.float64).reshape(len(y), -1)


def waves() -> tuple[np.ndarray, np.ndarray]:
    """Four sequences of six positions with one channel, of different lengths |x|, and targets ±1."""
    import numpy as np

    at, size = np.arange(6), 0.6 + 0.3 * np.arange(4)
    x = size[:, None] * np.cos(0.9 * np.arange(1, 5)[:, None] * at + np.arange(4)[:, None])
    return x, np.array([1.0, -1.0, -1.0, 1.0])


def spiral() -> tuple[np.ndarray, np.ndarray]:
    """Five points in the plane with |x| = 0.6..1.8 at all angles, and targets ±1.

    Lengths differ so that Φ and Λ are not symmetric and a transposed one would be seen.
    """
    import numpy as np

    angle, radius = 2.4 * np.arange(5), 0.6 + 0.3 * np.arange(5)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return x, np.sign(x[:, 0])
