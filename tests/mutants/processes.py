"""What a process comes to, in seconds of the processor: on a machine that others use the clock on the wall says nothing."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

KILLED, TIMED_OUT, ALIVE = "killed", "timed out", "alive"
# So many seconds on the clock in which a group of processes takes no more than so many of the processor are a standstill: one
# that is given a hundredth of a processor takes ten times as much.
STANDSTILL, WORKED = 120.0, 0.1
# Seconds on the clock between two looks at the processor time of a group.
LOOK = 0.5
TICKS = os.sysconf("SC_CLK_TCK")


def fork(work: Callable[[], int], seconds: float) -> str:
    """What a fork of this process comes to that ends with what ``work`` returns."""
    child = os.fork()
    if child == 0:
        said = 99
        try:
            os.setpgid(0, 0)
            # where whoever looks at it is gone
            resource.setrlimit(resource.RLIMIT_CPU, (int(2 * seconds) + 5,) * 2)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            said = work()
        finally:
            os._exit(said)
    return outcome(child, seconds)


def outcome(child: int, seconds: float) -> str:
    """Alive where a child ends with 0, timed out where it and its own take more seconds of the processor or stand still.

    The child leads a group of processes, or soon will; none of it is left.
    """
    try:
        looked = worked = time.monotonic()
        before, pause = 0.0, 0.001
        while (ended := os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
            now = time.monotonic()
            if now - looked > LOOK:
                looked, spent = now, processor_seconds(child)
                if spent > before + WORKED:
                    before, worked = spent, now
                if spent > seconds or now - worked > STANDSTILL:
                    return TIMED_OUT
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        return ALIVE if ended.si_status == 0 else KILLED
    finally:
        _end(child)


def processor_seconds(group: int) -> float:
    """Seconds of the processor that the processes of a group have taken, with those of their children that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # proc(5): a name in brackets, which may hold anything, then state, parent, group; times are the 14th to 17th of all
        fields = text.rpartition(")")[2].split()
        if int(fields[2]) == group:
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def _end(child: int) -> None:
    """Ends what is left of a child's group, and the child, whose number stays its own until it is waited for."""
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
