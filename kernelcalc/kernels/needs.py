"""What the formulas of layers read, found by running them on stand-ins for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernelcalc.kernels.layers import Layer, Order
from kernelcalc.kernels.state import plain, turned


class _Record:
    """A stand-in for numbers that remembers what a formula reads of it."""

    def __init__(self, read: set[Any], parts: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._read, self._parts = read, parts or {}

    def __getattr__(self, name: str) -> _Any:
        self._read.update(self._parts.get(name, (name,)))
        return _ANY

    def __getitem__(self, key: Any) -> _Any:
        self._read.add(key)
        return _ANY

    def __call__(self, value: Any) -> _Any:
        return _ANY


class _Any:
    """Any number."""

    def __add__(self, other: Any) -> _Any:
        return self

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__


_ANY = _Any()


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the formula of one kernel reads: of the pairs, of the diagonals at x and at x', and which E_ij."""

    pairs: frozenset[str]
    row: frozenset[str]
    column: frozenset[str]
    orders: frozenset[Order]


def needs(layer: Layer, name: str) -> Needs:
    """What the layer's formula of a kernel, or of its transpose, reads: found by running it on stand-ins.

    Examples
    --------
    >>> from kernelcalc.kernels.layers import Nonlinearity
    >>> found = needs(Nonlinearity("tanh"), "lam_t")
    >>> sorted(found.pairs), sorted(found.column), sorted(found.orders)
    (['lam_t', 'phi_t', 'theta'], ['phi', 'theta'], [(1, 1), (1, 3), (2, 2)])
    """
    if (key := (type(layer), name)) not in _KNOWN_NEEDS:
        _KNOWN_NEEDS[key] = _read(layer, name)
    return _KNOWN_NEEDS[key]


_KNOWN_NEEDS: dict[tuple[type[Layer], str], Needs] = {}


def _read(layer: Layer, name: str) -> Needs:
    pairs: set[str] = set()
    row: set[str] = set()
    column: set[str] = set()
    orders: set[Any] = set()
    kappa = {"kappa": ("theta", "phi")}
    layer.formula(plain(name))(_Record(pairs), _Record(row, kappa), _Record(column, kappa), _Record(orders))
    costs = frozenset(order for order in orders if isinstance(order, tuple))
    if plain(name) == name:
        return Needs(pairs=frozenset(pairs), row=frozenset(row), column=frozenset(column), orders=costs)
    return Needs(
        pairs=frozenset(map(turned, pairs)),
        row=frozenset(column),
        column=frozenset(row),
        orders=frozenset((j, i) for i, j in costs),
    )
