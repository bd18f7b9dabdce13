"""The limiting kernels of one network on data, as one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from kernelcalc.arrays import AnyArray, digest
from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.kernels.network import Refusal
from kernelcalc.kernels.state import KERNELS
from kernelcalc.output.overview import plot_values
from kernelcalc.results.result import Result

# Of a picture in a notebook.
_PIXELS = 360


class LimitingKernels(Result, Mapping[str, AnyArray]):
    """Gram matrices of the limiting kernels of one network, as attributes and as a mapping from their names.

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
        On access of a kernel that was not asked for; where an array is wanted of all kernels at once.
    UnknownNameError
        For ``kernels[name]`` with a name that no kernel has.

    Examples
    --------
    >>> K = LimitingKernels({"sigma": np.eye(2), "theta": 2 * np.eye(2)}, refused={}, title="two points")
    >>> list(K), float(K["theta"][0, 0]), K["theta"] is K.theta
    (['sigma', 'theta'], 2.0, True)

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
        data: Sequence[AnyArray] = (),
    ) -> None:
        for array in arrays.values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        self.arrays = arrays
        self.refused = refused
        self.title = title
        self._data = tuple(data)
        self._make_layers = layers

    def __getitem__(self, name: str) -> AnyArray:
        if name in self.arrays:
            kernel: AnyArray = self.arrays[name]
            return kernel
        if name in self.refused:
            raise self.refused[name].error()
        if name not in KERNELS:
            raise UnknownNameError("a kernel", name, KERNELS)
        raise InputError(f"one of the kernels asked for ({', '.join(self.arrays)})", name, "add it to only=")

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    # a mapping compares its values, and the truth of a comparison of arrays is not defined
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __array__(self, *args: object, **options: object) -> NoReturn:
        raise InputError(
            "one kernel where an array is wanted",
            f"all of them, {', '.join(self.arrays)}",
            "choose one, for example K.theta or K['theta']",
        )

    if not TYPE_CHECKING:
        # rows that were added to the table of kernels; a type checker shall find a misspelt name

        def __getattr__(self, name: str) -> Any:
            if name not in KERNELS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return self[name]

    @property
    def sigma(self) -> AnyArray:
        """NNGP kernel E[f(x) f(x')], (N, M)."""
        return self["sigma"]

    @property
    def theta(self) -> AnyArray:
        """Neural tangent kernel ∇f(x)·∇f(x'), (N, M)."""
        return self["theta"]

    @property
    def phi(self) -> AnyArray:
        """E[g(x) f(x')], (N, M); the row is g's argument."""
        return self["phi"]

    @property
    def lam(self) -> AnyArray:
        """∇g(x)·∇f(x'), (N, M); the row is g's argument."""
        return self["lam"]

    @property
    def upsilon(self) -> AnyArray:
        """Tr(Hf(x) Hf(x')), (N, M)."""
        return self["upsilon"]

    @property
    def xi(self) -> AnyArray:
        """E[g(x) g(x')], (N, M)."""
        return self["xi"]

    @property
    def sigma_dot(self) -> AnyArray:
        """E[σ'(a) σ'(b)] of the last nonlinearity, (N, M)."""
        return self["sigma_dot"]

    @property
    def sigma_ddot(self) -> AnyArray:
        """E[σ''(a) σ''(b)] of the last nonlinearity, (N, M)."""
        return self["sigma_ddot"]

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

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        """The kernels that a file has kept; those after the layers before the last are not among them."""
        return cls(**fields, layers=_not_kept)

    @property
    def origin(self) -> dict[str, Any]:
        if not super().origin:
            self.with_origin(network=str(self.title), data=digest(*self._data) if self._data else None)
        return super().origin

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        return {name: ("row", "column") for name in self}

    def meanings(self) -> dict[str, str]:
        return {name: KERNELS[name].meaning for name in self}

    def scalars(self) -> dict[str, Any]:
        return {"title": str(self.title)}

    def stored(self) -> dict[str, Any]:
        return {"arrays": dict(self.arrays), "refused": dict(self.refused), "title": str(self.title)}

    def plot_small(self, ax: Any) -> None:
        # no more rows and columns than the picture has pixels
        name, step = self.available[0], 1 + max(self.shape) // _PIXELS
        rows, columns = (np.arange(0, size, step) for size in self.shape)
        plot_values(ax, name, self[name][::step, ::step], {"row": rows, "column": columns})

    def __dir__(self) -> list[str]:
        missing = {name for name in KERNELS if name not in self.arrays}
        return sorted((set(super().__dir__()) | set(self.arrays)) - missing)

    def __repr__(self) -> str:
        n, m = self.shape
        return f"LimitingKernels({', '.join(self.available)}; {n} × {m}; {self.title})"


def _not_kept() -> NoReturn:
    raise InputError("kernels that were computed here for .layers", "kernels read from a file", "net.kernels(X).layers")
