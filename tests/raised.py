"""What the pages of the API document, and the errors that are raised in its code or one call further down."""

import ast
import functools
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import kernelcalc as kc

# What a notebook calls to show a result, nobody by hand.
HOOKS = {"plot_small", "small_figure"}
PAGES = Path(__file__).parents[1] / "docs" / "lookup" / "api"


def found(dotted):
    """The object of a dotted name."""
    module, _, name = dotted.rpartition(".")
    try:
        return importlib.import_module(dotted)
    except ImportError:
        return getattr(found(module), name)


def named(options, option):
    given = re.search(rf":{option}: *(\S.*)", options)
    return re.split(r", *", given[1]) if given else []


def parts(name, value):
    """A function; or a class and the methods that it defines."""
    yield name, value, None
    if isinstance(value, type):
        for part, raw in vars(value).items():
            method = getattr(raw, "__func__", raw)
            if not part.startswith("_") and part not in HOOKS and inspect.isfunction(method):
                yield f"{name}.{part}", inspect.unwrap(method), value


def documented():
    """(name, function or class, class it is a method of) of all that autodoc writes on a page."""
    text = "".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("*.md")) if page.stem != "further")
    for kind, dotted, options in re.findall(r"\.\. auto(\w+):: (\S+)\n((?:   :.*\n)*)", text):
        value = found(dotted)
        if kind != "module":
            yield from parts(dotted, value)
            continue
        only, out = named(options, "members"), named(options, "exclude-members")
        for name, one in vars(value).items():
            own = getattr(one, "__module__", "") == dotted and callable(one) and not name.startswith("_")
            if own and name not in out and (not only or name in only):
                yield from parts(f"{dotted}.{name}", one)
    for name in kc.__all__:
        if inspect.isfunction(getattr(kc, name)):
            yield f"kc.{name}", getattr(kc, name), None


@functools.cache
def body(function):
    return list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))


def called(node, function, owner):
    """What of this package a call's name stands for."""
    names = ast.unparse(node.func).split(".")
    if names[0] in ("self", "cls") and owner is not None and len(names) == 2:
        target = inspect.getattr_static(owner, names[1], None)
    else:
        target = function.__globals__.get(names[0])
        for name in names[1:]:
            target = getattr(target, name, None)
    target = inspect.unwrap(getattr(target, "__func__", target))
    return target if str(getattr(target, "__module__", "")).startswith("kernelcalc") else None


def errors(function, owner=None, depth=1):
    """Names of the package's errors that it raises."""
    if isinstance(function, type):
        made = [vars(function)[name] for name in ("__init__", "__post_init__") if name in vars(function)]
        own = [one for one in made if one.__module__ == function.__module__ and inspect.isfunction(one)]
        return {error for one in own for error in errors(one, function, depth)}
    if not inspect.isfunction(function) or "<string>" in function.__code__.co_filename:
        return set()
    raised = set()
    for node in body(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            raised.add(ast.unparse(node.exc.func))
        elif isinstance(node, ast.Call) and depth:
            target = called(node, function, owner)
            if target is not None and not (isinstance(target, type) and issubclass(target, Exception)):
                raised |= errors(target, owner, depth - 1)
    return {name for name in raised if hasattr(kc.errors, name)}


def section(value):
    """The text of a docstring's section Raises, or nothing."""
    text = inspect.getdoc(value) or ""
    match = re.search(r"^Raises\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return match[1] if match else ""
