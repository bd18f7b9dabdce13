"""What a person asks of the theory: predictions, phases, spectra; in folders, the theory beside finite networks.

``figures``, ``sagun`` and ``validation`` see both sides; the modules here import the theory (``training`` and what is below
it), ``output`` and ``datasets``, never ``finite``.
"""
