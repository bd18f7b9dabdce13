"""What the machine gives to a computation in blocks: threads beside those of BLAS, and memory."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

# 16 MiB of float64.
_SEEN_FREED = 2**21


def processors() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread(workers: int) -> AbstractContextManager[Any]:
    """Holds BLAS to one thread while several of ours call it, where threadpoolctl is installed.

    Threads of BLAS on top of ours wait for each other spinning: measured up to 5 times the processor time on a busy machine.
    """
    if workers == 1:
        return nullcontext()
    try:
        control = importlib.import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = control.threadpool_limits(limits=1, user_api="blas")
    return limits


def keep_freed_memory() -> None:
    """Have the C library keep freed arrays of some 100 KiB for the next ones.

    glibc gives memory back to the system, page by page to be faulted in again, until a program has freed a larger array; then
    its thresholds rise to that size and twice of it (mallopt(3), M_MMAP_THRESHOLD). One that is never written to costs nothing.
    Measured: 124,000 page faults become 3,000 and 0.41 s of processor time 0.22 s (six kernels, erf, N = 2048).
    """
    np.empty(_SEEN_FREED)
