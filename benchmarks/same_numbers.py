"""Whether a change of the code moved any number: store a few thousand of them, change the code, compare.

    python benchmarks/same_numbers.py store before.npz
    python benchmarks/same_numbers.py compare before.npz [--rtol 1e-14]

Numbers come from the public names only (``kc.*`` and the command line), from every path that the kernels, expectations,
moments and finite networks take, at small sizes. ``compare`` prints a row for each group of numbers: how many there are, how
many are the same bits, the largest difference over the largest entry of the array it stands in, and the largest relative
difference of a single entry. The exit code is 1 if the former exceeds ``--rtol`` (0 by default), if text differs (names of
methods, and numbers of mpmath and of ball arithmetic, which are kept exactly), or if a number is missing or not finite any
more. ``--only`` takes the groups whose name contains a text.

Both runs must be made on one machine with the same libraries, which is checked: other processors round differently. One
thread of BLAS is used, for its sums depend on the number of threads. Left out are matrices too large for one panel of
series (thousands of points), pictures, and the mean of Tr H in the mean-field limit.
The whole takes one to one and a half minutes of one core.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import csv
import json
import math
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import mpmath
import numpy as np
import scipy
import sympy as sp

import kernelcalc as kc

# Names to numbers or text: scalars, arrays, mpmath numbers.
Numbers: TypeAlias = "dict[str, Any]"
GROUPS: dict[str, Callable[[], Numbers]] = {}
MACHINE = "about/machine"
SMOOTH = ("tanh", "gelu", "erf", "softplus", "sin", "smooth_relu")
NAMED = (*SMOOTH, "relu", "leaky_relu")
# Sides of matrices kept whole, and how many entries are kept of larger ones.
WHOLE, KEPT = 12, 240
CUT = np.random.default_rng(5).random((2, KEPT))


def group(name: str) -> Callable[[Callable[[], Numbers]], Callable[[], Numbers]]:
    """Enter a function that computes numbers under the name of its group."""

    def enter(function: Callable[[], Numbers]) -> Callable[[], Numbers]:
        GROUPS[name] = function
        return function

    return enter


def prefixed(parts: Iterable[tuple[str, Numbers]]) -> Numbers:
    """Numbers of several cases as those of one group."""
    return {f"{case}.{name}": value for case, numbers in parts for name, value in numbers.items()}


def read(result: Any, names: str) -> Numbers:
    """Attributes of a result."""
    return {name: getattr(result, name) for name in names.split()}


# Points


def cloud(count: int, inputs: int = 5, seed: int = 0) -> np.ndarray:
    """Points of many norms."""
    return np.random.default_rng(seed).standard_normal((count, inputs))


def sphere(count: int, inputs: int = 20, seed: int = 1) -> np.ndarray:
    """Points of one norm."""
    points = cloud(count, inputs, seed)
    return points * (math.sqrt(inputs) / np.linalg.norm(points, axis=1, keepdims=True))


def close_points(count: int) -> np.ndarray:
    """Points among which some are equal, opposite, multiples of each other or apart by 1e-3 to 1e-12."""
    points = cloud(count, 6, seed=2)
    points[1] = points[0]
    points[2] = -points[0]
    points[3] = 2 * points[0]
    points[4] = points[0] * (1 + 1e-12)
    points[5] = points[0] + 1e-6 * points[6]
    points[7] = points[0] + 1e-9 * points[6]
    if count > 8:
        points[8] = points[0] + 1e-3 * points[6]
    return points


# Kernels


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


# Expectations


def covariances() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, q', c: moderate ones, ρ near and at ±1, small and large variances, zero."""
    q = np.array([1.0, 0.3, 4.0, 1.0, 1.0, 1e-6, 25.0, 1.0, 2.0, 1e-6])
    qp = np.array([2.0, 0.7, 4.0, 1.0, 1.0, 2e-6, 30.0, 1.0, 0.01, 9.0])
    c = np.array([0.5, -0.2, 3.99999, 1.0, -1.0, 1e-6, 10.0, 0.0, 0.1, -1e-3])
    return q, qp, c


def expectations(f: Any, g: Any, zero: bool = True, **options: Any) -> Numbers:
    """Values, error bounds and methods of one pair of functions; ``zero``: at vanishing variances too."""
    q, qp, c = covariances()
    if zero:
        q, qp, c = np.append(q, [0.0, 0.0]), np.append(qp, [1.0, 0.0]), np.append(c, [0.0, 0.0])
    found = read(kc.gaussian_expectation(f, g, q, qp, c, full_output=True, **options), "value error method")
    return found | {"alone": [float(kc.gaussian_expectation(f, g, q[i], qp[i], c[i], **options)) for i in (0, 2)]}


