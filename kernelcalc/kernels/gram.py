"""The limiting kernels on data: first layer, fold over layers, Gram matrices block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kernelcalc.arrays import plain
from kernelcalc.errors import (
    CovarianceError,
    DivergentExpectationError,
    InputError,
    NotFiniteError,
    ShapeError,
    SmoothnessError,
)
from kernelcalc.gaussian.covariance import LARGEST, Covariance, determinant
from kernelcalc.gaussian.floats.kinds import feels_small_angles
from kernelcalc.gaussian.floats.layer import LayerExpectations, diagonal_expectations
from kernelcalc.kernels.few_points import few_points
from kernelcalc.kernels.parallel import refine_determinant
from kernelcalc.kernels.sphere import correlation_table, one_norm
from kernelcalc.kernels.state import (
    KERNEL_NAMES,
    TRANSPOSED,
    DiagonalKernels,
    PairKernels,
    diagonal_of,
    expectation_orders,
    first_layer,
    layer_step,
    needed_at_pairs,
    needed_on_diagonal,
    with_transposes,
)
from kernelcalc.kernels.threads import keep_freed_memory, one_blas_thread, processors

if TYPE_CHECKING:
    from kernelcalc.activations.activation import Activation
    from kernelcalc.kernels.mlp import MLP

# Rows and columns of a block: 128 × 256 doubles (256 KiB) stay in the second-level cache through a whole polynomial.
BLOCK_ROWS, BLOCK_COLUMNS = 128, 256
# Series of the points of a panel, all layers and derivatives together: beyond this a large matrix is done in several panels.
PANEL_BYTES = 2**28
# Pairs closer to |ρ| = 1 than this get their determinant from the difference of the points instead of from the Gram matrix.
NEAR_PARALLEL = 1e-6
# Below, products of variances of nearly parallel points underflow.
SMALLEST = 1e-100
# Pairs from which on a polynomial in ρ pays, and the smallest range it is made for.
FEWEST_PAIRS, LEAST_REACH = 4096, 1e-3
# Kernels of kinked nonlinearities are singular at ρ = ±1; up to here a few dozen terms resolve them.
KINKED_REACH = 0.9
Index: TypeAlias = "slice | np.ndarray"


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
        return (self,) if self._make_layers is None else (*self._make_layers()[:-1], self)

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
    InputError
        For masked entries or a sparse matrix.
    """
    points = plain(x, name)
    try:
        if points.dtype.kind == "c":
            raise ShapeError(f"{name} as a real array of shape (points, inputs)", "complex numbers")
        points = points.astype(np.float64) if points.dtype.kind in "biuf" else np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name} as a real array of shape (points, inputs)", str(error)) from error
    if points.ndim != 2 or 0 in points.shape:
        hint = "images: X.reshape(len(X), -1)" if points.ndim > 2 else "one point x is X = x[None, :]"
        raise ShapeError(f"{name} of shape (points, inputs)", f"shape {points.shape}", hint)
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
    """The fold of the layer step over a network's layers, for one or two data sets.

    Parameters
    ----------
    net : MLP
    x, x2 : ndarray (N, n_0), (M, n_0)
        Points; ``x2`` None for the symmetric matrices of x.
    names : tuple of str
        Kernels wanted; "phi_t" and "lam_t" are Φ(x', x) and Λ(x', x) at the pairs (x, x').
    compiled : bool
        Sum series in machine code (extra ``fast``).
    """

    def __init__(
        self, net: MLP, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], *, compiled: bool = False
    ) -> None:
        self.net, self.names, self.compiled = net, names, compiled
        self.sigma_w2, self.beta2 = net.sigma_w**2, net.beta**2
        self.symmetric = x2 is None
        # What the last layer computes, and what hidden layers must carry for it.
        self.wanted = with_transposes(names) if self.symmetric else frozenset(names)
        self.carried = needed_at_pairs(self.wanted)
        self.rows = self._points(x)
        self.columns = self.rows if x2 is None else self._points(x2)

    @cached_property
    def row_diagonals(self) -> list[DiagonalKernels]:
        """Σ, Θ, Φ at (x, x) of the rows after every layer."""
        return self._diagonals(self.rows.q)

    @cached_property
    def column_diagonals(self) -> list[DiagonalKernels]:
        """The same of the columns."""
        return self.row_diagonals if self.symmetric else self._diagonals(self.columns.q)

    @cached_property
    def expectations(self) -> list[LayerExpectations]:
        """What each hidden layer's expectations need, prepared for all points."""
        return [
            LayerExpectations(
                act,
                self.row_diagonals[level].sigma,
                self.column_diagonals[level].sigma,
                expectation_orders(self._kernels_after(level)),
                compiled=self.compiled,
            )
            for level, act in enumerate(self.net.activations)
        ]

    def _kernels_after(self, level: int) -> frozenset[str]:
        """Kernels computed after hidden layer ``level``."""
        return self.wanted if level == len(self.net.activations) - 1 else self.carried

    def _points(self, x: np.ndarray) -> _Points:
        with np.errstate(over="ignore"):
            q = self.sigma_w2 * (np.einsum("ij,ij->i", x, x) / x.shape[1]) + self.beta2
        out = (q > LARGEST) | ((q < SMALLEST) & (q > 0))
        if out.any():
            row = int(np.flatnonzero(out)[0])
            raise CovarianceError(
                f"points whose σ_w²|x|²/n_0 + β² is 0 or lies between {SMALLEST:g} and {LARGEST:g}",
                f"{q[row]:.3g} in row {row}",
            )
        return _Points(x=x, q=q)

    def _diagonals(self, q: np.ndarray) -> list[DiagonalKernels]:
        """Σ, Θ, Φ at (x, x) after every layer: the same step with a = b."""
        carried = needed_on_diagonal(self.wanted)
        orders = expectation_orders(carried)
        kernels = first_layer(q, carried, np.zeros_like(q))
        result = [diagonal_of(kernels)]
        # nobody reads the last layer's
        for act in self.net.activations[:-1]:
            at = result[-1]
            expectations = diagonal_expectations(act, at.sigma, orders)
            kernels = layer_step(kernels, at, at, expectations, self.sigma_w2, self.beta2)
            result.append(diagonal_of(kernels))
        return result

    def run(self, layers: bool) -> list[dict[str, np.ndarray]]:
        """Arrays of every layer (or only of the last one), filled block by block, in threads."""
        if not layers:
            few = few_points(self.net, self.rows.x, None if self.symmetric else self.columns.x, self.names)
            if few is not None:
                if not all(np.isfinite(array).all() for array in few.values()):
                    raise _overflow()
                return [few]
        shape = self.rows.q.size, self.columns.q.size
        count = self.net.depth if layers else 1
        outputs = [{name: np.empty(shape) for name in self.names} for _ in range(count)]
        if not layers and self._by_correlation(outputs[0]):
            return outputs

        def work(rows: slice, columns: slice) -> None:
            for level, kernels in enumerate(self._block(rows, columns)):
                if layers or level == self.net.depth - 1:
                    self._store(outputs[level if layers else 0], kernels, rows, columns)

        for rows, columns in self._panels():
            for expectations in self.expectations:
                expectations.focus(rows, columns)
            self._every_block(work, rows, columns)
        return outputs

    def _panels(self) -> Iterator[tuple[slice, slice]]:
        """The matrix, or its upper triangle, in parts whose points' series fit into :data:`PANEL_BYTES`."""
        n, m = self.rows.q.size, self.columns.q.size
        point = sum(expectations.bytes_per_point for expectations in self.expectations)
        if (n if self.symmetric else n + m) * point <= PANEL_BYTES:
            size = max(n, m)
        else:
            size = max(1, PANEL_BYTES // (2 * point) // BLOCK_COLUMNS) * BLOCK_COLUMNS
        for rows in _slices(0, n, size):
            for columns in _slices(rows.start if self.symmetric else 0, m, size):
                yield rows, columns

    def _every_block(self, work: Callable[[slice, slice], None], rows: slice, columns: slice) -> None:
        """Do all blocks of a panel; each writes where no other does, so the order does not matter."""
        keep_freed_memory()
        blocks = list(self._blocks(rows, columns))
        workers = min(processors(), len(blocks) // 2)
        if workers < 2:
            for rows, columns in blocks:
                work(rows, columns)
            return
        with one_blas_thread(workers), ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(work, rows, columns) for rows, columns in blocks]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _blocks(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        """Blocks that cover a panel, or its upper triangle with the diagonal squares."""
        triangle = self.symmetric and rows == columns
        for part in _slices(rows.start, rows.stop, BLOCK_ROWS):
            for other in _slices(part.start if triangle else columns.start, columns.stop, BLOCK_COLUMNS):
                yield part, other

    def _store(self, output: dict[str, np.ndarray], kernels: PairKernels, rows: slice, columns: slice) -> None:
        shape = rows.stop - rows.start, columns.stop - columns.start
        for name, array in output.items():
            block = np.broadcast_to(getattr(kernels, name), shape)
            turned = np.broadcast_to(getattr(kernels, TRANSPOSED.get(name, name)), shape) if self.symmetric else block
            self._write(array, block, turned, rows, columns)

    def _write(self, array: np.ndarray, block: np.ndarray, turned: np.ndarray, rows: slice, columns: slice) -> None:
        """Put a block k(x, x') in its place and k(x', x) in the mirrored one."""
        if not np.isfinite(block).all():
            raise _overflow()
        array[rows, columns] = block
        if not self.symmetric:
            return
        if rows.start != columns.start:
            array[columns, rows] = turned.T
            return
        # Where the block lies on the diagonal both triangles were computed: the upper one counts, exactly mirrored.
        side = rows.stop - rows.start
        array[rows.stop : columns.stop, rows] = turned[:, side:].T
        i, j = np.triu_indices(side, 1)
        array[rows.start + j, rows.start + i] = turned[i, j]

    def _by_correlation(self, output: dict[str, np.ndarray]) -> bool:
        """Points of one norm: kernels as polynomials in ρ. Whether that was possible.

        One of the outputs holds ρ until its kernel replaces it, so nothing of the size of the matrix is added.
        """
        q = one_norm(self.rows.q, self.columns.q)
        if q is None or not self.net.activations or self.rows.q.size * self.columns.q.size < FEWEST_PAIRS:
            return False
        held = next(iter(output.values()))
        reaches = []

        def correlate(rows: slice, columns: slice) -> None:
            x, xp = self.rows.x[rows], self.columns.x[columns]
            rho = (self.sigma_w2 * (x @ xp.T / x.shape[1]) + self.beta2) / q
            if self.symmetric and rows.start == columns.start:
                np.fill_diagonal(rho, 0.0)
            reaches.append(max(rho.max(), -rho.min()))
            held[rows, columns] = rho

        whole = slice(0, self.rows.q.size), slice(0, self.columns.q.size)
        self._every_block(correlate, *whole)
        reach = float(max(reaches))
        # Nearly parallel points are told apart by their difference, which ρ has rounded away; kinks bend k(ρ) sharply there.
        if reach > (
            1 - NEAR_PARALLEL if all(act.smoothness == np.inf for act in self.net.activations) else KINKED_REACH
        ):
            return False
        of_rho = _OneNorm(self.net, q, self.names)
        table = correlation_table(of_rho, max(reach, LEAST_REACH))
        if table is None:
            return False
        diagonal = of_rho(np.ones(1))[:, 0]

        def work(rows: slice, columns: slice) -> None:
            rho = held[rows, columns]
            values = table(rho.ravel()).reshape(-1, *rho.shape)
            for array, value, own in zip(output.values(), values, diagonal, strict=True):
                if self.symmetric and rows.start == columns.start:
                    np.fill_diagonal(value, own)
                self._write(array, value, value, rows, columns)

        self._every_block(work, *whole)
        return True

    def _block(self, rows: slice, columns: Index) -> Iterator[PairKernels]:
        cov, same = self._first_covariance(rows, columns)
        kernels = first_layer(cov.c, self.carried, np.zeros_like(cov.c))
        yield kernels
        for level, (act, expectations) in enumerate(zip(self.net.activations, self.expectations, strict=True)):
            row = _at(self.row_diagonals[level], rows, (-1, 1))
            column = _at(self.column_diagonals[level], columns, (1, -1))
            kernels = layer_step(
                kernels,
                row,
                column,
                expectations.block(rows, columns, cov),
                self.sigma_w2,
                self.beta2,
                self._kernels_after(level),
            )
            yield kernels
            if level + 1 < len(self.net.activations):
                q = self.row_diagonals[level + 1].sigma[rows, None]
                qp = self.column_diagonals[level + 1].sigma[None, columns]
                c, det = kernels.sigma, determinant(q, qp, kernels.sigma)
                if any(feels_small_angles(later) for later in self.net.activations[level + 1 :]):
                    refine_determinant(act, cov, (q, qp), det, ~same, self.sigma_w2, self.beta2)
                np.maximum(det, 0.0, out=det)
                if same.any():
                    # A point with itself has c = q exactly; the series may have rounded otherwise.
                    c, det = np.where(same, np.minimum(q, qp), c), np.where(same, 0.0, det)
                cov = Covariance(q=q, qp=qp, c=c, det=det)

    def _first_covariance(self, rows: slice, columns: Index) -> tuple[Covariance, np.ndarray]:
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
        if i.size:
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


class _OneNorm(KernelComputation):
    """The same fold at given correlations of two points of variance q: kernels (names, n) of ρ (n,)."""

    def __init__(self, net: MLP, q: float, names: tuple[str, ...]) -> None:
        super().__init__(net, np.zeros((1, 1)), None, names)
        self.rows = self.columns = _Points(x=np.zeros((1, 1)), q=np.array([q]))
        self.rho = np.empty((1, 0))

    def __call__(self, rho: np.ndarray) -> np.ndarray:
        self.rho = rho[None, :]
        *_, last = self._block(slice(0, 1), np.zeros(rho.size, dtype=np.intp))
        return np.concatenate([np.broadcast_to(getattr(last, name), self.rho.shape) for name in self.names])

    def _first_covariance(self, rows: slice, columns: Index) -> tuple[Covariance, np.ndarray]:
        q = self.rows.q[:, None]
        det = q * q * (1 - self.rho) * (1 + self.rho)
        return Covariance(q=q, qp=q[:, columns], c=q * self.rho, det=det), self.rho == 1


def _overflow() -> DivergentExpectationError:
    return DivergentExpectationError("finite kernels", "overflow", "smaller points or a smaller σ_w keep them finite")


def _at(diagonal: DiagonalKernels, part: Index, shape: tuple[int, int]) -> DiagonalKernels:
    def cut(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[part].reshape(shape)

    return DiagonalKernels(sigma=cut(diagonal.sigma), theta=cut(diagonal.theta), phi=cut(diagonal.phi))


def _slices(first: int, total: int, step: int) -> Iterator[slice]:
    for start in range(first, total, step):
        yield slice(start, min(start + step, total))
