"""Moments, laws, spectra, predictions and symbols."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp
from groups import Numbers, cloud, group, prefixed, read, sphere

import kernelcalc as kc

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
