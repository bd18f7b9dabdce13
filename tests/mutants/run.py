"""Runs the tests against mutants: everything is imported and collected once, each mutant lives in a fork of that process.

A mutant of a function takes its place by ``__code__``, so whoever has imported the function sees it; a mutant of what
an import runs (defaults, class attributes, constants, decorators) needs a process of its own. First each test runs alone
under a trace of the file's lines: of a mutant only those tests run that reach its statement, quick ones first.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.abc
import importlib.util
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.operators import Mutant, mutants
from tests.mutants.processes import ALIVE, KILLED, TIMED_OUT, fork, outcome

# A mutant's tests may take so many times as long as without it, and this longer, in seconds of the processor.
SLOWER, GRACE = 4, 2
# Seconds of the processor that a process of its own may need to import and to collect.
START = 60
# Bytes that a mutant's process may have.
MEMORY = 6 << 30
# A test that takes longer, in seconds of the processor, is left out.
LONGEST = 15.0
MUTATED = "KERNELCALC_MUTATED"


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def fails(items: list[pytest.Item]) -> bool:
    """Whether one of the tests fails; those behind it do not run."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            return True
    return False


@contextmanager
def lines_run(path: str) -> Iterator[set[int]]:
    """The lines of a file that run meanwhile, in any thread."""
    found: set[int] = set()

    def inside(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            found.add(frame.f_lineno)
        return inside

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        return inside if frame.f_code.co_filename == path else None

    sys.settrace(trace)
    threading.settrace(trace)
    try:
        yield found
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


def reached(item: pytest.Item, path: str) -> tuple[float, set[int]] | None:
    """Seconds that a test takes alone, and lines of the file that it runs; None where it fails or takes too long."""
    read, write = os.pipe()

    def work() -> int:
        limit_memory()
        start = time.process_time()
        with lines_run(path) as found:
            bad = fails([item])
        os.write(write, repr((time.process_time() - start, found)).encode())
        return int(bad)

    said = fork(work, LONGEST)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read().decode()
    if said != ALIVE:
        return None
    seconds, found = ast.literal_eval(text.replace("set()", "()"))
    return seconds, set(found)


def ordered(items: list[pytest.Item], seconds: dict[pytest.Item, float], budget: float) -> list[pytest.Item]:
    """The quickest tests, of so many seconds together; quick files first, and in each file the quick tests."""
    files: dict[Any, list[pytest.Item]] = {}
    total = 0.0
    for item in sorted(items, key=seconds.__getitem__):
        total += seconds[item]
        if total <= budget or not files:
            files.setdefault(item.path, []).append(item)
    return [
        item
        for group in sorted(files.values(), key=lambda group: sum(map(seconds.__getitem__, group)))
        for item in group
    ]


def functions_in(path: str) -> dict[tuple[str, int], list[FunctionType]]:
    """All functions made from a file, by name and first line."""
    found: dict[tuple[str, int], list[FunctionType]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType) and thing.__code__.co_filename == path:
            found.setdefault((thing.__code__.co_qualname, thing.__code__.co_firstlineno), []).append(thing)
    return found


def code_in(module: CodeType, key: tuple[str, int]) -> CodeType | None:
    """A function's code within a module's."""
    for constant in module.co_consts:
        if isinstance(constant, CodeType):
            if (constant.co_qualname, constant.co_firstlineno) == key:
                return constant
            deeper = code_in(constant, key)
            if deeper is not None:
                return deeper
    return None


class Runner:
    """A plugin of pytest whose loop over the tests is one over mutants."""

    def __init__(self, target: Path, sample: int | None, seed: int, only: set[int] | None, budget: float) -> None:
        self.target, self.sample, self.seed, self.only, self.budget = target, sample, seed, only, budget
        self.counts = {"mutants": 0, "tried": 0, KILLED: 0, TIMED_OUT: 0, ALIVE: 0}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of the tests."""
        path = str(self.target)
        source = self.target.read_text(encoding="utf-8")
        everything = sum(1 for _ in mutants(source))
        chosen = set(range(everything))
        if self.only is not None:
            chosen = self.only
        elif self.sample is not None and self.sample < everything:
            chosen = set(random.Random(self.seed).sample(range(everything), self.sample))
        runs = {item: got for item in session.items if (got := reached(item, path)) is not None}
        left_out = [item.nodeid for item in session.items if item not in runs]
        say(f"{len(runs)} tests, {sum(s for s, _ in runs.values()):.0f} s; left out: {left_out or 'none'}")
        self.counts["mutants"] = everything
        for at_import in (False, True):
            for mutant in mutants(source):
                if mutant.number in chosen and (mutant.function is None) is at_import:
                    self.try_one(mutant, runs)
        return True

    def try_one(self, mutant: Mutant, runs: dict[pytest.Item, tuple[float, set[int]]]) -> None:
        """Whether the tests notice one mutant.

        Tests that take too long count only where those of the unchanged file, run next, do not; else they get another chance.
        """
        code = compile(mutant.source, str(self.target), "exec", dont_inherit=True)
        seconds = {item: one for item, (one, _) in runs.items()}
        # what a decorator refuses reaches no line of the file
        reaching = [i for i, (_, lines) in runs.items() if mutant.function is None or lines & set(mutant.lines)]
        reaching = ordered(reaching, seconds, self.budget)
        limit = SLOWER * sum(map(seconds.__getitem__, reaching)) + GRACE
        came = ALIVE
        if reaching:
            came = self.tried(mutant, code, reaching, limit)
            if came == TIMED_OUT and fork(lambda: int(fails(reaching)), limit) == TIMED_OUT:
                say(f"{mutant.number}: the tests take too long without it as well, and get four times as long")
                came = self.tried(mutant, code, reaching, 4 * limit)
        self.counts["tried"] += 1
        self.counts[came] += 1
        if came != KILLED:
            say(
                f"{came}: {mutant.number} line {mutant.lines.start}: {mutant.after} in `{mutant.before}` "
                f"({len(reaching)} tests)"
            )

    def tried(self, mutant: Mutant, module: CodeType, items: list[pytest.Item], seconds: float) -> str:
        """What becomes of a mutant in so many seconds of tests."""
        code = functions = None
        if mutant.function is not None:
            code = code_in(module, mutant.function)
            functions = functions_in(str(self.target)).get(mutant.function)
        if code is None or not functions:
            return self.imported(mutant, items, seconds)

        def work() -> int:
            limit_memory()
            for function in functions:
                function.__code__ = code
            return int(fails(items))

        return fork(work, seconds)

    def imported(self, mutant: Mutant, items: list[pytest.Item], seconds: float) -> str:
        """The same in a process of its own, which imports the mutant."""
        environment = os.environ | {MUTATED: f"{self.target}\n{ast.unparse(mutant.source)}"}
        files = list(dict.fromkeys(item.nodeid for item in items))
        command = [sys.executable, "-m", "tests.mutants.run", *files]
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        came = outcome(process.pid, START + seconds)
        # its end has been waited for
        process.returncode = 0
        return came


class Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module of the package from another text."""

    def __init__(self, target: str, source: str) -> None:
        self.target, self.source = target, source
        relative = Path(target).relative_to(Path.cwd()).with_suffix("")
        self.name = ".".join(relative.parts)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        return importlib.util.spec_from_file_location(name, self.target, loader=self) if name == self.name else None

    def get_filename(self, name: str) -> str:
        return self.target

    def get_data(self, path: str | bytes) -> bytes:
        return self.source.encode()

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.target, "exec", dont_inherit=True)


def say(text: str) -> None:
    """At once, as a long run is watched."""
    print(text, flush=True)


# randomness of hypothesis is fixed
OPTIONS = [
    *("-p", "no:cacheprovider", "-p", "no:terminal", "--hypothesis-seed=0"),
    *("-o", "addopts=--import-mode=importlib --doctest-modules"),
]


if __name__ == "__main__":
    text = os.environ.pop(MUTATED)
    changed = Changed(*text.split("\n", 1))
    sys.meta_path.insert(0, changed)
    # before pytest, which would rewrite the asserts of the file itself where it is among the tests
    importlib.import_module(changed.name)
    limit_memory()
    # where whoever looks at it is gone
    resource.setrlimit(resource.RLIMIT_CPU, (10 * START, 10 * START))
    sys.exit(pytest.main([*OPTIONS, "-x", *sys.argv[1:]]))
