"""A bar for what takes long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from kernelcalc.errors import MissingExtraError

T = TypeVar("T")


def with_bar(steps: Iterable[T], label: str, progress: bool, total: int | None = None) -> Iterator[T]:
    """The steps, with a tqdm bar if ``progress``.

    Raises
    ------
    MissingExtraError
        tqdm is not installed.
    """
    if not progress:
        return iter(steps)
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "progress=True") from error
    bar: Any = tqdm(steps, total=total, desc=label)
    return iter(bar)
