r"""Theory beside ensembles of finite networks: the only module that sees both.

A kernel matrix K on N points is compared through a few numbers:

- ``diagonal``, Tr K/N: the layer expectations at ρ = 1;
- ``off-diagonal``, the mean over i ≠ j: those at |ρ| < 1, all pairs at once, which averages noise away;
- ``form``, Σ R_ij K_ij/N with fixed random signs R: sees any wrong entry, also where errors cancel in the means;
- ``skew`` (Φ and Λ only), Σ_ij sign(|x_i| − |x_j|) K_ij/N²: a transposed kernel changes its sign. It is zero for points of
  equal norm.

The f and g of one network are random of order one in the limit too. What can be done about it without the theory is
done: Σ, Φ and Ξ are averaged over the last layer exactly (:func:`~kernelcalc.finite.ensembles.kernels.readout_kernels`),
and with 50 trials or more the moments lose the part that is linear in products whose mean vanishes at every width
(:func:`~kernelcalc.finite.ensembles.kernels.centred_products`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernelcalc.arrays import Array, digest, plain
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite.ensembles.kernels import kernels_through_training
from kernelcalc.kernels.distributed.engine import check_engine, task_executor
from kernelcalc.kernels.first_order.finite_width import finite_width
from kernelcalc.kernels.mlp import MLP
from kernelcalc.kernels.network import check_network
from kernelcalc.kernels.points import check_points
from kernelcalc.kernels.state import KERNEL_NAMES
from kernelcalc.machine import one_blas_thread
from kernelcalc.patience import watched
from kernelcalc.results.result import seed_of
from kernelcalc.studies.validation.comparison import Quantity, Validation, compare
from kernelcalc.studies.validation.control_variates import without_noise
from kernelcalc.training.first_order import hessian_moments_at_width
from kernelcalc.training.mse import mse_moments

AT_START = ("sigma", "phi", "upsilon", "xi")
THROUGH_TRAINING = ("theta", "lam")
_SKEW = ("phi", "lam")
_FORM_SEED = 0


@watched(
    "progress=True shows how far it is; "
    "fewer trials, smaller widths and earlier times are faster, workers=... shares the trials"
)
def validate(
    net: Any,
    X: Any,
    Y: Any,
    widths: Sequence[int] | None = None,
    trials: int = 100,
    times: Sequence[float] = (0.0, 1.0, 10.0),
    rng: Any = 0,
    *,
    kmax: int = 4,
    workers: int = 1,
    progress: bool = False,
    path: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    client: Any = None,
) -> Validation:
    """Compare kernels and Hessian moments of the theory with finite networks trained by gradient flow on the MSE.

    Compared are Σ, Φ, Υ, Ξ at t = 0, Θ and Λ at all times (each through the numbers named in
    :mod:`kernelcalc.studies.validation.validate`), and Tr I^k, Tr S, Tr S², Tr H^k and the loss at all times, as means over
    initialisations extrapolated to infinite width (:func:`kernelcalc.studies.validation.comparison.compare`). Of a nonlinearity
    with kinks, Σ and Θ. Of fully connected networks the slope in 1/width is compared too, where :func:`kernelcalc.finite_width`
    gives it: Σ, Θ, Φ, Tr I, Tr I², Tr S and Tr H before training.

    Parameters
    ----------
    net : Sequential
        At least one hidden layer.
    X : array_like, (N, n_0), or (N, positions, channels), (N, height, width, channels) for convolutions
        Few points: the cost grows with N² and with width³.
    Y : array_like, (N,) or (N, n_out)
        Targets.
    widths : sequence of int
        Widths of all hidden layers, at least two different ones; by default 64, 128, 256 for an MLP, 24, 48, 96 for other
        compositions, whose Laplacians cost the cube of the width.
    trials : int
        Networks of each width, at least 2; the standard errors fall with its root.
    times : sequence of float
        Gradient-flow times, finite; explicit integration makes late times slow.
    rng : int, SeedSequence or Generator
        Seed; results do not depend on the number of workers.
    kmax : int
        Highest moment.
    workers : int
        Processes.
    progress : bool
        Show a bar (needs tqdm).
    path : path, optional
        Keep finished trials in this file and resume from it.
    engine : {None, "dask"}
        With "dask" (extra ``distributed``) networks run on the current client of ``dask.distributed``, or else on
        ``workers`` dask processes of this machine. Neither engine nor workers change what a trial computes.
    client : dask.distributed.Client, optional
        The dask cluster to run on.

    Returns
    -------
    Validation
        ``.table``, ``.passed``, ``.to_dataframe()``, ``.to_csv(path)``, ``.to_json(path)``, ``.plot(ax=None)``.

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        Arguments outside the above.
    SmoothnessError
        A nonlinearity without the derivatives that Φ, Λ, Υ, Ξ need.
    DataFileError, OutputFileError
        ``path`` belongs to another run, or cannot be written.
    MissingExtraError
        The engine is not installed.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1 and Corollary 1, with the corrections of docs/understand/errata.md.

    Examples
    --------
    >>> import kernelcalc as kc
    >>> report = kc.validate(kc.MLP("tanh", depth=2), [[1.0], [-2.0]], [1.0, 0.0], widths=(8, 16), trials=20, times=(0,))
    >>> report.passed
    True
    """
    check_network(net)
    sizes, when = _widths(default_widths(net) if widths is None else widths), _times(times)
    if isinstance(trials, bool) or not isinstance(trials, int | np.integer) or trials < 2:
        raise InputError("trials, a whole number of at least 2", f"{trials!r}")
    if not isinstance(workers, int | np.integer) or workers < 1:
        raise InputError("workers, a whole number of at least 1", f"{workers!r}")
    if net.depth < 2:
        raise InputError("a network with a hidden layer", f"depth={net.depth}", "a linear model has no width")
    if engine is not None:
        check_engine(engine)
    x = check_points(X, positions=net.has_positions)
    # few points: threads of BLAS would wait for each other
    with one_blas_thread():
        theory = theory_values(net, x, Y, when, kmax)
    y = plain(Y, "Y").astype(np.float64).reshape(len(x), -1)
    with task_executor(engine, client, int(workers)) as executor:
        samples = kernels_through_training(
            net,
            x,
            y,
            when,
            widths=sizes,
            trials=int(trials),
            rng=rng,
            kmax=kmax,
            workers=workers,
            progress=progress,
            path=path,
            executor=executor,
        )
    title = f"{net!r}: {len(x)} points in {x[0].size} dimensions"
    seen = sample_values(samples, x, when)
    compared = {quantity: seen[quantity] for quantity in theory}
    with one_blas_thread():
        slopes = first_orders(net, x, y)
    found = compare(theory, compared, sizes, title=title, first_order=slopes)
    return found.with_origin(network=repr(net), data=digest(x, y), seed=seed_of(rng))


def theory_values(net: Any, X: Array, Y: Any, times: Array, kmax: int = 4) -> dict[Quantity, float]:
    """Every compared quantity in the limit of infinite width."""
    kernels = net.kernels(X)
    # refuses a nonlinearity that jumps, which has no Θ
    _ = kernels.theta
    smooth = "xi" in kernels.available
    trajectory = mse_moments(kernels, Y, times, kmax=kmax) if smooth else None
    y = plain(Y, "Y")
    if not y.ndim or len(y) != len(X):
        raise ShapeError(f"Y of {len(X)} rows", f"the shape {y.shape}")
    y = y.reshape(len(X), -1)
    if y.shape[1] != net.n_out:
        raise InputError(f"Y with n_out = {net.n_out} columns", f"{y.shape[1]}", "give MLP the n_out of Y")
    if trajectory is not None:
        return predicted_values(kernels, trajectory, X)
    held = {name: np.asarray(getattr(kernels, name)) for name in kernels.available}
    held = {name: np.tile(k, (len(times), 1, 1)) if name in THROUGH_TRAINING else k for name, k in held.items()}
    return {quantity: float(value) for quantity, value in _scalars(held, X, times).items()}


def first_orders(net: Any, X: Array, Y: Array) -> dict[Quantity, float]:
    """Coefficients of 1/n of the compared quantities before training, where they are known; n of all hidden layers."""
    try:
        fw = finite_width(net, X, hessian=True)
    except InputError:
        return {}  # of other layers than fully connected ones it is not known
    kernels = {
        name: np.asarray(fw.arrays[name], dtype=np.float64)
        for name in ("sigma", "theta", "phi", "upsilon", "xi")
        if name in fw.arrays
    }
    values = {
        Quantity(name, part): float(value)
        for name, kernel in kernels.items()
        for part, value in _parts(name, kernel, X).items()
    }
    if "phi" in kernels:
        # at n = 1 the coefficient is what is added to the limit
        at = hessian_moments_at_width(fw, X, Y, 1)
        for name, own in (
            ("trace_i1", "trace_i"),
            ("trace_i2", "trace_i2"),
            ("trace_s", "trace_s"),
            ("trace_s2", "trace_s2"),
            ("trace_h1", "trace_h"),
            ("trace_h2", "trace_h2"),
        ):
            values[Quantity(name)] = getattr(at, own) - at.limit[own]
    return values


def predicted_values(kernels: Any, trajectory: Any, X: Array) -> dict[Quantity, float]:
    """The numbers compared, from (N, N) arrays ``kernels.sigma`` ... and a trajectory's moments."""
    arrays = {name: np.asarray(getattr(kernels, name)) for name in AT_START}
    still = (len(trajectory.times), 1, 1)
    arrays |= {name: np.tile(np.asarray(getattr(kernels, name)), still) for name in THROUGH_TRAINING}
    arrays |= {name: np.asarray(getattr(trajectory, name)).T for name in ("trace_i", "trace_h")}
    arrays |= {name: np.asarray(getattr(trajectory, name)) for name in ("trace_s", "trace_s2", "loss")}
    return {quantity: float(value) for quantity, value in _scalars(arrays, X, trajectory.times).items()}


