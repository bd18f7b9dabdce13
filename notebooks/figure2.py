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
# # Figure 2: I and S are orthogonal
#
# Jacot, Gabriel and Hongler, *The asymptotic spectrum of the Hessian of DNN throughout training* (ICLR 2020): Rayleigh
# quotients of the leading eigenvectors of $I$ and of $S$. Where $I$ is large $S$ is small, and the other way round. Beside it,
# what Proposition 5 does not say: how fast. The cosine $\mathrm{Tr}\,IS/\|I\|\|S\|$ vanishes like the inverse width, the norm
# $\|IS\|$ like its square root (counting of clusters as by Dyer and Gur-Ari, 2020).
#
# Here the setting is small; `python notebooks/figure2.py --full` takes the size of the command `kernelcalc figure 2`, 20
# eigenvectors of networks of width 1000 on 256 digits.

# %%
import sys

import numpy as np

from kernelcalc.studies.figures import figure2

full = "--full" in sys.argv
small = {"width": 256, "points": 24, "count": 12, "widths": (32, 64, 128), "trials": 12}
angles = figure2.Figure2(**({} if full else small)).run()
print(angles)
angles.figure()

# %%
of_i, of_s = angles["eigenvector_of"] == "I", angles["eigenvector_of"] == "S"
ratio = np.abs(angles["vSv"]) / angles["vIv"]
print("on eigenvectors of I: |vᵀSv|/vᵀIv =", ratio[of_i].round(2))
print("on eigenvectors of S: |vᵀSv|/vᵀIv =", ratio[of_s].round(2))
assert np.median(ratio[of_i]) < 0.1
assert np.median(ratio[of_s]) > 1
rates = angles.tables["figure2_angles"]
for name, derived in figure2.RATES.items():
    rows = rates["what"] == name
    slope, error = figure2.fitted_rate(rates["width"][rows], rates["rms"][rows], rates["error"][rows])
    assert abs(slope - derived) < 4 * error + 0.15
