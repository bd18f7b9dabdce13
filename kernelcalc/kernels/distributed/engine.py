"""Dask as an optional engine: its import, where tasks run, and their progress."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any

import numpy as np

from kernelcalc.arguments import check_can, flag
from kernelcalc.errors import InputError, MissingExtraError

DISTRIBUTED = ("dask",)
CONNECT_SECONDS = 10
# Points in a block by default: a block of one kernel has 32 MiB.
CHUNKS = 2048


def require(module: str, purpose: str) -> Any:
    """A module of the extra ``distributed``.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(module.split(".")[0], "distributed", purpose) from error


def check_engine(engine: Any) -> None:
    """Refuse an engine other than "dask".

    Raises
    ------
    InputError
        For any other value.
    """
    if not isinstance(engine, str) or engine not in DISTRIBUTED:
        raise InputError('engine="dask", or None for this process', repr(engine))


def check_compiler() -> None:
    """Refuse "dask+numba" where numba is missing, before anything is computed.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        importlib.import_module("numba")
    except ImportError as error:
        raise MissingExtraError("numba", "fast", 'engine="dask+numba"') from error


def block_sides(chunks: Any) -> tuple[int, int]:
    """Points in a block of rows and in one of columns; -1 for all points.

    Parameters
    ----------
    chunks : int, "auto", or a tuple of one or two of these
        "auto" is 2048, -1 one block.

    Raises
    ------
    InputError
        For anything else.

    Examples
    --------
    >>> block_sides(512), block_sides(("auto", -1))
    ((512, 512), (2048, -1))
    """
    sides = tuple(chunks) if isinstance(chunks, tuple | list) else (chunks,)
    sides = tuple(CHUNKS if isinstance(side, str) and side == "auto" else side for side in sides)
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides)
    if not whole or len(sides) not in (1, 2) or any(side < 1 and side != -1 for side in sides):
        raise InputError(
            'chunks, a whole number of at least 1, -1 (one block) or "auto", or one of these for rows and one for columns',
            repr(chunks),
            "points in a block",
        )
    return int(sides[0]), int(sides[-1])


def active_client(client: Any = None) -> Any:
    """The given client, else the current one of ``dask.distributed``, else None.

    Raises
    ------
    InputError
        What is given is no client.
    """
    check_can("client", client, "get_executor", "a dask.distributed.Client")
    if client is not None:
        return client
    # Without the module loaded there can be no client, and loading it takes half a second.
    loaded = sys.modules.get("distributed")
    if loaded is None:
        return None
    try:
        return loaded.default_client()
    except ValueError:
        return None


def run_tasks(tasks: Sequence[Any], *, label: str, progress: bool = False, client: Any = None) -> list[Any]:
    """Results of ``dask.delayed`` tasks: on the client if there is one, else by dask's own choice of scheduler.

    Raises
    ------
    MissingExtraError
        A bar is wanted and tqdm is not installed.
    """
    found = active_client(client)
    with _bar(len(tasks), label, progress) as advance:
        if found is not None:
            futures = found.compute(list(tasks))
            finished = require("distributed", "a dask client").as_completed(
                futures, loop=found.loop, raise_errors=False
            )
            for _ in finished:
                advance()
            return found.gather(futures)
        keys = {task.key for task in tasks}

        def after(key: Any, *_: Any) -> None:
            if key in keys:
                advance()

        dask, callbacks = (require(module, 'engine="dask"') for module in ("dask", "dask.callbacks"))
        # A block's own loops run in threads; of several blocks at once one is computed while another is written.
        threads = {} if dask.config.get("scheduler", "threads") != "threads" else {"num_workers": 2}
        with callbacks.Callback(posttask=after):
            return list(dask.compute(*tasks, **threads))


@contextmanager
def local_client(workers: int) -> Iterator[Any]:
    """A client of a cluster of processes on this machine, one thread each, for as long as the block lasts.

    A Ctrl-C is for this process alone, which ends the others: each of them would print a traceback of its own.

    Raises
    ------
    MissingExtraError
        Without dask's distributed.
    """
    distributed = require("distributed", "a cluster of processes")
    logging.getLogger("asyncio").addFilter(_is_no_end)
    with ExitStack() as stack:
        with _without_interrupts():
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=":0",
                    silence_logs=logging.CRITICAL,
                )
            )
        yield stack.enter_context(distributed.Client(cluster))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold a Ctrl-C back until the end of the block; processes that begin in it never see one (where there are masks)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # whose start would unmask
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_no_end(record: logging.LogRecord) -> bool:
    """Whether a record is other than of what dask still waited for when it was stopped."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not kind.__module__.startswith("distributed")


@contextmanager
def cluster(address: str | None, workers: int) -> Iterator[Any]:
    """A client of the cluster at an address, else of ``workers`` processes here; None for one worker, which is this process.

    Raises
    ------
    InputError
        Nobody answers at the address.
    """
    if address is None and workers == 1:
        yield None
    elif address is None:
        with local_client(workers) as client:
            yield client
    else:
        distributed, config = require("distributed", "a dask cluster"), require("dask.config", "a dask cluster")
        try:
            # A client that fails to connect would otherwise stay behind as the current one.
            client = distributed.Client(address, set_as_default=False, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise InputError("the address of a dask scheduler, such as tcp://host:8786", repr(address)) from error
        with client, config.set(scheduler=client):
            yield client


@contextmanager
def task_executor(engine: str | None, client: Any, workers: int) -> Iterator[Executor | None]:
    """A ``concurrent.futures`` executor on dask workers, or None where neither engine nor client are given.

    Without a client, the current one is used, else a cluster of ``workers`` processes on this machine.

    Raises
    ------
    InputError
        An engine other than "dask".
    """
    if engine is not None:
        check_engine(engine)
    elif client is None:
        yield None
        return
    found = active_client(client)
    if found is not None:
        yield found.get_executor()
        return
    with local_client(workers) as own:
        yield own.get_executor()


@contextmanager
def _bar(total: int, label: str, progress: bool) -> Iterator[Any]:
    if not flag("progress", progress):
        yield lambda: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("tqdm", "progress", "a progress bar") from error
    with tqdm(total=total, desc=label) as bar:
        yield lambda: bar.update()
