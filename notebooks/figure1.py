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
# # Figure 1: moments of the Hessian through training
#
# Jacot, Gabriel and Hongler, *The asymptotic spectrum of the Hessian of DNN throughout training* (ICLR 2020):
# $E\,\mathrm{Tr}\,H(t)^k$ for $k = 1..4$ under the mean squared error, $L = 3$, 14 × 14 digits. Lines are Corollary 1, crosses
# are means over finite networks with their standard errors; these networks know nothing of the limit. Only the first two
# moments are moved by $S$: the first one downwards to its end for the smooth ReLU and upwards for its normalised form, because
# $E\,\mathrm{Tr}\,S(0) = \mathrm{Tr}\,Φ/N$ changes its sign.
#
# Here the setting is small. `python notebooks/figure1.py --full` takes the size of the command `kernelcalc figure 1`: 256
# digits, 20 networks of width 1000 for each nonlinearity (an hour or two); the command keeps finished networks in its folder,
# and its option `--paper` has 250 of width 5000.

# %%
import os
import sys

import numpy as np

from kernelcalc.experiments import figure1

full = "--full" in sys.argv
small = {"width": 128, "trials": 5, "points": 16, "times": (0.0, 1.0, 10.0)}
moments = figure1.run(**({"workers": os.cpu_count()} if full else small))
print(moments)
moments.figure()

# %% [markdown]
# The mean over a few networks is that of the limit up to its standard error and a bias of order one over the width; for that
# 13/width of the value are granted to the first two moments of the smooth ReLU and to the later ones at the end of training,
# and three times as much to the first two of the normalised one. Its higher ones need larger widths: at the start their
# crosses lie above the lines, as $\mathrm{Tr}\,S^3$ and $\mathrm{Tr}\,S^4$ vanish like one over the width only.

# %%
table = moments.tables["figure1"]
width = 1000 if full else small["width"]
smooth, low = table["activation"] == "smooth_relu", table["k"] <= 2
deviation, error = np.abs(table["mean"] - table["theory"]), 4 * table["error"]
bias = 13 / width * np.abs(table["theory"])
late = table["time"] >= 10
assert (deviation < error + bias)[smooth & (low | late)].all()
assert (deviation < error + 3 * bias)[~smooth & low].all()
print(f"largest deviation: {np.max((deviation / (error + bias))[smooth & (low | late)]):.2f} of what is allowed")
lines = moments.tables["figure1_theory"]
start = (lines["k"] == 1) & (lines["time"] == 0)
assert list(np.sign(lines["trace_h"] - lines["trace_i"])[start]) == [1, -1]
for k in (3, 4):
    assert np.ptp(lines["trace_h"][(lines["k"] == k) & (lines["activation"] == "smooth_relu")]) == 0
# the networks show it too: the second moment falls, by far more than its error
for name in np.unique(table["activation"]):
    second = (table["k"] == 2) & (table["activation"] == name)
    assert table["mean"][second][0] - table["mean"][second][-1] > 3 * table["error"][second].max()
