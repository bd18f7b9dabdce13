"""How nonlinearities and numbers are written in the text of a network, so that it can be typed in again."""

from __future__ import annotations

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import ACTIVATIONS, ALIASES

_NORMALIZED = "normalized "


def typed(act: Activation) -> str:
    """What to type for a nonlinearity: its name or expression in quotes, or the expression and a name of one's own.

    Examples
    --------
    >>> typed(Activation("x*erf(x)")), typed(Activation("x*erf(x)", name="mine"))
    ("'x*erf(x)'", "Activation('x*erf(x)', name='mine')")
    """
    name = act.name.removeprefix(_NORMALIZED)
    known = name.split("(")[0] in {*ACTIVATIONS, *ALIASES} or act.name != name or act.name == str(act.expr)
    return repr(act.name) if known else f"Activation({str(act.expr)!r}, name={act.name!r})"


def number(value: float) -> str:
    """The number with as few digits as say it exactly.

    Examples
    --------
    >>> number(1.0), number(0.1), number(0.1 + 0.2)
    ('1', '0.1', '0.30000000000000004')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
