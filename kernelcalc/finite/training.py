r"""Training of finite networks: gradient flow, gradient descent, SGD.

Time is that of gradient flow, θ'(t) = −∇C(θ) with C the mean loss over points; k steps of length ``step`` are time
k · step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, repeat
from typing import Any, Generic, TypeVar

import numpy as np

from kernelcalc.arguments import check_can, check_name, flag, random_generator
from kernelcalc.errors import InputError, IntegrationError, MissingExtraError
from kernelcalc.finite.arrays import AnyArray, finite_array, finite_number, whole_number
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.factored import factors_pay, networks_together, slope_type
from kernelcalc.finite.flow import State, flow, side_by_side
from kernelcalc.finite.losses import Loss
from kernelcalc.finite.parameters import Parameters
from kernelcalc.machine import blas_threads
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

Net = TypeVar("Net", bound=Parameters)

TRAINING_METHODS = ("flow", "gd", "sgd")
# Beyond, whole numbers have gaps as floats.
_MOST_COUNTED = 2.0**53


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """How to train and when to look; see :func:`train` for the attributes.

    Raises
    ------
    InputError
        Times that are negative, not finite or decreasing; a step, ``tol`` or ``gradient_norm`` that is not positive and
        finite; a batch of less than a point.
    UnknownNameError
        Another method.
    """

    times: AnyArray
    method: str = "flow"
    step: float | None = None
    batch_size: int = 32
    tol: float = 1e-4
    gradient_norm: float | None = None

    def __post_init__(self) -> None:
        when = np.atleast_1d(finite_array(self.times, "times"))
        if when.ndim != 1 or when.size == 0 or (when < 0).any() or (np.diff(when) < 0).any():
            raise InputError("times: non-negative, not decreasing numbers", f"{when.tolist()}")
        check_name("a training method", self.method, TRAINING_METHODS)
        positive = {}
        for name in ("step", "tol", "gradient_norm"):
            value = getattr(self, name)
            if value is not None or name == "tol":
                positive[name] = finite_number(value, name)
                if not positive[name] > 0:
                    raise InputError(f"a positive {name}", f"{name}={value}")
        batch_size = whole_number(self.batch_size, "batch_size")
        if batch_size < 1:
            raise InputError("a batch size of at least 1", f"batch_size={batch_size}")
        vars(self).update(times=when.copy(), batch_size=batch_size, **positive)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Training(Result, Generic[Net]):
    """What was seen on the way; the lists are one entry a time.

    Attributes
    ----------
    times : (T,) array
        The times asked for; for "gd" and "sgd" the nearest multiples of the step. If training stopped, those before, and the
        time at which it did.
    loss : (T,) array
        C at these times.
    records : list
        What ``record(t, network)`` returned (empty without a hook).
    network : FiniteNetwork
        The network at the last time.
    stopped : float or None
        The time at which ‖∇C‖ was at most ``gradient_norm``; None if training went on to the last time.
    """

    DIMENSIONS = axes(loss="time")

    times: AnyArray
    loss: AnyArray
    network: Net
    records: list[Any] = field(default_factory=list)
    stopped: float | None = None

    def coordinates(self) -> dict[str, Any]:
        return {"time": self.times}

    def __repr__(self) -> str:
        span = f"{self.times.size} times to {self.times[-1]:.4g}, loss {self.loss[0]:.4g} to {self.loss[-1]:.4g}"
        return f"Training({span}, {len(self.records)} records, {self.network!r})"


@watched("progress=True shows how far it is; earlier times, a larger tol and smaller widths are faster")
def train(
    net: Net,
    X: Any,
    Y: Any,
    times: Any,
    *,
    loss: str | Loss = "mse",
    method: str = "flow",
    record: Callable[[float, Net], Any] | None = None,
    step: float | None = None,
    batch_size: int = 32,
    tol: float = 1e-4,
    gradient_norm: float | None = None,
    rng: Any = 0,
    progress: bool = False,
) -> Training[Net]:
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
        ``record(t, network)``, called at every time; its values are kept. For moments and ends of the spectrum there are
        :class:`~kernelcalc.finite.ensembles.records.MomentRecord` and
        :class:`~kernelcalc.finite.ensembles.records.EigenvalueRecord`.
    step : float, optional
        Learning rate of "gd" and "sgd"; by default 1/λ_max(H) at the start, half the stability bound of a
        quadratic loss. H is that of the loss of all points: small batches may have a larger one and need a smaller step.
        The theory's bound, without a network, is ``kernelcalc.largest_learning_rate(theta, outputs, labels)``.
    batch_size : int
        Points a batch of "sgd".
    tol : float
        "flow": bound on the error of one step, in ‖θ‖₂. As an error δθ moves the outputs by at most √(λ_max(Θ)/N)
        ‖δθ‖ in root mean square over points, it is of the size of the outputs' error too. It is absolute, so the loss cannot
        be followed below about ``tol**2``; see Notes.
    gradient_norm : float, optional
        Training stops when ‖∇C‖₂ ≤ ``gradient_norm``, C the loss of all points: looked at before every step of "gd", before
        every epoch of "sgd" (one pass more an epoch), after every step of "flow" (its errors keep the norm near λ_max ``tol``).
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
        As :class:`Schedule`; points or targets that do not fit the network.
    NotFiniteError
        NaN or infinity in points, targets or times.
    IntegrationError
        The parameters or the loss overflow; or "flow" cannot be followed to ``tol``, which happens with kinked activations, as
        units may slide along a kink.

    Notes
    -----
    "gd" and "sgd" only know multiples of the step: a time asked for is rounded to the nearest one, at most half a step away,
    and ``Training.times`` holds the times looked at.

    Late in a flow the loss stays at the errors of the steps instead of vanishing. Measured (tanh, width 64, 6 points,
    λ_min(Θ)/N = 0.04) at t = 3000, where the loss is below 1e-90: 8e-9 with tol=1e-3, 3e-10 with 1e-4, 1e-13 with 1e-5.

    Examples
    --------
    One parameter, C = (θ − 1)²/2, so θ(t) = 1 − e^{−t}:

    >>> from kernelcalc.finite import FiniteNetwork
    >>> fin = FiniteNetwork(weights=[np.zeros((1, 1))], biases=[np.zeros(1)], activations=[], beta=0.0)
    >>> run = fin.train(np.array([[1.0]]), np.array([1.0]), times=[0.0, 1.0], tol=1e-8)
    >>> bool(abs(run.network.weights[0][0, 0] - (1 - np.exp(-1))) < 1e-6)
    True
    """
    plan = Schedule(times=times, method=method, step=step, batch_size=batch_size, tol=tol, gradient_norm=gradient_norm)
    problem = Problem.of(net, X, Y, loss)
    check_can("record", record, "__call__", "a function of the time and the network")
    if method != "flow":
        states = _descent(net, problem, plan, random_generator(rng))
    elif gradient_norm is not None:
        states = flow(_velocity(net, problem), net.parameters, plan.times, plan.tol, plan.gradient_norm)
    else:
        states = (State(time, theta[0]) for time, theta in _passed([net], problem, plan.times, plan.tol))
    if flag("progress", progress):
        states = _with_bar(states, len(plan.times))
    seen, losses, records, now, stopped = [], [], [], net, None
    for state in states:
        # not copied: no loop writes to a state that it has handed out
        now = net.at(state.theta)
        seen.append(state.time)
        losses.append(float(_losses(net, state.theta[None], problem, state.time)[0]))
        if record is not None:
            records.append(record(state.time, now))
        stopped = state.time if state.is_last else None
    return Training(times=np.array(seen), loss=np.array(losses), network=now, records=records, stopped=stopped)


