"""Expectations of float64 arrays, with error bounds; imports ``activations``, ``expressions`` and ``gaussian.covariance``.

- ``methods``: the ordered list of methods for single pairs; ``norms``: what errors are relative to, and whether they suffice;
- what they stand on: ``kinds`` and ``closed`` (closed forms), ``taylor`` and ``series`` (Hermite coefficients), ``sums``,
  ``quadrature`` on ``nodes`` and a ``mesh``, ``singular`` (delta functions);
- many points at once: ``table`` (coefficients between few variances), ``blocks`` (series), ``layer`` (Gram matrices).
"""
