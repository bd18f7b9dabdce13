"""What is given away: sdist and wheel, installed elsewhere and run from another folder; versions and requirements."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import kernelcalc as kc

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | environment
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_contents(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    [sdist] = built.glob("*.tar.gz")
    assert wheel.name == f"kernelcalc-{kc.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        inside = {name for name in file.namelist() if not name.endswith("/")}
    own = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "kernelcalc").rglob("*")
        if path.suffix in (".py", ".npz", ".txt")
    }
    assert {name for name in inside if ".dist-info/" not in name} == own | {"kernelcalc/py.typed"}
    assert wheel.stat().st_size < 2e6
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for needed in (
        "tests/conftest.py",
        "docs/conf.py",
        "notebooks/figure1.py",
        "benchmarks/speed.py",
        "CONTRIBUTING.md",
    ):
        assert needed in names
    assert not [name for name in names if re.search(r"\.venv|__pycache__|\.zarr|docs/notebooks/", name)]


def test_installed_and_run_from_another_folder(built: Path, tmp_path: Path) -> None:
    """Its requirements come from the environment of the tests; the package itself is the wheel's."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    [wheel] = built.glob("*.whl")
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path
    )
    site = next((home / "lib").glob("python3*")) / "site-packages"
    (site / "requirements.pth").write_text(
        next(p for p in sys.path if p.endswith("site-packages")) + "\n", encoding="utf-8"
    )
    where = run(python, "-c", "import kernelcalc; print(kernelcalc.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(home)
    command = home / "bin" / "kernelcalc"
    assert run(command, "--version", cwd=tmp_path).strip() == f"kernelcalc, version {kc.__version__}"
    shown = run(command, "curves", "-n", "20", "-o", "curves.png", cwd=tmp_path, MPLBACKEND="Agg")
    assert shown.splitlines()[-1] == "written: curves.csv curves.png"
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_the_version_stands_once() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == kc.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == kc.__version__
    recipe = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == kc.__version__


def test_the_pythons_named_are_those_that_were_tested() -> None:
    named = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    release = (ROOT / "docs" / "contribute" / "release.md").read_text(encoding="utf-8")
    tested = re.search(r"(3\.\d+) runs all checks; (.*?) passed", release, flags=re.DOTALL)
    assert tested
    assert named == [tested[1], *re.findall(r"(3\.\d+)\.\d+", tested[2])]
    assert PROJECT["requires-python"] == f">={named[0]}"
    assert f"1:-{named[-1]}}}" in (ROOT / ".ci" / "newer").read_text(encoding="utf-8")


def test_the_recipe_asks_for_what_the_package_does() -> None:
    recipe = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    asked = {one.replace(" ", "") for one in recipe["requirements"]["run"]} - {f"python{PROJECT['requires-python']}"}
    assert asked == set(PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    constraints = {one.replace(" ", "").replace("-base", "") for one in recipe["requirements"]["run_constraints"]}
    assert constraints == {*extras["plot"], *extras["table"], *extras["certified"]}
    assert recipe["build"]["python"]["entry_points"] == [f"{k} = {v}" for k, v in PROJECT["scripts"].items()]
