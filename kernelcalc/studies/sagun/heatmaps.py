"""The entries of the Hessian as a picture, by layers (2016, Figures 1 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import two_blobs
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.output.pictures import grid
from kernelcalc.output.result import Result, Table
from kernelcalc.studies.sagun.limit import Limit, smooth
from kernelcalc.studies.sagun.task import Task, descend, digits

# Random vectors for the size of a block of S.
PROBES = 32
# Decades below the largest entry that the colours cover.
DECADES = 6


def run(
    *,
    full: bool = False,
    seed: int = 0,
    activation: Any = "relu",
    loss: str = "softmax",
    points: int | None = None,
    width: int | None = None,
    widths: Sequence[int] | None = None,
    steps: int | None = None,
    progress: Callable[..., Any] | None = None,
) -> Result:
    r"""|H| of small networks on two blobs and on digits, before and after training, and the size of its blocks.

    The limit gives the blocks of I between layers a and b: ‖I_ab‖² = Tr 𝓗CΘ_a 𝓗CΘ_b with Θ_a the part of Θ from the
    parameters of layer a; for relu those of S, ‖S_ab‖² = ∇CᵀΘ_min(a,b)∇C. They are compared with those of a wide network.

    Parameters
    ----------
    full : bool
        More points, more steps, a wider network in the table.
    points, width, widths, steps
        Points of the blobs; width of the network in the table; widths drawn (2, 6, 10: 18, 74, 162 parameters); steps.
    """
    widths = tuple(widths or (2, 6, 10))
    width = width or (1000 if full else 300)
    n, steps = points or (200 if full else 60), (1000 if full else 150) if steps is None else steps
    x, labels = two_blobs(n, std=0.5, rng=seed)
    blobs = Task.of(x, labels, loss=loss, activation=activation)
    images, labels = digits(None, full)
    figures = Task.of(images, labels, loss=loss, activation=activation)
    limit = Limit.of(blobs)
    panels: list[tuple[str, AnyArray, list[int]]] = []
    entries = Table("task", "time", "row", "column", "entry")
    starts = {k: blobs.draw(k, [seed, k]) for k in (*widths, 10, width)}
    step = limit.step_for(starts.values())
    other = figures.draw(4, [seed, 4])
    drawn = [("blobs", k, blobs, starts[k], step) for k in widths]
    drawn.append(("digits", 4, figures, other, Limit.of(figures).step_for([other])))
    for name, k, task, start, size in (progress or (lambda items, _: items))(drawn, "networks"):
        for when, network in zip(("before", "after"), descend(task, start, size, steps, at=(0, steps)), strict=True):
            if name == "digits":
                network = _on_pixels(network, images, task.x)
                matrix = HessianSplit.of(network, images, task.y, loss).h.dense()
            else:
                matrix = task.split(network).h.dense()
            panels.append((f"{name}, {len(matrix)} parameters, {when}", matrix, layer_edges(network)))
            if name == "blobs":
                rank = np.arange(len(matrix))
                entries.extend(
                    f"{name}-{k}", when, np.repeat(rank, rank.size), np.tile(rank, rank.size), matrix.ravel()
                )
    rows = Table(
        "time", "block", "norm_theory", f"norm_i_{width}", "ratio", "norm_10", "norm_s_theory", f"norm_s_{width}"
    )
    ends, thin = (descend(blobs, starts[k], step, steps, at=(0, steps)) for k in (width, 10))
    outputs = limit.descend(starts[width](blobs.x), step, steps, at=(0, steps))
    for when, network, narrow, y in zip(("start", "end"), ends, thin, outputs, strict=True):
        blocks, few = np.sqrt(block_squares(blobs, network)), np.sqrt(block_squares(blobs, narrow))
        of_s = np.sqrt(residual_squares(blobs, network, seed))
        theory, theory_s = np.sqrt(limit.block_squares(y)), np.sqrt(limit.residual_block_squares(y))
        for a in range(len(blocks)):
            for b in range(a, len(blocks)):
                one = blocks[a, b]
                values = theory[a, b], one, one / theory[a, b], few[a, b], theory_s[a, b], of_s[a, b]
                rows.add(when, f"{a + 1}-{b + 1}", *values)
    title = (
        f"Blocks of the Gauss–Newton part between layers: two blobs, {n} points, {loss} loss, "
        f"{blobs.net.activations[0].name},\ntwo hidden layers of width {width}, {steps} steps of gradient descent of size "
        f"{step:.3g}"
    )
    covered = (
        "for a smooth nonlinearity the theory has Tr S and Tr S² as a whole, no layer blocks of S"
        if smooth(blobs)
        else "norm_s_theory: ‖S_ab‖² = ∇CᵀΘ_min(a,b)∇C off the diagonal, which has σ̈ = 0"
    )
    notes = (
        f"norm_i_{width}: Frobenius norm of the block of I in a network of that width; norm_theory: its limit from the same "
        "first outputs; norm_10: in the drawn network of 162 parameters",
        f"the picture shows |H| = |I + S|; norm_s_{width}: the same for S, from {PROBES} random vectors a layer",
        covered,
        *limit.cap_note(step),
    )

    def draw() -> Any:
        return _figure(panels)

    return Result(
        name="heatmaps",
        title=title,
        tables={"heatmaps": rows.columns(), "heatmaps_entries": entries.columns()},
        notes=notes,
        draw=draw,
    )


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
    total, generator = np.zeros((len(parts), len(parts))), np.random.default_rng(rng)
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


def _figure(panels: Sequence[tuple[str, AnyArray, list[int]]]) -> Any:
    columns = len(panels) // 2
    figure, axes = grid(2, columns, title="Entries of the Hessian", size=(3.3, 3.1))
    for i, (words, matrix, edges) in enumerate(panels):
        ax = axes[i % 2, i // 2]
        logs = np.log10(np.maximum(np.abs(matrix), 1e-300))
        top = np.floor(logs.max()) + 1
        image = ax.imshow(logs, cmap="magma", vmin=top - DECADES, vmax=top, interpolation="nearest")
        for edge in edges[1:-1]:
            for line in (ax.axhline, ax.axvline):
                line(edge - 0.5, color="w", lw=0.6, alpha=0.8)
        middle = [(a + b) / 2 for a, b in zip(edges[:-1], edges[1:], strict=True)]
        ax.set_xticks(middle, [str(ell + 1) for ell in range(len(middle))], fontsize=8)
        ax.set_yticks(middle, [str(ell + 1) for ell in range(len(middle))], fontsize=8)
        ax.tick_params(length=0)
        ax.set_title(words, fontsize=9)
        bar = figure.colorbar(image, ax=ax, shrink=0.8)
        bar.ax.tick_params(labelsize=7)
        if i // 2 == columns - 1:
            bar.set_label(r"$\log_{10}|H_{pq}|$", fontsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel("layer of the parameter", fontsize=9)
    return figure
