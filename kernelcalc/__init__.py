"""kernelcalc: the infinite-width limit of deep networks and the Hessian of their loss, symbolically and numerically.

Names are imported at first use, so that ``import kernelcalc`` does not wait for SymPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kernelcalc.version import __version__

if TYPE_CHECKING:
    from kernelcalc import activations, datasets, errors, finite, gaussian, torch
    from kernelcalc.activations import names as catalogue
    from kernelcalc.activations.activation import Activation
    from kernelcalc.activations.names import activation
    from kernelcalc.finite.network import FiniteNetwork
    from kernelcalc.gaussian.expectation import gaussian_expectation
    from kernelcalc.kernels import distributed, layers, symbolic
    from kernelcalc.kernels.first_order.finite_width import finite_width
    from kernelcalc.kernels.limiting import LimitingKernels
    from kernelcalc.kernels.mlp import MLP, Sequential
    from kernelcalc.output import moments as plot
    from kernelcalc.results.storage import load
    from kernelcalc.studies import phase, spectrum
    from kernelcalc.studies.heldout import held_out
    from kernelcalc.studies.learning import learning_curves
    from kernelcalc.studies.meanfield import mean_field_moments
    from kernelcalc.studies.phase import phase_diagram
    from kernelcalc.studies.prediction import predict
    from kernelcalc.studies.rates import largest_learning_rate
    from kernelcalc.studies.regression import nngp_posterior, predict_outputs
    from kernelcalc.studies.spectrum import spectrum_of_i
    from kernelcalc.studies.stacks import stack_phase, stack_profile
    from kernelcalc.studies.validation.drift import tangent_drift
    from kernelcalc.studies.validation.validate import validate
    from kernelcalc.training import law as distribution
    from kernelcalc.training import losses
    from kernelcalc.training.descent import Descent
    from kernelcalc.training.direction import train_along
    from kernelcalc.training.first_order import hessian_moments_at_width
    from kernelcalc.training.flow import hessian_moments
    from kernelcalc.training.law import mse_law, mse_quantiles
    from kernelcalc.training.losses import convex_loss
    from kernelcalc.training.mse import mse_moments, training_times
    from kernelcalc.training.trajectory import Trajectory

__all__ = [
    "MLP",
    "Activation",
    "Descent",
    "FiniteNetwork",
    "LimitingKernels",
    "Sequential",
    "Trajectory",
    "__version__",
    "activation",
    "activations",
    "catalogue",
    "convex_loss",
    "datasets",
    "distributed",
    "distribution",
    "errors",
    "finite",
    "finite_width",
    "gaussian",
    "gaussian_expectation",
    "held_out",
    "hessian_moments",
    "hessian_moments_at_width",
    "largest_learning_rate",
    "layers",
    "learning_curves",
    "load",
    "losses",
    "mean_field_moments",
    "mse_law",
    "mse_moments",
    "mse_quantiles",
    "nngp_posterior",
    "phase",
    "phase_diagram",
    "plot",
    "predict",
    "predict_outputs",
    "spectrum",
    "spectrum_of_i",
    "stack_phase",
    "stack_profile",
    "symbolic",
    "tangent_drift",
    "torch",
    "train_along",
    "training_times",
    "validate",
]

# Where each name lives; the same as the imports above, which only a type checker reads.
_HOME = {
    "load": "results.storage",
    "Activation": "activations.activation",
    "activation": "activations.names",
    "gaussian_expectation": "gaussian.expectation",
    "MLP": "kernels.mlp",
    "Sequential": "kernels.mlp",
    "LimitingKernels": "kernels.limiting",
    "mse_moments": "training.mse",
    "training_times": "training.mse",
    "finite_width": "kernels.first_order.finite_width",
    "hessian_moments": "training.flow",
    "hessian_moments_at_width": "training.first_order",
    "Trajectory": "training.trajectory",
    "mse_law": "training.law",
    "mse_quantiles": "training.law",
    "spectrum_of_i": "studies.spectrum",
    "mean_field_moments": "studies.meanfield",
    "phase_diagram": "studies.phase",
    "stack_phase": "studies.stacks",
    "stack_profile": "studies.stacks",
    "predict": "studies.prediction",
    "largest_learning_rate": "studies.rates",
    "held_out": "studies.heldout",
    "learning_curves": "studies.learning",
    "nngp_posterior": "studies.regression",
    "predict_outputs": "studies.regression",
    "Descent": "training.descent",
    "train_along": "training.direction",
    "convex_loss": "training.losses",
    "FiniteNetwork": "finite.network",
    "tangent_drift": "studies.validation.drift",
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
    "torch": "torch",
}


if not TYPE_CHECKING:
    # for a type checker the imports above are all there is, so that it finds a misspelt name

    def __getattr__(name: str) -> object:
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
