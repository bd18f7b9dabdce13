"""Gram matrices: against a literal pair recursion, identities, symmetry, precision, memory, bad input."""

import math
import tracemalloc
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import kernelcalc as kc
from kernelcalc.errors import (
    CovarianceError,
    DivergentExpectationError,
    InputError,
    NotFiniteError,
    ShapeError,
    SmoothnessError,
    UnknownNameError,
)
from kernelcalc.gaussian.floats.layer import LayerExpectations
from kernelcalc.kernels import blocks
from kernelcalc.kernels.gram import KernelComputation
from kernelcalc.kernels.state import KERNEL_NAMES, DiagonalKernels, PairKernels
from tests.kernels.test_layers import literal_step

RNG = np.random.default_rng(7)
X = RNG.normal(size=(5, 4))


def brute_force(functions, q, qp, c):
    """E_ij by the two-dimensional trapezoidal rule on a plain grid; functions[k] is the k-th derivative."""
    z = np.linspace(-9, 9, 241)
    w = np.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    slope, spread = c / math.sqrt(q), math.sqrt(max(qp - c * c / q, 0.0))
    a = math.sqrt(q) * z
    b = slope * z[:, None] + spread * z[None, :]
    left = [f(a) * w for f in functions]
    right = [f(b) @ w for f in functions]
    orders = [(0, 0), (1, 1), (2, 2), (2, 0), (0, 2), (3, 1), (1, 3)]
    return {(i, j): float(left[i] @ right[j]) for i, j in orders}


def tanh_derivatives():
    s = lambda t: 1 / np.cosh(t) ** 2  # noqa: E731
    t = np.tanh
    return [t, s, lambda u: -2 * t(u) * s(u), lambda u: (4 * t(u) ** 2 - 2 * s(u)) * s(u)]


def softplus_derivatives():
    s = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
    d = lambda t: s(t) * (1 - s(t))  # noqa: E731
    return [lambda t: np.log1p(np.exp(t)), s, d, lambda t: d(t) * (1 - 2 * s(t))]


def literal_kernels(layers, x, xp, sigma_w, beta):
    """All kernels of one pair, layer by layer, from hand-written derivatives and brute-force integrals."""
    s2, b2 = sigma_w**2, beta**2
    gram = lambda u, v: s2 * float(u @ v) / len(u) + b2  # noqa: E731

    def start(value):
        return PairKernels(sigma=value, theta=value, phi=0.0, phi_t=0.0, lam=0.0, lam_t=0.0, upsilon=0.0, xi=0.0)

    pair, row, column = start(gram(x, xp)), start(gram(x, x)), start(gram(xp, xp))
    for functions in layers:
        diagonal = [DiagonalKernels(sigma=k.sigma, theta=k.theta, phi=k.phi) for k in (row, column)]
        e = brute_force(functions, row.sigma, column.sigma, pair.sigma)
        e_row = brute_force(functions, row.sigma, row.sigma, row.sigma)
        e_column = brute_force(functions, column.sigma, column.sigma, column.sigma)
        step = lambda k, left, right, exp: PairKernels(  # noqa: E731
            **literal_step(k, left, right, exp, s2, b2)
        )
        pair, row, column = (
            step(pair, *diagonal, e),
            step(row, diagonal[0], diagonal[0], e_row),
            step(column, diagonal[1], diagonal[1], e_column),
        )
    return pair


@pytest.mark.parametrize(
    ("names", "functions"),
    [
        (("tanh", "tanh"), (tanh_derivatives(), tanh_derivatives())),
        (("softplus", "tanh"), (softplus_derivatives(), tanh_derivatives())),
        (("tanh",), (tanh_derivatives(),)),
    ],
)
def test_all_six_kernels_against_a_literal_recursion(names, functions):
    net = kc.MLP(list(names), depth=len(names) + 1, sigma_w=1.4, beta=0.3)
    K = net.kernels(X)
    for i, j in ((0, 1), (2, 2), (3, 1), (4, 0)):
        pair = literal_kernels(functions, X[i], X[j], 1.4, 0.3)
        for name in KERNEL_NAMES:
            assert getattr(K, name)[i, j] == pytest.approx(getattr(pair, name), rel=1e-11), (name, i, j)


