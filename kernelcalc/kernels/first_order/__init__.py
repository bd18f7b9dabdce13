"""First order in 1/n: how the kernels of a network of width n differ from their limits, and how they fluctuate.

Imports what kernels/ imports; training/ and studies/ read it.
"""
