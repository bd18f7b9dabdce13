"""SymPy expressions of one variable; imports nothing of ours but ``errors`` and ``arrays``.

- ``parsing``: text to expression by a whitelist; ``stable``: to NumPy and mpmath functions that neither overflow nor
  cancel;
- the exact algebra of Gaussian expectations: ``atoms`` (functions as finite sums), ``moments`` (one pair of atoms), ``orthant``
  (bivariate normal probabilities), ``numbers`` (symbols or mpmath numbers), ``tidy`` (what a person would
  publish), ``exact`` (its front door).
"""
