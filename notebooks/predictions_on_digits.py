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
# # Predictions on the digits
#
# What the limit tells a person who is about to train a network: how large a learning rate gradient descent bears, how long
# training takes, what the loss curve will look like and how sure the trained network will be on new points. Everything
# is said before any network is trained; then networks are trained.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kernelcalc as kc
from kernelcalc.finite import FiniteNetwork
from kernelcalc.studies.regression import predict_outputs

X, digits = kc.datasets.mnist14(160)
train, test = slice(0, 64), slice(64, 160)
Y = kc.datasets.parity(digits)
net = kc.MLP("tanh", depth=3, sigma_w=1.2, beta=0.1)
report = kc.predict(net, X[train], Y[train], "mse", width=256)
print(report)

# %% [markdown]
# ## The largest stable learning rate
#
# Gradient descent on a quadratic of curvature λ is stable for steps below 2/λ. The limit gives $λ_{\max}(H)$: that of
# $Θ/N$ under the squared error, at all times. Networks of width 256 are put to the test on both sides. Beyond the bound
# the loss grows at first, as the limit says; a finite network may then be thrown out of the kernel regime, into a flatter
# place where the same step is stable (the "catapult" of Lewkowycz et al. 2020). An infinitely wide one would diverge.

# %%
rate = report.learning_rates[0]
steps = 40
fig, ax = plt.subplots(figsize=(6.2, 3.9), layout="constrained")
for color, factor in zip((f"C{n}" for n in range(10)), (0.25, 0.75, 1.15), strict=False):
    start = FiniteNetwork.random(net, 256, n_in=X.shape[1], rng=0)
    step = factor * rate
    run = start.train(X[train], Y[train], step * np.arange(steps + 1), method="gd", step=step)
    ax.semilogy(run.loss, color=color, lw=1.8, label=rf"{factor:g} × $2/\lambda_{{\max}}$")
    if factor < 1:
        assert run.loss[-1] < 0.7 * run.loss[0]
    else:
        assert run.loss[5:].max() > 2 * run.loss[0]
ax.set(xlabel="step of gradient descent", ylabel="training loss")
ax.legend(frameon=False)

# %% [markdown]
# ## The whole spectrum of I, and chance
#
# Gradients of the same size in random directions would have eigenvalues within the edges of Marchenko and Pastur, and a
# direction would have to exceed $1 + \sqrt γ$ times their mean to stand out (Baik, Ben Arous, Péché). The largest
# eigenvalue of I is far beyond, and most of the others are below the lower edge: gradients of digits are much alike.

# %%
values = kc.spectrum_of_i(net.kernels(X[train]), np.zeros(64), Y[train]).values
parameters = 197 * 256 + 257 * 256 + 257
low, high = kc.spectrum.marchenko_pastur_edges(64 / parameters, values.mean())
print(
    f"by chance {low:.4f} to {high:.4f}; of 64 eigenvalues {np.sum(values > high)} above, {np.sum(values < low)} below"
)
assert values[0] > 10 * high
assert np.median(values) < low
spikes = np.array([1.5, 3.0, 10.0])
vectors = (
    np.random.default_rng(0).normal(size=(64, 2000)) * np.sqrt(np.concatenate([spikes[::-1], np.ones(61)]))[:, None]
)
tops = np.linalg.eigvalsh(vectors @ vectors.T / 2000)[::-1][:3]
assert np.allclose(tops[::-1], kc.spectrum.bbp_outlier(spikes, 64 / 2000), rtol=0.15)

# %% [markdown]
# ## One time constant for every mode
#
# Along the j-th eigenvector of Θ the error decays like $e^{-λ_j t/N}$. The condition number of Θ is therefore the ratio
# between the longest and the shortest time that matter.

# %%
fig, ax = plt.subplots(figsize=(6.2, 3.9), layout="constrained")
ax.loglog(np.arange(1, report.n + 1), report.time_constants, ".-", color="C0")
ax.set(xlabel="mode $j$", ylabel=r"time constant $N/\lambda_j$ (gradient-flow time)")
K = net.kernels(X[train])
assert np.allclose(report.time_constants, 64 / np.linalg.svd(K.theta, compute_uv=False))

# %% [markdown]
# ## The loss curve before training
#
# Mean and quantiles over initialisations, and six networks of width 256 following gradient flow.

# %%
times = np.concatenate([[0.0], np.geomspace(0.3, 100, 21)])
expected = kc.mse_moments(K, Y[train], times)
quantiles = np.array([kc.mse_law(K, Y[train], t, "loss").quantile([0.05, 0.95]) for t in times])
few = times[[0, 5, 9, 13, 17, 21]]
runs = [FiniteNetwork.random(net, 256, n_in=X.shape[1], rng=seed).train(X[train], Y[train], few) for seed in range(6)]
fig, ax = plt.subplots(figsize=(6.2, 3.9), layout="constrained")
ax.fill_between(times, *quantiles.T, color="C0", alpha=0.2, lw=0, label="5 % to 95 % of networks")
ax.plot(times, expected.loss, color="C0", lw=1.8, label="expected loss")
for i, run in enumerate(runs):
    ax.plot(few, run.loss, "x", color="C1", ms=5, label="width 256" if i == 0 else None)
