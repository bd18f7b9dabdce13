"""Operations of a whole program, counted: ``python benchmarks/counted.py FILE`` or ``-c CODE`` or ``-m MODULE ARGUMENTS``.

The modules of the package are read with every product of arrays, every element-wise operation and every call of NumPy and SciPy
put through counters, which add what the arrays' shapes say; the last line of the output is a JSON object. Counted are the
process itself and no workers.

- A product of matrices: 2 operations for each product of two numbers, 1 in single precision, which takes half the time. A
  decomposition: its usual formula.
- An element-wise operation or a reduction: 1 for each number (a complex one 4), whatever takes it (roots, exponentials); of a
  compiled expression, the operations of its formula.
- Bytes: what an element-wise operation reads and writes, where its result does not stay in the second-level cache.
"""

from __future__ import annotations

import ast
import builtins
import json
import runpy
import sys
from collections import Counter
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import sympy as sp

PACKAGE = "kernelcalc"
CACHED = 2**20
COUNTS: Counter[str] = Counter(products=0, elements=0, bytes=0)
# Methods of arrays that read all their numbers.
REDUCTIONS = {
    "sum",
    "mean",
    "max",
    "min",
    "any",
    "all",
    "prod",
    "cumsum",
    "std",
    "var",
    "copy",
    "astype",
    "take",
    "argsort",
}
# Functions of NumPy that only look, shape or hand out.
FREE = {
    *(
        "asarray",
        "asanyarray",
        "reshape",
        "broadcast_to",
        "broadcast_arrays",
        "empty",
        "empty_like",
        "shape",
        "size",
        "ndim",
    ),
    *(
        "broadcast_shapes",
        "errstate",
        "result_type",
        "dtype",
        "finfo",
        "iinfo",
        "diagonal",
        "transpose",
        "swapaxes",
        "expand_dims",
    ),
    *(
        "atleast_1d",
        "atleast_2d",
        "squeeze",
        "moveaxis",
        "ravel",
        "iscomplexobj",
        "float64",
        "float32",
        "newaxis",
        "isscalar",
    ),
}


