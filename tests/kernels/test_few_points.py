"""One pair of points: the kept tables against whole Gram matrices and multiprecision, and when they must not be used."""

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.kernels import few_points as module
from kernelcalc.kernels import gram as kernels
from kernelcalc.kernels.few_points import MOST_POINTS, few_points
from kernelcalc.kernels.state import KERNEL_NAMES

RNG = np.random.default_rng(11)


@pytest.fixture
def block_wise(monkeypatch):
    """Kernels by the way of large Gram matrices."""

    def compute(net, *data):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "few_points", lambda *_: None)
            return net.kernels(*data)

    return compute


@pytest.mark.parametrize(
    ("names", "sigma_w", "beta"),
    [("tanh", 1.0, 0.1), ("softplus", 1.4, 0.2), (("erf", "silu"), 1.0, 0.0), (("gelu", "tanh", "sin"), 0.8, 0.3)],
)
def test_same_as_block_by_block(names, sigma_w, beta, block_wise):
    depth = 3 if isinstance(names, str) else len(names) + 1
    net = kc.MLP(names if isinstance(names, str) else list(names), depth, sigma_w=sigma_w, beta=beta)
    points = RNG.normal(size=(5, 7)) * np.array([0.1, 0.5, 1.0, 2.0, 4.0])[:, None]
    points[4] = points[2] * (1 + 1e-9)
    for data in ((points,), (points[:2], points[1:]), (points[:1], points[3:4])):
        if isinstance(names, str):
            assert few_points(net, data[0], data[1] if len(data) > 1 else None, KERNEL_NAMES) is not None
        few, many = net.kernels(*data), block_wise(net, *data)
        for name in KERNEL_NAMES:
            wanted = getattr(many, name)
            np.testing.assert_allclose(getattr(few, name), wanted, rtol=2e-12, atol=1e-14 * np.abs(wanted).max())


def test_against_thirty_digits():
    x, y = RNG.normal(size=(2, 1, 5))
    net = kc.MLP("softplus", 2, sigma_w=1.2)
    exact = net.kernels(x, y, dps=30)
    found = net.kernels(x, y)
    for name in KERNEL_NAMES:
        assert abs(getattr(found, name)[0, 0] / float(getattr(exact, name)[0, 0]) - 1) < 1e-12, name


def test_a_closed_form_is_preferred_to_a_worse_series():
    x = np.full((1, 4), 3.0)
    net = kc.MLP("gelu", 2, sigma_w=2.0)
    found = few_points(net, x, None, ("theta",))
    exact = net.kernels(x, only="theta", dps=25).theta[0, 0]
    assert abs(found["theta"][0, 0] / float(exact) - 1) < 1e-14


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "gelu", "erf"])
def test_closed_forms_against_thirty_digits(name):
    net = kc.MLP(name, 3, sigma_w=1.4, beta=0.2)
    x, y = np.random.default_rng(4).normal(size=(2, 1, 5))
    for other in (y, -0.5 * x + 0.01 * y, 30 * y):
        names = ("sigma", "theta") if net.activations[0].kinks else KERNEL_NAMES
        found = few_points(net, x, other, names)
        exact = net.kernels(x, other, only=names, dps=30)
        for kernel in names:
            assert abs(found[kernel][0, 0] / float(getattr(exact, kernel)[0, 0]) - 1) < 2e-13, kernel


def test_nearly_parallel_points_of_kinked_networks_take_the_careful_way():
    x = RNG.normal(size=(1, 5))
    assert few_points(kc.MLP("relu", 3), x, x * (1 + 1e-9), ("theta",)) is None
    assert few_points(kc.MLP("relu", 3), x, x + 1, ("theta",)) is not None


def test_nearly_parallel_points_of_chaotic_networks_take_the_careful_way():
    """Where angles grow by far more than 1e3 through the layers; nowhere else, and no others."""
    x = np.array([[1.0, 0.5, -0.3, 0.8]])
    for depth, parallel in ((3, True), (25, False)):
        net = kc.MLP("tanh", depth, sigma_w=3.0, beta=0.1)
        assert (few_points(net, x, x * (1 + 1e-6), ("theta",)) is not None) is parallel
        assert few_points(net, x, x[:, ::-1], ("theta",)) is not None
        # a point with itself is no pair of two
        assert few_points(net, x, None, ("theta",)) is not None