@pytest.mark.parametrize("name", ["erf", "smooth_relu", "gelu", "softplus"])
def test_theta_and_upsilon_are_sums_over_layers(name):
    """Θ = Σ_ℓ Σ^(ℓ) ∏ σ_w² Σ̇ and Υ with the corrected index of Σ̇, Σ̈ (Proposition 4)."""
    depth, s2 = 4, 1.3**2
    net = kc.MLP(name, depth=depth, sigma_w=1.3, beta=0.2)
    layers = net.kernels(X).layers
    assert len(layers) == depth
    act = kc.activation(name)
    dot, ddot = [None], [None]
    for k in layers[:-1]:
        q = np.diag(k.sigma)
        for store, order in ((dot, 1), (ddot, 2)):
            f = act.derivative(order)
            store.append(s2 * kc.gaussian_expectation(f, f, q[:, None], q[None, :], k.sigma))
    theta, upsilon = np.zeros((5, 5)), np.zeros((5, 5))
    for ell in range(depth):
        theta += layers[ell].sigma * math.prod(dot[ell + 1 :])
    for ell in range(depth - 1):
        t = layers[ell].theta
        upsilon += (t**2 * ddot[ell + 1] + 2 * t * dot[ell + 1]) * math.prod(dot[ell + 2 :])
    np.testing.assert_allclose(layers[-1].theta, theta, rtol=1e-12)
    np.testing.assert_allclose(layers[-1].upsilon, upsilon, rtol=1e-12)


def test_depth_one_is_linear():
    K = kc.MLP("tanh", depth=1, sigma_w=2.0, beta=0.5).kernels(X)
    gram = 4 * X @ X.T / 4 + 0.25
    np.testing.assert_allclose(K.sigma, gram, rtol=1e-14)
    np.testing.assert_allclose(K.theta, gram, rtol=1e-14)
    for name in ("phi", "lam", "upsilon", "xi"):
        assert not getattr(K, name).any()