def sample_values(samples: Mapping[str, Array], X: Array, times: Array) -> dict[Quantity, Array]:
    """The same numbers of every network, (trials, W) each, with the noise of f(0) and g(0) taken off where that helps."""
    controls = samples["controls"]
    return {
        quantity: values if quantity.name in AT_START else _quieter(values, controls)
        for quantity, values in _scalars(samples, X, times).items()
    }


def _quieter(values: Array, controls: Array) -> Array:
    reduced = np.stack([without_noise(values[:, w], controls[:, w]) for w in range(values.shape[1])], axis=1)
    return np.where(reduced.std(axis=0) < values.std(axis=0), reduced, values)


def _scalars(arrays: Mapping[str, Array], X: Array, times: Array) -> dict[Quantity, Array]:
    """Arrays with leading axes (...), reduced to one number a quantity, each of the shape (...)."""
    series: dict[tuple[str, str], Array] = {}
    for name in (name for name in KERNEL_NAMES if name in arrays):
        kernel = arrays[name] if name in THROUGH_TRAINING else arrays[name][..., None, :, :]
        series |= {(name, part): values for part, values in _parts(name, kernel, X).items()}
    for name in (name for name in ("trace_i", "trace_h") if name in arrays):
        series |= {(f"{name}{k + 1}", ""): arrays[name][..., k] for k in range(arrays[name].shape[-1])}
    series |= {(name, ""): arrays[name] for name in ("trace_s", "trace_s2", "loss") if name in arrays}
    return {
        Quantity(name, part, 0.0 if name in AT_START else float(times[i])): values[..., i]
        for (name, part), values in series.items()
        for i in range(values.shape[-1])
    }


