"""Derivatives of kernels in σ_w and β beside central differences of the kernels themselves, and by hand."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import CovarianceError, InputError, ShapeError
from kernelcalc.kernels.gradients import Dual, diagonal_of, kernel_gradient
from kernelcalc.kernels.parametrisation import standard

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


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        *((name, "theta") for name in MAKE),
        *((name, "sigma") for name in MAKE if name != "elu"),
        pytest.param("elu", "sigma", marks=pytest.mark.long),
    ],
)
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


@pytest.mark.parametrize("size", [1.0, 1e3, 1e9])
@pytest.mark.parametrize("kernel", ["theta", "sigma"])
def test_two_layers_of_erf_at_any_size(kernel, size):
    # V = (2/π) arcsin(2c/√((1 + 2q)(1 + 2q'))), Σ² = σ_w² V + β², Θ² = σ_w² Σ ∂V/∂c + Σ²
    x = size * np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])

    def by_hand(i, j, sigma_w, beta):
        gram = mpmath.matrix((x @ x.T).tolist()) / 3
        q, qp, c = (sigma_w**2 * gram[a, b] + beta**2 for a, b in ((i, i), (j, j), (i, j)))
        both = (1 + 2 * q) * (1 + 2 * qp)
        second = sigma_w**2 * 2 / mpmath.pi * mpmath.asin(2 * c / mpmath.sqrt(both)) + beta**2
        slope = 4 / mpmath.pi / mpmath.sqrt(both - 4 * c**2)
        return second if kernel == "sigma" else sigma_w**2 * c * slope + second

    value, gradient = kernel_gradient(kc.MLP("erf", depth=2, sigma_w=1.3, beta=0.4), x, kernel=kernel)
    with mpmath.workdps(400):
        scales = mpmath.mpf(1.3), mpmath.mpf(0.4)
        for i, j in ((0, 0), (0, 1), (1, 1)):
            right = [float(mpmath.diff(lambda *s: by_hand(i, j, *s), scales, order)) for order in ((1, 0), (0, 1))]  # noqa: B023
            unit = np.sqrt(value[i, i] * value[j, j])
            assert value[i, j] == pytest.approx(float(by_hand(i, j, *scales)), rel=1e-12)
            assert gradient[i, j] == pytest.approx(right, rel=1e-9, abs=1e-12 * unit)


def test_saturated_units_by_a_quadrature():
    # Σ of two layers of tanh at a variance of 10⁶: σ_w² E tanh²(√q z) with q = σ_w² 10⁶
    def by_hand(s):
        return 2 * s**2 * mpmath.quad(lambda z: mpmath.tanh(1000 * s * z) ** 2 * mpmath.npdf(z), [0, 0.002, 0.02, 1, 9])

    _, gradient = kernel_gradient(kc.MLP("tanh", depth=2, sigma_w=1.5, beta=0.0), [[1000.0]], kernel="sigma")
    with mpmath.workdps(40):
        assert gradient[0, 0, 0] == pytest.approx(float(mpmath.diff(by_hand, 1.5)), rel=1e-12)


def test_a_point_of_zeros_without_biases():
    x = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, -1.0]])
    value, gradient = kernel_gradient(kc.MLP("relu", depth=3, sigma_w=1.7, beta=0.0), x)
    assert gradient[..., 0] == pytest.approx(6 / 1.7 * value, rel=1e-10)
    assert np.abs(gradient[0]).max() == np.abs(gradient[:, 0]).max() == 0
    normed = kc.Sequential(*(kc.layers.Dense(1, 0), kc.layers.LayerNorm(), "erf", kc.layers.Dense(1, 0)))
    for call in (lambda: kernel_gradient(normed, x), lambda: diagonal_of(normed, x, "theta")):
        with pytest.raises(InputError, match="a variance above 0"):
            call()


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


def both(function):
    """A value and its slopes at (s, b) = (1.5, 0.5), of functions of dual numbers, beside central differences of floats."""
    found = function(Dual(1.5, [1.0, 0.0]), Dual(0.5, [0.0, 1.0]))
    h = 1e-6
    slopes = [
        (function(1.5 + h, 0.5) - function(1.5 - h, 0.5)) / (2 * h),
        (function(1.5, 0.5 + h) - function(1.5, 0.5 - h)) / (2 * h),
    ]
    assert found.value == pytest.approx(function(1.5, 0.5), rel=1e-14)
    assert found.slopes == pytest.approx(np.array(slopes), rel=1e-8)


@pytest.mark.parametrize(
    "function",
    [
        lambda s, b: s + b * 3,
        lambda s, b: 2 + s - b,
        lambda s, b: 2 - s * b,
        lambda s, b: s - 2 - -b,
        lambda s, b: 3 * s * b,
        lambda s, b: s / b,
        lambda s, b: 2 / s / b / 4,
        lambda s, b: s**3 - b**-2,
    ],
)
def test_numbers_with_their_derivatives(function):
    both(function)


@pytest.mark.parametrize("operation", [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b, lambda a, b: a / b])
def test_a_number_that_meets_an_array(operation):
    """Each entry as on its own, from either side, arrays of numbers too."""
    scale, array = Dual(1.5, [1.0, 0.25]), np.array([1.0, 2.0, 4.0])
    several = Dual(array, [2 * array, -array])
    for left, right in ((scale, several), (several, scale), (scale, array), (array, scale), (several, array)):
        found = operation(left, right)
        assert (found.value.shape, found.slopes.shape) == ((3,), (2, 3))
        assert found[[0, 2]].slopes.shape == (2, 2)
        for at in range(3):
            ends = (side[at] if np.ndim(getattr(side, "value", side)) else side for side in (left, right))
            one = operation(*ends)
            assert one.value == pytest.approx(found[at].value, rel=1e-15)
            assert one.slopes == pytest.approx(found[at].slopes, rel=1e-15)


def test_what_is_refused_is_named():
    net = MAKE["tanh"](1, 1)
    for call, error, text in (
        (lambda: kernel_gradient(net, X, kernel="phi"), InputError, "kernel 'theta' or 'sigma', got 'phi'"),
        (lambda: kernel_gradient(net, X, X[:, :2]), ShapeError, "X2 with 3 inputs, as X has, got 2"),
        (
            lambda: kernel_gradient(kc.Sequential(kc.layers.Dense(1.0), "tanh", kc.layers.Dense(2.0)), X),
            InputError,
            "a network with one sigma_w and one beta, in NTK parametrisation, got 2 of them",
        ),
        (
            lambda: kernel_gradient(standard(net, (3, 3), 3), X),
            InputError,
            "a network with one sigma_w and one beta, in NTK parametrisation",
        ),
        (lambda: kernel_gradient(net, X, X[0]), ShapeError, "X2 of shape (points, inputs), got shape (3,)"),
        (
            lambda: kernel_gradient(net, 1e90 * X),
            CovarianceError,
            "points whose σ_w²|x|²/n_0 + β² is 0 or lies between",
        ),
        (
            lambda: kernel_gradient(net, X, 1e90 * X),
            CovarianceError,
            "points whose σ_w²|x|²/n_0 + β² is 0 or lies between",
        ),
    ):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value).startswith(f"expected {text}")


def test_theta_is_the_default():
    net = MAKE["relu"](1.3, 0.4)
    np.testing.assert_array_equal(kernel_gradient(net, X[:2])[1], kernel_gradient(net, X[:2], kernel="theta")[1])
