r"""Losses :math:`C(Y) = \frac1N \sum_i c(Y_i, t_i)`, one class each.

``loss``: what a loss must say of itself. ``named``: the losses with a name; a new one is one more class there, or anywhere
outside the package. ``expression``: losses from a text, a SymPy expression or callables. Imports kernelcalc.expressions
and training.checks.
"""

from __future__ import annotations

from typing import Any

from kernelcalc.errors import UnknownNameError
from kernelcalc.training.losses.expression import ConvexLoss, convex_loss
from kernelcalc.training.losses.loss import NAMED_LOSSES, Loss, curvature_sqrt
from kernelcalc.training.losses.named import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy

__all__ = [
    "NAMED_LOSSES",
    "BinaryCrossEntropy",
    "ConvexLoss",
    "Loss",
    "MeanSquaredError",
    "SoftmaxCrossEntropy",
    "convex_loss",
    "curvature_sqrt",
    "resolve_loss",
]


def resolve_loss(loss: Any) -> Loss:
    """The loss meant by a name, an expression in y and t (text or SymPy), or a :class:`Loss`.

    Raises
    ------
    UnknownNameError, ExpressionError, InputError

    Examples
    --------
    >>> import numpy as np
    >>> resolve_loss("softmax")
    <loss softmax>
    >>> resolve_loss("(y - t)**4/4").slope(np.array([[2.0]]), np.array([[0.0]]))
    array([[8.]])
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss.strip().lower() in NAMED_LOSSES:
            return NAMED_LOSSES[loss.strip().lower()]()
        if loss.strip().isidentifier() and loss.strip() != "y":
            raise UnknownNameError("a loss", loss, NAMED_LOSSES)
    return convex_loss(loss)
