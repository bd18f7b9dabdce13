r"""Figure 3 of Jacot, Gabriel, Hongler (ICLR 2020): the loss around a global minimum.

Along the first (y) and the fourth (x) eigenvector of I, for L = 4, points uniform on the unit
disk. At a minimum S = 0, and the limit says

.. math:: C(θ^* + x v_4 + y v_1) ≈ \tfrac12 (λ_4 x^2 + λ_1 y^2), \qquad λ_i \text{ the eigenvalues of } Θ/N.

The smooth ReLU is in the ordered phase: λ_1 dominates and the minimum lies in a narrow valley. Normalised, it is chaotic,
and the valley opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernelcalc.activations.names import from_text
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, IntegrationError
from kernelcalc.finite.curvature.hessian import weighted_jacobian
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.kernels.mlp import MLP
from kernelcalc.output.result import Result, Table

ACTIVATIONS = ("smooth_relu", "normalized smooth_relu")
# The paper's axes: x along the fourth, y along the first eigenvector.
FIRST, FOURTH = 0, 3
# C of what counts as a minimum, far below the contours.
MINIMUM = 1e-10


def disk(points: int, seed: int) -> tuple[Array, Array]:
    """Points uniform on the unit disk and targets x_1.

    The paper names no targets. Smooth ones have a minimum close to the initialisation, where the limit describes a network
    of width 1000; others take the smooth ReLU, whose Θ has tiny eigenvalues, far away.
    """
    rng = np.random.default_rng(seed)
    radius, angle = np.sqrt(rng.uniform(size=points)), rng.uniform(0, 2 * np.pi, points)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x, x[:, :1]


def minimise(fin: FiniteNetwork, x: Array, y: Array, most: int = 40) -> FiniteNetwork:
    """A global minimum near the initialisation, by Gauss–Newton steps of least norm.

    For a wide network this is where gradient flow ends, but flow needs times of 1/λ_min(Θ/N).

    Raises
    ------
    IntegrationError
        C does not fall below :data:`MINIMUM`.
    """
    for _ in range(most):
        if fin.loss(x, y) < MINIMUM:
            return fin
        rows = weighted_jacobian(fin.curvature(x, y))
        gram = rows @ rows.T
        values, vectors = np.linalg.eigh(gram)
        # damped below the residual's own size, so that small eigenvalues do not throw the step far away
        damped = values + 0.01 * fin.loss(x, y) + 1e-13 * values[-1]
        residual = ((fin(x) - y) / np.sqrt(len(x))).ravel()
        fin = fin.with_parameters(fin.parameters - rows.T @ (vectors @ ((vectors.T @ residual) / damped)))
    raise IntegrationError(f"no minimum of the loss after {most} steps, C = {fin.loss(x, y):.1e}; try a larger width")


def directions(fin: FiniteNetwork, x: Array, y: Array) -> tuple[Array, Array]:
    """Eigenvalues of I, descending, and its first and fourth eigenvector, (2, P)."""
    rows = weighted_jacobian(fin.curvature(x, y))
    values, vectors = np.linalg.eigh(rows @ rows.T)
    chosen = [-1 - FIRST, -1 - FOURTH]
    return values[::-1], (rows.T @ (vectors[:, chosen] / np.sqrt(values[chosen]))).T


def surface(fin: FiniteNetwork, x: Array, y: Array, along: Array, steps: Array) -> Array:
    """C(θ + steps[j] along[1] + steps[i] along[0]), (T, T)."""
    theta = fin.parameters
    values = np.empty((len(steps), len(steps)))
    for i, up in enumerate(steps):
        row = theta + up * along[0]
        for j, right in enumerate(steps):
            values[i, j] = fin.with_parameters(row + right * along[1]).loss(x, y)
    return values


def run(
    *,
    width: int = 1000,
    points: int = 32,
    activations: Sequence[str] = ACTIVATIONS,
    reach: float = 2.0,
    grid: int = 25,
    seed: int = 0,
    progress: bool = False,
) -> Result:
    """The loss on a square around a minimum, finite network and limit.

    Parameters
    ----------
    width : int
        Of the three hidden layers.
    points : int
        Number of points on the disk.
    activations : sequence of str
        A panel each.
    reach : float
        Half the side of the square, in ‖θ‖.
    grid : int
        Odd number of steps on a side.
    seed : int
        Of points and networks.
    progress : bool
        Show a bar.

    Returns
    -------
    Result
        Tables "figure3" (eigenvalues: of Θ/N, of I, and from the surface's own curvature) and "figure3_surface".

    Raises
    ------
    InputError
        Too few points or steps.
    IntegrationError
        No minimum was found.
    """
    if points <= FOURTH or grid < 3 or not 0 < reach < np.inf:
        raise InputError(
            "at least four points, three steps and a finite reach > 0", f"points={points}, grid={grid}, reach={reach}"
        )
    x, y = disk(points, seed)
    steps = np.linspace(-reach, reach, grid | 1)
    middle = len(steps) // 2
    summary = Table("activation", "index", "limit", "network", "curvature")
    cells = Table("activation", "x", "y", "loss", "limit")
    panels = []
    every: Any = activations
    if progress:
        from tqdm.auto import tqdm

        every = tqdm(activations, desc="surfaces")
    for text in every:
        activation = from_text(text)
        net = MLP(activation, depth=4, beta=0.1)
        limit = np.linalg.eigvalsh(net.kernels(x, only=("theta",)).theta)[::-1] / points
        fin = minimise(FiniteNetwork.random(net, width, 2, rng=seed), x, y)
        own, along = directions(fin, x, y)
        loss = surface(fin, x, y, along, steps)
        quadratic = _form(limit, steps)
        panels.append((activation.name, loss, limit))
        # C at the two nearest points on either side
        h2 = (steps[middle + 1] - steps[middle]) ** 2
        bends = {
            FIRST: (loss[middle + 1, middle] + loss[middle - 1, middle] - 2 * loss[middle, middle]) / h2,
            FOURTH: (loss[middle, middle + 1] + loss[middle, middle - 1] - 2 * loss[middle, middle]) / h2,
        }
        for index in (FIRST, FOURTH):
            summary.add(activation.name, index + 1, limit[index], own[index], bends[index])
        columns = (steps, steps[:, None], loss, quadratic)
        cells.extend(activation.name, *(np.broadcast_to(column, loss.shape).ravel() for column in columns))

    def draw() -> Any:
        return _draw(panels, steps)

    ratios = ", ".join(f"{name} {limit[FIRST] / limit[FOURTH]:.3g}" for name, _, limit in panels)
    return Result(
        name="figure3",
        title=f"Loss around a global minimum: {points} points on the unit disk, L = 4, width {width}",
        tables={"figure3": summary.columns(), "figure3_surface": cells.columns()},
        notes=(
            "limit is an eigenvalue of Θ/N, network one of I at the minimum, curvature the second difference of the loss",
            f"narrowness λ_1/λ_4 of the valley in the limit: {ratios}",
        ),
        draw=draw,
    )


def _form(eigenvalues: Array, steps: Array) -> Array:
    """½(λ_4 x² + λ_1 y²) on the grid, y down the rows."""
    return 0.5 * (eigenvalues[FIRST] * steps[:, None] ** 2 + eigenvalues[FOURTH] * steps**2)


def interpolated(loss: Array, eigenvalues: Array, steps: Array, fine: Array) -> Array:
    """C between the points of the grid: the quadratic form exactly, and a cubic spline of what the loss adds to it."""
    from scipy.interpolate import RectBivariateSpline

    order = min(3, len(steps) - 1)
    rest = RectBivariateSpline(steps, steps, loss - _form(eigenvalues, steps), kx=order, ky=order)
    return np.asarray(_form(eigenvalues, fine) + rest(fine, fine))


def _draw(panels: list[tuple[str, Array, Array]], steps: Array) -> Any:
    from kernelcalc.output.style import COLORS, matplotlib_part

    figure = matplotlib_part("figure").Figure(figsize=(4.3 * len(panels) + 0.9, 7.0), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False, gridspec_kw={"height_ratios": (1.25, 1)})
    top = max(float(loss.max()) for _, loss, _ in panels)
    levels = top * np.geomspace(1e-3, 1, 13)
    fine = np.linspace(steps[0], steps[-1], 401)
    colors, lines = matplotlib_part("colors"), matplotlib_part("lines")
    middle, filled = len(steps) // 2, None
    for column, (name, loss, limit) in enumerate(panels):
        ax, cut = axes[:, column]
        norm = colors.LogNorm(levels[0], levels[-1])
        between = np.maximum(interpolated(loss, limit, steps, fine), levels[0] / 10)
        filled = ax.contourf(fine, fine, between, levels=levels, norm=norm, cmap="viridis", extend="both")
        for level in levels[::2]:
            across, up = (np.sqrt(2 * level / limit[index]) for index in (FOURTH, FIRST))
            # closely enough where a long ellipse bends
            angle = np.pi / 2 * (1 + np.tanh(np.linspace(-4, 4, 401)) / np.tanh(4))
            angle = np.concatenate([angle, angle + np.pi])
            ax.plot(across * np.cos(angle), up * np.sin(angle), color="white", lw=0.9, ls="--")
        ax.set(title=name.replace("_", " "), xlabel="along $v_4$", ylabel="along $v_1$", aspect="equal")
        ax.set(xlim=steps[[0, -1]], ylim=steps[[0, -1]])
        for index, values, color in ((FIRST, loss[:, middle], COLORS[1]), (FOURTH, loss[middle], COLORS[0])):
            label = rf"along $v_{index + 1}$, $\lambda_{index + 1} = {limit[index]:.3g}$"
            cut.plot(steps, values, "x", color=color, ms=5, label=label)
            cut.plot(fine, 0.5 * limit[index] * fine**2, color=color, lw=1.4)
        cut.set(xlabel="distance from the minimum", ylim=(-0.02 * top, None))
        cut.legend(frameon=False, loc="upper center", fontsize=9)
        if column == 0:
            cut.set_ylabel("loss $C$")
    ticks = matplotlib_part("ticker").LogLocator()
    figure.colorbar(filled, ax=list(axes[0]), label="loss $C$ of the network", ticks=ticks, shrink=0.9)
    handles = [
        lines.Line2D(
            [], [], color="0.5", lw=0.9, ls="--", label=r"contours of $\frac{1}{2}\sum\lambda_i x_i^2$ (limit)"
        ),
        lines.Line2D([], [], color="0.3", marker="x", ls="none", label="finite network"),
        lines.Line2D([], [], color="0.3", lw=1.4, label=r"$\frac{1}{2}\lambda x^2$ (limit)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    return figure