@group("expectations of smooth functions")
def smooth_expectations() -> Numbers:
    """Closed forms, series and quadrature."""
    pairs = [(name, name) for name in SMOOTH]
    pairs += [("gelu", "softplus"), ("tanh", "erf"), ("exp(x/4)", "x**2"), ("hermite(degree=3)", "sigmoid")]
    pairs += [("tanh(x - 3)", "tanh(x + 2)"), ("1/(1 + x**2)", "arctan"), ("cos", "gaussian(scale=2)")]
    pairs += [("softplus(sharpness=20)", "softplus(sharpness=20)"), ("elu", "tanh(5*x)"), ("log_cosh", "mish")]
    return prefixed((f"{f}, {g}", expectations(f, g)) for f, g in pairs)


@group("expectations of functions with kinks and jumps")
def kinked_expectations() -> Numbers:
    """Closed forms, polar quadrature and nested panels."""
    pairs = [(name, name) for name in ("relu", "leaky_relu", "abs", "hard_tanh", "softsign", "elu", "selu", "step")]
    pairs += [("relu", "tanh"), ("relu6", "erf"), ("abs(x - 2)*tanh(x)", "sin(3*x)"), ("abs(x - 2)*tanh(x)", "tanh")]
    return prefixed((f"{f}, {g}", expectations(f, g)) for f, g in pairs)


@group("expectations of derivatives")
def derivative_expectations() -> Numbers:
    """Derivatives, those that are distributions among them."""

    def derived(name: str, k: int) -> Any:
        return kc.activation(name).derivative(k)

    found = prefixed(
        (f"{f}{i}, {g}{j}", expectations(derived(f, i), derived(g, j)))
        for f, i, g, j in (
            ("tanh", 3, "tanh", 1),
            ("gelu", 2, "gelu", 2),
            ("relu", 1, "relu", 1),
            ("elu", 1, "tanh", 2),
        )
    )
    q, qp, c = (part[[0, 1, 2, 6, 7, 8]] for part in covariances())
    for f, i, g, j in (("relu", 2, "tanh", 0), ("hard_tanh", 2, "relu", 1), ("relu", 2, "relu", 2)):
        result = kc.gaussian_expectation(derived(f, i), derived(g, j), q, qp, c, full_output=True)
        found |= prefixed([(f"{f}{i}, {g}{j}", read(result, "value error method"))])
    return found


@group("expectations of callables and to other tolerances")
def other_expectations() -> Numbers:
    """NumPy functions, normalised nonlinearities, tolerances."""
    mixed = kc.activation("smooth_relu", scale=0.3).normalized()
    return prefixed(
        [
            ("callable", expectations(np.tanh, np.cos)),
            ("normalized", expectations(mixed, mixed)),
            ("1e-6", expectations("softplus(sharpness=20)", "elu", rtol=1e-6)),
            ("1e-13", expectations("tanh", "softsign", zero=False, rtol=1e-13)),
        ]
    )


@group("expectations on random covariances")
def random_expectations() -> Numbers:
    """Arrays of 80 covariances."""
    rng = np.random.default_rng(6)
    q, qp = np.exp(rng.uniform(-6, 4, (2, 80)))
    c = np.sin(rng.uniform(-1.5, 1.5, 80)) * np.sqrt(q * qp)
    return prefixed(
        (f"{f}, {g}", read(kc.gaussian_expectation(f, g, q, qp, c, full_output=True), "value error method"))
        for f, g in (("tanh", "tanh"), ("relu", "relu"), ("gelu", "erf"), ("sin", "cos"), ("softsign", "tanh"))
    )


@group("expectations to 30 digits")
def precise_expectations() -> Numbers:
    """Exact algebra, lattice and panels in multiprecision."""
    pairs = (("tanh", "tanh"), ("erf", "gelu"), ("relu", "relu"), ("softsign", "elu"), ("hard_tanh", "tanh"))
    settings = ((1, 2, "0.5"), ("0.01", 3, "-0.1"), (1, 1, 1))
    return prefixed(
        (
            f"{f}, {g}, {numbers}",
            read(kc.gaussian_expectation(f, g, *numbers, dps=30, full_output=True), "value error method"),
        )
        for f, g in pairs
        for numbers in settings
    )


