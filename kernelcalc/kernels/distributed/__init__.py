"""Gram matrices larger than memory or than one machine: dask arrays, Zarr folders, traces and eigenvalues from them."""

from kernelcalc.kernels.distributed.eigenvalues import EigenPairs, kernel_operator, top_eigenvalues
from kernelcalc.kernels.distributed.store import kernels, open_kernels, write_kernels
from kernelcalc.kernels.distributed.traces import InitialMoments, TraceMoments, initial_moments, trace_moments

__all__ = [
    "EigenPairs",
    "InitialMoments",
    "TraceMoments",
    "initial_moments",
    "kernel_operator",
    "kernels",
    "open_kernels",
    "top_eigenvalues",
    "trace_moments",
    "write_kernels",
]
