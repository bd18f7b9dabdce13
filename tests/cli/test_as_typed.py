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


def test_data_from_a_pipe(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    line = "printf 'a,b\\n1,2\\n3,5\\n' | kernelcalc kernels -a relu --depth 2 --beta 0 --only sigma,theta --data -"
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/dev/stdin: 2 points of 2 inputs, columns a, b; labels: none\n")
    with np.load(tmp_path / "kernels.npz") as found:
        assert sorted(found.files) == ["sigma", "theta"]
        # E relu(N(0, q))² = q/2 with q = |x|²/2
        np.testing.assert_allclose(np.diag(found["sigma"]), [5 / 4, 34 / 4], rtol=1e-14)


def test_files_that_are_read_are_not_written_over(tmp_path: Path) -> None:
    """Links to them, and tables beside a picture of their name, are theirs too."""
    (tmp_path / "iris.csv").write_text("a,b,class\n1,2,x\n3,5,y\n2,1,x\n")
    (tmp_path / "link.csv").symlink_to("iris.csv")
    before = (tmp_path / "iris.csv").read_text()
    start = "kernelcalc spectrum -a erf --data iris.csv"
    for out in ("-o iris.png", "-o link.csv", "-o x.csv --json iris.csv"):
        done = shell(f"{start} {out}", tmp_path)
        assert done.returncode == 2
        assert "another name than that of a file that is read" in done.stderr
        assert (tmp_path / "iris.csv").read_text() == before
    assert shell(f"{start} -o iris-spectrum.csv", tmp_path).returncode == 0


def test_a_slash_makes_a_folder(tmp_path: Path) -> None:
    done = shell("kernelcalc spectrum -a erf -n 5 --no-png -o run.v1/", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run.v1" / "spectrum.csv").is_file()


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