class Known:
    """In the place of tables: coefficients (orders, K), an energy, errors and norms of a point."""

    def __init__(self, coefficients, beyond=0.0, error=0.0, norms=0.0):
        self.coefficients = np.atleast_2d(coefficients)
        self.energy = (self.coefficients**2).sum(axis=1) + beyond
        self.error, self.slack = np.full(len(self.coefficients), error), np.zeros(len(self.coefficients))
        self.norms = np.full((len(self.coefficients), len(module.NORM_EXPONENTS)), norms)

    def values(self, q):
        return np.concatenate([self.coefficients, self.energy[:, None]], axis=1)


def by_tables(monkeypatch, rho, *tables):
    """E of two points of variance 1."""
    left = iter(tables)
    monkeypatch.setattr(module, "octave_tables", lambda *_: next(left))
    sigma, row, column = np.array([1.0, 1.0, rho]), np.array([0, 1, 0]), np.array([0, 1, 1])
    return module._series(kc.activation("tanh"), ((0, 0),), sigma, row, column, 2)


def test_series_that_are_good_enough_and_no_others(monkeypatch):
    """Σ f_k g_k ρ^k; rounding of either side, and what is cut off, must be below 1e-11 of it or of the smallest norms."""
    one, two = [0.5, 0.25, 0.125], [0.25, 0.5, 0.5]
    found = by_tables(monkeypatch, 0.5, Known(one), Known(two))[0, 0]
    known = [sum(v * v for v in one), sum(v * v for v in two), 0.125 + 0.125 * 0.5 + 0.0625 * 0.25]
    np.testing.assert_allclose(found, known, rtol=1e-14)
    # rounding ε|f|² on either side of a point with itself, and of one with the other
    for factor, enough in ((0.9, True), (1.1, False)):
        error = 1e-11 / 2 * factor
        assert (by_tables(monkeypatch, 0.5, Known(one, error=error), Known(two)) is not None) is enough
        assert (by_tables(monkeypatch, 0.5, Known(one), Known(two, error=error)) is not None) is enough
    # where fg cancels, norms from below count in its place; near ρ = 1 there are none
    for rho, norm, enough in ((0.99, 0.0, False), (0.99, 1.0, True), (1 - 1e-9, 1.0, False)):
        tables = (Known(side, error=1e-13, norms=norm) for side in ([0.5, -0.5], [0.5, 0.5 / rho]))
        assert (by_tables(monkeypatch, rho, *tables) is not None) is enough
    # of what one leaves beyond the shorter one's length the other has none, unless it goes on
    for beyond, enough in ((1e-30, True), (1e-8, False)):
        made = by_tables(monkeypatch, 0.9, Known(one, beyond=beyond), Known(two, beyond=beyond))
        assert (made is not None) is enough


def test_a_selection_is_the_same():
    x = RNG.normal(size=(3, 4))
    net = kc.MLP("tanh", 4)
    every = net.kernels(x)
    for name in KERNEL_NAMES:
        np.testing.assert_allclose(getattr(net.kernels(x, only=(name,)), name), getattr(every, name), rtol=1e-13)


def test_left_to_other_ways():
    x = RNG.normal(size=(3, 4))
    assert few_points(kc.MLP("relu", 2), np.repeat(x, 2, axis=0), None, ("sigma",)) is None
    assert few_points(kc.MLP("tanh", 1), x, None, ("sigma",)) is None
    assert few_points(kc.MLP("tanh", 2), np.repeat(x, MOST_POINTS, axis=0), None, ("sigma",)) is None
    assert few_points(kc.MLP("tanh", 2, beta=0.0), x * [[0.0], [1.0], [1.0]], None, ("sigma",)) is None
    # Far too large a variance for a series of tanh'': its bound must send the pair to quadrature.
    assert few_points(kc.MLP("tanh", 2), x * 1e3, None, KERNEL_NAMES) is None


def test_a_pair_given_as_one_set_takes_closed_forms_of_kinked_functions():
    x = RNG.normal(size=(2, 4))
    found = few_points(kc.MLP("relu", 3), x, None, ("sigma", "theta"))
    exact = kc.MLP("relu", 3).kernels(x, dps=25)
    for name in ("sigma", "theta"):
        np.testing.assert_allclose(found[name], getattr(exact, name).astype(float), rtol=1e-14)


