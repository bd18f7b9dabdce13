r"""Figure 3 of Jacot, Gabriel, Hongler (ICLR 2020): the loss around a global minimum.

Along the first (y) and the fourth (x) eigenvector of I, for L = 4, points uniform on the unit
disk. At a minimum S = 0, and the limit says

.. math:: C(θ^* + x v_4 + y v_1) ≈ \tfrac12 (λ_4 x^2 + λ_1 y^2), \qquad λ_i \text{ the eigenvalues of } Θ/N.

The smooth ReLU is in the ordered phase: λ_1 dominates and the minimum lies in a narrow valley. Normalised, it is chaotic,
and the valley opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import RectBivariateSpline

from kernelcalc.activations.names import from_text
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, IntegrationError
from kernelcalc.finite.curvature.hessian import weighted_jacobian
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.kernels.mlp import MLP
from kernelcalc.output.pictures import grid
from kernelcalc.output.style import color_of, ink, legend_below, line_width, marker_size, matplotlib_part, printed
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Show, Tables
from kernelcalc.studies.figures.figure1 import PANELS

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Valley:
    """The loss around a minimum for one nonlinearity.

    Attributes
    ----------
    activation : str
    limit, network : arrays
        Eigenvalues of Θ/N and of I at the minimum, descending.
    loss : (T, T) array
        On the square, along the fourth eigenvector in rows.
    """

    activation: str
    limit: Array
    network: Array
    loss: Array


@dataclass(frozen=True, kw_only=True)
class Figure3(Experiment):
    """The loss on a square around a minimum, finite network and limit.

    Tables "figure3" (eigenvalues: of Θ/N, of I, and from the surface's own curvature) and "figure3_surface".

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

    Raises
    ------
    InputError
        Too few points or steps.
    IntegrationError
        No minimum was found.
    """

    name = "figure3"
    summary = "the loss around a minimum"

    width: int = 1000
    points: int = 32
    activations: Sequence[str] = PANELS
    reach: float = 2.0
    grid: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.points <= FOURTH or self.grid < 3 or not 0 < self.reach < np.inf:
            raise InputError(
                "at least four points, three steps and a finite reach > 0",
                f"points={self.points}, grid={self.grid}, reach={self.reach}",
            )

    @property
    def steps(self) -> Array:
        """Positions on either axis."""
        return np.linspace(-self.reach, self.reach, self.grid | 1)

    def measure(self, show: Show) -> list[Valley]:
        x, y = disk(self.points, self.seed)
        found = []
        for text in show(self.activations, "surfaces"):
            activation = from_text(text)
            net = MLP(activation, depth=4, beta=0.1)
            limit = np.linalg.eigvalsh(net.kernels(x, only=("theta",)).theta)[::-1] / self.points
            fin = minimise(FiniteNetwork.random(net, self.width, 2, rng=self.seed), x, y)
            network, along = directions(fin, x, y)
            loss = surface(fin, x, y, along, self.steps)
            found.append(Valley(activation=activation.name, limit=limit, network=network, loss=loss))
        return found

    def title(self, found: list[Valley]) -> str:
        return f"Loss around a global minimum: {self.points} points on the unit disk, L = 4, width {self.width}"

    def table(self, found: list[Valley]) -> Tables:
        steps, middle = self.steps, self.grid // 2
        summary = Table("activation", "index", "limit", "network", "curvature")
        cells = Table("activation", "x", "y", "loss", "limit")
        for valley in found:
            loss = valley.loss
            # C at the two nearest points on either side
            h2 = (steps[middle + 1] - steps[middle]) ** 2
            bends = {
                FIRST: (loss[middle + 1, middle] + loss[middle - 1, middle] - 2 * loss[middle, middle]) / h2,
                FOURTH: (loss[middle, middle + 1] + loss[middle, middle - 1] - 2 * loss[middle, middle]) / h2,
            }
            for index in (FIRST, FOURTH):
                summary.add(valley.activation, index + 1, valley.limit[index], valley.network[index], bends[index])
            columns = (steps, steps[:, None], loss, _form(valley.limit, steps))
            cells.extend(valley.activation, *(np.broadcast_to(column, loss.shape).ravel() for column in columns))
        return {"figure3": summary.columns(), "figure3_surface": cells.columns()}

    def notes(self, found: list[Valley]) -> tuple[str, ...]:
        ratios = ", ".join(f"{v.activation} {v.limit[FIRST] / v.limit[FOURTH]:.3g}" for v in found)
        return (
            "limit is an eigenvalue of Θ/N, network one of I at the minimum, curvature the second difference of the loss",
            f"narrowness λ_1/λ_4 of the valley in the limit: {ratios}",
        )

    def verdicts(self, found: list[Valley]) -> tuple[Verdict, ...]:
        narrowness = {valley.activation: valley.network[FIRST] / valley.network[FOURTH] for valley in found}
        table = self.table(found)["figure3"]
        off = np.abs(table["curvature"] / table["limit"] - 1)
        names = [name for name in PANELS if name in narrowness]
        return (
            Verdict(
                source="ICLR 2020, Figure 3",
                claim="normalizing the nonlinearity greatly reduces the narrow valley",
                measured="λ_1/λ_4 of the network at the minimum, smooth ReLU over its normalized form,",
                number=float(narrowness[names[0]] / narrowness[names[1]]) if len(names) == 2 else np.nan,
                above=3.0,
            ),
            Verdict(
                source="ICLR 2020, Section 3.5",
                claim="at a minimum the spectrum of I says how the loss behaves around it",
                measured="largest |curvature of the loss along v_1 / its eigenvalue of Θ/N - 1|",
                number=float(off[table["index"] == FIRST + 1].max()),
                below=0.3,
            ),
            Verdict(
                source="ICLR 2020, Section 3.5",
                claim="and so it does along the bottom of the valley",
                measured="largest |curvature of the loss along v_4 / its eigenvalue of Θ/N - 1|",
                number=float(off[table["index"] == FOURTH + 1].max()),
                below=0.3,
            ),
        )

    def draw(self, found: list[Valley]) -> Any:
        figure, axes = grid(2, len(found), ratio=0.85, least=2.2)
        top = max(float(valley.loss.max()) for valley in found)
        filled = None
        for column, valley in enumerate(found):
            filled = _draw_surface(axes[0, column], valley, self.steps, top)
            _draw_cuts(axes[1, column], valley, self.steps, top)
        axes[1, 0].set_ylabel("loss $C$")
        lines, ticks = matplotlib_part("lines"), matplotlib_part("ticker").LogLocator()
        figure.colorbar(filled, ax=list(axes[0]), label="loss $C$ of the network", ticks=ticks, shrink=0.9)
        contours = r"contours of $\frac{1}{2}\sum\lambda_i x_i^2$ (limit)"
        handles = [
            lines.Line2D([], [], color=ink(0.5), lw=line_width(0.6), ls="--", label=contours),
            lines.Line2D([], [], color=ink(0.7), marker="x", ls="none", label="finite network"),
            lines.Line2D([], [], color=ink(0.7), lw=line_width(0.93), label=r"$\frac{1}{2}\lambda x^2$ (limit)"),
        ]
        legend_below(figure, handles)
        return figure


def _form(eigenvalues: Array, steps: Array) -> Array:
    """½(λ_4 x² + λ_1 y²) on the grid, y down the rows."""
    return 0.5 * (eigenvalues[FIRST] * steps[:, None] ** 2 + eigenvalues[FOURTH] * steps**2)


def interpolated(loss: Array, eigenvalues: Array, steps: Array, fine: Array) -> Array:
    """C between the points of the grid: the quadratic form exactly, and a cubic spline of what the loss adds to it."""
    order = min(3, len(steps) - 1)
    rest = RectBivariateSpline(steps, steps, loss - _form(eigenvalues, steps), kx=order, ky=order)
    return np.asarray(_form(eigenvalues, fine) + rest(fine, fine))


def _draw_surface(ax: Any, valley: Valley, steps: Array, top: float) -> Any:
    """Contours of the loss, and ellipses of the limit; returns the filled contours."""
    levels, fine = top * np.geomspace(1e-3, 1, 13), np.linspace(steps[0], steps[-1], 401)
    between = np.maximum(interpolated(valley.loss, valley.limit, steps, fine), levels[0] / 10)
    norm = matplotlib_part("colors").LogNorm(levels[0], levels[-1])
    filled = ax.contourf(fine, fine, between, levels=levels, norm=norm, cmap="viridis", extend="both")
    for level in levels[::2]:
        across, up = (np.sqrt(2 * level / valley.limit[index]) for index in (FOURTH, FIRST))
        # closely enough where a long ellipse bends
        angle = np.pi / 2 * (1 + np.tanh(np.linspace(-4, 4, 401)) / np.tanh(4))
        angle = np.concatenate([angle, angle + np.pi])
        ax.plot(across * np.cos(angle), up * np.sin(angle), color="w", lw=line_width(0.6), ls="--")
    ax.set(title=printed(valley.activation), xlabel="along $v_4$", ylabel="along $v_1$", aspect="equal")
    ax.set(xlim=steps[[0, -1]], ylim=steps[[0, -1]])
    return filled


def _draw_cuts(ax: Any, valley: Valley, steps: Array, top: float) -> None:
    middle, fine = len(steps) // 2, np.linspace(steps[0], steps[-1], 401)
    for index, values, color in ((FIRST, valley.loss[:, middle], 1), (FOURTH, valley.loss[middle], 0)):
        curvature = valley.limit[index]
        label = rf"along $v_{index + 1}$, $\lambda_{index + 1} = {curvature:.3g}$"
        ax.plot(steps, values, "x", color=color_of(color), ms=marker_size(0.83), label=label)
        ax.plot(fine, 0.5 * curvature * fine**2, color=color_of(color), lw=line_width(0.93))
    ax.set(xlabel="distance from the minimum", ylim=(-0.02 * top, None))
    ax.legend(loc="upper center")
