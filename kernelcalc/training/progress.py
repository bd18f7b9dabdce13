"""A bar for what takes long, or a warning before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from kernelcalc.arguments import flag
from kernelcalc.errors import MissingExtraError, SlowMethodWarning, warn

T = TypeVar("T")

# Multiplications and additions of matrix algebra a second on one core (measured: 0.8 to 3e10), and seconds that need no word.
_SPEED, _PATIENCE = 1e10, 10.0


def with_bar(steps: Iterable[T], label: str, progress: bool, total: int | None = None) -> Iterator[T]:
    """The steps, with a tqdm bar if ``progress``.

    Raises
    ------
    MissingExtraError
        tqdm is not installed.
    """
    if not flag("progress", progress):
        return iter(steps)
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "progress=True") from error
    bar: Any = tqdm(steps, total=total, desc=label)
    return iter(bar)


def warn_if_long(operations: float, what: str, hint: str) -> None:
    """A :class:`~kernelcalc.errors.SlowMethodWarning` if so many multiply-adds take more than ten seconds on one core."""
    seconds = operations / _SPEED
    if seconds > _PATIENCE:
        warn(f"{what}: about {seconds:.0f} s on one core; {hint}", SlowMethodWarning)
