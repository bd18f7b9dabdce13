"""Docstrings of the front door and of the pages of the API: what raises stands there, and is raised."""

import re

import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.names import as_activation, from_text
from kernelcalc.datasets import selection, synthetic
from kernelcalc.finite import training
from kernelcalc.finite.curvature.spectrum import spectral_density
from kernelcalc.finite.ensembles import kernels as sampled
from kernelcalc.finite.ensembles.batch import NetworkBatch
from kernelcalc.kernels import arithmetic, layers
from kernelcalc.kernels.parametrisation import pytorch_defaults
from kernelcalc.kernels.symbolic import code, sphere
from kernelcalc.kernels.symbolic import kernels as formulas
from kernelcalc.kernels.symbolic.expectation import hermite_coefficient
from kernelcalc.studies import phase, spectrum
from tests.raised import documented, errors, section

EVERYTHING = {name: (value, owner) for name, value, owner in documented()}


def test_errors_are_found_in_code():
    assert errors(code.to_numpy, depth=0) == {"InputError"}
    assert errors(synthetic.two_blobs, depth=0) == set()
    assert errors(synthetic.two_blobs) == {"InputError"}
    assert errors(kc.FiniteNetwork.ntk, kc.FiniteNetwork) >= {"ShapeError", "NotFiniteError"}


@pytest.mark.parametrize("name", EVERYTHING)
def test_docstrings_say_what_is_raised(name):
    """Errors of its own code by their names; where a function that it calls raises, or at the front door, a section."""
    value, owner = EVERYTHING[name]
    text = section(value)
    named = set(re.findall(r"\b\w+Error\b", text))
    assert errors(value, owner, depth=0) <= named
    if errors(value, owner) or name.startswith("kc."):
        assert named
    for error in named:
        assert hasattr(kc.errors, error) or error in {"ImportError", "TypeError", "OSError"}, error


