"""The Hessian of a finite network's loss: its parts I and S, their products, moments and spectra.

May import derivatives, losses and parameters from the folder above; training and ensembles stand on it.
"""
