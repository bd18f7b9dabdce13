"""A virtual environment for packages that the project does not depend on, and a benchmark run inside of it."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_with(script: str, packages: Sequence[str], description: str, compare: Callable[[], int]) -> int:
    """Run ``compare`` of a script in an environment with these packages; its exit status.

    The command line takes ``--keep FOLDER``, which makes the environment there, or uses the one that is there.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--keep", metavar="FOLDER", help="use or make the environment here and keep it")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return compare()
    if arguments.keep:
        return _run_in(Path(arguments.keep), script, packages)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        return _run_in(Path(folder), script, packages)


def _run_in(folder: Path, script: str, packages: Sequence[str]) -> int:
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"installing {', '.join(packages)} ...", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([python, script, "--inside"], env=environment, check=False).returncode
