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
# digits, 20 networks of width 1000 for each nonlinearity (a quarter of an hour); the command keeps finished networks in its
# folder, and its option `--paper` has 250 of width 5000.

# %%
import os
import sys

import numpy as np

from kernelcalc.studies.figures import figure1

full = "--full" in sys.argv
small = {"width": 128, "trials": 5, "points": 16, "times": (0.0, 1.0, 10.0)}
moments = figure1.Figure1(**({"workers": os.cpu_count()} if full else small)).run()
print(moments)
moments.figure()

# %% [markdown]
# What the theory claims of these crosses, one by one. The part of $S$, $E[\mathrm{Tr}\,H^k - \mathrm{Tr}\,I^k]$,
# follows Corollary 1 for $k = 1, 2$ through all of training, up to the standard error and a bias of order one over the
# width (3/width of the moment is granted). $\mathrm{Tr}\,I^k$ begins at its limit (13/width is granted). In the limit
# it then stands still; in a finite network it drifts, and a quarter of the width makes the drift four times as large as
# soon as it is small.

# %%
table = moments.tables["figure1"]
width = 1000 if full else small["width"]
low, start = table["k"] <= 2, table["time"] == 0
off = {part: np.abs(table[f"mean_{part}"] - table[f"theory_{part}"]) for part in "is"}
granted = {
    "s": 4 * table["error_s"] + 3 / width * table["theory"],
    "i": 4 * table["error_i"] + 13 / width * table["theory_i"],
}
assert (off["s"] < granted["s"])[low].all()
assert (off["i"] < granted["i"])[start].all()
print(
    f"largest deviation: {(off['s'] / granted['s'])[low].max():.2f} and {(off['i'] / granted['i'])[start].max():.2f} of it"
)
options = {"width": width // 4, "trials": 5}
narrow = figure1.Figure1(**(options | {"workers": os.cpu_count()} if full else small | options)).run().tables["figure1"]
for name in np.unique(table["activation"]):
    for k in (1, 2):
        own = (table["activation"] == name) & (table["k"] == k)
        wide, coarse = (t["mean_i"][own][-1] / t["mean_i"][own][0] - 1 for t in (table, narrow))
        print(f"{name}, k = {k}: drift of Tr I^k {wide:.1%} at width {width}, {coarse:.1%} at width {width // 4}")
        assert 1.5 < coarse / wide < 6
lines = moments.tables["figure1_theory"]
start = (lines["k"] == 1) & (lines["time"] == 0)
assert list(np.sign(lines["trace_h"] - lines["trace_i"])[start]) == [1, -1]
for k in (3, 4):
    assert np.ptp(lines["trace_h"][(lines["k"] == k) & (lines["activation"] == "smooth_relu")]) == 0
# the networks show it too: the second moment falls, by far more than its error
for name in np.unique(table["activation"]):
    second = (table["k"] == 2) & (table["activation"] == name)
    assert table["mean"][second][0] - table["mean"][second][-1] > 3 * table["error"][second].max()
