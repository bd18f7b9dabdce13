"""What a person asks of the limit theory.

``prediction`` and ``rates`` (learning rates, time scales, curves; printed by ``report``), ``regression`` and ``heldout``
(points not trained on), ``phase`` (order and chaos), ``spectrum`` (eigenvalues of I, outliers, random-matrix references),
``meanfield`` (outputs divided by √width). ``validation`` puts theory and finite networks side by side, ``figures`` and
``sagun`` reproduce papers; only these three import kernelcalc.finite. May import everything but the command line.
"""
