"""Hessian moments of an ensemble of finite networks through training."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from .losses import Loss, get_loss
from .moments import HessianMoments
from .network import Array, FiniteNetwork
from .trials import run_trials

# Fields of HessianMoments kept for every trial and time.
FIELDS = ("trace_i", "trace_h", "trace_h_error", "trace_s", "trace_s2", "trace_is", "loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteMoments:
    """Moments at T times: means and standard deviations over trials (``ddof = 1``; NaN for one trial).

    Attributes
    ----------
    times : (T,) array
    width, trials : int
    trace_i, trace_i_std, trace_h, trace_h_std : (kmax, T) arrays
        Row k − 1 is the k-th moment.
    trace_s, trace_s_std, trace_s2, trace_s2_std, trace_is, trace_is_std, loss, loss_std : (T,) arrays
    samples : dict
        Every trial's values by field name, first axis the trial: ``samples["trace_h"]`` is (trials, kmax, T).
    """

    times: Array
    width: int
    trials: int
    trace_i: Array
    trace_i_std: Array
    trace_h: Array
    trace_h_std: Array
    trace_s: Array
    trace_s_std: Array
    trace_s2: Array
    trace_s2_std: Array
    trace_is: Array
    trace_is_std: Array
    loss: Array
    loss_std: Array
    samples: dict[str, Array]

    @classmethod
    def from_samples(cls, times: Array, width: int, samples: dict[str, Array]) -> FiniteMoments:
        """Mean and standard deviation over the first axis of every sample array."""
        trials = len(samples["loss"])
        summary: dict[str, Array] = {}
        for name in FIELDS:
            if name == "trace_h_error":
                continue
            values = samples[name]
            summary[name] = values.mean(axis=0)
            summary[f"{name}_std"] = values.std(axis=0, ddof=1) if trials > 1 else np.full(values.shape[1:], np.nan)
        return cls(times=times, width=width, trials=trials, samples=samples, **summary)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """All that one trial needs, so that a process can run it alone."""

    net: Any
    X: Array
    Y: Array
    times: Array
    width: int
    kmax: int
    loss: str | Loss
    tol: float
    probes: int
    dtype: Any

    def run(self, seed: np.random.SeedSequence) -> dict[str, Array]:
        """One trial: fields by name, the time as last axis."""
        draw, sample = seed.spawn(2)
        fin = FiniteNetwork.random(self.net, self.width, self.X.shape[1], np.random.default_rng(draw), self.dtype)
        # common probes at all times make the sampled error smooth in time
        state = sample.generate_state(1)[0]

        def record(_: float, now: FiniteNetwork) -> HessianMoments:
            return now.hessian_moments(self.X, self.Y, self.kmax, self.loss, probes=self.probes, rng=state)

        seen = fin.train(self.X, self.Y, self.times, loss=self.loss, tol=self.tol, record=record).records
        return {name: np.stack([np.asarray(getattr(m, name)) for m in seen], axis=-1) for name in FIELDS}

    def settings(self) -> dict[str, Any]:
        """What defines a trial, as JSON values; activations are known by their values."""
        grid = np.linspace(-3, 3, 13)
        return {
            "network": [self.net.depth, self.net.n_out, self.net.sigma_w, self.net.beta, self.width],
            "activations": _digest(*(act(grid) for act in self.net.activations)),
            "data": _digest(self.X, self.Y),
            "times": self.times.tolist(),
            "kmax": self.kmax,
            "loss": get_loss(self.loss).name,
            "numbers": [self.tol, self.probes, np.dtype(self.dtype).name],
        }


def moments_through_training(
    net: Any,
    X: Any,
    Y: Any,
    times: Any,
    *,
    width: int,
    trials: int,
    rng: Any = 0,
    kmax: int = 4,
    loss: str | Loss = "mse",
    progress: bool = False,
    workers: int = 1,
    path: str | os.PathLike[str] | None = None,
    tol: float = 1e-4,
    probes: int = 8,
    dtype: Any = np.float64,
    executor: Executor | None = None,
) -> FiniteMoments:
    """Train an ensemble by gradient flow and take the Hessian's moments on the way.

    Parameters
    ----------
    net : object with ``activations``, ``sigma_w``, ``beta``, ``n_out``
        Architecture; with more than one worker it must be picklable.
    X, Y : arrays
        Points (N, n_in) and targets.
    times : (T,) increasing array
        Gradient-flow times.
    width : int
        Of every hidden layer.
    trials : int
        Number of initialisations.
    rng : int, SeedSequence or Generator
        Trial i takes the i-th spawned seed, whatever the number of workers.
    kmax : int
        Number of moments.
    loss : str or Loss
        "mse", "binary", "softmax" or one's own.
    progress : bool
        Show a bar over trials (needs tqdm).
    workers : int
        Processes.
    path : path, optional
        Keep every trial in this file and resume from it; see :func:`~kernelcalc.finite.trials.run_trials`.
    tol : float
        Bound on the error of one step, in ‖θ‖₂; 1e-4 changes moments by 2e-5, relatively (measured: width 100, 64
        digits, smooth ReLU and softplus, against 1e-8), far less than the spread over initialisations.
    probes : int
        See :func:`~kernelcalc.finite.moments.hessian_moments`.
    dtype : float64 or float32
        Number type of the networks.
    executor : concurrent.futures.Executor, optional
        Where to run instead of in own processes; see :func:`~kernelcalc.finite.trials.run_trials`.

    Returns
    -------
    FiniteMoments

    Raises
    ------
    InputError
        Fewer than one trial or worker.
    DataFileError, OutputFileError
        The file belongs to another run, or cannot be written.
    """
    when = np.atleast_1d(np.asarray(times, dtype=np.float64))
    task = _Task(
        net=net,
        X=np.asarray(X, dtype=np.float64),
        Y=np.asarray(Y),
        times=when,
        width=int(width),
        kmax=kmax,
        loss=loss,
        tol=tol,
        probes=probes,
        dtype=dtype,
    )
    samples = run_trials(
        task.run,
        trials,
        rng=rng,
        workers=workers,
        path=path,
        settings=None if path is None else task.settings(),
        progress=progress,
        executor=executor,
    )
    return FiniteMoments.from_samples(when, int(width), samples)


def _digest(*arrays: Any) -> str:
    """A short name of the contents, the same wherever rounding differs in the last digits."""
    text = "".join(repr(np.round(np.asarray(a, dtype=np.float64), 10).tolist()) for a in arrays)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
