"""``python -m tests.mutants FILE [--sample N] [--seed N] [--only N,N] [TESTS...]``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from tests.mutants.run import OPTIONS, Runner, say

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    asked = argparse.ArgumentParser(prog="python -m tests.mutants")
    asked.add_argument("file", type=Path)
    asked.add_argument("tests", nargs="*")
    asked.add_argument("--sample", type=int)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--only", help="numbers of mutants, by commas")
    asked.add_argument("--budget", type=float, default=6.0, help="processor seconds of tests for each mutant")
    given = asked.parse_args()
    only = None if given.only is None else set(map(int, given.only.split(",")))
    runner = Runner(given.file.resolve(), given.sample, given.seed, only, given.budget)
    pytest.main([*OPTIONS, *given.tests], plugins=[runner])
    say(f"{given.file}: {runner.counts}")
