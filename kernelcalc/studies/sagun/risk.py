"""Empirical beside population risk, the covariance of gradients beside I, and negative eigenvalues, along training (2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import gaussian_clusters
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.output.pictures import below, grid
from kernelcalc.output.style import color_of, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Show, Tables, by_size
from kernelcalc.studies.sagun.claims import stop_note, untrained
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import ROUNDED_ZERO, Task, descend, descend_until

# Fresh samples of the clusters for every training point.
FRESH = 4
# Stages of training that are looked at, and eigenvalues that are kept of each.
STAGES_SEEN, KEPT = 5, 30
# Outliers within a factor of two are of one size.
ALIKE = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One moment of training.

    Attributes
    ----------
    steps : int
    spectra : dict
        Largest eigenvalues of H on training points and on fresh ones, of I, and of the gradients' covariance.
    negative, bottom : int, float
        Number of negative eigenvalues of H on the training points, and -λ_min/λ_max.
    share, random_share : float
        Part of the trace of the gradients' covariance in the C - 1 leading eigenvectors of I, and of the identity.
    losses : (float, float)
        On training and on fresh points.
    """

    steps: int
    spectra: dict[str, AnyArray]
    negative: int
    bottom: float
    share: float
    random_share: float
    losses: tuple[float, float]

    @classmethod
    def of(cls, steps: int, network: FiniteNetwork, task: Task, fresh: Task) -> Stage:
        split = task.split(network)
        h, i = np.linalg.eigvalsh(split.h.dense()), split.i.dense()
        gradients = point_gradients(task, network)
        centred = gradients - gradients.mean(axis=0)
        values, vectors = np.linalg.eigh(i)
        leading = vectors[:, ::-1][:, : task.n_out - 1]
        small = ROUNDED_ZERO * np.abs(h).max()
        spectra = {
            "H": h[::-1][:KEPT],
            "H, fresh samples": np.linalg.eigvalsh(fresh.split(network).h.dense())[::-1][:KEPT],
            "I": values[::-1][:KEPT],
            "covariance of gradients": np.linalg.svd(centred, compute_uv=False)[:KEPT] ** 2 / task.n,
        }
        return cls(
            steps=steps,
            spectra=spectra,
            negative=int((h < -small).sum()),
            bottom=float(-h[0] / h[-1]),
            share=float(np.sum((centred @ leading) ** 2) / np.sum(centred**2)),
            random_share=(task.n_out - 1) / len(h),
            losses=(task.loss_of(network), fresh.loss_of(network)),
        )


