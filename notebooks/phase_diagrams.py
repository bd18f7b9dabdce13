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
# # Order and chaos
#
# Deep in a wide network the variance of a preactivation follows $q \mapsto σ_w^2\,\mathbb E[σ(\sqrt q Z)^2] + β^2$ down to
# a fixed point $q^*$, and small differences between two inputs are multiplied, layer by layer, by
#
# $$ χ = σ_w^2\, \mathbb E[\dot σ(\sqrt{q^*} Z)^2]. $$
#
# For χ < 1 (*order*) all inputs end up alike, Θ tends to a constant matrix and the spectrum of $I$ to one large eigenvalue,
# a narrow valley. For χ > 1 (*chaos*) all inputs end up unrelated and Θ tends to a multiple of the identity
# (Jacot, Gabriel, Hongler 2020, Remark 2; Poole et al. 2016; Schoenholz et al. 2017).

# %%
import matplotlib.pyplot as plt
import numpy as np

import kernelcalc as kc
from kernelcalc.output.phase import mark_setting, plot_phase
from kernelcalc.studies.phase import critical_line, depth_profile, fixed_points, normalized_position

# %% [markdown]
# ## Three diagrams
#
# The paper's setting is $σ_w = 1$, $β = 0.1$. Bounded nonlinearities have both phases; relu's variance diverges before it
# becomes chaotic; a sine without bias is chaotic beyond $σ_w = 1$, and with large weights $χ$ comes ever closer to
# $σ_w^2/2$.

# %%
fig, axes = plt.subplots(1, 3, figsize=(13.5, 3.9), layout="constrained")
for ax, name in zip(axes, ("tanh", "relu", "sin"), strict=True):
    plot_phase(kc.phase_diagram(name, np.linspace(0.2, 3, 71), np.linspace(0, 2, 51)), ax)
    mark_setting(ax, "paper", 1.0, 0.1)
    ax.set_title(name, fontsize=11)

# %% [markdown]
# ## χ is a rate: networks of width 800 show it
#
# Two nearby inputs through thirty random layers. Nothing below comes from the package but χ and $q^*$.

# %%
settings = {"order": (0.9, 0.3), "critical": None, "chaos": (1.8, 0.3)}
sigma_w, beta, _ = critical_line("tanh", np.geomspace(1e-3, 10, 2001))
nearest = np.argmin(np.abs(beta - 0.3))
settings["critical"] = (float(sigma_w[nearest]), float(beta[nearest]))
width, layers = 800, 30


def distances(sigma_w, beta, q, rng, trials=3):
    """Mean over pairs of 1 - cosine of the preactivations, layer by layer, and the last variance."""
    found, variances = np.zeros(layers), []
    for _ in range(trials):
        a = np.sqrt(q) * rng.standard_normal((width, 1))
        h = np.concatenate([a, a + 0.003 * np.sqrt(q) * rng.standard_normal((width, 1))], axis=1)
        for i in range(layers):
            found[i] += (1 - h[:, 0] @ h[:, 1] / np.linalg.norm(h[:, 0]) / np.linalg.norm(h[:, 1])) / trials
            weights = rng.standard_normal((width, width), dtype=np.float32)
            h = sigma_w / np.sqrt(width) * (weights @ np.tanh(h)) + beta * rng.standard_normal((width, 1))
        variances.append(np.mean(h**2))
    return found, np.mean(variances)


fig, ax = plt.subplots(figsize=(6.2, 4), layout="constrained")
rng = np.random.default_rng(0)
for color, (phase, (s, b)) in zip((f"C{n}" for n in range(10)), settings.items(), strict=False):
    [point] = fixed_points("tanh", s, b)
    measured, variance = distances(s, b, point.q, rng)
    depth = np.arange(layers)
    small = measured < 0.02
    ax.semilogy(depth, measured, "o", ms=4, color=color, label=rf"{phase}, $\chi = {point.chi:.3f}$")
    ax.semilogy(depth[small], (measured[0] * point.chi**depth)[small], color=color, lw=1.4)
    rate = np.polyfit(depth[small], np.log(measured[small]), 1)[0]
    print(f"{phase:9s} χ = {point.chi:.4f}, measured {np.exp(rate):.4f}; q* = {point.q:.4f}, measured {variance:.4f}")
    assert abs(rate - np.log(point.chi)) < 0.04
    assert abs(variance / point.q - 1) < 0.15