def test_two_data_sets_blocks_and_permutations():
    many = RNG.normal(size=(300, 3))
    net = kc.MLP("gelu", depth=3)
    whole, part = net.kernels(many), net.kernels(many[:7], many[290:])
    order = RNG.permutation(300)
    shuffled = net.kernels(many[order])
    for name in KERNEL_NAMES:
        full = getattr(whole, name)
        np.testing.assert_allclose(getattr(part, name), full[:7, 290:], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(getattr(shuffled, name), full[np.ix_(order, order)], rtol=1e-11, atol=1e-13)
        assert not full.flags.writeable
    for name in ("sigma", "theta", "upsilon", "xi"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(whole, name).T)
    turned = net.kernels(many[290:], many[:7])
    assert not np.allclose(part.phi, turned.phi.T)
    np.testing.assert_allclose(turned.xi.T, part.xi, rtol=1e-12)


def test_gram_matrices_are_positive_semidefinite():
    many = RNG.normal(size=(60, 5))
    for name in ("tanh", "erf", "smooth_relu"):
        K = kc.MLP(name, depth=3).kernels(many)
        for kernel in ("sigma", "theta", "upsilon", "xi"):
            assert np.linalg.eigvalsh(getattr(K, kernel)).min() > -1e-12 * np.trace(getattr(K, kernel))
        # (G, Y) is a Gaussian vector: its joint covariance is one too.
        joint = np.block([[K.sigma, K.phi.T], [K.phi, K.xi]])
        assert np.linalg.eigvalsh(joint).min() > -1e-12 * np.trace(joint)


def test_relu_diagonal_is_exact():
    """Σ_xx → σ_w² Σ_xx/2 + β² and Θ_xx → σ_w² Θ_xx/2 + Σ_xx in exact fractions."""
    x = np.array([[0.5, -1.25, 2.0, 0.75]])
    net = kc.MLP("relu", depth=6, sigma_w=1.5, beta=0.25)
    s2, b2 = Fraction(9, 4), Fraction(1, 16)
    sigma = s2 * sum(Fraction(float(v)) ** 2 for v in x[0]) / 4 + b2
    theta = sigma
    for _ in range(5):
        sigma = s2 * sigma / 2 + b2
        theta = s2 * theta / 2 + sigma
    K = net.kernels(np.concatenate([x, x, 2 * x]))
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert K.sigma[i, j] == pytest.approx(float(sigma), rel=1e-15)
        assert K.theta[i, j] == pytest.approx(float(theta), rel=1e-15)


def test_relu_near_the_diagonal_keeps_twelve_digits():
    """Points 1e-6 to 1e-12 apart, and exactly parallel ones without bias, against 40-digit recursions."""
    base = RNG.normal(size=6)
    points = np.stack([base, base + 1e-6 * RNG.normal(size=6), base + 1e-10 * RNG.normal(size=6), 3 * base])
    for beta in (0.0, 0.1):
        for name in ("relu", "leaky_relu", "abs"):
            net = kc.MLP(name, depth=4, beta=beta)
            K, P = net.kernels(points), net.kernels(points, dps=30)
            for kernel in ("sigma", "theta"):
                exact = getattr(P, kernel).astype(float)
                np.testing.assert_allclose(getattr(K, kernel), exact, rtol=1e-12, err_msg=f"{name} {beta} {kernel}")


@pytest.mark.parametrize(
    "name",
    ["hard_tanh", pytest.param("elu(alpha=2)", marks=pytest.mark.long), pytest.param("selu", marks=pytest.mark.long)],
)
def test_other_kinks_near_the_diagonal(name):
    """σ' jumps: Θ of nearly equal points depends on their angle, which must survive two layers."""
    base = RNG.normal(size=6)
    noise = RNG.normal(size=6)
    points = np.stack([base, base + 1e-7 * noise, base + 1e-9 * noise])
    net = kc.MLP(name, depth=3)
    K, copied, P = net.kernels(points), net.kernels(points, points.copy()), net.kernels(points, dps=25)
    for kernel in ("sigma", "theta"):
        np.testing.assert_allclose(getattr(K, kernel), getattr(P, kernel).astype(float), rtol=1e-13)
        np.testing.assert_allclose(getattr(K, kernel), getattr(copied, kernel), rtol=1e-12)


@pytest.mark.parametrize("name", ["tanh", pytest.param("arctan", marks=pytest.mark.long), "silu"])
def test_two_data_sets_are_blocks_of_one(name):
    """Points of very different length, nearly parallel: rows and columns need series of different lengths."""
    points = RNG.normal(size=(4, 5))
    close = 3 * points + 1e-3 * RNG.normal(size=(4, 5))
    net = kc.MLP(name, depth=3, beta=0.0)
    whole, part = net.kernels(np.concatenate([points, close])), net.kernels(points, close)
    for kernel in KERNEL_NAMES:
        expected = getattr(whole, kernel)[:4, 4:]
        np.testing.assert_allclose(getattr(part, kernel), expected, rtol=2e-13, atol=1e-14, err_msg=kernel)


@pytest.mark.parametrize("name", ["erf", "smooth_relu", "gelu"])
def test_float_kernels_against_thirty_digits(name):
    net = kc.MLP(name, depth=4, sigma_w=1.7, beta=0.2)
    K, P = net.kernels(X[:3], X[2:4]), net.kernels(X[:3], X[2:4], dps=30)
    for kernel in KERNEL_NAMES:
        np.testing.assert_allclose(getattr(K, kernel), getattr(P, kernel).astype(float), rtol=1e-12, err_msg=kernel)
    assert isinstance(P.theta[0, 0], mp.mpf)
    assert len(P.layers) == 4


def test_memory_is_outputs_plus_blocks():
    # Small norms keep the series short: it is the memory that counts here.
    many = 0.2 * np.random.default_rng(0).normal(size=(1000, 8))
    net = kc.MLP("tanh", depth=3)
    net.kernels(many[:4])
    tracemalloc.start()
    K = net.kernels(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    outputs = sum(getattr(K, name).nbytes for name in KERNEL_NAMES)
    assert peak - outputs < 48 * 2**20


def test_selection_and_access():
    net = kc.MLP("tanh", depth=3)
    K = net.kernels(X, only=("theta",))
    assert K.available == ("theta",)
    # Other kernels may need longer series, which changes the rounding.
    np.testing.assert_allclose(K.theta, net.kernels(X).theta, rtol=1e-14)
    with pytest.raises(InputError, match="only="):
        _ = K.sigma
    with pytest.raises(UnknownNameError, match="'theta'"):
        net.kernels(X, only=("thetta",))
    assert "5 × 5" in repr(K)
    with pytest.raises(AttributeError):
        _ = K.nonsense


def test_kinked_nonlinearities_are_refused_by_name():
    K = kc.MLP("relu", depth=3).kernels(X)
    assert K.available == ("sigma", "theta")
    for name in ("phi", "lam", "upsilon", "xi"):
        with pytest.raises(SmoothnessError, match=f"{name}.*relu.*smooth_relu"):
            getattr(K, name)
        with pytest.raises(SmoothnessError):
            kc.MLP("relu", depth=3).kernels(X, only=(name,))
    with pytest.raises(SmoothnessError, match="elu"):
        _ = kc.MLP(["tanh", "elu"], depth=3).kernels(X).phi
    step = kc.MLP("step", depth=2).kernels(X)
    assert step.available == ("sigma",)
    with pytest.raises(SmoothnessError, match="theta"):
        _ = step.theta


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (dict(depth=0), InputError),
        (dict(depth=2.5), InputError),
        (dict(depth=True), InputError),
        (dict(sigma_w=0), InputError),
        (dict(sigma_w=float("nan")), InputError),
        (dict(sigma_w="a"), InputError),
        (dict(sigma_w=10**400), InputError),
        (dict(beta=10**5000), InputError),
        (dict(beta=-0.1), InputError),
        (dict(n_out=0), InputError),
        (dict(activation=["tanh", "tanh", "tanh"]), InputError),
        (dict(activation="tahn"), UnknownNameError),
        (dict(activation=None), InputError),
    ],
)
def test_bad_networks(arguments, error):
    with pytest.raises(error):
        kc.MLP(**({"activation": "tanh", "depth": 3} | arguments))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (np.ones(3), ShapeError),
        (np.ones((0, 3)), ShapeError),
        (np.ones((2, 0)), ShapeError),
        ([["a"]], ShapeError),
        ([[1.0], [1.0, 2.0]], ShapeError),
        ([[np.nan, 1.0]], NotFiniteError),
        ([[np.inf, 1.0]], NotFiniteError),
        ([[1j, 1.0]], ShapeError),
        (np.ones((2, 3)) + 1j, ShapeError),
    ],
)
def test_bad_data(data, error):
    with pytest.raises(error):
        kc.MLP("tanh").kernels(data)
    with pytest.raises(error):
        kc.MLP("tanh").kernels(np.ones((1, 2)), data)


