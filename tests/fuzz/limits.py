"""A limit of processor time: other processes do not count."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Slow(BaseException):
    """No Exception: what catches those must not catch this."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """CPU seconds, after which ``Slow`` is raised."""

    def stop(*_: object) -> None:
        raise Slow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
