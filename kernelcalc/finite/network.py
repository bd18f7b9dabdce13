"""A finite network in NTK parametrisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kernelcalc.arguments import random_generator
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError
from kernelcalc.finite import derivatives
from kernelcalc.finite.arrays import AnyArray, float_type
from kernelcalc.finite.composition import Architecture, LayeredForward, LayeredParameters
from kernelcalc.finite.curvature.hessian import HessianSplit, output_hessian
from kernelcalc.finite.curvature.moments import HessianMoments, hessian_moments
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.layers import Dense, Serial
from kernelcalc.finite.losses import Loss
from kernelcalc.finite.parameters import Parameters, layer_sizes
from kernelcalc.finite.training import Training, train
from kernelcalc.results.result import seed_of


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FiniteNetwork(Parameters):
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
            Has ``activations``, ``sigma_w``, ``beta``, ``n_out``; or ``layers`` and ``n_out``, each layer known by the name
            of its class and its attributes, which makes a :class:`LayeredNetwork`.
        widths : int or sequence of int
            n_1..n_{L-1}; one number means that width for every hidden layer. With ``layers``: the units of every Dense and
            Conv but the last, in order, branches included.
        n_in : int or sequence of int
            n_0; with positions, the shape of a point, channels last.
        rng : seed or numpy.random.Generator
            float32 networks are the rounded float64 networks of the same seed.
        dtype : float64 or float32
            Number type.

        Raises
        ------
        InputError
            Number of widths other than hidden layers, a width that is not a whole number or below 1.
        """
        if not hasattr(net, "sigma_w"):
            return LayeredNetwork.random(net, widths, n_in, rng, dtype)
        sizes = layer_sizes(net, widths, n_in)
        dtype = float_type(dtype)
        generator = random_generator(rng)
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

    def __call__(self, X: Any) -> AnyArray:
        """Outputs f at the points, (N, n_out)."""
        return derivatives.forward(self, self.points(X)).outputs

    def jacobian(self, X: Any) -> AnyArray:
        """∂f/∂θ, (N, n_out, P).

        Raises
        ------
        ShapeError, NotFiniteError
            X is not (N, n_in), or holds NaN or infinity.
        """
        return derivatives.jacobian(self, self.points(X))

    def ntk(self, X: Any, X2: Any = None) -> AnyArray:
        """Empirical NTK ∇f(x)·∇f(x'): (N, M) for one output, else (N, M, n_out, n_out); no array of length P.

        Raises
        ------
        ShapeError, NotFiniteError
            X is not (N, n_in), or holds NaN or infinity.
        """
        return derivatives.ntk(self, self.points(X), None if X2 is None else self.points(X2))

    def hessian_trace(self, X: Any) -> AnyArray:
        """g(x) = Tr Hf(x), exactly, (N, n_out).

        Raises
        ------
        ShapeError, NotFiniteError
            X is not (N, n_in), or holds NaN or infinity.
        """
        return derivatives.hessian_trace(self, self.points(X))

    def loss(self, X: Any, Y: Any, loss: str | Loss = "mse") -> float:
        """C."""
        return Problem.of(self, X, Y, loss).value(self)

    def gradient(self, X: Any, Y: Any, loss: str | Loss = "mse") -> AnyArray:
        """∂C/∂θ, (P,)."""
        return Problem.of(self, X, Y, loss).gradient(self)

    def curvature(self, X: Any, Y: Any, loss: str | Loss = "mse") -> HessianSplit:
        """H = I + S at the present parameters: products, operators, dense matrices."""
        return HessianSplit.of(self, X, Y, loss).with_origin(**self._origin(X, Y))

    def hessian(self, X: Any, Y: Any, loss: str | Loss = "mse") -> AnyArray:
        """Dense Hessian of the loss, (P, P)."""
        return self.curvature(X, Y, loss).h.dense()

    def output_hessian(self, X: Any) -> AnyArray:
        """Dense Hessians of every output at every point, (N, n_out, P, P).

        Raises
        ------
        ShapeError, NotFiniteError
            X is not (N, n_in), or holds NaN or infinity.
        """
        return output_hessian(self, self.points(X))

    def hessian_moments(
        self, X: Any, Y: Any, loss: str | Loss = "mse", kmax: int = 4, **options: Any
    ) -> HessianMoments:
        """Tr I^k, Tr S, Tr S², Tr IS and Tr H^k; see :func:`kernelcalc.finite.curvature.moments.hessian_moments`.

        Raises
        ------
        ShapeError, NotFiniteError
            X or Y that do not fit the network, or hold NaN or infinity.
        InputError
            ``kmax`` < 1.
        UnknownNameError
            Another loss.
        """
        found = hessian_moments(self, X, Y, loss, kmax, **options)
        return found.with_origin(**self._origin(X, Y), seed=seed_of(options.get("rng", 0)))

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
    ) -> Training[FiniteNetwork]:
        """Train from the present parameters; see :func:`kernelcalc.finite.training.train`.

        Raises
        ------
        ShapeError, NotFiniteError
            X or Y that do not fit the network, or hold NaN or infinity.
        InputError
            Times that decrease or are negative.
        UnknownNameError
            Another loss or method.
        IntegrationError
            The flow cannot be followed, or a step diverges.
        """
        run = train(self, X, Y, times, loss=loss, method=method, record=record, **options)
        return run.with_origin(**self._origin(X, Y), seed=seed_of(options.get("rng", 0)))

    def _origin(self, X: Any, Y: Any) -> dict[str, Any]:
        return {"network": repr(self), "data": digest(X, Y)}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LayeredNetwork(LayeredParameters, FiniteNetwork):
    r"""A finite network of any composition of layers, with its parameters.

    Each Dense has :math:`z = \frac{σ_w}{\sqrt n} W^T α + βb`, each Conv :math:`z_p = \frac{σ_w}{\sqrt{nk}} Σ_o W_o^T
    α_{sp+o} + βb` with k offsets (the same k where zeros pad), W of shape (k n, m), offset by offset. LayerNorm takes away
    the mean over a position's units and divides by what is left in root mean square, without parameters.

    The flat parameter vector θ is W row by row, then b, of one Dense or Conv after the other, in the order of the
    composition. Made by ``FiniteNetwork.random(net, ...)``; what it can be asked is what a :class:`FiniteNetwork` can be.

    Notes
    -----
    Tr S² and Tr I S take P products with the Hessian, or with many parameters ``probes`` random ones and a standard error.

    Examples
    --------
    >>> import kernelcalc as kc
    >>> net = kc.Sequential(kc.layers.Conv(3), "tanh", kc.layers.Flatten(), kc.layers.Dense())
    >>> fin = FiniteNetwork.random(net, widths=4, n_in=(5, 2), rng=0)
    >>> fin(np.zeros((3, 5, 2))).shape, fin.n_parameters
    ((3, 1), 49)
    """

    @classmethod
    def random(
        cls, net: Any, widths: int | Sequence[int] = 64, n_in: Any = 196, rng: Any = 0, dtype: Any = np.float64
    ) -> LayeredNetwork:
        """See :meth:`FiniteNetwork.random`."""
        made, dtype, generator = Architecture.of(net, widths, n_in), float_type(dtype), random_generator(rng)
        weights, biases = [], []
        for n, m in made.sizes:
            weights.append(generator.standard_normal((n, m)).astype(dtype, copy=False))
            biases.append(generator.standard_normal(m).astype(dtype, copy=False))
        return cls(weights=tuple(weights), biases=tuple(biases), activations=tuple(net.activations), architecture=made)

    def ntk(self, X: Any, X2: Any = None) -> AnyArray:
        """Empirical NTK ∇f(x)·∇f(x'): (N, M) for one output, else (N, M, n_out, n_out)."""
        left = self.jacobian(X)
        right = left if X2 is None else self.jacobian(X2)
        found = np.einsum("sap,tbp->stab", left, right, optimize=True)
        return np.asarray(found[..., 0, 0] if self.n_out == 1 else found)

    def hessian_trace(self, X: Any) -> AnyArray:
        """g(x) = Tr Hf(x), exactly, (N, n_out): value, tangent kernel and Laplacian of every unit, layer by layer."""
        run = derivatives.forward(self, self.points(X))
        assert isinstance(run, LayeredForward)
        return run.hessian_trace()

    def directional(self, X: Any, directions: AnyArray) -> AnyArray:
        """∇f_a(x_s)·v for directions v (V, P) in parameter space, (V, N, n_out)."""
        run = derivatives.forward(self, self.points(X))
        assert isinstance(run, LayeredForward)
        still = np.zeros((len(directions), *run.x.shape), dtype=self.dtype)
        return run.root.tangent(run.theta, run.kept, np.asarray(directions), still)[0][:, :, 0]

    def last_units(self, X: Any) -> tuple[AnyArray, AnyArray, float]:
        """What the last Dense multiplies its weights with, c α (N, n), the trace of its Hessian, and β of this Dense.

        Raises
        ------
        InputError
            If the composition does not end in a Dense.
        """
        last = self.architecture.root.layers[-1]
        if not isinstance(last, Dense):
            raise InputError("a composition that ends in a Dense", type(last).__name__)
        before = Serial(self.architecture.root.layers[:-1])
        points, theta = self.points(X), self.parameters[: before.size]
        x = points.reshape(len(points), -1, points.shape[-1])
        units, kept = before.forward(theta, x)
        traces = before.hessian_trace(theta, kept, x)
        return last.scale * units[:, 0], last.scale * traces[:, 0], last.beta
