"""Experiments on finite networks with the theory beside them: those of Sagun et al. (2016, 2017).

Each experiment is a module with a function ``run`` that returns a :class:`~kernelcalc.output.result.Result`; the
settings are small by default, and the papers' (on 14 × 14 digits) with ``full=True``.

References
----------
Sagun, Bottou, LeCun, "Eigenvalues of the Hessian in deep learning: singularity and beyond" (2016).
Sagun, Evci, Güney, Dauphin, Bottou, "Empirical analysis of the Hessian of over-parametrized neural networks" (2017).
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kernelcalc.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from kernelcalc.output.result import Result

# Name, module, what it shows.
EXPERIMENTS = {
    "spectra": ("spectra", "exact spectra before and after training: digits, random data, blobs; both losses"),
    "heatmaps": ("heatmaps", "the Hessian's entries by layers"),
    "training": ("through_training", "the spectrum through training"),
    "initial": ("initial_eigenvalues", "the largest eigenvalue over thousands of initialisations"),
    "separability": ("separability", "the largest eigenvalues as two blobs merge"),
    "outliers": ("outliers", "the number of outliers against the number of clusters"),
    "width": ("width_growth", "right edge, bulk and left edge as the width grows"),
    "path": ("path", "GD and SGD, large and small batches, the line between their solutions"),
    "split": ("split", "the Gauss-Newton split H = I + S and the negative eigenvalues"),
}


def run(name: str, **options: Any) -> Result:
    """Run the experiment of that name.

    Parameters
    ----------
    name : str
        A key of :data:`EXPERIMENTS`.
    **options
        ``full``, ``seed``, ``progress`` and what the experiment's own ``run`` takes.

    Raises
    ------
    UnknownNameError
        No such experiment.
    InputError
        An option that this experiment does not have.
    """
    if name not in EXPERIMENTS:
        raise UnknownNameError("an experiment", name, EXPERIMENTS)
    function = import_module(f"kernelcalc.studies.sagun.{EXPERIMENTS[name][0]}").run
    known = list(inspect.signature(function).parameters)
    for option in options:
        if option not in known:
            named = ", ".join(own for own in known if own != "progress")
            raise InputError(f"options of the experiment {name} ({named})", option)
    result: Result = function(**options)
    return result


__all__ = ["EXPERIMENTS", "run"]
