"""Nonlinearities as functions of one variable; imports ``expressions`` and what lies below it.

- ``pieces``: an expression cut at its kinks, and its derivatives as distributions;
- ``normal``: mean and variance under N(0, 1);
- ``activation``: a nonlinearity, with values, derivatives and its normalised form;
- ``names``: the catalogue, and whatever a caller may pass as a nonlinearity.
"""

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.expressions.atoms import x

__all__ = ["Activation", "as_activation", "x"]
