"""Lint, types, imports and start-up of the whole package."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import kernelcalc as kc

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kernelcalc"
CORE = {"numpy", "scipy", "sympy", "mpmath", "click", "threadpoolctl", "kernelcalc"}
# Optional packages, and where their lazy imports may stand.
EXTRAS = {"matplotlib", "tqdm", "pandas", "xarray", "flint", "numba", "dask", "distributed", "zarr", "torch"}
# Folders for users of one optional package, which all of it imports.
OWN = {"sklearn": "sklearn"}


def run(*command, **options):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", ".")], ids=["lint", "format"]
)
def test_static_checks(command):
    done = run(sys.executable, "-m", *command)
    assert done.returncode == 0, done.stdout + done.stderr


def _imports(path):
    """Pairs (module, whether it stands at the top level of the file)."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(node)
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", node in tree.body


def test_core_imports_only_core_packages_and_extras_lazily():
    for path in PACKAGE.rglob("*.py"):
        for module, top in _imports(path):
            name = module.split(".")[0]
            if path.parent.name == OWN.get(name):
                continue
            assert name in CORE | EXTRAS | set(sys.stdlib_module_names), f"{path}: {module}"
            assert not (top and name in EXTRAS), f"{path}: {module} must be imported where it is used"


def test_user_text_never_reaches_an_evaluator():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and path.name != "parsing.py":
                # SymPy's sympify hands text to eval: parsing.to_sympy does not.
                assert node.attr not in {"sympify", "parse_expr"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert "pickle" not in names, path


def test_import_is_light():
    """Less than 0.5 s of processor time, and no SymPy or SciPy before they are needed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(
        sys.executable, "-c", "import sys, kernelcalc; print(sorted({'sympy', 'scipy', 'click'} & set(sys.modules)))"
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_core_works_without_extras():
    code = f"""
import sys
for name in {sorted(EXTRAS)!r}:
    sys.modules[name] = None
import numpy as np, kernelcalc as kc
K = kc.MLP("tanh").kernels(np.eye(2))
print(kc.mse_moments(K, np.ones(2), [0.0, 1.0]).trace_h.shape)
try:
    kc.mse_moments(K, np.ones(2), [0.0]).plot()
except kc.errors.MissingExtraError as error:
    print(error)
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "(4, 2)" in done.stdout
    assert "pip install 'kernelcalc[plot]'" in done.stdout


def test_public_names():
    for name in kc.__all__:
        assert getattr(kc, name) is not None
    assert set(kc.__all__) <= set(dir(kc))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = kc.nonsense
    assert (PACKAGE / "py.typed").exists()


def test_every_public_function_has_a_docstring():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree) or not tree.body, path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
