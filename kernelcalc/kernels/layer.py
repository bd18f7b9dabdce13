"""What every layer of a network has, and what number types give to its formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arguments import shown
from kernelcalc.errors import InputError
from kernelcalc.kernels.state import DiagonalKernels, PairKernels, plain

Order = tuple[int, int]
Expectations = Mapping[Order, Any]


class Layer:
    """A step from kernels to kernels: a method for each kernel of the table that it defines."""

    fresh: ClassVar[bool] = False
    """Whether its outputs come from weights of its own, so that branches ending in it are uncorrelated."""

    def activations(self) -> Iterator[Activation]:
        """The nonlinearities inside, in their order."""
        yield from ()

    def formula(self, name: str) -> Callable[[Any, Any, Any, Any], Any]:
        """The formula of a kernel.

        Raises
        ------
        InputError
            The layer does not define this kernel.
        """
        found: Callable[[Any, Any, Any, Any], Any] | None = getattr(self, name, None)
        if found is None:
            raise InputError("a kernel that every layer defines", f"{name} behind {type(self).__name__}")
        return found

    def apply(
        self,
        k: PairKernels,
        row: DiagonalKernels,
        column: DiagonalKernels,
        given: Any,
        names: frozenset[str],
        origin: Any = None,
    ) -> PairKernels:
        """The kernels of these names behind the layer."""
        direct, swapped = _by_direction(names)
        out = {name: self.formula(name)(k, row, column, given) for name in direct}
        if swapped:
            other, there = k.transposed(), exchanged(given)
            for name, transpose in swapped:
                out[transpose] = self.formula(name)(other, column, row, there)
        return PairKernels(origin=origin, **out)


@lru_cache(maxsize=256)
def _by_direction(names: frozenset[str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Kernels, and pairs of a kernel and the name of its transpose."""
    direct = tuple(sorted(name for name in names if plain(name) == name))
    return direct, tuple(sorted((plain(name), name) for name in names if plain(name) != name))


def exchanged(given: Any) -> Any:
    """What a number type gives, with x and x' exchanged."""
    return {(j, i): value for (i, j), value in given.items()} if isinstance(given, Mapping) else given


class Unity:
    """A factor 1 of every number type: the other factor itself, so that no array is gone through for it."""

    __array_ufunc__ = None

    def __mul__(self, other: Any) -> Any:
        return other

    __rmul__ = __mul__
    __rtruediv__ = __mul__

    def __pow__(self, power: float) -> Unity:
        return self


UNITY = Unity()


class Zero:
    """A term 0 of every number type: sums are the other term itself, products it; as an array it is a single 0."""

    __array_ufunc__ = None
    shape: tuple[int, ...] = ()

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __rsub__ = __add__

    def __sub__(self, other: Any) -> Any:
        return -other

    def __mul__(self, other: Any) -> Zero:
        return self

    __rmul__ = __truediv__ = __mul__

    def __neg__(self) -> Zero:
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.zeros((), dtype)


ZERO = Zero()


@dataclass(frozen=True, kw_only=True)
class Scales:
    """A dense layer's numbers in one number type: σ_w², β², the rate of its weights, and that of its biases times β²."""

    weight: Any
    bias: Any
    weight_rate: Any = UNITY
    bias_gradient: Any = None


def checked_scale(name: str, value: Any, *, zero: bool) -> float:
    """A finite parameter of a layer; 0 where that is allowed.

    Raises
    ------
    InputError
        No number, negative, too large, or zero where it may not be.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError) as error:
        raise InputError(f"a real number {name}", shown(value)) from error
    if not abs(number) <= 1e30:
        raise InputError(f"a finite {name} below 1e30", shown(value))
    if number < 0 or (number == 0 and not zero):
        raise InputError(f"{name} {'≥' if zero else '>'} 0", shown(value))
    if 0 < number < 1e-30:
        raise InputError(f"{name} of at least 1e-30", shown(value))
    return number
