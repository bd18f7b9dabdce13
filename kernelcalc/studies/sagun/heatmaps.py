"""The entries of the Hessian as a picture, by layers (2016, Figures 1 and 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arguments import random_generator
from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.output.pictures import grid
from kernelcalc.output.style import line_width
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Sample, Show, Tables, by_size
from kernelcalc.studies.sagun.claims import stop_note
from kernelcalc.studies.sagun.limit import Limit, smooth
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import Task, descend_until, digits

# Random vectors for the size of a block of S.
PROBES = 32
# Decades below the largest entry that the colours cover.
COLOR_DECADES = 6
# Hidden width of the network of 162 parameters on blobs, and of the one that is drawn on digits.
THIN, ON_DIGITS = 10, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A Hessian: on which data, at which width, when; where its layers begin."""

    data: str
    width: int
    when: str
    entries: AnyArray
    edges: list[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Squared Frobenius norms of blocks between layers, (L, L) each.

    Attributes
    ----------
    wide, narrow : arrays
        ‖I_ab‖² of the wide network and of that of width :data:`THIN`.
    residual : array
        ‖S_ab‖² of the wide network.
    expected, expected_residual : arrays
        Both in the limit.
    """

    wide: AnyArray
    narrow: AnyArray
    residual: AnyArray
    expected: AnyArray
    expected_residual: AnyArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Matrices that are drawn, and sizes of blocks before and after training."""

    limit: Limit
    step: float
    matrices: list[Matrix]
    blocks: list[Blocks]
    taken: list[tuple[str, int]]


@experiment
@dataclass(frozen=True, kw_only=True)
class Heatmaps(Experiment):
    r"""|H| of small networks on two blobs and on digits, before and after training, and the size of its blocks.

    The limit gives the blocks of I between layers a and b: ‖I_ab‖² = Tr 𝓗CΘ_a 𝓗CΘ_b with Θ_a the part of Θ from the
    parameters of layer a; for relu those of S, ‖S_ab‖² = ∇CᵀΘ_min(a,b)∇C. They are compared with those of a wide network.

    Parameters
    ----------
    full : bool
        More points, more steps, a wider network in the table.
    points, width, widths, steps
        Points of the blobs; width of the network in the table; widths drawn (2, 6, 10: 18, 74, 162 parameters); steps.
    stop : float, optional
        ‖∇C‖ at which descent ends before that.
    sample : (points, labels), optional
        Instead of the 14 × 14 digits; the paper's 784 inputs with ``--data mnist28 -n 1000``.
    """

    name = "heatmaps"
    summary = "the Hessian's entries by layers"

    full: bool = False
    seed: int = 0
    activation: Any = "relu"
    loss: str = "softmax"
    points: int = by_size(60, 200)
    width: int = by_size(300, 1000)
    widths: tuple[int, ...] = (2, 6, THIN)
    steps: int = by_size(150, 1000)
    stop: float | None = None
    sample: Sample | None = None

    def measure(self, show: Show) -> Found:
        x, labels = two_blobs(self.points, std=0.5, rng=self.seed)
        blobs = Task.of(x, labels, loss=self.loss, activation=self.activation)
        images, labels = digits(None, self.full, self.sample)
        figures = Task.of(images, labels, loss=self.loss, activation=self.activation)
        limit = Limit.of(blobs)
        starts = {k: blobs.draw(k, [self.seed, k]) for k in (*self.widths, THIN, self.width)}
        step = limit.step_for(starts.values())
        other = figures.draw(ON_DIGITS, [self.seed, ON_DIGITS])
        drawn = [("blobs", k, blobs, starts[k], step) for k in self.widths]
        drawn.append(("digits", ON_DIGITS, figures, other, Limit.of(figures).step_for([other])))
        matrices: list[Matrix] = []
        taken: list[tuple[str, int]] = []
        for name, k, task, start, size in show(drawn, "networks"):
            end, count = descend_until(task, start, size, self.steps, self.stop)
            taken.append((f"{name}, {k}", count))
            for when, network in zip(("before", "after"), (start, end), strict=True):
                if name == "digits":
                    network = _on_pixels(network, images, task.x)
                    entries = HessianSplit.of(network, images, task.y, self.loss).h.dense()
                else:
                    entries = task.split(network).h.dense()
                edges = layer_edges(network)
                matrices.append(Matrix(data=name, width=k, when=when, entries=entries, edges=edges))
        blocks = self._blocks(limit, step, starts[self.width], starts[THIN])
        return Found(limit=limit, step=step, matrices=matrices, blocks=blocks, taken=taken)

    def _blocks(self, limit: Limit, step: float, start: FiniteNetwork, thin: FiniteNetwork) -> list[Blocks]:
        blobs = limit.task
        end, taken = descend_until(blobs, start, step, self.steps, self.stop)
        few = (thin, descend_until(blobs, thin, step, self.steps, self.stop)[0])
        outputs = (start(blobs.x), *limit.descend(start(blobs.x), step, taken))
        return [
            Blocks(
                wide=block_squares(blobs, network),
                narrow=block_squares(blobs, narrow),
                residual=residual_squares(blobs, network, self.seed),
                expected=limit.block_squares(y),
                expected_residual=limit.residual_block_squares(y),
            )
            for network, narrow, y in zip((start, end), few, outputs, strict=True)
        ]

    def title(self, found: Found) -> str:
        return (
            f"Blocks of the Gauss–Newton part between layers: two blobs, {self.points} points, {self.loss} loss, "
            f"{found.limit.task.activation_name},\ntwo hidden layers of width {self.width}, {self.steps} steps of gradient "
            f"descent of size {found.step:.3g}"
        )

    def table(self, found: Found) -> Tables:
        names = ("time", "block", "norm_theory", f"norm_i_{self.width}", "ratio", f"norm_{THIN}")
        rows = Table(*names, "norm_s_theory", f"norm_s_{self.width}")
        for when, own in zip(("start", "end"), found.blocks, strict=True):
            one, few, theory = np.sqrt(own.wide), np.sqrt(own.narrow), np.sqrt(own.expected)
            of_s, theory_s = np.sqrt(own.residual), np.sqrt(own.expected_residual)
            for a, b in zip(*np.triu_indices(len(one)), strict=True):
                values = theory[a, b], one[a, b], one[a, b] / theory[a, b], few[a, b], theory_s[a, b], of_s[a, b]
                rows.add(when, f"{a + 1}-{b + 1}", *values)
        entries = Table("task", "time", "row", "column", "entry")
        for matrix in found.matrices:
            if matrix.data == "blobs":
                rank = np.arange(len(matrix.entries))
                places = np.repeat(rank, rank.size), np.tile(rank, rank.size)
                entries.extend(f"blobs-{matrix.width}", matrix.when, *places, matrix.entries.ravel())
        return {"heatmaps": rows.columns(), "heatmaps_entries": entries.columns()}

    def notes(self, found: Found) -> tuple[str, ...]:
        covered = (
            "for a smooth nonlinearity the theory has Tr S and Tr S² as a whole, no layer blocks of S"
            if smooth(found.limit.task)
            else "norm_s_theory: ‖S_ab‖² = ∇CᵀΘ_min(a,b)∇C off the diagonal, which has σ̈ = 0"
        )
        return (
            f"norm_i_{self.width}: Frobenius norm of the block of I in a network of that width; norm_theory: its limit from "
            f"the same first outputs; norm_{THIN}: in the drawn network of 162 parameters",
            f"the picture shows |H| = |I + S|; norm_s_{self.width}: the same for S, from {PROBES} random vectors a layer",
            covered,
            *stop_note(self.stop, found.taken),
            *found.limit.cap_note(found.step),
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        last = found.matrices[2 * len(self.widths) - 1].entries
        ratio = self.table(found)["heatmaps"]["ratio"]
        return (
            Verdict(
                source="2016, Section 3, Figure 6",
                claim="of how the entries look",
                measured="part of the entries below a hundredth of the largest, widest drawn network after training",
                number=float((np.abs(last) < 0.01 * np.abs(last).max()).mean()),
                undecided="the paper has pictures and no statement",
            ),
            Verdict(
                source="Jacot et al. 2020, Proposition 1, by layers",
                claim="blocks of I between layers have the size of the limit",
                measured=f"largest |‖I_ab‖/limit - 1| at width {self.width}",
                number=float(np.abs(ratio - 1).max()),
                below=0.2,
            ),
        )

    def draw(self, found: Found) -> Any:
        columns = len(found.matrices) // 2
        figure, axes = grid(2, columns, title="Entries of the Hessian", ratio=0.94)
        for i, matrix in enumerate(found.matrices):
            bar = _draw_matrix(figure, axes[i % 2, i // 2], matrix)
            if i // 2 == columns - 1:
                bar.set_label(r"$\log_{10}|H_{pq}|$")
        for ax in axes[:, 0]:
            ax.set_ylabel("layer of the parameter")
        return figure


def block_squares(task: Task, network: FiniteNetwork) -> AnyArray:
    """‖I_ab‖_F² of the blocks between the layers' parameters, (L, L)."""
    split = task.split(network)
    grams = []
    for zeta, kernel in zip(split.root_cotangents[1:], split.run.layer_kernels(), strict=True):
        flat = zeta.reshape(-1, zeta.shape[-1])
        # row index (r, s): the kernel is between points
        grams.append((flat @ flat.T) * np.tile(kernel, (len(zeta), len(zeta))))
    return np.array([[np.vdot(one, two) for two in grams] for one in grams])


def residual_squares(task: Task, network: FiniteNetwork, rng: Any = 0, probes: int = PROBES) -> AnyArray:
    """‖S_ab‖_F², (L, L), from the mean of ‖S_ab v‖² over random signs v in the parameters of layer b."""
    split, edges = task.split(network), layer_edges(network)
    parts = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    total, generator = np.zeros((len(parts), len(parts))), random_generator(rng)
    for column, part in enumerate(parts):
        for _ in range(probes):
            v = np.zeros((1, edges[-1]))
            v[0, part] = generator.choice(np.array([-1.0, 1.0]), size=part.stop - part.start)
            image = split.product(v, "s")[0]
            total[:, column] += [image[row] @ image[row] for row in parts]
    # a block and its transpose have one norm
    return (total + total.T) / (2 * probes)


def layer_edges(network: FiniteNetwork) -> list[int]:
    """Where each layer's parameters start in the flat vector, and P."""
    sizes = [w.size + b.size for w, b in zip(network.weights, network.biases, strict=True)]
    return [0, *np.cumsum(sizes).tolist()]


def _on_pixels(network: FiniteNetwork, images: AnyArray, coordinates: AnyArray) -> FiniteNetwork:
    """The same network with its first layer acting on the pixels, without weights orthogonal to the data."""
    scale = np.sqrt(images.shape[1] / coordinates.shape[1])
    first = np.linalg.lstsq(images, scale * coordinates @ network.weights[0], rcond=None)[0]
    return FiniteNetwork(
        weights=(first, *network.weights[1:]), biases=network.biases, activations=network.activations,
        sigma_w=network.sigma_w, beta=network.beta,
    )  # fmt: skip


def _draw_matrix(figure: Any, ax: Any, matrix: Matrix) -> Any:
    """The entries in colour; returns the colour bar."""
    logs = np.log10(np.maximum(np.abs(matrix.entries), 1e-300))
    top = np.floor(logs.max()) + 1
    image = ax.imshow(logs, cmap="magma", vmin=top - COLOR_DECADES, vmax=top, interpolation="nearest")
    edges = matrix.edges
    for edge in edges[1:-1]:
        for line in (ax.axhline, ax.axvline):
            line(edge - 0.5, color="w", lw=line_width(0.4), alpha=0.8)
    middle = [(a + b) / 2 for a, b in zip(edges[:-1], edges[1:], strict=True)]
    ax.set_xticks(middle, [str(ell + 1) for ell in range(len(middle))])
    ax.set_yticks(middle, [str(ell + 1) for ell in range(len(middle))])
    ax.tick_params(length=0)
    ax.set_title(f"{matrix.data}, {len(logs)} parameters, {matrix.when}")
    bar = figure.colorbar(image, ax=ax, shrink=0.8)
    return bar
