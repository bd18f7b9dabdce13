"""The limiting kernels of one network on data, as one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from kernelcalc.errors import InputError
from kernelcalc.kernels.network import Refusal
from kernelcalc.kernels.state import KERNELS


class LimitingKernels:
    """Gram matrices of the limiting kernels of one network.

    For one output (all are ⊗ Id over the n_L outputs), with f the network function and g(x) = Tr Hf(x) the trace of its
    Hessian in the parameters:

    Attributes
    ----------
    sigma : ndarray (N, M)
        NNGP kernel E[f(x) f(x')].
    theta : ndarray (N, M)
        Neural tangent kernel ∇f(x)·∇f(x').
    phi : ndarray (N, M)
        E[g(x) f(x')]; not symmetric, the row is g's argument.
    lam : ndarray (N, M)
        ∇g(x)·∇f(x'); not symmetric, the row is g's argument.
    upsilon : ndarray (N, M)
        Tr(Hf(x) Hf(x')).
    xi : ndarray (N, M)
        E[g(x) g(x')].
    sigma_dot, sigma_ddot : ndarray (N, M)
        E[σ'(a) σ'(b)] and E[σ''(a) σ''(b)] of the last nonlinearity, if asked for by name.
    layers : tuple of LimitingKernels
        The same after each layer (computed at first access, which holds as many times the memory); the last one equals this
        object's arrays.

    Raises
    ------
    SmoothnessError
        On access of a kernel that the nonlinearity's kinks leave undefined.
    InputError
        On access of a kernel that was not asked for.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 and Appendix C.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        *,
        refused: Mapping[str, Refusal],
        title: object,
        layers: Callable[[], tuple[LimitingKernels, ...]] | None = None,
    ) -> None:
        for array in arrays.values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        self.arrays = arrays
        self.refused = refused
        self.title = title
        self._make_layers = layers

    def __getattr__(self, name: str) -> Any:
        if name not in KERNELS:
            raise AttributeError(name)
        arrays = self.__dict__.get("arrays", {})
        if name in arrays:
            return arrays[name]
        if name in self.refused:
            raise self.refused[name].error()
        raise InputError(f"one of the kernels asked for ({', '.join(arrays)})", name, "add it to only=")

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M)."""
        n, m = next(iter(self.arrays.values())).shape
        return n, m

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the kernels held here."""
        return tuple(self.arrays)

    @cached_property
    def layers(self) -> tuple[LimitingKernels, ...]:
        """Kernels after layer 1, ..., L."""
        return (self,) if self._make_layers is None else (*self._make_layers()[:-1], self)

    def __repr__(self) -> str:
        n, m = self.shape
        return f"LimitingKernels({', '.join(self.available)}; {n} × {m}; {self.title})"