def test_inputs_must_agree():
    with pytest.raises(ShapeError, match="3 inputs"):
        kc.MLP("tanh").kernels(np.ones((2, 3)), np.ones((2, 4)))


@pytest.mark.parametrize("factor", [1e200, 1e78, 1e-85])
def test_norms_out_of_range_are_refused_by_row(factor):
    points = np.eye(3)
    points[1] *= factor
    for name in ("tanh", "relu"):
        with pytest.raises(CovarianceError, match="row 1"):
            kc.MLP(name, 2, beta=0.0).kernels(points)


GROWING = ("exp(10*x)", "sinh(10*x)+x", "x*exp(5*x)+sin(x)")


def test_overflow_is_named():
    for many in (1, 20):
        points = np.sqrt(np.linspace(340, 350, many + 1))[:, None]
        with pytest.raises(DivergentExpectationError):
            kc.MLP("exp", 2, beta=0.0).kernels(points)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, 2) for name in GROWING),
        (GROWING[0], 5),
        *(pytest.param(name, 5, marks=pytest.mark.long) for name in GROWING[1:]),
        *(pytest.param(name, 16, marks=pytest.mark.long) for name in GROWING),
    ],
)
def test_overflow_behind_a_layer_is_named_without_warnings_of_numpy(name, size):
    with pytest.raises((DivergentExpectationError, NotFiniteError)):
        kc.MLP(name, 2, sigma_w=5.0).kernels(np.eye(4) * size + 0.3)


