"""A finite network in NTK parametrisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, NotFiniteError, ShapeError

if TYPE_CHECKING:
    from .hessian import HessianSplit
    from .losses import Loss
    from .moments import HessianMoments
    from .training import Training

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteNetwork:
    r"""A finite network with its parameters.

    .. math::
        α^{(0)} = x, \quad z^{(ℓ+1)} = \frac{σ_w}{\sqrt{n_ℓ}} W^{(ℓ)T} α^{(ℓ)} + β b^{(ℓ)}, \quad
        α^{(ℓ)} = σ(z^{(ℓ)}), \quad f = z^{(L)}

    The flat parameter vector θ (length P) is W⁰ row by row, b⁰, W¹ row by row, b¹, and so on. Biases count as
    parameters also when β = 0.

    Parameters
    ----------
    weights : sequence of L arrays (n_ℓ, n_{ℓ+1})
    biases : sequence of L arrays (n_{ℓ+1},)
    activations : sequence of L − 1 callables
        Each takes and returns an array and has ``derivative(k)``, again a callable.
    sigma_w, beta : float

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

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activations: tuple[Any, ...]
    sigma_w: float = 1.0
    beta: float = 0.1
    scales: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(map(_read_only, self.weights)))
        object.__setattr__(self, "biases", tuple(map(_read_only, self.biases)))
        object.__setattr__(self, "activations", tuple(self.activations))
        depth = len(self.weights)
        if depth < 1 or len(self.biases) != depth or len(self.activations) != depth - 1:
            raise InputError(
                "L weights, L biases and L - 1 activations, L >= 1",
                f"{depth}, {len(self.biases)} and {len(self.activations)}",
            )
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            fits = weight.ndim == 2 and bias.shape == weight.shape[1:]
            fits = fits and (layer == 0 or weight.shape[0] == self.weights[layer - 1].shape[1])
            if not fits:
                raise ShapeError(
                    "weights (n_l, n_l+1) and biases (n_l+1,) that chain",
                    f"{weight.shape}, {bias.shape} at layer {layer}",
                )
        object.__setattr__(self, "scales", tuple(float(self.sigma_w / np.sqrt(w.shape[0])) for w in self.weights))

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
            Number of widths other than hidden layers, a width below 1.
        """
        hidden = len(net.activations)
        sizes = [int(widths)] * hidden if np.ndim(widths) == 0 else [int(w) for w in widths]  # type: ignore[arg-type, union-attr]
        if len(sizes) != hidden:
            raise InputError(f"{hidden} widths, one per hidden layer", f"widths={tuple(sizes)}")
        sizes = [int(n_in), *sizes, int(net.n_out)]
        if min(sizes) < 1:
            raise InputError("widths of at least 1", f"layer sizes {tuple(sizes)}")
        if np.dtype(dtype) not in (np.dtype(np.float64), np.dtype(np.float32)):
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
            sigma_w=float(net.sigma_w),
            beta=float(net.beta),
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
    def parameters(self) -> Array:
        """θ (P,), a copy in the documented order."""
        return np.concatenate([part.ravel() for pair in zip(self.weights, self.biases, strict=True) for part in pair])

    def with_parameters(self, theta: Array) -> FiniteNetwork:
        """The same architecture with parameters θ (P,)."""
        theta = np.asarray(theta)
        if theta.shape != (self.n_parameters,):
            raise ShapeError(f"a parameter vector of shape {(self.n_parameters,)}", f"shape {theta.shape}")
        weights, biases = self.split(theta)
        return FiniteNetwork(
            weights=tuple(weights),
            biases=tuple(biases),
            activations=self.activations,
            sigma_w=self.sigma_w,
            beta=self.beta,
        )

    def split(self, vectors: Array) -> tuple[list[Array], list[Array]]:
        """Views of vectors (..., P): a weight array (..., n_ℓ, n_{ℓ+1}) and a bias array (..., n_{ℓ+1}) a layer."""
        lead, at = vectors.shape[:-1], 0
        weights, biases = [], []
        for w, b in zip(self.weights, self.biases, strict=True):
            weights.append(vectors[..., at : at + w.size].reshape(*lead, *w.shape))
            at += w.size
            biases.append(vectors[..., at : at + b.size])
            at += b.size
        return weights, biases

    def points(self, X: Any) -> Array:
        """X checked: finite, (N, n_in), in the network's number type."""
        x = np.asarray(X, dtype=self.dtype)
        if x.ndim != 2 or x.shape[1] != self.sizes[0] or len(x) == 0:
            raise ShapeError(f"points of shape (N, {self.sizes[0]})", f"shape {x.shape}", "one row a point")
        if not np.isfinite(x).all():
            raise NotFiniteError("finite points", "NaN or infinity")
        return x

    def __call__(self, X: Any) -> Array:
        """Outputs f at the points, (N, n_out)."""
        from .derivatives import forward

        return forward(self, self.points(X)).outputs

    def jacobian(self, X: Any) -> Array:
        """∂f/∂θ, (N, n_out, P)."""
        from .derivatives import jacobian

        return jacobian(self, self.points(X))

    def ntk(self, X: Any, X2: Any = None) -> Array:
        """Empirical NTK ∇f(x)·∇f(x'): (N, M) for one output, else (N, M, n_out, n_out); no array of length P."""
        from .derivatives import ntk

        return ntk(self, self.points(X), None if X2 is None else self.points(X2))

    def hessian_trace(self, X: Any) -> Array:
        """g(x) = Tr Hf(x), exactly, (N, n_out)."""
        from .derivatives import hessian_trace

        return hessian_trace(self, self.points(X))

    def loss(self, X: Any, Y: Any, loss: str | Loss = "mse") -> float:
        """C."""
        from .derivatives import Problem

        return Problem.of(self, X, Y, loss).value(self)

    def gradient(self, X: Any, Y: Any, loss: str | Loss = "mse") -> Array:
        """∂C/∂θ, (P,)."""
        from .derivatives import Problem

        return Problem.of(self, X, Y, loss).gradient(self)

    def curvature(self, X: Any, Y: Any, loss: str | Loss = "mse") -> HessianSplit:
        """H = I + S at the present parameters: products, operators, dense matrices."""
        from .hessian import HessianSplit

        return HessianSplit.of(self, X, Y, loss)

    def hessian(self, X: Any, Y: Any, loss: str | Loss = "mse") -> Array:
        """Dense Hessian of the loss, (P, P)."""
        return self.curvature(X, Y, loss).h.dense()

    def output_hessian(self, X: Any) -> Array:
        """Dense Hessians of every output at every point, (N, n_out, P, P)."""
        from .hessian import output_hessian

        return output_hessian(self, self.points(X))

    def hessian_moments(
        self, X: Any, Y: Any, kmax: int = 4, loss: str | Loss = "mse", **options: Any
    ) -> HessianMoments:
        """Tr I^k, Tr S, Tr S², Tr IS and Tr H^k; see :func:`kernelcalc.finite.moments.hessian_moments`."""
        from .moments import hessian_moments

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
        from .training import train

        return train(self, X, Y, times, loss=loss, method=method, record=record, **options)


def _read_only(array: Any) -> Array:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
