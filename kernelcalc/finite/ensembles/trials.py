"""Many independent trials over processes, appended to a file as they finish, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, as_completed
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arguments import check_can, flag, path_of
from kernelcalc.errors import InputError, KernelcalcError, MissingExtraError, WorkerError, warn
from kernelcalc.finite.arrays import AnyArray, whole_number
from kernelcalc.finite.ensembles.trial_log import Result, TrialLog, as_result, fields
from kernelcalc.machine import processors
from kernelcalc.patience import watched, watched_elsewhere

Trial = Callable[[np.random.SeedSequence], dict[str, Any]]
Trials = Callable[[list[np.random.SeedSequence]], list[dict[str, Any]]]

_UNGUARDED = (
    'in a script, what starts workers stands under if __name__ == "__main__":, as each reads it (workers=1: none)'
)
# Enough for workers to end at about the same time.
_GROUPS_A_WORKER = 4
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@watched("progress=True shows how far it is; fewer trials are faster, workers=... shares them")
def run_trials(
    trial: Trial,
    trials: int,
    *,
    rng: Any = 0,
    workers: int = 1,
    path: str | os.PathLike[str] | None = None,
    settings: dict[str, Any] | None = None,
    progress: bool = False,
    executor: Executor | None = None,
    together: Trials | None = None,
    group: int = 1,
) -> dict[str, AnyArray]:
    """Results of ``trial(seed)`` for the first ``trials`` spawned seeds, stacked by name with the trial as first axis.

    Trial i always gets the i-th seed spawned from ``rng``, so neither the number of workers nor an interruption
    changes what ``trial`` computes, beyond the rounding of a BLAS run with another number of threads; nor what ``together``
    does, beyond what others in its group change of it.

    Parameters
    ----------
    trial : callable
        Takes a SeedSequence, returns float arrays or numbers by name. With several workers it must be picklable.
    trials : int
        How many.
    rng : int, SeedSequence or Generator
        Where the seeds are spawned from.
    workers : int
        Processes; each gets its share of the machine's cores as BLAS threads, and ends when this process ends. They read the
        main script again, so that a script starts them under ``if __name__ == "__main__":``; one without a file (from standard
        input) has its trials here, one after the other, with a warning.
    path : path, optional
        A JSON-lines file: a header, then a line a trial, in the order in which they finish. Trials already there
        are not run again; a last line cut short by a kill is dropped. More trials than before can be asked for. While this
        runs, no other process can use the file (where the system has ``flock``).
    settings : dict, optional
        What defines a trial, as JSON values; a file made with other settings or another seed is refused.
    progress : bool
        Show a bar (needs tqdm).
    executor : concurrent.futures.Executor, optional
        Where to run instead of in own processes, for example ``client.get_executor()`` of a ``dask.distributed`` client;
        it is not shut down, and ``workers`` has no effect.
    together : callable, optional
        Takes several seeds and returns what ``trial`` would of each, faster; after an error ``trial`` takes them one by one.
    group : int
        How many seeds ``together`` gets at most; fewer where workers would be left without.

    Raises
    ------
    InputError
        Fewer than one trial or worker; a trial that returns other than real numbers, or other fields than the ones before.
    DataFileError
        The file is not one of these, belongs to other settings, or another process writes to it.
    OutputFileError
        The file cannot be written.
    WorkerError
        A worker process was killed, or cannot start.

    Examples
    --------
    >>> def trial(seed):
    ...     return {"mean": np.random.default_rng(seed).standard_normal(4).mean()}
    >>> run_trials(trial, 3)["mean"].shape
    (3,)
    """
    if not callable(trial):
        raise InputError("trial, a function of a seed", repr(trial))
    trials, workers = whole_number(trials, "trials"), whole_number(workers, "workers")
    group = whole_number(group, "group")
    if trials < 1 or workers < 1 or group < 1:
        raise InputError(
            "at least one trial, one worker and one of a group", f"trials={trials}, workers={workers}, group={group}"
        )
    check_can("executor", executor, "submit", "a concurrent.futures.Executor")
    seeds = trial_seeds(rng, trials)
    open_log: AbstractContextManager[TrialLog | None] = nullcontext()
    if path is not None:
        open_log = TrialLog(path, seed=str(_identity(seeds[0])), settings=settings or {})
    with open_log as log:
        done: dict[int, Result] = {} if log is None else log.done
        missing = {i: seeds[i] for i in range(trials) if i not in done}
        if log is not None and missing:
            log.require_writable()
        # closing: an error here must not leave the processes waiting for more
        work = _Work(trial=trial, together=together)
        size = max(1, min(group, len(missing) // (_GROUPS_A_WORKER * workers))) if workers > 1 else group
        with closing(_computed(work, _groups(missing, size), workers, executor)) as stream:
            for index, result in _with_bar(stream, len(missing)) if flag("progress", progress) else stream:
                done[index] = as_result(result)
                known = fields(next(iter(done.values())))
                if fields(done[index]) != known:
                    raise InputError(f"trials that all return {known}", f"{fields(done[index])} from trial {index}")
                if log is not None:
                    log.append(index, done[index])
    return {name: np.stack([done[i][name] for i in range(trials)]) for name in done[0]}


def trial_seeds(rng: Any, trials: int) -> list[np.random.SeedSequence]:
    """One seed a trial; the first ones do not depend on how many are asked for.

    Raises
    ------
    InputError
        No seed.
    """
    if isinstance(rng, np.random.Generator):
        sequence: Any = rng.bit_generator.seed_seq
        return list(sequence.spawn(trials))
    if isinstance(rng, np.random.SeedSequence):
        return _copy(rng).spawn(trials)
    try:
        return np.random.SeedSequence(rng).spawn(trials)
    except (TypeError, ValueError) as error:
        raise InputError("rng, a seed (a whole number ≥ 0) or a numpy.random.Generator", repr(rng)) from error


def _copy(seed: np.random.SeedSequence) -> np.random.SeedSequence:
    """Another one of the same: what it spawns leaves the caller's sequence as it was."""
    return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key, pool_size=seed.pool_size)


