"""What rounding leaves of kernel regression, against 60 digits."""

import warnings

import mpmath
import numpy as np
import pytest

from kernelcalc.errors import InputError, PrecisionWarning
from kernelcalc.kernels.mlp import MLP
from kernelcalc.studies.heldout import held_out
from kernelcalc.studies.regression import predict_outputs

RNG = np.random.default_rng(4)
NET = MLP("erf", depth=2)


def moons(count):
    angle = np.pi * RNG.random(count)
    first = np.arange(count) % 2 == 0
    x = np.where(first, np.cos(angle), 1 - np.cos(angle)), np.where(first, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack(x, axis=1) + 0.1 * RNG.normal(size=(count, 2)), np.where(first, 1.0, -1.0)


def on_sphere(x):
    return x * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)


def to_sixty_digits(x, y, new, ridge=0.0):
    """Θ_{*X} (Θ + ridge)⁻¹ y of kernels that mpmath computes."""
    with mpmath.workdps(60):
        theta = NET.kernels(x, dps=60).theta
        cross = NET.kernels(new, x, dps=60).theta
        matrix = mpmath.matrix(theta.tolist()) + ridge * mpmath.eye(len(x))
        return np.array([float(v) for v in mpmath.matrix(cross.tolist()) * mpmath.lu_solve(matrix, mpmath.matrix(y))])


X, Y = moons(10)
NEW = moons(3)[0]
NEAR = np.array([[-1.0, 0.3], [0.2, 0.9], [0.2, 0.9 + 1e-4], [1.4, 0.1]])


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (np.linspace(-3, 3, 7)[:, None], np.sin(np.linspace(-3, 3, 7))),
        (NEAR, np.array([1.0, 0.5, -0.5, 0.0])),
        (np.outer([0.1, 0.11, 0.111, 2.0], [1.0, -2.0]), np.array([1.0, 0.5, 0.5, 0.0])),
    ],
)
def test_digits_that_are_stated_are_right(x, y):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        law = predict_outputs(NET, x, y, NEW[:, : x.shape[1]])
    exact = to_sixty_digits(x, y, NEW[:, : x.shape[1]])
    error = np.abs(law.mean[:, 0] - exact).max() / np.abs(exact).max()
    assert error < 10.0**-law.digits
    assert [w.category for w in found] == [PrecisionWarning] * (law.digits < 3)
    # and not far too few: rounding is one to a few units of 1e-16, which the condition number multiplies at most
    assert law.digits > -np.log10(error + 1e-16) - 9


def test_points_that_the_sphere_has_collapsed():
    x, y = moons(24)
    x = on_sphere(x)
    new, labels = on_sphere(moons(4)[0]), [1.0, -1.0, 1.0, -1.0]
    with pytest.warns(PrecisionWarning, match="no digit; stop earlier"):
        found = held_out(NET, x, y, new, labels)
    assert found.digits == 0
    assert found.condition_number == np.inf
    assert "NOT exact" in str(found)
    assert "no digit is certain" in str(found)
    # what would have been called exact is off by orders of magnitude
    exact = to_sixty_digits(x, y, new)
    assert np.abs(exact).max() > 100 * np.abs(found.mean).max()


def test_a_ridge_makes_it_certain_again():
    x, y = moons(24)
    x, new = on_sphere(x), on_sphere(moons(4)[0])
    found = held_out(NET, x, y, new, [1.0, -1.0, 1.0, -1.0], ridge=1e-4)
    exact = to_sixty_digits(x, y, new, 1e-4)
    assert np.abs(found.mean[:, 0] - exact).max() < 10.0**-found.digits * np.abs(exact).max()
    assert found.digits > 6
    assert f"exact to about {int(found.digits)} digits" in str(found)
    mean = float(np.diagonal(NET.kernels(x).theta).mean())
    relative = predict_outputs(NET, x, y, new, diag_reg=1e-4 / mean)
    np.testing.assert_allclose(relative.mean, found.mean, rtol=1e-9)


@pytest.mark.parametrize("time", [3.0, 300.0])
def test_a_ridge_is_a_penalty_on_the_way_from_the_start(time):
    """Gradient flow of explicit features φ: f = φ·θ, ∂θ = -(φᵀ(f - y) + ρ(θ - θ_0))/N by Euler's steps."""
    x, y, rho, n = X, Y, 0.3, len(X)
    theta = np.asarray(NET.kernels(np.concatenate([x, NEW])).theta)
    values, vectors = np.linalg.eigh(theta)
    features = vectors * np.sqrt(np.maximum(values, 0))
    own, new = features[:n], features[n:]
    moved, step = np.zeros(len(values)), 0.01
    for _ in range(int(time / step)):
        moved -= step * (own.T @ (own @ moved - y) + rho * moved) / n
    found = predict_outputs(NET, x, y, NEW, time, ridge=rho)
    np.testing.assert_allclose(found.mean[:, 0], new @ moved, rtol=0, atol=2e-3)


def test_equal_points_are_no_loss_of_digits():
    x, y = np.concatenate([X, X[:3]]), np.concatenate([Y, Y[:3]])
    law, single = predict_outputs(NET, x, y, NEW), predict_outputs(NET, X, Y, NEW)
    assert law.digits > 3
    np.testing.assert_allclose(law.mean, single.mean, rtol=1e-5)
    late = predict_outputs(NET, x, y, NEW, 1e14)
    np.testing.assert_allclose(late.mean, single.mean, rtol=1e-4)


def test_variances_are_never_negative():
    law = predict_outputs(MLP("tanh", depth=3), X, np.stack([Y, -Y], axis=1), np.concatenate([X, X]))
    assert (np.diagonal(law.covariance) >= 0).all()
    assert (np.diagonal(law.g_covariance) >= 0).all()
    np.testing.assert_array_equal(law.covariance, law.covariance.T)


@pytest.mark.parametrize(
    "call",
    [
        lambda: predict_outputs(NET, X, Y, NEW, ridge=-1.0),
        lambda: predict_outputs(NET, X, Y, NEW, diag_reg=np.nan),
        lambda: held_out(NET, X, Y > 0, NEW, [1, 0, 1], "binary", time=1.0, ridge=0.1),
    ],
)
def test_named_errors(call):
    with pytest.raises(InputError):
        call()
