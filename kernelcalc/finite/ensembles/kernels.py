r"""The kernels of finite networks: exact for one set of parameters, and in ensembles through training.

With f the outputs, g(x) = Tr Hf(x) and a, b numbering outputs, every kernel is the mean of its diagonal blocks a = b.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from kernelcalc.arguments import check_count, counts, random_generator
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite.arrays import AnyArray, finite_array, whole_number
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.curvature.moments import hessian_moments
from kernelcalc.finite.curvature.pairs import CurvaturePairs, curvature_pairs, unit_pairs
from kernelcalc.finite.curvature.together import moments_of_networks
from kernelcalc.finite.derivatives import Problem, forward, run_ntk, unit_traces
from kernelcalc.finite.ensembles.fingerprint import architecture
from kernelcalc.finite.ensembles.records import MOMENT_FIELDS
from kernelcalc.finite.ensembles.trace_gradients import HAND_MADE_DEPTH, SHIFT, STENCIL, trace_derivatives
from kernelcalc.finite.ensembles.trials import run_trials
from kernelcalc.finite.network import FiniteNetwork, LayeredNetwork
from kernelcalc.finite.training import Schedule, train_together
from kernelcalc.machine import blas_threads
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

# Σ weight F(s h) = h² F''(0) + O(h⁶), F(0) once
_SECOND = ((-2.0, -1 / 12), (-1.0, 4 / 3), (0.0, -5 / 2), (1.0, 4 / 3), (2.0, -1 / 12))
# Random directions of unit components move pre-activations by this much: the error is about its fourth power.
_SWING = 4e-3
# Trials together at most, and parameters of all their networks (about two seconds at few points).
_MOST_TRIALS, _PARAMETERS_OF_TRIALS = 16, 2**21


def mean_ntk(net: FiniteNetwork, X: Any) -> AnyArray:
    """Θ(x, x') = ∇f_a(x)·∇f_a(x'), mean over a, (N, N).

    Examples
    --------
    >>> fin = FiniteNetwork(weights=[np.ones((1, 1))], biases=[np.zeros(1)], activations=[], beta=1.0)
    >>> mean_ntk(fin, [[3.0]])
    array([[10.]])
    """
    return _mean(net.ntk(X), net.n_out)


def _mean(theta: AnyArray, n_out: int) -> AnyArray:
    """Over the diagonal blocks a = b."""
    return theta if n_out == 1 else np.einsum("...stcc->...st", theta) / n_out


def trace_gradient_kernel(net: FiniteNetwork, X: Any, probes: int = 8, rng: Any = 0) -> AnyArray:
    r"""Λ(x, x') = ∇g_a(x)·∇f_a(x'), mean over a, (N, N); the row is g's argument.

    The derivative of g, which is exact, along every ∇f_a(x'),

    .. math:: Λ(x, x') = \frac{d}{ds} g(x; θ + s ∇f(x'))\Big|_{s=0}

    by hand for up to two hidden layers (:mod:`kernelcalc.finite.ensembles.trace_gradients`), for more by central differences of
    fourth order, with a relative error below 1e-10 (tested against complex-step derivatives of traces of dense Hessians). For
    compositions other than fully connected ones, where g costs the cube of the width, an unbiased estimate from ``probes``
    vectors v of independent signs,

    .. math:: Λ(x, x') = E_v \frac{d^2}{dh^2} ∇f(x; θ + h v)·∇f(x'; θ)\Big|_{h=0}

    Raises
    ------
    ShapeError, NotFiniteError
        X is not (N, n_in), or holds NaN or infinity.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Proposition 4 and Lemma 3.
    """
    x = net.points(X)
    if not isinstance(net, LayeredNetwork) and net.depth <= HAND_MADE_DEPTH:
        return trace_derivatives(forward(net, x)) / net.n_out
    if net.weights[0].ndim > 2:
        return np.stack([trace_gradient_kernel(one, x) for one in net.each()])
    theta, jac = net.parameters, net.jacobian(x)
    if isinstance(net, LayeredNetwork):
        return _sampled_gradient_kernel(net, x, jac, whole_number(probes, "probes"), random_generator(rng))
    total = np.zeros((len(x), len(x)), dtype=net.dtype)
    for t in range(len(x)):
        for a in range(net.n_out):
            direction = jac[t, a]
            norm2 = float(direction @ direction)
            if norm2 == 0:
                continue
            # SHIFT bounds the change of a pre-activation, up to the ratio of gradient norms
            step = SHIFT / norm2
            for s, weight in STENCIL:
                up, down = (net.at(theta + sign * s * step * direction) for sign in (1.0, -1.0))
                total[:, t] += weight / step * (up.hessian_trace(x) - down.hessian_trace(x))[:, a]
    return total / net.n_out


def _sampled_gradient_kernel(
    net: LayeredNetwork, x: AnyArray, jac: AnyArray, probes: int, rng: np.random.Generator
) -> AnyArray:
    """Second differences along random signs of the derivatives of all f_a(x) along every ∇f_a(x')."""
    n, outputs = jac.shape[:2]
    along = jac.reshape(n * outputs, -1)
    found = np.zeros((n, outputs, n, outputs), dtype=net.dtype)
    for _ in range(probes):
        signs = rng.choice(np.array([-1.0, 1.0]), size=net.n_parameters).astype(net.dtype)
        for s, weight in _SECOND:
            moved = net.at(net.parameters + s * _SWING * signs).directional(x, along)
            found += weight / _SWING**2 / probes * moved.reshape(n, outputs, n, outputs)
    # (direction, its output, point, output)
    return np.asarray(np.einsum("tasa->st", found) / outputs)


def hessian_kernel(net: FiniteNetwork, X: Any, probes: int = 16, rng: Any = 0) -> AnyArray:
    """Υ(x, x') = Tr Hf_a(x) Hf_a(x'), mean over a, (N, N), exactly and without a P × P matrix.

    For compositions other than fully connected ones an unbiased estimate from ``probes`` vectors v of independent signs,
    the mean of Hf_a(x)v · Hf_a(x')v.

    Raises
    ------
    InputError
        What is no seed.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Lemma 4.
    """
    x, total = net.points(X), np.zeros((), dtype=net.dtype)
    if isinstance(net, LayeredNetwork):
        signs = random_generator(rng).choice(np.array([-1.0, 1.0]), size=(probes, net.n_parameters))
        for a in range(net.n_out):
            splits = [HessianSplit.of_output(forward(net, one[None]), a) for one in x]
            moved = np.stack([split.product(signs.astype(net.dtype), "s") for split in splits])
            total = total + np.einsum("svp,tvp->st", moved, moved, optimize=True) / probes
        return total / net.n_out
    run = forward(net, x)
    for a in range(net.n_out):
        total = total + curvature_pairs(HessianSplit.of_output(run, a)).s_s
    return total / net.n_out


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReadoutKernels(Result):
    """E f f', E g f' and E g g', (N, N), over the last layer's parameters, for given hidden layers."""

    DIMENSIONS = axes(sigma="row column", phi="row column", xi="row column")

    sigma: AnyArray
    phi: AnyArray
    xi: AnyArray


def readout_kernels(net: FiniteNetwork, X: Any) -> ReadoutKernels:
    r"""Σ, Φ and Ξ with the mean over the last layer taken exactly.

    f and g are linear in the last layer's weights w: f = Σ_i w_i F_i + βb and g = Σ_i w_i G_i, where (F_i, G_i) belong to
    the network whose last weights are the i-th unit vector. Hence

    .. math:: E_{w,b}[f f'] = F·F' + β^2, \qquad E_{w,b}[g f'] = G·F', \qquad E_{w,b}[g g'] = G·G'

    These fluctuate by 1/√width over the hidden layers, products of samples of f and g by order one.

    Raises
    ------
    ShapeError, NotFiniteError
        X is not (N, n_in), or holds NaN or infinity.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Lemmas 3 and 5.
    """
    f, g, beta = _last_units(net, X)
    turned = f.swapaxes(-1, -2)
    return ReadoutKernels(sigma=f @ turned + beta**2, phi=g @ turned, xi=g @ g.swapaxes(-1, -2))


def _last_units(net: FiniteNetwork, X: Any) -> tuple[AnyArray, AnyArray, float]:
    """What the last weights are multiplied with, c α (N, n), the trace of its Hessian, and β."""
    if isinstance(net, LayeredNetwork):
        return net.last_units(X)
    x = net.points(X)
    with blas_threads(net.work(len(x))):
        run = forward(net, x)
        traces = unit_traces(run)
    return np.broadcast_to(net.scales[-1] * run.a[-1], traces.shape), traces, net.beta


def centred_products(net: FiniteNetwork, X: Any, Y: AnyArray, readout: ReadoutKernels) -> AnyArray:
    r"""Ten numbers of mean zero at every width that much of the noise in f(0) and g(0) can be told from.

    Changing the sign of the last layer changes that of f and g, so :math:`f^T M Y` and :math:`g^T M Y` have mean zero; and
    so have :math:`f^T M f - Tr MΣ` and :math:`g^T M f - Tr MΦ` with Σ, Φ of :func:`readout_kernels`, for any fixed matrix
    M: here Id and X Xᵀ, for the quadratic ones also Y Yᵀ.

    Raises
    ------
    ShapeError, NotFiniteError
        X or Y that do not fit the network, or hold NaN or infinity.
    """
    x = net.points(X)
    y = finite_array(Y, "Y").reshape(len(x), net.n_out)
    f, g = net(x), net.hessian_trace(x)
    x = x.reshape(len(x), -1)
    found = [_form(left, matrix, y) for matrix in (np.eye(len(x)), x @ x.T) for left in (f, g)]
    for matrix in (np.eye(len(x)), x @ x.T, y @ y.T):
        for left, mean in ((f, readout.sigma), (g, readout.phi)):
            found.append(_form(left, matrix, f) - net.n_out * np.einsum("st,...st->...", matrix, mean))
    return np.stack(found, axis=-1)


def _form(left: AnyArray, matrix: AnyArray, right: AnyArray) -> AnyArray:
    """Σ_a left_a · M right_a."""
    return np.asarray(np.einsum("...sa,...sa->...", left, matrix @ right))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """One trial: a network of every width, so that a process can run it alone."""

    net: Any
    X: AnyArray
    Y: AnyArray
    times: AnyArray
    widths: tuple[int, ...]
    kmax: int
    tol: float
    probes: int

    def run(self, seed: np.random.SeedSequence) -> dict[str, AnyArray]:
        """Fields by name with the width as first axis, then the time where there is one."""
        return self.together([seed])[0]

    def together(self, seeds: Sequence[np.random.SeedSequence]) -> list[dict[str, AnyArray]]:
        """Those of several trials, whose networks of a width are trained side by side."""
        own = zip(*(seed.spawn(len(self.widths)) for seed in seeds), strict=True)
        found = [self._of_width(width, column) for width, column in zip(self.widths, own, strict=True)]
        return [{name: np.stack([one[name] for one in row]) for name in row[0]} for row in zip(*found, strict=True)]

    def _of_width(self, width: int, seeds: Sequence[np.random.SeedSequence]) -> list[dict[str, AnyArray]]:
        shape = self.X.shape[1] if self.X.ndim == 2 else self.X.shape[1:]
        drawn = [seed.spawn(2) for seed in seeds]
        nets = [FiniteNetwork.random(self.net, width, shape, np.random.default_rng(draw)) for draw, _ in drawn]
        states = [sample.generate_state(1)[0] for _, sample in drawn]
        problem = Problem.of(nets[0], self.X, self.Y, "mse")
        found: list[dict[str, AnyArray]] = []
        for members, passed in groupby(train_together(nets, problem, self.times, self.tol, single=True), itemgetter(0)):
            own, rows = states[members], []
            start, pairs = self._start(_beside([net.parameters for net in nets[members]], nets[0]), problem, own)
            for _, time, theta, _ in passed:
                rows.append(self._record(_beside(theta, nets[0]), problem, own, None if time else pairs))
            seen = start | {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
            found += [{name: values[i] for name, values in seen.items()} for i in range(len(own))]
        return found

    def _start(
        self, nets: FiniteNetwork, problem: Problem, states: Sequence[Any]
    ) -> tuple[dict[str, AnyArray], CurvaturePairs | None]:
        """What is known before training, fields by name with the network as first axis, and the unit pairs."""
        readout = readout_kernels(nets, self.X)
        pairs = self._pairs(nets, problem)
        values = {
            "sigma": readout.sigma,
            "phi": readout.phi,
            "xi": readout.xi,
            "upsilon": pairs.s_s if pairs else hessian_kernel(nets, self.X, rng=np.random.default_rng([states[0]])),
            "controls": centred_products(nets, self.X, self.Y, readout),
        }
        return _of_each(nets, values), pairs

    def _record(
        self, now: FiniteNetwork, problem: Problem, states: Sequence[Any], pairs: CurvaturePairs | None
    ) -> dict[str, AnyArray]:
        """What is known at one time; ``pairs`` if they are."""
        options: dict[str, Any] = {"kmax": self.kmax, "probes": self.probes}
        if pairs is None:
            pairs = self._pairs(now, problem)
        if isinstance(now, LayeredNetwork):
            values = {"theta": mean_ntk(now, self.X), "lam": trace_gradient_kernel(now, self.X, rng=states[0])}
            moments = hessian_moments(now, self.X, self.Y, dense=False, rng=states[0], **options)
            values |= {name: np.asarray(getattr(moments, name)) for name in MOMENT_FIELDS}
            return _of_each(now, values)
        run = forward(now, problem.x)
        shallow = now.depth <= HAND_MADE_DEPTH
        lam = trace_derivatives(run) / now.n_out if shallow else trace_gradient_kernel(now, self.X)
        found = moments_of_networks(run, problem, states, pairs=pairs, single=True, **options)
        return {"theta": _mean(run_ntk(run, run), now.n_out), "lam": lam, **found}

    def _pairs(self, nets: FiniteNetwork, problem: Problem) -> CurvaturePairs | None:
        """With one output Υ and Tr S² come from the same sums."""
        return unit_pairs(nets, problem) if nets.n_out == 1 and not isinstance(nets, LayeredNetwork) else None

    def group(self) -> int:
        """Trials that may be run together: of large networks few, which take long and are kept when they are done."""
        if not hasattr(self.net, "sigma_w"):
            return 1
        hidden = max(1, len(self.net.activations))
        each = sum((hidden - 1) * width**2 + width * (self.X.shape[-1] + self.net.n_out) for width in self.widths)
        return max(1, min(_MOST_TRIALS, _PARAMETERS_OF_TRIALS // each))

    def settings(self) -> dict[str, Any]:
        """What defines a trial, as JSON values; activations are known by their values."""
        return {
            **architecture(self.net, [*self.X.shape[1:], int(self.net.n_out)]),
            "widths": list(self.widths),
            "data": digest(self.X, self.Y),
            "times": self.times.tolist(),
            "numbers": [self.kmax, self.tol, self.probes],
        }


def _beside(theta: Sequence[AnyArray] | AnyArray, like: FiniteNetwork) -> FiniteNetwork:
    """Networks like one with parameters (M, P) side by side; compositions, which are not fully connected, come alone."""
    return like.at(theta[0] if isinstance(like, LayeredNetwork) else np.asarray(theta))


def _of_each(nets: FiniteNetwork, values: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """With the network as first axis."""
    return {name: one[None] for name, one in values.items()} if isinstance(nets, LayeredNetwork) else values


@watched(
    "progress=True shows how far it is; "
    "fewer trials, smaller widths and earlier times are faster, workers=... shares the trials"
)
def kernels_through_training(
    net: Any,
    X: Any,
    Y: Any,
    times: Any,
    *,
    widths: Sequence[int],
    trials: int,
    rng: Any = 0,
    kmax: int = 4,
    workers: int = 1,
    progress: bool = False,
    path: str | os.PathLike[str] | None = None,
    tol: float = 1e-4,
    probes: int = 8,
    executor: Executor | None = None,
) -> dict[str, AnyArray]:
    """Kernels and Hessian moments of ensembles of several widths under gradient flow on the MSE.

    Parameters
    ----------
    net : object with ``activations``, ``sigma_w``, ``beta``, ``n_out``
        Architecture; with more than one worker it must be picklable.
    X, Y : arrays
        Points (N, n_in) and targets (N,) or (N, n_out).
    times : (T,) increasing array
        Gradient-flow times.
    widths : sequence of int
        Widths (the same for all hidden layers), W of them; trial i has one network of each.
    trials : int
        Number of initialisations of each width.
    rng, workers, path, progress, executor
        See :func:`~kernelcalc.finite.ensembles.trials.run_trials`.
    kmax, tol, probes
        See :func:`~kernelcalc.finite.ensembles.ensemble.moments_through_training`.

    Returns
    -------
    dict
        ``sigma``, ``phi``, ``xi``, ``upsilon`` (trials, W, N, N) at t = 0, the first three averaged over the last layer;
        ``theta``, ``lam`` (trials, W, T, N, N); ``trace_i``, ``trace_h`` (trials, W, T, kmax); ``trace_s``, ``trace_s2``,
        ``trace_is``, ``loss`` (trials, W, T); ``controls`` (trials, W, 10), see :func:`centred_products`.

    Notes
    -----
    Of fully connected networks whose points and σ_w are of a moderate size some is computed in float32: slopes, where that
    is estimated to move θ by less than ``tol`` in all (:func:`~kernelcalc.finite.factored.slope_type`), Υ and traces of S²
    (relative errors of some 1e-7 times the root of the width), and what S has part in of Tr H³ and Tr H⁴ (below 1e-5).

    Raises
    ------
    ShapeError, NotFiniteError
        X or Y that do not fit, or hold NaN or infinity.
    InputError
        Times that decrease or are negative, ``trials``, ``workers``, ``kmax`` or a width below 1, ``probes`` below 2, ``tol``
        that is not positive.
    """
    x = finite_array(X, "X")
    if x.ndim < 2:
        raise ShapeError("X of the shape (N, n_in)", f"the shape {x.shape}")
    sizes = counts("widths", widths, 1)
    if not sizes:
        raise InputError("at least one of widths", "none")
    check_count("kmax", kmax, 1)
    check_count("probes", probes, 2)
    task = _Task(
        net=net,
        X=x,
        Y=finite_array(Y, "Y"),
        times=Schedule(times=times, tol=tol).times,
        widths=sizes,
        kmax=kmax,
        tol=tol,
        probes=probes,
    )
    settings = None if path is None else task.settings()
    return run_trials(
        task.run,
        trials,
        rng=rng,
        workers=workers,
        path=path,
        settings=settings,
        progress=progress,
        executor=executor,
        together=task.together,
        group=task.group(),
    )
