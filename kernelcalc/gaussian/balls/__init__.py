"""Provable enclosures by python-flint; imports ``activations`` and ``expressions``, nothing of ``floats`` or ``digits``.

``expectation`` (analytic functions), ``program`` (functions in ball arithmetic), ``growth`` (bounds on the line), ``forms`` and
``normal`` (closed forms of kinked functions).
"""
