"""Points and targets of a command: the options that say where they come from, and what a loss makes of the labels."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from kernelcalc.cli.recipe import check_not_input
from kernelcalc.cli.terminal import json_target, say

if TYPE_CHECKING:
    import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

DIGITS = {"digits": "mnist14", "mnist14": "mnist14", "mnist28": "mnist28"}
# Relative differences below which points count as one after rescaling.
_SAME_DIGITS = 12

ARCHITECTURE = click.option(
    "--architecture", metavar="TEXT",
    help="Instead of --depth: plain:K, residual:K or prelayernorm:K for K blocks, or layers such as "
    "'dense; residual(layernorm, tanh, dense, scale=0.5); dense'; 'activation' stands for that of -a.",
)  # fmt: skip
_NETWORK = (
    ARCHITECTURE,
    click.option("--depth", type=int, default=3, show_default=True, help="Number L of weight layers."),
    click.option("--sigma-w", type=float, default=1.0, show_default=True, help="Standard deviation of the weights."),
    click.option("--beta", type=float, default=0.1, show_default=True, help="Factor of the biases."),
)
_KINDS = (
    "text with any separator (.csv, .tsv, ...), .npz, .npy, IDX, Parquet, pictures, also packed (.gz), - for standard input; "
    "mnist14 or mnist28"
)


def _file_options(default: str, labels: str) -> tuple[Callable[[F], F], ...]:
    return (
        click.option("--data", metavar="FILE", help=f"Points and labels: {_KINDS}.  [default: {default}]"),
        click.option("--labels", metavar="COLUMN|FILE|last|none", help=labels),
        click.option("--columns", metavar="NAMES", help="Columns that are points, or the array, with commas."),
        click.option("--drop", metavar="NAMES", help="Columns to leave out, with commas."),
        click.option(
            "--header/--no-header", default=None, help="Whether the first row has names.  [default: as it looks]"
        ),
        click.option(
            "--decimal", type=click.Choice([".", ","]), default=".", show_default=True, help="Decimal sign in text."
        ),
        click.option("--flatten", is_flag=True, help="Make a row of each image."),
    )


_BY_NAME = "a name such as label, class, target or y (any case), else the only column of text"
_NEEDED = (
    f"What the labels are: a column (name, or number from 0), an array, a file.  [default: {_BY_NAME}, else refused]"
)
_OPTIONAL = (
    f"Labels, which are no points: a column (name, or number from 0), an array.  [default: {_BY_NAME}, else none]"
)
_POINTS = click.option(
    "-n", "--points", type=click.IntRange(min=1), metavar="N",
    help="Use N points: the first digits, or of a file drawn with --seed, each class in proportion.",
)  # fmt: skip
_SCALES = click.Choice(["sphere", "raw"])
_SCALE = click.option(
    "--scale", type=_SCALES,
    help="Rescale every point to |x|² = n_0, or leave it as it is.  [default: sphere; raw for a single input]",
)  # fmt: skip
_KERNEL_SCALE = click.option(
    "--scale", type=_SCALES,
    help="Rescale every point to |x|² = n_0, or leave it as it is.  [default: raw; sphere for digits]",
)  # fmt: skip
_TARGETS = click.option(
    "--targets", type=click.Choice(["onehot", "parity", "values"]),
    help="One output a class; ±1 for even and odd labels; the labels themselves.  [default: onehot for whole-number "
    "or text labels, else values; with --loss binary parity, or the class where there are two]",
)  # fmt: skip
loss_option: Callable[[Any], Any] = click.option(
    "--loss", default="mse", show_default=True, metavar="mse|softmax|binary|EXPR",
    help="Loss of one point: softmax takes classes, binary takes ±1; EXPR is any convex expression in an output y and "
    "its target t, for example 'log(cosh(y - t))'.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What the options say about data; the digits where they say nothing."""

    data: str | None = None
    labels: str | None = None
    columns: str | None = None
    drop: str | None = None
    header: bool | None = None
    decimal: str = "."
    flatten: bool = False
    points: int | None = None
    scale: str | None = None
    targets: str | None = None

    @property
    def has_file(self) -> bool:
        """Whether the data are the user's own."""
        return self.data is not None and self.data not in DIGITS

    def load(
        self, digits: int | None = None, seed: int = 0, needed: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Points as they are and labels; says what was read and which rows were chosen.

        Parameters
        ----------
        digits : int, optional
            How many digits where neither data nor a number of points are given.
        seed : int
            Of the choice.
        needed : bool
            Refuse data without labels.

        Raises
        ------
        DataFileError, NotFiniteError, InputError
            What the user gave does not fit together.
        """
        from kernelcalc import datasets
        from kernelcalc.errors import DataFileError

        if not self.has_file:
            self._no_file_options()
            make = getattr(datasets, DIGITS[self.data or "digits"])
            number = self.points or (digits if self.data is None else None)
            x, y = make(scale="raw") if number is None else make(number, scale="raw")
            return x, y
        check_not_input(json_target())
        if self.data == "-" and sys.stdin is not None and sys.stdin.isatty():
            raise DataFileError("a file or what another command writes with --data -", "a terminal")
        found = datasets.load(
            "/dev/stdin" if self.data == "-" else str(self.data),
            labels=_labels(self.labels, str(self.data)),
            columns=_names(self.columns),
            drop=_names(self.drop),
            header=self.header,
            decimal=self.decimal,
            flatten=self.flatten,
        )
        x, y = found.X, found.labelled() if needed else found.y
        say(str(found))
        if self.points is None:
            return x, y
        if self.points > len(x):
            raise DataFileError(f"at least {self.points} points", f"{len(x)} in {self.data}")
        by = [0] * len(x) if y is None else y
        rows = datasets.choose(by, self.points, rng=seed)
        say(f"{len(rows)} of {len(x)} points, {drawn(by, seed)}")
        return x[rows], None if y is None else y[rows]

    def _no_file_options(self) -> None:
        from kernelcalc.errors import InputError

        if any((self.labels, self.columns, self.drop, self.flatten)):
            raise InputError("--data FILE together with --labels, --columns, --drop or --flatten", "digits")

    def read(self, loss: Any, seed: int = 0, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, n_0), scaled, and targets (N, n_out) as the loss takes them.

        Raises
        ------
        DataFileError, NotFiniteError, InputError
            What the user gave does not fit together; no labels.
        """
        x, y = self.labelled(digits, seed)
        return self.scaled(x, "sphere"), loss.encode(encoded(y, loss.name, self.targets))

    def labelled(self, digits: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Points as they are and their labels, without which it refuses."""
        x, y = self.load(digits, seed, needed=True)
        assert y is not None
        return x, y

    def sample(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
        """Scaled points of a file, or of the digits named, and their classes; None where no data are given.

        Raises
        ------
        DataFileError, NotFiniteError, InputError
            What the user gave does not fit together; labels that are no classes.
        """
        from kernelcalc import datasets
        from kernelcalc.errors import InputError

        if self.data is None:
            self._no_file_options()
            return None
        x, y = self.labelled(None, seed)
        if not datasets.are_classes(y):
            raise InputError("class labels: whole numbers or text", f"labels such as {y.flat[0].item()!r}")
        return self.scaled(x, "sphere"), y

    def scaled(self, x: np.ndarray, default: str) -> np.ndarray:
        """The points at the scale asked for; says where it makes different points equal."""
        import numpy as np

        from kernelcalc import datasets

        scale = self.scale or ("raw" if x.shape[1] == 1 else default)
        if self.scale is None and scale != default:
            say("one input: points are not rescaled (--scale sphere would make each ±1)")
        result = datasets.rescale(x, scale)
        if scale == "sphere" and self.has_file:
            lost = len(np.unique(x, axis=0)) - len(np.unique(result.round(_SAME_DIGITS), axis=0))
            if lost > 0:
                say(
                    f"--scale sphere leaves {count(lost, 'point')} equal to another that differs in length only (try raw)"
                )
        return result


def positioned(net: Any, x: np.ndarray) -> np.ndarray:
    """Rows as a network with convolutions takes them: square images, else sequences, of one channel; says which.

    Other networks take the rows themselves.
    """
    if not net.has_positions or x.ndim != 2:
        return x
    side = math.isqrt(x.shape[1])
    if side * side == x.shape[1] and side > 1:
        say(f"rows of {x.shape[1]} inputs taken as images of {side} × {side} positions, one channel")
        return x.reshape(len(x), side, side, 1)
    say(f"rows of {x.shape[1]} inputs taken as sequences of as many positions, one channel")
    return x[:, :, None]


def encoded(y: np.ndarray, loss: str, targets: str | None) -> np.ndarray:
    """Targets (N, n_out) made of labels.

    Raises
    ------
    InputError
        Labels that the loss or the kind of targets does not take.
    """
    import numpy as np

    from kernelcalc import datasets
    from kernelcalc.errors import InputError

    if targets is None:
        classes = datasets.are_classes(y)
        targets = "onehot" if classes else "values"
        if loss == "binary" and classes:
            targets = "second class" if np.unique(y).size == 2 else "parity"
        if loss == "softmax" and not classes:
            raise InputError(
                "class labels with --loss softmax", f"labels such as {y.flat[0].item()!r}", "try --loss mse"
            )
    if targets == "values":
        if y.dtype.kind not in "biuf":
            raise InputError("numbers as labels for --targets values", f"{y.flat[0].item()!r}", "use --targets onehot")
        return y.astype(np.float64).reshape(len(y), -1)
    if targets == "parity":
        return datasets.parity(y)[:, None]
    return datasets.one_hot(y)[:, 1:] if targets == "second class" else datasets.one_hot(y)


def drawn(y: Any, seed: int) -> str:
    """How rows were chosen, in words."""
    from kernelcalc import datasets

    return f"drawn with seed {seed}" + (", each class in proportion" if datasets.has_classes(y) else "")


def network_options(command: F) -> F:
    """Add --architecture, --depth, --sigma-w and --beta."""
    return _stacked(command, _NETWORK)


def data_options(command: F) -> F:
    """Add --data, --labels, -n, --scale, --targets and how a file is read; the command gets ``data``."""
    return _bundled(command, (*_file_options("256 digits", _NEEDED), _POINTS, _SCALE, _TARGETS))


def point_options(command: F) -> F:
    """Add --data, --scale and how a file is read, for points without labels; the command gets ``data``."""
    return _bundled(command, (*_file_options("256 digits", _OPTIONAL), _KERNEL_SCALE))


def sample_options(command: F) -> F:
    """Add --data, --scale and how a file is read, for points with classes instead of the digits; the command gets ``data``."""
    return _bundled(command, (*_file_options("digits", _NEEDED), _SCALE))


def check_options(command: F) -> F:
    """Add --data, -n and how a file is read, for points as they are; the command gets ``data``."""
    return _bundled(command, (*_file_options("5 points in the plane, of different lengths", _NEEDED), _POINTS))


def count(number: int, noun: str) -> str:
    """The number with its noun.

    Examples
    --------
    >>> count(1, "output"), count(10, "output")
    ('1 output', '10 outputs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _labels(labels: str | None, data: str) -> Any:
    """One name, or several with commas where no file or column could be meant."""
    return labels if labels is None or "," not in labels or os.path.isfile(labels) else _names(labels)


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _bundled(command: F, options: tuple[Callable[[Any], Any], ...]) -> F:
    """The command with these options, which it gets as one argument ``data``."""
    names = [field.name for field in fields(DataOptions)]

    def taking(**given: Any) -> Any:
        data = DataOptions(**{name: given.pop(name) for name in names if name in given})
        return command(data=data, **given)

    # with the options that the command has already
    bundled: Any = functools.update_wrapper(taking, command)
    return cast("F", _stacked(bundled, options))


def _stacked(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command
