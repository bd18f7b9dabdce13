import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kernelcalc.errors import InputError, IntegrationError, NotFiniteError
from kernelcalc.training.integrator import gmres, integrate


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


def test_no_more_evaluations_than_scipy_and_no_larger_errors():
    a, times = np.array([[40.0, 3.0], [3.0, 1.0]]), np.geomspace(1e-3, 10.0, 9)
    counted = []

    def derivative(y):
        counted.append(y)
        return -a @ np.sinh(y)

    def jacobian(y):
        return -a * np.cosh(y)

    def by_scipy(method, rtol):
        options = {"rtol": rtol, "atol": rtol / 100, "jac": lambda t, y: jacobian(y)}
        return solve_ivp(lambda t, y: derivative(y), (0, 10), [1.0, -2.0], method, times, **options)

    exact = by_scipy("Radau", 1e-12).y.T
    for rtol in (1e-4, 1e-6, 1e-8):
        scipy = by_scipy("BDF", rtol)
        counted.clear()
        ours = solve(derivative, jacobian, [1.0, -2.0], times, rtol, rtol / 100)
        assert len(counted) < scipy.nfev
        assert np.abs(ours - exact).max() < 3 * np.abs(scipy.y.T - exact).max()


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_a_linear_map_inside_is_taken_once_a_step_beside_solves(precision):
    rng = np.random.default_rng(0)
    a, w = rng.normal(size=(2, 5, 5))
    # a positive definite a, whose product with a positive diagonal matrix has positive eigenvalues
    a, images, slopes = a @ a.T + np.eye(5), [], []

    def image(y):
        images.append(y.dtype)
        return a.astype(y.dtype) @ y

    def derivative(u):
        slopes.append(u)
        return -np.tanh(u + w[0])

    def product(u):
        curvature = (1 - np.tanh(u + w[0]) ** 2).astype(precision)
        return lambda v: -curvature * v

    times = np.array([0.1, 1.0, 30.0])
    flow = integrate(derivative, product, np.zeros(5), times, rtol=1e-6, atol=1e-8, image=image, precision=precision)
    ours = np.array(list(flow))
    reference = solve_ivp(
        lambda t, y: -np.tanh(a @ y + w[0]), (0, 30), np.zeros(5), "Radau", times, rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(ours, reference.y.T, atol=2e-5)
    assert set(images) == {np.dtype(precision), np.dtype(float)}
    if precision is np.float32:
        # f is taken of a prediction and once more of the corrected one
        assert images.count(np.dtype(float)) < 0.6 * len(slopes)


def test_gmres_against_a_direct_solution():
    rng = np.random.default_rng(0)
    matrix, right = np.eye(12) + 0.2 * rng.normal(size=(12, 12)), rng.normal(size=12)
    vectors, weights = gmres(lambda v: matrix @ v, right, 1e-12, 12)
    np.testing.assert_allclose(weights @ vectors, np.linalg.solve(matrix, right), rtol=1e-9)
    np.testing.assert_allclose(np.array(vectors) @ np.transpose(vectors), np.eye(len(vectors)), atol=1e-9)
    left = []
    for most in range(1, 9):
        vectors, weights = gmres(lambda v: matrix @ v, right, 1e-12, most)
        assert len(vectors) == most
        # no other combination of these vectors leaves less
        best = np.linalg.lstsq(matrix @ np.transpose(vectors), right, rcond=None)[0]
        np.testing.assert_allclose(weights, best, rtol=1e-9)
        left.append(np.linalg.norm(right - matrix @ (weights @ vectors)))
    enough = (left[3] + left[4]) / 2
    vectors, weights = gmres(lambda v: matrix @ v, right, enough, 12)
    assert len(vectors) == 5
    vectors, weights = gmres(lambda v: matrix.astype(np.float32) @ v, right, enough, 12, np.float32)
    assert {v.dtype for v in vectors} == {np.dtype(np.float32)}
    assert np.linalg.norm(right - matrix @ (weights @ vectors)) == pytest.approx(left[4], rel=1e-5)
