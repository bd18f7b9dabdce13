r"""Traces of Gram matrices that are never in memory as a whole, and the moments of the Hessian that need no more.

Tr A and :math:`\mathrm{Tr} A^2 = \|A\|_F^2` are exact after one pass. Tr A³ and Tr A⁴ need products of blocks (N³ operations),
or, from two passes, a deflation by the leading eigenspace and random probes of the rest, with a standard error:
with Q an orthonormal basis and P = Id − QQᵀ,

.. math:: \mathrm{Tr} A^k = \mathrm{Tr}\, Q^T A^k Q + \mathrm{Tr}\, P A^k P,
    \qquad \mathrm{Tr}\, P A^k P = \mathbb{E}\, z^T P A^k P z

for signs z (Hutchinson 1989; Meyer, Musco, Musco, Woodruff, "Hutch++", 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, flag, floats, random_generator, shown
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, NotFiniteError, ShapeError, renamed
from kernelcalc.kernels.distributed.eigenvalues import BlockProducts, square
from kernelcalc.kernels.distributed.engine import require
from kernelcalc.kernels.distributed.lazy_kernels import LazyKernels
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TraceMoments(Result):
    """Tr A^k for k = 1, 2, ...

    Attributes
    ----------
    values : ndarray, (kmax,)
    errors : ndarray, (kmax,)
        Standard errors; zero where the value is exact.
    size : int
        N.
    """

    DIMENSIONS = axes(values="k", errors="k")

    values: Array
    errors: Array
    size: int

    def trace_i(self, n_out: int = 1) -> Array:
        """Tr I^k = n_L Tr (Θ/N)^k under MSE, if A is Θ.

        Raises
        ------
        InputError
            A number of outputs that is no whole number of at least 1.
        """
        check_count("n_out", n_out, 1)
        return n_out * self.values / float(self.size) ** np.arange(1, self.values.size + 1)

    def coordinates(self) -> dict[str, Any]:
        return {"k": np.arange(1, len(self.values) + 1)}


@watched("a smaller kmax, rank and number of probes are faster")
def trace_moments(
    matrix: Any, kmax: int = 4, *, exact: bool = False, rank: int = 32, probes: int = 32, rng: Any = 0
) -> TraceMoments:
    r"""Tr A, Tr A², Tr A³, Tr A⁴ of a symmetric matrix in blocks.

    Parameters
    ----------
    matrix : dask array, (N, N)
        For example ``K.theta``. Stored matrices are read, others computed again, once a pass: one pass for kmax ≤ 2, three
        beyond; with ``exact`` as many as there are blocks in a row, with two rows of blocks in memory.
    kmax : int
        1 to 4.
    exact : bool
        Third and fourth moments by products of blocks instead of by deflation and probes.
    rank : int
        Dimension of the deflated space.
    probes : int
        Random vectors for the rest, at least 2; the standard error falls with their root.
    rng : int or Generator
        Seed of what is drawn.

    Raises
    ------
    InputError, ShapeError
        Arguments outside the above.
    NotFiniteError
        For NaN or infinity in the matrix, or squares that overflow.

    Examples
    --------
    >>> matrix = np.diag([1.0, 2.0, 3.0])
    >>> trace_moments(matrix, exact=True).values
    array([ 6., 14., 36., 98.])
    >>> trace_moments(matrix, rank=3).values.round(9)
    array([ 6., 14., 36., 98.])
    """
    check_count("kmax", kmax, 1)
    if kmax > 4:
        raise InputError("kmax from 1 to 4", repr(kmax))
    check_count("rank", rank, 1)
    check_count("probes", probes, 2)
    array, generator = square(matrix), random_generator(rng)
    values, errors = np.zeros(4), np.zeros(4)
    if kmax > 2 and not flag("exact", exact):
        values, errors = _by_probes(array, int(rank), int(probes), generator)
    else:
        values[:2] = _finite(*require("dask", "traces").compute(*_first_sums(array)))
        if kmax > 2:
            values[2:] = _by_products(array)
    return TraceMoments(values=values[:kmax], errors=errors[:kmax], size=array.shape[0])


def _first_sums(array: Any) -> tuple[Any, Any]:
    """Tr A and ‖A‖_F², not yet computed."""
    return require("dask.array", "traces").trace(array), (array * array).sum()


def _finite(*sums: Any) -> Array:
    """Sums over all entries, which one of them that is not finite would spoil.

    Raises
    ------
    NotFiniteError
        They are not finite.
    """
    values = np.array(sums, dtype=np.float64)
    if not np.isfinite(values).all():
        raise NotFiniteError("finite numbers in the matrices", "NaN, infinity or a sum that overflows")
    return values


def _by_products(array: Any) -> tuple[float, float]:
    """Tr A³ = ⟨A, A²⟩ and Tr A⁴ = ‖A²‖_F², one block of A² at a time, only those with i ≤ j."""
    graphs, delayed = require("dask.highlevelgraph", "products"), require("dask.delayed", "products")
    count, name = array.numblocks[0], f"squares-{array.name}"
    parts = []
    # A row at a time: dask would keep what later rows need, which is the whole matrix.
    for i in range(count):
        layer: dict[Any, Any] = {}
        for j in range(i, count):
            before: Any = None
            for k in range(count):
                key = (name, i, j, k)
                layer[key] = (_add_product, before, (array.name, i, k), (array.name, k, j))
                before = key
            layer[name, i, j] = (_contract, before, (array.name, i, j), 1 if i == j else 2)
        graph = graphs.HighLevelGraph.from_collections(name, layer, dependencies=[array])
        row = [delayed.Delayed((name, i, j), graph, layer=name) for j in range(i, count)]
        parts += require("dask", "products").compute(*row)
    return math.fsum(third for third, _ in parts), math.fsum(fourth for _, fourth in parts)


def _add_product(total: Array | None, left: Array, right: Array) -> Array:
    return left @ right if total is None else total + left @ right


def _contract(squares: Array, block: Array, weight: int) -> tuple[float, float]:
    return weight * float(np.vdot(block, squares)), weight * float(np.vdot(squares, squares))


def _by_probes(array: Any, rank: int, probes: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """All four traces and their errors."""
    products = BlockProducts(array)
    n = products.size
    basis = np.linalg.qr(rng.standard_normal((n, min(rank, n))))[0]
    image, *first = products.beside(basis, *_first_sums(array))
    exact = _finite(*first)
    basis = np.linalg.qr(image)[0]
    signs = rng.choice(np.array([-1.0, 1.0]), size=(n, probes))
    rest = signs - basis @ (basis.T @ signs)
    once = products(np.hstack([basis, rest]))
    twice = products(once)
    # zᵀA³z = ⟨Az, A²z⟩ and zᵀA⁴z = ‖A²z‖²
    samples = np.stack([np.einsum("ij,ij->j", left, twice) for left in (once, twice)])
    leading, others = samples[:, : basis.shape[1]], samples[:, basis.shape[1] :]
    errors = others.std(axis=1, ddof=1) / math.sqrt(probes)
    return np.append(exact, leading.sum(axis=1) + others.mean(axis=1)), np.append([0.0, 0.0], errors)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InitialMoments(Result):
    """Moments of the Hessian of the MSE at t = 0.

    Attributes
    ----------
    trace_i, trace_h : ndarray, (2,)
        Tr I^k and E Tr H^k for k = 1, 2; the first does not change in training.
    trace_s, trace_s_std : float
        E Tr S and its standard deviation over initialisations (NaN without Ξ).
    trace_s2 : float
        E Tr S².
    loss : float
        E C.
    """

    DIMENSIONS = axes(trace_h="k", trace_i="k")

    trace_i: Array
    trace_h: Array
    trace_s: float
    trace_s_std: float
    trace_s2: float
    loss: float

    def coordinates(self) -> dict[str, Any]:
        return {"k": np.arange(1, len(self.trace_i) + 1)}


@watched("fewer points are faster")
@renamed(targets="Y")
def initial_moments(kernels: Any, Y: ArrayLike) -> InitialMoments:
    r"""What Corollary 1 says at t = 0, from one pass over the kernels.

    .. math::
        \mathbb{E} Tr S &= \tfrac{n_L}{N} Tr Φ, \qquad
        Var\, Tr S = \tfrac1{N^2}\big( n_L Σ_{ij} (Ξ_{ij} Σ_{ij} + Φ_{ij} Φ_{ji}) + Tr\, Y^{*T} Ξ Y^* \big) \\
        \mathbb{E} Tr S^2 &= \tfrac1{N^2} \big( n_L Σ_{ij} Υ_{ij} Σ_{ij} + Tr\, Y^{*T} Υ Y^* \big), \qquad
        \mathbb{E} C = \tfrac1{2N} \big( n_L Tr Σ + \|Y^*\|^2 \big)

    Parameters
    ----------
    kernels : LimitingKernels
        Of one data set, as dask arrays or in memory: sigma, theta, phi, upsilon, and xi for the standard deviation.
    Y : array_like, (N,) or (N, n_out)
        Y*, in memory.

    Raises
    ------
    ShapeError, NotFiniteError
        Kernels of two data sets, or targets that do not fit; NaN or infinity in either.
    InputError
        Something else than kernels, or targets that are no numbers.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Corollary 1 at t = 0, corrected as the errata say (docs/understand/errata.md).

    Examples
    --------
    >>> import kernelcalc as kc
    >>> X, labels = kc.datasets.mnist14(64)
    >>> Y = kc.datasets.one_hot(labels)
    >>> start = initial_moments(kc.MLP("smooth_relu").kernels(X, engine="dask", chunks=32), Y)
    >>> whole = kc.mse_moments(kc.MLP("smooth_relu").kernels(X), Y, [0.0])
    >>> bool(abs(start.trace_h[1] / whole.trace_h[1, 0] - 1) < 1e-12)
    True
    """
    da, dask = require("dask.array", "traces"), require("dask", "traces")
    names = ("sigma", "theta", "phi", "upsilon", *(("xi",) if "xi" in getattr(kernels, "available", ("xi",)) else ()))
    lazy = isinstance(kernels, LazyKernels)
    arrays = kernels.together(*names) if lazy else {name: getattr(kernels, name, None) for name in names}
    absent = [name for name, array in arrays.items() if array is None]
    if absent:
        raise InputError(f"kernels with {', '.join(absent)}", shown(kernels), 'use net.kernels(X, engine="dask")')
    sigma, theta, phi, upsilon, *others = (square(array) for array in arrays.values())
    n = sigma.shape[0]
    y = floats(Y, "Y", "numbers")
    if y.ndim not in (1, 2) or y.shape[0] != n or y.size == 0:
        raise ShapeError(f"Y of the shape ({n},) or ({n}, n_out)", f"the shape {y.shape}")
    if not np.isfinite(y).all():
        raise NotFiniteError("finite Y", "NaN or infinity")
    y = y.reshape(n, -1)
    n_out = y.shape[1]
    columns = da.from_array(y, chunks=(sigma.chunks[0], -1))
    sums = {
        "sigma": da.trace(sigma),
        "theta": da.trace(theta),
        "theta2": (theta * theta).sum(),
        "phi": da.trace(phi),
        "upsilon": n_out * (upsilon * sigma).sum() + (columns * (upsilon @ columns)).sum(),
    }
    for xi in others:
        sums["xi"] = n_out * ((xi * sigma).sum() + (phi * phi.T).sum()) + (columns * (xi @ columns)).sum()
    found = dict(zip(sums, _finite(*dask.compute(*sums.values())), strict=True))
    trace_i = n_out * np.array([found["theta"] / n, found["theta2"] / n**2])
    trace_s, trace_s2 = n_out * float(found["phi"]) / n, float(found["upsilon"]) / n**2
    return InitialMoments(
        trace_i=trace_i,
        trace_h=trace_i + np.array([trace_s, trace_s2]),
        trace_s=trace_s,
        trace_s_std=math.sqrt(max(float(found.get("xi", math.nan)), 0.0)) / n if "xi" in found else math.nan,
        trace_s2=trace_s2,
        loss=float(n_out * found["sigma"] + np.sum(y**2)) / (2 * n),
    )
