"""Many independent trials over processes, appended to a file as they finish, resumable."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataFileError, InputError, MissingExtraError, OutputFileError
from .network import Array

Result = dict[str, Array]
Trial = Callable[[np.random.SeedSequence], Result]

_FORMAT = "kernelcalc trials 1"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
) -> dict[str, Array]:
    """Results of ``trial(seed)`` for the first ``trials`` spawned seeds, stacked by name with the trial as first axis.

    Trial i always gets the i-th seed spawned from ``rng``, so neither the number of workers nor an interruption
    changes what it computes (beyond the rounding of a BLAS run with another number of threads).

    Parameters
    ----------
    trial : callable
        Takes a SeedSequence, returns float arrays or numbers by name. With several workers it must be picklable.
    trials : int
        How many.
    rng : int, SeedSequence or Generator
        Where the seeds are spawned from.
    workers : int
        Processes; each gets its share of the machine's cores as BLAS threads.
    path : path, optional
        A JSON-lines file: a header, then a line a trial, in the order in which they finish. Trials already there
        are not run again; a last line cut short by a kill is dropped. More trials than before can be asked for.
    settings : dict, optional
        What defines a trial, as JSON values; a file made with other settings or another seed is refused.
    progress : bool
        Show a bar (needs tqdm).
    executor : concurrent.futures.Executor, optional
        Where to run instead of in own processes, for example ``client.get_executor()`` of a ``dask.distributed`` client;
        it is not shut down, and ``workers`` has no effect.

    Raises
    ------
    InputError
        Fewer than one trial or worker.
    DataFileError
        The file is not one of these, or belongs to other settings.
    OutputFileError
        The file cannot be written.

    Examples
    --------
    >>> def trial(seed):
    ...     return {"mean": np.random.default_rng(seed).standard_normal(4).mean()}
    >>> run_trials(trial, 3)["mean"].shape
    (3,)
    """
    if trials < 1 or workers < 1:
        raise InputError("at least one trial and one worker", f"trials={trials}, workers={workers}")
    seeds = trial_seeds(rng, trials)
    done: dict[int, Result] = {}
    target = None if path is None else Path(path)
    if target is not None:
        header = {"format": _FORMAT, "seed": str(_identity(seeds[0])), "settings": settings or {}}
        done = _read(target, json.loads(json.dumps(header)))
    missing = [i for i in range(trials) if i not in done]
    stream: Iterable[tuple[int, Result]] = _computed(trial, {i: seeds[i] for i in missing}, workers, executor)
    if progress:
        stream = _with_bar(stream, len(missing))
    for index, result in stream:
        done[index] = {name: np.asarray(value, dtype=np.float64) for name, value in result.items()}
        if target is not None:
            _append(target, {"trial": index} | {name: value.tolist() for name, value in done[index].items()})
    return {name: np.stack([done[i][name] for i in range(trials)]) for name in done[0]}


def trial_seeds(rng: Any, trials: int) -> list[np.random.SeedSequence]:
    """One seed a trial; the first ones do not depend on how many are asked for."""
    if isinstance(rng, np.random.Generator):
        sequence: Any = rng.bit_generator.seed_seq
        return list(sequence.spawn(trials))
    if isinstance(rng, np.random.SeedSequence):
        # spawning from a copy leaves the caller's sequence as it was
        rng = np.random.SeedSequence(rng.entropy, spawn_key=rng.spawn_key, pool_size=rng.pool_size)
        return rng.spawn(trials)
    return np.random.SeedSequence(rng).spawn(trials)


def trial_file(folder: str | os.PathLike[str], name: str, settings: dict[str, Any], rng: Any) -> Path:
    """A path for :func:`run_trials` in a folder, another one for every setting and seed.

    Examples
    --------
    >>> trial_file("results", "networks", {"width": 64}, 0).name == trial_file("results", "networks", {"width": 65}, 0).name
    False
    """
    known = json.dumps([settings, str(_identity(trial_seeds(rng, 1)[0]))])
    return Path(folder) / f"{name}-{hashlib.sha256(known.encode()).hexdigest()[:8]}.jsonl"


def _identity(seed: np.random.SeedSequence) -> tuple[Any, ...]:
    return seed.entropy, tuple(seed.spawn_key)


def _computed(
    trial: Trial, seeds: dict[int, np.random.SeedSequence], workers: int, executor: Executor | None
) -> Iterator[tuple[int, Result]]:
    if executor is not None:
        yield from _as_finished(trial, seeds, executor)
        return
    if workers == 1 or len(seeds) <= 1:
        for index, seed in seeds.items():
            yield index, trial(seed)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    count = min(workers, len(seeds))
    # spawn: forked processes inherit the locks of BLAS threads
    with (
        _threads((os.cpu_count() or 1) // count),
        ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool,
    ):
        yield from _as_finished(trial, seeds, pool)


def _as_finished(
    trial: Trial, seeds: dict[int, np.random.SeedSequence], executor: Executor
) -> Iterator[tuple[int, Result]]:
    futures = {executor.submit(trial, seed): index for index, seed in seeds.items()}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


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


def _read(path: Path, header: dict[str, Any]) -> dict[int, Result]:
    """Finished trials of the file; afterwards it exists, with this header, and ends at a line's end."""
    try:
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            _append(path, header, mode="wb")
            return {}
        if len(whole) < len(text):
            os.truncate(path, len(whole))
    except OSError as error:
        raise OutputFileError(f"cannot write {path}: {error.strerror}") from error
    try:
        first, *lines = [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise DataFileError("a JSON-lines file of trials", f"{path}", "choose another path") from error
    if not isinstance(first, dict) or first.get("format") != _FORMAT:
        raise DataFileError("a JSON-lines file of trials", f"{path}", "choose another path")
    if first != header:
        other = [
            name
            for name in sorted(first["settings"].keys() | header["settings"].keys())
            if first["settings"].get(name) != header["settings"].get(name)
        ]
        raise DataFileError(
            f"trials of this run in {path}", f"others ({', '.join(other) or 'another seed'})", "choose another path"
        )
    return {
        line["trial"]: {name: np.asarray(value, dtype=np.float64) for name, value in line.items() if name != "trial"}
        for line in lines
    }


def _append(path: Path, line: dict[str, Any], mode: str = "ab") -> None:
    try:
        with open(path, mode) as file:
            # one write a line: a kill can only cut the last line short, which reading drops
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputFileError(f"cannot write {path}: {error.strerror}") from error


def _with_bar(stream: Iterable[tuple[int, Result]], total: int) -> Iterable[tuple[int, Result]]:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "a progress bar") from error
    return tqdm(stream, total=total, desc="finite networks")
