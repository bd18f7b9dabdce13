"""Threads of this package beside those of BLAS."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any


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