def test_a_kernel_named_twice():
    points = RNG.normal(size=(80, 6))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert kc.MLP("tanh", 2).kernels(points, only=("theta", "theta")).available == ("theta",)


def test_a_zero_point_among_many():
    points = RNG.normal(size=(200, 6))
    net = kc.MLP("softplus", 2, beta=0.0)
    expected = net.kernels(points[1:])
    points[0] = 0.0
    K = net.kernels(points)
    np.testing.assert_allclose(K.theta[1:, 1:], expected.theta, rtol=1e-12)
    assert K.sigma[0, 0] == pytest.approx(math.log(2) ** 2, rel=1e-14)


def test_products_of_blocks_take_one_thread_of_blas_whoever_computes_them(monkeypatch):
    seen = set()

    def look(rows, columns):
        seen.update(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")

    with threadpool_limits(2, user_api="blas"):
        for workers in (1, 2):
            monkeypatch.setattr(blocks, "processors", lambda count=workers: count)
            blocks.Matrix(shape=(600, 600), symmetric=True).every_block(look)
    assert seen == {1}


def test_threads_change_nothing(monkeypatch):
    points = RNG.normal(size=(400, 6))
    for name in ("tanh", "relu"):
        found = []
        for count in (1, 4):
            monkeypatch.setattr(blocks, "processors", lambda count=count: count)
            found.append(kc.MLP(name, 3).kernels(points).theta)
        np.testing.assert_array_equal(*found)


# Read off the recursion of Φ, Λ, Υ, Ξ by hand: what a hidden layer needs, and the last one, which nothing follows.
@pytest.mark.parametrize(
    ("name", "symmetric", "hidden", "last"),
    [
        ("sigma", True, "00", "00"),
        ("theta", True, "00 11", "00 11"),
        ("phi", False, "00 11 20", "11 20"),
        ("phi", True, "00 11 20 02", "11 20 02"),
        ("lam", False, "00 11 20 22 31", "11 20 22 31"),
        ("upsilon", False, "00 11 22", "11 22"),
        ("xi", False, "00 11 20 02 22 31 13", "11 22 31 13"),
    ],
)
def test_only_what_is_asked_is_computed(name, symmetric, hidden, last):
    x = RNG.normal(size=(3, 2))
    computation = KernelComputation(kc.MLP("erf", depth=3), x, None if symmetric else x + 1, (name,))
    for step, orders in zip(computation.fold().nonlinearities, (hidden, last), strict=True):
        assert {f"{i}{j}" for i, j in step.prepared.expectations.orders} == set(orders.split())


@pytest.mark.parametrize(("name", "square"), [("tanh", True), pytest.param("silu", False, marks=pytest.mark.long)])
def test_in_panels_of_few_points(name, square, monkeypatch):
    x, other = RNG.normal(size=(400, 3)), None if square else RNG.normal(size=(300, 3))
    net = kc.MLP(name, depth=3, sigma_w=1.5)
    whole = net.kernels(x, other)
    focused = []
    focus = LayerExpectations.focus
    monkeypatch.setattr(LayerExpectations, "focus", lambda self, *parts: (focused.append(parts), focus(self, *parts)))
    monkeypatch.setattr(blocks, "PANEL_BYTES", 1)
    parts = net.kernels(x, other)
    # panels of 256 points: two by two or, in the triangle, three; two layers each
    assert len({str(parts) for parts in focused}) == (3 if square else 4)
    for kernel in KERNEL_NAMES:
        expected = getattr(whole, kernel)
        np.testing.assert_allclose(getattr(parts, kernel), expected, atol=1e-13 * np.abs(expected).max())
