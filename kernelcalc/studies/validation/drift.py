r"""How far training moves the tangent kernel of finite networks, which stands still in the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arguments import check_count, check_number, counts
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
from kernelcalc.finite.ensembles.batch import NetworkBatch
from kernelcalc.kernels.mlp import MLP
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes, seed_of
from kernelcalc.training.checks import columns
from kernelcalc.training.progress import with_bar

# The default time, as a multiple of the time constant N/λ_2 of the tangent kernel's second mode.
_TIME_CONSTANTS = 3.0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TangentDrift(Result):
    """Changes of the tangent kernel by gradient flow, times the width: at order 1/n they do not depend on it.

    Attributes
    ----------
    time : float
        Length of the gradient flow.
    widths, networks : ndarray of int (W,)
        Hidden widths, and how many networks of each.
    trace, trace_error : ndarray (W,)
        n times the mean of (Tr Θ̂(t) − Tr Θ̂(0))/Tr Θ over networks, and its standard error. Under MSE Tr I changes by as much.
    size : ndarray (W,)
        n times the root mean square of ‖Θ̂(t) − Θ̂(0)‖/‖Θ‖ (Frobenius).
    loss : ndarray (W,)
        Mean of C(t)/C(0).
    """

    DIMENSIONS = axes(widths="width", networks="width", trace="width", trace_error="width", size="width", loss="width")

    time: float
    widths: Array
    networks: Array
    trace: Array
    trace_error: Array
    size: Array
    loss: Array

    def coordinates(self) -> dict[str, Any]:
        return {"width": self.widths}


@watched("progress=True shows how far it is; fewer networks and smaller widths are faster")
def tangent_drift(
    net: MLP,
    X: Any,
    Y: Any,
    widths: Sequence[int] = (32, 64, 128),
    networks: int = 50,
    time: float | None = None,
    *,
    rng: int = 0,
    progress: bool = False,
) -> TangentDrift:
    r"""Width times the drift of Θ̂ along gradient flow on the mean squared error, measured on finite networks.

    .. math::
        n \frac{\mathrm{Tr}\,\hatΘ(t) - \mathrm{Tr}\,\hatΘ(0)}{\mathrm{Tr}\,Θ}, \qquad
        n \frac{\lVert \hatΘ(t) - \hatΘ(0) \rVert}{\lVert Θ \rVert}

    Divide by the width of your network to see how far its kernel moves; numbers that grow with the width mean that the widths
    are too small for the first order.

    Parameters
    ----------
    net : MLP
        A fully connected network.
    X : array_like (N, n_0)
        Points.
    Y : array_like (N,) or (N, n_out)
        Targets.
    widths : sequence of int
        Hidden widths.
    networks : int
        Of every width, at least 2; standard errors fall with the root of it.
    time : float, optional
        Length of the flow; by default three time constants N/λ_2 of the second mode of Θ.
    rng : int
        Seed.
    progress : bool
        Show a bar (needs tqdm).

    Raises
    ------
    InputError
        For networks other than fully connected ones, fewer than two networks, targets that do not fit.
    IntegrationError
        If the flow of a network cannot be followed.

    References
    ----------
    That the drift is of order 1/n: Huang, Yau (2020), "Dynamics of deep neural networks and neural tangent hierarchy"; Roberts,
    Yaida, Hanin (2022), "The Principles of Deep Learning Theory", chapter 11.

    Examples
    --------
    A single layer of weights has a kernel that cannot move:

    >>> import numpy as np
    >>> import kernelcalc as kc
    >>> drift = tangent_drift(kc.MLP([], depth=1), np.eye(2), [1.0, -1.0], widths=[1], networks=2)
    >>> drift.size.tolist(), bool(drift.loss[0] < 0.01)
    ([0.0], True)
    """
    if not isinstance(net, MLP):
        raise InputError("a fully connected network, kc.MLP", repr(net), "kc.validate trains other compositions")
    check_count("networks", networks, 2)
    widths = counts("widths", widths, 1)
    if not widths:
        raise InputError("at least one of widths", "none")
    time = time if time is None else check_number("time", time)
    theta = np.asarray(net.kernels(X, only=("theta",)).theta)
    targets = columns(Y, len(theta), what="targets")
    if targets.shape[1] != net.n_out:
        raise InputError(
            f"targets with n_out = {net.n_out} columns", f"{targets.shape[1]}", "give MLP the n_out of them"
        )
    points = np.asarray(X, dtype=np.float64)
    if time is None:
        time = _TIME_CONSTANTS * len(theta) / float(np.sort(np.linalg.eigvalsh(theta))[-min(2, len(theta))])
    rows = []
    for width in with_bar(list(widths), "widths", progress):
        start = NetworkBatch.random(net, networks, (width,) * (net.depth - 1), n_in=points.shape[1], rng=rng)
        end = start.flow(points, targets, time)
        change = end.ntk(points) - start.ntk(points)
        if change.ndim == 3:
            change = change[..., None, None]
        trace = width * np.einsum("essaa->e", change) / (net.n_out * np.trace(theta))
        square = np.einsum("estab,estab->e", change, change) / (net.n_out * np.sum(theta**2))
        fallen = end.loss(points, targets) / start.loss(points, targets)
        error = trace.std(ddof=1) / networks**0.5
        rows.append((trace.mean(), error, width * np.sqrt(square.mean()), fallen.mean()))
    trace, error, size, loss = np.array(rows).T
    drawn = np.full(len(rows), networks)
    found = TangentDrift(
        time=float(time),
        widths=np.array(widths),
        networks=drawn,
        trace=trace,
        trace_error=error,
        size=size,
        loss=loss,
    )
    return found.with_origin(network=repr(net), seed=seed_of(rng))
