"""What every experiment is: settings, what is measured with them, and tables, words and a picture of what was measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import field, fields
from functools import partial
from typing import Any, ClassVar

import numpy as np

from kernelcalc.arrays import AnyArray, digest
from kernelcalc.output.tables import Verdict, verdict_columns
from kernelcalc.results.experiment import ExperimentResult

# The steps of a loop and what they are, handed back one by one: a place for a progress bar.
Show = Callable[[Iterable[Any], str], Iterable[Any]]
Tables = dict[str, dict[str, AnyArray]]
# Points (N, n_0), as networks take them, and the class of each (N,).
Sample = tuple[AnyArray, AnyArray]


def by_size(small: Any, papers: Any) -> Any:
    """A field of settings whose default depends on ``full``: small, or what the papers took."""
    return field(default=None, metadata={False: small, True: papers})


def called(sample: Sample | None, count: int) -> str:
    """What the points are, in words: the user's own, or the embedded digits.

    Examples
    --------
    >>> called(None, 256)
    '256 digits'
    """
    return f"{count} digits" if sample is None else f"{len(sample[0])} points"


def silent(items: Iterable[Any], label: str) -> Iterable[Any]:
    """The steps without a bar."""
    return items


class Experiment(ABC):
    """One experiment: a frozen dataclass of its settings with methods, of which only ``measure`` computes networks.

    Attributes
    ----------
    name : str
        Of the experiment, its main table and its picture.
    summary : str
        What it shows, in a line.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    full: bool = False

    def __post_init__(self) -> None:
        for setting in fields(self):  # type: ignore[arg-type]
            if getattr(self, setting.name) is None and setting.metadata:
                object.__setattr__(self, setting.name, setting.metadata[self.full])

    @abstractmethod
    def measure(self, show: Show) -> Any:
        """Networks and limit: everything that costs time."""

    @abstractmethod
    def title(self, found: Any) -> str:
        """What was done, in a line or two."""

    @abstractmethod
    def table(self, found: Any) -> Tables:
        """Columns by table; the first table is the one that is shown."""

    @abstractmethod
    def notes(self, found: Any) -> tuple[str, ...]:
        """What the columns mean, and what the limit theory does not cover."""

    @abstractmethod
    def draw(self, found: Any) -> Any:
        """The matplotlib figure, attached to no window."""

    def verdicts(self, found: Any) -> tuple[Verdict, ...]:
        """What becomes of the claims that the experiment is about; computed from what was measured."""
        return ()

    def run(self, progress: Show | None = None) -> ExperimentResult:
        """Measure, and put together what there is to be shown."""
        found = self.measure(progress or silent)
        tables, verdicts = self.table(found), self.verdicts(found)
        if verdicts:
            tables[f"{self.name}_verdicts"] = verdict_columns(verdicts)
        return ExperimentResult(
            name=self.name,
            title=self.title(found),
            tables=tables,
            notes=self.notes(found),
            draw=partial(self.draw, found),
            verdicts=verdicts,
        ).with_origin(experiment=self.name, settings=self._settings(), seed=getattr(self, "seed", None))

    def _settings(self) -> str:
        """What the experiment was run with, points by their digest."""
        values = {setting.name: getattr(self, setting.name) for setting in fields(self)}  # type: ignore[arg-type]
        return ", ".join(
            f"{name}={digest(value[0]) if isinstance(value, tuple) and any(map(np.ndim, value)) else repr(value)}"
            for name, value in values.items()
            if value is not None
        )
