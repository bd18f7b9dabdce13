"""Expectations E[f(a)g(b)] of a Gaussian pair; imports ``activations`` and what lies below it.

- ``expectation``: the front door; ``covariance``, ``estimate``: what it takes and gives;
- ``floats``: float64 arrays, with error bounds; ``digits``: any number of digits; ``balls``: provable enclosures.
"""
