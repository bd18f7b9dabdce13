"""The Gauss–Newton split H = I + S before and after training, and where negative eigenvalues come from (2017, Section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.finite import FiniteNetwork
from kernelcalc.output.pictures import grid, signed_scale
from kernelcalc.output.style import color_of, ink, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Sample, Show, Tables, by_size, called
from kernelcalc.studies.sagun.claims import ORDERS_SMALLER, SAME, far_note, stop_note, stopped, untrained
from kernelcalc.studies.sagun.limit import Limit, smooth
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import ROUNDED_ZERO, Task, descend_until, digits


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A network and the limit at one time.

    Attributes
    ----------
    spectra : dict
        Eigenvalues of "H", "I" and "S", ascending.
    from_i, from_s : (P,) arrays
        vᵀIv and vᵀSv for the eigenvectors v of H.
    overlap : float
        ‖IS‖/(‖I‖ ‖S‖), not a number where S = 0.
    expected : array
        Eigenvalues of I in the limit, descending.
    residual_square : float
        Tr S² in the limit.
    """

    when: str
    spectra: dict[str, AnyArray]
    from_i: AnyArray
    from_s: AnyArray
    overlap: float
    loss: float
    expected_loss: float
    gradient: float
    expected: AnyArray
    residual_square: float

    @property
    def beside_the_limit(self) -> dict[str, tuple[float, float]]:
        """Numbers of the network, and what the limit has for them."""
        of_i = self.spectra["I"]
        return {
            "loss": (self.loss, self.expected_loss),
            "λ_max(I)": (of_i[-1], self.expected[0]),
            "Tr I²": (float(of_i @ of_i), float(self.expected @ self.expected)),
        }

    @classmethod
    def of(cls, when: str, task: Task, network: FiniteNetwork, limit: Limit, y: AnyArray) -> Stage:
        """Dense matrices of the network beside the limit with outputs y."""
        split = task.split(network)
        parts = {"H": split.h.dense(), "I": split.i.dense(), "S": split.s.dense()}
        values, vectors = np.linalg.eigh(parts["H"])
        from_i, from_s = (np.einsum("pk,pq,qk->k", vectors, parts[n], vectors, optimize=True) for n in ("I", "S"))
        norms = np.linalg.norm(parts["I"]) * np.linalg.norm(parts["S"])
        return cls(
            when=when,
            spectra={"H": values, "I": np.linalg.eigvalsh(parts["I"]), "S": np.linalg.eigvalsh(parts["S"])},
            from_i=from_i,
            from_s=from_s,
            overlap=float(np.linalg.norm(parts["I"] @ parts["S"]) / norms) if norms else np.nan,
            loss=task.loss_of(network),
            expected_loss=limit.loss(y),
            gradient=task.gradient_norm(network),
            expected=limit.eigenvalues(y),
            residual_square=float(limit.residual_square(y)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Both stages, and with which step they were reached."""

    task: Task
    limit: Limit
    step: float
    taken: int
    stages: tuple[Stage, Stage]


@experiment
@dataclass(frozen=True, kw_only=True)
class Split(Experiment):
    r"""Spectra of H, I and S on digits, and the shares of I and S in every eigenvalue of H.

    I is positive semidefinite, so :math:`v^T S v ≤ λ` for every eigenpair of H: a negative eigenvalue is due to S, and H
    has at most as many of them as S. S shrinks with ∇C as training goes on. The limit gives the eigenvalues of I, and
    Tr S² = ∇CᵀΥ∇C.

    Parameters
    ----------
    full : bool
        All 256 digits and width 20.
    points, width, steps
        Number of digits, hidden width, steps of gradient descent.
    sample : (points, labels), optional
        Instead of digits.
    stop : float, optional
        ‖∇C‖ at which descent ends before that.
    """

    name = "split"
    summary = "the Gauss-Newton split H = I + S and the negative eigenvalues"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    points: int | None = None
    sample: Sample | None = None
    width: int = by_size(10, 20)
    steps: int = by_size(300, 3000)
    stop: float | None = None

    def measure(self, show: Show) -> Found:
        task = Task.of(*digits(self.points, self.full, self.sample), loss=self.loss, activation=self.activation)
        limit = Limit.of(task)
        start = task.draw(self.width, self.seed)
        step = limit.step_for([start])
        end, taken = descend_until(task, start, step, self.steps, self.stop)
        outputs = [start(task.x), *limit.descend(start(task.x), step, taken)]
        stages = show(list(zip(("start", "end"), (start, end), outputs, strict=True)), "stages")
        first, last = (Stage.of(when, task, network, limit, y) for when, network, y in stages)
        return Found(task=task, limit=limit, step=step, taken=taken, stages=(first, last))

    def title(self, found: Found) -> str:
        first, last = found.stages
        return (
            f"Gauss–Newton split of the Hessian: {called(self.sample, found.task.n)}, {self.loss} loss, "
            f"{found.task.activation_name}, two hidden layers of width {self.width},\n{found.taken} steps of gradient "
            f"descent of size {found.step:.3g}; loss {first.loss:.3g} → {last.loss:.3g}, ‖∇C‖ {first.gradient:.3g} → "
            f"{last.gradient:.3g}"
        )

    def table(self, found: Found) -> Tables:
        names = ("time", "matrix", "top", "bottom", "positive", "negative", "zero", "square")
        rows = Table(*names, "top_theory", "square_theory")
        shares = Table("time", "eigenvalue", "from_i", "from_s", "i", "s")
        zeros = found.task.orthogonal(self.width)
        for stage in found.stages:
            theory = {
                "H": (np.nan, np.nan),
                "I": (stage.expected[0], float(stage.expected @ stage.expected)),
                "S": (np.nan, stage.residual_square),
            }
            for name, own in stage.spectra.items():
                small = ROUNDED_ZERO * np.abs(own).max()
                signs = [int((own > small).sum()), int((own < -small).sum())]
                numbers = (own[-1], own[0], *signs, own.size - sum(signs) + zeros, own @ own)
                rows.add(stage.when, name, *numbers, *theory[name])
            spectra = stage.spectra
            shares.extend(stage.when, spectra["H"], stage.from_i, stage.from_s, spectra["I"], spectra["S"])
        return {"split": rows.columns(), "split_spectra": shares.columns()}

    def notes(self, found: Found) -> tuple[str, ...]:
        covered = (
            "square_theory: Tr I² and Tr S² = ∇CᵀΥ∇C of the limit"
            if smooth(found.task)
            else "square_theory: Tr I² and, with σ̈ = 0, Tr S² = ∇CᵀΥ₀∇C of the limit; the theory's own Υ does not exist "
            "for relu"
        )
        before, after = (
            "undefined, as S = 0," if np.isnan(stage.overlap) else f"{stage.overlap:.2g}" for stage in found.stages
        )
        return (
            "positive, negative, zero: numbers of eigenvalues; square: Tr of the square; the limit is led from the network's "
            "own first outputs",
            covered,
            f"‖I S‖/(‖I‖ ‖S‖): {before} before and {after} after training; it vanishes in the limit",
            *found.limit.cap_note(found.step),
            *stop_note(self.stop, [(f"width {self.width}", found.taken)]),
            *far_note([(f"width {self.width}", found.stages[1].beside_the_limit)], "n"),
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        first, last = found.stages
        early = untrained(first.loss, last.loss)
        norms = {name: np.sqrt(values @ values) for name, values in last.spectra.items()}
        own, of_i = last.spectra["H"], last.spectra["I"]
        small = ROUNDED_ZERO * of_i[-1]
        trivial = (np.abs(of_i) <= small).sum() + found.task.orthogonal(self.width)
        gradients = found.task.n * (found.task.n_out - found.task.softmax)
        return (
            stopped(np.array([last.gradient])),
            Verdict(
                source="2017, Section 2.1",
                claim="close to a minimum the second term of the decomposition can be ignored",
                measured="‖S‖/‖I‖ after training",
                number=float(norms["S"] / norms["I"]),
                below=SAME,
                undecided=early,
            ),
            Verdict(
                source="2017, Section 2.1",
                claim="the first term has at least as many zero eigenvalues as there are parameters beyond gradients",
                measured="zero eigenvalues of I less those that P parameters and N gradients of outputs leave",
                number=float(trivial - max(found.task.parameters(self.width) - gradients, 0)),
                above=0.0,
            ),
            Verdict(
                source="2016, Section 4",
                claim="there are still negative eigenvalues after training",
                measured="-λ_min/λ_max of H after training",
                number=float(-own[0] / own[-1]),
                above=ROUNDED_ZERO,
                undecided=early,
            ),
            Verdict(
                source="2017, Section 3.3",
                claim="negative eigenvalues are orders of magnitude smaller than the large ones",
                measured="-λ_min/λ_max of H after training",
                number=float(-own[0] / own[-1]),
                below=ORDERS_SMALLER,
                undecided=early,
            ),
        )

    def draw(self, found: Found) -> Any:
        title = f"H = I + S: {called(self.sample, found.task.n)}, {self.loss} loss, width {self.width}"
        figure, axes = grid(2, 2, title=title, ratio=0.71)
        for row, stage, words in zip(axes, found.stages, ("at initialisation", "after training"), strict=True):
            _draw_stage(row, stage, words)
            for ax in row:
                ax.axhline(0, color=ink(0.2), lw=line_width(0.47), zorder=0)
        return figure


def _draw_stage(row: Any, stage: Stage, words: str) -> None:
    values = stage.spectra["H"]
    linear = 1e-4 * values[-1]
    rank = np.arange(1, values.size + 1)
    for name, color in (("H", 0), ("I", 2), ("S", 1)):
        row[0].plot(rank, stage.spectra[name][::-1], color=color_of(color), lw=line_width(1.07), label=f"${name}$")
    expected = stage.expected
    row[0].plot(
        np.arange(1, expected.size + 1),
        expected,
        color=ink(0.85),
        lw=line_width(0.73),
        ls=":",
        label="$I$ in the limit",
    )
    signed_scale(row[0], "y", linear)
    row[0].set_xscale("log")
    row[0].set(xlabel="rank", ylabel="eigenvalue", title=f"spectra {words}")
    row[0].legend()
    row[1].plot(values, stage.from_i, ".", ms=marker_size(0.5), color=color_of(2), label="$v^T I v$")
    row[1].plot(values, stage.from_s, ".", ms=marker_size(0.5), color=color_of(1), label="$v^T S v$")
    row[1].plot(values, values, color=ink(0.6), lw=line_width(0.53), label="sum")
    row[1].set(xlabel="eigenvalue of $H$", title=f"shares of $I$ and $S$ {words}")
    signed_scale(row[1], "x", linear)
    signed_scale(row[1], "y", linear)
    row[1].legend()
