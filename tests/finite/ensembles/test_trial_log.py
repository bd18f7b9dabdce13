"""The file of trials: what is refused stays as it was, and one process writes at a time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kernelcalc
from kernelcalc.errors import DataFileError, InputError, OutputFileError
from kernelcalc.finite.ensembles import trial_log
from kernelcalc.finite.ensembles.trials import run_trials

HEADER = {"format": "kernelcalc trials 1", "seed": "(0, (0,))", "settings": {}}
LINE = json.dumps(HEADER).encode() + b"\n"


def draw(seed):
    return {"value": np.random.default_rng(seed).standard_normal(3), "number": 1.0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials.jsonl"


def test_the_format(path):
    """The header above is what the other tests rely on."""
    run_trials(draw, 1, path=path)
    assert path.read_bytes().startswith(LINE)


@pytest.mark.parametrize(
    "content",
    [
        b"keep me",
        b"keep me\n",
        b"keep me\nand me",
        b'{"a": 1}\n{"b": 2}',
        b"\x00\xff\xfe",
        b"\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'{"format": "kernelcalc trials 1"}\n',
        b'{"format": "kernelcalc trials 1", "seed": "(0, (0,))", "settings": []}\n',
        b'{"format": "kernelcalc trials 2", "seed": "(0, (0,))", "settings": {}}\n',
        LINE.replace(b"(0, (0,))", b"(1, (0,))") + b"rest",
        LINE[:20] + b"#",
    ],
    ids=lambda content: content[:40].decode("latin-1"),
)
def test_a_foreign_file_is_refused_and_kept(path, content):
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"trials\.jsonl"):
        run_trials(draw, 1, path=path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("size", [0, 1, 30, len(LINE) - 1])
def test_the_beginning_of_the_own_header_is_written_again(path, size):
    path.write_bytes(LINE[:size])
    run_trials(draw, 1, path=path)
    assert path.read_bytes().startswith(LINE)
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    "row",
    [
        {"trial": 7},
        [1, 2],
        3,
        {"value": [1.0]},
        {"trial": 1.5, "value": [1.0, 2.0, 3.0], "number": 1.0},
        {"trial": True, "value": [1.0, 2.0, 3.0], "number": 1.0},
        {"trial": -1, "value": [1.0, 2.0, 3.0], "number": 1.0},
        {"trial": 1, "value": [1.0, 2.0, 3.0]},
        {"trial": 1, "value": [1.0, 2.0], "number": 1.0},
        {"trial": 1, "value": "text", "number": 1.0},
        {"trial": 1, "value": None, "number": 1.0},
        {"trial": 1, "value": [[1.0], [2.0, 3.0]], "number": 1.0},
        {"trial": 1, "value": {"a": 1}, "number": 1.0},
    ],
    ids=str,
)
def test_other_lines_are_refused_and_kept(path, row):
    content = LINE + b'{"trial": 0, "value": [1.0, 2.0, 3.0], "number": 1.0}\n' + json.dumps(row).encode() + b"\ncut"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"line 3 of .*trials\.jsonl"):
        run_trials(draw, 2, path=path)
    assert path.read_bytes() == content


def test_trials_are_numbers_by_name(path):
    for result in ({}, [1.0], {"value": 1j}, {"value": "a"}, {"trial": 1.0}):
        with pytest.raises(InputError):
            run_trials(lambda seed, result=result: result, 1, path=path)
    run_trials(lambda seed: {"value": 1}, 1, path=path)
    with pytest.raises(InputError, match="from trial 1"):
        run_trials(draw, 2, path=path)
    with pytest.raises(InputError, match="JSON"):
        run_trials(draw, 1, path=path, settings={"a": object()})


def said(call):
    """The whole text of a refusal."""
    with pytest.raises((DataFileError, InputError, OutputFileError)) as caught:
        call()
    return str(caught.value)


def test_another_run_is_told_by_what_differs(path):
    def run(settings, **options):
        return run_trials(draw, 1, path=path, settings=settings, **options)

    run({"width": 3, "depth": 2})
    for settings, names in (
        ({"width": 4, "depth": 2}, "width"),
        ({"width": 4, "depth": 3}, "depth, width"),
        ({"depth": 2}, "width"),
        ({"width": 3, "depth": 2, "beta": 0.1}, "beta"),
    ):
        text = f"expected trials of this run in {path}, got others ({names}); choose another path"
        assert said(lambda settings=settings: run(settings)) == text
    text = f"expected trials of this run in {path}, got others (another seed); choose another path"
    assert said(lambda: run({"width": 3, "depth": 2}, rng=1)) == text
    np.testing.assert_array_equal(run({"depth": 2, "width": 3})["value"], run_trials(draw, 1)["value"])


def test_refusals_say_what_came(path):
    assert said(lambda: run_trials(draw, 1, path=3)) == "expected path, the name of a file or folder, got 3"
    assert (
        said(lambda: run_trials(draw, 1, path=path, settings={"a": {3}})) == "expected settings of JSON values, got {3}"
    )
    assert not path.exists()
    for result, shown in (
        ({}, "{}"),
        ([1.0], "[1.0]"),
        ({"trial": 1.0}, "{'trial': 1.0}"),
        ("x" * 200, "'" + "x" * 99),
    ):
        text = said(lambda result=result: run_trials(lambda seed: result, 1))
        assert text == f"expected numbers and arrays by name (other than 'trial'), got {shown}"
    path.write_bytes(b"hello\n")
    text = f"expected a JSON-lines file of trials, got {path}; choose another path"
    assert said(lambda: run_trials(draw, 1, path=path)) == text
    path.write_bytes(LINE + b"3\n")
    text = f'expected lines {{"trial": number, field: array, ...}}, got line 2 of {path}; choose another path'
    assert said(lambda: run_trials(draw, 1, path=path)) == text
    path.unlink()

    def nested(seed):
        text = f"expected no other process writing to {path}, got a locked file; wait for it to end"
        assert said(lambda: run_trials(draw, 1, path=path)) == text
        return draw(seed)

    run_trials(nested, 1, path=path)


def test_finished_trials_of_a_read_only_file(path, monkeypatch):
    expected = run_trials(draw, 2, path=path)

    def read_only(name, mode, **options):
        if mode != "rb":
            raise PermissionError(13, "Permission denied", str(name))
        return open(name, mode, **options)

    monkeypatch.setattr(trial_log, "open", read_only, raising=False)
    np.testing.assert_array_equal(run_trials(draw, 2, path=path)["value"], expected["value"])
    content, seen = path.read_bytes(), []
    with pytest.raises(OutputFileError, match="only be read"):
        run_trials(lambda seed: seen.append(seed) or draw(seed), 3, path=path)
    assert (path.read_bytes(), seen) == (content, [])


def test_a_full_disk(path, monkeypatch):
    run_trials(draw, 1, path=path)
    content = path.read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputFileError, match="No space left"):
            run_trials(draw, 2, path=path)
    assert path.read_bytes().startswith(content)
    np.testing.assert_array_equal(run_trials(draw, 3, path=path)["value"], run_trials(draw, 3)["value"])


@pytest.mark.skipif(os.name != "posix", reason="limits of files")
@pytest.mark.parametrize("room", [0, 40, len(LINE), len(LINE) + 1, len(LINE) + 60])
def test_a_file_that_may_not_grow_is_left_without_half_a_line(path, room):
    """Like a full disk: a write takes what there is room for, the next one fails."""
    import resource

    # the first line of draw's trials is longer than 60 bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OutputFileError, match=r"cannot write .*trials\.jsonl"):
            run_trials(draw, 2, path=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == (LINE if room >= len(LINE) else b"")
    np.testing.assert_array_equal(run_trials(draw, 2, path=path)["value"], run_trials(draw, 2)["value"])


def test_a_kill_at_any_byte(path):
    """Lines are appended in order, so a killed write leaves a beginning of the file: resumed from every one of them."""

    def short(seed):
        return {"value": np.random.default_rng(seed).standard_normal()}

    expected = run_trials(short, 2, path=path)
    content, seen = path.read_bytes(), []
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        run = []
        found = run_trials(lambda seed, run=run: run.append(seed) or short(seed), 2, path=path)
        np.testing.assert_array_equal(found["value"], expected["value"])
        assert path.read_bytes() == content
        seen.append(len(run))
    # every trial that is whole is kept
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    assert seen == [2] * ends[1] + [1] * (ends[2] - ends[1]) + [0]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(OutputFileError):
        run_trials(draw, 1, path=tmp_path)


SCRIPT = """
import os, sys, time
from pathlib import Path
import numpy as np
from kernelcalc.finite.ensembles.trials import run_trials