@group("certified expectations")
def certified_expectations() -> Numbers:
    """Balls for analytic functions and for kinked ones with closed forms."""
    pairs = (("tanh", "arctan"), ("erf", "erf"), ("relu", "relu"), ("gelu", "softplus"))
    return prefixed(
        (
            f"{f}, {g}, {dps}",
            balls({"value": kc.gaussian_expectation(f, g, 1, 2, "0.5", certified=True, dps=dps)}),
        )
        for f, g in pairs
        for dps in (None, 25)
    )


# Moments, spectra, predictions

MOMENTS = "trace_i trace_s trace_s2 trace_h trace_s_std trace_s2_std trace_h_std trace_i_std loss loss_std"
TIMES = (0.0, 0.3, 2.0, 20.0, 400.0)


@lru_cache(maxsize=1)
def digits() -> tuple[Any, np.ndarray, np.ndarray]:
    """Kernels of 24 digits of many norms, targets of one and of several outputs."""
    points, labels = kc.datasets.mnist14(24)
    points = points * np.linspace(0.7, 1.4, 24)[:, None]
    return kc.MLP("smooth_relu").kernels(points), kc.datasets.parity(labels), kc.datasets.one_hot(labels)


@group("moments under MSE")
def mse_moments() -> Numbers:
    """Corollary 1."""
    kernels, signs, classes = digits()
    cases = {
        "signs": kc.mse_moments(kernels, signs, [*TIMES, math.inf]),
        "classes": kc.mse_moments(kernels, classes, TIMES, kmax=6),
        "tanh": kc.mse_moments(kc.MLP("tanh", 2).kernels(cloud(10, 3)), cloud(10, 2), [0.0, 1.0, 50.0]),
        "first": kc.mse_moments(kernels, signs, [1.0], kmax=1),
    }
    found = prefixed((name, read(case, MOMENTS)) for name, case in cases.items())
    return found | {"times": kc.training_times(kernels.theta, 8)} | prefixed([("columns", cases["signs"].columns())])


@group("moments under other losses")
def sampled_moments() -> Numbers:
    """Theorem 1 with sampled starts."""
    kernels, signs, classes = digits()
    cases = {
        "mse": (signs, "mse"),
        "binary": (signs, "binary"),
        "softmax": (classes.argmax(axis=1), "softmax"),
        "log cosh": (signs, "log(cosh(y - t))"),
    }
    found: Numbers = {}
    for name, (labels, loss) in cases.items():
        moments = kc.hessian_moments(kernels, labels, TIMES[:4], loss, samples=4, rng=3)
        numbers = read(moments, MOMENTS) | {"quantiles": moments.quantiles("trace_h", [0.1, 0.5])}
        found |= prefixed([(name, numbers)])
    own = kc.convex_loss("log(1 + exp(-t*y))")
    outputs = np.linspace(-3, 3, 24)
    return found | {"own": own.gradient(outputs, signs), "own_hessian": own.hessian(outputs, signs)}


@group("laws and quantiles under MSE")
def laws() -> Numbers:
    """Quadratic forms of Gaussians."""
    kernels, signs, classes = digits()
    found: Numbers = {}
    for moment in ("trace_s", "trace_s2", "loss"):
        law = kc.mse_law(kernels, signs, 2.0, moment)
        at = law.mean + law.std * np.array([-0.5, 0.1, 1.0, 2.5])
        numbers = read(law, "mean std variance skewness") | {"cdf": law.cdf(at), "pdf": law.pdf(at)}
        numbers |= {"tails": law.cdf(at, method="saddlepoint"), "fourth": law.cumulant(4), "draws": law.sample(5)}
        numbers["levels"] = law.averaged(5).quantile([0.05, 0.5])
        numbers["quantiles"] = kc.mse_quantiles(kernels, classes, [0.0, 2.0], moment, (0.1, 0.9), copies=3)
        found |= prefixed([(moment, numbers)])
    return found


