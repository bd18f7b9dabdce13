"""Numbers in files, and what became of them."""

from __future__ import annotations

import math
import platform
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import scipy
import sympy as sp
from groups import GROUPS, MACHINE, dyadic

import kernelcalc as kc


def stored(value: Any) -> np.ndarray:
    """Numbers as float64, everything else as text; numbers of mpmath exactly."""
    array = np.asarray("None" if value is None else value)
    if array.dtype.kind == "O":
        return np.array([text(v) for v in array.ravel()], dtype=np.str_).reshape(array.shape)
    return array if array.dtype.kind == "U" else array.astype(np.float64)


def text(value: Any) -> str:
    """One object as text."""
    if not isinstance(value, mpmath.mpf):
        return str(value)
    mantissa, exponent = (int(part) for part in value.man_exp)
    return dyadic(-mantissa if value < 0 else mantissa, exponent) if mpmath.isfinite(value) else str(value)


def machine() -> list[str]:
    """What the last digits depend on besides the code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    libraries = [f"{module.__name__} {module.__version__}" for module in (np, scipy, sp, mpmath)]
    return [processor, f"Python {platform.python_version()}", *libraries]


def computed(only: str) -> Iterator[tuple[str, dict[str, np.ndarray] | Exception, float]]:
    """Every group's numbers, or what went wrong, and seconds."""
    for name, function in GROUPS.items():
        if only not in name:
            continue
        start = time.perf_counter()
        result: dict[str, np.ndarray] | Exception
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = {key: stored(value) for key, value in function().items()}
        except Exception as error:
            result = error
        yield name, result, time.perf_counter() - start


def store(path: Path, only: str) -> int:
    """Compute and write."""
    arrays: dict[str, Any] = {MACHINE: np.array(machine())}
    for name, result, seconds in computed(only):
        if isinstance(result, Exception):
            raise RuntimeError(f"the group {name!r} cannot be computed") from result
        print(f"{name:<52}{sum(array.size for array in result.values()):>7}{seconds:>8.1f} s", flush=True)
        arrays |= {f"{name}/{key}": array for key, array in result.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"{sum(array.size for array in arrays.values()) - arrays[MACHINE].size} values of {kc.__file__} in {path}")
    return 0


# Comparing


@dataclass
class Difference:
    """How far arrays are apart.

    Attributes
    ----------
    count, equal : int
        Entries, and how many are the same bits.
    scaled, entrywise : float
        Largest difference over the array's largest entry, and over the entry itself; infinite for text that is no number.
    text_differs : bool
        Text differs, or the entries are not those that are stored.
    worst : str
        Where the former is largest.
    """

    count: int = 0
    equal: int = 0
    scaled: float = 0.0
    entrywise: float = 0.0
    text_differs: bool = False
    worst: str = ""

    def add(self, name: str, before: np.ndarray | None, now: np.ndarray | None) -> None:
        """Count another array."""
        if before is None or now is None or before.shape != now.shape or before.dtype.kind != now.dtype.kind:
            kinds = ["missing" if a is None else f"{a.dtype.kind}{a.shape}" for a in (before, now)]
            self.count += max(0 if a is None else a.size for a in (before, now))
            self._widen(f"{name}: {' → '.join(kinds)}", math.inf, math.inf)
            self.text_differs = True
            return
        self.count += before.size
        if before.dtype.kind == "U":
            same = before == now
            self.text_differs |= not same.all()
            self.equal += int(same.sum())
            apart = [text_difference(a, b) for a, b in zip(before[~same].tolist(), now[~same].tolist(), strict=True)]
            self._widen(name, max(apart, default=0.0), max(apart, default=0.0))
            return
        self.equal += int((bits(before) == bits(now)).sum())
        self._widen(name, *float_difference(before, now))

    def _widen(self, name: str, scaled: float, entrywise: float) -> None:
        if scaled > self.scaled or (scaled == self.scaled and entrywise > self.entrywise):
            self.worst = name
        self.scaled, self.entrywise = max(self.scaled, scaled), max(self.entrywise, entrywise)


def bits(values: np.ndarray) -> np.ndarray:
    """Bit patterns, all NaN being one."""
    return np.ascontiguousarray(np.where(np.isnan(values), np.nan, values)).view(np.int64)


def float_difference(before: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """Largest difference over the largest entry, and of single entries; infinite where one side is not finite."""
    finite = np.isfinite(before) & np.isfinite(now)
    if (bits(before)[~finite] != bits(now)[~finite]).any():
        return math.inf, math.inf
    a, b = before[finite], now[finite]
    change = np.abs(b - a)
    moved = change > 0
    if not moved.any():
        return 0.0, 0.0
    with np.errstate(divide="ignore"):
        return float(change.max() / np.abs(a).max()), float((change[moved] / np.abs(a[moved])).max())


def text_difference(before: str, now: str) -> float:
    """Relative difference of two exact numbers; infinite for other text."""
    parts = [re.fullmatch(r"(-?\d+)p(-?\d+)", one) for one in (before, now)]
    if not all(parts):
        return math.inf
    a, b = (Fraction(int(part[1])) * Fraction(2) ** int(part[2]) for part in parts if part)
    return float(abs(b - a) / abs(a)) if a else math.inf


def compare(path: Path, rtol: float, only: str) -> int:
    """Compute, print a table, and return 1 where something changed."""
    with np.load(path, allow_pickle=False) as file:
        kept: dict[str, dict[str, np.ndarray]] = {}
        for key in file.files:
            name, _, part = key.partition("/")
            kept.setdefault(name, {})[part] = file[key]
    about = kept.pop(MACHINE.partition("/")[0])[MACHINE.partition("/")[2]].tolist()
    if about != machine():
        print(f"stored on another machine or with other libraries: {about}, now {machine()}")
    print(f"{kc.__file__} beside {path}\n")
    print(f"{'group':<52}{'values':>7}{'equal':>7}{'scaled':>10}{'entrywise':>11}{'seconds':>9}")
    failed, count, equal = [], 0, 0
    for name, result, seconds in computed(only):
        before, row = kept.pop(name, {}), Difference()
        now = {} if isinstance(result, Exception) else result
        for part in {**before, **now}:
            row.add(part, before.get(part), now.get(part))
        if row.text_differs or row.scaled > rtol:
            failed.append(name)
        note = f"{type(result).__name__}: {result}" if isinstance(result, Exception) else row.worst
        numbers = f"{row.count:>7}{row.equal:>7}{row.scaled:>10.1e}{row.entrywise:>11.1e}{seconds:>9.1f}"
        print(f"{name:<52}{numbers}  {' '.join(note.split())[:120]}".rstrip(), flush=True)
        count, equal = count + row.count, equal + row.equal
    failed += [name for name in kept if only in name]
    print(f"\n{equal} of {count} values are the same bits; {len(failed)} groups differ by more than {rtol:g}")
    for name in failed:
        print(f"  {name}")
    return 1 if failed else 0
