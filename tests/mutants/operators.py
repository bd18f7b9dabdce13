"""Which mutants a source has.

The changes are those of mutmut (numbers, texts, arguments, assignments, operators, comparisons, keywords, conditions); a
text is changed once and not once more for each case of letters. Texts of ``__all__``, annotations and docstrings stay.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.UAdd: ast.USub,
    ast.USub: ast.UAdd,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Div,
    ast.MatMult: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Mutant:
    """One change of a source.

    Attributes
    ----------
    number : int
        Its place among all mutants of the source.
    lines : range
        Where the statement stands that is changed, without the block that it opens.
    function : tuple of str and int, optional
        Name (with its classes) and first line of the outermost function around it; None where a module's import runs it.
    before, after : str
        The statement's first line.
    source : ast.Module
        The changed source.
    """

    number: int
    lines: range
    function: tuple[str, int] | None
    before: str
    after: str
    source: ast.Module


def _replaced(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes to stand in a node's place."""
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=(int() | float()) as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value):
            yield ast.Constant(f"XX{value}XX")
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield node.operand
        case ast.UnaryOp(op=op) | ast.BinOp(op=op) | ast.BoolOp(op=op):
            if type(op) in SWAPPED:
                yield _with(node, op=SWAPPED[type(op)]())
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                if type(op) in SWAPPED:
                    yield _with(node, ops=[*ops[:i], SWAPPED[type(op)](), *ops[i + 1 :]])
        case ast.AugAssign(target=target, value=value, op=op):
            if type(op) in SWAPPED:
                yield _with(node, op=SWAPPED[type(op)]())
            yield ast.Assign(targets=[target], value=value)
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            none = isinstance(value, ast.Constant) and value.value is None
            yield _with(node, value=ast.Constant("" if none else None))
        case ast.Lambda(body=body):
            none = isinstance(body, ast.Constant) and body.value is None
            yield _with(node, body=ast.Constant(0 if none else None))
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Break():
            yield ast.Return(value=None)
        case ast.Continue():
            yield ast.Break()
        case ast.Match(cases=cases) if len(cases) > 1:
            for i in range(len(cases)):
                yield _with(node, cases=[*cases[:i], *cases[i + 1 :]])
        case ast.Call():
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    """Every argument once None, once left out."""
    for field in ("args", "keywords"):
        given = getattr(node, field)
        for i, one in enumerate(given):
            if field == "keywords" and one.arg == "strict":
                continue
            plain = field == "keywords" or not isinstance(one, ast.Starred)
            value = one.value if field == "keywords" else one
            if plain and not (isinstance(value, ast.Constant) and value.value is None):
                none = _with(one, value=ast.Constant(None)) if field == "keywords" else ast.Constant(None)
                yield _with(node, **{field: [*given[:i], none, *given[i + 1 :]]})
            if len(node.args) + len(node.keywords) > 1:
                yield _with(node, **{field: [*given[:i], *given[i + 1 :]]})


def _with(node: ast.AST, **changes: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _untouched(node: ast.AST, field: str, child: ast.AST) -> bool:
    """Docstrings, annotations, fixed parts of f-strings, ``__all__``, imports and checks that never fire."""
    return (
        field in ("annotation", "returns")
        or (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))
        or (isinstance(child, ast.Constant) and isinstance(node, ast.JoinedStr))
        or (isinstance(child, ast.keyword) and child.arg == "strict")
        or isinstance(child, ast.Import | ast.ImportFrom)
        or (isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "__all__")
        or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING")
    )


Place = tuple[Callable[[ast.AST], None], ast.AST, ast.stmt, tuple[str, int] | None]


def _places(node: ast.AST, statement: ast.stmt | None, function: tuple[str, int] | None, name: str) -> Iterator[Place]:
    """Every node, with the way to set it, its statement and its outermost function."""
    for field, value in ast.iter_fields(node):
        inside = function
        # decorators and defaults run where the function is made
        if isinstance(node, Function) and field == "body" and function is None:
            inside = (name, min([node.lineno, *(one.lineno for one in node.decorator_list)]))
        for i, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _untouched(node, field, child):
                continue

            def put(new: ast.AST, field: str = field, i: int = i) -> None:
                if isinstance(getattr(node, field), list):
                    getattr(node, field)[i] = new
                else:
                    setattr(node, field, new)

            here = child if isinstance(child, ast.stmt) else statement
            path = name
            if isinstance(child, Function | ast.ClassDef):
                path = f"{name}.{child.name}" if name else child.name
            if here is not None:
                yield put, child, here, inside
            yield from _places(child, here, inside, path)


def _lines(statement: ast.stmt) -> range:
    """Where a statement stands, without the block that it opens."""
    block = getattr(statement, "body", None)
    end = block[0].lineno if isinstance(block, list) and block else (statement.end_lineno or statement.lineno) + 1
    return range(statement.lineno, max(end, statement.lineno + 1))


def _head(node: ast.AST) -> str:
    text = ast.unparse(node).split("\n")
    return next((line for line in text if not line.startswith("@")), text[0])


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a source; each is to be used before the next is asked for, as they share one tree."""
    tree = ast.parse(source)
    number = 0
    for put, node, statement, function in list(_places(tree, None, None, "")):
        before = _head(statement)
        for new in _replaced(node):
            ast.fix_missing_locations(ast.copy_location(new, node))
            put(new)
            now = new if node is statement else statement
            yield Mutant(number, _lines(statement), function, before, _difference(before, _head(now)), tree)
            put(node)
            number += 1


def _difference(before: str, after: str) -> str:
    """The part of the second text that differs from the first, with a little around it."""
    if before == after:
        return "(in a line that belongs to it)"
    start = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    around = 12
    left, right = max(start - around, 0), around
    return f"`{before[left : len(before) - end + right]}` → `{after[left : len(after) - end + right]}`"
