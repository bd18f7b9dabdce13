r"""Spectrum of the Hessian in the limit: the outliers I = 𝓗C^½ Θ 𝓗C^½, the bulk S, and random-matrix references.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Propositions 1 and 3.
Sagun, Evci, Güney, Dauphin, Bottou, "Empirical analysis of the Hessian of over-parametrized neural networks" (2017).
Marčenko, Pastur (1967); Baik, Ben Arous, Péché, Ann. Probab. 33 (2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kernelcalc.arguments import check_count, check_number, counts, finite, floats
from kernelcalc.arrays import digest, plain
from kernelcalc.errors import InputError, NotFiniteError, ShapeError, renamed
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes, origin_of
from kernelcalc.studies.class_structure import class_hierarchy as class_hierarchy
from kernelcalc.studies.fisher import fisher_spectrum as fisher_spectrum
from kernelcalc.studies.fisher import fisher_statistics as fisher_statistics
from kernelcalc.studies.proportional import at_width as at_width
from kernelcalc.studies.sample_covariance import MarchenkoPastur as MarchenkoPastur
from kernelcalc.studies.sample_covariance import sampled_outliers as sampled_outliers
from kernelcalc.training.checks import gram
from kernelcalc.training.losses import curvature_sqrt, resolve_loss
from kernelcalc.training.progress import warn_if_long
from kernelcalc.training.weighted import symmetric_weighted_kernel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Eigenvalues below this part of the largest are rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Spectrum(Result):
    """Nonzero spectrum of I, the largest eigenvalue first.

    Attributes
    ----------
    values : ndarray, (R,)
        Eigenvalues, at most N n_out, rounding-level ones included (never negative).
    components : ndarray, (R, N, n_out)
        Kernel principal components: orthonormal eigenvectors of 𝓗C^½ Θ 𝓗C^½.
    """

    DIMENSIONS = axes(values="rank", components="rank point output")
    TABLE: ClassVar[str] = "rank"

    values: Array
    components: Array

    def moment(self, k: int) -> float:
        """Tr I^k.

        Raises
        ------
        InputError
            k that is no whole number of at least 1.
        """
        check_count("k", k, 1)
        return float(np.sum(self.values**k))

    def outliers(self, method: str = "gap", cutoff: float | None = None) -> int:
        """Number of outliers; see :func:`count_outliers`.

        Raises
        ------
        InputError
            Another method, or a cutoff that is no finite number.
        """
        return count_outliers(self.values, method, cutoff)


@watched("fewer points are faster")
@renamed(labels="Y")
def spectrum_of_i(kernels: Any, outputs: ArrayLike, Y: ArrayLike, loss: Any = "mse") -> Spectrum:
    r"""Nonzero spectrum of I, that of the symmetric :math:`𝓗C^{1/2} Θ 𝓗C^{1/2}`, and its eigenvectors.

    Parameters
    ----------
    kernels : LimitingKernels
        Anything with the (N, N) array ``theta``.
    outputs : array_like, (N,) or (N, n_out)
        Y at the time of interest; only its shape matters under MSE.
    Y : array_like
        As the loss takes them.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`.

    Raises
    ------
    ShapeError, NotFiniteError
        If Θ, the outputs and Y do not fit together, or hold what is no finite number.
    InputError
        If the loss or the labels are none that it takes.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Proposition 1.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> kernels = SimpleNamespace(theta=np.diag([1.0, 3.0]))
    >>> spectrum_of_i(kernels, [0.0, 0.0], [0.0, 0.0]).values
    array([1.5, 0.5])
    """
    law = resolve_loss(loss)
    y = floats(outputs, "outputs", "numbers")
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2:
        raise ShapeError("outputs of shape (N,) or (N, n_out)", f"{y.shape}")
    theta = gram(kernels, "theta", len(y))
    root = law.hessian_sqrt(y, Y)
    n, n_out = y.shape
    work = (n * n_out) ** 3 if law.has_blocks else n_out * n**3
    warn_if_long(12.0 * work, f"the spectrum of {n} points and {n_out} outputs", "fewer points are faster")
    if law.has_blocks:
        values, vectors = np.linalg.eigh(symmetric_weighted_kernel(theta, root, has_blocks=True))
        components = vectors.T.reshape(-1, n, n_out)
    else:
        # Uncoupled outputs: n_out problems of size N.
        values, components = np.empty(n * n_out), np.zeros((n * n_out, n, n_out))
        for a in range(n_out):
            part = slice(a * n, (a + 1) * n)
            values[part], vectors = np.linalg.eigh(root[:, a, None] * theta * root[:, a])
            components[part, :, a] = vectors.T
    order = np.argsort(values)[::-1]
    found = Spectrum(values=np.maximum(values[order], 0.0), components=components[order])
    return found.with_origin(**origin_of(kernels), outputs=digest(y), loss_name=law.name)


def rank_bound_i(n: int, n_out: int) -> int:
    """Rank I ≤ N n_out (Proposition 3).

    Raises
    ------
    InputError
        No whole numbers of at least 1.
    """
    check_count("n", n, 1)
    check_count("n_out", n_out, 1)
    return n * n_out


def rank_bound_s(n: int, widths: Sequence[int]) -> int:
    """Rank S ≤ 2 N (n_1 + ... + n_{L-1}) for the hidden widths given.

    Proposition 3 has a factor n_out more, which is not needed: for each point S is the Hessian of one scalar function.

    Raises
    ------
    InputError
        ``n`` or a width that is no whole number of at least 1.

    Examples
    --------
    >>> rank_bound_s(2, (30, 25))
    220
    """
    check_count("n", n, 1)
    return 2 * n * sum(counts("hidden widths", widths, 1))


def solution_dimension(parameters: int, n: int, n_out: int) -> int:
    """Least dimension P - N n_out of the manifold of solutions at a point where the loss is least, 0 where P is smaller.

    There C = 0 is N n_out equations of P unknowns: the null space of their derivatives, on which H vanishes, is its tangent.

    Raises
    ------
    InputError
        No whole numbers.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3.2.

    Examples
    --------
    >>> solution_dimension(100, 6, 10), solution_dimension(50, 6, 10)
    (40, 0)
    """
    check_count("parameters", parameters, 0)
    return max(parameters - rank_bound_i(n, n_out), 0)


def bulk_scale(trace_s2: ArrayLike, n: int, widths: Sequence[int]) -> Any:
    """Root mean square (Tr S²/rank)^½ of the eigenvalues of S: the scale of the bulk at these widths.

    The rank is taken at its bound; were it smaller, the bulk would be wider.

    Raises
    ------
    InputError
        No hidden layer, a width below 1, or ``trace_s2`` that is no number.
    NotFiniteError
        ``trace_s2`` of NaN or infinity.
    """
    bound = rank_bound_s(n, widths)
    if bound == 0:
        raise InputError("at least one hidden layer", "none", "S vanishes for a linear network")
    result = np.sqrt(np.maximum(finite(trace_s2, "trace_s2"), 0.0) / bound)
    return float(result) if result.ndim == 0 else result


def count_outliers(values: ArrayLike, method: str = "gap", cutoff: float | None = None) -> int:
    """Number of large eigenvalues that stand apart, by one of the counts of Sagun et al. (2017), Table 1.

    Parameters
    ----------
    values : array_like
        Eigenvalues, any order. Those below 1e-12 of the largest, and negative ones, count as zeros.
    method : {"gap", "ratio", "cutoff"}
        Above the largest difference of consecutive eigenvalues, above their largest ratio, or above a cut-off.
    cutoff : float, optional
        For "cutoff"; by default the elbow of the scree plot: the point of the curve (rank, eigenvalue), both scaled to
        [0, 1], farthest below its chord.

    Raises
    ------
    InputError, NotFiniteError
        Another method, NaN or infinity.

    Notes
    -----
    Zeros are eigenvalues like others for gap and elbow. A ratio to them is infinite: they are the bulk where they are at
    least half of all and the others are within a factor of ten of each other; otherwise the ratio is that of positive ones.
    Equal positive eigenvalues without anything below them stand apart from zero, all of them.

    Examples
    --------
    >>> [count_outliers([9, 5, 1, 0.5, 0.4], m) for m in ("gap", "ratio", "cutoff")]
    [1, 2, 2]
    >>> [count_outliers([5, 5, 0, 0], m) for m in ("gap", "ratio", "cutoff")]
    [2, 2, 2]
    """
    if not isinstance(method, str) or method not in ("gap", "ratio", "cutoff"):
        raise InputError("method 'gap', 'ratio' or 'cutoff'", repr(method))
    v = np.sort(floats(values, "values", "an array of numbers").ravel())[::-1]
    if not np.isfinite(v).all():
        raise NotFiniteError("finite eigenvalues", "NaN or infinity")
    limit = None if cutoff is None else check_number("cutoff", cutoff, -math.inf)
    if method == "cutoff" and limit is not None:
        return int((v > limit).sum())
    top = max(v[0], 0.0) if v.size else 0.0
    v = np.where(v > _ROUNDING * top, v, 0.0)
    positive = v[v > 0]
    if positive.size < 2 or positive[-1] >= top * (1 - _ROUNDING):
        return int(positive.size)
    if method == "gap":
        return int(np.argmax(v[:-1] - v[1:])) + 1
    if method == "ratio":
        bulk_is_zero = 2 * positive.size <= v.size and positive[-1] > top / 10
        return int(positive.size if bulk_is_zero else np.argmax(positive[:-1] / positive[1:]) + 1)
    return int(np.argmin(np.linspace(0, 1, v.size) + (v - v[-1]) / (top - v[-1])))


def cluster_spectrum(theta: ArrayLike, hessian: ArrayLike, clusters: ArrayLike) -> Array:
    r"""Outliers predicted for clustered data: the spectrum of I with Θ and 𝓗C replaced by their cluster means.

    With :math:`\bar Θ_{ab}` the mean of Θ over pairs of different points from clusters a and b and :math:`B_a` the sum
    of the Hessian blocks of cluster a, the n_clusters n_out eigenvalues of :math:`B^{1/2} \bar Θ B^{1/2}`; the others
    vanish as the clusters shrink to points. With one output, as many outliers as clusters; with softmax, the blocks lack
    one direction, which leaves n_clusters (n_out - 1).

    Parameters
    ----------
    theta : array_like, (N, N)
        Θ.
    hessian : array_like, (N, n_out) or (N, n_out, n_out)
        As :meth:`kernelcalc.training.losses.Loss.hessian` gives it.
    clusters : array_like, (N,)
        Cluster of each point.

    Returns
    -------
    ndarray
        Descending.

    Raises
    ------
    ShapeError, NotFiniteError
        Θ, the Hessian and the clusters do not fit together, or hold NaN or infinity.
    InputError
        They are no numbers.

    Examples
    --------
    >>> cluster_spectrum(np.ones((4, 4)), np.full((4, 1), 0.25), [0, 0, 1, 1]).round(12) + 0.0
    array([1., 0.])
    """
    matrix, h = finite(theta, "theta"), finite(hessian, "hessian")
    h = h[:, None] if h.ndim == 1 else h
    names, index = np.unique(plain(clusters, "clusters"), return_inverse=True)
    if h.ndim not in (2, 3) or matrix.shape != (len(h), len(h)) or index.shape != (len(h),):
        raise ShapeError(
            "theta (N, N), hessian of N points and N clusters", f"{matrix.shape}, {h.shape}, {index.shape}"
        )
    member = (index == np.arange(len(names))[:, None]).astype(np.float64)
    size = member.sum(axis=1)
    pairs = np.outer(size, size) - np.diag(size)
    total = member @ (matrix - np.diag(np.diagonal(matrix))) @ member.T
    # A cluster of one point has no pair; its own value is the mean.
    own = member @ np.diagonal(matrix)
    mean = np.where(pairs > 0, total / np.where(pairs > 0, pairs, 1), np.diag(own))
    blocks = np.tensordot(member, h, axes=1)
    root = curvature_sqrt(blocks, h.ndim == 3)
    values = np.linalg.eigvalsh(symmetric_weighted_kernel(mean, root, has_blocks=h.ndim == 3))
    return np.maximum(values[::-1], 0.0)


def marchenko_pastur_edges(gamma: float, variance: float = 1.0) -> tuple[float, float]:
    """Support σ²(1 ∓ √γ)² of the nonzero spectrum of a sample covariance of p variables and n samples, γ = p/n.

    Raises
    ------
    InputError
        γ or σ² that is not positive and finite.

    Examples
    --------
    >>> marchenko_pastur_edges(0.25)
    (0.25, 2.25)
    """
    gamma, variance = _positive("gamma", gamma), _positive("variance", variance)
    return variance * (1 - math.sqrt(gamma)) ** 2, variance * (1 + math.sqrt(gamma)) ** 2


def marchenko_pastur_density(x: ArrayLike, gamma: float, variance: float = 1.0) -> Array:
    r"""Density :math:`\sqrt{(b - x)(x - a)}/(2πσ^2 γ x)` on [a, b]; for γ > 1 an atom 1 - 1/γ at zero comes on top.

    Raises
    ------
    InputError
        x that is no number, γ or σ² that is not positive.
    NotFiniteError
        x of NaN or infinity.

    Examples
    --------
    >>> float(marchenko_pastur_density(1.0, 1.0).round(6))
    0.275664
    """
    gamma, variance = _positive("gamma", gamma), _positive("variance", variance)
    low, high = marchenko_pastur_edges(gamma, variance)
    v = finite(x, "x")
    inside = (v > low) & (v < high)
    safe = np.where(inside, v, 1.0)
    root = np.sqrt(np.maximum((high - v) * (v - low), 0.0))
    return np.where(inside, root / (2 * np.pi * variance * gamma * safe), 0.0)


def bbp_outlier(spike: ArrayLike, gamma: float) -> Array:
    r"""Limit of a sample eigenvalue for a population eigenvalue ℓ among ones: ℓ(1 + γ/(ℓ - 1)) if ℓ > 1 + √γ.

    Below that threshold, the edge (1 + √γ)²: the spike hides in the bulk.

    Raises
    ------
    InputError
        A spike that is no number, or γ that is not positive.
    NotFiniteError
        A spike of NaN or infinity.

    Examples
    --------
    >>> bbp_outlier([1.2, 3.0], 0.25)
    array([2.25 , 3.375])
    """
    gamma = _positive("gamma", gamma)
    _, edge = marchenko_pastur_edges(gamma)
    ell = finite(spike, "spike")
    above = ell > 1 + math.sqrt(gamma)
    return np.where(above, ell * (1 + gamma / np.where(above, ell - 1, 1.0)), edge)


def _positive(name: str, value: Any) -> float:
    number = check_number(name, value)
    if number == 0:
        raise InputError(f"{name} > 0", repr(value))
    return number
