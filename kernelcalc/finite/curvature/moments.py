r"""Moments of the Hessian of a finite network.

Second order and I^k exactly, without a P × P matrix (:mod:`kernelcalc.finite.curvature.pairs`); Tr H³ and Tr H⁴ by deflation
and probes, of few points by outer products (:mod:`kernelcalc.finite.curvature.outer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arguments import check_can, flag, random_generator
from kernelcalc.errors import InputError, NotFiniteError
from kernelcalc.finite.arrays import AnyArray, whole_number
from kernelcalc.finite.composition import LayeredForward
from kernelcalc.finite.curvature.deflation import (
    Deflated,
    Images,
    gauss_newton_gram,
    probed_pairs,
    random_signs,
    sampled_traces,
)
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.curvature.outer import OuterProducts, outer_products_pay
from kernelcalc.finite.curvature.pairs import CurvaturePairs, curvature_pairs
from kernelcalc.finite.derivatives import Problem
from kernelcalc.finite.losses import Loss
from kernelcalc.finite.parameters import Parameters
from kernelcalc.machine import LAPACK_BLOCK, blas_threads
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

# Up to this P exactness is worth the dense matrix (measured: 0.4 s for P = 1900, N = 256, one output, one core).
DENSE_MOMENTS = 2000
DEFLATION = 32  # columns of Q


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HessianMoments(Result):
    """Moments of H = I + S; row k − 1 of an array is the k-th moment.

    Attributes
    ----------
    trace_i, trace_h : (kmax,) arrays
        Tr I^k and Tr H^k.
    trace_s, trace_s2, trace_is : float
        Tr S, Tr S², Tr I S.
    trace_h_error : (kmax,) array
        Standard error of ``trace_h`` from the probes; 0 where it is exact. It is itself estimated from as many values as
        there are probes.
    trace_s2_error, trace_is_error : float
        The same for Tr S² and Tr I S; 0 without ``unit_probes``.
    loss : float
        C at these parameters.
    """

    DIMENSIONS = axes(trace_h="k", trace_h_error="k", trace_i="k")

    trace_i: AnyArray
    trace_h: AnyArray
    trace_h_error: AnyArray
    trace_s: float
    trace_s2: float
    trace_is: float
    loss: float
    trace_s2_error: float = 0.0
    trace_is_error: float = 0.0

    def coordinates(self) -> dict[str, Any]:
        return {"k": np.arange(1, len(self.trace_i) + 1)}


@watched("a smaller kmax, fewer probes and smaller widths are faster")
def hessian_moments(
    net: Parameters,
    X: Any,
    Y: Any,
    loss: str | Loss = "mse",
    kmax: int = 4,
    *,
    probes: int = 8,
    deflation: int = DEFLATION,
    dense: bool | None = None,
    unit_probes: int = 0,
    whole_probes: int = 0,
    rng: Any = 0,
    pairs: CurvaturePairs | None = None,
) -> HessianMoments:
    r"""Tr I^k, Tr S, Tr S², Tr I S and Tr H^k at the network's parameters.

    Tr I^k comes from the Gram matrix 𝓗C^{½} Θ 𝓗C^{½}; Tr S, Tr S² and Tr I S from pre-activation Hessians, at any
    depth. With Q the leading eigenvectors of I and Π = Id − Q Qᵀ, for k ≥ 3

    .. math::
        Tr H^k = Tr Q^T H^k Q + Tr Π I^k + E[v^T Π (H^k - I^k) Π v]

    where only the last term is sampled (v with independent signs); it vanishes with S. Of few points and wide layers all terms
    with I are exact, and Tr S^k is sampled (:mod:`kernelcalc.finite.curvature.outer`).

    Parameters
    ----------
    net : FiniteNetwork
        The network.
    X, Y : arrays
        Points and targets (of the form the loss takes).
    loss : str or Loss
        "mse", "binary", "softmax" or one's own.
    kmax : int
        Number of moments. A number in the place of the loss is taken as ``kmax`` (and the loss in its place).
    probes : int
        Number of sampled vectors for k ≥ 3, at least 2.
    deflation : int
        Largest number of columns of Q.
    dense : bool, optional
        Whether Tr H^k, k ≥ 3, is computed from the dense matrix, exactly; by default for at most :data:`DENSE_MOMENTS`
        parameters.
    unit_probes : int
        0 computes Tr S² and Tr I S exactly. For very wide networks: number of random vectors over the units of a layer that
        replace the costliest sum (see :func:`~kernelcalc.finite.curvature.pairs.curvature_pairs`); rounded up to a
        multiple of 8.
    whole_probes : int
        0: as ``unit_probes`` says. Otherwise Tr S² and Tr I S of a fully connected network are the exact shares of Q and means
        over this number, at least 2, of sampled vectors in its complement: a few products with S in the place of sums over
        all pairs of points, and a relative error of Tr S² that falls with the width (measured: 1 % at width 1000, 8 vectors).
    rng : seed or numpy.random.Generator
        For the probes.
    pairs : CurvaturePairs, optional
        :func:`~kernelcalc.finite.curvature.pairs.unit_pairs` of this network at these points, where they are known.

    Returns
    -------
    HessianMoments

    Raises
    ------
    InputError
        Numbers that are not whole or below their range; points or targets that do not fit the network.
    NotFiniteError
        A moment overflows.

    Notes
    -----
    The standard error is estimated from ``probes`` values, which are few and skewed in small networks. Measured over 1200
    runs (width 5, 6 points, depth 2 and 3, ``dense=False``): Tr H³ and Tr H⁴ lie more than 5 standard errors off in 0.9 %
    and 2 % of them with 8 probes, 0.1 % and 0.2 % with 32 (a t-distribution would say 0.16 % and 0.002 %). Such networks
    are computed exactly by default.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1 for the limit of these moments. Meyer, Musco, Musco, Woodruff
    (SOSA 2021) for deflation with probes.

    Examples
    --------
    >>> from kernelcalc.finite import FiniteNetwork
    >>> fin = FiniteNetwork(weights=[np.ones((1, 1))], biases=[np.zeros(1)], activations=[], beta=1.0)
    >>> m = fin.hessian_moments(np.array([[3.0]]), np.array([0.0]), kmax=2)
    >>> m.trace_h.tolist(), m.trace_s
    ([10.0, 100.0], 0.0)
    """
    if not isinstance(loss, str | Loss):
        loss, kmax = ("mse" if kmax == 4 else kmax), loss
    kmax, probes = whole_number(kmax, "kmax"), whole_number(probes, "probes")
    deflation, unit_probes = whole_number(deflation, "deflation"), whole_number(unit_probes, "unit_probes")
    whole_probes = whole_number(whole_probes, "whole_probes")
    if kmax < 1 or probes < 2 or min(deflation, unit_probes, whole_probes) < 0 or whole_probes == 1:
        raise InputError(
            "kmax >= 1, probes >= 2, deflation >= 0, unit_probes >= 0, whole_probes 0 or >= 2",
            f"kmax={kmax}, probes={probes}, deflation={deflation}, unit_probes={unit_probes}, whole_probes={whole_probes}",
        )
    # an overflow is an error below, so that NumPy need not warn of it as well
    with np.errstate(over="ignore", invalid="ignore"):
        problem = Problem.of(net, X, Y, loss)
        split = HessianSplit.at(net, problem)
        value = problem.loss.value(split.run.outputs, problem.targets)
        sampling = probes, deflation, unit_probes, whole_probes
        found = moments_of(split, kmax, sampling, [random_generator(rng)], pairs=pairs, dense=dense)
    require_finite(value, "loss", net.dtype)
    fields: dict[str, Any] = {name: one if one.ndim else float(one) for name, one in found.items()}
    return HessianMoments(loss=value, **fields)


def require_finite(value: Any, name: str, dtype: Any) -> None:
    """Refuse a moment that overflows.

    Raises
    ------
    NotFiniteError
    """
    if not np.isfinite(value).all():
        raise NotFiniteError(
            f"moments within the range of {np.dtype(dtype).name}",
            f"an overflow or NaN in {name}",
            "scale points, targets or parameters down, or ask for a smaller kmax",
        )


def moments_of(
    split: HessianSplit,
    kmax: int,
    sampling: tuple[int, int, int, int],
    generators: Sequence[np.random.Generator],
    *,
    pairs: CurvaturePairs | None,
    dense: bool | None = False,
    high: HessianSplit | None = None,
) -> dict[str, AnyArray]:
    """The fields of :class:`HessianMoments` but the loss; of networks side by side with their axis in front.

    ``sampling``: ``probes``, ``deflation``, ``unit_probes``, ``whole_probes``; a generator a network; pairs of residuals 1;
    ``high``: what S is in products of three and more factors by outer products, if not the one of ``split``.

    Raises
    ------
    InputError, NotFiniteError
        As :func:`hessian_moments`.
    """
    (probes, deflation, unit_probes, whole_probes), generator = sampling, generators[0]
    net, (*networks, n, _) = split.run.net, split.run.outputs.shape
    dense = net.n_parameters <= DENSE_MOMENTS if dense is None else flag("dense", dense)
    gram = gauss_newton_gram(split)
    require_finite(gram, "trace_i", net.dtype)
    deflated = Deflated(split=split, gram=gram, count=deflation, kmax=kmax)
    images: tuple[Images, ...] = ()
    check_can("pairs", pairs, "weighted", "unit_pairs of this network")
    if pairs is not None:
        pairs = pairs.weighted(split.residual[..., 0])
    elif split.run.factored and whole_probes:
        pairs, images = probed_pairs(split, deflated.q, whole_probes, generator)
    elif split.run.factored:
        pairs = curvature_pairs(split, unit_probes=unit_probes, rng=generator)
    else:
        pairs = _whole_pairs(split, probes, dense, generator)
    with blas_threads(gram.shape[-1] ** 3):
        trace_i = _power_traces(gram, kmax)
    parts = pairs.s, pairs.s_s, pairs.s_i
    trace_s, trace_s2, trace_is = (one.reshape(*networks, -1).sum(axis=-1, dtype=np.float64) for one in parts)
    trace_h, error = np.zeros_like(trace_i), np.zeros_like(trace_i)
    trace_h[..., 0] = trace_i[..., 0] + trace_s
    if kmax > 1:
        trace_h[..., 1] = trace_i[..., 1] + 2 * trace_is + trace_s2
        error[..., 1] = _batch_error(pairs.batches @ np.array([1.0, 2.0]))
    if kmax > 2:
        if dense:
            with blas_threads(net.n_parameters**3):
                trace_h[2:] = _power_traces(split.h.dense(), kmax)[2:]
        elif outer_products_pay(split, kmax):
            with blas_threads(gram.shape[-1] * net.work(n)):
                products = OuterProducts(split if high is None else high)
                drawn = products.gaussian(probes, generators)
                trace_h[..., 2:], error[..., 2:] = products.high_traces(gram, trace_i, drawn)
        else:
            with blas_threads(LAPACK_BLOCK * max(len(gram) ** 2, net.n_parameters * deflation)):
                trace_h[2:], error[2:] = sampled_traces(deflated, trace_i, probes, generator, images)
    found = {"trace_i": trace_i, "trace_h": trace_h, "trace_h_error": error}
    found |= {"trace_s": trace_s, "trace_s2": trace_s2, "trace_is": trace_is}
    for name, column in (("trace_s2_error", 0), ("trace_is_error", 1)):
        found[name] = np.full_like(trace_s, _batch_error(pairs.batches[:, column]))
    for name, value in found.items():
        require_finite(value, name, net.dtype)
    return found


def _whole_pairs(split: HessianSplit, probes: int, dense: bool, rng: np.random.Generator) -> CurvaturePairs:
    """Tr S, Tr S² and Tr I S from products with all unit vectors, or with ``probes`` vectors of independent signs."""
    p, run = split.run.net.n_parameters, split.run
    assert isinstance(run, LayeredForward)
    rows = np.eye(p, dtype=run.outputs.dtype) if dense else random_signs(rng, (probes, p), run.outputs.dtype)
    s, i = split.images(rows)
    values = np.stack([np.einsum("vp,vp->v", s, one, dtype=np.float64) for one in (s, i)], axis=1)
    total = values.sum(axis=0) if dense else values.mean(axis=0)
    trace = np.array([np.vdot(split.residual, run.hessian_trace())])
    return CurvaturePairs(s=trace, s_s=total[0], s_i=total[1], batches=np.zeros((0, 2)) if dense else values)


def _batch_error(values: AnyArray) -> float:
    """Standard error of the mean of independent batches; 0 if there are none."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) else 0.0


def _power_traces(matrix: AnyArray, kmax: int) -> AnyArray:
    """Tr A^k for symmetric A, k = 1..kmax, with half the matrix products: Tr A^{i+j} = ⟨A^i, A^j⟩."""
    traces = [np.trace(matrix, axis1=-2, axis2=-1, dtype=np.float64)]
    power, previous = matrix, matrix
    while len(traces) < kmax:
        # exponents so far end at an odd number 2p − 1; next are 2p (⟨A^p, A^p⟩) and 2p + 1 (⟨A^p, A^{p+1}⟩)
        traces.append(_inner(power, power))
        if len(traces) < kmax:
            previous, power = power, (matrix @ matrix.swapaxes(-1, -2) if power is matrix else matrix @ power)
            traces.append(_inner(previous, power))
    return np.stack(traces, axis=-1)


def _inner(a: AnyArray, b: AnyArray) -> AnyArray:
    one, other = (part.reshape(*part.shape[:-2], -1) for part in (a, b))
    return np.asarray(np.vecdot(one, other), dtype=np.float64)
