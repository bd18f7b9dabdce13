"""Nearly parallel points before a kinked layer: against many digits of the whole recursion."""

import mpmath
import numpy as np
import pytest

import kernelcalc as kc

RNG = np.random.default_rng(0)
POINT, STEP = RNG.normal(size=(2, 1, 5))


def worst(net, points):
    names = ("sigma", "theta")
    exact = net.kernels(points, only=names, dps=25)
    found = net.kernels(points, only=names)
    return max(float(np.abs(getattr(found, name) / getattr(exact, name).astype(float) - 1).max()) for name in names)


@pytest.mark.parametrize("distance", [1e-3, pytest.param(1e-6, marks=pytest.mark.long), 1e-8])
@pytest.mark.parametrize(
    "names",
    [("tanh", "relu"), ("erf", "relu"), ("softplus", "abs"), ("elu", "relu"), ("hard_tanh", "relu"), ("relu", "relu")],
)
def test_close_points(names, distance):
    net = kc.MLP(list(names), 3)
    assert worst(net, np.concatenate([POINT, POINT + distance * STEP])) < 1e-11


def test_a_smooth_layer_between_passes_the_angle_on():
    net = kc.MLP(["tanh", "softplus", "relu"], 4, sigma_w=1.5)
    assert worst(net, np.concatenate([POINT, POINT + 1e-7 * STEP])) < 1e-11


@pytest.mark.parametrize("names", [("abs", "abs"), ("abs", "relu"), ("tanh", "abs"), ("leaky_relu", "abs")])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_nearly_opposite_points(names, beta):
    net = kc.MLP(list(names), 3, beta=beta)
    assert worst(net, np.concatenate([POINT, -POINT + 1e-8 * STEP])) < 1e-11


def test_linear_layers_before_a_kink():
    x = kc.Activation("x + 0*x")
    for sign in (1, -1):
        points = np.concatenate([POINT, sign * POINT + 1e-8 * STEP])
        deep = kc.MLP([x, "relu"], 3, beta=0.0).kernels(points)
        flat = kc.MLP("relu", 2, beta=0.0).kernels(points)
        np.testing.assert_allclose(deep.sigma, flat.sigma, rtol=1e-14)


def test_the_precision_of_the_caller_does_not_matter():
    net = kc.MLP(["hard_tanh", "relu"], 3)
    points = np.concatenate([POINT, POINT + 1e-7 * STEP])
    expected = net.kernels(points).theta
    with mpmath.workdps(5):
        np.testing.assert_array_equal(net.kernels(points).theta, expected)


def waves(points, depth, sigma_w, moved):
    """Σ of sin(2x + 1) at a pair, β = 1/8, by hand in mpmath; Σ^(1)(x, x') is multiplied by 1 + ``moved``."""
    w2, b2 = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(1) / 64

    def step(q, qp, c):
        apart, together = mpmath.exp(-2 * (q + qp - 2 * c)), mpmath.exp(-2 * (q + qp + 2 * c))
        return w2 * (apart - mpmath.cos(2) * together) / 2 + b2

    x, xp = ([mpmath.mpf(float(v)) for v in point] for point in points)
    dot = [w2 * mpmath.fdot(u, v) / len(x) + b2 for u, v in ((x, x), (xp, xp), (x, xp))]
    q, qp, c = dot[0], dot[1], dot[2] * (1 + moved)
    for _ in range(depth - 1):
        q, qp, c = step(q, q, q), step(qp, qp, qp), step(q, qp, c)
    return c


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_chaos_multiplies_one_rounding_by_the_tangent_kernel(depth):
    eps = np.finfo(float).eps
    net = kc.MLP("sin(2*x+1)", depth, sigma_w=2.5, beta=0.125)
    with mpmath.workdps(40):
        for distance in (1e-4, 1e-5, 1e-7):
            points = np.concatenate([POINT, POINT + distance * STEP])
            found, exact = (net.kernels(points, only=("sigma", "theta"), dps=digits) for digits in (None, 40))
            sigma, theta = (mpmath.mpf(getattr(exact, name)[0, 1]) for name in ("sigma", "theta"))
            right = waves(points, depth, 2.5, 0)
            assert abs(sigma - right) < 1e-30
            # one rounding of Σ^(1), in exact arithmetic, is what the documented bound says
            shift = abs(waves(points, depth, 2.5, eps) - right)
            assert 0.2 * eps * theta < shift < 2 * eps * theta
            # and float64 is as good as that
            assert abs(found.sigma[0, 1] - sigma) < 4 * eps * theta
            assert abs(found.theta[0, 1] - theta) < 4 * eps * theta * theta / sigma