@group("spectrum of I and the mean-field limit")
def spectra() -> Numbers:
    """Eigenvalues, outliers, cluster means, random-matrix references."""
    kernels, signs, classes = digits()
    outputs = np.random.default_rng(7).standard_normal(classes.shape)
    numbers = classes.argmax(axis=1)
    found: Numbers = {}
    for name, y, labels in (("mse", outputs, classes), ("softmax", outputs, numbers), ("binary", outputs[:, 0], signs)):
        one = kc.spectrum_of_i(kernels, y, labels, name)
        counts = [one.outliers(rule) for rule in ("gap", "ratio", "cutoff")]
        found |= prefixed([(name, {"values": one.values, "outliers": counts, "third": one.moment(3)})])
        found[f"{name}.components"] = np.abs(one.components[:3])
        limit = kc.mean_field_moments(kernels, labels, name)
        at = limit.at_width(100)
        found |= {f"{name}.std": limit.trace_h_std, f"{name}.second": limit.trace_h2}
        found[f"{name}.at_width"] = [at["trace_h_std"], at["trace_h2"]]
    found["clusters"] = kc.spectrum.cluster_spectrum(kernels.theta, classes / 24, numbers)
    found["edges"] = kc.spectrum.marchenko_pastur_edges(0.3, 2.0)
    found["bulk"] = kc.spectrum.bulk_scale([1.0, 2.0], 24, (30, 20))
    return found


@group("order and chaos")
def phases() -> Numbers:
    """Fixed points, diagrams, critical lines, what depth does."""
    found: Numbers = {}
    for name in ("tanh", "relu", "erf", "smooth_relu"):
        diagram = kc.phase_diagram(name, [0.7, 1.0, 1.6], [0.0, 0.1, 0.8])
        points = kc.phase.fixed_points(name, 1.2, 0.2)
        numbers = read(diagram, "q chi") | dict(zip(("line_w", "line_b", "line_q"), diagram.line, strict=True))
        numbers["fixed"] = [[point.q, point.slope, point.chi, point.correlation_depth] for point in points]
        found |= prefixed([(name, numbers)])
    place = kc.phase.normalized_position("gelu")
    profile = kc.phase.depth_profile("tanh", sphere(10), (1, 3, 8), sigma_w=1.5)
    found |= prefixed([("normalized", read(place, "q slope chi"))])
    names = "correlation distance_to_constant distance_to_identity narrow_valley"
    return found | prefixed([("profile", read(profile, names))])


@group("predictions")
def predictions() -> Numbers:
    """Learning rates of all parametrisations, curves, held-out points."""
    points, labels = kc.datasets.mnist14(30)
    signs, net = kc.datasets.parity(labels), kc.MLP("tanh", 3, sigma_w=1.2)
    names = (
        "spectrum top learning_rates standard_learning_rates pytorch_learning_rates standard_times pytorch_times "
        "condition_number time_constants sample_condition sample_top sample_standard_top sample_pytorch_top"
    )
    of_law = "mean std g_mean g_std loss network_loss accuracy network_accuracy"
    found: Numbers = {}
    for name, network, loss, y in (
        ("mse", net, "mse", signs),
        ("relu", kc.MLP("relu", 2), "mse", kc.datasets.one_hot(labels)),
        ("binary", net, "binary", signs),
        ("softmax", kc.MLP("erf", 2), "softmax", labels),
    ):
        report = kc.predict(network, points[:24], y[:24], loss, width=64, samples=3, times=[0.0, 1.0, 10.0], rng=1)
        numbers = read(report, names) | read(report.moments, "loss loss_std trace_h trace_h_std")
        end = math.inf if loss == "mse" else 10.0
        test = kc.held_out(network, points[:24], y[:24], points[24:], y[24:], loss, time=end, samples=3)
        found |= prefixed([(name, numbers), (f"{name} held out", read(test, of_law))])
    theta = net.kernels(points).theta
    outputs = np.linspace(-2, 2, 30)
    rates = [kc.largest_learning_rate(theta, outputs, signs, loss) for loss in ("mse", "binary", "log(cosh(y - t))")]
    return found | {"rates": rates}


# Symbolic


