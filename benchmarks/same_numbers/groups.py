"""Groups of numbers, and the points that they are computed at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

# Names to numbers or text: scalars, arrays, mpmath numbers.
Numbers: TypeAlias = "dict[str, Any]"
GROUPS: dict[str, Callable[[], Numbers]] = {}
MACHINE = "about/machine"
SMOOTH = ("tanh", "gelu", "erf", "softplus", "sin", "smooth_relu")
NAMED = (*SMOOTH, "relu", "leaky_relu")
# Sides of matrices kept whole, and how many entries are kept of larger ones.
WHOLE, KEPT = 12, 240
CUT = np.random.default_rng(5).random((2, KEPT))


def group(name: str) -> Callable[[Callable[[], Numbers]], Callable[[], Numbers]]:
    """Enter a function that computes numbers under the name of its group."""

    def enter(function: Callable[[], Numbers]) -> Callable[[], Numbers]:
        GROUPS[name] = function
        return function

    return enter


def prefixed(parts: Iterable[tuple[str, Numbers]]) -> Numbers:
    """Numbers of several cases as those of one group."""
    return {f"{case}.{name}": value for case, numbers in parts for name, value in numbers.items()}


def read(result: Any, names: str) -> Numbers:
    """Attributes of a result."""
    return {name: getattr(result, name) for name in names.split()}


def dyadic(mantissa: int, exponent: int) -> str:
    """The text of mantissa · 2^exponent."""
    return f"{mantissa}p{exponent}"


# Points


def cloud(count: int, inputs: int = 5, seed: int = 0) -> np.ndarray:
    """Points of many norms."""
    return np.random.default_rng(seed).standard_normal((count, inputs))


def sphere(count: int, inputs: int = 20, seed: int = 1) -> np.ndarray:
    """Points of one norm."""
    points = cloud(count, inputs, seed)
    return points * (math.sqrt(inputs) / np.linalg.norm(points, axis=1, keepdims=True))


def close_points(count: int) -> np.ndarray:
    """Points among which some are equal, opposite, multiples of each other or apart by 1e-3 to 1e-12."""
    points = cloud(count, 6, seed=2)
    points[1] = points[0]
    points[2] = -points[0]
    points[3] = 2 * points[0]
    points[4] = points[0] * (1 + 1e-12)
    points[5] = points[0] + 1e-6 * points[6]
    points[7] = points[0] + 1e-9 * points[6]
    if count > 8:
        points[8] = points[0] + 1e-3 * points[6]
    return points
