"""Worker processes of scripts as people write them: from standard input, without a guard, and killed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kernelcalc
from kernelcalc.errors import WorkerError
from kernelcalc.finite.ensembles.trials import run_trials

ROOT = Path(kernelcalc.__file__).parents[1]
SCRIPT = """
import numpy as np
from kernelcalc.finite import run_trials


def draw(seed):
    return {"value": np.random.default_rng(seed).standard_normal()}


print(run_trials(draw, 3, workers=2)["value"].tolist())
"""


def draw(seed):
    return {"value": np.random.default_rng(seed).standard_normal()}


def end(seed):
    os._exit(3)


def python(*arguments, **options):
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *map(str, arguments)], env=here, capture_output=True, text=True, **options)


def test_a_script_from_standard_input_has_its_trials_in_one_process():
    done = python("-", input=SCRIPT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run_trials(draw, 3)["value"].tolist())
    assert "<stdin>:10: UserWarning: the script has no file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = python(path, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("kernelcalc.errors.WorkerError: a worker process ended")
    assert 'under if __name__ == "__main__":' in last
    # the workers say one line each, and no traceback of spawning
    assert "bootstrapping" not in done.stderr


def test_a_killed_worker_is_named():
    with pytest.raises(WorkerError, match="ended before its trial was done") as caught:
        run_trials(end, 3, workers=2)
    assert isinstance(caught.value, RuntimeError)