@pytest.mark.parametrize(
    ("hidden", "network", "sigma", "theta"),
    [
        # all units of a zero row are c = σ(0): Σ = E relu(c Z)² = c²/2, Θ = c² E H(c Z)² + c²/2
        (["cos", "relu"], {}, 0.5, 1.0),
        (["softplus", "relu"], {}, np.log(2) ** 2 / 2, np.log(2) ** 2),
        (["sigmoid", "relu"], {}, 0.125, 0.25),
        (["exp(0.3*x)", "relu"], {}, 0.5, 1.0),
        ("Heaviside(x)", {"depth": 3}, 0.5, None),
    ],
)
def test_zero_rows_without_a_bias_are_equal_points(hidden, network, sigma, theta):
    x = np.array([[0.0, 0, 0], [1, 2, 3], [0, 0, 0]])
    names = ("sigma",) if theta is None else ("sigma", "theta")
    found = kc.MLP(hidden, beta=0.0, **network).kernels(x, only=names)
    for i, j in ((0, 0), (0, 2), (2, 2)):
        assert abs(found.sigma[i, j] - sigma) < 1e-15
        assert theta is None or abs(found.theta[i, j] - theta) < 1e-15


def test_a_step_at_zero_is_one_half():
    x = np.array([[0.0, 0, 0], [1, 2, 3], [-1, 5, 2], [0, 0, 0], *RNG.normal(size=(6, 3))])
    dot = kc.MLP("relu", depth=2, beta=0.0).kernels(x, only="sigma_dot").sigma_dot
    np.testing.assert_array_equal(dot[0, 1:], 0.25)  # E[H(0) H(b)] = ½ · ½
    leaky = kc.MLP("leaky_relu", depth=2, beta=0.0).kernels(x, only="sigma_dot").sigma_dot
    np.testing.assert_allclose(leaky[0], 0.505**2, rtol=1e-15)  # slopes 1 and 0.01, their mean twice


@pytest.mark.parametrize(
    ("name", "sigma_w", "depth", "scale", "apart"),
    [
        ("sin(2*x+1)", 2.5, 9, 1.0, 1e-5),  # χ = 12 a layer: rounding would grow to 1e-8
        ("sin(2*x+1)", 2.5, 9, 1.0, 1e-9),
        ("erf", 3.0, 30, 1.0, 1e-9),
        ("gelu", 1.0, 4, 1e9, 1e-9),  # a kink at this distance
        ("smooth_relu", 1.0, 4, 1e9, 1e-6),
        ("erf", 1.0, 4, 1e9, 1e-9),
        ("sin", 1.0, 4, 1e4, 1e-9),
        ("sin(30*x)", 1.0, 4, 1.0, 1e-9),
    ],
)
@pytest.mark.parametrize("others", [0, 9])
def test_nearly_parallel_points_that_come_apart(name, sigma_w, depth, scale, apart, others):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6))
    pair = scale * np.array([a, a + apart * b])
    net = kc.MLP(name, depth=depth, sigma_w=sigma_w)
    found = net.kernels(np.concatenate([pair, rng.normal(size=(others, 6))]), only=("sigma", "theta"))
    exact = net.kernels(pair, dps=25, only=("sigma", "theta"))
    for kernel in ("sigma", "theta"):
        error = abs(found[kernel][0, 1] - float(exact[kernel][0, 1])) / float(exact[kernel][0, 0])
        assert error < 1e-11, (kernel, error)


@pytest.mark.parametrize(("beta", "apart"), [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-7)])
def test_even_functions_make_opposite_points_equal(beta, apart):
    """x erf x is |x| at this size; Υ and Ξ hold 1/√(qq' − c²)."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 6))
    pair = 1e3 * np.array([a, -a + apart * b])
    net = kc.MLP("x*erf(x)", depth=4, sigma_w=10, beta=beta)
    found, exact = net.kernels(pair), net.kernels(pair, dps=25)
    for kernel in ("sigma", "theta", "upsilon", "xi"):
        error = abs(found[kernel][0, 1] - float(exact[kernel][0, 1])) / float(exact[kernel][0, 0])
        assert error < 1e-10, (kernel, error)


@pytest.mark.parametrize("name", ["hard_tanh", "min(max(x,-2),1)", "relu6"])
@pytest.mark.parametrize("factor", [3, 7, -3])
def test_multiples_of_a_point_so_small_that_a_kinked_layer_is_linear_there(name, factor):
    """hard_tanh(a) = a but for e^{-1/2q}: Σ of relu behind it is E relu(a) relu(±fa) = f q/2 or 0; relu6(a) = relu(a)."""
    points = np.array([[1.0, 2, 3]]) / 128
    points = np.concatenate([points, factor * points])
    sigma = kc.MLP([name, "relu"], 3, beta=0.0).kernels(points, only="sigma").sigma
    q = 14 / 3 / 128**2
    linear = factor * q / 2 if factor > 0 else 0.0
    # relu(relu(a)) = relu(a); at opposite points E relu(relu(a)) relu(relu(-fa)) is that of ρ = 0 between layers: fq/2 / 2π
    of_relu = factor * q / 4 if factor > 0 else -factor * q / 2 / (2 * np.pi)
    known = of_relu if name == "relu6" else linear
    assert sigma[0, 1] == pytest.approx(known, rel=1e-14, abs=1e-17)
