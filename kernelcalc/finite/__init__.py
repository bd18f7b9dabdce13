"""Finite networks in NumPy, by hand: the second path that checks the theory.

Nothing here imports the theory side; networks come in as plain callables and numbers, data as plain arrays.
"""

from . import (
    batch,
    derivatives,
    empirical_kernels,
    ensemble,
    hessian,
    losses,
    moments,
    network,
    records,
    spectrum,
    training,
    trials,
)
from .batch import NetworkBatch
from .empirical_kernels import kernels_through_training
from .ensemble import FiniteMoments, moments_through_training, train_ensemble
from .hessian import CurvatureOperator, HessianSplit
from .losses import LOSSES, Loss
from .moments import HessianMoments, hessian_moments
from .network import FiniteNetwork
from .records import EigenvalueRecord, MomentRecord
from .spectrum import SpectralDensity, eigenvalues, extreme_eigenvalues, spectral_density
from .training import Training, train
from .trials import run_trials, trial_file

__all__ = [
    "LOSSES",
    "CurvatureOperator",
    "EigenvalueRecord",
    "FiniteMoments",
    "FiniteNetwork",
    "HessianMoments",
    "HessianSplit",
    "Loss",
    "MomentRecord",
    "NetworkBatch",
    "SpectralDensity",
    "Training",
    "batch",
    "derivatives",
    "eigenvalues",
    "empirical_kernels",
    "ensemble",
    "extreme_eigenvalues",
    "hessian",
    "hessian_moments",
    "kernels_through_training",
    "losses",
    "moments",
    "moments_through_training",
    "network",
    "records",
    "run_trials",
    "spectral_density",
    "spectrum",
    "train",
    "train_ensemble",
    "training",
    "trial_file",
    "trials",
]
