"""``kernelcalc phase --architecture``: what a network's repeated block does to variance and differences, block by block."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kernelcalc.cli.drawing import Drawing
from kernelcalc.cli.recipe import recipe
from kernelcalc.cli.terminal import say, say_written

if TYPE_CHECKING:
    from kernelcalc.kernels.mlp import Sequential
    from kernelcalc.studies.stacks import StackPhase, StackProfile

# Cosine of the two inputs that are followed, each with |x|² = n_0.
COSINE = 0.5
# Lines of the table, about evenly spaced in log depth.
LINES = 12


def stack_report(network: Sequential, drawing: Drawing) -> None:
    """Say what the network's block does, and write it down."""
    import numpy as np

    from kernelcalc.studies.stacks import repeated_block, stack_phase, stack_profile

    block, count = repeated_block(network)
    first = network.layers[0]
    found = stack_phase(*block)
    drawing.ready()
    q = first.sigma_w**2 + first.beta**2  # type: ignore[attr-defined]
    correlation = (first.sigma_w**2 * COSINE + first.beta**2) / q  # type: ignore[attr-defined]
    depths = sorted({round(d) for d in np.geomspace(1, count, 40)} | {count})
    profile = stack_profile(*block, depths=depths, q=q, correlation=correlation)
    say(f"{count} × {', '.join(map(repr, block))}")
    say(table(profile, correlation))
    say(described(found))
    columns = {"depth": profile.depth, "q": profile.q, "chi": profile.chi, "correlation": profile.correlation}

    def draw() -> Any:
        from kernelcalc.output.phase import plot_stack
        from kernelcalc.output.style import panels

        figure, axes = panels(1)
        plot_stack(profile, axes[0])
        return figure

    written = drawing.write("phase", {"phase": columns}, draw)
    limit = {"growth": found.growth, "phase": found.phase, "chi": found.chi, "exponent": found.exponent}
    say_written(written, recipe() | {"stack": limit, "phase": columns})


def table(profile: StackProfile, correlation: float) -> str:
    """Some of the depths."""
    lines = [f"{'blocks':>8}{'q':>12}{'chi':>10}{'correlation':>13}", f"{0:>8}{'':>22}{correlation:>13.5f}"]
    step = max(1, math.ceil(len(profile.depth) / LINES))
    rows = sorted({*range(0, len(profile.depth), step), len(profile.depth) - 1})
    for i in rows:
        lines.append(
            f"{profile.depth[i]:>8}{profile.q[i]:>12.5g}{profile.chi[i]:>10.5f}{profile.correlation[i]:>13.5f}"
        )
    return "\n".join(lines)


def described(found: StackPhase) -> str:
    """The block repeated without end, in words."""
    variance = {
        "bounded": f"q -> {found.q:.4g}",
        "power": f"q grows like blocks^{found.power:.3g}",
        "geometric": f"q grows by {found.factor:.4g} a block",
    }[found.growth]
    small = f"chi -> {found.chi:.4g}"
    if found.growth == "power" or math.isfinite(found.exponent):
        way = "faster than any power" if math.isinf(found.exponent) else f"like blocks^{found.exponent:.3g}"
        verb = "grows" if found.exponent > 0 else "falls"
        small += f": a small 1 - correlation {verb} {way}"
    else:
        small += f": depth scale {found.depth_scale:.4g} blocks"
    end = f"correlation -> {found.correlation:.4g}"
    return f"repeated without end: {found.phase}; {variance}, {small}; {end}"
