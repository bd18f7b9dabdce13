"""kernelcalc: the infinite-width limit of deep networks and the Hessian of their loss, symbolically and numerically.

Names are imported at first use, so that ``import kernelcalc`` does not wait for SymPy.
"""

from __future__ import annotations

import importlib
from typing import Any

from kernelcalc.version import __version__

_HOME = {
    "Activation": "activations.activation",
    "activation": "activations.names",
    "gaussian_expectation": "gaussian.expectation",
    "MLP": "kernels.mlp",
    "Sequential": "kernels.mlp",
    "LimitingKernels": "kernels.limiting",
    "mse_moments": "training.mse",
    "training_times": "training.mse",
    "hessian_moments": "training.flow",
    "Trajectory": "training.trajectory",
    "mse_law": "training.law",
    "mse_quantiles": "training.law",
    "spectrum_of_i": "studies.spectrum",
    "mean_field_moments": "studies.meanfield",
    "phase_diagram": "studies.phase",
    "predict": "studies.prediction",
    "largest_learning_rate": "studies.rates",
    "held_out": "studies.heldout",
    "convex_loss": "training.losses",
    "FiniteNetwork": "finite.network",
    "validate": "studies.validation.validate",
}
_MODULES = {
    "activations": "activations",
    "catalogue": "activations.names",
    "datasets": "datasets",
    "distributed": "kernels.distributed",
    "distribution": "training.law",
    "errors": "errors",
    "finite": "finite",
    "gaussian": "gaussian",
    "layers": "kernels.layers",
    "losses": "training.losses",
    "phase": "studies.phase",
    "plot": "output.moments",
    "spectrum": "studies.spectrum",
    "symbolic": "kernels.symbolic",
}

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"kernelcalc.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"kernelcalc.{_MODULES[name]}")
    else:
        raise AttributeError(f"module 'kernelcalc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
