"""Processors a container grants, and the threads that BLAS is given and gets back."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from kernelcalc import machine
from kernelcalc.machine import blas_threads, one_blas_thread, processors, unlocked_property

SMALL, LARGE = 2**22, 2**40


def now():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    """BLAS set to three threads by the caller, and two processors."""
    monkeypatch.setattr(machine, "processors", lambda: 2)
    machine._libraries.cache_clear()
    with threadpool_limits(3, user_api="blas"):
        if now() != {3}:
            pytest.skip("a BLAS without threads")
        yield
        assert now() == {3}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, sys.maxsize),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "nonsense\n"}, sys.maxsize),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, sys.maxsize),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "250000\n"}, sys.maxsize),
        ({}, sys.maxsize),
    ],
    ids=str,
)
def test_quotas_of_control_groups(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine._granted(tmp_path) == expected


def test_processors_are_those_bound_and_granted(monkeypatch):
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    monkeypatch.setattr(machine, "_granted", lambda: sys.maxsize)
    assert processors() == bound
    monkeypatch.setattr(machine, "_granted", lambda: 1)
    assert processors() == 1


def test_small_products_take_one_thread_and_large_ones_the_processors():
    for work, expected in ((0, 3), (SMALL, 1), (LARGE, 2)):
        with blas_threads(work):
            assert now() == {expected}
    with one_blas_thread(1):
        assert now() == {3}
    with one_blas_thread(4):
        assert now() == {1}


def test_blocks_inside_each_other():
    with one_blas_thread():
        with blas_threads(LARGE):
            assert now() == {2}
            with blas_threads(SMALL):
                assert now() == {1}
            assert now() == {2}
        assert now() == {1}
        with pytest.raises(ZeroDivisionError), blas_threads(LARGE):
            _ = 1 / 0
        assert now() == {1}


def test_a_caller_who_has_set_one_thread_keeps_it():
    with threadpool_limits(1, user_api="blas"), blas_threads(LARGE):
        assert now() == {1}


def test_threads_that_overlap_leave_the_setting_as_it_was():
    entered, leave = Event(), Event()

    def first():
        with one_blas_thread():
            entered.set()
            leave.wait(20)

    def second():
        with blas_threads(LARGE):
            leave.set()
            running.result(20)

    with threadpool_limits(3, user_api="blas"), ThreadPoolExecutor(2) as pool:
        running = pool.submit(first)
        assert entered.wait(20)
        pool.submit(second).result(20)
    assert now() == {3}


def test_a_blas_that_comes_later_is_held_too():
    """SciPy brings one of its own with scipy.special, before scipy.linalg is imported."""
    text = (
        "import numpy, threadpoolctl\n"
        "from kernelcalc.machine import one_blas_thread\n"
        "with one_blas_thread(): pass\n"
        "import scipy.special\n"
        "with threadpoolctl.threadpool_limits(2, user_api='blas'), one_blas_thread():\n"
        "    print({one['num_threads'] for one in threadpoolctl.threadpool_info() if one['user_api'] == 'blas'})\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"


def test_objects_in_two_threads_do_not_wait_for_each_other():
    """Each value is made while the other one is; one that is known is not made again."""
    together = Barrier(2, timeout=10)

    class Block:
        made = 0

        @unlocked_property
        def value(self):
            together.wait()
            self.made += 1
            return object()

    blocks = Block(), Block()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda block: block.value, blocks))
    assert [block.value for block in blocks] == found
    assert [block.made for block in blocks] == [1, 1]
    assert isinstance(Block.value, unlocked_property)
