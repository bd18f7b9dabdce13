"""``kernelcalc phase``: order and chaos over (σ_w, β), as a table, a CSV file and a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from kernelcalc.cli.dataset import ARCHITECTURE
from kernelcalc.cli.drawing import Drawing, drawing_options
from kernelcalc.cli.names import ACTIVATION
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import say, say_written

if TYPE_CHECKING:
    from kernelcalc.activations.activation import Activation
    from kernelcalc.studies.phase import FixedPoint, PhaseDiagram

# Jacot, Gabriel, Hongler (ICLR 2020), Figure 1.
PAPER = (1.0, 0.1)
# Of --spectrum: some seconds for thirty points.
_DEEPEST = 1000


class Range(click.ParamType):
    """LOW:HIGH:COUNT, evenly spaced."""

    name = "LOW:HIGH:COUNT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            low, high, count = str(value).split(":")
            result = float(low), float(high), int(count)
        except ValueError:
            self.fail(f"expected LOW:HIGH:COUNT such as 0.2:3:57, got {value!r}", param, ctx)
        if not 0 <= result[0] < result[1] < math.inf or not 2 <= result[2] <= 2000:
            self.fail(f"expected 0 <= LOW < HIGH and a COUNT from 2 to 2000, got {value!r}", param, ctx)
        return result


class Depths(click.ParamType):
    """Whole numbers, separated by commas."""

    name = "L,L,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"expected depths such as 1,2,4,8, got {value!r}", param, ctx)
        if not found or min(found) < 1 or max(found) > _DEEPEST:
            self.fail(f"expected depths from 1 to {_DEEPEST}, got {value!r}", param, ctx)
        return found


@click.command(cls=Remembered, epilog="Example: kernelcalc phase --activation 'x*erf(x)' --sigma-w 1.5 --beta 0.3")
@click.option(
    "-a", "--activation", type=ACTIVATION, default="tanh", show_default=True, metavar="TEXT",
    help="Nonlinearity: a name, a name with parameters or an expression in x.",
)  # fmt: skip
@ARCHITECTURE
@click.option("--sigma-w", type=float, default=PAPER[0], show_default=True, help="Weights of the marked setting.")
@click.option("--beta", type=float, default=PAPER[1], show_default=True, help="Biases of the marked setting.")
@click.option("--sigma-w-range", type=Range(), default="0.2:3:113", show_default=True, help="Horizontal axis.")
@click.option("--beta-range", type=Range(), default="0:2:81", show_default=True, help="Vertical axis.")
@click.option(
    "--spectrum", "depths", type=Depths(), metavar="L,L,...",
    help="Instead of the diagram: eigenvalues, outliers and condition number of Θ at these depths, e.g. 1,2,4,8,16,32.",
)  # fmt: skip
@click.option("--points", type=click.IntRange(2, 256), default=32, show_default=True, help="Digits for --spectrum.")
@drawing_options("kernelcalc-phase", "phase.csv and phase.png, or phase_spectrum.csv and phase_spectrum.png")
def phase(
    activation: str,
    architecture: str | None,
    sigma_w: float,
    beta: float,
    sigma_w_range: tuple[float, float, int],
    beta_range: tuple[float, float, int],
    depths: tuple[int, ...] | None,
    points: int,
    drawing: Drawing,
) -> None:
    """Order and chaos: the fixed points q* of the variance and χ over the plane (sigma_w, beta).

    q* = sigma_w² E[σ(√q* Z)²] + beta² is the variance deep in the network and χ = sigma_w² E[σ̇(√q* Z)²] the growth of
    small differences between inputs from layer to layer: in order (χ < 1) Θ tends to a constant matrix and the spectrum
    of the Hessian to one narrow valley, in chaos (χ > 1) to the identity. The normalised nonlinearity, with mean 0 and
    variance 1 under N(0, 1), has q* = 1 where sigma_w² + beta² = 1.

    Columns of phase.csv: sigma_w, beta, q (the stable fixed point, empty where the variance grows without bound), chi.

    With --architecture the block that the network repeats is followed instead: of two inputs with |x|² = n_0 and cosine 0.5 the
    variance q, the growth χ of small differences and the correlation behind so many blocks, and what they come to without
    end. In residual stacks χ tends to 1 and 1 − correlation goes like a power of depth. Columns: depth, q, chi, correlation.

    With --spectrum, of phase_spectrum.csv: setting, depth, rank, eigenvalue (of Θ over its mean diagonal entry).
    """
    import numpy as np

    from kernelcalc.activations.names import from_text
    from kernelcalc.errors import InputError, SmoothnessError
    from kernelcalc.studies.phase import fixed_points, phase_diagram

    act = from_text(activation)
    if architecture is not None:
        from kernelcalc.cli.stacks import stack_report
        from kernelcalc.kernels.architecture import network_from_text

        stack_report(network_from_text(architecture, act, sigma_w=sigma_w, beta=beta), drawing)
        return
    if act.smoothness < 0:
        raise SmoothnessError("a continuous nonlinearity", f"{act.name}, which jumps", "erf is a smooth sign")
    if depths is not None:
        _write_spectrum(act, sigma_w, beta, depths, points, drawing)
        return
    marked = fixed_points(act, sigma_w, beta)
    if sigma_w_range[0] == 0:
        raise InputError("--sigma-w-range above 0", "a range from 0")
    drawing.ready()
    grid = np.linspace(*sigma_w_range), np.linspace(*beta_range)
    # Where a variance is infinite the diagram says so; NumPy need not.
    with np.errstate(all="ignore"):
        diagram = phase_diagram(act, *grid)
        standard = _normalized(act, beta) if beta < 1 else None
        other = None if standard is None or not drawing.pictures else _diagram(standard[0], grid)
    say(f"Order and chaos: {act.name}")
    say(table(act, marked, sigma_w, beta, standard))
    columns = {
        "sigma_w": np.tile(grid[0], grid[1].size),
        "beta": np.repeat(grid[1], grid[0].size),
        "q": diagram.q.ravel(),
        "chi": diagram.chi.ravel(),
    }
    label = rf"$\sigma_w = {sigma_w:g}$, $\beta = {beta:g}$"
    if (sigma_w, beta) == PAPER:
        label = "the paper's " + label

    def draw() -> Any:
        from kernelcalc.output.phase import phase_figure

        return phase_figure(diagram, other, sigma_w, beta, label)

    written = drawing.write("phase", {"phase": columns}, draw)
    stable = [{"q": one.q, "chi": one.chi, "stable": one.stable, "phase": one.phase} for one in marked]
    say_written(written, recipe() | {"fixed_points": stable, "phase": columns})


def _write_spectrum(
    act: Activation, sigma_w: float, beta: float, depths: tuple[int, ...], points: int, drawing: Drawing
) -> None:
    """Θ against depth on digits, at the marked setting and for the normalised form."""
    import numpy as np

    from kernelcalc import datasets
    from kernelcalc.studies.phase import depth_profile

    drawing.ready()
    x, _ = datasets.mnist14(points)
    settings = [(act.name, act, sigma_w, beta)]
    standard = _normalized(act, beta) if beta < 1 else None
    if standard is not None:
        settings.append((f"normalized {act.name}", standard[0], math.sqrt(1 - beta**2), beta))
    columns: dict[str, list[Any]] = {"setting": [], "depth": [], "rank": [], "eigenvalue": []}
    say(f"Spectrum of Θ against depth: {points} digits")
    say(
        f"{'nonlinearity':<24}{'sigma_w':>8}{'depth':>7}{'largest':>10}{'smallest':>11}{'condition':>11}"
        f"{'by ratio':>10}{'by gap':>8}"
    )
    profiles = {}
    for name, one, weight, bias in settings:
        profile = depth_profile(one, x, depths, sigma_w=weight, beta=bias)
        profiles[rf"{name}, $\sigma_w = {weight:.3g}$"] = profile
        counts = profile.outliers("ratio"), profile.outliers("gap")
        for i, depth in enumerate(depths):
            values = profile.eigenvalues[i]
            say(
                f"{name:<24}{weight:>8.3g}{depth:>7}{values[0]:>10.4g}{values[-1]:>11.3g}"
                f"{profile.condition_number[i]:>11.4g}{counts[0][i]:>10}{counts[1][i]:>8}"
            )
            for rank, value in enumerate(values, 1):
                for column, entry in zip(columns.values(), (name, depth, rank, value), strict=True):
                    column.append(entry)
    say("largest, smallest: eigenvalues over Θ's mean diagonal entry; by ratio, by gap: outliers that stand apart")

    def draw() -> Any:
        from kernelcalc.output.phase import depth_figure

        return depth_figure(profiles)

    arrays = {name: np.array(column) for name, column in columns.items()}
    written = drawing.write("phase_spectrum", {"phase_spectrum": arrays}, draw)
    say_written(written, recipe() | {"phase_spectrum": arrays})


def table(
    act: Activation,
    marked: tuple[FixedPoint, ...],
    sigma_w: float,
    beta: float,
    standard: tuple[Activation, FixedPoint] | None,
) -> str:
    """Fixed points at the marked setting and of the normalised form, and where the critical line passes."""
    name, width = act.name, max(len(act.name) + 11, 16)
    lines = [
        f"{'nonlinearity':<{width}}{'sigma_w':>9}{'beta':>7}{'q*':>11}{'stable':>8}{'chi':>11}{'phase':>10}"
        f"{'depth scale':>13}"
    ]
    rows = [(name, sigma_w, point) for point in marked]
    if standard is not None:
        rows.append((f"normalized {name}", math.sqrt(1 - beta**2), standard[1]))
    if not marked:
        lines.append(
            f"{name:<{width}}{sigma_w:>9.4g}{beta:>7.3g}   the variance grows without bound, or at least beyond 1e8"
        )
    for label, weight, point in rows:
        scale = math.inf if point.phase == "critical" else point.correlation_depth
        lines.append(
            f"{label:<{width}}{weight:>9.4g}{beta:>7.3g}{point.q:>11.4g}{'yes' if point.stable else 'no':>8}"
            f"{point.chi:>11.4g}{point.phase:>10}{scale:>13.4g}"
        )
    lines.append(_critical(act, beta))
    lines.append("depth scale: layers 1/|log chi| over which a small difference shrinks or grows by e")
    return "\n".join(lines)


def _critical(act: Activation, beta: float) -> str:
    """Where chi = 1, in words."""
    import numpy as np

    from kernelcalc.studies.phase import critical_line, critical_weights

    with np.errstate(all="ignore"):
        sigma_w, bias, _ = critical_line(act)
        found = critical_weights(act, beta) if beta > 0 else sigma_w[:0]
    if bias.size == 1:
        return (
            f"critical point (chi = 1): sigma_w = {sigma_w[0]:.4g} at beta = {bias[0]:.4g}, where every q is a fixed point; "
            "at larger beta q* = inf there"
        )
    if not found.size and bias.size and beta <= bias[0] < 1e-5:
        # the line's own end, q* = 0
        found = sigma_w[:1]
    if not found.size:
        return f"no critical sigma_w (chi = 1 at a finite q*) found at beta = {beta:g}"
    shown = ", ".join(f"{value:.4g}" for value in found)
    return f"critical line (chi = 1) at beta = {beta:g}: sigma_w = {shown}"


def _diagram(act: Activation, grid: tuple[Any, Any]) -> PhaseDiagram | None:
    """The diagram; None where the nonlinearity grows too fast for one."""
    from kernelcalc.errors import KernelcalcError
    from kernelcalc.studies.phase import phase_diagram

    try:
        return phase_diagram(act, *grid)
    except KernelcalcError:
        return None


def _normalized(act: Activation, beta: float) -> tuple[Activation, FixedPoint] | None:
    """The normalised form and its place; None where it has none (a constant, or no finite variance)."""
    from kernelcalc.errors import KernelcalcError
    from kernelcalc.studies.phase import normalized_position

    try:
        return act.normalized(), normalized_position(act, beta)
    except KernelcalcError:
        return None