def _parts(name: str, kernel: Array, X: Array) -> dict[str, Array]:
    """Scalars of kernels (..., N, N)."""
    n = len(X)
    trace = np.trace(kernel, axis1=-2, axis2=-1)
    parts = {"diagonal": trace / n}
    if n > 1:
        signs = np.random.default_rng(_FORM_SEED).choice(np.array([-1.0, 1.0]), size=(n, n))
        parts["off-diagonal"] = (kernel.sum(axis=(-2, -1)) - trace) / (n * (n - 1))
        parts["form"] = (kernel * signs).sum(axis=(-2, -1)) / n
        norms = (X * X).reshape(n, -1).sum(axis=1)
        order = np.sign(norms[:, None] - norms)
        # norms that differ by rounding give no order
        order[np.abs(norms[:, None] - norms) < 1e-9 * norms.max()] = 0.0
        if name in _SKEW and order.any():
            parts["skew"] = (kernel * order).sum(axis=(-2, -1)) / n**2
    return parts


def default_widths(net: Any) -> tuple[int, ...]:
    """Of fully connected networks, and of others, whose Laplacians cost the cube of the width."""
    return (64, 128, 256) if isinstance(net, MLP) else (24, 48, 96)


def _widths(widths: Any) -> tuple[int, ...]:
    given = tuple(widths) if np.ndim(widths) == 1 else ()
    good = all(isinstance(w, int | np.integer) and not isinstance(w, bool) and w >= 1 for w in given)
    if not good or len(set(given)) < 2 or len(set(given)) != len(given):
        raise InputError("at least two different widths, whole numbers", f"widths={widths!r}")
    return tuple(sorted(int(w) for w in given))


def _times(times: Any) -> Array:
    given = plain(times, "times")
    try:
        when = np.unique(np.atleast_1d(np.asarray(given, dtype=np.float64)))
    except (TypeError, ValueError) as error:
        raise InputError("times, a sequence of numbers", f"{times!r}") from error
    if when.size == 0 or not np.isfinite(when).all() or when[0] < 0:
        raise InputError("finite times ≥ 0", f"times={times!r}", "finite networks cannot train for ever")
    return when
