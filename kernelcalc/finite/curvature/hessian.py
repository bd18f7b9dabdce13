r"""The Hessian of the loss and its split H = I + S, as operators and as matrices.

.. math:: I = (DY)^T 𝓗C\, DY, \qquad S = ∇C · 𝓗Y

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1. Pearlmutter (Neural Computation 6, 1994) for the product with H.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kernelcalc.arguments import check_name
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite.arrays import AnyArray, real_array
from kernelcalc.finite.composition import LayeredForward
from kernelcalc.finite.derivatives import Forward, Problem, forward
from kernelcalc.finite.losses import Loss
from kernelcalc.finite.parameters import Parameters, require_network
from kernelcalc.machine import blas_threads
from kernelcalc.results.result import Result, axes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Part = Literal["h", "i", "s"]
PARTS = ("h", "i", "s")

# Largest P for which a dense P × P matrix is built: 20 000² float64 numbers are 3.2 GB.
DENSE_LIMIT = 20_000
# Memory of one batch of vectors in a product, in numbers: 8 MiB of float64 (measured: 2.5 times as fast as 64 MiB).
_BATCH = 2**20
# Tangents of z and a, arrays (v, N, n_ℓ); the inputs do not move.
_Tangents = tuple[list[AnyArray], list[AnyArray | None]]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HessianSplit(Result):
    """H, I and S of one network at one data set; the forward pass is shared.

    Examples
    --------
    >>> from kernelcalc.finite import FiniteNetwork
    >>> fin = FiniteNetwork(weights=[np.ones((1, 1))], biases=[np.zeros(1)], activations=[], beta=1.0)
    >>> split = fin.curvature(np.array([[3.0]]), np.array([0.0]))
    >>> split.h.dense()
    array([[9., 3.],
           [3., 1.]])
    >>> split.s @ np.ones(2)
    array([0., 0.])
    """

    DIMENSIONS = axes(residual="point output")

    run: Forward
    residual: AnyArray
    root: AnyArray

    @classmethod
    def of(cls, net: Parameters, X: Any, Y: Any, loss: str | Loss = "mse") -> HessianSplit:
        """At the network's present parameters.

        Raises
        ------
        InputError
            No finite network.
        """
        require_network(net)
        # the pass keeps the points, so later changes of the caller's array must not reach it
        return cls.at(net, Problem.of(net, net.points(X).copy(), Y, loss))

    @classmethod
    def at(cls, net: Parameters, problem: Problem) -> HessianSplit:
        """The same for points and targets that are already checked."""
        return split_at(forward(net, problem.x), problem)

    @classmethod
    def of_output(cls, run: Forward, output: int) -> HessianSplit:
        """Σ_s of the Hessians of f_a(x_s) as S, I = 0: ∇C is a unit vector at every point."""
        residual = np.zeros_like(run.outputs)
        residual[..., output] = 1.0
        return cls(run=run, residual=residual, root=np.zeros((*run.outputs.shape, 1), dtype=run.outputs.dtype))

    def __repr__(self) -> str:
        points, outputs = self.run.outputs.shape
        return f"HessianSplit(H = I + S of {points} points, {outputs} outputs, {self.run.net!r})"

    @cached_property
    def cotangents(self) -> tuple[list[AnyArray], list[AnyArray]]:
        """(η, e) of the loss gradient; see :meth:`Forward.backward`."""
        return self.run.backward(self.residual)

    @cached_property
    def root_cotangents(self) -> list[AnyArray]:
        """ζ̃^ℓ[r, s] = Σ_a B_s[a, r] ∂f_a(x_s)/∂z^ℓ with 𝓗C = B Bᵀ, (r, N, n_ℓ) by layer number."""
        return self.run.cotangents(np.moveaxis(self.root, -1, 0))

    @cached_property
    def loss_hessian(self) -> AnyArray:
        """𝓗C of the points, (N, n_out, n_out)."""
        return self.root @ self.root.swapaxes(1, 2)

    @property
    def h(self) -> CurvatureOperator:
        """The Hessian of the loss."""
        return self.operator("h")

    @property
    def i(self) -> CurvatureOperator:
        """The Gauss–Newton part."""
        return self.operator("i")

    @property
    def s(self) -> CurvatureOperator:
        """The residual part."""
        return self.operator("s")

    def operator(self, part: Part) -> CurvatureOperator:
        """The one of that name; UnknownNameError for another.

        Raises
        ------
        UnknownNameError
            Another part.
        """
        _require_part(part)
        return CurvatureOperator(split=self, part=part)

    def product(self, vectors: ArrayLike, part: Part = "h") -> AnyArray:
        """H, I or S times the rows of ``vectors`` (m, P), in batches of bounded memory.

        Raises
        ------
        UnknownNameError
            Another part.
        InputError
            Vectors that are no real numbers.
        ShapeError
            Vectors that are not (m, P).
        """
        _require_part(part)
        return self._products(vectors, (part,))[0]

    def images(self, vectors: ArrayLike) -> tuple[AnyArray, AnyArray]:
        """S and I times the rows of ``vectors``, (m, P) each; what both need is computed once.

        Raises
        ------
        InputError
            Vectors that are no real numbers.
        ShapeError
            Vectors that are not (m, P).
        """
        s, i = self._products(vectors, ("s", "i"))
        return s, i

    def _products(self, values: ArrayLike, parts: tuple[Part, ...], outputs: Any = None) -> list[AnyArray]:
        net = self.run.net
        # parameters with an imaginary part, as for a complex step, have vectors like them
        vectors = np.asarray(values) if np.iscomplexobj(self.run.outputs) else real_array(values, "vectors")
        if vectors.ndim != 2 or vectors.shape[1] != net.n_parameters:
            raise ShapeError(f"vectors of shape (m, {net.n_parameters})", f"shape {vectors.shape}", "one row a vector")
        row = max(net.n_parameters, len(self.run.outputs) * sum(net.sizes))
        step = max(1, _BATCH // row)
        kind = np.result_type(vectors, self.run.outputs)
        results = [np.empty(vectors.shape, dtype=kind) for _ in parts]
        with blas_threads(net.work(len(self.run.outputs))):
            for start in range(0, len(vectors), step):
                rows = slice(start, start + step)
                moved = None if isinstance(self.run, LayeredForward) else self._tangents(vectors[rows])
                if outputs is not None and moved is not None:
                    outputs.append(moved[0][-1])
                for part, result in zip(parts, results, strict=True):
                    if isinstance(self.run, LayeredForward):
                        result[rows] = self.run.product(vectors[rows], self.residual, self.root, part)
                    elif moved is not None:
                        self._product(vectors[rows], moved, part, result[rows])
        return results

    def _tangents(self, vectors: AnyArray) -> _Tangents:
        run, net = self.run, self.run.net
        dw, db = net.split(vectors)
        dz: list[AnyArray] = []
        da: list[AnyArray | None] = [None]
        for layer, c in enumerate(net.scales):
            tangent = c * (run.a[layer] @ dw[layer]) + net.beta * db[layer][:, None, :]
            if da[layer] is not None:
                tangent += c * (da[layer] @ net.weights[layer])
            dz.append(tangent)
            if layer < net.depth - 1:
                da.append(run.d[layer + 1] * tangent)
        return dz, da

    def _product(self, vectors: AnyArray, moved: _Tangents, part: Part, out: AnyArray) -> None:
        run, net = self.run, self.run.net
        dw, (dz, da) = net.split(vectors)[0], moved
        with_s, with_i = part in ("h", "s"), part in ("h", "i")
        eta, e = self.cotangents
        d_eta: AnyArray | None = None
        if with_i:
            d_eta = (dz[-1].swapaxes(0, 1) @ self.loss_hessian).swapaxes(0, 1)
        gw, gb = net.split(out)
        for layer in range(net.depth - 1, -1, -1):
            c = net.scales[layer]
            if d_eta is not None:
                np.matmul(run.a[layer].T, c * d_eta, out=gw[layer])
                gb[layer][...] = net.beta * d_eta.sum(axis=1)
            else:
                gw[layer][...] = gb[layer][...] = 0.0
            tangent_a = da[layer]
            if with_s and tangent_a is not None:
                gw[layer][...] += tangent_a.swapaxes(1, 2) @ (c * eta[layer + 1])
            if layer == 0:
                break
            de: Any = 0.0
            if d_eta is not None:
                de = d_eta @ net.weights[layer].T
            if with_s:
                de = de + eta[layer + 1] @ dw[layer].swapaxes(1, 2)
            d_eta = c * run.d[layer] * de
            if with_s:
                d_eta = d_eta + run.dd[layer] * e[layer] * dz[layer - 1]


def split_at(run: Forward, problem: Problem) -> HessianSplit:
    """The split of a pass that is done."""
    return HessianSplit(run=run, residual=problem.slope(run.outputs), root=problem.hessian_root(run.outputs))


def split_of_type(split: HessianSplit, dtype: Any) -> HessianSplit:
    """The same numbers in another type, of a fully connected network."""
    residual, root = (part.astype(dtype, copy=False) for part in (split.residual, split.root))
    return HessianSplit(run=split.run.of_type(dtype), residual=residual, root=root)


def residual_images(split: HessianSplit, vectors: AnyArray) -> tuple[AnyArray, AnyArray]:
    """S times the rows of ``vectors`` (m, P), and a fully connected network's derivatives along them, (m, N, n_out)."""
    outputs: list[AnyArray] = []
    (s,) = split._products(vectors, ("s",), outputs)
    return s, np.concatenate([np.empty((0, *split.run.outputs.shape), s.dtype), *outputs])


