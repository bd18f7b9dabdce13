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
# %% [markdown]
# # The Hessian through training, for three losses
#
# In the infinite-width limit the Hessian of the loss splits as $H = I + S$ with asymptotically orthogonal parts, so that
# $\mathrm{Tr} H^k = \mathrm{Tr} I^k + \mathrm{Tr} S^k$, and Theorem 1 of Jacot, Gabriel and Hongler (2020) says what the
# traces do: with $Y$ the outputs on the data and $G = \mathrm{Tr}\,\mathcal Hf$,
#
# $$ ∂_t Y = -Θ\,∇C(Y), \qquad ∂_t G = -Λ\,∇C(Y), $$
# $$ \mathrm{Tr} I^k = \mathrm{Tr}\,(\mathcal HC(Y)\,Θ)^k, \qquad
#    \mathrm{Tr} S = G · ∇C(Y), \qquad \mathrm{Tr} S^2 = ∇C(Y)^T Υ ∇C(Y), $$
#
# started from a Gaussian $(Y(0), G(0))$. Everything random is in that start. The loss enters through $∇C$ and
# $\mathcal HC$ only.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp
from scipy.stats import kstest

import kernelcalc as kc
from kernelcalc.finite.ensembles.ensemble import moments_through_training
from kernelcalc.output.moments import plot_finite, plot_moments
from kernelcalc.training.start import initial_draws

X, digits = kc.datasets.mnist14(40)
parity = kc.datasets.parity(digits)
net = kc.MLP("smooth_relu", depth=3, beta=0.1)
K = net.kernels(X)
times = np.concatenate([[0.0], np.geomspace(0.1, 3000, 20)])
losses = {
    "mean squared error": ("mse", parity),
    "binary cross-entropy": ("binary", parity),
    "softmax cross-entropy": ("softmax", kc.datasets.one_hot(digits)),
}
found = {title: kc.hessian_moments(K, labels, times, loss, samples=64) for title, (loss, labels) in losses.items()}

# %% [markdown]
# ## Three losses side by side
#
# The bands are one standard deviation over initialisations. Networks of width 96, trained by gradient flow, are the
# crosses: nothing in them knows of the limit.

