r"""Losses of finite networks: plain functions of outputs and targets.

Every loss is a mean over points, :math:`C(F) = \frac1N \sum_i c_i(F_i)`; gradient and Hessian carry the 1/N. The
Hessian has one n_out × n_out block a point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.errors import InputError, ShapeError, UnknownNameError
from kernelcalc.finite.arrays import AnyArray, finite_array


@dataclass(frozen=True, kw_only=True)
class Loss:
    r"""A loss as four functions of outputs F (N, n_out) and prepared targets T.

    Parameters
    ----------
    name : str
    prepare : callable
        ``prepare(Y, N, n_out)`` checks the targets and brings them to the form the other functions take.
    value : callable
        ``value(F, T) -> float``, C.
    gradient : callable
        ``gradient(F, T) -> (N, n_out)``, ∇C.
    hessian_root : callable
        ``hessian_root(F, T) -> (N, n_out, r)``, B with 𝓗C_i = B_i B_iᵀ (a convex loss has one).

    Examples
    --------
    >>> import numpy as np
    >>> outputs, targets = np.array([[2.0], [0.0]]), np.array([[1.0], [0.0]])
    >>> mse = LOSSES["mse"]
    >>> mse.value(outputs, targets), mse.hessian(outputs, targets).ravel().round(15).tolist()
    (0.25, [0.5, 0.5])
    """

    name: str
    prepare: Callable[[Any, int, int], AnyArray]
    value: Callable[[AnyArray, AnyArray], float]
    gradient: Callable[[AnyArray, AnyArray], AnyArray]
    hessian_root: Callable[[AnyArray, AnyArray], AnyArray]

    def __reduce__(self) -> Any:
        # functions without a name of their own do not travel, the names of losses do
        return (get_loss, (self.name,)) if LOSSES.get(self.name) is self else super().__reduce__()

    def targets(self, Y: Any, n: int, n_out: int, dtype: Any) -> AnyArray:
        """Targets prepared for ``n`` points and ``n_out`` outputs, finite, of that number type."""
        return finite_array(self.prepare(Y, n, n_out), "Y", dtype)

    def hessian(self, outputs: AnyArray, Y: AnyArray) -> AnyArray:
        """𝓗C, one block a point, (N, n_out, n_out)."""
        root = self.hessian_root(outputs, Y)
        return root @ root.swapaxes(1, 2)


def get_loss(loss: str | Loss) -> Loss:
    """The loss of that name; a :class:`Loss` passes through."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise UnknownNameError("a loss of finite networks", loss, LOSSES)
    return LOSSES[loss]


def _real_targets(Y: Any, n: int, n_out: int) -> AnyArray:
    targets = finite_array(Y, "Y")
    if targets.ndim == 1 and n_out == 1:
        targets = targets[:, None]
    if targets.shape != (n, n_out):
        raise ShapeError(f"Y of shape {(n, n_out)}", f"shape {targets.shape}", "one row a point, one column an output")
    return targets


def _signs(Y: Any, n: int, n_out: int) -> AnyArray:
    targets = _real_targets(Y, n, n_out)
    if not (np.abs(targets) == 1).all():
        raise InputError("labels -1 and +1 for the binary loss", f"values {np.unique(targets)[:5].tolist()}")
    return targets


def _one_hot(Y: Any, n: int, n_out: int) -> AnyArray:
    labels = finite_array(Y, "Y")
    if labels.ndim == 2 and labels.shape == (n, n_out):
        targets = _real_targets(labels, n, n_out)
        if (targets < 0).any() or np.abs(targets.sum(axis=1) - 1).max() > 1e-12:
            raise InputError("one-hot rows (or class probabilities) that sum to 1", "other rows")
        return targets
    if labels.shape != (n,):
        raise ShapeError(f"Y of shape {(n,)} or one-hot rows {(n, n_out)}", f"shape {labels.shape}")
    if not (np.equal(np.mod(labels, 1), 0).all() and (labels >= 0).all() and (labels < n_out).all()):
        raise InputError(
            f"integer labels 0..{n_out - 1}", f"values such as {labels[:5].tolist()}", "use a network with more outputs"
        )
    return np.eye(n_out)[labels.astype(np.intp)]


def _mse_root(outputs: AnyArray, targets: AnyArray) -> AnyArray:
    n, n_out = outputs.shape
    return np.broadcast_to(np.eye(n_out, dtype=outputs.dtype) / np.sqrt(outputs.dtype.type(n)), (n, n_out, n_out))


def _sigmoid(x: AnyArray) -> AnyArray:
    # tanh neither overflows nor loses the tail's sign; the tail's relative accuracy is not needed for probabilities.
    return 0.5 * (1 + np.tanh(0.5 * x))


def _binary_root(outputs: AnyArray, targets: AnyArray) -> AnyArray:
    # √(s(1−s)) = 1/(2 cosh(F/2)), exact in both tails
    weight = np.exp(-np.logaddexp(outputs / 2, -outputs / 2)) / np.sqrt(outputs.dtype.type(len(outputs)))
    return weight[:, :, None] * np.eye(outputs.shape[1], dtype=outputs.dtype)


def _probabilities(outputs: AnyArray) -> AnyArray:
    shifted = np.exp(outputs - outputs.real.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _softmax_value(outputs: AnyArray, targets: AnyArray) -> float:
    top = outputs.max(axis=1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(outputs - top).sum(axis=1))
    return float((log_sum - (outputs * targets).sum(axis=1)).mean())


def _softmax_root(outputs: AnyArray, targets: AnyArray) -> AnyArray:
    # diag p − p pᵀ = B Bᵀ with B = diag(√p)(Id − √p √pᵀ), as Id − √p √pᵀ is a projection
    root_p = np.sqrt(_probabilities(outputs))
    projection = np.eye(outputs.shape[1], dtype=outputs.dtype) - root_p[:, :, None] * root_p[:, None, :]
    return root_p[:, :, None] * projection / np.sqrt(outputs.dtype.type(len(outputs)))


LOSSES: dict[str, Loss] = {
    "mse": Loss(
        name="mse",
        prepare=_real_targets,
        value=lambda f, y: float(((f - y) ** 2).sum() / (2 * len(f))),
        gradient=lambda f, y: (f - y) / len(f),
        hessian_root=_mse_root,
    ),
    "binary": Loss(
        name="binary",
        prepare=_signs,
        value=lambda f, y: float(np.logaddexp(0, -y * f).sum() / len(f)),
        gradient=lambda f, y: -y * _sigmoid(-y * f) / len(f),
        hessian_root=_binary_root,
    ),
    "softmax": Loss(
        name="softmax",
        prepare=_one_hot,
        value=_softmax_value,
        gradient=lambda f, y: (_probabilities(f) - y) / len(f),
        hessian_root=_softmax_root,
    ),
}
