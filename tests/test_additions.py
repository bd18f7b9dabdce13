"""One of each is added from outside, in one place: activation, method, kernel, layer, loss, experiment."""

from dataclasses import dataclass

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations import names
from kernelcalc.activations.activation import Activation
from kernelcalc.gaussian.estimate import Scaled
from kernelcalc.gaussian.floats import methods
from kernelcalc.gaussian.floats.method import Method
from kernelcalc.kernels import state
from kernelcalc.kernels.layers import Dense, Layer, Nonlinearity, Scale
from kernelcalc.studies.experiment import Experiment
from kernelcalc.studies.sagun import registry
from kernelcalc.training.losses import NAMED_LOSSES, Loss

X = np.random.default_rng(0).normal(size=(5, 3))


def test_an_activation_is_an_entry_of_the_catalogue(monkeypatch):
    expression = kc.Activation("x*tanh(x)").expr
    monkeypatch.setitem(names.ACTIVATIONS, "tanhx", (lambda: expression, "x·tanh x"))
    net = kc.MLP("tanhx", 2)
    np.testing.assert_array_equal(net.kernels(X).theta, kc.MLP(Activation("x*tanh(x)"), 2).kernels(X).theta)


class Cubes(Method):
    """E[a³ b³] = 9 q q' c + 6 c³ (Isserlis)."""

    name = "cubes"

    def applies(self, f, g, cov):
        return np.full(cov.q.shape, f == g == kc.Activation("x^3"))

    def estimate(self, f, g, cov, rtol):
        value = 9 * cov.q * cov.qp * cov.c + 6 * cov.c**3
        return Scaled(value=value, error=1e-15 * np.abs(value), magnitude=np.abs(value))


def test_a_method_is_a_class_and_an_entry_of_the_list(monkeypatch):
    wanted = kc.gaussian_expectation("x^3", "x^3", 1.5, 2.0, 0.7)
    monkeypatch.setattr(methods, "METHODS", (Cubes(), *methods.METHODS))
    found = kc.gaussian_expectation("x^3", "x^3", 1.5, 2.0, 0.7, full_output=True)
    assert found.method == "cubes"
    assert found.value == pytest.approx(wanted, rel=1e-14)
    assert kc.gaussian_expectation("x^2", "x^3", 1.5, 2.0, 0.7, full_output=True).method != "cubes"


@dataclass(frozen=True)
class Half(Layer):
    """α/2."""

    def formula(self, name):
        return lambda k, row, column, root: getattr(k, name) / 4


def test_a_layer_is_a_class_with_formulas():
    K = kc.Sequential(Dense(), "tanh", Half(), Dense()).kernels(X)
    wanted = kc.Sequential(Dense(), "tanh", Scale(0.5), Dense()).kernels(X)
    for name in state.KERNEL_NAMES:
        np.testing.assert_allclose(getattr(K, name), getattr(wanted, name), rtol=1e-14)


def test_a_kernel_is_a_row_of_the_table_and_a_formula_in_each_layer(monkeypatch):
    """Tangent kernel of the weights of the last layer but one: Σ of the layer before, carried by Σ̇."""
    state.add_kernel(state.Kernel(name="last", letter="Theta_L", meaning="∂f/∂W_L ·", smoothness=-1, default=False))
    try:
        monkeypatch.setattr(Nonlinearity, "last", lambda self, k, row, column, e: e[0, 0], raising=False)
        monkeypatch.setattr(Dense, "last", lambda self, k, row, column, s: s.weight * k.last, raising=False)
        net = kc.MLP("tanh", 3, sigma_w=1.3, beta=0.4)
        K = net.kernels(X, only=("last", "sigma"))
        np.testing.assert_allclose(K.last, K.sigma - 0.4**2, rtol=1e-14)
    finally:
        del state.KERNELS["last"]


def test_a_loss_is_a_class_with_a_name():
    class Quartic(Loss):
        name = "toy quartic"

        def point_values(self, y, t):
            return ((y - t) ** 4).sum(axis=-1) / 4 + ((y - t) ** 2).sum(axis=-1) / 2

        def slope(self, y, t):
            return (y - t) ** 3 + (y - t)

        def curvature(self, y, t):
            return 3 * (y - t) ** 2 + 1

    try:
        traj = kc.hessian_moments(
            kc.MLP("erf", 2).kernels(X), np.ones(5), [0.0, 1.0], loss="toy quartic", samples=4, rng=0
        )
        assert traj.loss[1] < traj.loss[0]
    finally:
        del NAMED_LOSSES["toy quartic"]


def test_an_experiment_is_a_class_in_a_file():
    @registry.experiment
    @dataclass(frozen=True, kw_only=True)
    class Toy(Experiment):
        name = "toy"
        summary = "squares"
        count: int = 3

        def measure(self, show):
            return np.arange(self.count)

        def title(self, found):
            return f"{len(found)} squares"

        def table(self, found):
            return {"toy": {"n": found, "square": found**2}}

        def notes(self, found):
            return ("by hand",)

        def verdicts(self, found):
            return ()

        def draw(self, found):
            raise AssertionError

    try:
        assert registry.run("toy", count=4)["square"].tolist() == [0, 1, 4, 9]
        with pytest.raises(kc.errors.InputError, match="toy"):
            registry.run("toy", size=4)
    finally:
        del registry.experiments.__globals__["_REGISTERED"]["toy"]
