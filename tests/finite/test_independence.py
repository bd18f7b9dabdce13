"""The finite networks import nothing of the theory that they check."""

import ast
from pathlib import Path

import pytest

import kernelcalc.finite

FOLDER = Path(kernelcalc.finite.__file__).parent
OWN = {path.stem for path in FOLDER.glob("*.py")}


def foreign_imports(source):
    """Modules of the package that a module of ``kernelcalc.finite`` imports from elsewhere, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("kernelcalc.") for alias in node.names if alias.name.startswith("kernelcalc")
            }
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == 1:
                names = {module} if module else {alias.name for alias in node.names}
                found |= {name for name in names if name.split(".")[0] not in OWN}
            elif node.level >= 2 or module.split(".")[0] == "kernelcalc":
                module = module.removeprefix("kernelcalc").removeprefix(".")
                found |= {module} if module else {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] != "finite"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_only_errors_are_shared(path):
    assert foreign_imports(path.read_text(encoding="utf-8")) <= {"errors"}


@pytest.mark.parametrize(
    "line",
    [
        "from ..kernels import LimitingKernels",
        "from .. import kernels",
        "import kernelcalc.kernels",
        "from kernelcalc import kernels",
        "from kernelcalc.kernels import x",
        "def f():\n    from ..kernels import y",
        "from . import kernels",
    ],
)
def test_the_check_can_fail(line):
    assert foreign_imports(line) == {"kernels"}


def test_own_modules_are_not_foreign():
    assert (
        foreign_imports("from .network import x\nfrom . import losses\nfrom kernelcalc.finite.moments import y")
        == set()
    )
