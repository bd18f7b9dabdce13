"""What becomes of processes, of the tests' own making."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.mutants import processes
from tests.mutants.operators import mutants
from tests.mutants.processes import ALIVE, KILLED, TIMED_OUT, fork, processor_seconds
from tests.mutants.run import Runner


def busy(seconds: float) -> int:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
    return 0


def in_a_child() -> int:
    """Busy in a process of its own, while this one waits."""
    child = os.fork()
    if child == 0:
        busy(30)
        os._exit(0)
    os.waitpid(child, 0)
    return 0


@pytest.mark.parametrize(
    ("work", "came"),
    [
        (lambda: 0, ALIVE),
        (lambda: 1, KILLED),
        (lambda: 1 // 0, KILLED),
        (lambda: os.kill(os.getpid(), signal.SIGTERM) or 0, KILLED),
        (lambda: busy(30), TIMED_OUT),
        (in_a_child, TIMED_OUT),
    ],
    ids=["passes", "fails", "raises", "dies", "has no end", "has no end in a child"],
)
def test_what_a_process_comes_to(monkeypatch, work, came):
    monkeypatch.setattr(processes, "LOOK", 0.02)
    assert fork(work, 0.1) == came


def test_seconds_on_the_clock_do_not_count(monkeypatch):
    monkeypatch.setattr(processes, "LOOK", 0.02)
    assert fork(lambda: time.sleep(0.4) or 0, 0.1) == ALIVE


def test_a_process_that_waits_for_ever(monkeypatch):
    monkeypatch.setattr(processes, "LOOK", 0.02)
    monkeypatch.setattr(processes, "STANDSTILL", 0.2)
    assert fork(lambda: signal.pause() or 0, 5.0) == TIMED_OUT


def test_nothing_is_left_of_a_process(monkeypatch):
    monkeypatch.setattr(processes, "LOOK", 0.02)
    read, write = os.pipe()

    def work() -> int:
        child = os.fork()
        if child == 0:
            signal.pause()
        os.write(write, f"{child}".encode())
        return 0

    assert fork(work, 1.0) == ALIVE
    left = Path("/proc") / os.read(read, 20).decode() / "stat"
    for _ in range(200):
        # ended, and perhaps not yet waited for by whoever has it now
        if not left.exists() or left.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(left)


def test_processor_seconds_of_the_own_group_are_at_least_the_own_ones():
    busy(0.05)
    assert processor_seconds(os.getpgrp()) >= 0.9 * time.process_time() - 0.05


class Item:
    path = Path("test_it.py")


@pytest.mark.parametrize(
    ("came", "unchanged", "counted", "limits"),
    [
        ([KILLED], None, KILLED, [10]),
        ([ALIVE], None, ALIVE, [10]),
        # two seconds of tests: four times that and two more
        ([TIMED_OUT], ALIVE, TIMED_OUT, [10]),
        ([TIMED_OUT, KILLED], TIMED_OUT, KILLED, [10, 40]),
        ([TIMED_OUT, ALIVE], TIMED_OUT, ALIVE, [10, 40]),
        ([TIMED_OUT, TIMED_OUT], TIMED_OUT, TIMED_OUT, [10, 40]),
    ],
)
def test_a_mutant_times_out_where_the_unchanged_file_does_not(monkeypatch, came, unchanged, counted, limits):
    given = []
    left = list(came)

    def tried(self, mutant, code, items, seconds):
        given.append(seconds)
        return left.pop(0)

    monkeypatch.setattr(Runner, "tried", tried)
    monkeypatch.setattr("tests.mutants.run.fork", lambda work, seconds: unchanged)
    runner = Runner(Path("it.py"), None, 0, None, 6.0)
    mutant = next(mutants("def f(a):\n    return a + 2\n"))
    runner.try_one(mutant, {Item(): (2.0, {2})})
    assert runner.counts == {"mutants": 0, "tried": 1, KILLED: 0, TIMED_OUT: 0, ALIVE: 0} | {counted: 1}
    assert (given, left) == (limits, [])


def test_a_mutant_that_no_test_reaches_lives(monkeypatch):
    runner = Runner(Path("it.py"), None, 0, None, 6.0)
    mutant = next(mutants("def f(a):\n    return a + 2\n"))
    runner.try_one(mutant, {Item(): (2.0, {1})})
    assert runner.counts[ALIVE] == runner.counts["tried"] == 1
