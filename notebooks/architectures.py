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
# # What skip connections and LayerNorm do to the Hessian
#
# Deep plain networks in the ordered phase have a *narrow valley*: all inputs end up alike, Θ becomes a constant matrix, one
# eigenvalue of $I$ takes all there is and the others vanish exponentially with depth. The same layers as residual branches, or
# as branches behind a LayerNorm, keep apart what differs. The limit says by how much, at every depth and through training.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kernelcalc as kc
from kernelcalc.finite import FiniteNetwork

L = kc.layers
X, digits = kc.datasets.mnist14(40)
Y = kc.datasets.parity(digits)
N = len(X)


def network(kind, depth):
    """depth − 1 blocks of (erf, dense) between the first weights and the last."""
    blocks = depth - 1
    if kind == "plain":
        return kc.MLP("erf", depth=depth, sigma_w=0.85, beta=0.1)
    dense = L.Dense(sigma_w=0.85, beta=0.1)
    norm = [L.LayerNorm()] if kind == "pre-LayerNorm" else []
    scale = 1.0 if kind == "residual, scale 1" else blocks**-0.5
    block = L.Residual(*norm, "erf", dense, scale=scale)
    return kc.Sequential(dense, *[block] * blocks, *norm, dense)


kinds = {"plain": "#0072B2", "residual, scale 1": "#CC79A7", "residual": "#D55E00", "pre-LayerNorm": "#009E73"}

# %% [markdown]
# ## The spectrum of $I$ against depth
#
# Under the squared error the nonzero eigenvalues of $I$ are those of Θ/N, at the start and ever after, and gradient descent
# bears steps up to $2/λ_1$.

# %%
depths = np.array([2, 3, 4, 6, 8, 12, 16, 24, 35, 50])
spectra = {
    kind: np.array([np.linalg.eigvalsh(network(kind, d).kernels(X, only="theta").theta)[::-1] / N for d in depths])
    for kind in kinds
}
valley = {kind: values[:, 0] / values[:, 1:].mean(axis=1) for kind, values in spectra.items()}
step = {kind: 2 / values[:, 0] for kind, values in spectra.items()}
for kind in kinds:
    at = [f"{valley[kind][i]:8.4g}, {step[kind][i]:6.3g}" for i in (0, -1)]
    print(f"{kind:18s} λ1 / mean of the others, largest stable step: {at[0]} at depth 2, {at[1]} at depth 50")
assert valley["plain"][-1] > 500 * valley["plain"][0]
assert np.ptp(valley["residual"]) < 0.2 * valley["residual"][0]
assert np.ptp(valley["pre-LayerNorm"]) < 0.2 * valley["pre-LayerNorm"][0]
assert step["residual, scale 1"][-1] < step["residual"][-1] / 20

# %% [markdown]
# ## Through training
#
# $\mathbb E\,\mathrm{Tr} H$ and $\mathbb E\,\mathrm{Tr} S$ at depth 20, by Corollary 1 of the paper, which holds for these
# networks with their own six kernels.

# %%
times = np.concatenate([[0.0], np.geomspace(0.1, 1e4, 60)])
shown = ("plain", "residual", "pre-LayerNorm")
moments = {kind: kc.mse_moments(network(kind, 20).kernels(X), Y, times) for kind in shown}
for kind, found in moments.items():
    first, last = found.trace_h[0, [0, -1]]
    print(f"{kind:14s} Tr H {first:6.3f} -> {last:6.3f}, at the end the loss is {found.loss[-1]:.1e}")
peak = moments["plain"].trace_s.max() / moments["plain"].trace_i[0, 0]
assert peak > 4 > 1 > moments["residual"].trace_s.max() / moments["residual"].trace_i[0, 0]

# %% [markdown]
# ## The figure
#
# (a) The largest eigenvalue of $I$ (solid), the second (dashed) and the median one (dotted). In the plain network all but the
# first vanish exponentially: the valley is narrow. (b) How narrow: the largest over the mean of the others. With a skip and
# branches of scale $1/\sqrt{K}$ depth changes nothing, with LayerNorm before the branches neither. (c) The largest stable
# step. Branches of scale 1 open the valley too, for they are chaotic, and pay for it with a step that shrinks with depth.
# (d) Tr H (solid) and Tr S (dashed) at depth 20. While the plain network crawls along its valley, S becomes several times
# as large as $I$; in the others $I$ leads.

# %%
fig, axes = plt.subplots(2, 2, figsize=(7.2, 5.6), layout="constrained")
(spectrum, narrow), (rate, traces) = axes
for kind, color in kinds.items():
    # two of them nearly coincide: the one below is wider
    values, wide = spectra[kind], 3.4 if kind == "residual" else 1.4
    if kind in shown:
        spectrum.loglog(depths, values[:, 0], color=color, lw=wide)
        spectrum.loglog(depths, values[:, 1], color=color, lw=0.75 * wide, ls="--")
        spectrum.loglog(depths, np.median(values, axis=1), color=color, lw=0.75 * wide, ls=":")
    narrow.loglog(depths, valley[kind], "o-", color=color, ms=3, lw=wide, label=kind)
    rate.loglog(depths, step[kind], "o-", color=color, ms=3, lw=wide)
for kind, found in moments.items():
    traces.plot(times, found.trace_h[0], color=kinds[kind], lw=1.8)
    traces.plot(times, found.trace_s, color=kinds[kind], lw=1.1, ls="--")
traces.axhline(0, color="0.6", lw=0.6)
traces.set_xscale("symlog", linthresh=0.1, linscale=0.4)
traces.set_xticks([0, 0.1, 1, 10, 100, 1000, 10000], ["0", "0.1", "1", "10", "$10^2$", "$10^3$", "$10^4$"])
spectrum.set(ylabel="eigenvalues of $I$", title="spectrum of $I$")
narrow.set(ylabel=r"$\lambda_1$ / mean of the others", title="narrow valley")
rate.set(ylabel=r"$2/\lambda_1$", title="largest stable step")
traces.set(xlabel="gradient-flow time $t$", ylabel="E Tr", title="Tr $H$ and Tr $S$ through training, depth 20")
traces.set_xlim(0, times[-1])
for ax in (spectrum, narrow, rate):
    ax.set_xlabel("depth $L$")
    ax.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    ax.minorticks_off()
for ax, letter in zip(axes.flat, "abcd", strict=True):
    ax.title.set_fontsize(10)
    ax.text(-0.17, 1.04, letter, transform=ax.transAxes, fontweight="bold")
fig.legend(*narrow.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)

# %% [markdown]
# ## A network of width 128 agrees
#
# Gradient descent on a residual network of depth 10, with steps on both sides of the bound of the limit, and the largest
# eigenvalue of its own tangent kernel.

# %%
net = network("residual", 10)
bound = 2 * N / np.linalg.eigvalsh(net.kernels(X, only="theta").theta)[-1]
fin = FiniteNetwork.random(net, 128, n_in=X.shape[1], rng=0)
own = 2 * N / np.linalg.eigvalsh(fin.ntk(X))[-1]
print(f"largest stable step: limit {bound:.3f}, at the start of a network of width 128 {own:.3f}")
assert abs(own / bound - 1) < 0.25
for factor in (0.5, 1.5):
    run = fin.train(X, Y, factor * bound * np.arange(13), method="gd", step=factor * bound)
    print(
        f"steps of {factor} times the bound: loss {run.loss[0]:.3f} -> {run.loss[-1]:.3g}, at most {run.loss.max():.3g}"
    )
    assert (run.loss.max() > 2 * run.loss[0]) == (factor > 1)