NET = kc.MLP("erf", depth=2)
X, Y = np.eye(3), np.array([1.0, -1.0, 1.0])
K = NET.kernels(X)
FINITE = kc.FiniteNetwork.random(NET, (4,), n_in=3)
SPLIT = FINITE.curvature(X, Y)
CUBIC = kc.convex_loss("y**3")
MSE = kc.losses.MeanSquaredError()
NAN = X * np.nan
ONE = np.ones((1, 1))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: kc.predict(NET, X, [1.0, 2.0]), "ShapeError"),
        (lambda: kc.predict(NET, X * np.nan, Y), "NotFiniteError"),
        (lambda: kc.predict(NET, X, Y, descents=3, probability=2), "InputError"),
        (lambda: kc.largest_learning_rate(K.theta, np.zeros(3), np.zeros(2)), "ShapeError"),
        (lambda: kc.largest_learning_rate(K.theta, np.zeros(3), [0, 0, np.nan]), "NotFiniteError"),
        (lambda: kc.mse_law(K, Y[:2], 1.0), "ShapeError"),
        (lambda: kc.mse_law(K, Y, -1.0), "InputError"),
        (lambda: kc.mse_quantiles(K, Y, [1.0], "loss", [2.0]), "InputError"),
        (lambda: kc.mean_field_moments(K, [1.0, np.nan, 1.0]), "NotFiniteError"),
        (lambda: kc.phase_diagram("tanh", [-1.0], [0.0]), "InputError"),
        (lambda: kc.phase_diagram("tahn"), "UnknownNameError"),
        (lambda: kc.spectrum_of_i(K, np.zeros(2), np.zeros(2)), "ShapeError"),
        (lambda: kc.hessian_moments(K, Y, [-1.0]), "InputError"),
        (lambda: kc.hessian_moments(K, Y, [1.0], loss="ms"), "UnknownNameError"),
        (lambda: kc.gaussian_expectation("tanh", "tanh", 1.0, 1.0, 0.5, rtol=2), "InputError"),
        (lambda: synthetic.random_patterns(3, scale="x"), "UnknownNameError"),
        (lambda: synthetic.random_patterns(0), "InputError"),
        (lambda: synthetic.two_blobs(3, std=-1), "InputError"),
        (lambda: selection.has_classes([]), "ShapeError"),
        (lambda: selection.has_classes([np.nan, 1]), "NotFiniteError"),
        (lambda: as_activation(3), "InputError"),
        (lambda: as_activation("softplus(z=2)"), "InputError"),
        (lambda: as_activation("tahn"), "UnknownNameError"),
        (lambda: from_text("1/x"), "ExpressionError"),
        (lambda: FINITE.jacobian(np.eye(4)), "ShapeError"),
        (lambda: FINITE.ntk(X, NAN), "NotFiniteError"),
        (lambda: FINITE.hessian_trace(NAN), "NotFiniteError"),
        (lambda: FINITE.output_hessian(np.eye(4)), "ShapeError"),
        (lambda: FINITE.points(1j * X), "InputError"),
        (lambda: FINITE.hessian_moments(X, Y, kmax=0), "InputError"),
        (lambda: FINITE.hessian_moments(X, Y, "ms"), "UnknownNameError"),
        (lambda: FINITE.train(X, Y, [-1.0]), "InputError"),
        (lambda: FINITE.train(X, Y, [1.0], method="x"), "UnknownNameError"),
        (lambda: FINITE.train(X, Y[:2], [1.0]), "ShapeError"),
        (lambda: FINITE.train(1e3 * X, Y, [1e5], method="gd", step=1e3), "IntegrationError"),
        (lambda: SPLIT.operator("x"), "UnknownNameError"),
        (lambda: SPLIT.product(np.ones((1, 2))), "ShapeError"),
        (lambda: spectral_density(SPLIT.operator("h")).density([0.0], 0), "InputError"),
        (lambda: spectral_density(SPLIT.operator("h")).density([np.nan], 1), "NotFiniteError"),
        (lambda: spectral_density(np.zeros((0, 0))), "ShapeError"),
        (lambda: spectral_density(X, steps=0), "InputError"),
        (lambda: spectral_density(NAN), "NotFiniteError"),
        (lambda: list(training.flow(lambda y: y**3, np.ones(2), np.array([5.0]), 1e-3)), "IntegrationError"),
        (lambda: sampled.readout_kernels(FINITE, np.eye(4)), "ShapeError"),
        (lambda: sampled.trace_gradient_kernel(FINITE, NAN), "NotFiniteError"),
        (lambda: sampled.centred_products(FINITE, X, Y * np.nan, sampled.readout_kernels(FINITE, X)), "NotFiniteError"),
        (lambda: sampled.kernels_through_training(NET, X, Y, [1.0], widths=[4], trials=0), "InputError"),
        (lambda: sampled.kernels_through_training(NET, NAN, Y, [1.0], widths=[4], trials=1), "NotFiniteError"),
        (lambda: NetworkBatch.random(NET, 0, (4,), 3), "InputError"),
        (lambda: NetworkBatch.random(NET, 2, (4, 4), 3), "InputError"),
        (lambda: kc.finite_width(NET, X).array("x"), "UnknownNameError"),
        (lambda: layers.Dense(0), "InputError"),
        (lambda: layers.Dense(weight_rate=-1), "InputError"),
        (lambda: layers.Nonlinearity("tahn"), "UnknownNameError"),
        (lambda: layers.as_layer(3), "InputError"),
        (lambda: arithmetic.Balls(0), "InputError"),
        (lambda: arithmetic.Digits(1.5), "InputError"),
        (lambda: pytorch_defaults(np.nan), "InputError"),
        (lambda: kc.spectrum_of_i(K, np.zeros(3), Y).outliers("x"), "InputError"),
        (lambda: kc.spectrum_of_i(K, np.zeros(3), Y).outliers("cutoff", np.nan), "InputError"),
        (lambda: spectrum.bbp_outlier([2.0], -1), "InputError"),
        (lambda: spectrum.bbp_outlier([np.nan], 0.2), "NotFiniteError"),
        (lambda: spectrum.bulk_scale(1.0, 3, ()), "InputError"),
        (lambda: spectrum.bulk_scale(np.nan, 3, (4,)), "NotFiniteError"),
        (lambda: spectrum.cluster_spectrum(X, np.ones(2), [0, 1, 1]), "ShapeError"),
        (lambda: spectrum.cluster_spectrum(NAN, np.ones(3), [0, 1, 1]), "NotFiniteError"),
        (lambda: spectrum.cluster_spectrum("a", np.ones(3), [0, 1, 1]), "InputError"),
        (lambda: spectrum.marchenko_pastur_density(np.nan, 1.0), "NotFiniteError"),
        (lambda: spectrum.marchenko_pastur_density("a", 1.0), "InputError"),
        (lambda: spectrum.marchenko_pastur_edges(0.0), "InputError"),
        (lambda: spectrum.rank_bound_s(2, (0,)), "InputError"),
        (lambda: phase.fixed_points("tanh", -1), "InputError"),
        (lambda: phase.fixed_points("tahn"), "UnknownNameError"),
        (lambda: phase.normalized_position("tanh", 1), "InputError"),
        (lambda: phase.normalized_position("1 + 0*x"), "InputError"),
        (lambda: formulas.squared("q+"), "ExpressionError"),
        (lambda: formulas.equations("x", NET), "UnknownNameError"),
        (lambda: formulas.equations("phi", kc.MLP("relu", depth=2)), "SmoothnessError"),
        (lambda: hermite_coefficient("x", -1), "InputError"),
        (lambda: hermite_coefficient("tahn", 1), "UnknownNameError"),
        (lambda: hermite_coefficient("x", 1, "q q"), "ExpressionError"),
        (lambda: sphere.on_sphere("x", NET), "UnknownNameError"),
        (lambda: sphere.on_sphere("phi", kc.MLP("relu", depth=2)), "SmoothnessError"),
        (lambda: sphere.on_sphere("sigma", NET, radius2="a b"), "ExpressionError"),
        (lambda: sphere.mercer(np.tanh, dimension=1), "InputError"),
        (lambda: code.to_numpy(sp.Symbol("z")), "InputError"),
        (lambda: MSE.bounded_gradient(np.nan), "InputError"),
        (lambda: MSE.value(["a"], [1]), "InputError"),
        (lambda: MSE.value([np.nan], [1]), "NotFiniteError"),
        (lambda: MSE.gradient(np.zeros(3), np.zeros(2)), "ShapeError"),
        (lambda: MSE.hessian([np.nan], [1]), "NotFiniteError"),
        (lambda: MSE.hessian_sqrt(np.zeros(3), np.zeros(2)), "ShapeError"),
        (lambda: MSE.hessian_product(Y, Y, np.zeros(2)), "ShapeError"),
        (lambda: kc.convex_loss("log(y - t)").point_values(0 * ONE, ONE), "NotFiniteError"),
        (lambda: CUBIC.curvature(-ONE, ONE), "InputError"),
    ],
)
def test_they_raise_what_they_say(call, error):
    with pytest.raises(getattr(kc.errors, error)) as found:
        call()
    assert type(found.value).__name__ == error