def trial(seed):
    if seed.spawn_key[0] > 0:
        Path(sys.argv[1], f"worker-{os.getpid()}").touch()
        time.sleep(300)
    return {"value": np.random.default_rng(seed).standard_normal(3), "number": 1.0}

if __name__ == "__main__":
    run_trials(trial, 3, workers=2, path=Path(sys.argv[1], "trials.jsonl"))
"""


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="signals and file locks")
@pytest.mark.parametrize("kill", ["SIGKILL", "SIGTERM"])
def test_a_killed_process_takes_its_workers_and_its_lock_along(tmp_path, path, kill):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = str(Path(kernelcalc.__file__).parents[1])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"},
    )

    def workers():
        return [int(one.name.removeprefix("worker-")) for one in tmp_path.glob("worker-*")]

    try:
        wait_for(lambda: len(workers()) == 2 and path.read_bytes().count(b"\n") == 2, 60)
        content = path.read_bytes()
        with pytest.raises(DataFileError, match="no other process writing to"):
            run_trials(draw, 2, path=path)
        assert path.read_bytes() == content
        parent.send_signal(getattr(signal, kill))
        # the pipe ends when the last process that has it ends
        parent.communicate(timeout=20)
    finally:
        parent.kill()
        for worker in workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        parent.communicate(timeout=20)
    np.testing.assert_array_equal(run_trials(draw, 2, path=path)["value"], run_trials(draw, 2)["value"])


def test_one_file_has_one_run_at_a_time_in_a_process_as_well(path):
    def nested(seed):
        with pytest.raises(DataFileError, match="no other process"):
            run_trials(draw, 1, path=path)
        return draw(seed)

    run_trials(nested, 1, path=path)


def test_without_file_locks(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert run_trials(draw, 2, path=path)["value"].shape == (2, 3)


MANY = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from kernelcalc.finite.ensembles.trials import run_trials

def trial(seed):
    time.sleep(0.03)
    return {"value": np.random.default_rng(seed).standard_normal(200), "number": 1.0}

if __name__ == "__main__":
    Path(sys.argv[3]).touch()
    print(json.dumps(run_trials(trial, 12, workers=int(sys.argv[2]), path=sys.argv[1])["value"].tolist()))
"""


