"""One result of every kind, and what makes two of them equal."""

import math

import numpy as np

import kernelcalc as kc
from kernelcalc.finite import moments_through_training, spectral_density
from kernelcalc.kernels.symbolic import sphere
from kernelcalc.studies.figures.curves import Curves
from kernelcalc.studies.regression import predict_outputs
from kernelcalc.studies.sagun.registry import run
from kernelcalc.studies.spectrum_report import SpectrumReport
from kernelcalc.training.losses import resolve_loss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3))
Y = np.sign(RNG.normal(size=6))
NET = kc.MLP("tanh", depth=3, sigma_w=1.3)
K = NET.kernels(X)
FINITE = kc.FiniteNetwork.random(kc.MLP(["gelu", kc.Activation("x*erf(x/3)")], 3), (4, 5), n_in=3, rng=0)

MADE = {
    "kernels": lambda: K,
    "kinked kernels": lambda: kc.MLP("relu").kernels(X),
    "kernels of two sets": lambda: NET.kernels(X, X[:2]),
    "kernels with digits": lambda: NET.kernels(X[:2], dps=25, only=("sigma", "theta")),
    "mse_moments": lambda: kc.mse_moments(K, Y, [0.0, 1.0, math.inf]),
    "hessian_moments": lambda: kc.hessian_moments(K, Y, [0.0, 1.0], loss="binary", samples=4),
    "predict": lambda: kc.predict(NET, X, Y, width=20, networks=2, descents=3),
    "predict binary": lambda: kc.predict(NET, X, Y, "binary", width=20, samples=3, times=[0.0, 1.0]),
    "held_out": lambda: kc.held_out(NET, X[:4], Y[:4], X[4:], Y[4:]),
    "held_out relu": lambda: kc.held_out(kc.MLP("relu"), X[:4], Y[:4], X[4:], Y[4:]),
    "predict_outputs": lambda: predict_outputs(NET, X[:4], Y[:4], X[4:]),
    "nngp_posterior": lambda: kc.nngp_posterior(NET, X[:4], Y[:4], X[4:]),
    "learning_curves": lambda: kc.learning_curves(NET, X[:4], Y[:4], X[4:], Y[4:], [0.0, 1.0], samples=4),
    "phase_diagram": lambda: kc.phase_diagram("tanh", [0.9, 1.1, 1.5], [0.0, 0.1]),
    "stack_phase": lambda: kc.stack_phase(kc.layers.Residual("tanh", kc.layers.Dense(), scale=0.5)),
    "stack_profile": lambda: kc.stack_profile(kc.layers.Residual("tanh", kc.layers.Dense()), depths=[1, 2, 4]),
    "depth_profile": lambda: kc.phase.depth_profile("tanh", X, [1, 2, 4]),
    "fixed point": lambda: kc.phase.normalized_position("tanh"),
    "finite_width": lambda: kc.finite_width(kc.MLP("erf", 2), X[:3]),
    "finite_width relu": lambda: kc.finite_width(kc.MLP("relu", 2), X[:3]),
    "at a width": lambda: kc.finite_width(kc.MLP("erf", 2), X[:3]).at(100),
    "moments at a width": lambda: kc.hessian_moments_at_width(kc.MLP("erf", 2), X[:3], Y[:3], 100),
    "tangent_drift": lambda: kc.tangent_drift(kc.MLP("tanh", 2), X[:3], Y[:3], (4, 8), networks=2, time=0.5),
    "mean_field_moments": lambda: kc.mean_field_moments(K, Y),
    "spectrum_of_i": lambda: kc.spectrum_of_i(K, Y, Y),
    "at a proportional width": lambda: kc.spectrum.at_width(NET, X, 6, x=[1.0, 2.0]),
    "fisher_spectrum": lambda: kc.spectrum.fisher_spectrum("tanh", 2, 3, 2, quantiles=4),
    "fisher_statistics": lambda: kc.spectrum.fisher_statistics(K.theta, 20),
    "class_hierarchy": lambda: kc.spectrum.class_hierarchy(K, np.c_[Y, -Y], (Y > 0).astype(int)),
    "spectrum report": lambda: SpectrumReport.of(kc.MLP("tanh", 2), X, Y[:, None], resolve_loss("mse"), 8),
    "spectrum report convex": lambda: SpectrumReport.of(
        kc.MLP("erf", 1), X, Y[:, None], resolve_loss("log(cosh(y - t))"), 8
    ),
    "curves": lambda: curves(average=3).measure(X, Y[:, None]),
    "curves with networks": lambda: curves(width=4, trials=2, first_order=50, quantiles=True).measure(X, Y[:, None]),
    "experiment": lambda: run("split", points=6, width=2, steps=2, activation="tanh"),
    "train_along": lambda: kc.train_along(K, lambda t: Y, [0.0, 1.0]),
    "mse_law": lambda: kc.mse_law(K, Y, 1.0, "loss"),
    "mercer": lambda: sphere.mercer(lambda t: t**2 + t, 3, kmax=4),
    "validate": lambda: kc.validate(kc.MLP("tanh", 2), X[:3], Y[:3], widths=(8, 16), trials=4, times=(0,)),
    "expectation": lambda: kc.gaussian_expectation("tanh", "erf", [1.0, 2.0], 1.0, 0.5, full_output=True),
    "one expectation": lambda: kc.gaussian_expectation("tanh", "erf", 1.0, 1.0, 0.5, full_output=True),
    "expectation with digits": lambda: kc.gaussian_expectation("erf", "erf", 1, 1, 0.5, full_output=True, dps=30),
    "finite moments": lambda: FINITE.hessian_moments(X, Y),
    "curvature": lambda: FINITE.curvature(X, Y),
    "training": lambda: FINITE.train(X, Y, [0.0, 1.0], record=record),
    "spectral density": lambda: spectral_density(FINITE.curvature(X, Y).h, probes=2, steps=5),
    "ensemble": lambda: moments_through_training(kc.MLP("tanh", 2), X, Y, [0.0, 0.5], width=6, trials=3),
    "trace moments": lambda: kc.distributed.trace_moments(NET.kernels(X, engine="dask").theta, exact=True),
    "initial moments": lambda: kc.distributed.initial_moments(NET.kernels(X, engine="dask"), Y),
    "eigenpairs": lambda: kc.distributed.top_eigenvalues(NET.kernels(X, engine="dask").theta, 2),
}
ALONE = {
    "stack_phase",
    "fisher_statistics",
    "fixed point",
    "moments at a width",
    "mean_field_moments",
    "one expectation",
    "expectation with digits",
}


def curves(**options):
    nets = {name: kc.MLP(name, 2) for name in ("tanh", "erf")}
    return Curves(nets=nets, law=resolve_loss("mse"), times=(1.0, 10.0, 3), **options)


def record(time, network):
    return {"norm": np.linalg.norm(network.parameters)}


def assert_same(a, b):
    """Equal arrays, numbers and origin."""
    assert type(a) is type(b)
    assert a.origin == b.origin
    assert a.dimensions() == b.dimensions()
    for name in a.dimensions():
        np.testing.assert_array_equal(np.asarray(a.array(name)), np.asarray(b.array(name)))
    assert str(a.scalars()) == str(b.scalars())
    assert repr(a) == repr(b)
