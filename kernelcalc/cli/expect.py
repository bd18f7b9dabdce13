"""``kernelcalc expect``: one Gaussian expectation E[f(a)g(b)], with error bound or with many digits."""

from __future__ import annotations

from typing import Any

import click

from kernelcalc.cli.names import ACTIVATION
from kernelcalc.cli.terminal import say, say_numbers
from kernelcalc.version import __version__


@click.command(epilog="Example: kernelcalc expect --f tanh --g tanh --q 1 --qp 2 --c 0.5 --dps 50")
@click.option(
    "--f", "f", type=ACTIVATION, required=True, metavar="TEXT", help="Function of a: a name or an expression in x."
)
@click.option("--g", "g", type=ACTIVATION, metavar="TEXT", help="Function of b.  [default: f]")
@click.option("--q", "q", required=True, metavar="NUMBER", help="Variance of a.")
@click.option("--qp", "qp", metavar="NUMBER", help="Variance of b.  [default: q]")
@click.option("--c", "c", required=True, metavar="NUMBER", help="Covariance of a and b.")
@click.option("--i", "i", type=click.IntRange(0, 8), default=0, help="Derivative of f taken first.  [default: 0]")
@click.option("--j", "j", type=click.IntRange(0, 8), default=0, help="Derivative of g taken first.  [default: 0]")
@click.option("--dps", type=click.IntRange(1, 2000), help="Decimal digits.  [default: double precision]")
@click.option("--exact", is_flag=True, help="Print the closed form, where there is one.")
def expect(f: str, g: str | None, q: str, qp: str | None, c: str, i: int, j: int, dps: int | None, exact: bool) -> None:
    """E[f(a) g(b)] for a centred Gaussian pair with variances Q and QP and covariance C."""
    import sympy as sp

    from kernelcalc.activations.names import as_activation
    from kernelcalc.errors import InputError
    from kernelcalc.expressions.parsing import parse_expression
    from kernelcalc.gaussian.expectation import gaussian_expectation

    first, second = as_activation(f).derivative(i), as_activation(f if g is None else g).derivative(j)
    numbers = []
    found: dict[str, Any]
    for name, text in (("q", q), ("qp", q if qp is None else qp), ("c", c)):
        number = parse_expression(text, {})
        if not number.is_real:
            raise InputError(f"a real number {name}", repr(text))
        numbers.append(number)
    if exact:
        from kernelcalc.expressions.exact import exact_expectation

        expr = exact_expectation(first.expr, second.expr, *numbers)
        say(sp.sstr(expr))
        found = {"exact": sp.sstr(expr)}
    elif dps is not None:
        import mpmath

        text = mpmath.nstr(gaussian_expectation(first, second, *numbers, dps=dps), dps)
        say(text)
        found = {"digits": text, "dps": dps}
    else:
        result = gaussian_expectation(first, second, *(float(n) for n in numbers), full_output=True)
        say(f"{float(result.value)!r}   error < {float(result.error):.1e}   method: {result.method}")
        found = {"value": float(result.value), "error": float(result.error), "method": str(result.method)}
    asked = {"f": first.name, "g": second.name} | {
        name: str(n) for name, n in zip(("q", "qp", "c"), numbers, strict=True)
    }
    say_numbers({"version": __version__, "command": "expect"} | asked | found)
