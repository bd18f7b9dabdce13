"""Ensembles of finite networks through training: whatever a hook records, and the Hessian's moments."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite.arrays import AnyArray, finite_array, float_type
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.ensembles.fingerprint import architecture
from kernelcalc.finite.ensembles.records import MOMENT_FIELDS, MomentRecord
from kernelcalc.finite.ensembles.trial_log import as_result
from kernelcalc.finite.ensembles.trials import run_trials
from kernelcalc.finite.factored import networks_together
from kernelcalc.finite.losses import Loss, get_loss
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.finite.parameters import layer_sizes
from kernelcalc.finite.training import Schedule, train_together
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes, seed_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["MOMENT_FIELDS", "FiniteMoments", "moments_through_training", "train_ensemble"]

Record = Callable[[float, FiniteNetwork], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FiniteMoments(Result):
    """Moments at T times: means and standard deviations over trials (``ddof = 1``; NaN for one trial).

    Attributes
    ----------
    times : (T,) array
        Those looked at; their mean, if every network took a step of its own.
    width : int or tuple of int
    trials : int
    trace_i, trace_i_std, trace_h, trace_h_std : (kmax, T) arrays
        Row k − 1 is the k-th moment.
    trace_s, trace_s_std, trace_s2, trace_s2_std, trace_is, trace_is_std, loss, loss_std : (T,) arrays
    samples : dict
        Every trial's values by field name, first axis the trial: ``samples["trace_h"]`` is (trials, kmax, T);
        ``samples["times"]`` (trials, T) are the times looked at.
    """

    DIMENSIONS = axes(
        trace_h="k time",
        trace_h_std="k time",
        trace_i="k time",
        trace_i_std="k time",
        trace_s="time",
        trace_s_std="time",
        trace_s2="time",
        trace_s2_std="time",
        trace_is="time",
        trace_is_std="time",
        loss="time",
        loss_std="time",
    )

    times: AnyArray
    width: int | tuple[int, ...]
    trials: int
    trace_i: AnyArray
    trace_i_std: AnyArray
    trace_h: AnyArray
    trace_h_std: AnyArray
    trace_s: AnyArray
    trace_s_std: AnyArray
    trace_s2: AnyArray
    trace_s2_std: AnyArray
    trace_is: AnyArray
    trace_is_std: AnyArray
    loss: AnyArray
    loss_std: AnyArray
    samples: dict[str, AnyArray]

    @classmethod
    def from_samples(
        cls, times: ArrayLike, width: int | tuple[int, ...], samples: dict[str, AnyArray]
    ) -> FiniteMoments:
        """Mean and standard deviation over the first axis of every sample array.

        Raises
        ------
        InputError
            No such arrays.
        """
        if not isinstance(samples, Mapping) or not set(MOMENT_FIELDS) - {"trace_h_error"} <= samples.keys():
            raise InputError(f"samples, arrays by the names {', '.join(MOMENT_FIELDS)}", type(samples).__name__)
        trials = len(samples["loss"])
        summary: dict[str, AnyArray] = {}
        for name in MOMENT_FIELDS:
            if name == "trace_h_error":
                continue
            values = samples[name]
            summary[name] = values.mean(axis=0)
            summary[f"{name}_std"] = values.std(axis=0, ddof=1) if trials > 1 else np.full(values.shape[1:], np.nan)
        return cls(times=finite_array(times, "times"), width=width, trials=trials, samples=samples, **summary)

    def coordinates(self) -> dict[str, Any]:
        return {"k": np.arange(1, len(self.trace_i) + 1), "time": self.times}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """All that one trial needs, so that a process can run it alone."""

    net: Any
    sizes: list[int]
    X: AnyArray
    Y: Any
    schedule: Schedule
    record: Record
    loss: str | Loss
    dtype: Any

    def run(self, seed: np.random.SeedSequence) -> dict[str, AnyArray]:
        """One trial: fields by name, the time as first axis."""
        fin, record, order = self._drawn(seed)
        plan = self.schedule
        result = fin.train(
            self.X,
            self.Y,
            plan.times,
            loss=self.loss,
            method=plan.method,
            record=lambda t, now: as_result(record(t, now)),
            step=plan.step,
            batch_size=plan.batch_size,
            tol=plan.tol,
            rng=order,
        )
        return {"times": result.times, "loss": result.loss} | _stacked(result.records)

    def together(self, seeds: Sequence[np.random.SeedSequence]) -> list[dict[str, AnyArray]]:
        """Several trials under gradient flow, trained side by side."""
        nets, records, _ = zip(*map(self._drawn, seeds), strict=True)
        problem = Problem.of(nets[0], self.X, self.Y, self.loss)
        rows: list[list[dict[str, AnyArray]]] = [[] for _ in seeds]
        for members, time, theta, losses in train_together(nets, problem, self.schedule.times, self.schedule.tol):
            for row, record, one, loss in zip(rows[members], records[members], theta, losses, strict=True):
                seen = as_result(record(time, nets[0].at(one)))
                row.append({"times": np.asarray(time), "loss": loss} | seen)
        return [_stacked(row) for row in rows]

    def _drawn(self, seed: np.random.SeedSequence) -> tuple[FiniteNetwork, Record, np.random.SeedSequence]:
        """A trial's network, its record and the seed for the order of points."""
        draw, sample, order = seed.spawn(3)
        record = self.record.for_trial(sample) if hasattr(self.record, "for_trial") else self.record
        return self._network(np.random.default_rng(draw)), record, order

    def _network(self, generator: np.random.Generator) -> FiniteNetwork:
        return FiniteNetwork.random(self.net, self.sizes[1:-1], self.sizes[0], generator, self.dtype)

    def group(self) -> int:
        """How many trials are faster together."""
        if self.schedule.method != "flow":
            return 1
        like = self._network(np.random.default_rng(0))
        return networks_together(like, Problem.of(like, self.X, self.Y, self.loss))

    def settings(self, settings: dict[str, Any] | None) -> dict[str, Any]:
        """What defines a trial, as JSON values; only the numbers that the method uses."""
        plan, record = self.schedule, self.record
        used = {"flow": ("tol",), "gd": ("step",), "sgd": ("step", "batch_size")}[plan.method]
        own = record.settings() if hasattr(record, "settings") else {}
        return {
            **architecture(self.net, self.sizes),
            "data": digest(self.X, self.Y),
            "times": plan.times.tolist(),
            "loss": get_loss(self.loss).name,
            "training": {"method": plan.method} | {name: getattr(plan, name) for name in used},
            "dtype": np.dtype(self.dtype).name,
            "record": {"name": getattr(record, "__qualname__", type(record).__qualname__)} | own | (settings or {}),
        }