@group("symbolic kernels")
def symbolic_kernels() -> Numbers:
    """Values of expressions, whatever their form."""
    symbolic = kc.symbolic
    values = {symbolic.q: sp.Rational(6, 5), symbolic.qp: sp.Rational(7, 10), symbolic.c: sp.Rational(3, 10)}
    arrays = np.array([1.2, 0.5]), np.array([0.7, 0.8]), np.array([0.3, -0.2])
    found: Numbers = {}
    for name, depth in (("erf", 2), ("relu", 2), ("sin", 2), ("gelu", 2), ("erf", 3), ("relu", 3), ("tanh", 2)):
        net = kc.MLP(name, depth)
        kinds: tuple[str, ...] = ("sigma", "theta")
        if name in ("erf", "sin") and depth == 2:
            kinds = ("theta", "phi", "lam", "upsilon", "xi")
        for kind in kinds:
            case = f"{name} {depth} {kind}"
            expr = symbolic.kernel(kind, net)
            found[case] = float(expr.subs(values).evalf(25))
            found[f"{case} compiled"] = symbolic.to_numpy(expr)(*arrays)
            if name != "tanh":
                found[f"{case} diagonal"] = float(symbolic.kernel(kind, net, diagonal=True).subs(values).evalf(25))
    return found


@group("symbolic expectations and spheres")
def symbolic_rest() -> Numbers:
    """Closed forms, Hermite coefficients, Taylor and Mercer expansions."""
    symbolic, x = kc.symbolic, kc.symbolic.x
    values = {symbolic.q: sp.Rational(6, 5), symbolic.qp: sp.Rational(7, 10), symbolic.c: sp.Rational(3, 10)}
    closed = [
        symbolic.GaussianExpectation(sp.erf(x), sp.erf(x)).doit(),
        symbolic.GaussianExpectation(sp.Max(x, 0), sp.Max(x, 0)).diff(symbolic.c).doit(),
        symbolic.exact_expectation(sp.sin(x), sp.exp(-(x**2)), symbolic.q, symbolic.qp, symbolic.c),
    ]
    series = [symbolic.hermite_coefficient(sp.erf(x), k) for k in range(6)]
    taylor = symbolic.taylor(symbolic.kernel("sigma", kc.MLP("erf", 2, beta=0.0)), symbolic.c, 5)
    sphere_of = {name: symbolic.on_sphere("theta", kc.MLP(name, 2, beta=0.0)) for name in ("relu", "erf")}
    digits_of = symbolic.GaussianExpectation(sp.tanh(x), sp.tanh(x), 1, 2, sp.Rational(1, 2)).evalf(30)
    return {
        "closed": [float(e.subs(values).evalf(25)) for e in closed],
        "hermite": [float(sp.N(e, 25)) for e in series],
        "taylor": [float(sp.N(e.subs(values), 25)) for e in taylor],
        "mercer": [symbolic.mercer(h, 5, 8).eigenvalues for h in sphere_of.values()],
        "tanh": str(digits_of),
    }


# Finite networks


@group("finite networks")
def finite_networks() -> Numbers:
    """Derivatives, moments, spectra."""
    x, labels = cloud(8, 4), np.arange(8) % 3
    one = kc.FiniteNetwork.random(kc.MLP("smooth_relu"), (7, 6), n_in=4, rng=0)
    three = kc.FiniteNetwork.random(kc.MLP("tanh", 3, n_out=3), 12, n_in=4, rng=1)
    target, classes = np.sign(x[:, 0]), np.eye(3)[labels]
    moments = "trace_i trace_h trace_h_error trace_s trace_s2 trace_is loss"
    found = {
        "outputs": three(x),
        "jacobian": one.jacobian(x[:2]),
        "ntk": three.ntk(x),
        "cross": one.ntk(x[:3], x[3:]),
        "traces": three.hessian_trace(x),
        "gradient": three.gradient(x, labels, "softmax"),
        "hessian": one.hessian(x, target),
        "output_hessian": one.output_hessian(x[:1])[0, 0, ::5],
    }
    for name, net, y, loss in (
        ("one", one, target, "mse"),
        ("three", three, classes, "mse"),
        ("softmax", three, labels, "softmax"),
    ):
        found |= prefixed([(name, read(net.hessian_moments(x, y, loss=loss), moments))])
        sampled = net.hessian_moments(x, y, loss=loss, dense=False, deflation=6, probes=4)
        found |= prefixed([(f"{name} sampled", read(sampled, moments))])
    split = three.curvature(x, classes)
    vector = np.random.default_rng(8).standard_normal(three.n_parameters)
    found |= {f"product_{part}": getattr(split, part) @ vector for part in "his"}
    found["spectrum"] = kc.finite.eigenvalues(split.h)[-40:]
    found["ends"] = kc.finite.extreme_eigenvalues(split.h, 3)
    density = kc.finite.spectral_density(split.h, steps=12, probes=2)
    return found | {"density": density.density(np.linspace(-0.5, 2, 7), 0.1)}


