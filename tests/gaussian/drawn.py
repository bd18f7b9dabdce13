"""Functions outer(w (inner(x) − a)) drawn at random, in long double, with the places where they change."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

from tests.fuzz.grammar import moderate

LD = np.longdouble
ROOT2, PI = np.sqrt(LD(2)), LD("3.14159265358979323846264338327950288")


def erfc(u: Any) -> np.ndarray:
    """1 − erf in long double: the series of positive terms up to 2, beyond it Laplace's continued fraction."""
    u = np.asarray(u, LD)
    far = np.abs(u)
    found = np.where(u > 0, 0, LD(2))
    near = far < 2
    found[near] = 1 - _series(u[near])
    for low, high, terms in ((2, 4, 80), (4, 110, 25)):
        there = (far >= low) & (far < high)
        at = far[there]
        below = at
        for n in range(terms, 0, -1):
            below = at + LD(n) / 2 / below
        tail = np.exp(-(at**2)) / (np.sqrt(PI) * below)
        found[there] = np.where(u[there] > 0, tail, 2 - tail)
    return np.where(np.isnan(u), u, found)


def _series(u: np.ndarray) -> np.ndarray:
    square = 2 * u**2
    term, total = u, u
    for n in range(1, 45):
        term = term * square / (2 * n + 1)
        total = total + term
    return 2 / np.sqrt(PI) * np.exp(-(u**2)) * total


def erf(u: Any) -> np.ndarray:
    """As ``erfc``; near 0 to relative accuracy."""
    u = np.asarray(u, LD)
    near = np.abs(u) < 2
    found = np.where(u < 0, LD(-1), 1)
    found[near] = _series(u[near])
    found[~near] = 1 - erfc(u[~near])
    return found


