"""The package is typed: mypy accepts it, both checkers find the mistakes in a user's script, and pyright counts its types."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kernelcalc as kc

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("user_script.py")
MISTAKES = {i for i, line in enumerate(SCRIPT.read_text().splitlines(), start=1) if "# mistake" in line}
# pyright's count of symbols whose types are known and not left to inference; what is missing are classes of SymPy and click
COMPLETE = 0.99


def run(*command):
    # this checkout is what is looked at, however it was installed; and pyright shall not say that a newer one exists
    here = {**os.environ, "PYTHONPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, "-m", *command]
    return subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, check=False)


def pyright(*options):
    """What pyright says, as JSON."""
    pytest.importorskip("pyright")
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, *options)
    assert done.stdout.startswith("{"), done.stderr
    return json.loads(done.stdout)


def test_mypy_accepts_the_package_and_finds_the_mistakes():
    done = run("mypy")
    assert done.returncode == 0, done.stdout + done.stderr
    found = run("mypy", str(SCRIPT.relative_to(ROOT))).stdout
    errors = [line.split(":") for line in found.splitlines() if ": error:" in line]
    assert {int(number) for _, number, *_ in errors} == MISTAKES, found
    assert len(MISTAKES) == 4


def test_pyright_finds_the_mistakes():
    errors = [one for one in pyright(str(SCRIPT))["generalDiagnostics"] if one["severity"] == "error"]
    assert {one["range"]["start"]["line"] + 1 for one in errors} == MISTAKES, errors


def test_public_types_are_complete():
    score = pyright("--verifytypes", "kernelcalc", "--ignoreexternal")["typeCompleteness"]["completenessScore"]
    assert score >= COMPLETE


def test_the_imports_for_type_checkers_are_what_is_imported():
    """The block under TYPE_CHECKING, executed, gives for every name what lazy loading gives."""
    tree = ast.parse(Path(kc.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom)
        for alias in line.names:
            module = importlib.import_module(line.module)
            value = getattr(module, alias.name, None)
            if value is None:
                value = importlib.import_module(f"{line.module}.{alias.name}")
            seen[alias.asname or alias.name] = value
    assert set(seen) == set(kc.__all__) - {"__version__"}
    for name, value in seen.items():
        assert getattr(kc, name) is value, name
