"""Finite networks in NumPy, by hand: the second path that checks the theory.

Nothing here imports the theory side, only what stands at the ground (errors, arrays); networks come in as plain callables
and numbers, data as plain arrays. From below: ``arrays`` (a caller's numbers, checked), ``parameters`` (weights and the flat
vector), ``losses``, ``derivatives``, ``curvature`` (H = I + S), ``flow``, ``training``, ``network`` (what a user holds),
``ensembles``.
"""

from kernelcalc.finite import derivatives, losses, network, training
from kernelcalc.finite.curvature import hessian, moments, spectrum
from kernelcalc.finite.curvature.hessian import CurvatureOperator, HessianSplit
from kernelcalc.finite.curvature.moments import HessianMoments, hessian_moments
from kernelcalc.finite.curvature.spectrum import SpectralDensity, eigenvalues, extreme_eigenvalues, spectral_density
from kernelcalc.finite.ensembles import batch, ensemble, records, trials
from kernelcalc.finite.ensembles import kernels as empirical_kernels
from kernelcalc.finite.ensembles.batch import NetworkBatch
from kernelcalc.finite.ensembles.ensemble import FiniteMoments, moments_through_training, train_ensemble
from kernelcalc.finite.ensembles.kernels import kernels_through_training
from kernelcalc.finite.ensembles.records import EigenvalueRecord, MomentRecord
from kernelcalc.finite.ensembles.trials import run_trials, trial_file
from kernelcalc.finite.losses import LOSSES, Loss
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.finite.training import Training, train

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
