"""Exact Hessian spectra before and after training (2016, Figures 1, 2, 4, 5; 2017, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigvalsh

from kernelcalc.activations.names import as_activation
from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import random_patterns, two_blobs
from kernelcalc.errors import UnknownNameError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import DENSE_LIMIT, CurvatureOperator
from kernelcalc.finite.curvature.spectrum import extreme_eigenvalues, spectral_density
from kernelcalc.output.pictures import grid, shades, signed_bins, signed_scale
from kernelcalc.output.style import color_of, ink, line_width
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Sample, Show, Tables, by_size
from kernelcalc.studies.sagun.claims import far_note, stop_note
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.spectra_claims import claims_of_spectra
from kernelcalc.studies.sagun.task import NEAR_ZERO, ROUNDED_ZERO, Task, descend_until, digits, smallest
from kernelcalc.studies.spectrum import count_outliers, rank_bound_i, rank_bound_s

DATA = ("digits", "random", "blobs")
# What points of the user's are called beside them.
OWN = "sample"
# Parameters up to which all eigenvalues cost next to nothing.
_DENSE_APPROXIMATE = 500
# Rows of the dense matrix that are computed at once.
_DENSE_ROWS = 512
# Eigenvalues at either end when the matrix is too large.
_EDGE = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """The spectrum of one network at one time, and the limit's.

    Attributes
    ----------
    data, loss, width, when
        Which network, "start" or "end".
    parameters : int
        P.
    step, taken : float, int
        Of descent, and how many.
    values, weights : arrays
        Eigenvalues ascending and how many each stands for.
    exact : bool
        Whether they are all.
    expected : array
        All nonzero eigenvalues of I in the limit, descending.
    zeros : int
        Weights orthogonal to the data.
    ranks : (int, int)
        Bounds of rank I and rank S.
    losses : (float, float)
        C of network and limit.
    gradient : float
        ‖∇C‖.
    """

    data: str
    loss: str
    width: int
    when: str
    parameters: int
    step: float
    taken: int
    values: AnyArray
    weights: AnyArray
    exact: bool
    expected: AnyArray
    zeros: int
    ranks: tuple[int, int]
    losses: tuple[float, float]
    gradient: float

    @property
    def row(self) -> tuple[Any, ...]:
        """Its numbers in the main table."""
        values, weights = self.values, self.weights
        theory = self.expected[: min(_EDGE, self.ranks[0])]
        near = weights[np.abs(values) < NEAR_ZERO * values[-1]].sum() / self.parameters
        small = ROUNDED_ZERO * values[-1]
        zero = weights[np.abs(values) <= small].sum() if self.exact else np.nan
        negative = weights[values < -small].sum() if self.exact else np.nan
        gaps = count_outliers(np.sort(values)[::-1][:_EDGE], "gap"), count_outliers(theory, "gap")
        bound = max(self.zeros, self.parameters - sum(self.ranks))
        head = self.data, self.loss, self.width, self.parameters, self.step, self.when
        edges = values[-1], theory[0], values[0]
        return (*head, *edges, zero, bound, near, negative, *gaps, *self.ranks, *self.losses, self.gradient)


@experiment
@dataclass(frozen=True, kw_only=True)
class Spectra(Experiment):
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
    sample : (points, labels), optional
        Instead of ``data``.
    points, widths, steps
        Points, hidden widths k, steps of gradient descent.
    stop : float, optional
        ‖∇C‖ at which a network's descent ends before that.
    approximate : bool
        Lanczos and quadrature beyond 500 parameters: minutes instead of an hour or two with ``full``, without the numbers of
        zero and negative eigenvalues.
    """

    name = "spectra"
    summary = "exact spectra before and after training: digits, random data, blobs; both losses"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    data: Sequence[str] = DATA
    losses: Sequence[str] = ("softmax", "mse")
    points: int | None = None
    sample: Sample | None = None
    widths: Sequence[int] | None = None
    steps: int = by_size(200, 2000)
    stop: float | None = None
    approximate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample is not None:
            object.__setattr__(self, "data", (OWN,))
        for name in self.data:
            if name not in DATA and self.sample is None:
                raise UnknownNameError("data", name, DATA)

    def measure(self, show: Show) -> tuple[Stage, ...]:
        jobs = [(name, loss, k) for name in self.data for loss in self.losses for k in self._widths(name)]
        found: list[Stage] = []
        known: dict[tuple[str, str], Limit] = {}
        for name, loss, k in show(jobs, "networks"):
            if (name, loss) not in known:
                task = Task.of(*self._points(name), loss=loss, activation=self.activation)
                # one at a time, for the sake of memory
                known = {(name, loss): Limit.of(task)}
            found += self._stages(known[name, loss], name, k)
        return tuple(found)

    def _stages(self, limit: Limit, name: str, k: int) -> list[Stage]:
        task = limit.task
        start = task.draw(k, [self.seed, k])
        spectra = [spectrum_of(task, start, self.approximate)]
        step = limit.step_under([spectra[0][0][-1]])
        end, taken = descend_until(task, start, step, self.steps, self.stop)
        spectra.append(spectrum_of(task, end, self.approximate))
        first = start(task.x)
        outputs = [first, *limit.descend(first, step, taken)]
        return [
            Stage(
                data=name,
                loss=task.loss,
                width=k,
                when=when,
                parameters=task.parameters(k),
                step=step,
                taken=taken,
                values=values,
                weights=weights,
                exact=exact,
                expected=limit.eigenvalues(y),
                zeros=task.orthogonal(k),
                ranks=(rank_bound_i(task.n, task.n_out - task.softmax), rank_bound_s(task.n, task.hidden(k))),
                losses=(task.loss_of(network), limit.loss(y)),
                gradient=task.gradient_norm(network),
            )
            for when, network, y, (values, weights, exact) in zip(
                ("start", "end"), (start, end), outputs, spectra, strict=True
            )
        ]

    def _points(self, name: str) -> tuple[AnyArray, AnyArray]:
        if name in ("digits", OWN):
            return digits(self.points, self.full, self.sample)
        if name == "random":
            return random_patterns(self.points or (256 if self.full else 40), 196, 10, rng=self.seed)
        return two_blobs(self.points or (200 if self.full else 60), std=0.5, rng=self.seed)

    def _widths(self, name: str) -> tuple[int, ...]:
        if self.widths is not None:
            return tuple(self.widths)
        if name == "blobs":
            return (2, 6, 10, 14, 18) if self.full else (2, 6, 18)
        return (10, 30, 50, 70) if self.full else (5, 10)

    def title(self, found: tuple[Stage, ...]) -> str:
        return (
            f"Spectra of the Hessian before and after {self.steps} steps of gradient descent, two hidden layers of width k, "
            f"{as_activation(self.activation).name}"
        )

    def table(self, found: tuple[Stage, ...]) -> Tables:
        names = ("data", "loss", "width", "P", "step", "time", "top", "top_theory", "bottom", "zero", "zero_bound")
        more = ("near_zero", "negative", "gap", "gap_theory", "rank_bound_i", "rank_bound_s")
        rows = Table(*names, *more, "training_loss", "loss_theory", "gradient")
        values = Table("data", "loss", "width", "time", "eigenvalue", "weight")
        for stage in found:
            rows.add(*stage.row)
            values.extend(stage.data, stage.loss, stage.width, stage.when, stage.values, stage.weights)
        return {"spectra": rows.columns(), "spectra_values": values.columns()}

    def notes(self, found: tuple[Stage, ...]) -> tuple[str, ...]:
        return (
            "zero: exact zeros among the P eigenvalues (Lanczos sees none: -); zero_bound: weights orthogonal to the data, "
            "or P less the bounds of rank I and rank S, whichever is more",
            "step: of descent, at most ½/λ_max(H) of the start; rank_bound_i, rank_bound_s: N n_out (softmax: N (n_out - 1)) "
            "and 2 N times the hidden units; negative: number of eigenvalues below zero",
            f"near_zero: part within {NEAR_ZERO:g} of the largest around zero; gap: eigenvalues above the largest gap",
            "top_theory, gap_theory: the same for 𝓗C^½ Θ 𝓗C^½ after the same steps from the network's first outputs",
            "gradient: ‖∇C‖; that of the weights σ_w W/√n themselves, which the papers train to 1e-4, is √n/σ_w times as "
            "large",
            "the limit predicts the positive outliers; for relu Θ and the spectrum of I are defined, Φ, Λ, Υ, Ξ are not",
            *stop_note(self.stop, [(f"{s.data}, {s.loss}, k = {s.width}", s.taken) for s in found if s.when == "end"]),
            *far_note(
                (f"{s.data}, {s.loss}, k = {s.width}", {"loss": s.losses, "λ_max": (s.values[-1], s.expected[0])})
                for s in found
                if s.when == "end"
            ),
        )

    def verdicts(self, found: tuple[Stage, ...]) -> tuple[Verdict, ...]:
        return claims_of_spectra(self.table(found)["spectra"])

    def draw(self, found: tuple[Stage, ...]) -> Any:
        stages = {(stage.data, stage.loss, stage.width, stage.when): stage for stage in found}
        figure, axes = grid(len(self.data), 1 + len(self.losses), title="Eigenvalues of the Hessian", ratio=0.64)
        for row, name in zip(axes, self.data, strict=True):
            ks = self._widths(name)
            before, after = (stages[name, self.losses[0], ks[0], when] for when in ("start", "end"))
            curves: list[tuple[Stage, str, Any]] = [
                (before, "before", ink(0.45)),
                (after, "after training", color_of(0)),
            ]
            _draw_panel(row[0], f"{name}, {self.losses[0]}, k = {ks[0]}", curves)
            for ax, loss in zip(row[1:], self.losses, strict=True):
                curves = [
                    (stages[name, loss, k, "end"], f"k = {k}", c) for k, c in zip(ks, shades(len(ks)), strict=True)
                ]
                _draw_panel(ax, f"{name}, {loss}, after training", curves)
            row[0].set_ylabel("number of eigenvalues")
        for ax in axes[-1]:
            ax.set_xlabel(r"eigenvalue $\lambda$ of $H$")
        return figure