def train_together(
    nets: Sequence[Net], problem: Problem, times: AnyArray, tol: float, *, single: bool = False
) -> Iterator[tuple[slice, float, AnyArray, AnyArray]]:
    """Gradient flow of networks of one architecture, side by side where that is faster; each as in :func:`train`.

    Parameters
    ----------
    nets : sequence of FiniteNetwork
        Where training starts.
    problem : Problem
        Points, targets and loss of all of them.
    times, tol
        As a :class:`Schedule` has them.
    single : bool
        Slopes of networks side by side in float32 where that, by an estimate, moves θ by less than ``tol`` in all
        (:func:`~kernelcalc.finite.factored.slope_type`).

    Yields
    ------
    members, time, parameters (M, P), losses (M,)
        Which of the networks, and what is known of them: some networks at all times, then the next ones.

    Raises
    ------
    IntegrationError
        As :func:`train`, of any of the networks.
    """
    most, first = networks_together(nets[0], problem), nets[0]
    slopes = [first.dtype] * len(nets)
    if single and (most > 1 or factors_pay(first, problem)):
        # each its own, so that a network goes the same way in any company
        losses = _losses(first, np.stack([net.parameters for net in nets]), problem, 0.0).tolist()
        slopes = [slope_type(first, loss, problem, float(times[-1]), tol) for loss in losses]
    for kind, run in groupby(range(len(nets)), slopes.__getitem__):
        numbers = list(run)
        # groups of nearly equal sizes
        size = -(-len(numbers) // -(-len(numbers) // most))
        for start in range(0, len(numbers), size):
            members = slice(numbers[start], numbers[start : start + size][-1] + 1)
            for time, theta in _passed(nets[members], problem, times, tol, kind):
                yield members, time, theta, _losses(first, theta, problem, time)


def _passed(
    nets: Sequence[Parameters], problem: Problem, times: AnyArray, tol: float, slopes: Any = None
) -> Iterator[tuple[float, AnyArray]]:
    """Times and parameters (M, P) there under gradient flow; slopes in the networks' number type or another."""
    first = nets[0]
    if len(nets) > 1 or factors_pay(first, problem) or slopes not in (None, first.dtype):
        theta = np.stack([net.parameters for net in nets])
        yield from side_by_side(first, theta, problem, times, tol, slopes)
    else:
        for state in flow(_velocity(first, problem), first.parameters, times, tol):
            yield state.time, state.theta[None]


def _velocity(net: Parameters, problem: Problem) -> Callable[[AnyArray], AnyArray]:
    return lambda theta: -problem.gradient(net.at(theta))


def _losses(net: Parameters, theta: AnyArray, problem: Problem, time: float) -> AnyArray:
    """C of networks like this one with parameters (M, P)."""
    with np.errstate(over="ignore", invalid="ignore"):
        many = len(theta) > 1
        values = problem.values(net.at(theta)) if many else np.array([problem.value(net.at(theta[0]))])
    if not np.isfinite(values).all():
        raise IntegrationError(f"the loss is not finite at t={time:.6g} (an overflow, or NaN from an activation)")
    return values


def _with_bar(states: Iterator[State], total: int) -> Iterator[State]:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "a progress bar") from error
    return iter(tqdm(states, total=total, desc="training"))


