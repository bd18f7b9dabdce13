"""Expectations to any number of digits; imports ``activations`` and ``expressions``, nothing of ``floats`` or ``balls``.

``expectation`` (which method, and several orders at once), ``lattice`` (analytic functions), ``panels`` (kinked ones),
``fixed_point`` (their arithmetic).
"""
