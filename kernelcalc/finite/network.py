"""A finite network in NTK parametrisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite.arrays import FLOATS, AnyArray, finite_array, finite_number, real_array, whole_number

if TYPE_CHECKING:
    from kernelcalc.finite.curvature.hessian import HessianSplit
    from kernelcalc.finite.curvature.moments import HessianMoments
    from kernelcalc.finite.losses import Loss
    from kernelcalc.finite.training import Training


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteNetwork:
    r"""A finite network with its parameters.

    .. math::
        α^{(0)} = x, \quad z^{(ℓ+1)} = \frac{σ_w}{\sqrt{n_ℓ}} W^{(ℓ)T} α^{(ℓ)} + β b^{(ℓ)}, \quad
        α^{(ℓ)} = σ(z^{(ℓ)}), \quad f = z^{(L)}

    The flat parameter vector θ (length P) is W⁰ row by row, b⁰, W¹ row by row, b¹, and so on. Biases count as
    parameters also when β = 0. The arrays given are copied, and kept as read-only.

    Parameters
    ----------
    weights : sequence of L arrays (n_ℓ, n_{ℓ+1})
    biases : sequence of L arrays (n_{ℓ+1},)
        All of one number type, the widest that comes: float32 or float64 (integers become float64).
    activations : sequence of L − 1 callables
        Each takes and returns an array and has ``derivative(k)``, again a callable.
    sigma_w, beta : float
        σ_w > 0.

    Raises
    ------
    InputError
        Numbers of layers that do not fit, other number types, an activation without ``derivative``, σ_w ≤ 0.
    ShapeError
        Layers that do not chain.
    NotFiniteError
        NaN or infinity.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 2 (there σ_w = 1 and β = 0.1).

    Examples
    --------
    A linear network, f = W x / √n_0 + β b:

    >>> import numpy as np
    >>> fin = FiniteNetwork(weights=[np.ones((4, 1))], biases=[np.array([2.0])], activations=[], beta=0.5)
    >>> fin(np.array([[1.0, 2.0, 3.0, 4.0]]))
    array([[6.]])
    """

    weights: tuple[AnyArray, ...]
    biases: tuple[AnyArray, ...]
    activations: tuple[Any, ...]
    sigma_w: float = 1.0
    beta: float = 0.1
    scales: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weights = [real_array(w, "weights") for w in self.weights]
        biases = [real_array(b, "biases") for b in self.biases]
        activations, depth = tuple(self.activations), len(weights)
        if depth < 1 or len(biases) != depth or len(activations) != depth - 1:
            raise InputError(
                "L weights, L biases and L - 1 activations, L >= 1",
                f"{depth}, {len(biases)} and {len(activations)}",
            )
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            fits = weight.ndim == 2 and bias.shape == weight.shape[1:] and weight.size > 0
            fits = fits and (layer == 0 or weight.shape[0] == weights[layer - 1].shape[1])
            if not fits:
                raise ShapeError(
                    "weights (n_l, n_l+1) and biases (n_l+1,) that chain",
                    f"{weight.shape}, {bias.shape} at layer {layer}",
                )
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
        dtype = _float_type(*weights, *biases)
        kept = [_kept(array, dtype) for array in (*weights, *biases)]
        scales = tuple(float(sigma_w / np.sqrt(w.shape[0])) for w in weights)
        given = {"weights": tuple(kept[:depth]), "biases": tuple(kept[depth:]), "activations": activations}
        vars(self).update(given, sigma_w=sigma_w, beta=beta, scales=scales)

    @classmethod
    def random(
        cls,
        net: Any,
        widths: int | Sequence[int] = (64, 64),
        n_in: int = 196,
        rng: Any = 0,
        dtype: Any = np.float64,
    ) -> FiniteNetwork:
        """Parameters drawn iid from N(0, 1).

        Parameters
        ----------
        net : object
            Has ``activations``, ``sigma_w``, ``beta``, ``n_out``.
        widths : int or sequence of int
            n_1..n_{L-1}; one number means that width for every hidden layer.
        n_in : int
            n_0.
        rng : seed or numpy.random.Generator
            float32 networks are the rounded float64 networks of the same seed.
        dtype : float64 or float32
            Number type.

        Raises
        ------
        InputError
            Number of widths other than hidden layers, a width that is not a whole number or below 1.
        """
        sizes = layer_sizes(net, widths, n_in)
        if np.dtype(dtype) not in FLOATS:
            raise InputError("dtype float64 or float32", f"dtype={dtype!r}")
        generator = np.random.default_rng(rng)
        weights, biases = [], []
        for n, m in pairwise(sizes):
            weights.append(generator.standard_normal((n, m)).astype(dtype, copy=False))
            biases.append(generator.standard_normal(m).astype(dtype, copy=False))
        return cls(
            weights=tuple(weights),
            biases=tuple(biases),
            activations=tuple(net.activations),
            sigma_w=net.sigma_w,
            beta=net.beta,
        )

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return (
            f"FiniteNetwork({shape}, P={self.n_parameters}, sigma_w={self.sigma_w:g}, beta={self.beta:g}, {self.dtype})"
        )

    @property
    def depth(self) -> int:
        """L, the number of weight layers."""
        return len(self.weights)

    @property
    def sizes(self) -> tuple[int, ...]:
        """n_0..n_L."""
        return (self.weights[0].shape[0], *(w.shape[1] for w in self.weights))

    @property
    def n_out(self) -> int:
        """n_L."""
        return self.sizes[-1]

    @property
    def n_parameters(self) -> int:
        """P, biases included."""
        return sum(w.size + b.size for w, b in zip(self.weights, self.biases, strict=True))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the parameters."""
        return self.weights[0].dtype

    @property
    def parameters(self) -> AnyArray:
        """θ (P,), a copy in the documented order."""
        return np.concatenate([part.ravel() for pair in zip(self.weights, self.biases, strict=True) for part in pair])

    def with_parameters(self, theta: AnyArray) -> FiniteNetwork:
        """The same architecture with parameters θ (P,), which are copied.

        Raises
        ------
        ShapeError, InputError, NotFiniteError
            Another length, other than real numbers, NaN or infinity.
        """
        theta = real_array(theta, "parameters")
        if theta.shape != (self.n_parameters,):
            raise ShapeError(f"a parameter vector of shape {(self.n_parameters,)}", f"shape {theta.shape}")
        return self._at(_kept(theta, _float_type(theta)))

    def _at(self, theta: AnyArray) -> FiniteNetwork:
        """The same with parameters θ neither copied nor checked, for loops that own θ and do not write to it."""
        weights, biases = self.split(theta)
        for part in (*weights, *biases):
            part.flags.writeable = False
        other = object.__new__(FiniteNetwork)
        vars(other).update(vars(self), weights=tuple(weights), biases=tuple(biases))
        return other

    def split(self, vectors: AnyArray) -> tuple[list[AnyArray], list[AnyArray]]:
        """Views of vectors (..., P): a weight array (..., n_ℓ, n_{ℓ+1}) and a bias array (..., n_{ℓ+1}) a layer."""
        lead, at = vectors.shape[:-1], 0
        weights, biases = [], []
        for w, b in zip(self.weights, self.biases, strict=True):
            weights.append(vectors[..., at : at + w.size].reshape(*lead, *w.shape))
            at += w.size
            biases.append(vectors[..., at : at + b.size])
            at += b.size
        return weights, biases

    def points(self, X: Any) -> AnyArray:
        """X checked: real, finite, (N, n_in), in the network's number type."""
        x = real_array(X, "points")
        if x.ndim != 2 or x.shape[1] != self.sizes[0] or len(x) == 0:
            raise ShapeError(f"points of shape (N, {self.sizes[0]})", f"shape {x.shape}", "one row a point")
        return finite_array(x, "points", self.dtype)

    def __call__(self, X: Any) -> AnyArray:
        """Outputs f at the points, (N, n_out)."""
        from kernelcalc.finite.derivatives import forward

        return forward(self, self.points(X)).outputs

    def jacobian(self, X: Any) -> AnyArray:
        """∂f/∂θ, (N, n_out, P)."""
        from kernelcalc.finite.derivatives import jacobian

        return jacobian(self, self.points(X))

    def ntk(self, X: Any, X2: Any = None) -> AnyArray:
        """Empirical NTK ∇f(x)·∇f(x'): (N, M) for one output, else (N, M, n_out, n_out); no array of length P."""
        from kernelcalc.finite.derivatives import ntk

        return ntk(self, self.points(X), None if X2 is None else self.points(X2))

    def hessian_trace(self, X: Any) -> AnyArray:
        """g(x) = Tr Hf(x), exactly, (N, n_out)."""
        from kernelcalc.finite.derivatives import hessian_trace

        return hessian_trace(self, self.points(X))

    def loss(self, X: Any, Y: Any, loss: str | Loss = "mse") -> float:
        """C."""
        from kernelcalc.finite.derivatives import Problem

        return Problem.of(self, X, Y, loss).value(self)

    def gradient(self, X: Any, Y: Any, loss: str | Loss = "mse") -> AnyArray:
        """∂C/∂θ, (P,)."""
        from kernelcalc.finite.derivatives import Problem

        return Problem.of(self, X, Y, loss).gradient(self)

    def curvature(self, X: Any, Y: Any, loss: str | Loss = "mse") -> HessianSplit:
        """H = I + S at the present parameters: products, operators, dense matrices."""
        from kernelcalc.finite.curvature.hessian import HessianSplit

        return HessianSplit.of(self, X, Y, loss)

    def hessian(self, X: Any, Y: Any, loss: str | Loss = "mse") -> AnyArray:
        """Dense Hessian of the loss, (P, P)."""
        return self.curvature(X, Y, loss).h.dense()

    def output_hessian(self, X: Any) -> AnyArray:
        """Dense Hessians of every output at every point, (N, n_out, P, P)."""
        from kernelcalc.finite.curvature.hessian import output_hessian

        return output_hessian(self, self.points(X))

    def hessian_moments(
        self, X: Any, Y: Any, kmax: int = 4, loss: str | Loss = "mse", **options: Any
    ) -> HessianMoments:
        """Tr I^k, Tr S, Tr S², Tr IS and Tr H^k; see :func:`kernelcalc.finite.curvature.moments.hessian_moments`."""
        from kernelcalc.finite.curvature.moments import hessian_moments

        return hessian_moments(self, X, Y, kmax=kmax, loss=loss, **options)

    def train(
        self,
        X: Any,
        Y: Any,
        times: Any,
        *,
        loss: str | Loss = "mse",
        method: str = "flow",
        record: Callable[[float, FiniteNetwork], Any] | None = None,
        **options: Any,
    ) -> Training:
        """Train from the present parameters; see :func:`kernelcalc.finite.training.train`."""
        from kernelcalc.finite.training import train

        return train(self, X, Y, times, loss=loss, method=method, record=record, **options)


