"""The rules of the house: one direction of imports, no circles, private names at home, constants once, readable sizes.

docs/contribute/house.md says what lives where; here it is checked, at any indentation and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import kernelcalc

PACKAGE = Path(kernelcalc.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A folder (or file at the root), and what it may import besides itself.
_GROUND = {"errors", "version", "arrays", "arguments", "machine", "patience"}
_EXPRESSIONS = _GROUND | {"expressions"}
_ACTIVATIONS = _EXPRESSIONS | {"activations"}
_GAUSSIAN = _ACTIVATIONS | {"gaussian", "results", "output"}
_KERNELS = _GAUSSIAN | {"kernels"}
_TRAINING = _KERNELS | {"training"}
_STUDIES = _TRAINING | {"studies", "finite", "datasets"}
ALLOWED = {
    "errors": set(),
    "version": set(),
    "arrays": {"errors"},
    "arguments": {"errors", "arrays"},
    "machine": set(),
    "patience": {"errors"},
    "output": _GROUND,
    "results": _GROUND | {"output"},
    "finite": _GROUND | {"results"},
    "datasets": _GROUND,
    "expressions": _GROUND,
    "activations": _EXPRESSIONS,
    "gaussian": _ACTIVATIONS | {"results"},
    "kernels": _GAUSSIAN,
    "training": _TRAINING,
    "studies": _STUDIES,
    "sklearn": _STUDIES,
    "torch": _KERNELS | {"finite"},
    "cli": _STUDIES | {"cli"},
    "__main__": {"cli"},
}
# What sees theory and finite networks side by side.
BOTH_SIDES = {"studies/validation", "studies/figures", "studies/sagun", "cli"}

LONGEST_FUNCTION, LONGEST_CLASS, LONGEST_FILE = 60, 200, 450


def module_of(path: Path) -> str:
    parts = ("kernelcalc", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imported(source: str, module: str, is_package: bool) -> set[str]:
    """Modules of the package that a source imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "kernelcalc"}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join(filter(None, [*parts[: len(parts) - node.level + 1], node.module or ""]))
            if base.split(".")[0] == "kernelcalc":
                names = {f"{base}.{alias.name}" for alias in node.names}
                found |= names & MODULES.keys() if names <= MODULES.keys() else {base} | (names & MODULES.keys())
    return found


def imports_of(path: Path) -> set[str]:
    return imported(path.read_text(encoding="utf-8"), module_of(path), path.name == "__init__.py")


def room(module: str) -> str:
    """The folder, or the file at the root, that a module belongs to."""
    return ([*module.split("."), "kernelcalc"])[1]


def upwards(module: str, targets: set[str]) -> set[str]:
    """Those of the imports that a module may not have."""
    here = room(module)
    if here == "kernelcalc":
        return set()
    wrong = {t for t in targets if room(t) != here and room(t) not in ALLOWED[here]}
    folder = "/".join(module.split(".")[1:3])
    if here == "studies" and folder not in BOTH_SIDES:
        wrong |= {t for t in targets if room(t) == "finite"}
    return wrong


def test_every_folder_is_in_the_table() -> None:
    rooms = {room(module) for module in MODULES} - {"kernelcalc"}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda p: module_of(p))
def test_imports_point_downwards(path: Path) -> None:
    assert upwards(module_of(path), imports_of(path)) == set()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("kernelcalc.gaussian.expectation", "from kernelcalc.kernels.mlp import MLP"),
        ("kernelcalc.kernels.gram", "def f():\n    import kernelcalc.training.mse"),
        (
            "kernelcalc.finite.network",
            "if TYPE_CHECKING:\n    from kernelcalc.activations.activation import Activation",
        ),
        ("kernelcalc.output.moments", "from ..training.trajectory import Trajectory"),
        ("kernelcalc.studies.phase", "from kernelcalc.finite.network import FiniteNetwork"),
        ("kernelcalc.errors", "from kernelcalc import datasets"),
    ],
)
def test_the_direction_test_can_fail(module: str, line: str) -> None:
    assert upwards(module, imported(line, module, False))


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that import each other (Tarjan's strongly connected components of more than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            group = []
            while group[-1:] != [node]:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def test_no_circle_of_files() -> None:
    assert circles({module: imports_of(path) & MODULES.keys() - {module} for module, path in MODULES.items()}) == []


def test_the_circle_test_can_fail() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def own_imports_in_functions(source: str) -> list[int]:
    return [
        node.lineno
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if (isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "kernelcalc"))
        or (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "kernelcalc" for a in node.names))
    ]


# Where an import inside a function keeps something slow out until it is used: the command line's start, plots, dask.
LAZY = {"cli", "output"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: module_of(p))
def test_imports_of_our_own_stand_at_the_top(path: Path) -> None:
    if room(module_of(path)) not in LAZY:
        assert own_imports_in_functions(path.read_text(encoding="utf-8")) == []


def foreign_private_names(source: str) -> set[str]:
    """Names beginning with "_" that a module takes from elsewhere."""
    tree = ast.parse(source)
    used, own = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names if alias.name.startswith("_")}
        elif isinstance(node, ast.Attribute):
            (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            own.add(node.value)
    return {name for name in used - own if name.startswith("_") and not name.endswith("__")}


# Methods of other libraries that begin with an underscore by their own convention.
CONVENTIONS = {
    "_print",
    "_repr_latex_",
    "_repr_html_",
    "_eval_evalf",
    "_hashable_content",
    "_mpf_",
    "_prec",
    "_to_mpmath",
    "_from_mpmath",
    "_asdict",
    "_exit",
    "_replace",
}


@pytest.mark.parametrize("path", FILES, ids=lambda p: module_of(p))
def test_private_names_stay_at_home(path: Path) -> None:
    assert foreign_private_names(path.read_text(encoding="utf-8")) - CONVENTIONS == set()


def test_a_constant_is_defined_once() -> None:
    places = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            for name in (n for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)):
                if (name.id.isupper() and len(name.id) > 1) or name.id == "Array":
                    places[name.id].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def lines_besides_docstring(node: ast.FunctionDef) -> int:
    first = node.body[0]
    doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
    return node.end_lineno - node.lineno + 1 - doc


def too_long(path: Path) -> list[str]:
    source = path.read_text(encoding="utf-8")
    found = []
    if source.count("\n") > LONGEST_FILE:
        found.append(f"{source.count(chr(10))} lines")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and lines_besides_docstring(node) > LONGEST_FUNCTION:
            found.append(f"{node.name}: {lines_besides_docstring(node)} lines")
        if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno + 1 > LONGEST_CLASS:
            found.append(f"class {node.name}: {node.end_lineno - node.lineno + 1} lines")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: module_of(p))
def test_sizes(path: Path) -> None:
    assert too_long(path) == []


def test_sizes_of_tests() -> None:
    lines = {path.name: path.read_text(encoding="utf-8").count("\n") for path in Path(__file__).parent.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def test_every_folder_says_what_lives_in_it() -> None:
    for folder in {path.parent for path in FILES}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), folder