@group("finite networks in training")
def finite_training() -> Numbers:
    """Flow, descent, batches, ensembles."""
    x = cloud(8, 4)
    target = np.sign(x[:, 0])
    net = kc.MLP("smooth_relu")
    start = kc.FiniteNetwork.random(net, (9, 8), n_in=4, rng=2)
    runs = {
        "flow": start.train(x, target, [0.0, 1.0, 5.0]),
        "binary": start.train(x, target, [0.0, 1.0], loss="binary"),
        "gd": start.train(x, target, [0.0, 2.0, 10.0], method="gd", step=0.2),
        "default step": start.train(x, target, [0.0, 10.0], method="gd"),
        "sgd": start.train(x, target, [0.0, 4.0], method="sgd", step=0.1, batch_size=3, rng=1),
    }
    found = prefixed(
        (name, read(run, "times loss") | {"parameters": run.network.parameters}) for name, run in runs.items()
    )
    ensemble = kc.finite.moments_through_training(net, x, target, [0.0, 1.0], width=10, trials=3, rng=4)
    names = "trace_i trace_h trace_h_std trace_s trace_s2 trace_is loss loss_std"
    single = kc.FiniteNetwork.random(net, 8, n_in=4, rng=3, dtype=np.float32)
    return found | prefixed([("ensemble", read(ensemble, names))]) | {"float32": single(x)}


@group("validation")
def validation() -> Numbers:
    """The table of theory beside finite networks."""
    report = kc.validate(
        kc.MLP("tanh", 2), cloud(3, 2), [1.0, -1.0, 0.5], widths=(6, 12), trials=6, times=(0.0, 1.0), rng=2
    )
    columns = {name: [row[name] for row in report.table] for name in report.table[0]}
    return columns | {"z_limit": report.z_limit, "resolution": report.resolution}


@group("data sets")
def datasets() -> Numbers:
    """Points and labels."""
    data = kc.datasets
    made = {
        "digits": data.mnist14(3),
        "raw": data.mnist14(2, scale="raw"),
        "clusters": data.gaussian_clusters(9, 3, 6, spread=0.4, rng=1),
        "blobs": data.two_blobs(6, rng=2),
        "patterns": data.random_patterns(4, 6, 3, rng=3),
        "balanced": data.balanced(*data.mnist14(30), 1, [0, 1, 4]),
    }
    found = prefixed((name, {"points": x, "labels": y}) for name, (x, y) in made.items())
    return found | {"one_hot": data.one_hot([3, 5, 3]), "parity": data.parity([3, 4])}


# The command line

COMMANDS = {
    "curves": "curves -n 12 -a 'normalized smooth_relu' --times 1e-2:1e1:4 --finite 6 --trials 2 --workers 1",
    "curves, quantiles": "curves -n 12 -a tanh -a erf --times 1:10:2 --band quantiles --average 4",
    "curves, softmax": "curves -n 16 -a 'x*erf(x)' --depth 2 --loss softmax --samples 3 --times 1:10:2",
    "phase": "phase --sigma-w-range 0.5:2:4 --beta-range 0:1:3",
    "spectrum": "spectrum -n 24 --loss softmax",
    "validate": "validate --depth 2 --widths 4,8 --trials 4 --times 0,1 --data digits -n 3 --workers 1",
    "sagun split": "sagun split -n 10 --width 3 --steps 2 -a tanh",
    "sagun outliers": "sagun outliers -n 12 --clusters 2,3 --width 3 --steps 2",
}


