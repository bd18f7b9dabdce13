"""Names and signatures of the front door, as text; ``python -m tests.public_api > tests/public_api.txt`` writes them down."""

import inspect
from types import ModuleType

import kernelcalc as kc

HIDDEN = (inspect.Parameter.empty, inspect.Signature.empty)


def members(module):
    """Public names of a module: those of ``__all__``, or what is defined there."""
    own = [
        n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", "") == module.__name__
    ]
    for name in sorted(getattr(module, "__all__", own)):
        yield name, getattr(module, name)


def signature(function):
    """Without annotations; a default that is a class, or has no text of its own, by its name."""
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return "(...)"
    parameters = []
    for one in found.parameters.values():
        default = one.default
        if isinstance(default, type) and default is not HIDDEN[0]:
            default = _Named(default.__name__)
        elif " at 0x" in repr(default):
            default = _Named(type(default).__name__)
        parameters.append(one.replace(annotation=HIDDEN[0], default=default))
    return str(found.replace(parameters=parameters, return_annotation=HIDDEN[1]))


class _Named:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


def functions():
    """Pairs of the name that a user types and the function or class: the front door, its modules, their classes' methods."""
    for name, value in members(kc):
        full = f"kc.{name}"
        if isinstance(value, ModuleType):
            for part, found in members(value):
                if not isinstance(found, ModuleType):
                    yield f"{full}.{part}", found
        else:
            yield full, value


def methods(name, cls):
    """The same of a class, inherited ones not repeated."""
    for part, raw in sorted(vars(cls).items()):
        found = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        if not part.startswith("_"):
            if callable(found):
                yield f"{name}.{part}{signature(found)}"
            else:
                yield f"{name}.{part}"


def lines():
    """One line a name."""
    for name, found in functions():
        if isinstance(found, type):
            yield name + signature(found)
            if found.__module__.startswith("kernelcalc"):
                yield from methods(name, found)
        elif callable(found):
            yield name + signature(found)
        else:
            yield name


if __name__ == "__main__":
    print("\n".join(lines()))
