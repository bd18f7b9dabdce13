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
# # How wide is wide?
#
# The limit is one network of infinite width. A network of width $n$ differs from it in two ways: the mean over
# initialisations is off by order $1/n$, and one network scatters about that mean by order $1/\sqrt n$. Both coefficients
# are computed here, then put beside networks of width 10 to 1000, and turned into the width that 5 % needs.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kernelcalc as kc
from kernelcalc.finite import NetworkBatch

X, digits = kc.datasets.mnist14(6)
Y = kc.datasets.parity(digits)
widths = np.array([10, 30, 100, 300, 1000])
names = ("tanh", "gelu", "softplus")
nets = {name: kc.MLP(name, depth=3, sigma_w=1.5, beta=0.1) for name in names}
first = {name: kc.finite_width(net, X) for name, net in nets.items()}

# %% [markdown]
# ## Limit, first order, networks
#
# $\mathrm{Tr}\,I$ and $\mathrm{Tr}\,I^2$ at the start, under the squared error, are traces of $Θ/N$ and of its square. The
# crosses know of no theory: they are gradients of finite networks.

# %%
found = {}
for name, net in nets.items():
    for n in widths:
        batch = NetworkBatch.random(net, int(np.clip(3000 // n, 12, 300)), (n, n), n_in=X.shape[1], rng=int(n))
        theta = batch.ntk(X) / len(X)
        found[name, n] = np.trace(theta, axis1=1, axis2=2), (theta**2).sum(axis=(1, 2))

fine = np.geomspace(10, 1000, 60)
fig, axes = plt.subplots(2, 3, figsize=(12, 6.2), layout="constrained", sharex=True)
for column, (name, fw) in zip(axes.T, first.items(), strict=True):
    at = [kc.hessian_moments_at_width(fw, X, Y, n) for n in fine]
    for row, (ax, key) in enumerate(zip(column, ("trace_i", "trace_i2"), strict=True)):
        limit = at[0].limit[key]
        ax.axhline(1, color="gray", lw=0.8, label="limit")
        ax.plot(fine, [getattr(one, key) / limit for one in at], color="C0", lw=1.8, label="first order in 1/n")
        if key == "trace_i":
            spread = np.array([one.trace_i_std for one in at]) / limit
            mean = np.array([one.trace_i for one in at]) / limit
            ax.fill_between(
                fine, mean - spread, mean + spread, color="C0", alpha=0.15, lw=0, label="one network, ± std"
            )
        for n in widths:
            values = found[name, n][row] / limit
            ax.errorbar(n, values.mean(), values.std() / np.sqrt(len(values)), color="k", marker="x", ls="none")
        ax.set_xscale("log")
    column[0].set_title(name)
    column[1].set_xlabel("width $n$")
axes[0, 0].set_ylabel(r"$\mathrm{Tr}\,I$ / limit")
axes[1, 0].set_ylabel(r"$\mathrm{Tr}\,I^2$ / limit")
axes[0, 0].legend(frameon=False, fontsize=9)

# %% [markdown]
# From width 100 on the means must agree with the first order within their standard errors, and the scatter with its
# prediction.

# %%
scores, ratios = [], []
for name, fw in first.items():
    for n in widths[2:]:
        at = kc.hessian_moments_at_width(fw, X, Y, int(n))
        for values, mean in zip(found[name, n], (at.trace_i, at.trace_i2), strict=True):
            scores.append((values.mean() - mean) / (values.std(ddof=1) / np.sqrt(len(values))))
        ratios.append(found[name, n][0].std(ddof=1) / at.trace_i_std)
print("z-scores:", np.round(scores, 1))
print("measured over predicted scatter of Tr I:", np.round(ratios, 2))
assert np.abs(scores).max() < 4
assert min(ratios) > 0.5
assert max(ratios) < 1.7

# %% [markdown]
# ## The width that 5 % needs
#
# For the *mean* few units are enough; for *one network* to be within 5 % of the limit (one standard deviation) it takes
# many more, and the scatter of $\mathrm{Tr}\,I$ says how many: $n = n \mathrm{Var} / (0.05\,\mathrm{mean})^2$.

# %%
print(f"{'':10}{'mean of Tr I':>14}{'mean of Tr I²':>15}{'one network':>13}")
for name, fw in first.items():
    unit = kc.hessian_moments_at_width(fw, X, Y, 1)
    shift, shift2 = (abs(getattr(unit, k) / unit.limit[k] - 1) for k in ("trace_i", "trace_i2"))
    scatter = (unit.trace_i_std / unit.limit["trace_i"]) ** 2
    needed = [int(np.ceil(v)) for v in (shift / 0.05, shift2 / 0.05, scatter / 0.05**2)]
    print(f"{name:10}{needed[0]:>14}{needed[1]:>15}{needed[2]:>13}")
    assert needed[2] > needed[0]
    at = kc.hessian_moments_at_width(fw, X, Y, needed[2])
    assert at.trace_i_std <= 0.05 * at.limit["trace_i"] * (1 + 1e-12)