def many(seed):
    return {"value": np.random.default_rng(seed).standard_normal(200), "number": 1.0}


def started(script, *arguments, **options):
    folder = str(Path(kernelcalc.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"},
        # a shell's background job, which these tests may be, ignores interrupts, and its children with it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_interrupted_at_random_moments(tmp_path, path, workers):
    script, rng = tmp_path / "script.py", np.random.default_rng(workers)
    script.write_text(MANY)
    kept, kills, ready = b"", 0, tmp_path / "ready"
    for kill in [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGKILL, None]:
        ready.unlink(missing_ok=True)
        process = started(script, path, workers, ready)
        if kill is not None:
            # importing takes longest
            wait_for(ready.exists, 60)
            time.sleep(rng.uniform(0, 0.3) + (workers > 1) * rng.uniform(0, 0.6))
            process.send_signal(kill)
        output, errors = process.communicate(timeout=60)
        content = path.read_bytes() if path.exists() else b""
        # finished lines stay as they were; a kill leaves no more than the beginning of one more
        assert content.startswith(kept), errors
        kept = content[: content.rfind(b"\n") + 1]
        kills += process.returncode != 0
        assert process.returncode in (0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT), errors
    assert process.returncode == 0, errors
    assert kills > 0
    np.testing.assert_array_equal(json.loads(output), run_trials(many, 12)["value"])
    assert sorted(json.loads(line)["trial"] for line in kept.splitlines()[1:]) == list(range(12))


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("to_all", [False, True], ids=["the parent", "the group, as the keyboard does"])
def test_an_interrupt_does_not_wait_for_running_trials(tmp_path, path, to_all):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = started(script, tmp_path, start_new_session=True)
    try:
        wait_for(lambda: len(list(tmp_path.glob("worker-*"))) == 2 and path.read_bytes().count(b"\n") == 2, 60)
        (os.killpg if to_all else os.kill)(parent.pid, signal.SIGINT)
        # trials sleep for 300 s; the pipes end when the last process ends
        _, errors = parent.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate(timeout=20)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1, errors
    np.testing.assert_array_equal(run_trials(draw, 2, path=path)["value"], run_trials(draw, 2)["value"])


IMPORTING = """
import sys, time
from functools import partial
from pathlib import Path

if __name__ == "__mp_main__":
    (Path(sys.argv[1]) / "importing").touch()
    time.sleep(0.5)

def draw(weight, seed):
    time.sleep(300)

if __name__ == "__main__":
    from kernelcalc.finite import run_trials
    run_trials(partial(draw, bytes(10**6)), 60, workers=2)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_while_workers_import(tmp_path):
    """They would end with a traceback each, and the pool wait for ever for what the first never reads."""
    script = tmp_path / "script.py"
    script.write_text(IMPORTING)
    parent = started(script, tmp_path, start_new_session=True)
    try:
        wait_for((tmp_path / "importing").exists, 60)
        os.killpg(parent.pid, signal.SIGINT)
        _, errors = parent.communicate(timeout=20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1, errors
