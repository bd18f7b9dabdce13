"""Every command without extras, on an ASCII terminal, with full, closed or unread output or disk, interrupted, killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernelcalc.cli import main
from tests.cli.world import WORLDS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, signals and limits of files")

# the least that each command can be asked for
COMMANDS: dict[str, tuple[str, ...]] = {
    "curves": ("curves", "-a", "erf", "-n", "6", "--times", "0.1:10:3", "--kmax", "2", "-o", "out"),
    "phase": ("phase", "-a", "erf", "--sigma-w-range", "1:2:3", "--beta-range", "0:1:3", "-o", "out"),
    "spectrum": ("spectrum", "-a", "erf", "-n", "6", "-o", "out"),
    "predict": ("predict", "-a", "erf", "-n", "6", "--held-out", "0", "--width", "8", "--json", "p.json"),
    "kernels": ("kernels", "-a", "erf", "--only", "sigma", "-o", "k.npz"),
    "expect": ("expect", "--f", "erf", "--q", "1", "--c", "0.5"),
    "symbolic": ("symbolic", "theta", "-a", "erf", "--depth", "2"),
    "validate": (
        "validate", "-a", "erf", "--depth", "2", "--widths", "4,8", "--trials", "2", "--times", "0", "--workers", "1",
        "-o", "out", "--resume", "trials.jsonl",
    ),
    "figure": ("figure", "1", "-a", "erf", "--width", "4", "--trials", "2", "-n", "4", "--workers", "1", "-o", "out"),
    "sagun": ("sagun", "split", "-n", "6", "--width", "2", "--steps", "2", "-o", "out"),
}  # fmt: skip
# those whose files are all that they are for
WRITING = [name for name in COMMANDS if name not in ("expect", "symbolic")]
# the test of validate may fail at so small a width, and says so with 1
DONE = {name: {0, 1} if name == "validate" else {0} for name in COMMANDS}
# pictures take longest
NO_PICTURE = {name: ("--no-png",) for name in ("curves", "phase", "spectrum", "validate", "sagun")}
WITHOUT_PICTURES = ("ascii", "no output", "nobody reads")
INTERRUPTS = ("SIGINT 0.01", "SIGKILL 0.03")
MANY = tuple(f"{kill} {at:.3f}" for kill in ("SIGINT", "SIGKILL") for at in np.geomspace(0.005, 1.0, 12))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture(scope="module")
def interrupts(long: bool) -> tuple[str, ...]:
    return MANY if long else INTERRUPTS


@pytest.fixture(scope="module")
def came(folders: Path, interrupts: tuple[str, ...]) -> dict[str, tuple[int, str, str]]:
    """Exit code, output and errors of each command in each world; and once more after each signal."""
    tasks = []
    for command, arguments in COMMANDS.items():
        for world in (*WORLDS, *interrupts):
            folder = folders / f"{command} {world}"
            folder.mkdir()
            words = arguments + (NO_PICTURE.get(command, ()) if world in WITHOUT_PICTURES else ())
            tasks.append((f"{command} {world}", world, words, str(folder)))
            if world in interrupts:
                again = (*arguments, *NO_PICTURE.get(command, ()))
                tasks.append((f"{command} {world}, again", "as it should be", again, str(folder)))
    (folders / "tasks.json").write_text(json.dumps(tasks))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.world", str(folders / "tasks.json")],
        env=environment, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: tuple(values) for name, values in json.loads(done.stdout).items()}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def check_whole(path: Path) -> None:
    """A file that can be read from its first to its last byte."""
    match path.suffix:
        case ".csv":
            rows = list(csv.reader(path.read_text().splitlines()))
            assert len(rows) > 1
            assert len({len(row) for row in rows}) == 1
            assert path.read_text().endswith("\n")
        case ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
        case ".npz":
            with np.load(path) as arrays:
                assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
        case ".json":
            assert json.loads(path.read_text())
        case ".jsonl":
            # whole lines, and perhaps the beginning of one more
            assert all(json.loads(line) for line in path.read_text().split("\n")[:-1])
        case _:
            raise AssertionError(f"{path}: what is that?")


def one_line(errors: str) -> bool:
    lines = [line for line in errors.strip().splitlines() if "Warning" not in line and not line.startswith("  ")]
    return len(lines) == 1 and len(lines[0]) > 20


def test_every_command_is_here() -> None:
    # the two that make pictures only, tested in test_report and test_drawing
    assert COMMANDS.keys() == main.commands.keys() - {"report", "again"}


@pytest.mark.parametrize("command", COMMANDS)
def test_as_it_should_be(command: str, came: dict, folders: Path) -> None:
    code, out, _ = came[f"{command} as it should be"]
    assert code in DONE[command]
    assert out
    found = files(folders / f"{command} as it should be")
    assert bool(found) == (command in WRITING)
    for path in found:
        check_whole(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_without_extras(command: str, came: dict, folders: Path) -> None:
    code, _, errors = came[f"{command} without extras"]
    assert "Traceback" not in errors
    if code in DONE[command]:
        for path in files(folders / f"{command} without extras"):
            check_whole(path)
    else:
        assert code == 2
        assert "pip install 'kernelcalc[" in errors
        assert one_line(errors), errors


@pytest.mark.parametrize("command", COMMANDS)
def test_on_an_ascii_terminal(command: str, came: dict) -> None:
    code, out, errors = came[f"{command} ascii"]
    assert code in DONE[command], errors
    # all that is said elsewhere is said here, Greek letters as UTF-8
    assert len(out.splitlines()) == len(came[f"{command} as it should be"][1].splitlines()), out
    assert "Traceback" not in errors


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_is_full(command: str, came: dict) -> None:
    code, _, errors = came[f"{command} full output"]
    assert code == 2, errors
    assert "No space left" in errors
    assert "Traceback" not in errors
    assert one_line(errors), errors


@pytest.mark.parametrize("world", ["no output", "nobody reads"])
@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_goes_nowhere(command: str, world: str, came: dict, folders: Path) -> None:
    """The files are written all the same."""
    code, _, errors = came[f"{command} {world}"]
    assert code in DONE[command], errors
    assert "Traceback" not in errors
    there, here = (
        {path.name for path in files(folders / f"{command} {one}") if path.suffix != ".png"}
        for one in ("as it should be", world)
    )
    assert here == there


@pytest.mark.parametrize("command", WRITING)
def test_a_full_disk(command: str, came: dict, folders: Path) -> None:
    code, _, errors = came[f"{command} small files"]
    assert code == 2, errors
    assert "cannot write" in errors
    assert "Traceback" not in errors
    assert one_line(errors), errors
    # nothing but a file of trials, whose lines are whole
    for path in files(folders / f"{command} small files"):
        assert path.suffix == ".jsonl", path
        check_whole(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_interrupted_or_killed_at_any_moment(
    command: str, came: dict, folders: Path, interrupts: tuple[str, ...]
) -> None:
    for world in interrupts:
        code, _, errors = came[f"{command} {world}"]
        said = f"{world}: {code}, {errors}"
        if "INT" in world and code not in DONE[command]:
            assert code == 130, said
            assert "Interrupted" in errors
            assert one_line(errors), said
        elif code not in DONE[command]:
            assert code == -signal.SIGKILL, said
        folder = folders / f"{command} {world}"
        names = {path.name for path in files(folders / f"{command} as it should be")}
        # the same command goes on from there, and only a kill leaves what was being written, under a name that says so
        assert came[f"{command} {world}, again"][0] in DONE[command], said
        left = [path for path in files(folder) if path.name not in names]
        assert all(path.name.endswith(".unfinished") and "KILL" in world for path in left), said
        assert {path.name for path in files(folder)} >= {name for name in names if not name.endswith(".png")}, said
        for path in files(folder):
            if path not in left:
                check_whole(path)


def test_the_signals_came_in_time(came: dict, interrupts: tuple[str, ...]) -> None:
    """Else the test above would have nothing to say."""
    ended = [came[f"{command} {world}"][0] for command in COMMANDS for world in interrupts]
    assert ended.count(130) >= 4
    assert ended.count(-signal.SIGKILL) >= 4
