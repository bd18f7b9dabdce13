"""``kernelcalc symbolic``: a limiting kernel as an expression in the first layer's covariances."""

from __future__ import annotations

from typing import Any

import click

from kernelcalc.cli.dataset import ARCHITECTURE
from kernelcalc.cli.names import ACTIVATION, KERNEL
from kernelcalc.cli.recipe import Remembered, recipe
from kernelcalc.cli.terminal import say, say_numbers


@click.command(cls=Remembered, epilog="Example: kernelcalc symbolic theta --activation erf --depth 2 --latex")
@click.argument("name", type=KERNEL)
@click.option(
    "-a", "--activation", type=ACTIVATION, required=True, metavar="TEXT", help="A name or an expression in x."
)
@ARCHITECTURE
@click.option("--depth", type=int, default=2, show_default=True, help="Number L of weight layers.")
@click.option("--sigma-w", metavar="NUMBER", help="Standard deviation of the weights.  [default: a symbol]")
@click.option("--beta", metavar="NUMBER", help="Factor of the biases.  [default: a symbol]")
@click.option("--diagonal", is_flag=True, help="The kernel at a point with itself, as a function of q.")
@click.option("--latex", "as_latex", is_flag=True, help="Print LaTeX: all equations, layer by layer.")
def symbolic(
    name: str,
    activation: str,
    architecture: str | None,
    depth: int,
    sigma_w: str | None,
    beta: str | None,
    diagonal: bool,
    as_latex: bool,
) -> None:
    """Limiting kernel NAME (sigma, theta, phi, lam, upsilon, xi, sigma_dot, sigma_ddot) in terms of q, q' and c.

    q, q', c are the first layer's Σ(x,x), Σ(x',x'), Σ(x,x'). With --architecture sigma_w and beta are numbers, 1 and 0.1 unless
    said otherwise there or by these options.
    """
    import sympy as sp

    from kernelcalc.activations.names import as_activation
    from kernelcalc.errors import InputError
    from kernelcalc.expressions.parsing import parse_expression
    from kernelcalc.kernels.architecture import network_from_text
    from kernelcalc.kernels.mlp import MLP, Sequential
    from kernelcalc.kernels.symbolic import equations, kernel
    from kernelcalc.kernels.symbolic.latex import aligned

    act = as_activation(activation)
    scale = sp.Symbol("sigma_w", positive=True) if sigma_w is None else parse_expression(sigma_w, {})
    bias = sp.Symbol("beta", nonnegative=True) if beta is None else parse_expression(beta, {})
    if scale.is_number and not scale > 0:
        raise InputError("sigma_w > 0", str(scale))
    if bias.is_number and not bias >= 0:
        raise InputError("beta ≥ 0", str(bias))
    net: Sequential = MLP(act, depth=depth)
    scales: dict[str, Any] = {"sigma_w": scale, "beta": bias}
    if architecture is not None:
        if (sigma_w and scale.free_symbols) or (beta and bias.free_symbols):
            raise InputError("numbers sigma_w and beta with --architecture", f"{scale}, {bias}")
        given: dict[str, Any] = {"sigma_w": float(scale) if sigma_w else 1.0, "beta": float(bias) if beta else 0.1}
        net, scales = network_from_text(architecture, act, **given), {}
    expr = kernel(name, net, diagonal=diagonal, **scales)
    found = {"expression": sp.sstr(expr)}
    if as_latex:
        own = sp.Symbol(f"{name.capitalize()}_{net.depth}_row")
        chain = [sp.Eq(own, expr, evaluate=False)] if diagonal else equations(name, net, **scales)
        found["latex"] = aligned(chain, diagonal=diagonal)
    say(found["latex"] if as_latex else found["expression"])
    say_numbers(recipe() | found)
