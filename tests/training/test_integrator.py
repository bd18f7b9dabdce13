import numpy as np
import pytest
import scipy.integrate
from scipy.integrate import BDF, solve_ivp
from scipy.sparse.linalg import LinearOperator

from kernelcalc.errors import InputError, IntegrationError, NotFiniteError
from kernelcalc.training.integrator import integrate


def solve(derivative, jacobian, start, times, rtol, atol):
    """``jacobian`` as a matrix."""
    flow = integrate(
        derivative,
        lambda y: lambda v: jacobian(y) @ v,
        np.asarray(start, float),
        np.asarray(times, float),
        rtol=rtol,
        atol=atol,
    )
    return np.array(list(flow))


@pytest.mark.parametrize("stiffness", [1.0, 1e3, 1e6])
def test_linear_decay_on_every_scale(stiffness):
    rates, times = np.array([0.0, 0.1, 1.0, stiffness]), np.array([0.0, 1e-3, 0.3, 2.0, 2.0001, 30.0])
    solution = solve(lambda y: -rates * y, lambda y: -np.diag(rates), np.ones(4), times, 1e-9, 1e-11)
    np.testing.assert_allclose(solution, np.exp(-np.outer(times, rates)), atol=1e-6)


def test_the_error_follows_the_tolerance():
    errors = [
        abs(solve(lambda y: -(y**3), lambda y: np.diag(-3 * y**2), [1.0], [1.0], tol, tol)[0, 0] - 3**-0.5)
        for tol in (1e-4, 1e-6, 1e-8)
    ]
    assert errors[0] < 1e-3
    assert errors[1] < errors[0] / 10
    assert errors[2] < errors[1] / 10


def test_nonlinear_system_against_radau():
    a = np.array([[40.0, 3.0], [3.0, 1.0]])

    def derivative(y):
        return -a @ np.sinh(y)

    times = np.array([0.01, 0.1, 1.0])
    reference = solve_ivp(lambda t, y: derivative(y), (0, 1), [1.0, -2.0], "Radau", times, rtol=1e-11, atol=1e-13).y.T
    ours = solve(derivative, lambda y: -a * np.cosh(y), [1.0, -2.0], times, 1e-9, 1e-11)
    np.testing.assert_allclose(ours, reference, atol=2e-8)


def test_a_large_stiff_system_needs_no_matrix():
    # 20 000 equations: a dense Jacobian would take 3 GB.
    rates = np.geomspace(1e-3, 1e4, 20_000).reshape(4, -1)
    flow = integrate(
        lambda y: -rates * y, lambda y: lambda v: -rates * v, np.ones_like(rates), np.array([5.0]), rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(next(flow), np.exp(-5 * rates), atol=1e-4)


def test_blow_up_is_noticed():
    with pytest.raises(IntegrationError, match="stopped at time 1 of 2"):
        solve(lambda y: y**2, lambda y: np.diag(2 * y), [1.0], [2.0], 1e-6, 1e-8)


def test_a_step_out_of_the_domain_is_shortened():
    refused = []

    def checked(y):
        if (y > 1).any():
            refused.append(y)
            raise NotFiniteError("y ≤ 1", "more")
        return y

    def jacobian(y):
        slope = -9 * checked(y) ** 8
        return lambda v: slope * v

    times = np.array([0.5, 2.0])
    flow = integrate(
        lambda y: 1 - checked(y) ** 9,
        jacobian,
        np.zeros(1),
        times,
        rtol=1e-2,
        atol=1e-2,
    )
    ours = np.array(list(flow))
    reference = solve_ivp(lambda t, y: 1 - y**9, (0, 2), [0.0], "Radau", times, rtol=1e-10, atol=1e-12).y.T
    np.testing.assert_allclose(ours, reference, atol=2e-2)
    assert refused


@pytest.mark.parametrize("error", [NotFiniteError, InputError])
def test_an_undefined_start_is_reported(error):
    def derivative(y):
        raise error("numbers", "none")

    with pytest.raises(error, match="numbers"):
        next(integrate(derivative, lambda y: lambda v: v, np.ones(1), np.array([1.0]), rtol=1e-3, atol=1e-3))


def test_times_at_zero_need_no_integration():
    flow = integrate(None, None, np.ones(2), np.array([0.0]), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(list(flow), [[1.0, 1.0]])


def test_scipy_steps_with_linear_operators(monkeypatch):
    solvers, seen = [], []

    class Watched(BDF):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            solvers.append(self)

        def _step_impl(self):
            found = super()._step_impl()
            seen.append((self.J, self.lu(self.I - 0.1 * self.J)))
            return found

    monkeypatch.setattr(scipy.integrate, "BDF", Watched)
    solve(lambda y: -(y**3), lambda y: np.diag(-3 * y**2), [1.0, 3.0], [5.0], 1e-6, 1e-8)
    assert len(solvers) == 1
    assert all(isinstance(matrix, LinearOperator) for pair in seen for matrix in pair)
    # asked again on the way: the start's is diag(-3, -27)
    last = seen[-1][0] @ np.eye(2)
    assert -13 < last[1, 1] < 0
    assert last[0, 1] == last[1, 0] == 0


@pytest.mark.parametrize("name", ["D", "I", "J", "jac", "lu", "solve_lu", "newton_tol"])
def test_another_scipy_is_noticed(monkeypatch, name):
    class Other(BDF):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            delattr(self, name)

    monkeypatch.setattr(scipy.integrate, "BDF", Other)
    with pytest.raises(IntegrationError, match=f"has no {name}, which"):
        solve(lambda y: -y, lambda y: -np.eye(1), [1.0], [1.0], 1e-3, 1e-3)


@pytest.mark.parametrize(("curvature", "share"), [(1.0, 0.7), (1e9, 1.1)])
def test_f_is_not_evaluated_again_where_it_is_linear_in_a_step(curvature, share):
    """y' = -a sin y, of which |f(y + d) - f(y) - f'(y) d| ≤ a d²/2; with a bound far above that nothing is saved."""
    rates, times, counts, found = np.array([50.0, 3.0, 0.1]), np.array([0.1, 1.0, 5.0]), [], []
    for bend in (None, lambda d: curvature * rates * d**2 / 2):
        calls = []
        flow = integrate(
            lambda y: calls.append(y) or -rates * np.sin(y),  # noqa: B023
            lambda y: lambda v: -rates * np.cos(y) * v,
            np.array([2.0, 1.0, 3.0]),
            times,
            rtol=1e-7,
            atol=1e-9,
            bend=bend,
        )
        found.append(np.array(list(flow)))
        counts.append(len(calls))
    # tan y/2 = e^(-at) tan y_0/2
    exact = 2 * np.arctan(np.exp(-np.outer(times, rates)) * np.tan([1.0, 0.5, 1.5]))
    for one in found:
        np.testing.assert_allclose(one, exact, atol=1e-5)
    assert counts[1] <= share * counts[0]