# What may be written, with numbers in long double.
LONG: dict[str, Any] = {
    name: getattr(np, name) for name in ("exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "sinh", "cosh", "tanh")
}
LONG |= {"asinh": np.arcsinh, "arcsinh": np.arcsinh, "atan": np.arctan, "arctan": np.arctan, "abs": np.abs}
LONG |= {"Abs": np.abs, "sign": np.sign, "max": np.maximum, "Max": np.maximum, "min": np.minimum, "Min": np.minimum}
LONG |= {"ln": np.log, "where": np.where, "pi": PI, "e": np.exp(LD(1))}
LONG |= {
    "E": LONG["e"],
    "erf": erf,
    "erfc": erfc,
    "sech": lambda u: 1 / np.cosh(u),
    "sinc": lambda u: np.where(u == 0, 1, np.sin(PI * u) / (PI * np.where(u == 0, 1, u))),
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "softplus": lambda u: np.logaddexp(LD(0), u),
    "relu": lambda u: np.maximum(u, 0),
    "step": lambda u: np.where(u == 0, LD("0.5"), u > 0),
    "Phi": lambda u: erfc(-u / ROOT2) / 2,
    "number": LD,
}
LONG |= {"Heaviside": LONG["step"], "normcdf": LONG["Phi"], "logistic": LONG["sigmoid"]}
LONG |= {"silu": lambda u: u / (1 + np.exp(-u)), "gelu": lambda u: u * erfc(-u / ROOT2) / 2}
LONG |= {"swish": LONG["silu"]}
DIGITS: dict[str, Any] = {
    name: getattr(mp, name) for name in ("exp", "log", "sin", "cos", "sinh", "cosh", "tanh", "erf", "sech", "sqrt")
}
DIGITS |= {
    "arctan": mp.atan,
    "max": max,
    "min": min,
    "abs": abs,
    "sign": mp.sign,
    "sigmoid": lambda u: 1 / (1 + mp.exp(-u)),
    "softplus": lambda u: max(u, 0) + mp.log1p(mp.exp(-abs(u))),
    "relu": lambda u: max(u, 0),
    "step": lambda u: mp.mpf(int(u > 0)),
    "number": mp.mpf,
}
# As the package reads it: as the truth does, and where it has kinks.
OUTER: dict[str, tuple[str, tuple[float, ...]]] = {
    "tanh({})": ("tanh({})", ()),
    "1/cosh({})": ("sech({})", ()),
    "1-tanh({})^2": ("sech({})^2", ()),
    "exp(-({})^2)": ("exp(-({})^2)", ()),
    "1/(1+({})^2)": ("1/(1+({})^2)", ()),
    "sigmoid({})": ("sigmoid({})", ()),
    "erf({})": ("erf({})", ()),
    "softplus({})": ("softplus({})", ()),
    "arctan({})": ("arctan({})", ()),
    "sin({})": ("sin({})", ()),
    "({})^3": ("({})^3", ()),
    "step({})": ("step({})", (0.0,)),
    "relu({})": ("relu({})", (0.0,)),
    "abs({})": ("abs({})", (0.0,)),
    "sign({})": ("sign({})", (0.0,)),
    "max(-1,min(1,{}))": ("max(-1,min(1,{}))", (-1.0, 1.0)),
}
INNER = (
    "x", "tanh(x)", "sigmoid(x)", "exp(x)", "arctan(x)", "sin(x)", "(x^3+x)", "softplus(x)", "x^2", "abs(x)", "erf(x)",
    "exp(-x^2)", "cos(2*x)", "x*sigmoid(x)", "x^3",
)  # fmt: skip
PLAIN = (
    "tanh(x)",
    "relu(x)",
    "x",
    "erf(x)",
    "x^2",
    "sin(3*x)",
    "step(x)",
    "sigmoid(x)",
    "exp(-x^2)",
    "abs(x)",
    "x*tanh(x)",
)
KINDS = {
    "mean": 0.2, "square": 0.2, "line": 0.1, "apart": 0.08, "pair": 0.27, "digits": 0.05, "certified": 0.03, "callable": 0.07,
}  # fmt: skip
# Standard deviations, seconds of a call, nodes of a pair, panels of a function.
REACH, NEAR, SECONDS, MOST_PAIRS, MOST_PANELS = 39, 13, 20.0, 4e7, 4000


class NoTruth(Exception):
    """The panels do not settle: nothing is known of this draw."""


@cache
def compiled(text: str) -> Any:
    return compile(
        re.sub(r"(?<![\w.])(\d[\d_]*\.?\d*(?:e-?\d+)?)", r"number('\1')", text.replace("^", "**")), text, "eval"
    )


def function(text: str, names: dict[str, Any] = LONG) -> Callable[[Any], Any]:
    """A text as a function, not by the parser of the package."""
    return lambda at: eval(compiled(text), {"__builtins__": {}}, {**names, "x": at}) + 0 * at


class Drawn(NamedTuple):
    """f as the package reads it and as the truth does, and inner − a with its kinks at these values."""

    text: str
    truth: str
    inner: str
    scale: float
    kinks: tuple[float, ...] = ()
    within: str = "x"

    @property
    def smooth(self) -> bool:
        return not re.search("step|relu|abs|sign|max|min|where|Heav|Abs|Max|Min", self.text)


def drawn(rng: np.random.Generator, std: float, highest: float = 1e6) -> Drawn:
    """outer(w (inner(x) − a)) with a zero of inner − a some standard deviations out."""
    kind = rng.random()
    within = "x"
    if kind < 0.6:
        inner = str(rng.choice(INNER))
    elif kind < 0.85:
        within = str(rng.choice(INNER[1:]))
        inner = re.sub(r"\bx\b", f"({within})", str(rng.choice(INNER[1:])))
    else:
        inner = moderate(rng)
    outer = str(rng.choice(list(OUTER)))
    w = max(round(2 ** rng.uniform(0, math.log2(highest)) * 8) / 8, 1.0)
    with np.errstate(all="ignore"):
        level = float(function(inner)(LD(rng.normal() * std * rng.choice([1.0, 1.0, 3.0, 8.0]))))
    if not 1e-3 < abs(level) < 1e6:
        level = 0.734375
    a = round(level * 4096) / 4096
    if a in (-1.0, 0.0, 1.0):
        # Where inner ends, long double does not tell a touch from a zero.
        a += 3 / 4096
    shifted = f"({inner}-({a!r}))"
    truth, kinks = OUTER[outer]
    argument = f"{w!r}*{shifted}"
    return Drawn(outer.format(argument), truth.format(argument), shifted, w, kinks, within)


def marks(f: Drawn, std: float) -> np.ndarray:
    """Zeros and turns of inner − a, its kinks and those of outer, in long double."""
    inner, within = function(f.inner), function(f.within)
    reach = REACH * std
    half = np.concatenate(
        [np.linspace(0, reach, 20001), np.linspace(0, min(reach, 8.0), 12001), np.geomspace(1e-9, 1, 300)]
    )
    grid = np.unique(np.concatenate([-half, half])).astype(LD)
    found = [np.zeros(1, LD)]
    levels = sorted({0.0, *f.kinks})
    for call in [*(lambda x, k=k: inner(x) - LD(k) / LD(f.scale) for k in levels), within]:
        sign = np.sign(call(grid))
        k = np.flatnonzero(sign[:-1] * sign[1:] <= 0)
        left, right, at_left = grid[k], grid[k + 1], sign[k]
        for _ in range(70):
            middle = (left + right) / 2
            same = np.sign(call(middle)) == at_left
            left, right = np.where(same, middle, left), np.where(same, right, middle)
        found.append((left + right) / 2)
    values = inner(grid)
    step = np.sign(np.diff(values))
    k = np.flatnonzero(step[:-1] * step[1:] < 0)
    left, right, top = grid[k], grid[k + 2], step[k]
    for _ in range(90):
        one, two = left + (right - left) / 3, right - (right - left) / 3
        up = (inner(two) - inner(one)) * top > 0
        left, right = np.where(up, one, left), np.where(up, right, two)
    found.append((left + right) / 2)
    places = np.unique(np.concatenate(found))
    if places.size > 400:
        raise NoTruth
    return places
