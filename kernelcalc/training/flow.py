r"""Theorem 1 through training: gradient flow in function space from a Gaussian start, for any loss.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1, Propositions 1 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, check_number, flag
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, renamed
from kernelcalc.machine import keep_freed_memory, one_blas_thread, processors
from kernelcalc.patience import watched
from kernelcalc.results.result import axes, origin_of, seed_of
from kernelcalc.training.checks import gram, levels_of, sorted_times
from kernelcalc.training.integrator import integrate
from kernelcalc.training.leading import LeadingTraces
from kernelcalc.training.losses import ConvexLoss, Loss, resolve_loss
from kernelcalc.training.progress import warn_if_long, with_bar
from kernelcalc.training.start import along_points, initial_draws
from kernelcalc.training.trajectory import Trajectory
from kernelcalc.training.weighted import bounded_moments

# Different targets that a loss is looked at for.
_TARGETS_LOOKED_AT = 8

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# The tolerance over that of one step, for large and for small entries of W: with these the error at every time stayed
# below half the tolerance for rtol 1e-3 and 1e-5, and below 0.8 of it for 1e-7 (measured on eight losses, N = 40 to 256, times
# to 1e5), but of the squared hinge, whose curvature jumps, below four times.
_LOCAL, _LOCAL_W = 50.0, 200.0
# Rounding of products in a linear solve, relative to the solution: a tenth of the accuracy to which it is solved.
_SINGLE_SOLVES = 0.005
# Outputs of the samples that are integrated as one system: 16 samples at N = 256 and ten outputs, whose arrays have a third of
# a MiB.
_GROUP = 40960


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SampledTrajectory(Trajectory):
    """Moments of the Hessian along training, by sampling the initialisation.

    The attributes of :class:`~kernelcalc.training.trajectory.Trajectory` are means over the samples; the standard
    deviations are those of one initialisation, and a mean's standard error is that over the root of ``samples``.

    Attributes
    ----------
    loss_name : str
    sample_trace_i : ndarray, (samples, kmax, T)
    trace_i_bound : ndarray, (kmax, T)
        The mean of Tr I^k without what was left out to save time is between ``trace_i`` and its sum with this; see
        ``trace_rtol``.
    sample_trace_s, sample_trace_s2, sample_loss : ndarray, (samples, T)
    """

    loss_name: str
    sample_trace_i: Array
    trace_i_bound: Array
    sample_trace_s: Array
    sample_trace_s2: Array
    sample_loss: Array

    DIMENSIONS = Trajectory.DIMENSIONS | axes(
        sample_trace_h="initialisation k time",
        sample_trace_i="initialisation k time",
        trace_i_bound="k time",
        sample_trace_s="initialisation time",
        sample_trace_s2="initialisation time",
        sample_loss="initialisation time",
    )

    @property
    def samples(self) -> int:
        """Number of initialisations."""
        return int(self.sample_loss.shape[0])

    @cached_property
    def sample_trace_h(self) -> Array:
        """Tr H^k of every sample, (samples, kmax, T)."""
        total = self.sample_trace_i.copy()
        total[:, 0] += self.sample_trace_s
        if self.kmax > 1:
            total[:, 1] += self.sample_trace_s2
        return total

    @cached_property
    def trace_i_std(self) -> Array:
        """Standard deviation of Tr I(t)^k over initialisations, shape (kmax, T)."""
        return np.asarray(self.sample_trace_i.std(axis=0, ddof=1))

    @cached_property
    def trace_h_std(self) -> Array:
        """Standard deviation of Tr H(t)^k over initialisations, shape (kmax, T)."""
        return np.asarray(self.sample_trace_h.std(axis=0, ddof=1))

    def quantiles(self, name: str, levels: ArrayLike = (0.05, 0.5, 0.95)) -> Array:
        """Quantiles over initialisations of ``"trace_i"``, ``"trace_s"``, ``"trace_s2"``, ``"trace_h"`` or ``"loss"``.

        Returns
        -------
        ndarray, (levels, T) or (levels, kmax, T)
        """
        known = ("trace_i", "trace_s", "trace_s2", "trace_h", "loss")
        if name not in known:
            raise InputError(f"one of {', '.join(known)}", repr(name))
        return np.asarray(np.quantile(getattr(self, f"sample_{name}"), levels_of(levels), axis=0))


@watched("progress=True shows how far it is; fewer samples and times are faster")
@renamed(labels="Y")
def hessian_moments(
    kernels: Any,
    Y: ArrayLike,
    times: ArrayLike,
    loss: Any = "mse",
    *,
    samples: int = 64,
    rng: Any = 0,
    kmax: int = 4,
    n_out: int | None = None,
    rtol: float = 1e-5,
    trace_rtol: float = 1e-3,
    workers: int | None = None,
    progress: bool = False,
) -> SampledTrajectory:
    r"""Moments of the Hessian during gradient flow on any convex loss.

    (Y(0), G(0)) is drawn from its Gaussian limit, :math:`∂_t Y = -Θ ∇C(Y)`, :math:`∂_t G = -Λ ∇C(Y)`, and

    .. math::
        \mathrm{Tr} I^k = \mathrm{Tr}(𝓗C(Y) Θ)^k, \quad \mathrm{Tr} S = G \cdot ∇C(Y), \quad
        \mathrm{Tr} S^2 = ∇C^T Υ ∇C, \quad \mathrm{Tr} H^k = \mathrm{Tr} I^k + \mathrm{Tr} S^k.

    Parameters
    ----------
    kernels : LimitingKernels
        Anything with (N, N) arrays ``sigma``, ``theta``, ``phi``, ``lam``, ``upsilon``, ``xi``.
    Y : array_like, (N,) or (N, n_out)
        Targets as the loss takes them.
    times : array_like, (T,)
        Gradient-flow times, finite, ≥ 0, any order.
    loss : str, Loss or expression
        ``"mse"``, ``"binary"``, ``"softmax"``, an expression in y and t, or a :class:`~kernelcalc.training.losses.Loss`.
    samples : int
        Number of initialisations, at least 2.
    rng : int or Generator
        The draws, hence the result, do not depend on ``workers``.
    kmax : int
        Highest moment. Beyond 4 a coupled loss needs dense (N n_out)² matrices.
    n_out : int, optional
        Number of outputs, when class labels do not show it.
    rtol : float
        Relative tolerance of Y(t), and of the integral of ∇C that drives G(t); see :func:`gradient_flow`.
    trace_rtol : float
        Tr I³ and Tr I⁴ of a loss that couples outputs may lack this part of themselves, which makes them five to forty
        times faster for many points (measured, 256 digits: benchmarks/shortcuts.py); what they lack at most is in the result.
        The default lay below the standard error of 64 initialisations where both were measured (Tr I⁴, smooth_relu and tanh,
        256 digits), and a fifth to a half of it was missing there. 0 leaves rounding.
    workers : int, optional
        Threads for the traces of I, by default one a core. BLAS is held to one thread meanwhile.
    progress : bool
        Show a bar (needs tqdm).

    Returns
    -------
    SampledTrajectory

    Warns
    -----
    AssumptionWarning
        A loss from an expression that sinks without bound: its gradients need not be bounded over sublevel sets.

    Raises
    ------
    ShapeError, NotFiniteError
        The kernels and Y do not fit together, or hold NaN or infinity.
    InputError, UnknownNameError
        Times, numbers or options out of their ranges, or another loss.
    CovarianceError
        The covariance of (Y(0), G(0)) has a negative eigenvalue beyond rounding.
    IntegrationError
        The integrator fails.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.

    Examples
    --------
    With every kernel 1 and one point, Tr I = p(1 - p) ≤ ¼ under the binary loss.

    >>> from types import SimpleNamespace
    >>> one = np.ones((1, 1))
    >>> ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
    >>> moments = hessian_moments(ones, [1], [0.0, 10.0], loss="binary", samples=8)
    >>> bool((moments.sample_trace_i[:, 0] <= 0.25).all())
    True
    """
    law = resolve_loss(loss)
    if n_out is not None:
        check_count("n_out", n_out, 1)
    targets = law.encode(Y, n_out)
    _check_gradients(law, targets)
    grams = {name: gram(kernels, name, len(targets)) for name in ("theta", "lam", "upsilon")}
    unique, where = sorted_times(times)
    check_count("kmax", kmax, 1)
    trace_rtol = _tolerance("trace_rtol", trace_rtol, 0.0)
    workers = processors() if workers is None else workers
    check_count("workers", workers, 1)
    y0, g0 = initial_draws(kernels, targets.shape[1], samples, rng)
    n, n_out = targets.shape
    trace_i = np.empty((samples, kmax, unique.size))
    bounds = np.empty((kmax, unique.size))
    keep_freed_memory()
    trace_s, trace_s2, value = (np.empty((samples, unique.size)) for _ in range(3))
    with ThreadPoolExecutor(workers) as pool, one_blas_thread(workers):
        each = map if workers == 1 else pool.map
        leading = LeadingTraces(grams["theta"], trace_rtol, each)
        if not flag("progress", progress):
            _warn_if_long(law, (samples, unique.size, n, n_out, kmax), leading.is_likely(), workers)
        flow = gradient_flow(grams["theta"], y0, targets, law, unique, rtol=rtol, each=each)
        for i, (w, y) in enumerate(with_bar(flow, "times", progress, total=unique.size)):
            slope = law.slope(y, targets) / n
            g = g0 - along_points(grams["lam"], w)
            trace_s[:, i] = np.einsum("sna,sna->s", g, slope)
            trace_s2[:, i] = np.einsum("sna,sna->s", slope, along_points(grams["upsilon"], slope))
            value[:, i] = law.point_values(y, targets).mean(axis=-1)
            hessians = _Hessians(law, y, targets)
            found = bounded_moments(grams["theta"], hessians, kmax, leading, has_blocks=law.has_blocks)
            trace_i[:, :, i], bounds[:, i] = found[0], found[1].mean(axis=0)
    kept = {"trace_i": trace_i, "trace_s": trace_s, "trace_s2": trace_s2, "loss": value}
    kept = {name: array[..., where] for name, array in kept.items()}
    for array in kept.values():
        array.flags.writeable = False
    return SampledTrajectory(
        times=unique[where],
        **{name: array.mean(axis=0) for name, array in kept.items()},
        **{f"sample_{name}": array for name, array in kept.items()},
        deviation=lambda name: np.asarray(kept[name].std(axis=0, ddof=1)),
        trace_i_bound=bounds[:, where],
        loss_name=law.name,
    ).with_origin(**origin_of(kernels), targets=digest(targets), seed=seed_of(rng))


@dataclass(frozen=True, eq=False)
class _Hessians:
    """𝓗C of a batch of outputs, samples first, where they are asked for."""

    law: Loss
    outputs: Array
    targets: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.outputs.shape, self.outputs.shape[-1]) if self.law.has_blocks else self.outputs.shape

    def __getitem__(self, samples: slice) -> Array:
        return np.asarray(self.law.curvature(self.outputs[samples], self.targets) / len(self.targets))

    def couplings(self, samples: slice) -> Array | None:
        """Those of the loss."""
        if self.law.couplings is None:
            return None
        return self.law.couplings(self.outputs[samples], self.targets) / len(self.targets)


def _warn_if_long(law: Loss, sizes: tuple[int, int, int, int, int], quick: bool, workers: int) -> None:
    samples, count, n, _, _ = sizes
    what = f"moments of {n} points, {samples} initialisations at {count} times"
    work = samples * _work_of_a_sample(law, *sizes[1:], quick)
    warn_if_long(work / workers, what, "progress=True shows a bar; fewer points, samples or times are faster")


def _work_of_a_sample(law: Loss, count: int, n: int, n_out: int, kmax: int, quick: bool) -> float:
    """Multiply-adds that take as long as the training of one initialisation and its moments.

    Fitted to times measured with softmax, 2 to 10 classes, 64 to 512 points, 8 to 64 samples at 8 and 50 times.
    """
    training = 1e5 * n * n_out + 150 * n**2 * n_out
    pairs, products = n_out * (n_out - 1) / 2, max((kmax + 1) // 2 - 1, 0)
    if law.is_quadratic:
        traces = 0.0
    elif not law.has_blocks or n_out == 2:
        traces = (1 if law.has_blocks else n_out) * (n**3 * products + 20.0 * n**2)
    elif kmax > 4:
        traces = float(n * (n_out - 1)) ** 3 * products
    else:
        traces = n**2 * (100 * n_out**2 + 0.7 * n * pairs) if kmax > 2 else 100.0 * n**2 * n_out
        if quick:
            traces = min(traces, 1e7 + pairs * (1250 * n + n**2))
    return training + count * (traces + 1e3 * n * n_out)


def _tolerance(name: str, value: Any, least: float) -> float:
    number = check_number(f"a tolerance {name}", value, least)
    if number >= 1:
        raise InputError(f"a tolerance {name} below 1", f"{value!r}")
    return number


def gradient_flow(
    theta: Array,
    start: Array,
    targets: Array,
    loss: Loss,
    times: Array,
    *,
    rtol: float = 1e-5,
    each: Callable[..., Iterable[Any]] = map,
) -> Iterator[tuple[Array, Array]]:
    r"""Gradient flow of a batch of outputs, one time after the other.

    Only :math:`W(t) = \int_0^t ∇C(Y)` is integrated, since Y = Y(0) - Θ W and G = G(0) - Λ W: by SciPy's BDF, groups
    of samples as stiff systems, each with steps of its own, with GMRES for linear systems, see
    :mod:`kernelcalc.training.integrator`.

    Parameters
    ----------
    theta : ndarray, (N, N)
        Θ.
    start : ndarray, (S, N, n_out)
        Y(0).
    targets : ndarray, (N, n_out)
        Encoded labels.
    loss : Loss
        Its ``slope`` and ``curvature_product`` are what is called.
    times : ndarray
        Increasing.
    rtol : float
        Error of Y relative to the size of Y(0) and Y(t), root mean square over a sample; of the squared hinge, whose curvature
        jumps, up to four times that at 1e-7 (measured).
    each : callable
        ``map``, or the map of an executor; the result is the same.

    Yields
    ------
    (W, Y) : ndarray, (S, N, n_out)

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.
    """
    rtol = _tolerance("rtol", rtol, 1e-11)
    largest = float(np.linalg.norm(theta, 2))
    rough = _for_solves(theta, largest * loss.curvature_bound / len(theta), times)
    labels = np.ascontiguousarray(targets.T).T
    parts = np.array_split(start, min(len(start), -(-start.size // _GROUP)))
    flows = [_flow_of_group(theta, rough, part, labels, loss, times, rtol, largest) for part in parts]
    for _ in times:
        w, y = (np.concatenate(found, axis=1) for found in zip(*each(next, flows), strict=True))
        yield w.transpose(1, 2, 0), y.transpose(1, 2, 0)


def _flow_of_group(
    theta: Array, rough: Array, start: Array, labels: Array, loss: Loss, times: Array, rtol: float, largest: float
) -> Iterator[tuple[Array, Array]]:
    """W and Y of some samples, (n_out, S, N) in memory: Θ acts by one product, and sums over outputs run along planes."""
    n = len(theta)
    y0 = np.ascontiguousarray(start.transpose(2, 0, 1))

    def image(v: Array, matrix: Any = theta) -> Array:
        return np.asarray((v.reshape(-1, n) @ matrix).reshape(v.shape))

    def slope(u: Array) -> Array:
        return loss.slope(u.transpose(1, 2, 0), labels).transpose(2, 0, 1) / n

    # Y where it was asked for last: the Jacobian is taken where the derivative was
    known: list[Array] = [np.zeros_like(y0), y0]

    def outputs(w: Array) -> Array:
        if not np.array_equal(known[0], w):
            known[:] = w.copy(), y0 - image(w)
        return known[1]

    # Entries of W below this change Y by less than the tolerance, in units of Y(0) or of its distance to the minimum.
    size = np.sqrt(np.mean(y0**2, axis=(0, 2))) + n * np.sqrt(np.mean(slope(y0) ** 2, axis=(0, 2)))
    floor = np.where(size > 0, size, size.max() or 1.0) / (largest or 1.0)
    atol = rtol / _LOCAL_W * floor[:, None]
    rough = rough / -n

    def jacobian(w: Array) -> Callable[[Array], Array]:
        curvature = loss.curvature_product(outputs(w).transpose(1, 2, 0), labels)
        return lambda v: curvature(image(v, rough).transpose(1, 2, 0)).transpose(2, 0, 1)

    steepness = float(np.finfo(rough.dtype).eps) * largest * loss.curvature_bound / n

    def bend(d: Array) -> Array:
        """Bound of what ∇C departs by from its linear part in a step, and of the rounding of that."""
        moved = image(d.astype(rough.dtype), rough)
        return 0.5 * n * loss.curvature_slope * np.sum(moved**2, axis=0) + steepness * np.abs(d)

    flow = integrate(
        lambda w: slope(outputs(w)),
        jacobian,
        np.zeros_like(y0),
        times,
        rtol=rtol / _LOCAL,
        atol=atol,
        solves_in=rough.dtype.type,
        bend=bend if loss.curvature_slope < np.inf else None,
    )
    for w in flow:
        yield w, y0 - image(w)


def _for_solves(theta: Array, steepest: float, times: Array) -> Any:
    """Θ in float32, if a step of all the time, times the rounding of a product, is small beside the accuracy of solves."""
    rounding = steepest * float(np.finfo(np.float32).eps) * float(times[-1] if len(times) else 0.0)
    return theta.astype(np.float32) if rounding < _SINGLE_SOLVES else theta


def _check_gradients(law: Loss, targets: Array) -> None:
    """Warn of a loss without bounded gradients over sublevel sets."""
    seen = np.unique(targets)[:_TARGETS_LOOKED_AT, None]
    if isinstance(law, ConvexLoss) and np.isinf(law.sublevel_bound(0.0, seen)):
        # one that is not convex is refused instead
        law.curvature(np.zeros_like(seen), seen)
        law.warn_of_gradients()