ax.set(xlabel="layer", ylabel="1 − cosine of two inputs")
ax.legend(frameon=False)

# %% [markdown]
# ## What it does to Θ, hence to the Hessian
#
# On digits: the mean correlation of Θ, and the narrow-valley ratio, the largest eigenvalue over the mean of the others.
# At criticality Θ hardly moves: its correlation settles near a third, neither limit.

# %%
X, _ = kc.datasets.mnist14(40)
depths = [2, 3, 5, 8, 12, 20, 30, 40]
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.7), layout="constrained")
profiles = {}
for color, (phase, (s, b)) in zip((f"C{n}" for n in range(10)), settings.items(), strict=False):
    profile = profiles[phase] = depth_profile("tanh", X, depths, sigma_w=s, beta=b)
    left.plot(depths, profile.correlation, "o-", ms=4, color=color, label=phase)
    right.semilogy(depths, profile.narrow_valley, "o-", ms=4, color=color, label=phase)
left.set(xlabel="depth $L$", ylabel=r"mean correlation of $\Theta$", ylim=(-0.05, 1.05))
right.set(xlabel="depth $L$", ylabel=r"$\lambda_1(I)$ / mean of the others")
left.legend(frameon=False)
assert profiles["order"].correlation[-1] > 0.99
assert profiles["chaos"].correlation[-1] < 0.02
assert 0.25 < profiles["critical"].correlation[-1] < 0.4
assert profiles["order"].narrow_valley[-1] > 100 * profiles["chaos"].narrow_valley[-1]

# %% [markdown]
# ## Normalising is a way into chaos
#
# With mean 0 and variance 1 under N(0,1), $q = 1$ is a fixed point for $σ_w^2 + β^2 = 1$, and there
# $χ = (1 - β^2)\,\mathbb E[\dot{\bar σ}(Z)^2] \ge 1 - β^2$ by Poincaré's inequality: equality for linear σ only. In Hermite
# coefficients $\mathbb E[\dot{\bar σ}^2] = \sum_k k\,a_k^2$ with $\sum_k a_k^2 = 1$, the mean degree of σ.

# %%
names = ("smooth_relu", "relu", "softplus", "gelu", "silu", "tanh", "erf", "arctan", "sin", "cos", "gaussian")
z, w = np.polynomial.hermite_e.hermegauss(120)
w = w / w.sum()
positions = {}
for name in names:
    positions[name] = normalized_position(name, beta=0.1).chi
    act = kc.activation(name).normalized()
    assert abs(w @ act(z)) < 1e-2
    if act.smoothness > 1:  # Gauss-Hermite quadrature of a smooth function, as the second opinion
        assert abs(0.99 * (w @ act.derivative(1)(z) ** 2) - positions[name]) < 1e-3
    assert positions[name] > 0.99
order = sorted(names, key=positions.get)
fig, ax = plt.subplots(figsize=(6.2, 3.9), layout="constrained")
ax.barh([name.replace("_", " ") for name in order], [positions[name] for name in order], color="C0")
ax.axvline(1, color="k", lw=1.2)
ax.set(xlabel=r"$\chi$ of the normalised nonlinearity, $\beta = 0.1$")
print({name: round(positions[name], 4) for name in order})

# %% [markdown]
# Enough bias brings order back: on the circle $σ_w^2 + β^2 = 1$ the normalised tanh crosses the critical line where
# $(1 - β^2)$ times its mean degree is 1.

# %%
act = kc.activation("tanh").normalized()
ax = plot_phase(kc.phase_diagram(act, np.linspace(0.2, 1.8, 61), np.linspace(0, 1.2, 49)))
angle = np.linspace(0, np.pi / 2, 100)
ax.plot(np.cos(angle), np.sin(angle), "k--", lw=1.2, label=r"$\sigma_w^2 + \beta^2 = 1$: $q^* = 1$")
for b in (0.1, 0.5):
    mark_setting(
        ax,
        rf"$\beta = {b:g}$, $\chi = {normalized_position('tanh', b).chi:.3f}$",
        np.sqrt(1 - b**2),
        b,
        marker="os"[b > 0.3],
    )
ax.legend(loc="upper left", fontsize=9)
ax.set_title("normalised tanh", fontsize=11)
mean_degree = normalized_position("tanh", 0.0).chi
assert normalized_position("tanh", np.sqrt(1 - 1 / mean_degree)).phase == "critical"
