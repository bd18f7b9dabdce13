"""What several packages are tried with, and how a dash of the table is checked."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from functools import lru_cache

import mpmath
import numpy as np

NONE = "–"
X = np.random.default_rng(0).normal(size=(6, 4))
Y = np.sign(X[:, :1])
# posterior mean of the kernel x·x' at the last points, from the others with noise 0.1
POSTERIOR = X[4:] @ X[:4].T @ np.linalg.solve(X[:4] @ X[:4].T + 0.1 * np.eye(4), Y[:4, 0])
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
        except ImportError:  # what another package would be needed for
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


def keeps(kernel: Callable[[object], object]) -> str:
    """Whether numbers of mpmath go through a kernel."""
    try:
        found = np.asarray(kernel(np.vectorize(mpmath.mpf, otypes=[object])(X)))
    except (TypeError, ValueError):
        return NONE
    return NONE if found.dtype != object else "yes"


def trained(theta: np.ndarray, time: float) -> np.ndarray:
    """Mean outputs at the points themselves after a time of gradient flow, by the exponential of Θ."""
    values, vectors = np.linalg.eigh(theta)
    found: np.ndarray = vectors @ ((1 - np.exp(-time * values / len(X)))[:, None] * (vectors.T @ Y))
    return found
