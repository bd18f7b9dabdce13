"""Hessian moments of an ensemble of finite networks through training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtraError
from .losses import Loss
from .moments import HessianMoments
from .network import Array, FiniteNetwork

# Fields of HessianMoments kept for every trial and time.
FIELDS = ("trace_i", "trace_h", "trace_h_error", "trace_s", "trace_s2", "trace_is", "loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteMoments:
    """Moments of T times over an ensemble: means, and standard deviations over trials (``ddof = 1``; NaN for one trial).

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
    tol: float = 1e-3,
    probes: int = 8,
    dtype: Any = np.float64,
) -> FiniteMoments:
    """Train an ensemble by gradient flow and take the Hessian's moments on the way.

    Parameters
    ----------
    net : object with ``activations``, ``sigma_w``, ``beta``, ``n_out``
        Architecture; with more than one worker it must be picklable.
    X, Y : arrays
        Points (N, n_in) and targets.
    times : (T,) increasing array
    width : int
        Of every hidden layer.
    trials : int
        Number of initialisations.
    rng : int, SeedSequence or Generator
        Trial i takes the i-th spawned seed, whatever the number of workers.
    kmax : int
    loss : str or Loss
    progress : bool
        Show a bar over trials (needs tqdm).
    workers : int
        Processes.
    tol : float
        Error of an integration step; 1e-3 changes the moments far less than the spread over initialisations.
    probes : int
        See :func:`~kernelcalc.finite.moments.hessian_moments`.

    Returns
    -------
    FiniteMoments

    Raises
    ------
    InputError
        Fewer than one trial or worker.
    """
    if trials < 1 or workers < 1:
        raise InputError("at least one trial and one worker", f"trials={trials}, workers={workers}")
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
    results: Iterator[dict[str, Array]] = _results(task, trial_seeds(rng, trials), workers)
    if progress:
        results = _with_bar(results, trials)
    kept = list(results)
    samples = {name: np.stack([one[name] for one in kept]) for name in FIELDS}
    return FiniteMoments.from_samples(when, int(width), samples)


def trial_seeds(rng: Any, trials: int) -> list[np.random.SeedSequence]:
    """One seed a trial."""
    if isinstance(rng, np.random.Generator):
        return rng.bit_generator.seed_seq.spawn(trials)  # type: ignore[attr-defined, no-any-return]
    root = rng if isinstance(rng, np.random.SeedSequence) else np.random.SeedSequence(rng)
    return root.spawn(trials)


def _results(task: _Task, seeds: list[np.random.SeedSequence], workers: int) -> Iterator[dict[str, Array]]:
    if workers == 1 or len(seeds) == 1:
        yield from map(task.run, seeds)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # spawn: forked processes inherit the locks of BLAS threads
    with ProcessPoolExecutor(min(workers, len(seeds)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(task.run, seeds)


def _with_bar(results: Iterator[dict[str, Array]], total: int) -> Iterator[dict[str, Array]]:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "a progress bar") from error
    return iter(tqdm(results, total=total, desc="finite networks"))