def _require_part(part: object) -> None:
    check_name("a part of the Hessian", part, PARTS)


@dataclass(frozen=True, kw_only=True, eq=False)
class CurvatureOperator:
    """One of H, I, S as a symmetric linear map on parameter vectors.

    Raises
    ------
    InputError
        No :class:`HessianSplit`.
    UnknownNameError
        Another part.
    """

    split: HessianSplit
    part: Part

    def __post_init__(self) -> None:
        if not isinstance(self.split, HessianSplit):
            raise InputError("split, a HessianSplit, such as fin.curvature(X, Y)", type(self.split).__name__)
        _require_part(self.part)

    @property
    def shape(self) -> tuple[int, int]:
        """(P, P)."""
        p = self.split.run.net.n_parameters
        return p, p

    def __matmul__(self, vectors: AnyArray) -> AnyArray:
        """Product with a vector (P,) or with the columns of (P, m)."""
        v = real_array(vectors, "vectors")
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[0]:
            raise ShapeError(f"vectors of shape ({self.shape[0]},) or ({self.shape[0]}, m)", f"shape {v.shape}")
        rows = v[None] if v.ndim == 1 else v.T
        product = self.split.product(np.ascontiguousarray(rows), self.part)
        return product[0] if v.ndim == 1 else product.T

    def dense(self) -> AnyArray:
        """The (P, P) matrix.

        Raises
        ------
        InputError
            P above :data:`DENSE_LIMIT`.
        """
        p = self.shape[0]
        if p > DENSE_LIMIT:
            raise InputError(
                f"at most {DENSE_LIMIT} parameters for a dense matrix", f"P={p}", "use hessian_moments or the operator"
            )
        dtype = self.split.run.outputs.dtype
        if self.part == "i":
            return dense_gauss_newton(self.split)
        matrix = self.split.product(np.eye(p, dtype=dtype), "s")
        if self.part == "h":
            matrix += dense_gauss_newton(self.split)
        return 0.5 * (matrix + matrix.T)

    def linear_operator(self) -> Any:
        """As :class:`scipy.sparse.linalg.LinearOperator`."""
        from scipy.sparse.linalg import LinearOperator

        apply, dtype = self.__matmul__, self.split.run.outputs.dtype
        return LinearOperator(self.shape, matvec=apply, rmatvec=apply, matmat=apply, rmatmat=apply, dtype=dtype)


def weighted_jacobian(split: HessianSplit) -> AnyArray:
    """𝓗C^{½} DY: rows Σ_a B_s[a, r] ∂f_a(x_s)/∂θ, (N r, P) with r the faster index; I = JᵀJ."""
    rows = split.run.gradients(split.root.transpose(2, 0, 1))
    return rows.reshape(-1, rows.shape[-1])


def dense_gauss_newton(split: HessianSplit) -> AnyArray:
    """I as (P, P) matrix."""
    rows = weighted_jacobian(split)
    with blas_threads(rows.size * rows.shape[1]):
        return rows.T @ rows


def output_hessian(net: Parameters, x: AnyArray) -> AnyArray:
    """Hessians of the outputs f_a(x_s), (N, n_out, P, P): one S each."""
    p = net.n_parameters
    result = np.empty((len(x), net.n_out, p, p), dtype=net.dtype)
    eye = np.eye(p, dtype=net.dtype)
    for s in range(len(x)):
        run = forward(net, x[s : s + 1])
        for a in range(net.n_out):
            result[s, a] = HessianSplit.of_output(run, a).product(eye, "s")
    return result
