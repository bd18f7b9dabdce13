"""One BLAS thread a test process, and the switch ``--long`` between the samples of every day and those of a long run.

Hypothesis draws the same examples every day, so that a change is all that a failure can come from, and others in a long run.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

import pytest

# Test processes run side by side, and threads of many would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# Files that take longest come first, so that no process is left with one of them while the others are done.
LONGEST = {"test_notebooks", "test_site", "test_pages", "test_types", "test_bad_worlds"}
# Of tests in these folders with so many cases every third one runs every day.
NUMBERS, MANY_CASES = {"activations", "expressions", "finite", "gaussian", "kernels", "training"}, 10


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="full samples, and the tests marked long")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: too slow for every day; runs with --long only")
    if config.pluginmanager.hasplugin("hypothesispytest") and not config.getoption("--long"):
        from hypothesis import settings

        settings.register_profile("every day", derandomize=True, database=None)
        settings.load_profile("every day")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)
    if config.getoption("--long"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="runs with --long"))
    left_out = _but_every_third_of_many(items)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _but_every_third_of_many(items: list[pytest.Item]) -> set[pytest.Item]:
    cases = defaultdict(list)
    for item in items:
        if hasattr(item, "callspec") and NUMBERS.intersection(item.path.parts):
            cases[item.nodeid.partition("[")[0]].append(item)
    many = (of_test for of_test in cases.values() if len(of_test) >= MANY_CASES)
    return {item for of_test in many for number, item in enumerate(of_test) if number % 3}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file run in one process, which makes what they share once."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether samples have their full size."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No word after ten seconds on the clock, which a busy machine takes for anything; warnings are errors here."""
    monkeypatch.setattr("kernelcalc.patience.SILENCE", float("inf"))
