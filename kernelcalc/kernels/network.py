"""A network as a composition of layers: a description that computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sympy import srepr

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import InputError, SmoothnessError, UnknownNameError
from kernelcalc.kernels.construction import check_layers, has_positions
from kernelcalc.kernels.layers import Layer
from kernelcalc.kernels.state import KERNEL_NAMES, KERNELS


@dataclass(frozen=True)
class Refusal:
    """Why a kernel is not there: what was expected, what the network has, what to do."""

    expected: str
    got: str
    hint: str

    def error(self) -> SmoothnessError:
        """The error to raise."""
        return SmoothnessError(self.expected, self.got, self.hint)


def refusals(activations: Sequence[Activation]) -> dict[str, Refusal]:
    """Kernels that these nonlinearities leave undefined."""
    refused: dict[str, Refusal] = {}
    hint = "use a smooth nonlinearity, for example smooth_relu(scale=...), erf, tanh or gelu"
    for act in dict.fromkeys(activations):
        for name, kernel in KERNELS.items():
            if name in refused or act.smoothness >= kernel.smoothness:
                continue
            if kernel.smoothness == 0:
                refused[name] = Refusal(
                    f"a continuous nonlinearity for the kernel {name}", f"{act.name}, which jumps", hint
                )
            else:
                order = int(act.smoothness) + 1
                refused[name] = Refusal(
                    f"a nonlinearity in C⁴ for the kernel {name} (Jacot, Gabriel, Hongler 2020)",
                    f"{act.name}, whose derivative of order {order} jumps",
                    hint,
                )
    return refused


def positive_integer(name: str, value: Any) -> int:
    """A count, as an int.

    Raises
    ------
    InputError
        Not an integer, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"an integer {name} ≥ 1", repr(value))
    return int(value)


@dataclass(frozen=True)
class Network:
    """Layers one after the other, the first and the last of them fresh weights, and the number of outputs.

    Raises
    ------
    InputError
        Layers that do not follow each other so (:func:`~kernelcalc.kernels.construction.check_layers`), or n_out < 1.
    """

    layers: tuple[Layer, ...]
    n_out: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_out", positive_integer("n_out", self.n_out))
        check_layers(self.layers)

    def __getstate__(self) -> dict[str, Any]:
        # equal networks are written alike, whatever they have been asked for
        return {"layers": self.layers, "n_out": self.n_out}

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """Every nonlinearity, in its order."""
        return tuple(act for layer in self.layers for act in layer.activations())

    @cached_property
    def has_positions(self) -> bool:
        """Whether it takes points with positions, (N, positions, channels) or (N, height, width, channels)."""
        return has_positions(self.layers)

    def require_vectors(self, purpose: str) -> None:
        """Refuse networks with positions where these are not known.

        Raises
        ------
        InputError
            For a network with positions.
        """
        if self.has_positions:
            raise InputError(
                f"a network on points (N, n_0) for {purpose}",
                "one with positions",
                "its float64 kernels are net.kernels(X)",
            )

    @cached_property
    def refused(self) -> dict[str, Refusal]:
        """Kernels that the nonlinearities leave undefined."""
        return refusals(self.activations)

    def record(self) -> dict[str, Any]:
        """What the kernels depend on, as JSON values."""
        return {"layers": list(map(repr, self.layers)), "activations": [srepr(act.expr) for act in self.activations]}

    def names(self, only: Sequence[str] | str | None) -> tuple[str, ...]:
        """The kernels asked for, by default all six or as many as the nonlinearities allow.

        Raises
        ------
        InputError, UnknownNameError, SmoothnessError
            No names, a name that is none, a kernel that the nonlinearities leave undefined.
        """
        refused = self.refused
        if only is None:
            return tuple(name for name in KERNEL_NAMES if name not in refused)
        if not isinstance(only, str | list | tuple | set | frozenset):
            raise InputError("kernel names in only=", repr(only))
        names = (only,) if isinstance(only, str) else tuple(dict.fromkeys(only))
        if not names:
            raise InputError("at least one kernel name in only=", "none")
        for name in names:
            if name not in KERNELS:
                raise UnknownNameError("a kernel", name, KERNELS)
            if name in refused:
                raise refused[name].error()
        return names


def check_network(net: Any) -> None:
    """Refuse what is no network.

    Raises
    ------
    InputError
        Anything else than an MLP, or layers in a Sequential.
    """
    if not isinstance(net, Network):
        raise InputError("a network, such as MLP('tanh', depth=3)", type(net).__name__)