ax.set_xscale("symlog", linthresh=0.3, linscale=0.3)
ax.set(yscale="log", xlabel="gradient-flow time $t$", ylabel="training loss", xlim=(0, times[-1]))
ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
ax.legend(frameon=False)
mean = np.mean([run.loss for run in runs], axis=0)
at = np.searchsorted(times, few)
assert (np.abs(mean - expected.loss[at]) < 4 * expected.loss_std[at] / np.sqrt(6) + 0.15 * expected.loss[at]).all()

# %% [markdown]
# ## New digits
#
# The trained network's outputs on test points are Gaussian over initialisations: the mean is kernel regression with Θ,
# and the covariance is what the data leave of the start. The networks are the six above, at their last time.

# %%
law = predict_outputs(net, X[train], Y[train], X[test], time=few[-1])
end = predict_outputs(net, X[train], Y[train], X[test])
std = np.sqrt(np.diagonal(law.covariance))
regression = net.kernels(X[test], X[train]).theta @ np.linalg.solve(K.theta, Y[train])
assert np.allclose(end.mean[:, 0], regression, atol=1e-6)
outputs = np.array([run.network(X[test])[:, 0] for run in runs])
fig, ax = plt.subplots(figsize=(9.5, 3.9), layout="constrained")
order = np.argsort(law.mean[:, 0])
rank = np.arange(order.size)
ax.fill_between(
    rank, (law.mean[:, 0] - 2 * std)[order], (law.mean[:, 0] + 2 * std)[order], color="C0", alpha=0.2,
    lw=0, label="± 2 standard deviations",
)  # fmt: skip
ax.plot(rank, law.mean[order, 0], color="C0", lw=1.8, label="mean")
for i, output in enumerate(outputs):
    ax.plot(rank, output[order], ".", ms=3.5, color="C1", label="width 256" if i == 0 else None)
ax.plot(rank, Y[test][order], "|", ms=7, color="0.3", label="even: +1, odd: −1")
ax.set(xlabel="test digit, sorted by predicted mean", ylabel="output at $t = 100$")
ax.legend(frameon=False, ncols=2, loc="upper left")
inside = np.mean(np.abs(outputs - law.mean[:, 0]) < 2 * std)
accuracy = np.mean(np.sign(law.mean[:, 0]) == Y[test])
print(f"{inside:.0%} of the networks' outputs within two standard deviations; accuracy of the mean {accuracy:.0%}")
assert inside > 0.85
assert accuracy > 0.65

# %% [markdown]
# ## The same question for the standard parametrisation
#
# In PyTorch's layers the weights themselves, $w = σ_w W/\sqrt n$, are trained: the tangent kernel grows with the width
# and the stable rate shrinks like one over it. Their default initialisation, uniform in $±1/\sqrt n$ for weights and biases,
# has a rate of its own.

# %%
widths = np.array([32, 128, 512, 2048])
reports = [kc.predict(net, X[train], Y[train], times=[0.0], width=int(w)) for w in widths]
rates = [one.standard_learning_rate for one in reports]
defaults = [one.pytorch_learning_rate for one in reports]
fig, ax = plt.subplots(figsize=(6.2, 3.9), layout="constrained")
ax.loglog(widths, rates, "o-", color="C0", label=r"standard parametrisation, $σ_w = 1.2$, $β = 0.1$")
ax.loglog(widths, defaults, "s-", color="C2", label="PyTorch's default layers")
ax.axhline(rate, color="C1", label="NTK parametrisation")
ax.set(xlabel="hidden width", ylabel="largest stable learning rate")
ax.legend(frameon=False, loc="lower left")
decay = np.polyfit(np.log(widths[1:]), np.log(rates[1:]), 1)[0]
print(f"rate ~ width^{decay:.2f}")
assert -1.05 < decay < -0.7

# %% [markdown]
# ## The mean-field limit
#
# With outputs divided by the root of the width (and a learning rate as many times larger as the width), outputs start at
# zero, I stays and S grows: $\mathrm{Tr} H/\sqrt w$ is Gaussian with variance $∇C(0)^TΞ∇C(0)$, and $\mathrm{Tr} H$ has the mean
# $\mathrm{Tr}(Θ + Φ)/N$. Networks have it from their $g = \mathrm{Tr} 𝓗f$.

# %%
at = kc.mean_field_moments(K, Y[train]).at_width(256)
traces = []
for seed in range(100):
    one = FiniteNetwork.random(net, 256, n_in=X.shape[1], rng=seed)
    slope = (one(X[train])[:, 0] / 16 - Y[train]) / 64
    traces.append(np.trace(one.ntk(X[train])) / 64 + 16 * one.hessian_trace(X[train])[:, 0] @ slope)
print(
    f"Tr H: {np.mean(traces):.2f} ± {np.std(traces, ddof=1):.2f}, "
    f"limit {at['trace_h_mean']:.2f} ± {at['trace_h_std']:.2f}"
)
assert abs(np.mean(traces) - at["trace_h_mean"]) < 4 * at["trace_h_std"] / 10
assert abs(np.std(traces, ddof=1) / at["trace_h_std"] - 1) < 4 / np.sqrt(200)
