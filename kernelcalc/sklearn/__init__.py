"""Infinitely wide networks for scikit-learn (extra ``sklearn``): a kernel with hyperparameters, and estimators.

Imports what studies/ imports, and scikit-learn, which nothing else here needs.
"""

from kernelcalc.sklearn.estimators import WideNetworkClassifier, WideNetworkRegressor
from kernelcalc.sklearn.kernel import NetworkKernel

__all__ = ["NetworkKernel", "WideNetworkClassifier", "WideNetworkRegressor"]