# %%
few = times[[0, 6, 10, 12]]
fig, axes = plt.subplots(1, 3, figsize=(12.5, 3.9), layout="constrained")
finite = {}
for ax, (title, moments) in zip(axes, found.items(), strict=True):
    loss, labels = losses[title]
    wide = kc.MLP("smooth_relu", depth=3, beta=0.1, n_out=np.size(labels) // len(X))
    if title != "softmax cross-entropy":  # ten outputs would take minutes
        finite[title] = moments_through_training(wide, X, labels, few, width=96, trials=8, loss=loss, kmax=3)
        plot_finite(finite[title], ax)
    plot_moments(moments, ax, k=(1, 2, 3), legend=ax is axes[0])
    ax.set_title(title, fontsize=11)

# %% [markdown]
# The mean over eight networks should be that of the limit, up to its standard error (at this width most of it comes from
# the tangent kernel, which still varies) and a bias of order one over the width, for which 5 % are granted here.

# %%
for title, crosses in finite.items():
    at = np.searchsorted(times, few)
    error = np.abs(crosses.trace_h - found[title].trace_h[:3, at])
    allowed = 4 * crosses.trace_h_std / np.sqrt(8) + 0.05 * np.abs(found[title].trace_h[:3, at])
    print(f"{title}: at most {np.max(error / allowed):.2f} of what is allowed")
    assert (error < allowed).all()

# %% [markdown]
# ## What the loss does to the spectrum
#
# Under the squared error $\mathcal HC = \mathrm{Id}/N$, the spectrum of $I$ never moves, and all the motion of $H$ is the
# decay of $S$. A cross-entropy keeps on flattening: once a point is classified with certainty its curvature
# $\frac1N\frac{1}{2 + e^{-Y} + e^{Y}}$, at most $\frac{1}{4N}$ on the decision boundary, dies like the loss itself.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.7), layout="constrained")
for color, (title, moments) in zip((f"C{n}" for n in range(10)), found.items(), strict=False):
    left.plot(times[1:], moments.trace_i[0, 1:] / moments.trace_i[0, 0], color=color, lw=1.8, label=title)
    right.plot(times[1:], np.sqrt(moments.trace_s2[1:]), color=color, lw=1.8, label=title)
left.set(xscale="log", xlabel="gradient-flow time $t$", ylabel=r"$\mathrm{Tr}\,I(t) / \mathrm{Tr}\,I(0)$")
right.set(
    xscale="log", yscale="log", xlabel="gradient-flow time $t$", ylabel=r"$(\mathbb{E}\,\mathrm{Tr}\,S(t)^2)^{1/2}$"
)
left.legend(frameon=False)
mse, binary = found["mean squared error"], found["binary cross-entropy"]
assert np.ptp(mse.trace_i, axis=1).max() < 1e-12
assert (binary.sample_trace_i[:, 0] <= np.trace(K.theta) / (4 * len(X))).all()
for moments in found.values():
    assert moments.trace_s2[-1] < 1e-2 * moments.trace_s2[0]

# %% [markdown]
# ## Check 1: the squared error has a closed form
#
# Corollary 1 integrates the system exactly. The average over 64 samples must lie within its own standard error.

# %%
exact = kc.mse_moments(K, parity, times)
z = (mse.trace_s - exact.trace_s) / (exact.trace_s_std / 8)
print("z-scores of Tr S:", z.round(1))
assert np.abs(z[exact.trace_s_std > 1e-8]).max() < 4

# %% [markdown]
# ## Check 2: a second integrator
#
# One initialisation of the binary cross-entropy, handed to SciPy's implicit Radau method as the plain system for
# $(Y, G)$, written out here by hand.

# %%
Y0, G0 = (draw[0, :, 0] for draw in initial_draws(K, 1, 64, 0))
n = len(X)


def slope(y):
    return -parity / (1 + np.exp(parity * y)) / n


def flow(_, state):
    step = slope(state[:n])
    return -np.concatenate([K.theta @ step, K.lam @ step])


state = solve_ivp(flow, (0, times[-1]), np.concatenate([Y0, G0]), "Radau", times, rtol=1e-7, atol=1e-9).y
trace_s = np.array([g @ slope(y) for y, g in zip(state[:n].T, state[n:].T, strict=True)])
difference = np.abs(trace_s - binary.sample_trace_s[0]).max() / np.abs(trace_s).max()
print(f"largest difference, relative: {difference:.1e}")
assert difference < 1e-4

# %% [markdown]
# ## Whole laws, not only means
#
# Under the squared error $\mathrm{Tr} S(t)$ is a quadratic form of Gaussians: its density, quantiles and the law of an
# average over networks are known exactly, and skewed. The histogram is sampled from $(Y(0), G(0))$ directly.

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
for ax, t in zip(axes, (0.0, 1.0, 30.0), strict=True):
    law = kc.mse_law(K, parity, t)
    sampled = kc.hessian_moments(K, parity, [t], "mse", samples=1000, kmax=1, rng=7).sample_trace_s[:, 0]
    x = np.linspace(*law.quantile([1e-3, 1 - 1e-3]), 161)
    ax.hist(sampled, bins=60, range=(x[0], x[-1]), density=True, color="C5", alpha=0.6, label="1000 draws")
    ax.plot(x, law.pdf(x), color="C0", lw=1.8, label="density")
    ten = law.averaged(10)
    ax.axvspan(*ten.quantile([0.025, 0.975]), color="C1", alpha=0.2, lw=0, label="95 %: mean of 10")
    ax.set(xlabel=rf"$\mathrm{{Tr}}\,S$ at $t = {t:g}$", ylim=(0, None))
    test = kstest(sampled[:200], law.cdf)
    print(f"t = {t:g}: skewness {law.skewness:.2f}, Kolmogorov-Smirnov p = {test.pvalue:.2f}")
    assert test.pvalue > 1e-3
axes[0].set_ylabel("density")
axes[0].legend(frameon=False, fontsize=9)
