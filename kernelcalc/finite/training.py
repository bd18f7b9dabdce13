r"""Training of finite networks: gradient flow, gradient descent, SGD.

Time is that of gradient flow, θ'(t) = −∇C(θ) with C the mean loss over points; k steps of length ``step`` are time
k · step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError, IntegrationError, UnknownNameError
from .derivatives import Problem
from .hessian import HessianSplit
from .losses import Loss
from .network import Array, FiniteNetwork

METHODS = ("flow", "gd", "sgd")
# An explicit method needs λ_max t/3 steps; this is a time of 6·10⁴/λ_max.
_MAX_STEPS = 20_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """What was seen on the way; the lists are one entry a time.

    Attributes
    ----------
    times : (T,) array
        The times asked for; for "gd" and "sgd" the nearest multiples of the step.
    loss : (T,) array
        C at these times.
    records : list
        What ``record(t, network)`` returned (empty without a hook).
    network : FiniteNetwork
        The network at the last time.
    """

    times: Array
    loss: Array
    network: FiniteNetwork
    records: list[Any] = field(default_factory=list)


def train(
    net: FiniteNetwork,
    X: Any,
    Y: Any,
    times: Any,
    *,
    loss: str | Loss = "mse",
    method: str = "flow",
    record: Callable[[float, FiniteNetwork], Any] | None = None,
    step: float | None = None,
    batch_size: int = 32,
    tol: float = 1e-4,
    rng: Any = 0,
    progress: bool = False,
) -> Training:
    r"""Train from the network's parameters and look at the given times.

    Parameters
    ----------
    net : FiniteNetwork
        Where training starts.
    X, Y : arrays
        Points and targets.
    times : array
        Non-negative, not decreasing.
    loss : str or Loss
        "mse", "binary", "softmax" or one's own.
    method : "flow", "gd" or "sgd"
        Gradient flow (scipy's RK45), gradient descent, descent on random batches (without
        replacement, a new order every epoch).
    record : callable, optional
        ``record(t, network)``, called at every time; its values are kept.
    step : float, optional
        Learning rate of "gd" and "sgd"; by default 1/λ_max(H) at the start, half the stability bound of a
        quadratic loss. The theory's bound, without a network, is ``kernelcalc.largest_learning_rate(theta, outputs, labels)``.
    batch_size : int
        Points a batch of "sgd".
    tol : float
        "flow": bound on the error of one step, in ‖θ‖₂. As an error δθ moves the outputs by at most √(λ_max(Θ)/N)
        ‖δθ‖ in root mean square over points, it is of the size of the outputs' error too.
    rng : seed or numpy.random.Generator
        Order of the points in "sgd".
    progress : bool
        Show a bar (needs tqdm).

    Returns
    -------
    Training

    Raises
    ------
    InputError
        Negative or decreasing times, a step that is not positive.
    IntegrationError
        The parameters overflow; or "flow" cannot be followed to ``tol``, which happens with kinked activations, as
        units may slide along a kink.

    Examples
    --------
    One parameter, C = (θ − 1)²/2, so θ(t) = 1 − e^{−t}:

    >>> import numpy as np
    >>> fin = FiniteNetwork(weights=[np.zeros((1, 1))], biases=[np.zeros(1)], activations=[], beta=0.0)
    >>> run = fin.train(np.array([[1.0]]), np.array([1.0]), times=[0.0, 1.0], tol=1e-8)
    >>> bool(abs(run.network.weights[0][0, 0] - (1 - np.exp(-1))) < 1e-6)
    True
    """
    when: Array = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if when.ndim != 1 or when.size == 0 or not np.isfinite(when).all() or (when < 0).any() or (np.diff(when) < 0).any():
        raise InputError("non-negative, increasing, finite times", f"times={np.asarray(times).tolist()}")
    if step is not None and not step > 0:
        raise InputError("a positive step", f"step={step}")
    if not tol > 0:
        raise InputError("a positive tol", f"tol={tol}")
    problem = Problem.of(net, X, Y, loss)
    if method == "flow":

        def velocity(theta: Array) -> Array:
            return -problem.gradient(net.with_parameters(theta))

        states = flow(velocity, net.parameters, when, tol)
    elif method in METHODS:
        if batch_size < 1:
            raise InputError("a batch size of at least 1", f"batch_size={batch_size}")
        length = step if step is not None else 1 / largest_eigenvalue(net, problem)
        counts = np.rint(when / length).astype(np.int64)
        when = counts * length
        batch = min(batch_size, len(problem.x)) if method == "sgd" else 0
        states = _descent(net, problem, counts, length, batch, np.random.default_rng(rng))
    else:
        raise UnknownNameError("a training method", method, METHODS)
    if progress:
        states = _with_bar(states, len(when))
    losses, records, now = [], [], net
    for t, theta in zip(when, states, strict=True):
        now = net.with_parameters(theta)
        losses.append(problem.value(now))
        if record is not None:
            records.append(record(float(t), now))
    return Training(times=when, loss=np.array(losses), network=now, records=records)


def _with_bar(states: Iterator[Array], total: int) -> Iterator[Array]:
    from ..errors import MissingExtraError

    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "a progress bar") from error
    return iter(tqdm(states, total=total, desc="training"))


def largest_eigenvalue(net: FiniteNetwork, problem: Problem, tol: float = 0.01, most: int = 100) -> float:
    """|λ|_max of H by power iteration, to a relative change of ``tol`` (from below, usually within a few ``tol``)."""
    split = HessianSplit.at(net, problem)
    # from the gradient's side of the spectrum: the top eigenvectors of H lie near the range of DYᵀ
    v = problem.gradient(net)
    v = v + 1e-3 * np.linalg.norm(v) * np.random.default_rng(0).standard_normal(v.size) / np.sqrt(v.size)
    norm = float(np.linalg.norm(v))
    if norm == 0:
        v, norm = np.random.default_rng(0).standard_normal(v.size), np.sqrt(v.size)
    previous = 0.0
    for _ in range(most):
        v = split.product((v / norm)[None].astype(net.dtype), "h")[0]
        norm = float(np.linalg.norm(v))
        if norm == 0:
            return float(np.finfo(np.float64).tiny)
        if abs(norm - previous) <= tol * norm:
            break
        previous = norm
    return norm


def flow(velocity: Callable[[Array], Array], theta: Array, times: Array, tol: float) -> Iterator[Array]:
    """θ at the times under θ' = velocity(θ), of θ's own number type; ``tol`` bounds the error of a step in ‖θ‖₂."""
    from scipy.integrate import RK45

    def right_hand_side(_: float, state: Array) -> Array:
        return velocity(state.astype(theta.dtype, copy=False))

    # the state is float64 also for float32 networks: small steps would be lost to rounding
    start = theta.astype(np.float64)
    end = float(times[-1])
    at = np.searchsorted(times, 0.0, side="right")
    for _ in range(at):
        yield theta
    # RK45 bounds the root mean square of error/atol, so this is ‖error of a step‖₂ ≤ tol
    with np.errstate(over="ignore", invalid="ignore"):
        solver = RK45(right_hand_side, 0.0, start, end, rtol=1e-13, atol=tol / np.sqrt(start.size)) if end > 0 else None
        steps = 0
        while at < len(times) and solver is not None:
            message = solver.step() if steps < _MAX_STEPS else f"no end after {steps} steps"
            steps += 1
            if solver.status == "failed" or steps > _MAX_STEPS:
                raise IntegrationError(
                    f"the flow could not be followed past t={solver.t:.6g}: {message}; raise tol or shorten the times "
                    "(units sliding along a kink, as of relu, may need method='gd')"
                )
            between = solver.dense_output()
            while at < len(times) and times[at] <= solver.t:
                yield between(times[at]).astype(theta.dtype, copy=False)
                at += 1


def _descent(
    net: FiniteNetwork, problem: Problem, counts: Array, step: float, batch: int, rng: np.random.Generator
) -> Iterator[Array]:
    theta, done = net.parameters, 0
    n = len(problem.x)
    order, at = np.arange(n), n
    for count in counts:
        while done < count:
            part = problem
            if batch:
                if at + batch > n:
                    order, at = rng.permutation(n), 0
                part, at = problem.batch(order[at : at + batch]), at + batch
            with np.errstate(over="ignore", invalid="ignore"):
                theta = theta - theta.dtype.type(step) * part.gradient(net.with_parameters(theta))
            done += 1
        if not np.isfinite(theta).all():
            raise IntegrationError(f"parameters overflow before step {done}; try a step below {step:g}")
        yield theta.copy()
