"""Kernels of networks: every engine, layer and number type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from groups import CUT, GROUPS, NAMED, WHOLE, Numbers, close_points, cloud, dyadic, group, prefixed, read, sphere

import kernelcalc as kc


def entries(kernels: Any) -> Numbers:
    """Entries of all kernels; of large ones the first, some of the others and the sums."""
    found: Numbers = {}
    for name in kernels.available:
        matrix = np.asarray(getattr(kernels, name))
        if max(matrix.shape) <= WHOLE:
            found[name] = matrix
            continue
        rows, columns = (CUT * np.array(matrix.shape)[:, None]).astype(int)
        sums = np.array([matrix.sum(), np.abs(matrix).sum()])
        found |= {name: matrix[rows, columns], f"{name}_first": matrix[:WHOLE, :WHOLE], f"{name}_sums": sums}
    return found


def kernels_of(
    names: Iterable[Any], points: np.ndarray, others: np.ndarray | None = None, depth: int = 3, **options: Any
) -> Numbers:
    """Kernels of networks of several nonlinearities on the same points; options of MLP and of its kernels."""
    of_network = {key: options.pop(key) for key in ("sigma_w", "beta", "n_out") if key in options}
    return prefixed(
        (str(name), entries(kc.MLP(name, depth, **of_network).kernels(points, others, **options))) for name in names
    )


def add_kernels() -> None:
    """Groups of kernels that differ in their arguments only."""
    x = cloud(6)
    cases: dict[str, Callable[[], Numbers]] = {
        "one pair": partial(kernels_of, (*NAMED, "silu", "abs"), x[:1], x[1:2]),
        "one point": partial(kernels_of, ("tanh", "relu"), x[:1]),
        "few points": partial(kernels_of, NAMED, x, sigma_w=1.3),
        "few points, X2": partial(kernels_of, NAMED, x[:3], x[2:], sigma_w=0.8, beta=0.3),
        "few points of one norm": partial(kernels_of, NAMED, sphere(6)),
        "few points, no closed form": partial(kernels_of, ("softsign", "elu"), x[:3]),
        "nine points": partial(kernels_of, NAMED, cloud(9)),
        "nine points, kinks": partial(kernels_of, ("hard_tanh", "selu", "softsign"), cloud(9), depth=2),
        "beta = 0, few": partial(kernels_of, NAMED, x, beta=0.0),
        "beta = 0, one norm": partial(kernels_of, ("tanh", "relu", "gelu"), sphere(70), beta=0.0),
        "depth 1": partial(kernels_of, ("tanh", "relu"), cloud(10), depth=1),
        "depth 2, few": partial(kernels_of, NAMED, x, depth=2),
        "depth 5, few": partial(kernels_of, NAMED, x, depth=5, sigma_w=1.2),
        "depth 5, many norms": partial(kernels_of, ("tanh", "relu", "erf"), cloud(20), depth=5, sigma_w=1.5),
        "one norm": partial(kernels_of, NAMED, sphere(70)),
        "one norm, X2": partial(kernels_of, ("tanh", "relu", "erf"), sphere(70), sphere(75, seed=3)),
        "one norm, small ρ": partial(kernels_of, ("relu", "leaky_relu", "elu"), sphere(70, 200), depth=2),
        "digits": lambda: kernels_of(("smooth_relu", "relu", "softplus"), kc.datasets.mnist14(80)[0]),
        "60 points": partial(kernels_of, NAMED, cloud(60)),
        "60 points, X2": partial(kernels_of, ("tanh", "relu", "gelu"), cloud(60), cloud(50, seed=4)),
        "60 points, σ_w = 2": partial(kernels_of, ("tanh", "relu", "softplus"), cloud(60), depth=2, sigma_w=2.0),
        "300 points": partial(kernels_of, ("tanh", "relu", "gelu", "erf"), cloud(300)),
        "300 points of one norm": partial(kernels_of, ("tanh", "relu", "erf"), sphere(300)),
        "300 points, X2": partial(kernels_of, ("softplus",), cloud(300), cloud(140, seed=4), depth=2),
        "numba": partial(kernels_of, ("tanh", "softplus", "erf"), cloud(60), engine="numba"),
        "numba, 300 points": partial(kernels_of, ("tanh", "gelu"), cloud(300), engine="numba"),
    }
    for only in ("sigma", "theta", "phi", "lam", "upsilon", "xi"):
        cases[f"only {only}"] = partial(kernels_of, ("tanh", "smooth_relu"), cloud(10), only=(only,))
    GROUPS.update({f"kernels, {name}": case for name, case in cases.items()})


def add_unusual_kernels() -> None:
    """Groups of kernels of points that are close, large, tiny or zero, and of nonlinearities without a name."""
    x, zero = cloud(6), np.vstack([np.zeros((1, 5)), cloud(9)])
    spread = cloud(60) * np.geomspace(1e-6, 4, 60)[:, None]
    cases: dict[str, Callable[[], Numbers]] = {
        "close points, few": partial(kernels_of, NAMED, close_points(8)),
        "close points": partial(kernels_of, NAMED, close_points(12)),
        "close points, kinks": partial(kernels_of, ("hard_tanh",), close_points(9)[::2], depth=2),
        "close points, depth 5": partial(kernels_of, ("tanh", "relu", "leaky_relu"), close_points(12), depth=5),
        "large norms, few": partial(kernels_of, ("erf", "relu", "gelu"), 30 * x),
        "large norms": partial(kernels_of, ("erf", "relu", "gelu"), 30 * cloud(12)),
        "larger norms, few": partial(kernels_of, ("tanh", "softplus"), 4 * x[:2], depth=2),
        "larger norms": partial(kernels_of, ("tanh", "softplus"), 3 * cloud(12), depth=2),
        "huge norms": partial(kernels_of, ("erf", "relu", "leaky_relu"), 1e6 * x),
        "tiny norms, few": partial(kernels_of, NAMED, 1e-4 * x, beta=0.0),
        "tiny norms": partial(kernels_of, ("tanh", "relu", "erf"), 1e-8 * cloud(12), beta=0.0),
        "tiny and other norms": partial(kernels_of, ("tanh", "relu", "erf"), spread, beta=0.01),
        "a zero point": partial(kernels_of, ("tanh", "relu"), zero, beta=0.0),
        "expressions": partial(kernels_of, ("x*tanh(x)", "x*erf(x)", "tanh(x - 1)", "exp(-x**2)"), cloud(10), depth=2),
    }
    GROUPS.update({f"kernels, {name}": case for name, case in cases.items()})


add_kernels()
add_unusual_kernels()


@group("kernels of every layer")
def layers() -> Numbers:
    """The layers of small and larger matrices."""
    found = []
    for name, points in (("tanh", cloud(6)), ("relu", cloud(6)), ("tanh", cloud(20)), ("gelu", sphere(70))):
        every = kc.MLP(name, 4).kernels(points).layers
        found += [(f"{name} {len(points)} layer {ell}", entries(one)) for ell, one in enumerate(every)]
    return prefixed(found)


@group("kernels, other nonlinearities in every layer")
def several_nonlinearities() -> Numbers:
    """Sequences of nonlinearities, some of them normalised or with parameters."""
    soft = kc.activation("softplus", sharpness=3)
    sequences = (
        ("tanh", "erf", "gelu"),
        ("relu", "tanh", "leaky_relu"),
        ("hard_tanh", "erf"),
        (soft.normalized(), "smooth_relu"),
    )
    sizes = (cloud(5), sphere(70))
    return prefixed(
        (f"{i} {len(points)}", entries(kc.MLP(list(names), len(names) + 1, sigma_w=1.4).kernels(points)))
        for i, names in enumerate(sequences)
        for points in sizes
    )


@group("kernels to 20 digits")
def precise_kernels() -> Numbers:
    """Numbers of mpmath: analytic, algebraic and kinked nonlinearities."""
    x = cloud(2)
    pairs = prefixed(
        (name, entries(kc.MLP(name, 2).kernels(x[:1], x[1:], dps=20))) for name in ("tanh", "gelu", "relu", "erf")
    )
    kinked = entries(kc.MLP("softsign", 2).kernels(x[:1], x[1:], only=("sigma", "theta"), dps=20))
    deep = prefixed((str(i), entries(k)) for i, k in enumerate(kc.MLP("relu", 3).kernels(x, dps=20).layers))
    return pairs | prefixed([("softsign", kinked), ("relu layers", deep)])


@group("certified kernels")
def certified_kernels() -> Numbers:
    """Balls."""
    x = cloud(2)
    return prefixed(
        (name, balls(entries(kc.MLP(name, depth).kernels(x[:1], x[1:], certified=True))))
        for name, depth in (("tanh", 2), ("erf", 3), ("relu", 3))
    )


def balls(numbers: Numbers) -> Numbers:
    """Midpoints and radii of arrays of balls."""
    found: Numbers = {}
    for name, value in numbers.items():
        array = np.asarray(value, dtype=object)
        for part in ("mid", "rad"):
            texts = [dyadic(*map(int, getattr(ball, part)().man_exp())) for ball in array.ravel()]
            found[f"{name}_{part}"] = np.array(texts).reshape(array.shape)
    return found


@group("distributed")
def distributed() -> Numbers:
    """Dask arrays, and what is computed from them."""
    import dask

    points, labels = kc.datasets.mnist14(40)
    net = kc.MLP("smooth_relu")
    with dask.config.set(scheduler="synchronous"):
        lazy = net.kernels(points * np.linspace(0.5, 2, 40)[:, None], engine="dask", chunks=16)
        held = lazy.compute()
        top = kc.distributed.top_eigenvalues(lazy.theta, 3)
        traces = kc.distributed.trace_moments(lazy.theta, exact=True)
        sampled = kc.distributed.trace_moments(lazy.theta, rank=8, probes=8)
        start = kc.distributed.initial_moments(lazy, kc.datasets.one_hot(labels))
        apart = kc.MLP("relu").kernels(points, points[:20], engine="dask", chunks=(16, 8)).compute()
    return prefixed(
        [
            ("kernels", entries(held)),
            ("X2", entries(apart)),
            ("top", read(top, "values")),
            ("traces", read(traces, "values errors")),
            ("sampled", read(sampled, "values errors")),
            ("initial", read(start, "trace_i trace_h trace_s trace_s_std trace_s2 loss")),
        ]
    )