def largest_eigenvalue(net: Parameters, problem: Problem, tol: float = 0.01, most: int = 100) -> float:
    """|λ|_max of H by power iteration, to a relative change of ``tol`` (from below, usually within a few ``tol``).

    Raises
    ------
    IntegrationError
        Products with H overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _largest_eigenvalue(net, problem, tol, most)


def _largest_eigenvalue(net: Parameters, problem: Problem, tol: float, most: int) -> float:
    split = HessianSplit.at(net, problem)
    # from the gradient's side of the spectrum: the top eigenvectors of H lie near the range of DYᵀ
    v = problem.gradient(net)
    if not np.isfinite(v).all():
        raise IntegrationError("the gradient is not finite at the start (an overflow, or NaN from an activation)")
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
        if not np.isfinite(norm):
            raise IntegrationError("the Hessian is not finite at the start (an overflow, or NaN from an activation)")
        if abs(norm - previous) <= tol * norm:
            break
        previous = norm
    return norm


def _descent(net: Parameters, problem: Problem, plan: Schedule, rng: np.random.Generator) -> Iterator[State]:
    step = plan.step if plan.step is not None else 1 / largest_eigenvalue(net, problem)
    if not plan.times[-1] / step < _MOST_COUNTED:
        raise InputError("fewer steps", f"a time of {plan.times[-1]:g} in steps of {step:g}")
    theta, done, n = net.parameters, 0, len(problem.x)
    size = min(plan.batch_size, n) if plan.method == "sgd" else n
    parts = _batches(problem, size, rng) if plan.method == "sgd" else repeat(problem)
    for count in np.rint(plan.times / step).astype(np.int64):
        is_last = False
        with np.errstate(over="ignore", invalid="ignore"), blas_threads(net.work(size)):
            while True:
                whole = None
                if plan.gradient_norm is not None and done % (n // size) == 0:
                    whole = problem.gradient(net.at(theta))
                    is_last = bool(np.linalg.norm(whole) <= plan.gradient_norm)
                if is_last or done == count:
                    break
                part = next(parts)
                gradient = whole if part is problem and whole is not None else part.gradient(net.at(theta))
                theta = theta - theta.dtype.type(step) * gradient
                done += 1
        if not np.isfinite(theta).all():
            raise IntegrationError(f"parameters overflow before step {done}; try a step below {step:g}")
        yield State(float(done * step), theta, is_last)
        if is_last:
            return


def _batches(problem: Problem, size: int, rng: np.random.Generator) -> Iterator[Problem]:
    """Random parts of the points without replacement, a new order every epoch; what is left of one is not used."""
    n = len(problem.x)
    while True:
        order = rng.permutation(n)
        for at in range(0, n - size + 1, size):
            yield problem.batch(order[at : at + size])
