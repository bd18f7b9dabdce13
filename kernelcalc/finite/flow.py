"""Gradient flow: parameters at given times, of one network or of several side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.errors import IntegrationError
from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.factored import FactoredSteps
from kernelcalc.finite.parameters import Parameters
from kernelcalc.machine import one_blas_thread

# An explicit method needs λ_max t/3 steps; this is a time of 6·10⁴/λ_max.
_MAX_STEPS = 20_000


@dataclass(frozen=True, eq=False)
class State:
    """Parameters on the way, and whether the gradient is so small that training ends there."""

    time: float
    theta: AnyArray
    is_last: bool = False


def flow(
    velocity: Callable[[AnyArray], AnyArray],
    theta: AnyArray,
    times: AnyArray,
    tol: float,
    gradient_norm: float | None = None,
) -> Iterator[State]:
    """θ at the times under θ' = velocity(θ), of θ's own number type; ``tol`` bounds the error of a step in ‖θ‖₂.

    Raises
    ------
    IntegrationError
        The flow cannot be followed to the last time.
    """
    at = np.searchsorted(times, 0.0, side="right")
    with np.errstate(over="ignore", invalid="ignore"):
        if gradient_norm is not None and np.linalg.norm(velocity(theta)) <= gradient_norm:
            yield State(0.0, theta, is_last=True)
            return
    for _ in range(at):
        yield State(0.0, theta)
    if at == len(times):
        return
    with np.errstate(over="ignore", invalid="ignore"), one_blas_thread():
        solver = _solver(velocity, theta, float(times[-1]), tol)
    _require_start(solver.f, solver.h_abs)
    steps = 0
    while at < len(times):
        with np.errstate(over="ignore", invalid="ignore"), one_blas_thread():
            message = solver.step() if steps < _MAX_STEPS else f"no end after {steps} steps"
        steps += 1
        if solver.status == "failed" or steps > _MAX_STEPS:
            raise _lost(solver.t, message)
        is_last = gradient_norm is not None and np.linalg.norm(solver.f) <= gradient_norm
        seen = at
        while at < len(times) and (times[at] < solver.t or (times[at] == solver.t and not is_last)):
            at += 1
        if seen < at:
            # seven products of the length of θ, for steps with a time in them alone
            with one_blas_thread():
                between = solver.dense_output()
            for time in times[seen:at].tolist():
                with one_blas_thread():
                    now = between(time).astype(theta.dtype, copy=False)
                yield State(time, now)
        if is_last:
            yield State(float(solver.t), solver.y.astype(theta.dtype, copy=False), is_last=True)
            return


def side_by_side(
    net: Parameters, theta: AnyArray, problem: Problem, times: AnyArray, tol: float, slopes: Any = None
) -> Iterator[tuple[float, AnyArray]]:
    """Times and parameters (E, P) there of networks like ``net`` from θ (E, P) on, each in steps of its own.

    ``tol`` bounds the error of a step of each in ‖θ‖₂; ``slopes`` is their number type, by default that of ``net``.

    Raises
    ------
    IntegrationError
        The flow of one of them cannot be followed to the last time.
    """
    done = int(np.searchsorted(times, 0.0, side="right"))
    for _ in range(done):
        yield 0.0, theta
    if done == len(times):
        return
    with np.errstate(over="ignore", invalid="ignore"), one_blas_thread():
        solver = FactoredSteps(net, theta, problem, float(times[-1]), tol, slopes)
    _require_start(solver.speed, solver.h_abs)
    # by network the number of the next time, by time what is known of it
    ahead, known = np.full(len(theta), done), defaultdict[int, AnyArray](lambda: np.empty_like(theta))
    while done < len(times):
        with np.errstate(over="ignore", invalid="ignore"), one_blas_thread():
            solver.attempt()
            if solver.stuck.any():
                raise _lost(solver.t[solver.stuck][0], "Required step size is less than spacing between numbers.")
            if (solver.steps > _MAX_STEPS).any():
                raise _lost(solver.t.max(), f"no end after {_MAX_STEPS} steps")
            _look_back(solver, times, ahead, known)
        unfinished = ahead[solver.members] < len(times)
        if not unfinished.all():
            solver.keep(unfinished)
        while done < ahead.min():
            yield float(times[done]), known.pop(done)
            done += 1


def _look_back(solver: FactoredSteps, times: AnyArray, ahead: AnyArray, known: dict[int, AnyArray]) -> None:
    """Keep θ at the times that networks have passed in their last step."""
    until = np.append(times, np.inf)
    while (rows := np.flatnonzero(solver.moved & (until[ahead[solver.members]] <= solver.t))).size:
        members = solver.members[rows]
        at = ahead[members]
        for i, member, theta in zip(at.tolist(), members, solver.between(rows, times[at]), strict=True):
            known[i][member] = theta
        ahead[members] += 1


def _require_start(*numbers: AnyArray) -> None:
    """A solver would look for a step for ever."""
    if not all(np.isfinite(one).all() for one in numbers):
        raise IntegrationError("the gradient is not finite at the start (an overflow, or NaN from an activation)")


def _lost(time: float, message: str | None) -> IntegrationError:
    return IntegrationError(
        f"the flow could not be followed past t={time:.6g}: {message}; raise tol or shorten the times "
        "(units sliding along a kink, as of relu, may need method='gd')"
    )


def _solver(velocity: Callable[[AnyArray], AnyArray], theta: AnyArray, end: float, tol: float) -> Any:
    from scipy.integrate import RK45

    def right_hand_side(_: float, y: AnyArray) -> AnyArray:
        return velocity(y.astype(theta.dtype, copy=False))

    # the state is float64 also for float32 networks: small steps would be lost to rounding; RK45 bounds the root mean square
    # of error/atol, so this is ‖error of a step‖₂ ≤ tol
    return RK45(right_hand_side, 0.0, theta.astype(np.float64), end, rtol=1e-13, atol=tol / np.sqrt(theta.size))