def layer_sizes(net: Any, widths: Any, n_in: Any) -> list[int]:
    """n_0..n_L of an architecture; one number as ``widths`` means that width for every hidden layer.

    Raises
    ------
    InputError
        Number of widths other than hidden layers, a size that is not a whole number or below 1.
    """
    hidden = len(net.activations)
    sizes = [whole_number(size, "widths") for size in ([widths] if np.ndim(widths) == 0 else widths)]
    if np.ndim(widths) == 0:
        sizes *= hidden
    if len(sizes) != hidden:
        raise InputError(f"{hidden} widths, one per hidden layer", f"widths={tuple(sizes)}")
    sizes = [whole_number(n_in, "n_in"), *sizes, whole_number(net.n_out, "n_out")]
    if min(sizes) < 1:
        raise InputError("widths of at least 1", f"layer sizes {tuple(sizes)}")
    return sizes


def _float_type(*arrays: AnyArray) -> np.dtype[Any]:
    """The number type of a network with these parameters."""
    types = [np.dtype(np.float64) if array.dtype.kind in "biu" else array.dtype for array in arrays]
    for dtype in types:
        if dtype not in FLOATS:
            raise InputError("parameters of float64, float32 or integers", f"dtype {dtype}")
    return np.result_type(*types)


def _kept(array: AnyArray, dtype: Any) -> AnyArray:
    """A read-only copy, in C order; a change of the caller's array must not change a network."""
    copy = finite_array(np.array(array, dtype=dtype, order="C"), "parameters", dtype)
    copy.flags.writeable = False
    return copy
