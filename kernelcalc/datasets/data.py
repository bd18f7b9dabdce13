"""What was read: points, labels, and in words where both came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.datasets.labels import are_classes
from kernelcalc.errors import DataFileError, NotFiniteError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

_SHOWN_COLUMNS = 6


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the caller of :func:`kernelcalc.datasets.load` asked for.

    Attributes
    ----------
    labels : str, sequence of str, or None
        Names or numbers of columns or arrays, or a file; ``last``, ``none``; None: by name.
    columns, drop : sequence of str
        Columns (or the array) that are points, no matter what else there is; what is left out.
    header : bool or None
        Whether the first row of a text has names; None: as it looks.
    decimal : str
        Decimal point or comma.
    flatten : bool
        Whether arrays of more than two axes become rows.
    """

    labels: str | Sequence[str] | None = None
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    header: bool | None = None
    decimal: str = "."
    flatten: bool = False

    @property
    def named_labels(self) -> tuple[str, ...]:
        """The labels asked for one by one; none where they are ``last``, ``none`` or to be found."""
        if self.labels is None or self.labels in ("last", "none"):
            return ()
        return (self.labels,) if isinstance(self.labels, str) else tuple(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Points and labels; unpacks as ``X, y = data``, and ``print(data)`` says what was taken for what.

    Attributes
    ----------
    X : ndarray, (N, n_0)
        Points.
    y : ndarray, (N,) or (N, n_out), or None
        Labels; None where nothing is known to be labels.
    source : str
        File, or kind of object.
    points, labels : str
        Which columns or arrays they are.
    notes : tuple of str
        What was left out, flattened or taken as names.
    candidates : tuple of str
        What might be labels where none are known.
    """

    X: Array
    y: NDArray[Any] | None
    source: str
    points: str
    labels: str
    notes: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter((self.X, self.y))

    def __str__(self) -> str:
        n, inputs = self.X.shape
        labels = "none"
        if self.y is not None:
            if are_classes(self.y):
                many = len(np.unique(self.y))
                kind = f"{many} class{'' if many == 1 else 'es'}"
            else:
                kind = "numbers" if self.y.ndim == 1 else f"{self.y.shape[1]} numbers each"
            labels = f"{self.labels}, {kind}"
        size = f"{n} point{'' if n == 1 else 's'} of {inputs} input{'' if inputs == 1 else 's'}"
        return "; ".join([f"{self.source}: {size}, {self.points}", f"labels: {labels}", *self.notes])

    def __repr__(self) -> str:
        return f"<{self}>"

    def labelled(self) -> NDArray[Any]:
        """The labels.

        Raises
        ------
        DataFileError
            None are known.
        """
        if self.y is not None:
            return self.y
        name = next(iter(self.candidates), "FILE")
        raise DataFileError(
            "labels, by a name such as label, class, target or y",
            f"{listed(self.candidates) or 'points alone'} in {self.source}",
            f"say which: --labels {name}, --labels last, a file of labels (labels={name!r} in Python)",
        )


def listed(names: Sequence[str]) -> str:
    """Names, in short.

    Examples
    --------
    >>> listed(["a", "b"]), listed([str(i) for i in range(64)])
    ('a, b', '0, 1, 2, ..., 63')
    """
    names = [name if name.strip() else repr(name) for name in names]
    return ", ".join(names if len(names) <= _SHOWN_COLUMNS else [*names[:3], "...", names[-1]])


def finite(array: NDArray[Any], what: str, names: Sequence[str] | None, source: str) -> None:
    """Refuse NaN and infinity, naming row and column.

    Raises
    ------
    NotFiniteError
        With the first such entry.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row, *rest = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        value = array[(row, *rest)]
        where = f"row {row}" if not rest else f"row {row}, column {names[rest[0]] if names else rest[0]}"
        raise NotFiniteError(f"finite {what}", f"{value} in {where} of {source}")
