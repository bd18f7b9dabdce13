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
# # The Hessian of finite networks beside its limit
#
# The experiments of Sagun, Bottou, LeCun, "Eigenvalues of the Hessian in deep learning: singularity and beyond" (2016), and
# Sagun, Evci, Güney, Dauphin, Bottou, "Empirical analysis of the Hessian of over-parametrized neural networks" (2017), each
# with what the infinite-width theory says about it. The data are 14 × 14 digits, random patterns and Gaussian clusters, the
# settings small; `python notebooks/sagun.py --full` runs the papers' (hours, most of them for the exact spectra),
# `kernelcalc sagun NAME [--full]` one experiment with its files.
#
# Networks are in NTK parametrisation: a weight is $σ_w W/\sqrt n$ and $W$ is what is trained. The papers trained the weights
# themselves; there the eigenvalues grow with the width, here the right edge has a limit. The nonlinearity is relu, as in
# the papers. Of the limit theory Σ and Θ exist for it, hence the spectrum of $I$ and training; Φ, Λ, Υ, Ξ do not. Almost
# everywhere $\ddot σ = 0$, and with that as second derivative $\mathrm{Tr}\,S = 0$ and $\mathrm{Tr}\,S^2 → ∇C^T Υ_0 ∇C$
# with $Υ_0^+ = σ_w^2\, \dot Σ ∘ (Υ_0 + 2Θ)$, the recursion of Υ without $\ddot Σ$.

# %%
import sys

import numpy as np

from kernelcalc.datasets import random_patterns
from kernelcalc.studies.sagun import run
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend

full = "--full" in sys.argv


def shown(name, **options):
    """Run an experiment and print its table."""
    result = run(name, full=full, **options)
    print(f"{result}\n")
    return result


# %% [markdown]
# ## Spectra before and after training
#
# A huge peak at zero, a few large eigenvalues. What the peak must contain is known: weights orthogonal to the data (dead
# pixels), and what the ranks of $I$ and $S$ leave. Where the large eigenvalues lie is what $𝓗C^{1/2} Θ 𝓗C^{1/2}$ says.

# %%
spectra = shown("spectra")
exact = ~np.isnan(spectra["zero"])
assert (spectra["zero"] >= spectra["zero_bound"])[exact].all()
on_digits = spectra["data"] == "digits"
assert (spectra["near_zero"][on_digits] > 0.75).all()
trained = spectra["time"] == "end"
assert (-spectra["bottom"][trained & on_digits] < 0.06 * spectra["top"][trained & on_digits]).all()
# the widest network on blobs: its right edge is the limit's
last = np.flatnonzero(trained & (spectra["data"] == "blobs") & (spectra["loss"] == "softmax"))[-1]
assert 0.6 < spectra["top"][last] / spectra["top_theory"][last] < 1.6
spectra.figure()

# %% [markdown]
# Both losses give a discrete part that the data decide and a peak at zero. Two things differ. Under the mean squared error
# $𝓗C = \mathrm{Id}/N$ whatever the outputs: the spectrum of $I$ stands still, and each eigenvalue of $Θ/N$ comes once an
# output, so the gap is behind a multiple of $n_{out}$. Under softmax the weights $𝓗C$ fade as the outputs grow sure, and the
# right edge with them.

# %%
started = spectra["time"] == "start"
squared = spectra["loss"] == "mse"
np.testing.assert_allclose(spectra["top_theory"][trained & squared], spectra["top_theory"][started & squared])
assert (spectra["top_theory"][trained & ~squared] < 0.5 * spectra["top_theory"][started & ~squared]).all()
outputs = np.where(spectra["data"] == "blobs", 2, 10)
assert (spectra["gap_theory"] % outputs == 0)[squared].all()
# the widest network on blobs does the same
for law, allowed in (("softmax", (0.0, 0.1)), ("mse", (0.5, 1.5))):
    own = (spectra["data"] == "blobs") & (spectra["loss"] == law)
    ratio = spectra["top"][own & trained][-1] / spectra["top"][own & started][-1]
    print(f"blobs, {law}: λ_max after training / before = {ratio:.3g}")
    assert allowed[0] < ratio < allowed[1]