def trial_file(folder: str | os.PathLike[str], name: str, settings: dict[str, Any], rng: Any) -> Path:
    """A path for :func:`run_trials` in a folder, another one for every setting and seed.

    Raises
    ------
    InputError
        A folder or name that is none, settings that JSON cannot hold, no seed.

    Examples
    --------
    >>> trial_file("results", "networks", {"width": 64}, 0).name == trial_file("results", "networks", {"width": 65}, 0).name
    False
    """
    if not isinstance(name, str):
        raise InputError("name, a text", repr(name))
    try:
        known = json.dumps([settings, str(_identity(trial_seeds(rng, 1)[0]))])
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("settings that JSON can hold: numbers, texts, lists, dicts", f"{settings!r}") from error
    return path_of(folder, "folder") / f"{name}-{hashlib.sha256(known.encode()).hexdigest()[:8]}.jsonl"


def _identity(seed: np.random.SeedSequence) -> tuple[Any, ...]:
    return seed.entropy, tuple(seed.spawn_key)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Trials one by one, or several together."""

    trial: Trial
    together: Trials | None

    def results(self, seeds: list[np.random.SeedSequence]) -> Iterator[dict[str, Any]]:
        """In the order of the seeds; those before a trial with an error come before the error."""
        if self.together is not None and len(seeds) > 1:
            try:
                yield from self.together([_copy(seed) for seed in seeds])
                return
            except (KernelcalcError, FloatingPointError):
                # which of them it was, the trials alone will tell
                pass
        for seed in seeds:
            yield self.trial(seed)

    def __call__(self, seeds: list[np.random.SeedSequence]) -> list[dict[str, Any]]:
        return list(self.results(seeds))


def _groups(seeds: dict[int, np.random.SeedSequence], size: int) -> list[dict[int, np.random.SeedSequence]]:
    """The seeds by number, so many at a time."""
    numbers = list(seeds)
    return [{i: seeds[i] for i in numbers[at : at + size]} for at in range(0, len(numbers), size)]


def _computed(
    work: _Work, groups: list[dict[int, np.random.SeedSequence]], workers: int, executor: Executor | None
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    if executor is not None:
        yield from _as_finished(work, groups, executor)
        return
    if workers == 1 or len(groups) <= 1 or not _can_start():
        for group in groups:
            yield from zip(group, work.results(list(group.values())), strict=True)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    count = min(workers, len(groups))
    # spawn: forked processes inherit the locks of BLAS threads
    context = get_context("spawn")
    stopped, stop = context.Pipe(duplex=False)
    with (
        closing(stopped),
        _threads(processors() // count),
        ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker, initargs=(stopped,)) as pool,
        # before the pool waits for its workers: whatever still runs then is of no use
        closing(stop),
    ):
        try:
            yield from _as_finished(work, groups, pool, own=True)
        except BrokenProcessPool as error:
            raise WorkerError(
                f"a worker process ended before its trial was done, killed for want of memory or otherwise; {_UNGUARDED}"
            ) from error


def _can_start() -> bool:
    """Whether workers can read the main script, as they do when they start; said where it has no file to be read from."""
    main = sys.modules["__main__"]
    if sys.modules.get("__mp_main__", main) is not main:
        # a worker that reads the script as it starts, under this name until it has; its parent says the rest
        raise SystemExit(_UNGUARDED)
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None or os.path.exists(file):
        return True
    warn(
        f"the script has no file ({file}) that worker processes could read: all trials run one after the other",
        UserWarning,
    )
    return False


def _begin_worker(stopped: Any) -> None:
    """In a worker, before its first trial: the call that waits for it speaks for it, and it ends with its parent."""
    watched_elsewhere()
    _end_with_parent(stopped)


def _end_with_parent(stopped: Any) -> None:
    """In a worker: end when the parent closes the pipe's other end, or ends itself, however it does.

    A worker of a killed parent would wait for work for ever, and an interrupted parent for the trials of its workers.
    """
    from multiprocessing import connection, parent_process
    from threading import Thread

    parent = parent_process()
    if parent is None:
        return
    # the keyboard's interrupt comes to all processes: the parent answers it
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        connection.wait([parent.sentinel, stopped])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _as_finished(
    work: _Work, groups: list[dict[int, np.random.SeedSequence]], executor: Executor, *, own: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Results as they come.

    Of the ``own`` pool, whose workers end with it, nothing is cancelled: as it breaks it gives all that waits an exception,
    and hangs at a cancelled one.
    """
    with _interrupts_held():
        futures = {executor.submit(work, list(group.values())): group for group in groups}
    try:
        for future in as_completed(futures):
            yield from zip(futures[future], future.result(), strict=True)
    finally:
        if not own:
            for future in futures:
                future.cancel()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """The keyboard's interrupt comes behind this; processes started inside, which are importing for a second, never get it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """BLAS threads of processes started inside, read when NumPy loads; a user's own setting wins."""
    ours = [name for name in _THREAD_VARIABLES if name not in os.environ]
    os.environ.update({name: str(max(1, count)) for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _with_bar(stream: Iterable[tuple[int, Any]], total: int) -> Iterable[tuple[int, Any]]:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "a progress bar") from error
    return tqdm(stream, total=total, desc="finite networks")