def exact_eigenvalues(operator: CurvatureOperator) -> AnyArray:
    """All eigenvalues, ascending, in the memory of one dense matrix."""
    p = operator.shape[0]
    matrix = np.empty((p, p))
    for first in range(0, p, _DENSE_ROWS):
        rows = np.eye(min(_DENSE_ROWS, p - first), p, first)
        matrix[first : first + _DENSE_ROWS] = operator.split.product(rows, operator.part)
    # LAPACK works in place on columns
    return np.asarray(eigvalsh(matrix.T, overwrite_a=True, check_finite=False))


def spectrum_of(task: Task, network: FiniteNetwork, approximate: bool = False) -> tuple[AnyArray, AnyArray, bool]:
    """Eigenvalues of H ascending, the number of eigenvalues that each stands for (summing to P), and whether they are all."""
    operator = task.split(network).h
    p, zeros = operator.shape[0], task.orthogonal(network.sizes[1])
    if p <= (_DENSE_APPROXIMATE if approximate else DENSE_LIMIT):
        values = exact_eigenvalues(operator)
        weights = np.ones(p)
        if zeros:
            at = int(np.searchsorted(values, 0.0))
            values, weights = np.insert(values, at, 0.0), np.insert(weights, at, float(zeros))
        return values, weights, True
    count = _EDGE
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


def _draw_panel(ax: Any, words: str, curves: Sequence[tuple[Stage, str, Any]]) -> None:
    theory = curves[-1][0].expected
    everything = np.concatenate([theory, *(stage.values for stage, *_ in curves)])
    linear = 1e-4 * everything.max()
    edges = signed_bins(everything, linear)
    label = f"limit, k = {curves[-1][0].width}"
    options = {"baseline": 0.6, "fill": True, "color": color_of(1), "alpha": 0.4, "lw": 0}
    ax.stairs(np.histogram(theory[theory > linear], edges)[0], edges, label=label, **options)
    for stage, label, color in curves:
        ax.stairs(
            np.histogram(stage.values, edges, weights=stage.weights)[0],
            edges,
            color=color,
            lw=line_width(0.8),
            label=label,
        )
    ax.set_title(words)
    ax.set_yscale("log")
    # room for the legend above the curves: an entry takes a seventh of a panel's height
    highest = max(stage.weights.sum() for stage, *_ in curves) / 0.6
    ax.set_ylim(0.6, 0.6 * highest ** (1 / (1 - (len(curves) + 2) / 7)))
    signed_scale(ax, "x", linear)
    ax.legend(loc="upper left")