# %% [markdown]
# The notes above name networks that end far from the limit. That is their width: on random patterns under the mean squared
# error the loss after the same number of steps, nearly nothing in the limit, and the right edge come closer as k grows.

# %%
task = Task.of(*random_patterns(40, rng=0), loss="mse")
limit = Limit.of(task)
losses, edges = [], []
for k in (10, 40, 160):
    start = task.draw(k, [0, k])
    step = limit.step_for([start])
    (end,) = descend(task, start, step, 200)
    (y,) = limit.descend(start(task.x), step, 200)
    losses.append((task.loss_of(end) - limit.loss(y)) / task.loss_of(start))
    edges.append(task.largest(end)[0] / limit.eigenvalues(y, 1)[0])
    print(f"k = {k}: loss {task.loss_of(end):.3g}, limit {limit.loss(y):.3g}; λ_max/limit {edges[-1]:.2f}")
assert losses[0] > 2 * losses[1] > 4 * losses[2] > 0
assert (np.diff(np.abs(np.array(edges) - 1)) < 0).all()
assert abs(edges[-1] - 1) < 0.1

# %% [markdown]
# ## Heat maps
#
# The entries by layers. How large each block of $I$ is follows from the layers' parts of Θ.

# %%
heatmaps = shown("heatmaps")
assert (np.abs(heatmaps["ratio"] - 1) < 0.2).all()
heatmaps.figure()

# %% [markdown]
# ## The spectrum through training
#
# The limit is led from each network's own first outputs through the same steps, so nothing random is between the two.

# %%
training = shown("training")
wide = training["width"] == training["width"].max()
later = wide & (training["step"] > 0)
assert (np.abs(training["top_1"] / training["theory_1"] - 1)[later] < 0.1).all()
assert (np.abs(training["top_2"] / training["theory_2"] - 1)[later] < 0.1).all()
for j in (1, 2, 3):
    assert (np.diff(training[f"top_{j}"][wide]) < 0).all()
training.figure()

# %% [markdown]
# ## The largest eigenvalue over initialisations
#
# In the limit its law is that of $λ_{\max}(𝓗C^{1/2} Θ 𝓗C^{1/2})$ over Gaussian outputs. The mean of finite networks
# approaches the limit's mean like 1/width.

# %%
initial = shown("initial", **({} if full else {"trials": 75, "steps": 40}))
assert (np.abs(initial["z"][initial["width"] == "extrapolated"]) < 4).all()
narrow, theory = initial["width"] == "10", initial["width"] == "theory"
# narrow networks fluctuate more
assert (initial["std"][narrow] > 1.5 * initial["std"][theory]).all()
initial.figure()

# %% [markdown]
# ## Separability
#
# As two blobs merge the largest eigenvalues after training grow, by far more than they fluctuate, and not because the weights
# grow.

# %%
separability = shown("separability")
assert separability["top"][-1] > 10 * separability["top"][0]
assert separability["top_theory"][-1] > 10 * separability["top_theory"][0]
assert np.ptp(separability["weights"]) < 0.05 * separability["weights"].mean()
ratio = separability["top"] / separability["top_theory"]
assert ((ratio > 0.7) & (ratio < 2.5)).all()
separability.figure()

# %% [markdown]
# ## Outliers and clusters
#
# Their Table 1. In the limit k clusters that are classes give k − 1 outliers, by the largest gap as by the largest ratio
# (a common direction of all outputs does not change the softmax). The narrow network agrees by the ratio, up to one. By the
# gap it does not: its largest eigenvalue has grown far above the others, and the gap behind it is the largest for every k
# (at the width of 30 of the full setting, for k = 5 and 10 still). Fifty clusters, in the full setting, leave 49 outliers by
# either rule under relu; tanh, saturated at that width, has no gap left there.

# %%
outliers = shown("outliers")
relu = outliers["activation"] == "relu"
clusters = outliers["clusters"]
assert (outliers["gap_theory"][relu] == clusters[relu] - 1).all()
assert (outliers["ratio_theory"][relu] == clusters[relu] - 1).all()
assert (np.abs(outliers["ratio"] - (clusters - 1)) <= 1)[relu | (clusters < 50)].all()
if not full:
    assert (outliers["gap"] == 1).all()
outliers.figure()

