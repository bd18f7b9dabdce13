"""Which package can do what, every cell by trying: ``python benchmarks/features``, kept in benchmarks/results/features.json.

What can be done is done, and its value compared with another way to it; a dash means that no public name of the package
contains the words of the feature (``names.py``), or that what is handed in (numbers of mpmath) is refused. The peers are
installed into two temporary environments; ``--jax-python`` and ``--torch-python`` take interpreters that have them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
JAX = (
    "neural-tangents==0.6.5", "jax==0.4.23", "jaxlib==0.4.23", "numpy<2", "scipy==1.12", "tf2jax==0.3.6", "tinygp", "mpmath",
)  # fmt: skip
TORCH = ("torch", "gpytorch", "curvlinops-for-pytorch", "pyhessian", "scikit-learn", "mpmath")
DISTRIBUTIONS = {"curvlinops": "curvlinops-for-pytorch"}


def inside(module: str) -> dict[str, dict[str, str]]:
    """Cells of all packages of a module, in this process; and their versions."""
    sys.path.insert(0, str(HERE))
    found = {}
    for package, make in import_module(module).PACKAGES.items():
        cells = make() if callable(make) else make
        found[package] = {feature: check() for feature, check in cells.items()}
        found[package]["version"] = version(DISTRIBUTIONS.get(package, package))
    return found


def elsewhere(python: Path | None, packages: tuple[str, ...], module: str) -> dict[str, dict[str, str]]:
    """The same in an environment of their own."""
    with tempfile.TemporaryDirectory() as folder:
        if python is None:
            venv.create(folder, with_pip=True)
            python = Path(folder, "bin", "python")
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, stdout=sys.stderr)
        command = [str(python), "-W", "ignore", str(HERE), "--inside", module]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Try, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jax-python", type=Path)
    parser.add_argument("--torch-python", type=Path)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(inside(options.inside)))
        return
    from record import Table

    found = inside("ours")
    found |= elsewhere(options.jax_python, JAX, "with_jax") | elsewhere(options.torch_python, TORCH, "with_torch")
    versions = {package: cells.pop("version") for package, cells in found.items() if package != "kernelcalc"}
    del found["kernelcalc"]["version"]
    table = Table("features", {"": ""} | dict.fromkeys(found, ""), packages=("numpy",), others=versions)
    for feature in found["kernelcalc"]:
        table.add(feature, *(cells[feature] for cells in found.values()))


if __name__ == "__main__":
    main()