def size(value: Any) -> int:
    """Numbers of an array, a complex one counted four times; 0 of anything else."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return 0
    return int(value.size) * (4 if value.dtype.kind == "c" else 1)


def elements(result: Any, *given: Any) -> Any:
    """Count one operation on each number, and its bytes where they leave the cache."""
    arrays = [a for a in (result, *given) if isinstance(a, np.ndarray)]
    COUNTS["elements"] += max(map(size, arrays), default=0)
    if arrays and max(a.nbytes for a in arrays) > CACHED:
        COUNTS["bytes"] += sum(a.nbytes for a in arrays)
    return result


def product(left: Any, right: Any) -> Any:
    """``left @ right``, counted."""
    result = left @ right
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        COUNTS["products"] += operations(result, left)
    return result


def operations(result: Any, left: np.ndarray) -> int:
    """Of a product of matrices."""
    return (1 if left.dtype == np.float32 else 2) * max(size(result), 1) * left.shape[-1]


def decomposed(name: str, result: Any, first: np.ndarray) -> None:
    """Operations of LAPACK's usual algorithms for an n × m matrix (Golub and Van Loan, Matrix Computations)."""
    *stack, n, m = first.shape
    of = {
        "eigh": (4 / 3 + 4) * n**3,
        "eigvalsh": 4 / 3 * n**3,
        "cholesky": n**3 / 3,
        "cho_factor": n**3 / 3,
        "cho_solve": 2 * n**2 * max(1, size(result) // n),
        "solve": 2 / 3 * n**3,
        "inv": 2 * n**3,
        "qr": 4 * max(n, m) * min(n, m) ** 2,
        "svd": 6 * max(n, m) * min(n, m) ** 2,
    }
    COUNTS["products"] += round(of.get(name, 0.0)) * int(np.prod(stack, dtype=int))


def called(function: Callable[..., Any], name: str, *arguments: Any, **options: Any) -> Any:
    """A call of a function of NumPy or SciPy, counted."""
    result = function(*arguments, **options)
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    if name in ("matmul", "dot", "vdot", "inner") and len(arrays) == 2:
        COUNTS["products"] += operations(result, arrays[0])
    elif name == "tensordot" and len(arrays) == 2:
        COUNTS["products"] += round(2 * (size(result) * size(arrays[0]) * size(arrays[1])) ** 0.5)
    elif name == "einsum":
        letters, sizes = arguments[0].split("->")[0].split(","), {}
        if "." not in arguments[0]:
            for part, array in zip(letters, arguments[1:], strict=False):
                sizes.update(zip(part.strip(), array.shape, strict=False))
            _, text = np.einsum_path(*arguments, optimize=options.get("optimize", True))
            flops = next(line for line in text.splitlines() if "Optimized FLOP" in line).split(":")[1]
            COUNTS["products"] += round(float(flops))
    elif "linalg" in (getattr(function, "__module__", None) or "") and arrays and arrays[0].ndim > 1:
        decomposed(name, result, arrays[0])
    elif name not in FREE:
        elements(result if isinstance(result, np.ndarray) else None, *arrays)
    return result


def reduced(value: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """A method of an array that reads all of it, counted; of anything else, called."""
    result = getattr(value, method)(*arguments, **options)
    if isinstance(value, np.ndarray):
        elements(value)
    return result


class Counting(ast.NodeTransformer):
    """The module with counters around its operations."""

    def __init__(self) -> None:
        self.libraries: set[str] = set()

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.libraries |= {
            a.asname or a.name.split(".")[0] for a in node.names if a.name.split(".")[0] in ("numpy", "scipy")
        }
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module and node.module.split(".")[0] in ("numpy", "scipy"):
            self.libraries |= {a.asname or a.name for a in node.names}
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.MatMult):
            return _call("product", node.left, node.right)
        return _call("elements", node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        return _call("elements", node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        target = ast.parse(ast.unparse(node.target), mode="eval").body
        return [node, ast.Expr(_call("elements", target))]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        root = function
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in self.libraries:
            name = function.attr if isinstance(function, ast.Attribute) else root.id
            return _call("called", function, ast.Constant(name), *node.args, keywords=node.keywords)
        if isinstance(function, ast.Attribute) and function.attr in REDUCTIONS:
            return _call("reduced", function.value, ast.Constant(function.attr), *node.args, keywords=node.keywords)
        return node

    # Annotations and patterns stay as they are.
    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        returns, node.returns = node.returns, None
        self.generic_visit(node)
        node.returns = returns
        return node


def _call(name: str, *arguments: ast.expr, keywords: list[ast.keyword] | None = None) -> ast.Call:
    function = ast.Name(f"counted_{name}", ast.Load())
    return ast.Call(function, list(arguments), keywords or [])


class Loader(SourceFileLoader):
    """Reads a module with its counters, without the file of compiled code."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = Counting().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class Finder(MetaPathFinder):
    """Finds the modules of the package for the loader."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname.split(".")[0] == PACKAGE else None
        if found and found.origin and found.origin.endswith(".py"):
            found.loader = Loader(fullname, found.origin)
        return found


def count_formulas() -> None:
    """Functions that are compiled from formulas: each number takes the operations of the formula."""
    plain = sp.lambdify

    def lambdify(arguments: Any, expr: Any, *rest: Any, **options: Any) -> Callable[..., Any]:
        function, each = plain(arguments, expr, *rest, **options), max(1, sp.count_ops(expr))

        def counting(*given: Any) -> Any:
            result = function(*given)
            COUNTS["elements"] += int(each) * max(map(size, given), default=0)
            return result

        return counting

    sp.lambdify = lambdify


def main() -> None:
    """Run the program with its counters."""
    for counter in (product, elements, called, reduced):
        setattr(builtins, f"counted_{counter.__name__}", counter)
    sys.meta_path.insert(0, Finder())
    count_formulas()
    how, *rest = sys.argv[1:]
    try:
        if how == "-c":
            exec(compile(rest[0], "<given>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = rest if how == "-m" else sys.argv[1:]
            runpy.run_module(rest[0], run_name="__main__") if how == "-m" else runpy.run_path(how, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    print(json.dumps(COUNTS))


if __name__ == "__main__":
    main()
