# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure 3: the loss around a minimum
#
# Jacot, Gabriel and Hongler, *The asymptotic spectrum of the Hessian of DNN throughout training* (ICLR 2020): the loss of a
# finite network along the first and fourth eigenvector of $I$ at a global minimum, points uniform on the unit disk, $L = 4$.
# At a minimum $S = 0$ and the loss is the quadratic form of $I$, whose eigenvalues are those of $Θ/N$: a narrow valley for the
# smooth ReLU, which is in the ordered phase, and a wide one once it is normalised.
#
# Here the setting is small; `python notebooks/figure3.py --full` takes the size of the command `kernelcalc figure 3`, width
# 1000 and 32 points.

# %%
import sys

import numpy as np

from kernelcalc.studies.figures import figure3

full = "--full" in sys.argv
small = {"width": 256, "points": 16, "grid": 11}
valley = figure3.Figure3(**({} if full else small)).run()
print(valley)
valley.figure()

# %%
limit, network, curvature = (valley[name].reshape(2, 2) for name in ("limit", "network", "curvature"))
narrow = limit[:, 0] / limit[:, 1]
print(f"λ_1/λ_4: {narrow[0]:.0f} and {narrow[1]:.1f}")
assert narrow[0] > 10 * narrow[1]
assert np.allclose(network[:, 0], limit[:, 0], rtol=0.3)
# S = 0 at the minimum: the surface bends as I does
assert np.allclose(curvature, network, rtol=0.1)
