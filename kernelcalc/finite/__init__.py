"""Finite networks in NumPy, by hand: the second path that checks the theory.

Nothing here imports the theory side; networks come in as plain callables and numbers, data as plain arrays.
"""

from .batch import NetworkBatch
from .network import FiniteNetwork

__all__ = ["FiniteNetwork", "NetworkBatch"]
