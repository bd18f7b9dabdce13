"""Weights and biases, as arrays a layer and as one flat vector: what derivatives, curvature and training compute from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np

from kernelcalc.arrays import plain
from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.finite.arrays import FLOATS, AnyArray, finite_array, finite_number, real_array, whole_number


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Parameters:
    """The parameters of a network, with the activations and scales that make outputs of them.

    Attributes and errors are those of :class:`~kernelcalc.finite.network.FiniteNetwork`; ``scales`` are the c_ℓ = σ_w/√n_ℓ.
    """

    weights: tuple[AnyArray, ...]
    biases: tuple[AnyArray, ...]
    activations: tuple[Any, ...]
    sigma_w: float = 1.0
    beta: float = 0.1
    scales: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("weights", "biases", "activations"):
            if not isinstance(getattr(self, name), Iterable):
                raise InputError(f"{name}, one a layer in a sequence", repr(getattr(self, name)))
        weights = [real_array(w, "weights") for w in self.weights]
        biases = [real_array(b, "biases") for b in self.biases]
        activations, depth = tuple(self.activations), len(weights)
        if depth < 1 or len(biases) != depth or len(activations) != depth - 1:
            raise InputError(
                "L weights, L biases and L - 1 activations, L >= 1",
                f"{depth}, {len(biases)} and {len(activations)}",
            )
        _require_chain(weights, biases)
        for activation in activations:
            if not (callable(activation) and callable(getattr(activation, "derivative", None))):
                raise InputError(
                    "activations that can be called and have derivative(k)",
                    repr(activation),
                    "kernelcalc.activation makes such an object of a name, an expression or functions",
                )
        sigma_w, beta = finite_number(self.sigma_w, "sigma_w"), finite_number(self.beta, "beta")
        if sigma_w <= 0:
            raise InputError("sigma_w > 0", f"sigma_w={sigma_w:g}")
        dtype = parameter_type(*weights, *biases)
        kept = [kept_copy(array, dtype) for array in (*weights, *biases)]
        scales = tuple(float(sigma_w / np.sqrt(w.shape[0])) for w in weights)
        given = {"weights": tuple(kept[:depth]), "biases": tuple(kept[depth:]), "activations": activations}
        vars(self).update(given, sigma_w=sigma_w, beta=beta, scales=scales)

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return (
            f"{type(self).__name__}({shape}, P={self.n_parameters}, sigma_w={self.sigma_w:g}, beta={self.beta:g}, "
            f"{self.dtype})"
        )

    @property
    def depth(self) -> int:
        """L, the number of weight layers."""
        return len(self.weights)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """n_0..n_L."""
        return (self.weights[0].shape[-2], *(w.shape[-1] for w in self.weights))

    @property
    def weight_shapes(self) -> tuple[tuple[int, int], ...]:
        """(n_ℓ, n_{ℓ+1}) of every weight array."""
        return tuple(pairwise(self.sizes))

    @property
    def n_out(self) -> int:
        """n_L."""
        return self.sizes[-1]

    @cached_property
    def n_parameters(self) -> int:
        """P, biases included."""
        return sum((n + 1) * m for n, m in self.weight_shapes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the parameters."""
        return self.weights[0].dtype

    @property
    def parameters(self) -> AnyArray:
        """θ (P,), a copy in the documented order."""
        return np.concatenate([part.ravel() for pair in zip(self.weights, self.biases, strict=True) for part in pair])

    def with_parameters(self, theta: AnyArray) -> Self:
        """The same architecture with parameters θ (P,), which are copied.

        Raises
        ------
        ShapeError, InputError, NotFiniteError
            Another length, other than real numbers, NaN or infinity.
        """
        theta = real_array(theta, "parameters")
        if theta.shape != (self.n_parameters,):
            raise ShapeError(f"a parameter vector of shape {(self.n_parameters,)}", f"shape {theta.shape}")
        return self.at(kept_copy(theta, parameter_type(theta)))

    def at(self, theta: AnyArray) -> Self:
        """The same with parameters θ neither copied nor checked, for loops that own θ and do not write to it.

        θ (E, P) makes weights (E, n_ℓ, n_{ℓ+1}) and biases (E, n_{ℓ+1}): E networks, which
        :mod:`kernelcalc.finite.derivatives` runs through in one pass.
        """
        weights, biases = self.split(theta)
        for part in (*weights, *biases):
            part.flags.writeable = False
        return self.holding(weights, biases)

    def holding(self, weights: Iterable[Any], biases: Iterable[Any]) -> Self:
        """The same with these arrays, or what multiplies as they do, as they are."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), weights=tuple(weights), biases=tuple(biases))
        return other

    def each(self) -> list[Self]:
        """The networks of parameters with a leading axis, one by one."""
        parts = zip(zip(*self.weights, strict=True), zip(*self.biases, strict=True), strict=True)
        return [self.holding(weights, biases) for weights, biases in parts]

    def split(self, vectors: AnyArray) -> tuple[list[AnyArray], list[AnyArray]]:
        """Views of vectors (..., P): a weight array (..., n_ℓ, n_{ℓ+1}) and a bias array (..., n_{ℓ+1}) a layer."""
        lead, at = vectors.shape[:-1], 0
        weights, biases = [], []
        for n, m in self.weight_shapes:
            weights.append(vectors[..., at : at + n * m].reshape(*lead, n, m))
            at += n * m
            biases.append(vectors[..., at : at + m])
            at += m
        return weights, biases

    def work(self, points: int) -> int:
        """Multiply-adds of the largest matrix product of one pass with that many points."""
        return points * self._largest

    @cached_property
    def _largest(self) -> int:
        return max(n * m for n, m in self.weight_shapes)

    def points(self, X: Any) -> AnyArray:
        """X checked: real, finite, (N, n_in), in the network's number type.

        Raises
        ------
        InputError
            X is not real.
        ShapeError, NotFiniteError
            X is not (N, n_in), or holds NaN, infinity or what overflows when squared.
        """
        x = real_array(X, "X")
        if x.ndim != 2 or x.shape[1] != self.sizes[0] or len(x) == 0:
            raise ShapeError(f"X of shape (N, {self.sizes[0]})", f"shape {x.shape}", "one row a point")
        points = finite_array(x, "X", self.dtype)
        largest = float(np.abs(points).max(initial=0.0))
        if largest > math.sqrt(float(np.finfo(self.dtype).max) / points.size):
            raise NotFiniteError("points whose squares do not overflow", f"{largest:.3g}", "scale them down")
        return points


def layer_sizes(net: Any, widths: Any, n_in: Any) -> list[int]:
    """n_0..n_L of an architecture; one number as ``widths`` means that width for every hidden layer.

    Raises
    ------
    InputError
        Not a fully connected network, another number of widths than hidden layers, a size that is no whole number above 0.
    """
    if not all(hasattr(net, name) for name in ("sigma_w", "beta", "n_out")):
        raise InputError(
            "a fully connected network, kc.MLP, for finite networks", repr(net), "its limit: net.kernels(X)"
        )
    hidden = len(net.activations)
    given = plain(widths, "widths")
    sizes = [whole_number(size, "widths") for size in np.atleast_1d(given).tolist()]
    if given.ndim == 0:
        sizes *= hidden
    if len(sizes) != hidden:
        raise InputError(f"{hidden} widths, one per hidden layer", f"widths={tuple(sizes)}")
    sizes = [whole_number(n_in, "n_in"), *sizes, whole_number(net.n_out, "n_out")]
    if min(sizes) < 1:
        raise InputError("widths of at least 1", f"layer sizes {tuple(sizes)}")
    return sizes


def _require_chain(weights: list[AnyArray], biases: list[AnyArray]) -> None:
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        fits = weight.ndim == 2 and bias.shape == weight.shape[1:] and weight.size > 0
        fits = fits and (layer == 0 or weight.shape[0] == weights[layer - 1].shape[1])
        if not fits:
            raise ShapeError(
                "weights (n_l, n_l+1) and biases (n_l+1,) that chain",
                f"{weight.shape}, {bias.shape} at layer {layer}",
            )


def parameter_type(*arrays: AnyArray) -> np.dtype[Any]:
    """The number type of a network with these parameters."""
    types = [np.dtype(np.float64) if array.dtype.kind in "biu" else array.dtype for array in arrays]
    for dtype in types:
        if dtype not in FLOATS:
            raise InputError("parameters of float64, float32 or integers", f"dtype {dtype}")
    return np.result_type(*types)


def kept_copy(array: AnyArray, dtype: Any) -> AnyArray:
    """A read-only copy, in C order; a change of the caller's array must not change a network."""
    copy = finite_array(np.array(array, dtype=dtype, order="C"), "parameters", dtype)
    copy.flags.writeable = False
    return copy


def require_network(net: Any) -> None:
    """Refuse what is no finite network.

    Raises
    ------
    InputError
    """
    if not isinstance(net, Parameters):
        hint = "FiniteNetwork.random(net) draws one" if hasattr(net, "layers") else ""
        raise InputError("net, a finite network, such as FiniteNetwork.random(MLP('tanh'))", type(net).__name__, hint)