def _stacked(rows: list[dict[str, AnyArray]]) -> dict[str, AnyArray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@watched(
    "progress=True shows how far it is; "
    "fewer trials, smaller widths and earlier times are faster, workers=... shares the trials"
)
def train_ensemble(
    net: Any,
    X: Any,
    Y: Any,
    times: Any,
    *,
    width: int | Sequence[int],
    trials: int,
    record: Record,
    loss: str | Loss = "mse",
    method: str = "flow",
    step: float | None = None,
    batch_size: int = 32,
    tol: float = 1e-4,
    dtype: Any = np.float64,
    rng: Any = 0,
    workers: int = 1,
    path: str | os.PathLike[str] | None = None,
    settings: dict[str, Any] | None = None,
    progress: bool = False,
    executor: Executor | None = None,
) -> dict[str, AnyArray]:
    """Train networks from many initialisations and keep what a hook sees at the given times.

    Parameters
    ----------
    net : object with ``activations``, ``sigma_w``, ``beta``, ``n_out``
        Architecture; with more than one worker it must be picklable.
    X, Y : arrays
        Points (N, n_in) and targets.
    times : (T,) increasing array
        Gradient-flow times.
    width : int or sequence of int
        Of every hidden layer, or one a hidden layer.
    trials : int
        Number of initialisations.
    record : callable
        ``record(t, network)`` returns numbers and arrays by name, with the same names and shapes at all times; with more than
        one worker it must be picklable (a module's function, ``functools.partial`` of one, or an object such as
        :class:`~kernelcalc.finite.ensembles.records.MomentRecord` or
        :class:`~kernelcalc.finite.ensembles.records.EigenvalueRecord`). If it has a method ``for_trial(seed)``, that is
        called first, with a SeedSequence of the trial, for the trial's own record.
    loss : str or Loss
        "mse", "binary", "softmax" or one's own.
    method, step, batch_size, tol
        See :func:`~kernelcalc.finite.training.train`; ``kernelcalc.largest_learning_rate`` is the theory's step. Without a
        step every network takes its own. The order of the points in "sgd" comes from the trial's seed.
    dtype : float64 or float32
        Number type of the networks.
    rng : int, SeedSequence or Generator
        Trial i takes the i-th spawned seed, whatever the number of workers.
    workers, progress, executor
        See :func:`~kernelcalc.finite.ensembles.trials.run_trials`.
    path : path, optional
        Keep every trial in this file and resume from it; see :func:`~kernelcalc.finite.ensembles.trials.run_trials`. A
        file made with other arguments is refused. A hook is known by its name only, and by what its method
        ``settings()``, if there is one, returns as JSON values.
    settings : dict, optional
        What else defines the hook, as JSON values.

    Returns
    -------
    dict
        (trials, T, ...) arrays: the hook's by name; ``loss`` and ``times``, unless the hook has such names. For "gd" and
        "sgd" times are the multiples of the step that were looked at.

    Raises
    ------
    InputError
        Fewer than one trial or worker; arguments that :func:`~kernelcalc.finite.training.train` refuses; a hook that returns
        anything but numbers and arrays by name.
    DataFileError, OutputFileError
        The file belongs to another run, is used by another process, or cannot be written.

    Notes
    -----
    Under "flow" wide networks at few points take their steps side by side, up to 16 at once, whose trials come to the file
    together; each goes where it would go alone.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> linear = SimpleNamespace(activations=(), sigma_w=1.0, beta=0.0, n_out=1)
    >>> found = train_ensemble(
    ...     linear, np.eye(3), np.zeros(3), [0.0, 1.0], width=(), trials=4,
    ...     record=lambda t, network: {"ntk": network.ntk(np.eye(3))},
    ... )
    >>> found["ntk"].shape, found["loss"].shape
    ((4, 2, 3, 3), (4, 2))
    """
    task = _checked(net, X, Y, times, width, record, loss, (method, step, batch_size, tol), dtype)
    return run_trials(
        task.run,
        trials,
        rng=rng,
        workers=workers,
        path=path,
        settings=None if path is None else task.settings(settings),
        progress=progress,
        executor=executor,
        together=task.together,
        group=task.group(),
    )


def _checked(
    net: Any,
    X: Any,
    Y: Any,
    times: Any,
    width: Any,
    record: Record,
    loss: str | Loss,
    training: tuple[str, float | None, int, float],
    dtype: Any,
) -> _Task:
    """A task that will not fail over its arguments: a file must not get the header of a run that cannot be."""
    if not callable(record):
        raise InputError("record(t, network), a callable", repr(record))
    x = finite_array(X, "X")
    if x.ndim != 2 or x.size == 0:
        raise ShapeError("points of shape (N, n_in)", f"shape {x.shape}", "one row a point")
    sizes = layer_sizes(net, width, x.shape[1])
    get_loss(loss).prepare(Y, len(x), sizes[-1])
    method, step, batch_size, tol = training
    schedule = Schedule(times=times, method=method, step=step, batch_size=batch_size, tol=tol)
    return _Task(net=net, sizes=sizes, X=x, Y=Y, schedule=schedule, record=record, loss=loss, dtype=float_type(dtype))


@watched(
    "progress=True shows how far it is; "
    "fewer trials, smaller widths and earlier times are faster, workers=... shares the trials"
)
def moments_through_training(
    net: Any,
    X: Any,
    Y: Any,
    times: Any,
    *,
    width: int | Sequence[int],
    trials: int,
    rng: Any = 0,
    kmax: int = 4,
    loss: str | Loss = "mse",
    progress: bool = False,
    workers: int = 1,
    path: str | os.PathLike[str] | None = None,
    method: str = "flow",
    step: float | None = None,
    batch_size: int = 32,
    tol: float = 1e-4,
    probes: int = 8,
    deflation: int = 32,
    unit_probes: int = 0,
    whole_probes: int = 0,
    dtype: Any = np.float64,
    executor: Executor | None = None,
) -> FiniteMoments:
    """Train an ensemble and take the Hessian's moments on the way: :func:`train_ensemble` with a ``MomentRecord``.

    Parameters
    ----------
    net, X, Y, times, width, trials, loss, method, step, batch_size, dtype, rng, workers, path, progress, executor
        See :func:`train_ensemble`.
    kmax : int
        Number of moments.
    tol : float
        Bound on the error of one step of the flow, in ‖θ‖₂; 1e-4 changes moments by 2e-5, relatively (measured: width 100,
        64 digits, smooth ReLU and softplus, against 1e-8), far less than the spread over initialisations.
    probes, deflation, unit_probes, whole_probes : int
        See :func:`~kernelcalc.finite.curvature.moments.hessian_moments`.

    Returns
    -------
    FiniteMoments

    Raises
    ------
    InputError, DataFileError, OutputFileError
        See :func:`train_ensemble`.
    """
    sampling = {"probes": probes, "deflation": deflation, "unit_probes": unit_probes, "whole_probes": whole_probes}
    record = MomentRecord(X=finite_array(X, "X"), Y=Y, kmax=kmax, loss=loss, **sampling)
    samples = train_ensemble(
        net,
        X,
        Y,
        times,
        width=width,
        trials=trials,
        record=record,
        loss=loss,
        method=method,
        step=step,
        batch_size=batch_size,
        tol=tol,
        dtype=dtype,
        rng=rng,
        workers=workers,
        path=path,
        progress=progress,
        executor=executor,
    )
    seen = samples["times"]
    # the same for all, but for steps of each network's own
    when = seen[0] if (seen == seen[0]).all() else seen.mean(axis=0)
    moved = {name: values if values.ndim == 2 else np.moveaxis(values, 1, -1) for name, values in samples.items()}
    found = FiniteMoments.from_samples(when, _plain(width), moved)
    network = f"{net!r}, widths {width}"
    return found.with_origin(network=network, data=digest(X, Y), seed=seed_of(rng))


def _plain(width: Any) -> int | tuple[int, ...]:
    return int(width) if np.ndim(width) == 0 else tuple(int(one) for one in width)
