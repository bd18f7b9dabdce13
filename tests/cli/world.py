"""A script that runs commands in worlds that are not as they should be, each in a fork of one warm process.

Reads a JSON list of (name, world, arguments, folder) from a file and prints a JSON object name → (exit code, stdout, stderr).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from kernelcalc.cli import main

EXTRAS = (
    "matplotlib",
    "pandas",
    "pyarrow",
    "tqdm",
    "numba",
    "dask",
    "distributed",
    "zarr",
    "flint",
    "sklearn",
    "torch",
    "xarray",
)


def stream(number: int, encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding=encoding, errors=errors)


def without_extras() -> None:
    for name in {*EXTRAS, *(name for name in sys.modules if name.split(".")[0] in EXTRAS)}:
        sys.modules[name] = None  # type: ignore[assignment]


def ascii_only() -> None:
    sys.stdout, sys.stderr = stream(1, "ascii"), stream(2, "ascii", "backslashreplace")


def full_output() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def no_output() -> None:
    """As ``>&-``: Python starts with None then."""
    os.close(1)
    sys.stdout = None  # type: ignore[assignment]


def nobody_reads() -> None:
    """As ``| head -0``."""
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)


def small_files() -> None:
    """As a full disk: files take 100 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


def after(seconds: float, kill: signal.Signals) -> Callable[[], None]:
    """A signal after so much processor time."""

    def world() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), kill))
        signal.setitimer(signal.ITIMER_PROF, seconds)

    return world


WORLDS: dict[str, Callable[[], None]] = {
    "as it should be": lambda: None,
    "without extras": without_extras,
    "ascii": ascii_only,
    "full output": full_output,
    "no output": no_output,
    "nobody reads": nobody_reads,
    "small files": small_files,
}


def world_of(name: str) -> Callable[[], None]:
    if name in WORLDS:
        return WORLDS[name]
    kill, seconds = name.split()
    return after(float(seconds), signal.Signals[kill])


def run(world: str, arguments: list[str], folder: str) -> Any:
    """A command in a world; its exit code."""
    signal.alarm(100)
    os.chdir(folder)
    sys.argv = ["kernelcalc", *arguments]
    code: Any = 99
    try:
        world_of(world)()
        main(arguments, prog_name="kernelcalc")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    # as the interpreter does at its end
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        code = 120
    return code


def forked(world: str, arguments: list[str], folder: str) -> tuple[int, str, str]:
    """Exit code (negative: the signal that ended it) and what was written, to pipes."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if child == 0:
        for number, (_, writing) in enumerate(pipes, 1):
            os.dup2(writing, number)
        sys.stdout, sys.stderr = stream(1, "utf-8"), stream(2, "utf-8")
        os._exit(run(world, arguments, folder))
    texts = []
    for reading, writing in pipes:
        os.close(writing)
        with open(reading, "rb") as file:
            texts.append(file.read().decode("utf-8", "replace"))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), texts[0], texts[1]


if __name__ == "__main__":
    tasks = json.loads(Path(sys.argv[1]).read_text())
    with tempfile.TemporaryDirectory() as warm, contextlib.chdir(warm):
        # modules and caches, once for all
        for arguments in {tuple(arguments) for _, world, arguments, _ in tasks if world == "as it should be"}:
            CliRunner().invoke(main, list(arguments))
    print(json.dumps({name: forked(world, arguments, folder) for name, world, arguments, folder in tasks}))
