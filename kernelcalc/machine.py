"""What the machine gives to a computation: processors, threads of BLAS, memory."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, cached_property
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

# A little less than 32 MiB of float64, up to which glibc's thresholds rise (DEFAULT_MMAP_THRESHOLD_MAX).
_SEEN_FREED = 2**22 - 2**10
# Multiply-adds of one matrix product up to which OpenBLAS takes one thread by itself (4 · SMP_THRESHOLD_MIN).
_ALONE = 2**18
# From here on threads pay also where others compute: measured on two cores with as many busy neighbours, two threads take 26,
# 13, 5, 2.1 and 0.8 times as long as one for 2^22, 2^24, 2^26, 2^28 and 2^30 multiply-adds.
_WORTH_THREADS = 2**29
# Columns that LAPACK reduces or eliminates at once: one product in an eigenvalue problem has 32 n² multiply-adds, and as many
# threads as there are wait n times for each other (measured on a busy machine, n = 1200: 26 s with two, 2.5 s with one).
LAPACK_BLOCK = 32

T = TypeVar("T")

# The working precision of mpmath and of flint belongs to the process: threads take turns.
MULTIPRECISION = RLock()
# Whoever has it sets the threads of BLAS, which are the process's: what two threads set in turn would not come back.
_SETS = RLock()
# The caller's own setting, then that of every block that is open in that thread.
_SET: list[int] = []


class unlocked_property(cached_property[T]):
    """``functools.cached_property`` as it is from Python 3.12 on.

    Before, all objects of a class share one lock while a value is computed, and threads that each have a block of a kernel
    wait for each other (measured in two threads at 1024 points: up to 30 ms of erf's 230, none with this). Two threads that ask
    the same object at once may both compute the value.
    """

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        found = vars(instance)[self.attrname] = self.func(instance)
        return found


def processors() -> int:
    """Cores this process may use: those it is bound to, no more than the time a control group grants it (containers)."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, _granted()))


@cache
def _granted(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that a quota of processor time in a period amounts to, rounded up; no limit without one."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / name).read_text() for name in names).split()
            # "max" and -1 are no quota
            if int(quota) > 0 and int(period) > 0:
                return math.ceil(int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return sys.maxsize


def blas_threads(work: float) -> AbstractContextManager[None]:
    """The threads of BLAS for a computation whose largest matrix product has ``work`` multiply-adds.

    One for small products, otherwise as many as the caller has set, no more than :func:`processors`. OpenBLAS itself takes all
    it knows of, and where others compute, or a control group grants less, they wait for each other longer than they compute.
    """
    if work <= _ALONE:
        return nullcontext()
    return _limited(1 if work < _WORTH_THREADS else processors())


def one_blas_thread(workers: int | None = None) -> AbstractContextManager[None]:
    """Holds BLAS to one thread, or does nothing where a single worker of ours is all there is.

    Threads of BLAS on top of ours wait for each other spinning: measured up to 5 times the processor time on a busy machine.
    """
    return nullcontext() if workers == 1 else _limited(1)


@contextmanager
def _limited(count: int) -> Iterator[None]:
    if not _SETS.acquire(blocking=False):
        yield
        return
    is_outermost = not _SET
    try:
        if is_outermost:
            _SET.append(max((one.num_threads or 1 for one in _blas().lib_controllers), default=1))
        wanted = min(count, _SET[0])
        with nullcontext() if wanted == _SET[-1] else _blas().limit(limits=wanted):
            _SET.append(wanted)
            try:
                yield
            finally:
                _SET.pop()
    finally:
        if is_outermost:
            _SET.clear()
        _SETS.release()


def _blas() -> Any:
    """The BLAS libraries in this process; SciPy may bring its own when it is imported."""
    return _libraries(sum(name in sys.modules for name in ("scipy.linalg", "scipy.special")))


@cache
def _libraries(modules: int) -> Any:
    """As they are with so many of SciPy's modules that bring one; looking for them takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


@cache
def keep_freed_memory() -> None:
    """Have the C library keep freed arrays of some 100 KiB for the next ones.

    glibc gives memory back to the system, page by page to be faulted in again, until a program has freed a larger array; then
    its thresholds rise to that size and twice of it (mallopt(3), M_MMAP_THRESHOLD). One that is never written to costs nothing.
    Measured: 124,000 page faults become 3,000 and 0.41 s of processor time 0.22 s (six kernels, erf, N = 2048); 64 gradients of
    networks of width 64 take 2.9 ms instead of 6.5 ms. With half of that size six kernels of 1024 points, 48 MiB, had 3,500 to
    5,900 page faults a call, of 8 to 20 ms, instead of 20.
    """
    np.empty(_SEEN_FREED)