# %% [markdown]
# ## Growth of the width
#
# The right edge tends to the limit. The rest is $S$: $\mathrm{Tr}\,S^2$ tends to a limit while the number of parameters P
# grows, so the bulk shrinks, in root mean square like $P^{-1/2}$, and so do the quantiles of all eigenvalues of $H$. The rank
# of $S$ grows like the width n, and its extreme eigenvalues should shrink like $n^{-1/2}$ in the end. After training the left
# edge does; at initialisation these widths are too small to see it.

# %%
width = shown("width")
for when in ("start", "end"):
    own = width["time"] == when
    excess = width["top"][own] / width["top_theory"][own]
    assert excess[-1] < 0.6 * excess[0]
    assert excess[-1] < {"start": 1.3, "end": 1.8}[when]
    # the bulk approaches its own limit, which shrinks
    above = width["bulk"][own] / width["bulk_theory"][own]
    assert (np.diff(width["bulk"][own]) < 0).all()
    assert (above > 1).all()
    assert above[-1] < 0.8 * above[0]
    assert width["range_90"][own][-1] < 0.6 * width["range_90"][own][0]
    if when == "end":
        assert (np.diff(-width["bottom"][own]) < 0).all()
        scaled = -width["bottom_root_width"][own]
        assert scaled.max() < 1.2 * scaled.min()
width.figure()

# %% [markdown]
# ## GD, SGD and the line between
#
# Around a common start f is linear in the parameters in the limit, so the loss is convex on the line between any two solutions
# that come from it: no barrier. Two starts are another matter. After the same number of steps large and small batches have
# the same number of large eigenvalues, those of large batches being larger (2017, Figures 7 and 8).
#
# How close are networks to the limit? At a fixed time their outputs differ by the order of $\mathrm{width}^{-1/2}$, and the
# difference grows with time: Θ moves while a late loss, a small number, reacts to every change of it.

# %%
path = shown("path")
same = path["pair"] != "two starts"
assert path["barrier"][same].max() < 0.02
assert path["barrier_theory"][same].max() == 0
assert path["barrier"][-1] > 0.5
ends = path.tables["path_ends"]
large, small = (np.flatnonzero(ends["run"] == name)[0] for name in ("large batch", "SGD"))
assert abs(ends["ratio"][large] - ends["ratio"][small]) <= 1
assert ends["top"][large] > ends["top"][small]
assert ends["top_theory"][large] > ends["top_theory"][small]
assert (-ends["bottom"] < 0.1 * ends["top"]).all()
approach = path.tables["path_approach"]
narrow = approach["width"] == approach["width"].min()
gain = approach["distance"][narrow] / approach["distance"][~narrow]
print(f"outputs of networks four times as wide are closer to the limit by {gain.round(2)}")
assert ((gain > 1.3) & (gain < 3)).all()
# distances: solutions of one start stay close, those of two starts as far as the starts are
apart = path["distance"]
assert apart[same].max() < 0.1 * apart[~same].min()
assert np.ptp(apart[~same]) < 0.1 * apart[~same].min()
# going on with small batches: training loss falls, and accuracy on other digits does not
course = path.tables["path_training"]
second = course["run"] == "large, then small"
assert course["loss"][second][-1] < 0.7 * course["loss"][second][0]
assert course["accuracy_test"][second][-1] > course["accuracy_test"][second][0] - 0.05
path.figure()

# %% [markdown]
# ## The Gauss–Newton split
#
# $I ⪰ 0$: whatever is negative in H comes from S, and S fades as the gradient of the loss does.

# %%
split = shown("split")
by_matrix = {
    name: {c: split[c][split["matrix"] == name] for c in ("top", "bottom", "negative", "square")} for name in "HIS"
}
assert (by_matrix["I"]["negative"] == 0).all()
assert (by_matrix["H"]["negative"] <= by_matrix["S"]["negative"]).all()
assert (by_matrix["H"]["bottom"] >= by_matrix["S"]["bottom"]).all()
assert by_matrix["S"]["square"][1] < 0.1 * by_matrix["S"]["square"][0]
assert -by_matrix["H"]["bottom"][1] < 0.05 * by_matrix["H"]["top"][1]
shares = split.tables["split_spectra"]
negative = shares["eigenvalue"] < -1e-9
assert (shares["from_s"][negative] < shares["eigenvalue"][negative]).all()
split.figure()
