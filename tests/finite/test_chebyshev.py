"""The integrator on problems with known solutions."""

import numpy as np
import pytest

from kernelcalc.errors import IntegrationError
from kernelcalc.finite.chebyshev import _coefficients, integrate


def stability(stages, z):
    """The stability polynomial R(z) from the method's own recursion on y' = λ y, h λ = z."""
    mu1, table = _coefficients(stages)
    before, now = 1.0, 1 + mu1 * z
    for mu, nu, mu_t, gamma_t in table:
        before, now = now, (1 - mu - nu) + mu * now + nu * before + mu_t * z * now + gamma_t * z
    return now


@pytest.mark.parametrize("stages", [2, 3, 5, 20, 200])
def test_stability_polynomial(stages):
    # second order: R(z) = 1 + z + z²/2 + O(z³), R by central differences
    h = 1e-3
    plus, minus = stability(stages, h), stability(stages, -h)
    assert (plus - minus) / (2 * h) == pytest.approx(1, abs=1e-6)
    assert (plus + minus - 2) / h**2 == pytest.approx(1, abs=1e-5)
    # stable on the interval that the choice of stages relies on: (s² − 1)/1.54
    z = -np.linspace(0, (stages**2 - 1) / 1.54, 4001)
    assert np.max(np.abs(stability(stages, z))) <= 1 + 1e-9


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-5])
def test_linear_problem_of_condition_1e6(tol):
    rates = np.geomspace(1e-3, 1e3, 30)
    times = np.array([0.0, 1e-3, 1.0, 100.0])
    calls = []

    def field(y):
        calls.append(1)
        return -rates * y

    found = list(integrate(field, np.ones(30), times, radius=lambda y: 1e3, tol=tol))
    exact = np.exp(-times[:, None] * rates)
    assert np.linalg.norm(found - exact, axis=1).max() < 20 * tol
    # an unstabilised explicit method needs at least t λ_max / 2 = 5e4 calls
    assert len(calls) < 20_000


def test_the_error_falls_with_the_tolerance_on_a_nonlinear_problem():
    # logistic equation: y = 1/(1 + 9 e^{−t})
    times = np.linspace(0, 8, 5)
    errors = []
    for tol in (1e-3, 1e-4, 1e-5):
        found = np.array(list(integrate(lambda y: y * (1 - y), np.array([0.1]), times, radius=lambda y: 1.0, tol=tol)))
        errors.append(np.abs(found[:, 0] - 1 / (1 + 9 * np.exp(-times))).max())
    assert np.all(np.array(errors) < [2e-2, 2e-3, 2e-4])
    assert errors[0] > errors[1] > errors[2]


def test_a_radius_far_too_small_is_survived():
    (y,) = integrate(lambda y: -1000 * y, np.ones(1), np.array([1.0]), radius=lambda y: 1.0, tol=1e-4)
    assert abs(y[0]) < 1e-3


def test_blow_up_is_named():
    with pytest.raises(IntegrationError, match="t="):
        list(integrate(lambda y: y * y, np.ones(1), np.array([2.0]), radius=lambda y: 1.0, tol=1e-2))


def test_too_many_steps():
    with pytest.raises(IntegrationError, match="after 3 steps"):
        list(integrate(lambda y: -y, np.ones(1), np.array([50.0]), radius=lambda y: 1.0, tol=1e-10, max_steps=3))