def test_lambda_of_one_set_in_both_orders():
    x = RNG.normal(size=(3, 4))
    lam = kc.MLP("tanh", 3).kernels(x).lam
    for i in range(3):
        for j in range(3):
            assert abs(kc.MLP("tanh", 3).kernels(x[[i]], x[[j]]).lam[0, 0] / lam[i, j] - 1) < 1e-12


@pytest.mark.parametrize(("apart", "depth"), [(1e-2, 20), (1e-3, 20), (1e-4, 20), (1e-8, 60), (1e-10, 60), (1e-12, 60)])
def test_points_that_layers_drive_apart(apart, depth):
    # erf, σ_w = 3, by closed forms in 60 digits: 1 - ρ² of 1e-7 grows beyond 1e-4 before rounding could have grown much; of
    # 1e-25 it is followed with all its digits
    points, weight = [[1, 0.5], [1 + apart, 0.5]], 9
    with mpmath.workdps(60):
        x, y = ([mpmath.mpf(value) for value in point] for point in points)
        q, qp, c = (weight * mpmath.fdot(a, b) / 2 for a, b in ((x, x), (y, y), (x, y)))
        theta = c
        for _ in range(depth - 1):
            size = (1 + 2 * q) * (1 + 2 * qp)
            theta = weight * 4 / mpmath.pi / mpmath.sqrt(size - 4 * c * c) * theta
            c = weight * 2 / mpmath.pi * mpmath.asin(2 * c / mpmath.sqrt(size))
            theta = theta + c
            q, qp = (weight * 2 / mpmath.pi * mpmath.asin(2 * value / (1 + 2 * value)) for value in (q, qp))
    found = kc.MLP("erf", depth=depth, sigma_w=3, beta=0).kernels(points)
    assert abs(found.sigma[0, 1] - float(c)) < 1e-11 * float(q)
    assert abs(found.theta[0, 1] - float(theta)) < 1e-11 * found.theta[0, 0]


@pytest.mark.parametrize("apart", [1e-5, 1e-10, 1e-12])
@pytest.mark.parametrize("more", [0, 9])
def test_points_of_a_function_with_a_mean_that_layers_drive_apart(apart, more):
    # sin(2x + 1), σ_w = 2.5: what differs of the variances counts too. E of products are e^{-2(q+q')} (cosh, sinh and sums)
    points, weight, bias, depth = [[1, 0.5], [1 + apart, 0.5]], mpmath.mpf(6.25), mpmath.mpf(0.1) ** 2, 19
    with mpmath.workdps(80):
        bias = mpmath.mpf(0.1) ** 2
        x, y = ([mpmath.mpf(value) for value in point] for point in points)
        q, qp, c = (weight * mpmath.fdot(a, b) / 2 + bias for a, b in ((x, x), (y, y), (x, y)))

        def mean(q, qp, c, sign):
            near, far = mpmath.exp(-2 * (q + qp - 2 * c)), mpmath.cos(2) * mpmath.exp(-2 * (q + qp + 2 * c))
            return (near + sign * far) / 2

        theta = c
        for _ in range(depth - 1):
            theta = weight * 4 * mean(q, qp, c, 1) * theta
            q, qp, c = (weight * mean(*of, -1) + bias for of in ((q, q, q), (qp, qp, qp), (q, qp, c)))
            theta = theta + c
    net = kc.MLP("sin(2*x+1)", depth=depth, sigma_w=2.5, beta=0.1)
    found = net.kernels(np.concatenate([points, RNG.normal(size=(more, 2))]), only=("sigma", "theta"))
    assert abs(found.sigma[0, 1] - float(c)) < 2e-11 * float(q)
    assert abs(found.theta[0, 1] - float(theta)) < 2e-11 * found.theta[0, 0]


def test_kinks_that_layers_drive_apart():
    """By nested Gauss-Legendre rules in long double that carry q, q - q' and E(a - b)², the same with half the panels."""
    points, diagonal = [[1, 0.5], [1 + 1e-4, 0.5]], 54326.67926141266
    found = kc.MLP("tanh(2*abs(x))", depth=8, sigma_w=3, beta=0.125).kernels(points, only=("sigma", "theta"))
    assert abs(found.sigma[0, 1] - 7.741857330173225) < 1e-13
    assert abs(found.theta[0, 1] - 53153.31933126587) < 4e-11 * diagonal
    assert found.theta[0, 0] == pytest.approx(diagonal, rel=1e-14)
