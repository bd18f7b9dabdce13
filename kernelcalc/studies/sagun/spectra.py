"""Exact Hessian spectra before and after training (2016, Figures 1, 2, 4, 5; 2017, Figure 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import random_patterns, two_blobs
from kernelcalc.errors import UnknownNameError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import DENSE_LIMIT, CurvatureOperator
from kernelcalc.finite.curvature.spectrum import extreme_eigenvalues, spectral_density
from kernelcalc.output.pictures import color_of, grid, shades, signed_bins, signed_scale
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend, digits, smallest
from kernelcalc.studies.spectrum import count_outliers, rank_bound_i, rank_bound_s

DATA = ("digits", "random", "blobs")
LOSSES = ("softmax", "mse")
# Parameters up to which all eigenvalues cost next to nothing.
_SMALL = 500
# Rows of the dense matrix that are computed at once.
_ROWS = 512
# Half the band around zero, relative to the largest eigenvalue, that counts as near zero.
NEAR_ZERO = 1e-3
ROUNDING = 1e-11
# A network's loss or largest eigenvalue that differs by more than this factor from the limit's is pointed out.
FAR = 1.5
# Eigenvalues at either end when the matrix is too large.
_ENDS = 30


def run(
    *,
    full: bool = False,
    seed: int = 0,
    activation: Any = "relu",
    data: Sequence[str] = DATA,
    losses: Sequence[str] = LOSSES,
    points: int | None = None,
    widths: Sequence[int] | None = None,
    steps: int | None = None,
    approximate: bool = False,
    progress: Callable[..., Any] | None = None,
) -> Result:
    """Spectra of H for networks n_in-k-k-n_out of growing width k, before and after training.

    All eigenvalues, where at most 20,000 parameters act on the data; beyond, both ends by Lanczos and the density by
    stochastic Lanczos quadrature. Beside them: the largest eigenvalue and the outliers of 𝓗C^½ Θ 𝓗C^½ led from the network's
    own first outputs through the same steps, and the zeros that the data and the ranks of I and S leave.

    Parameters
    ----------
    full : bool
        All 256 digits with k = 10, 30, 50, 70 (up to 19,470 parameters), random data of the same shape, and blobs with
        networks of 18, 74, 162, 282 and 434 parameters.
    data, losses : sequence of str
        Among digits, random, blobs; among softmax, mse.
    points, widths, steps
        Points, hidden widths k, steps of gradient descent.
    approximate : bool
        Lanczos and quadrature beyond 500 parameters: minutes instead of an hour or two with ``full``, without the numbers of
        zero and negative eigenvalues.
    """
    for name in data:
        if name not in DATA:
            raise UnknownNameError("data", name, DATA)
    steps = (2000 if full else 200) if steps is None else steps
    names = (
        "data",
        "loss",
        "width",
        "P",
        "step",
        "time",
        "top",
        "top_theory",
        "bottom",
        "zero",
        "zero_bound",
        "near_zero",
    )
    more = ("negative", "gap", "gap_theory", "rank_bound_i", "rank_bound_s", "training_loss", "loss_theory", "gradient")
    rows = Table(*names, *more)
    table = Table("data", "loss", "width", "time", "eigenvalue", "weight")
    expected: dict[tuple[str, str, int, str], AnyArray] = {}
    jobs = [(name, loss, k) for name in data for loss in losses for k in _widths(name, widths, full)]
    cache: dict[tuple[str, str], tuple[Task, Limit]] = {}
    for name, loss, k in (progress or (lambda items, _: items))(jobs, "networks"):
        if (name, loss) not in cache:
            task = Task.of(*_points(name, points, full, seed), loss=loss, activation=activation)
            cache = {(name, loss): (task, Limit.of(task))}
        task, limit = cache[name, loss]
        start = task.draw(k, [seed, k])
        spectra = [spectrum_of(task, start, approximate)]
        step = limit.step_under([spectra[0][0][-1]])
        networks = [start, *descend(task, start, step, steps)]
        spectra.append(spectrum_of(task, networks[1], approximate))
        outputs = limit.descend(start(task.x), step, steps, at=(0, steps))
        bounds = rank_bound_i(task.n, task.n_out - (loss == "softmax")), rank_bound_s(task.n, task.hidden(k))
        p = task.parameters(k)
        for when, network, y, found in zip(("start", "end"), networks, outputs, spectra, strict=True):
            values, weights, exact = found
            expected[name, loss, k, when] = limit.eigenvalues(y)
            theory = expected[name, loss, k, when][: min(_ENDS, bounds[0])]
            near = weights[np.abs(values) < NEAR_ZERO * values[-1]].sum() / p
            small = ROUNDING * values[-1]
            zero = weights[np.abs(values) <= small].sum() if exact else np.nan
            negative = weights[values < -small].sum() if exact else np.nan
            top = np.sort(values)[::-1][:_ENDS]
            bound = max(task.orthogonal(k), p - sum(bounds))
            edges = values[-1], theory[0], values[0]
            gaps = count_outliers(top, "gap"), count_outliers(theory, "gap")
            losses_now = task.loss_of(network), limit.loss(y)
            counts = zero, bound, near, negative, *gaps, *bounds
            rows.add(name, loss, k, p, step, when, *edges, *counts, *losses_now, task.gradient_norm(network))
            table.extend(name, loss, k, when, values, weights)
    title = (
        f"Spectra of the Hessian before and after {steps} steps of gradient descent, two hidden layers of width k, "
        f"{task.net.activations[0].name}"
    )
    notes = (
        "zero: exact zeros among the P eigenvalues (Lanczos sees none: -); zero_bound: weights orthogonal to the data, or P "
        "less the bounds of rank I and rank S, whichever is more",
        "step: of descent, at most ½/λ_max(H) of the start; rank_bound_i, rank_bound_s: N n_out (softmax: N (n_out - 1)) and "
        "2 N times the hidden units; negative: number of eigenvalues below zero",
        f"near_zero: part within {NEAR_ZERO:g} of the largest around zero; gap: eigenvalues above the largest gap",
        "top_theory, gap_theory: the same for 𝓗C^½ Θ 𝓗C^½ after the same steps from the network's first outputs",
        "gradient: ‖∇C‖; that of the weights σ_w W/√n themselves, which the papers train to 1e-4, is √n/σ_w times as large",
        "the limit predicts the positive outliers; for relu Θ and the spectrum of I are defined, Φ, Λ, Υ, Ξ are not",
        *far_note(rows.columns()),
    )

    def draw() -> Any:
        return _figure(table.columns(), expected, jobs)

    return Result(
        name="spectra",
        title=title,
        tables={"spectra": rows.columns(), "spectra_values": table.columns()},
        notes=notes,
        draw=draw,
    )


def far_note(columns: dict[str, AnyArray]) -> tuple[str, ...]:
    """Which trained networks are far from the limit, and why: nothing, or one sentence.

    Examples
    --------
    >>> rows = {"data": ["blobs"], "loss": ["mse"], "width": [6], "time": ["end"], "training_loss": [0.3]}
    >>> rows |= {"loss_theory": [0.1], "top": [2.0], "top_theory": [1.9]}
    >>> far_note({name: np.array(column) for name, column in rows.items()})[0][:75]
    'far from the limit after training (network/limit): blobs, mse, k = 6: loss '
    """
    own = {name: column[columns["time"] == "end"] for name, column in columns.items()}
    pairs = {"loss": ("training_loss", "loss_theory"), "λ_max": ("top", "top_theory")}
    said = []
    for i, (data, loss, k) in enumerate(zip(own["data"], own["loss"], own["width"], strict=True)):
        ratios = {words: own[a][i] / max(own[b][i], 1e-300) for words, (a, b) in pairs.items()}
        far = [f"{words} {ratio:.2g}" for words, ratio in ratios.items() if not 1 / FAR < ratio < FAR]
        if far:
            said.append(f"{data}, {loss}, k = {k}: {', '.join(far)}")
    if not said:
        return ()
    return (
        f"far from the limit after training (network/limit): {'; '.join(said)}. At finite width Θ fluctuates from network to "
        "network, of order k^-½, and moves as features are learned, of order 1/k; both vanish with growing k at a given "
        "number of steps, and small losses, products of many steps, show them most",
    )


def exact_eigenvalues(operator: CurvatureOperator) -> AnyArray:
    """All eigenvalues, ascending, in the memory of one dense matrix."""
    p = operator.shape[0]
    matrix = np.empty((p, p))
    for first in range(0, p, _ROWS):
        rows = np.eye(min(_ROWS, p - first), p, first)
        matrix[first : first + _ROWS] = operator.split.product(rows, operator.part)
    # LAPACK works in place on columns
    from scipy.linalg import eigvalsh

    return np.asarray(eigvalsh(matrix.T, overwrite_a=True, check_finite=False))


def spectrum_of(task: Task, network: FiniteNetwork, approximate: bool = False) -> tuple[AnyArray, AnyArray, bool]:
    """Eigenvalues of H ascending, the number of eigenvalues that each stands for (summing to P), and whether they are all."""
    operator = task.split(network).h
    p, zeros = operator.shape[0], task.orthogonal(network.sizes[1])
    if p <= (_SMALL if approximate else DENSE_LIMIT):
        values = exact_eigenvalues(operator)
        weights = np.ones(p)
        if zeros:
            at = int(np.searchsorted(values, 0.0))
            values, weights = np.insert(values, at, 0.0), np.insert(weights, at, float(zeros))
        return values, weights, True
    count = _ENDS
    ends = [extreme_eigenvalues(operator, count, tol=1e-6), smallest(operator, count)]
    density = spectral_density(operator, steps=120, probes=2)
    low, high = ends[1].max(), ends[0].min()
    inside = (density.nodes > low) & (density.nodes < high) & (density.weights > 0)
    nodes, mass = density.nodes[inside], density.weights[inside]
    # the ends are known one by one; the rule's mass between them stands for all others
    mass = mass * (p - 2 * count) / mass.sum()
    values = np.concatenate([*ends, nodes, [0.0]])
    weights = np.concatenate([np.ones(2 * count), mass, [zeros]])
    order = np.argsort(values, kind="stable")
    return values[order], weights[order], False


def _points(name: str, points: int | None, full: bool, seed: int) -> tuple[AnyArray, AnyArray]:
    if name == "digits":
        return digits(points, full)
    if name == "random":
        return random_patterns(points or (256 if full else 40), 196, 10, rng=seed)
    return two_blobs(points or (200 if full else 60), std=0.5, rng=seed)


def _widths(name: str, widths: Sequence[int] | None, full: bool) -> tuple[int, ...]:
    if widths is not None:
        return tuple(widths)
    if name == "blobs":
        return (2, 6, 10, 14, 18) if full else (2, 6, 18)
    return (10, 30, 50, 70) if full else (5, 10)


def _figure(arrays: dict[str, AnyArray], expected: Any, jobs: Sequence[tuple[str, str, int]]) -> Any:
    data, losses = list(dict.fromkeys(j[0] for j in jobs)), list(dict.fromkeys(j[1] for j in jobs))
    figure, axes = grid(len(data), 1 + len(losses), title="Eigenvalues of the Hessian", size=(4.5, 2.9))

    def chosen(name: str, loss: str, k: int, when: str) -> tuple[AnyArray, AnyArray]:
        own = (arrays["data"] == name) & (arrays["loss"] == loss) & (arrays["width"] == k) & (arrays["time"] == when)
        return arrays["eigenvalue"][own], arrays["weight"][own]

    for row, name in zip(axes, data, strict=True):
        ks = [k for n, loss, k in jobs if n == name and loss == losses[0]]
        panels: list[tuple[str, list[tuple[str, int, str, str, Any]]]] = [
            (
                f"{name}, {losses[0]}, k = {ks[0]}",
                [
                    (losses[0], ks[0], "start", "before", "0.55"),
                    (losses[0], ks[0], "end", "after training", color_of(0)),
                ],
            )
        ]
        for loss in losses:
            family = zip(ks, shades(len(ks)), strict=True)
            panels.append((f"{name}, {loss}, after training", [(loss, k, "end", f"k = {k}", c) for k, c in family]))
        for ax, (words, curves) in zip(row, panels, strict=True):
            drawn = [chosen(name, *curve[:3]) for curve in curves]
            theory = expected[(name, *curves[-1][:3])]
            everything = np.concatenate([theory, *(values for values, _ in drawn)])
            linear = 1e-4 * everything.max()
            edges = signed_bins(everything, linear)
            label = f"limit, k = {curves[-1][1]}"
            options = {"baseline": 0.6, "fill": True, "color": color_of(1), "alpha": 0.4, "lw": 0}
            ax.stairs(np.histogram(theory[theory > linear], edges)[0], edges, label=label, **options)
            for (values, weights), (*_, label, color) in zip(drawn, curves, strict=True):
                ax.stairs(np.histogram(values, edges, weights=weights)[0], edges, color=color, lw=1.2, label=label)
            ax.set_title(words, fontsize=10)
            ax.set_yscale("log")
            # room for the legend above the curves
            most = max(weights.sum() for _, weights in drawn)
            ax.set_ylim(0.6, 25 * most)
            signed_scale(ax, "x", linear)
            ax.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
        row[0].set_ylabel("number of eigenvalues")
    for ax in axes[-1]:
        ax.set_xlabel(r"eigenvalue $\lambda$ of $H$")
    return figure
