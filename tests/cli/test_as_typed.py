"""Command lines in a shell of their own, as they are typed: modules, pipes, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kernelcalc as kc

ROOT = Path(kc.__file__).parents[1]


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line of bash where ``kernelcalc`` is this checkout's."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    here = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    own = 'kernelcalc() { "$PYTHON" -m kernelcalc "$@"; }; set -o pipefail; '
    return subprocess.run(
        [bash, "-c", own + line], cwd=folder, env=here, capture_output=True, text=True, timeout=120, check=False
    )


def test_as_a_module_and_through_pipes(tmp_path: Path) -> None:
    assert shell("kernelcalc --version", tmp_path).stdout == f"kernelcalc, version {kc.__version__}\n"
    value = "import json, sys; print(json.load(sys.stdin)['value'])"
    line = f'kernelcalc expect --f relu --q 1 --c 0 --json - | "$PYTHON" -c "{value}"'
    assert float(shell(line, tmp_path).stdout) == pytest.approx(1 / (2 * np.pi), rel=1e-15)


def test_exit_codes(tmp_path: Path) -> None:
    done = shell(
        "kernelcalc expect --f tnah --q 1 --c 0; echo $?; kernelcalc expect --f tanh --q 1 --c 0 --rtol; echo $?",
        tmp_path,
    )
    assert done.stdout.split() == ["2", "2"]
    assert "did you mean 'tanh'" in done.stderr
    assert "Traceback" not in done.stderr


def test_sorted_iris_from_a_table_with_an_index(tmp_path: Path) -> None:
    """What pandas writes of a data frame: the index is no feature, and every class is held out."""
    pd = pytest.importorskip("pandas")
    datasets = pytest.importorskip("sklearn.datasets")
    iris = datasets.load_iris()
    frame = pd.DataFrame(iris.data, columns=list("abcd")).assign(species=iris.target_names[iris.target])
    frame.to_csv(tmp_path / "iris.csv")
    done = shell(
        "kernelcalc predict --data iris.csv -a erf --depth 2 --scale raw --ridge 1e-3 --networks 0 --json r.json",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first == (
        "iris.csv: 150 points of 4 inputs, columns a, b, c, d; labels: column species, 3 classes; "
        "left out: the index, column 0 without a name"
    )
    assert second == "held out for testing: 30 of 150 points, drawn with seed 0, each class in proportion"
    # on the last fifth, one class, it was 83 %
    accuracy = json.loads((tmp_path / "r.json").read_text())["held_out"]["accuracy"]
    assert accuracy > 0.9
