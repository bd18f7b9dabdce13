r"""Functions that grow as e^{αx²}: the factor is moved into the density, where neither lattices nor panels meet it.

With Γ = diag(α, α'), s = det(I − 2ΓΣ) and Σ̃ = Σ(I − 2ΓΣ)^{-1},

.. math:: E_Σ[f(a) g(b)] = s^{-1/2} E_{\tilde Σ}[f(a) e^{-α a^2}\, g(b) e^{-α' b^2}].
"""

from __future__ import annotations

import math
from typing import Any

import mpmath
import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.pieces import PiecewiseForm
from kernelcalc.expressions.atoms import Delta, x
from kernelcalc.gaussian.symmetry import SURELY_POSITIVE, rate

Functions = tuple[Activation, ...]


def without_growth(
    f: Functions, g: Functions, q: Any, qp: Any, c: Any, det: Any
) -> tuple[Functions, Functions, Any, Any, Any, Any]:
    """Functions that grow less than any e^{αx²}, the q, q', c of their Gaussian, and the factor before their expectations.

    As they are, with a factor of 1, where they do not grow so, where no rule shows how fast, and where E f(a)g(b) is not
    proved to exist.
    """
    floats = [max(map(rate, h)) for h in (f, g)]
    if max(floats) == 0 or math.inf in floats:
        return f, g, q, qp, c, 1
    # as they are written
    rates = [sp.Rational(repr(value)) for value in floats]
    alpha, beta = (mpmath.mpf(int(value.p)) / int(value.q) for value in rates)
    scale = 1 - 2 * alpha * q - 2 * beta * qp + 4 * alpha * beta * det
    if not (scale > SURELY_POSITIVE and 1 - 2 * alpha * q > SURELY_POSITIVE):
        return f, g, q, qp, c, 1
    first, second = (tuple(_divided(act, r) for act in h) for h, r in zip((f, g), rates, strict=True))
    variances = (q - 2 * beta * det) / scale, (qp - 2 * alpha * det) / scale
    return first, second, *variances, c / scale, 1 / mpmath.sqrt(scale)


def _divided(act: Activation, alpha: sp.Rational) -> Activation:
    """f e^{−αx²}, with what is known of the places of f."""
    if alpha == 0:
        return act
    factor = sp.exp(-alpha * x**2)
    pieces = tuple(piece * factor for piece in act.form.pieces)
    deltas = tuple(Delta(order=d.order, at=d.at, weight=d.weight * factor.subs(x, d.at)) for d in act.form.deltas)
    form = PiecewiseForm(breaks=act.form.breaks, pieces=pieces, stable=pieces, deltas=deltas)
    return Activation(form, name=f"{act.name} exp(-{alpha} x^2)", derivative_of=(act.root, act.order))
