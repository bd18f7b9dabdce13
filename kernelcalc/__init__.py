"""kernelcalc: the infinite-width limit of deep networks and the Hessian of their loss, symbolically and numerically.

Names are imported at first use, so that ``import kernelcalc`` does not wait for SymPy.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Activation": "activations",
    "activation": "catalogue",
    "gaussian_expectation": "gaussian.expectation",
    "MLP": "network",
    "LimitingKernels": "kernels",
    "mse_moments": "dynamics",
    "training_times": "dynamics",
    "hessian_moments": "gradient_flow",
    "Trajectory": "trajectory",
    "mse_law": "distribution",
    "mse_quantiles": "distribution",
    "spectrum_of_i": "spectrum",
    "mean_field_moments": "meanfield",
    "phase_diagram": "phase",
    "predict": "prediction",
    "largest_learning_rate": "prediction",
    "held_out": "heldout",
    "convex_loss": "losses",
    "FiniteNetwork": "finite.network",
    "validate": "validation",
}
_MODULES = (
    "activations",
    "catalogue",
    "datasets",
    "distributed",
    "distribution",
    "errors",
    "finite",
    "gaussian",
    "losses",
    "phase",
    "plot",
    "recursion",
    "spectrum",
    "symbolic",
)

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"kernelcalc.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"kernelcalc.{name}")
    else:
        raise AttributeError(f"module 'kernelcalc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
