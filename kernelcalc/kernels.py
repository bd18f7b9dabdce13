"""The limiting kernels on data: first layer, fold over layers, Gram matrices block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import InputError, NotFiniteError, ShapeError, SmoothnessError
from kernelcalc.gaussian.covariance import Covariance, determinant
from kernelcalc.gaussian.layer import LayerExpectations, diagonal_expectations
from kernelcalc.gaussian.next_determinant import homogeneous_determinant, refine_near_parallel
from kernelcalc.recursion import (
    KERNEL_NAMES,
    DiagonalKernels,
    PairKernels,
    closure,
    diagonal_of,
    expectation_orders,
    first_layer,
    layer_step,
)

if TYPE_CHECKING:
    from kernelcalc.activations import Activation
    from kernelcalc.network import MLP

# Rows and columns of a block: 128 × 256 doubles (256 KiB) stay in the second-level cache through a whole polynomial.
BLOCK_ROWS, BLOCK_COLUMNS = 128, 256
# Pairs closer to |ρ| = 1 than this get their determinant from the difference of the points instead of from the Gram matrix.
NEAR_PARALLEL = 1e-6
_TRANSPOSED = {"phi": "phi_t", "lam": "lam_t"}


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
    layers : tuple of LimitingKernels
        The same after each of the L layers (computed at first access, which holds L times the memory); the last one
        equals this object's arrays.

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
        self, arrays: dict[str, np.ndarray], *, refused: dict[str, str], title: str, layers: Any = None
    ) -> None:
        for array in arrays.values():
            array.flags.writeable = False
        self._arrays = arrays
        self._refused = refused
        self._title = title
        self._make_layers = layers

    def __getattr__(self, name: str) -> np.ndarray:
        if name not in KERNEL_NAMES:
            raise AttributeError(name)
        arrays = self.__dict__.get("_arrays", {})
        if name in arrays:
            return arrays[name]
        if name in self._refused:
            raise SmoothnessError(*self._refused[name].split("|"))
        raise InputError(f"one of the kernels asked for ({', '.join(arrays)})", name, "add it to only=")

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M)."""
        return next(iter(self._arrays.values())).shape

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the kernels held here."""
        return tuple(self._arrays)

    @cached_property
    def layers(self) -> tuple[LimitingKernels, ...]:
        """Kernels after layer 1, ..., L."""
        return (self,) if self._make_layers is None else self._make_layers()

    def __repr__(self) -> str:
        n, m = self.shape
        return f"LimitingKernels({', '.join(self.available)}; {n} × {m}; {self._title})"


def refused_kernels(activations: tuple[Activation, ...]) -> dict[str, str]:
    """Kernels that these nonlinearities leave undefined, with "expected|got|hint" of the error to raise."""
    refused: dict[str, str] = {}
    for act in activations:
        hint = "use a smooth nonlinearity, for example smooth_relu(scale=...), erf, tanh or gelu"
        if act.smoothness < 0:
            refused["theta"] = f"a continuous nonlinearity for the kernel theta|{act.name}, which jumps|{hint}"
        if act.smoothness < 4:
            for name in ("phi", "lam", "upsilon", "xi"):
                refused.setdefault(
                    name,
                    f"a nonlinearity in C⁴ for the kernel {name} (Jacot, Gabriel, Hongler 2020)|{act.name}, whose "
                    f"derivative of order {int(act.smoothness) + 1} jumps|{hint}",
                )
    return refused


def check_points(x: Any, name: str = "X") -> np.ndarray:
    """Data as a float64 array (N, n_0) of finite numbers.

    Raises
    ------
    ShapeError
        If it is not two-dimensional or is empty.
    NotFiniteError
        For NaN or infinity.
    """
    try:
        points = np.asarray(x)
        if points.dtype.kind == "c":
            raise ShapeError(f"{name} as a real array of shape (points, inputs)", "complex numbers")
        points = points.astype(np.float64) if points.dtype.kind in "biuf" else np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name} as a real array of shape (points, inputs)", str(error)) from error
    if points.ndim != 2 or 0 in points.shape:
        raise ShapeError(f"{name} of shape (points, inputs)", f"shape {points.shape}", "one point x is X = x[None, :]")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise NotFiniteError(f"finite numbers in {name}", f"NaN or infinity in row {row}")
    return points


@dataclass(frozen=True, kw_only=True, eq=False)
class _Points:
    """Data of one side with Σ^(1)(x, x)."""

    x: np.ndarray
    q: np.ndarray


class KernelComputation:
    """The fold of the layer step over a network's layers, for one or two data sets."""

    def __init__(self, net: MLP, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...]) -> None:
        self.net, self.names = net, names
        self.carried = closure(names)
        self.orders = expectation_orders(self.carried)
        self.sigma_w2, self.beta2 = net.sigma_w**2, net.beta**2
        self.symmetric = x2 is None
        self.rows = self._points(x)
        self.columns = self.rows if x2 is None else self._points(x2)
        self.row_diagonals = self._diagonals(self.rows.q)
        self.column_diagonals = self.row_diagonals if x2 is None else self._diagonals(self.columns.q)
        self.expectations = [
            LayerExpectations(act, row.sigma, column.sigma, self.orders)
            for act, row, column in zip(net.activations, self.row_diagonals, self.column_diagonals, strict=False)
        ]

    def _points(self, x: np.ndarray) -> _Points:
        return _Points(x=x, q=self.sigma_w2 * (np.einsum("ij,ij->i", x, x) / x.shape[1]) + self.beta2)

    def _diagonals(self, q: np.ndarray) -> list[DiagonalKernels]:
        """Σ, Θ, Φ at (x, x) after every layer: the same step with a = b."""
        carried = self.carried & {"sigma", "theta", "phi"}
        orders = expectation_orders(carried)
        kernels = first_layer(q, carried, np.zeros_like(q))
        result = [diagonal_of(kernels)]
        for act in self.net.activations:
            at = result[-1]
            expectations = diagonal_expectations(act, at.sigma, orders)
            kernels = layer_step(kernels, at, at, expectations, self.sigma_w2, self.beta2)
            result.append(diagonal_of(kernels))
        return result

    def run(self, layers: bool) -> list[dict[str, np.ndarray]]:
        """Arrays of every layer (or only of the last one), filled block by block."""
        n, m = self.rows.x.shape[0], self.columns.x.shape[0]
        count = self.net.depth if layers else 1
        outputs = [{name: np.empty((n, m)) for name in self.names} for _ in range(count)]
        for rows in _slices(n, BLOCK_ROWS):
            for columns in _slices(m, BLOCK_COLUMNS):
                if self.symmetric and columns.stop <= rows.start:
                    continue
                for level, kernels in enumerate(self._block(rows, columns)):
                    if layers or level == self.net.depth - 1:
                        self._store(outputs[level if layers else 0], kernels, rows, columns)
        return outputs

    def _store(self, output: dict[str, np.ndarray], kernels: PairKernels, rows: slice, columns: slice) -> None:
        for name, array in output.items():
            block = getattr(kernels, name)
            array[rows, columns] = block
            if not self.symmetric:
                continue
            turned = np.broadcast_to(getattr(kernels, _TRANSPOSED.get(name, name)), kernels.sigma.shape).T
            array[columns, rows] = turned
            # Where the block crosses the diagonal both triangles were computed: the upper one counts, exactly mirrored.
            start, stop = max(rows.start, columns.start), min(rows.stop, columns.stop)
            if start < stop:
                i, j = np.tril_indices(stop - start, -1)
                upper = np.broadcast_to(block, kernels.sigma.shape)[start - rows.start :, start - columns.start :]
                array[start + j, start + i] = upper[j, i]
                array[start + i, start + j] = turned[start - columns.start :, start - rows.start :][i, j]

    def _block(self, rows: slice, columns: slice) -> Iterator[PairKernels]:
        cov, same = self._first_covariance(rows, columns)
        kernels = first_layer(cov.c, self.carried, np.zeros_like(cov.c))
        yield kernels
        for level, (act, expectations) in enumerate(zip(self.net.activations, self.expectations, strict=True)):
            row = _at(self.row_diagonals[level], rows, (-1, 1))
            column = _at(self.column_diagonals[level], columns, (1, -1))
            kernels = layer_step(
                kernels, row, column, expectations.block(rows, columns, cov), self.sigma_w2, self.beta2
            )
            yield kernels
            if level + 1 < len(self.net.activations):
                q = self.row_diagonals[level + 1].sigma[rows, None]
                qp = self.column_diagonals[level + 1].sigma[None, columns]
                # A point with itself has c = q exactly; the series may have rounded otherwise.
                c = np.where(same, np.minimum(q, qp), kernels.sigma)
                det = homogeneous_determinant(act, cov, self.sigma_w2, self.beta2)
                if det is None:
                    det = determinant(q, qp, c)
                    if act.smoothness < 1:
                        refine_near_parallel(act, cov, det, ~same, self.sigma_w2, self.beta2)
                cov = Covariance(q=q, qp=qp, c=c, det=np.where(same, 0.0, np.maximum(det, 0.0)))

    def _first_covariance(self, rows: slice, columns: slice) -> tuple[Covariance, np.ndarray]:
        """Σ^(1) on a block, and which pairs are equal points."""
        x, xp = self.rows.x[rows], self.columns.x[columns]
        q, qp = self.rows.q[rows, None], self.columns.q[None, columns]
        c = self.sigma_w2 * (x @ xp.T / x.shape[1]) + self.beta2
        det = determinant(q, qp, c)
        same = np.zeros(c.shape, dtype=bool)
        i, j = np.nonzero(det <= NEAR_PARALLEL * q * qp)
        for start in range(0, i.size, 4096):
            k, m = i[start : start + 4096], j[start : start + 4096]
            det[k, m], same[k, m] = self._determinant_from_points(x[k], xp[m])
        c = np.where(same, np.minimum(q, qp), c)
        return Covariance(q=q, qp=qp, c=c, det=det), same

    def _determinant_from_points(self, x: np.ndarray, xp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """qq' − c² = σ_w⁴ det G + σ_w² β² ‖x − x'‖²/n_0, det G = |x|² |x' − proj_x x'|²/n_0², without cancellation."""
        n0 = x.shape[1]
        square = np.einsum("ij,ij->i", x, x)
        ratio = np.divide(np.einsum("ij,ij->i", x, xp), square, out=np.zeros_like(square), where=square > 0)
        residual = xp - ratio[:, None] * x
        gram = square * np.einsum("ij,ij->i", residual, residual) / n0**2
        distance = np.einsum("ij,ij->i", x - xp, x - xp) / n0
        return self.sigma_w2**2 * gram + self.sigma_w2 * self.beta2 * distance, distance == 0


def _at(diagonal: DiagonalKernels, part: slice, shape: tuple[int, int]) -> DiagonalKernels:
    def cut(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[part].reshape(shape)

    return DiagonalKernels(sigma=cut(diagonal.sigma), theta=cut(diagonal.theta), phi=cut(diagonal.phi))


def _slices(total: int, step: int) -> Iterator[slice]:
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
