"""Derivatives of kernels in σ_w and β beside central differences of the kernels themselves, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels.gradients import diagonal_of, kernel_gradient

X = np.random.default_rng(0).normal(size=(6, 3)) * np.linspace(0.5, 1.5, 6)[:, None]


def _differences(make, x, kernel, sigma_w, beta, X2=None, h=1e-4):
    """Fourth-order central differences."""
    out = []
    for step in ((h, 0.0), (0.0, h)):
        total = 0.0
        for s, weight in ((1, 2 / 3), (2, -1 / 12)):
            up, down = (
                getattr(make(sigma_w + sign * s * step[0], beta + sign * s * step[1]).kernels(x, X2), kernel)
                for sign in (1, -1)
            )
            total = total + weight / h * (up - down)
        out.append(total)
    return np.stack(out, axis=-1)


def _residual(sigma_w, beta):
    dense = kc.layers.Dense(sigma_w, beta)
    return kc.Sequential(dense, kc.layers.Residual(kc.layers.LayerNorm(), "tanh", dense), "erf", dense)


MAKE = {
    "tanh": lambda s, b: kc.MLP("tanh", depth=3, sigma_w=s, beta=b),
    "gelu, sin": lambda s, b: kc.MLP(["gelu", "sin"], depth=3, sigma_w=s, beta=b),
    "relu": lambda s, b: kc.MLP("relu", depth=3, sigma_w=s, beta=b),
    "elu": lambda s, b: kc.MLP("elu", depth=2, sigma_w=s, beta=b),
    "residual": _residual,
}


@pytest.mark.parametrize("kernel", ["theta", "sigma"])
@pytest.mark.parametrize("name", MAKE)
def test_gradients_are_differences(name, kernel):
    make, x = MAKE[name], X if name != "elu" else X[:2]
    value, gradient = kernel_gradient(make(1.3, 0.4), x, kernel=kernel)
    assert value == pytest.approx(getattr(make(1.3, 0.4).kernels(x), kernel), rel=1e-11)
    assert gradient == pytest.approx(_differences(make, x, kernel, 1.3, 0.4), rel=2e-9, abs=1e-10)


def test_two_sets_of_points_that_share_one():
    other = np.array([X[2], [0.1, 0.2, 0.3]])
    value, gradient = kernel_gradient(MAKE["tanh"](1.3, 0.4), X, other)
    assert value == pytest.approx(MAKE["tanh"](1.3, 0.4).kernels(X, other).theta, rel=1e-11)
    assert gradient == pytest.approx(_differences(MAKE["tanh"], X, "theta", 1.3, 0.4, other), rel=2e-9)
    whole = kernel_gradient(MAKE["tanh"](1.3, 0.4), X)[1]
    assert gradient[:, 0] == pytest.approx(whole[:, 2], rel=1e-13)


def test_homogeneous_functions_by_hand():
    # relu, β = 0: Θ = L Σ on the diagonal and both go like σ_w^{2L}
    net = kc.MLP("relu", depth=3, sigma_w=1.7, beta=0.0)
    value, gradient = kernel_gradient(net, X)
    assert np.diagonal(gradient[..., 0]) == pytest.approx(6 / 1.7 * np.diagonal(value), rel=1e-12)
    assert gradient[..., 0] == pytest.approx(6 / 1.7 * value, rel=1e-10)
    assert np.abs(gradient[..., 1]).max() == 0


def test_the_diagonal_alone():
    net = MAKE["tanh"](1.3, 0.4)
    assert diagonal_of(net, X, "theta") == pytest.approx(np.diagonal(net.kernels(X).theta), rel=1e-12)


def test_wrong_calls_are_named():
    with pytest.raises(InputError, match="theta"):
        kernel_gradient(MAKE["tanh"](1, 1), X, kernel="phi")
    with pytest.raises(ShapeError):
        kernel_gradient(MAKE["tanh"](1, 1), X, X[:, :2])
    with pytest.raises(InputError, match="one sigma_w"):
        kernel_gradient(kc.Sequential(kc.layers.Dense(1.0), "tanh", kc.layers.Dense(2.0)), X)