def point_gradients(task: Task, network: FiniteNetwork) -> AnyArray:
    """∇ of every point's own loss, (N, P): their mean is ∇C."""
    cotangents = task.split(network).residual * task.n
    return np.asarray(np.einsum("na,nap->np", cotangents, network.jacobian(task.x)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Stages of one network, with its task and step."""

    task: Task
    step: float
    stages: tuple[Stage, ...]


@experiment
@dataclass(frozen=True, kw_only=True)
class Risk(Experiment):
    """The Hessian of the empirical risk beside that of the population (fresh samples of the same clusters), along training.

    Parameters
    ----------
    full : bool
        The paper's network 100-30-30-k.
    classes, inputs, points, width, steps
        Number of clusters, of inputs and of training points, hidden width, steps of gradient descent.
    stop : float, optional
        ‖∇C‖ at which descent ends before that.
    """

    name = "risk"
    summary = "empirical against population risk, covariance of gradients, negative eigenvalues along training"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    classes: int = by_size(3, 5)
    inputs: int = by_size(30, 100)
    points: int = by_size(60, 500)
    width: int = by_size(8, 30)
    steps: int = by_size(400, 3000)
    stop: float | None = None

    def measure(self, show: Show) -> Found:
        count = self.points * (1 + FRESH)
        x, labels = gaussian_clusters(count, self.classes, self.inputs, rng=[self.seed, self.classes])
        whole = Task.of(x, labels, loss=self.loss, activation=self.activation)
        task, fresh = whole.subset(slice(self.points)), whole.subset(slice(self.points, None))
        start = whole.draw(self.width, [self.seed, 1])
        step = Limit.of(task).step_for([start])
        taken = self.steps if self.stop is None else descend_until(task, start, step, self.steps, self.stop)[1]
        at = sorted({0, *np.geomspace(1, max(taken, 1), STAGES_SEEN).astype(int).tolist()})
        networks = descend(task, start, step, at[-1], at=at)
        pairs = show(list(zip(at, networks, strict=True)), "stages")
        return Found(task=task, step=step, stages=tuple(Stage.of(n, one, task, fresh) for n, one in pairs))

    def title(self, found: Found) -> str:
        return (
            f"Empirical and population risk: {self.classes} clusters in {self.inputs} dimensions, {self.points} points and "
            f"{FRESH * self.points} fresh ones,\n{self.loss} loss, two hidden layers of width {self.width}, steps of "
            f"{found.step:.3g}"
        )

    def table(self, found: Found) -> Tables:
        rows = Table(
            "steps", "loss", "fresh_loss", "top", "top_fresh", "top_I", "top_gradients", "negative", "bottom", "share"
        )
        spectra = Table("steps", "of", "rank", "eigenvalue")
        for one in found.stages:
            rows.add(
                one.steps,
                *one.losses,
                *(values[0] for values in one.spectra.values()),
                one.negative,
                one.bottom,
                one.share,
            )
            for name, values in one.spectra.items():
                spectra.extend(one.steps, name, np.arange(1, values.size + 1), values)
        return {"risk": rows.columns(), "risk_spectra": spectra.columns()}

    def notes(self, found: Found) -> tuple[str, ...]:
        return (
            *stop_note(self.stop, [("the network", found.stages[-1].steps)]),
            "top: largest eigenvalue of H on the training points, top_fresh: on fresh samples of the same clusters, top_I: of "
            "the Gauss–Newton part, top_gradients: of the covariance of the points' gradients",
            "negative, bottom: number of negative eigenvalues of H, and -λ_min/λ_max",
            f"share: part of the covariance's trace in the leading {found.task.n_out - 1} eigenvectors of I "
            f"({found.stages[0].random_share:.2g} for random directions)",
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        first, last = found.stages[0], found.stages[-1]
        early = untrained(first.losses[0], last.losses[0])
        start, end = (one.spectra["H, fresh samples"][0] / one.spectra["H"][0] for one in (first, last))
        return (
            Verdict(
                source="2017, Section 2",
                claim="at a random point the empirical risk curves like that of the population",
                measured="largest eigenvalue on fresh samples over that on the training points",
                number=float(start),
                above=1 / ALIKE,
                below=ALIKE,
            ),
            Verdict(
                source="2017, Section 2",
                claim="and after training too",
                measured="the same",
                number=float(end),
                above=1 / ALIKE,
                below=ALIKE,
                undecided=early,
            ),
            Verdict(
                source="2017, Section 3.4",
                claim="the noise of gradients lies along the large eigenvalues of the first term",
                measured="part of its trace in as many leading eigenvectors of I as classes less one, after training",
                number=last.share,
                above=0.5,
                undecided=early,
            ),
            Verdict(
                source="2016, Section 4",
                claim="negative eigenvalues remain along training, and shrink",
                measured="-λ_min/λ_max after over that before training",
                number=last.bottom / first.bottom if last.negative else np.nan,
                below=1.0,
                undecided=early,
            ),
        )

    def draw(self, found: Found) -> Any:
        figure, axes = grid(1, 3, ratio=0.85)
        for ax, one, words in (
            (axes[0, 0], found.stages[0], "at the start"),
            (axes[0, 1], found.stages[-1], "after training"),
        ):
            for index, (name, values) in enumerate(one.spectra.items()):
                kept = values[values > ROUNDED_ZERO * values[0]]
                rank = np.arange(1, kept.size + 1)
                ax.semilogy(
                    rank, kept, ".-", color=color_of(index), ms=marker_size(0.7), lw=line_width(0.6), label=name
                )
            ax.set_title(words)
            ax.set_xlabel("rank")
        steps = np.array([one.steps for one in found.stages])
        axes[0, 2].plot(1 + steps, [one.bottom for one in found.stages], "o-", color=color_of(0), ms=marker_size(0.8))
        axes[0, 2].set_xscale("log")
        axes[0, 2].set_xlabel("1 + steps")
        axes[0, 2].set_title(r"$-\lambda_{min}/\lambda_{max}$ of $H$")
        below(figure, axes[0, 0])
        return figure