def run_command(folder: Path, *arguments: str) -> str:
    """What a command of the package that is compared prints, in a process of its own."""
    home = str(Path(kc.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": home, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "kernelcalc.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    # 1: a validation that did not pass, as with few networks
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return done.stdout


def columns_of(path: Path) -> Iterator[tuple[str, Any]]:
    """Columns of a CSV file by name, as numbers where they are."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    for name, column in zip(head, zip(*rows, strict=True), strict=True):
        try:
            yield name, [float(cell or "nan") for cell in column]
        except ValueError:
            yield name, list(column)


def files_of(line: str) -> Numbers:
    """All columns of the CSV files that a command writes."""
    with tempfile.TemporaryDirectory() as folder:
        run_command(Path(folder), *shlex.split(line), "--no-png", "-o", "out")
        paths = sorted(Path(folder, "out").glob("*.csv"))
        if not paths:
            raise RuntimeError(f"no CSV file from {line}")
        return prefixed((path.stem, dict(columns_of(path))) for path in paths)


GROUPS.update({f"command {name}": partial(files_of, line) for name, line in COMMANDS.items()})


@group("command kernels")
def command_kernels() -> Numbers:
    """Points from a CSV file, kernels in an .npz file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savetxt(folder / "points.csv", np.column_stack([cloud(12), np.arange(12)]), delimiter=",")
        run_command(
            folder,
            "kernels",
            "-a",
            "tanh",
            "--sigma-w",
            "1.3",
            "--data",
            "points.csv",
            "--labels",
            "-1",
            "-o",
            "out.npz",
        )
        with np.load(folder / "out.npz") as stored:
            return dict(stored)


@group("command predict")
def command_predict() -> Numbers:
    """All numbers of the report."""
    with tempfile.TemporaryDirectory() as name:
        run_command(Path(name), "predict", "-n", "20", "-a", "gelu", "--width", "50", "--json", "out.json")
        report = json.loads(Path(name, "out.json").read_text(encoding="utf-8"))
    tested = report.pop("held_out")
    return prefixed([("report", report), ("held out", tested)])


@group("command expect")
def command_expect() -> Numbers:
    """The printed line."""
    arguments = "expect --f tanh --g relu --q 1 --qp 2 --c 0.5"
    return {"line": run_command(Path.cwd(), *arguments.split()).strip()}


# Storing


def dyadic(mantissa: int, exponent: int) -> str:
    """The text of mantissa · 2^exponent."""
    return f"{mantissa}p{exponent}"


def stored(value: Any) -> np.ndarray:
    """Numbers as float64, everything else as text; numbers of mpmath exactly."""
    array = np.asarray("None" if value is None else value)
    if array.dtype.kind == "O":
        return np.array([text(v) for v in array.ravel()], dtype=np.str_).reshape(array.shape)
    return array if array.dtype.kind == "U" else array.astype(np.float64)


def text(value: Any) -> str:
    """One object as text."""
    if not isinstance(value, mpmath.mpf):
        return str(value)
    mantissa, exponent = (int(part) for part in value.man_exp)
    return dyadic(-mantissa if value < 0 else mantissa, exponent) if mpmath.isfinite(value) else str(value)


def machine() -> list[str]:
    """What the last digits depend on besides the code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    libraries = [f"{module.__name__} {module.__version__}" for module in (np, scipy, sp, mpmath)]
    return [processor, f"Python {platform.python_version()}", *libraries]


def computed(only: str) -> Iterator[tuple[str, dict[str, np.ndarray] | Exception, float]]:
    """Every group's numbers, or what went wrong, and seconds."""
    for name, function in GROUPS.items():
        if only not in name:
            continue
        start = time.perf_counter()
        result: dict[str, np.ndarray] | Exception
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = {key: stored(value) for key, value in function().items()}
        except Exception as error:
            result = error
        yield name, result, time.perf_counter() - start


def store(path: Path, only: str) -> int:
    """Compute and write."""
    arrays: dict[str, Any] = {MACHINE: np.array(machine())}
    for name, result, seconds in computed(only):
        if isinstance(result, Exception):
            raise RuntimeError(f"the group {name!r} cannot be computed") from result
        print(f"{name:<52}{sum(array.size for array in result.values()):>7}{seconds:>8.1f} s", flush=True)
        arrays |= {f"{name}/{key}": array for key, array in result.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"{sum(array.size for array in arrays.values()) - arrays[MACHINE].size} values of {kc.__file__} in {path}")
    return 0


# Comparing


@dataclass
class Difference:
    """How far arrays are apart.

    Attributes
    ----------
    count, equal : int
        Entries, and how many are the same bits.
    scaled, entrywise : float
        Largest difference over the array's largest entry, and over the entry itself; infinite for text that is no number.
    text_differs : bool
        Text differs, or the entries are not those that are stored.
    worst : str
        Where the former is largest.
    """

    count: int = 0
    equal: int = 0
    scaled: float = 0.0
    entrywise: float = 0.0
    text_differs: bool = False
    worst: str = ""

    def add(self, name: str, before: np.ndarray | None, now: np.ndarray | None) -> None:
        """Count another array."""
        if before is None or now is None or before.shape != now.shape or before.dtype.kind != now.dtype.kind:
            kinds = ["missing" if a is None else f"{a.dtype.kind}{a.shape}" for a in (before, now)]
            self.count += max(0 if a is None else a.size for a in (before, now))
            self._widen(f"{name}: {' → '.join(kinds)}", math.inf, math.inf)
            self.text_differs = True
            return
        self.count += before.size
        if before.dtype.kind == "U":
            same = before == now
            self.text_differs |= not same.all()
            self.equal += int(same.sum())
            apart = [text_difference(a, b) for a, b in zip(before[~same].tolist(), now[~same].tolist(), strict=True)]
            self._widen(name, max(apart, default=0.0), max(apart, default=0.0))
            return
        self.equal += int((bits(before) == bits(now)).sum())
        self._widen(name, *float_difference(before, now))

    def _widen(self, name: str, scaled: float, entrywise: float) -> None:
        if scaled > self.scaled or (scaled == self.scaled and entrywise > self.entrywise):
            self.worst = name
        self.scaled, self.entrywise = max(self.scaled, scaled), max(self.entrywise, entrywise)


def bits(values: np.ndarray) -> np.ndarray:
    """Bit patterns, all NaN being one."""
    return np.ascontiguousarray(np.where(np.isnan(values), np.nan, values)).view(np.int64)


def float_difference(before: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """Largest difference over the largest entry, and of single entries; infinite where one side is not finite."""
    finite = np.isfinite(before) & np.isfinite(now)
    if (bits(before)[~finite] != bits(now)[~finite]).any():
        return math.inf, math.inf
    a, b = before[finite], now[finite]
    change = np.abs(b - a)
    moved = change > 0
    if not moved.any():
        return 0.0, 0.0
    with np.errstate(divide="ignore"):
        return float(change.max() / np.abs(a).max()), float((change[moved] / np.abs(a[moved])).max())


def text_difference(before: str, now: str) -> float:
    """Relative difference of two exact numbers; infinite for other text."""
    parts = [re.fullmatch(r"(-?\d+)p(-?\d+)", one) for one in (before, now)]
    if not all(parts):
        return math.inf
    a, b = (Fraction(int(part[1])) * Fraction(2) ** int(part[2]) for part in parts if part)
    return float(abs(b - a) / abs(a)) if a else math.inf


def compare(path: Path, rtol: float, only: str) -> int:
    """Compute, print a table, and return 1 where something changed."""
    with np.load(path, allow_pickle=False) as file:
        kept: dict[str, dict[str, np.ndarray]] = {}
        for key in file.files:
            name, _, part = key.partition("/")
            kept.setdefault(name, {})[part] = file[key]
    about = kept.pop(MACHINE.partition("/")[0])[MACHINE.partition("/")[2]].tolist()
    if about != machine():
        print(f"stored on another machine or with other libraries: {about}, now {machine()}")
    print(f"{kc.__file__} beside {path}\n")
    print(f"{'group':<52}{'values':>7}{'equal':>7}{'scaled':>10}{'entrywise':>11}{'seconds':>9}")
    failed, count, equal = [], 0, 0
    for name, result, seconds in computed(only):
        before, row = kept.pop(name, {}), Difference()
        now = {} if isinstance(result, Exception) else result
        for part in {**before, **now}:
            row.add(part, before.get(part), now.get(part))
        if row.text_differs or row.scaled > rtol:
            failed.append(name)
        note = f"{type(result).__name__}: {result}" if isinstance(result, Exception) else row.worst
        numbers = f"{row.count:>7}{row.equal:>7}{row.scaled:>10.1e}{row.entrywise:>11.1e}{seconds:>9.1f}"
        print(f"{name:<52}{numbers}  {' '.join(note.split())[:120]}".rstrip(), flush=True)
        count, equal = count + row.count, equal + row.equal
    failed += [name for name in kept if only in name]
    print(f"\n{equal} of {count} values are the same bits; {len(failed)} groups differ by more than {rtol:g}")
    for name in failed:
        print(f"  {name}")
    return 1 if failed else 0


def main() -> int:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("store", "compare"))
    parser.add_argument("file", type=Path, help="An .npz file.")
    parser.add_argument("--rtol", type=float, default=0.0, help="Largest difference that passes (default: 0).")
    parser.add_argument("--only", default="", metavar="TEXT", help="Only groups with this in their name.")
    arguments = parser.parse_args()
    if arguments.action == "store":
        return store(arguments.file, arguments.only)
    return compare(arguments.file, arguments.rtol, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
