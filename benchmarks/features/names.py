"""Whether a package has a public name that would be a feature: how a dash of the table is checked."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from functools import lru_cache

NONE = "–"
# what a name of the feature would contain
LIMITS = r"(?-i:NTK)|\bntk|_ntk|nngp|tangent|arc.?cos|infinite"
WIDTHS = r"width|correction|finite"
FORMULAS = r"symbol|sympy|latex"
CERTIFICATES = r"certif|interval|ball|rigorous|error.?bound"


@lru_cache
def public_names(package: str) -> frozenset[str]:
    """Names of functions, classes, methods and modules of a package, those of its private and test modules left out."""
    found: set[str] = set()
    root = importlib.import_module(package)
    parts = [one.name for one in pkgutil.walk_packages(root.__path__, f"{package}.", onerror=lambda name: None)]
    for name in (package, *parts):
        if re.search(r"\._|\.tests?\b|conftest", name):
            continue
        try:
            module = importlib.import_module(name)
        except Exception:  # what another package would be needed for
            continue
        found.add(name)
        for key, value in vars(module).items():
            home = getattr(value, "__module__", "") or ""
            if key.startswith("_") or inspect.ismodule(value) or home.split(".")[0] != package.split(".")[0]:
                continue
            found.add(key)
            if inspect.isclass(value):
                found |= {f"{key}.{one}" for one in vars(value) if not one.startswith("_")}
    return frozenset(found)


def none_of(package: str, words: str, *known: str) -> str:
    """A dash if no public name contains one of the words, besides names that are known to mean something else."""
    names = {one for one in public_names(package) if re.search(words, one, re.IGNORECASE)}
    names -= {one for one in names if any(re.search(other, one) for other in known)}
    return NONE if not names else f"look at {', '.join(sorted(names))}"
