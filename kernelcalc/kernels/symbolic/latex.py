"""Equations of kernels as LaTeX that can be pasted into a paper: both sides, what the symbols mean, lines that fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import sympy as sp

from kernelcalc.expressions import exact as algebra

# Characters of source in one printed line.
PRINTED = 110
_AT = {"": "x, x'", "row": "x, x", "column": "x', x'"}
_GREEK = {
    "sigma": r"\Sigma", "theta": r"\Theta", "phi": r"\Phi", "lam": r"\Lambda", "lambda": r"\Lambda", "upsilon": r"\Upsilon",
    "xi": r"\Xi", "sigma_dot": r"\dot\Sigma", "sigma_ddot": r"\ddot\Sigma",
}  # fmt: skip


def aligned(equations: Sequence[sp.Eq], *, diagonal: bool = False) -> str:
    r"""An ``align*`` environment: q, q' and c, then the equations; sums that are too long go on in the next line.

    Examples
    --------
    >>> import kernelcalc as kc
    >>> print(aligned(kc.symbolic.equations("sigma", kc.MLP("erf", depth=2, beta=0))))
    \begin{align*}
    q &= \Sigma^{(1)}(x, x), \quad q' = \Sigma^{(1)}(x', x'), \quad c = \Sigma^{(1)}(x, x') \\
    \Sigma^{(2)}(x, x') &= \frac{2 \arcsin{\left(\frac{2 c}{\sqrt{2 q + 1} \sqrt{2 q' + 1}} \right)}}{\pi}
    \end{align*}
    """
    first = r"q &= \Sigma^{(1)}(x, x)"
    if not diagonal:
        first += r", \quad q' = \Sigma^{(1)}(x', x'), \quad c = \Sigma^{(1)}(x, x')"
    names = {symbol: symbol_latex(symbol) for eq in equations for symbol in eq.lhs.free_symbols | eq.rhs.free_symbols}
    lines = [first, *(line for eq in equations for line in _lines(eq, names))]
    return "\n".join([r"\begin{align*}", " \\\\\n".join(lines), r"\end{align*}"])


def symbol_latex(symbol: sp.Symbol) -> str:
    r"""A kernel's symbol with its layer and points, others as they are.

    Examples
    --------
    >>> symbol_latex(sp.Symbol("Sigma_2_row")), symbol_latex(sp.Symbol("beta")), symbol_latex(sp.Symbol("q'"))
    ('\\Sigma^{(2)}(x, x)', '\\beta', "q'")
    """
    found = re.fullmatch(r"([A-Za-z_]+?)_(\d+)(?:_(row|column))?", symbol.name)
    if found is None or found[1].lower() not in _GREEK:
        return symbol.name if symbol == algebra.qp else str(sp.latex(symbol))
    return rf"{_GREEK[found[1].lower()]}^{{({found[2]})}}({_AT[found[3] or '']})"


def _lines(equation: sp.Eq, names: dict[sp.Symbol, str]) -> Iterator[str]:
    def text(expr: sp.Expr) -> str:
        return str(sp.latex(expr, symbol_names=names, inv_trig_style="full"))

    start = f"{text(equation.lhs)} &="
    if len(text(equation.rhs)) <= PRINTED or not isinstance(equation.rhs, sp.Add):
        yield f"{start} {text(equation.rhs)}"
        return
    held = ""
    for term in equation.rhs.as_ordered_terms():
        part = text(term)
        part = part if part.startswith("-") or not held else f"+ {part}"
        if held and len(held) + len(part) > PRINTED:
            yield f"{start} {held}"
            start, held = r"&\quad", part
        else:
            held = f"{held} {part}".strip()
    yield f"{start} {held}"
