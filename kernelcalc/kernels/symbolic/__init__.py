"""Gaussian expectations and limiting kernels as SymPy expressions.

The symbols :data:`q`, :data:`qp`, :data:`c` are the first layer's Σ(x,x), Σ(x',x'), Σ(x,x').
"""

from kernelcalc.expressions.atoms import NotInAlgebra, x
from kernelcalc.expressions.exact import c, exact_expectation, q, qp
from kernelcalc.expressions.orthant import BinormalCDF, OwensT
from kernelcalc.kernels.symbolic.code import source, to_numpy
from kernelcalc.kernels.symbolic.expectation import GaussianExpectation, hermite_coefficient
from kernelcalc.kernels.symbolic.finite_width import finite_width
from kernelcalc.kernels.symbolic.kernels import SYMBOLIC_NAMES, at_rho_one, equations, kernel, taylor
from kernelcalc.kernels.symbolic.sphere import MercerSpectrum, mercer, multiplicity, on_sphere, rho

__all__ = [
    "SYMBOLIC_NAMES",
    "BinormalCDF",
    "GaussianExpectation",
    "MercerSpectrum",
    "NotInAlgebra",
    "OwensT",
    "at_rho_one",
    "c",
    "equations",
    "exact_expectation",
    "finite_width",
    "hermite_coefficient",
    "kernel",
    "mercer",
    "multiplicity",
    "on_sphere",
    "q",
    "qp",
    "rho",
    "source",
    "taylor",
    "to_numpy",
    "x",
]
