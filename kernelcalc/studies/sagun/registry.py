"""The experiments by name: every module of this folder, and whatever else registers a class."""

from __future__ import annotations

import pkgutil
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.results.experiment import ExperimentResult
from kernelcalc.studies.experiment import Experiment, Show

E = TypeVar("E", bound=type[Experiment])

_REGISTERED: dict[str, type[Experiment]] = {}


def experiment(cls: E) -> E:
    """Register the class under its name: all that a new experiment needs besides its own file."""
    _REGISTERED[cls.name] = cls
    return cls


def experiments() -> dict[str, type[Experiment]]:
    """All experiments, by name."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__package__}.{module.name}")
    return dict(sorted(_REGISTERED.items()))


def run(name: str, progress: Show | None = None, **settings: Any) -> ExperimentResult:
    """Run the experiment of that name.

    Parameters
    ----------
    name : str
        A key of :func:`experiments`.
    progress : callable, optional
        Takes the steps of a loop and a label and hands the steps back one by one.
    **settings
        Fields of the experiment's class, among them ``full`` and ``seed``.

    Raises
    ------
    UnknownNameError
        No such experiment.
    InputError
        A setting that this experiment does not have.
    """
    known = experiments()
    if name not in known:
        raise UnknownNameError("an experiment", name, known)
    own = [field.name for field in fields(known[name])]  # type: ignore[arg-type]
    for setting in settings:
        if setting not in own:
            raise InputError(f"options of the experiment {name} ({', '.join(own)})", setting)
    return known[name](**settings).run(progress)
