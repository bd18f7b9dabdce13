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
# # The figures of the paper, drawn again
#
# Jacot, Gabriel and Hongler, *The asymptotic spectrum of the Hessian of DNN throughout training* (ICLR 2020), has three
# figures. Here they are in a setting of seconds; in full they are one command each:
#
#     kernelcalc figure 1        # 20 networks of width 1000 for each nonlinearity; --paper: 250 of width 5000
#     kernelcalc figure 2
#     kernelcalc figure 3
#
# Finite networks know nothing of the limit: their derivatives are written by hand in NumPy, and their Hessian moments are
# exact (the first two) or sampled with a known error.

# %%
import matplotlib.pyplot as plt  # noqa: F401 (a notebook shows the figures)
import numpy as np

from kernelcalc.experiments import figure1, figure2, figure3

# %% [markdown]
# ## Figure 1: moments through training
#
# $E\,\mathrm{Tr}\,H(t)^k$ for $k = 1..4$ under the mean squared error. Lines are Corollary 1, crosses are means over finite
# networks with their standard errors. Only the first two moments are moved by $S$: the first one upwards for the smooth
# ReLU and downwards for its normalised form, because $E\,\mathrm{Tr}\,S(0) = \mathrm{Tr}\,Φ/N$ changes its sign.

# %%
moments = figure1.run(width=128, trials=5, points=16, times=(0.0, 1.0, 10.0))
print(moments)
moments.figure()

# %% [markdown]
# The mean over a few networks is that of the limit up to its standard error and a bias of order one over the width, for
# which 10 % are granted to the smooth ReLU. The normalised one needs larger widths: at the start its crosses for $k = 3, 4$
# lie far above the lines, as $\mathrm{Tr}\,S^3$ and $\mathrm{Tr}\,S^4$ vanish like one over the width only.

# %%
table = moments.tables["figure1"]
smooth = table["activation"] == "smooth_relu"
deviation, allowed = np.abs(table["mean"] - table["theory"]), 4 * table["error"] + 0.1 * np.abs(table["theory"])
print(f"largest deviation: {np.max((deviation / allowed)[smooth]):.2f} of what is allowed")
assert (deviation < allowed)[smooth].all()
assert (deviation < allowed + 0.15 * np.abs(table["theory"]))[~smooth & (table["k"] <= 2)].all()
lines = moments.tables["figure1_theory"]
start = (lines["k"] == 1) & (lines["time"] == 0)
assert list(np.sign(lines["trace_h"] - lines["trace_i"])[start]) == [1, -1]
higher = (lines["k"] > 2) & (lines["activation"] == "smooth_relu")
assert np.ptp(lines["trace_h"][higher & (lines["k"] == 3)]) == 0

# %% [markdown]
# ## Figure 2: I and S are orthogonal
#
# Rayleigh quotients of the leading eigenvectors: where $I$ is large $S$ is small, and the other way round. Beside it, what
# Proposition 5 does not say: how fast. The cosine $\mathrm{Tr}\,IS/\|I\|\|S\|$ vanishes like the inverse width, the norm
# $\|IS\|$ like its square root (counting of clusters as by Dyer and Gur-Ari, 2020).

# %%
angles = figure2.run(width=256, points=24, count=12, widths=(32, 64, 128), trials=12)
print(angles)
angles.figure()

# %%
of_i, of_s = angles["eigenvector_of"] == "I", angles["eigenvector_of"] == "S"
print("on eigenvectors of I: |vᵀSv|/vᵀIv =", (np.abs(angles["vSv"]) / angles["vIv"])[of_i].round(2))
print("on eigenvectors of S: |vᵀSv|/vᵀIv =", (np.abs(angles["vSv"]) / angles["vIv"])[of_s].round(2))
assert np.median((np.abs(angles["vSv"]) / angles["vIv"])[of_i]) < 0.1
assert np.median((np.abs(angles["vSv"]) / angles["vIv"])[of_s]) > 1
rates = angles.tables["figure2_angles"]
for name, derived in figure2.RATES.items():
    rows = rates["what"] == name
    slope, error = figure2.fitted_rate(rates["width"][rows], rates["rms"][rows], rates["error"][rows])
    assert abs(slope - derived) < 4 * error + 0.15

# %% [markdown]
# ## Figure 3: the loss around a minimum
#
# Points uniform on the unit disk, $L = 4$. At a minimum $S = 0$ and the loss is the quadratic form of $I$, whose
# eigenvalues are those of $Θ/N$: a narrow valley for the smooth ReLU, which is in the ordered phase, and a wide one once it
# is normalised.

# %%
valley = figure3.run(width=256, points=16, grid=11)
print(valley)
valley.figure()

# %%
limit, network = (valley[name].reshape(2, 2) for name in ("limit", "network"))
narrow = limit[:, 0] / limit[:, 1]
print(f"λ_1/λ_4: {narrow[0]:.0f} and {narrow[1]:.1f}")
assert narrow[0] > 10 * narrow[1]
assert np.allclose(network[:, 0], limit[:, 0], rtol=0.3)
