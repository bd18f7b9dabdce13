import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kernelcalc.chebyshev import integrate
from kernelcalc.errors import IntegrationError


def solve(derivative, start, times, rho, tolerance):
    return np.array(
        list(
            integrate(
                derivative,
                np.asarray(start, float),
                np.asarray(times, float),
                radius=lambda y, f: rho,
                error_norm=lambda e, a, b: float(np.abs(e).max()) / tolerance,
            )
        )
    )


@pytest.mark.parametrize("stiffness", [1.0, 1e3, 1e6])
def test_linear_decay_on_every_scale(stiffness):
    rates, times = np.array([0.0, 0.1, 1.0, stiffness]), np.array([0.0, 1e-3, 0.3, 2.0, 2.0001, 30.0])
    solution = solve(lambda y: -rates * y, np.ones(4), times, stiffness, 1e-10)
    np.testing.assert_allclose(solution, np.exp(-np.outer(times, rates)), atol=1e-6)


def test_order_two():
    errors = [abs(solve(lambda y: -(y**3), [1.0], [1.0], 3.0, tol)[0, 0] - 3**-0.5) for tol in (1e-6, 1e-9)]
    # a local tolerance 10³ smaller makes steps 10 times shorter and the error 10² smaller
    assert 30 < errors[0] / errors[1] < 300


def test_nonlinear_system_against_scipy():
    a = np.array([[40.0, 3.0], [3.0, 1.0]])

    def derivative(y):
        return -a @ np.sinh(y)

    times = np.array([0.01, 0.1, 1.0])
    reference = solve_ivp(lambda t, y: derivative(y), (0, 1), [1.0, -2.0], "Radau", times, rtol=1e-10, atol=1e-12).y.T
    np.testing.assert_allclose(solve(derivative, [1.0, -2.0], times, 150.0, 1e-9), reference, atol=1e-6)


def test_blow_up_is_noticed():
    with pytest.raises(IntegrationError, match="stopped at time 1 of 2"):
        solve(lambda y: y**2, [1.0], [2.0], 1.0, 1e-6)
