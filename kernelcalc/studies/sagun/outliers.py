"""The number of outliers of the Hessian against the number of clusters in the data (2017, Table 1 and Figures 2, 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import gaussian_clusters
from kernelcalc.finite.curvature.spectrum import eigenvalues
from kernelcalc.output.pictures import below, color_of, decade_ticks, grid
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend
from kernelcalc.studies.spectrum import count_outliers

# Part of the spectrum in which gaps and ratios are looked for: below, ratios are between roundings of zero.
SCREE = 100
RULES = ("gap", "ratio", "cutoff")


def run(
    *,
    full: bool = False,
    seed: int = 0,
    activation: Any = None,
    loss: str = "softmax",
    clusters: Sequence[int] | None = None,
    points: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    progress: Callable[..., Any] | None = None,
) -> Result:
    """Outliers of the trained network's Hessian by three rules, beside those of the limit.

    Clusters are classes. The limit is led from the network's own first outputs through the same batches; its outliers
    are those of 𝓗C^½ Θ 𝓗C^½ there, by the same rules. The third rule cuts off at the elbow of the scree plot: the elbow is
    the first eigenvalue of the bulk, and those above it are counted.

    Parameters
    ----------
    full : bool
        The paper's network 100-30-30-k with k = 2, 5, 10, 20, 50 clusters under GD and SGD, relu and tanh, covariances of
        the clusters 1 and 10 times that of the centres.
    clusters, points, width, steps
        Numbers of clusters, number of points, hidden width, steps of training.
    """
    clusters = tuple(clusters or ((2, 5, 10, 20, 50) if full else (2, 5, 10)))
    n, width = points or (500 if full else 100), width or (30 if full else 15)
    steps = (3000 if full else 300) if steps is None else steps
    settings = [("GD", "relu", 1.0)]
    if full:
        settings = [("GD", "tanh", 1.0), ("GD", "relu", 1.0), ("SGD", "relu", 1.0), ("SGD", "relu", 10.0)]
    if activation is not None:
        settings = [(algorithm, activation, cov) for algorithm, _, cov in settings]
    settings = list(dict.fromkeys(settings))
    names = (
        "algorithm",
        "activation",
        "cov",
        "P",
        "clusters",
        "step",
        "mean",
        "std",
        "gap",
        "ratio",
        "elbow",
        "elbow_at",
    )
    theory = ("gap_theory", "ratio_theory", "elbow_theory", "top", "top_theory", "loss", "loss_theory", "gradient")
    rows = Table(*names, *theory)
    scree = Table("algorithm", "activation", "cov", "clusters", "rank", "eigenvalue", "theory", "pca")
    jobs = [(*setting, k) for setting in settings for k in clusters]
    for algorithm, name, cov, k in (progress or (lambda items, _: items))(jobs, "networks"):
        x, labels = gaussian_clusters(n, k, 100, spread=np.sqrt(cov), rng=[seed, k])
        task = Task.of(x, labels, loss=loss, activation=name)
        limit = Limit.of(task)
        start = task.draw(width, [seed, k, 1])
        batch = 32 if algorithm == "SGD" else None
        step = limit.step_for([start])
        (end,) = descend(task, start, step, steps, batch=batch, rng=seed)
        (expected,) = limit.descend(start(task.x), step, steps, batch=batch, rng=seed)
        values = eigenvalues(task.split(end).h)[::-1]
        zeros = task.orthogonal(width)
        p = values.size + zeros
        mean = values.sum() / p
        std = np.sqrt((values @ values) / p - mean**2)
        own, other = scree_of(values), scree_of(limit.eigenvalues(expected, min(SCREE, n * (k - 1))))
        counts = [count_outliers(own, rule) for rule in RULES]
        expected_counts = [count_outliers(other, rule) for rule in RULES]
        shown = end.activations[0].name
        # the point of the scree plot that :func:`count_outliers` finds farthest below its chord
        cutoff = own[counts[2]] if counts[2] < own.size else np.nan
        numbers = (algorithm, shown, cov, p, k, step, mean, std, *counts, cutoff, *expected_counts)
        rows.add(*numbers, own[0], other[0], task.loss_of(end), limit.loss(expected), task.gradient_norm(end))
        pca = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2 / n
        most = max(own.size, other.size)
        padded = [np.concatenate([v, np.full(most, np.nan)])[:most] for v in (own, other, pca)]
        scree.extend(algorithm, shown, cov, k, np.arange(1, most + 1), *padded)
    title = (
        f"Outliers of the Hessian against the number of clusters: {n} points in 100 dimensions, {loss} loss,\n"
        f"two hidden layers of width {width}, {steps} steps"
    )
    multiplicity = (
        ("under mse the limit has every eigenvalue of Θ/N once an output: its first gap is after k equal ones",)
        if loss == "mse"
        else ()
    )
    notes = (
        "gap, ratio, elbow: eigenvalues above the largest difference, the largest ratio, the elbow of the scree plot, among "
        f"the {SCREE} largest; elbow_at: the eigenvalue at the elbow, the first one that is not counted (the paper's cut-off)",
        "..._theory: the same for 𝓗C^½ Θ 𝓗C^½ of the infinitely wide network after the same steps",
        "step: of descent, at most ½/λ_max(H) of the start; cov: variance inside the clusters over that of their centres; "
        "mean, std: of all P eigenvalues; gradient: ‖∇C‖ at the end",
        "pca, in the table of the scree plot: variances of the data along their principal components",
        "only Θ enters, so relu is covered; that outliers of a narrow network grow unevenly, so that the largest difference "
        "may stand behind the first of them, is not",
        *multiplicity,
    )

    def draw() -> Any:
        return _figure(rows.columns(), scree.columns(), jobs)

    return Result(
        name="outliers",
        title=title,
        tables={"outliers": rows.columns(), "outliers_scree": scree.columns()},
        notes=notes,
        draw=draw,
    )


def scree_of(values: AnyArray) -> AnyArray:
    """The positive ones among the :data:`SCREE` largest eigenvalues, descending."""
    top = np.sort(values)[::-1][:SCREE]
    return np.asarray(top[top > 1e-9 * top[0]])


def _figure(rows: dict[str, AnyArray], lines: dict[str, AnyArray], jobs: Sequence[Any]) -> Any:
    ks = sorted({job[-1] for job in jobs})
    settings = list(dict.fromkeys(job[:3] for job in jobs))
    figure, axes = grid(len(settings), len(ks), title="Outliers against clusters", size=(3.5, 2.7))
    row = 0
    for i, (algorithm, _, cov) in enumerate(settings):
        for j, k in enumerate(ks):
            name, ax = rows["activation"][row], axes[i, j]
            own = (lines["algorithm"] == algorithm) & (lines["activation"] == name)
            own &= (lines["cov"] == cov) & (lines["clusters"] == k) & (lines["rank"] <= 60)
            rank = lines["rank"][own]
            ax.semilogy(rank, lines["theory"][own], ".", ms=5, color=color_of(1), label="limit")
            ax.semilogy(rank, lines["eigenvalue"][own], "x", ms=4.5, mew=1.1, color=color_of(0), label="network")
            data = lines["pca"][own]
            scaled = data * lines["eigenvalue"][own][0] / data[0]
            ax.semilogy(rank, scaled, color="0.6", lw=1, label="principal components of the data, scaled")
            ax.axvline(k + 0.5, color="0.5", lw=1, ls=":", label="number of clusters")
            ax.axvline(rows["elbow"][row] + 0.5, color=color_of(2), lw=1.1, ls="--", label="elbow, network")
            ax.axvline(rows["elbow_theory"][row] + 0.5, color=color_of(1), lw=1.1, ls="-.", label="elbow, limit")
            ax.set_title(f"{algorithm}, {name}, cov {cov:g}: {k} clusters", fontsize=9)
            decade_ticks(ax)
            if i == len(settings) - 1:
                ax.set_xlabel("rank")
            if j == 0:
                ax.set_ylabel("eigenvalue")
            row += 1
    below(figure, axes[0, 0])
    return figure
