"""Points and targets of a command: the options that say where they come from, and what a loss makes of the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

_NETWORK = (
    click.option("--depth", type=int, default=3, show_default=True, help="Number L of weight layers."),
    click.option("--sigma-w", type=float, default=1.0, show_default=True, help="Standard deviation of the weights."),
    click.option("--beta", type=float, default=0.1, show_default=True, help="Factor of the biases."),
)
_DATA = (
    click.option("--data", type=click.Path(path_type=Path), help="Points and labels, .npz or .csv.  [default: digits]"),
    click.option("--labels", help="Name (or, in a CSV file, number) of the labels in the data file."),
    click.option("-n", "--points", type=click.IntRange(min=1), help="Use the first N points only."),
    click.option(
        "--scale", type=click.Choice(["sphere", "raw"]), default="sphere", show_default=True,
        help="Rescale every point to |x|² = n_0, or leave it as it is.",
    ),
    click.option(
        "--targets", type=click.Choice(["onehot", "parity", "values"]),
        help="One output a class; ±1 for even and odd labels; the labels themselves.  [default: onehot for whole-number "
        "or text labels, else values; with --loss binary parity, or the class where there are two]",
    ),
)  # fmt: skip
loss_option = click.option(
    "--loss", default="mse", show_default=True, metavar="mse|softmax|binary|EXPR",
    help="Loss of one point: softmax takes classes, binary takes ±1; EXPR is any convex expression in an output y and "
    "its target t, for example 'log(cosh(y - t))'.",
)  # fmt: skip


def network_options(command: F) -> F:
    """Add --depth, --sigma-w and --beta."""
    return _stacked(command, _NETWORK)


def data_options(command: F) -> F:
    """Add --data, --labels, --points, --scale and --targets."""
    return _stacked(command, _DATA)


def read(
    data: Path | None, labels: str | None, points: int | None, scale: str, targets: str | None, loss: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, n_0) and targets (N, n_out) as the loss takes them; ``points`` is the number of digits by default.

    Raises
    ------
    DataFileError, InputError
        What the user gave does not fit together.
    """
    import numpy as np

    from kernelcalc import datasets
    from kernelcalc.errors import DataFileError, InputError

    y: Any
    if data is None:
        if labels is not None:
            raise InputError("--data FILE together with --labels", "--labels alone")
        x, y = datasets.mnist14(points or 256, scale="raw")
    else:
        x, y = datasets.load(data, labels=labels)
        if points is not None and points > len(x):
            raise DataFileError(f"at least {points} points", f"{len(x)} in {data}")
        x, y = x[:points], y[:points]
    if targets is None:
        classes = y.ndim == 1 and (y.dtype.kind not in "fc" or bool(np.equal(np.mod(y, 1), 0).all()))
        targets = "onehot" if classes else "values"
        if loss.name == "binary" and classes:
            targets = "second class" if np.unique(y).size == 2 else "parity"
        if loss.name == "softmax" and not classes:
            raise InputError("class labels with --loss softmax", f"labels such as {y.flat[0]!r}", "try --loss mse")
    if targets == "values":
        if y.dtype.kind not in "biuf":
            raise InputError("numbers as labels for --targets values", f"{y.flat[0]!r}", "use --targets onehot")
        y = y.astype(np.float64).reshape(len(y), -1)
    elif targets == "parity":
        y = datasets.parity(y)[:, None]
    else:
        y = datasets.one_hot(y)[:, 1:] if targets == "second class" else datasets.one_hot(y)
    return datasets.rescale(x, scale), loss.encode(y)


def count(number: int, noun: str) -> str:
    """The number with its noun.

    Examples
    --------
    >>> count(1, "output"), count(10, "output")
    ('1 output', '10 outputs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _stacked(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command
