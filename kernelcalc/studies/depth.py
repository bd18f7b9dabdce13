"""What depth does to Θ on data.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Remark 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import check_name, counts
from kernelcalc.arrays import EPS, digest
from kernelcalc.errors import InputError, ShapeError, renamed
from kernelcalc.kernels.architecture import network_from_text
from kernelcalc.kernels.mlp import MLP
from kernelcalc.results.result import Result, axes
from kernelcalc.studies.spectrum import count_outliers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DepthProfile(Result):
    """What depth does to Θ on data.

    Attributes
    ----------
    depth : ndarray, (D,)
    correlation : ndarray, (D,)
        Mean off-diagonal entry of Θ at unit diagonal: 1 for a constant matrix (order), 0 for the identity (chaos).
    distance_to_constant, distance_to_identity : ndarray, (D,)
        Root mean square of the difference to those limits, over the off-diagonal entries.
    narrow_valley : ndarray, (D,)
        Largest eigenvalue of Θ over the mean of the others.
    eigenvalues : ndarray, (D, N)
        Of Θ over its mean diagonal entry, descending.
    """

    DIMENSIONS = axes(
        correlation="depth",
        distance_to_constant="depth",
        distance_to_identity="depth",
        narrow_valley="depth",
        eigenvalues="depth rank",
    )
    TABLE: ClassVar[str] = "depth"

    depth: NDArray[np.intp]
    correlation: Array
    distance_to_constant: Array
    distance_to_identity: Array
    narrow_valley: Array
    eigenvalues: Array

    def coordinates(self) -> dict[str, Any]:
        """Depths."""
        return {"depth": self.depth}

    @property
    def condition_number(self) -> Array:
        """λ_max/λ_min of Θ, (D,), infinite where λ_min is within rounding of zero."""
        least = self.eigenvalues[:, -1]
        seen = least > self.eigenvalues.shape[1] * EPS * self.eigenvalues[:, 0]
        return np.where(seen, self.eigenvalues[:, 0] / np.where(seen, least, 1.0), np.inf)

    def outliers(self, method: str = "ratio") -> NDArray[np.intp]:
        """Numbers of outliers of Θ, (D,), as :func:`kernelcalc.studies.spectrum.count_outliers` counts them."""
        return np.array([count_outliers(values, method) for values in self.eigenvalues])


@renamed(points="X")
def depth_profile(
    activation: Any,
    X: ArrayLike,
    depths: Sequence[int],
    *,
    sigma_w: float = 1.0,
    beta: float = 0.1,
    stack: str = "plain",
) -> DepthProfile:
    """Θ of networks of several depths on the same points.

    Parameters
    ----------
    activation : Activation or str
        The nonlinearity.
    X : array_like, (N, n_0)
        At least two.
    depths : sequence of int
        Numbers of weight layers: from 1 on, or from 2, one block.
    sigma_w, beta : float
        Scales of weights and biases.
    stack : {"plain", "residual", "prelayernorm"}
        Of K blocks, as ``residual:K`` in :func:`kernelcalc.kernels.architecture.network_from_text`: branches have a scale of
        1/√K. With the first and the last weights, K = depth − 1 blocks count as depth weight layers for "plain"; the residual
        stacks have one more, those of the last layer.

    Notes
    -----
    In chaos Θ tends to a multiple of the identity for points of equal norm, as the paper takes them. For others the
    first layers leave different diagonal entries, and ``narrow_valley`` tends to the ratio that follows instead of 1.

    Raises
    ------
    InputError
        Depths that are none, or too small.
    UnknownNameError
        Another stack.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Remark 2.
    """
    check_name("stack", stack, ("plain", "residual", "prelayernorm"))
    depths = counts("depths", depths, 1 if stack == "plain" else 2)
    if not depths:
        raise InputError("at least one depth", "none")
    act = as_activation(activation)
    if stack == "plain":
        layers = MLP(act, max(depths), sigma_w=sigma_w, beta=beta).kernels(X, only=("theta",)).layers
        thetas = [layers[d - 1].theta for d in depths]
    else:
        networks = [network_from_text(f"{stack}:{d - 1}", act, sigma_w=sigma_w, beta=beta) for d in depths]
        thetas = [net.kernels(X, only=("theta",)).theta for net in networks]
    found = [_shape_of(np.asarray(theta)) for theta in thetas]
    rows = [row for row, _ in found]
    names = ("correlation", "distance_to_constant", "distance_to_identity", "narrow_valley")
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}
    network = f"{stack}, {act.name}, sigma_w={sigma_w:g}, beta={beta:g}"
    values = np.array([own for _, own in found])
    profile = DepthProfile(depth=np.array(depths), **columns, eigenvalues=values)
    return profile.with_origin(network=network, data=digest(X))


def _shape_of(theta: Array) -> tuple[tuple[float, float, float, float], Array]:
    n = len(theta)
    if n < 2:
        raise ShapeError("at least two points", f"{n}")
    scale = np.sqrt(np.diagonal(theta))
    off = (theta / np.outer(scale, scale))[~np.eye(n, dtype=bool)]
    values = np.linalg.eigvalsh(theta)
    rest = values[:-1].mean()
    ratio = float(values[-1] / rest) if rest > 0 else math.inf
    shape = float(off.mean()), float(np.sqrt(np.mean((off - 1) ** 2))), float(np.sqrt(np.mean(off**2))), ratio
    return shape, values[::-1] / np.mean(scale**2)
