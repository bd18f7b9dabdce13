"""Kernels at first order in 1/n beside networks of finite width, closed forms by hand, and their own other number types."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, SmoothnessError, UnknownNameError
from kernelcalc.kernels.first_order.coupled import Coupled
from kernelcalc.kernels.first_order.finite_width import FiniteWidth
from kernelcalc.kernels.first_order.layers import Lazy
from kernelcalc.kernels.parametrisation import standard
from tests.kernels import finite_propagation
from tests.kernels.first_order_states import FUNCTIONS, SCALES, X

NAMES = (
    "sigma",
    "phi",
    "theta",
    "theta_variance",
    "theta_off_diagonal",
    "theta_between_points",
    "theta_between_outputs",
)
WIDTHS = {12: 9000, 24: 4500}


def _means(name: str, depth: int, n: int, networks: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """n times the mean of each quantity, and its standard error; two outputs."""
    rng = np.random.default_rng(1000 * depth + n)
    fw = _first_order(name, depth)
    parts = [
        finite_propagation.propagate(X, FUNCTIONS[name], (n,) * (depth - 1), 2, 250, rng, **SCALES)
        for _ in range(networks // 250)
    ]
    sigma, phi, theta = (np.concatenate([part[key] for part in parts]) for key in ("sigma", "phi", "theta"))
    own = theta[..., 0, 0], theta[..., 1, 1]
    off = [one - one.mean(0) for one in own]
    at = [np.einsum("bss->bs", one) for one in off]
    samples = {
        "sigma": sigma - fw.sigma_limit,
        "phi": phi - fw.phi_limit,
        "theta": sum(own) / 2 - fw.theta_limit,
        "theta_variance": sum(one**2 for one in off) / 2,
        "theta_off_diagonal": theta[..., 0, 1] ** 2,
        "theta_between_points": sum(one[:, :, None] * one[:, None] for one in at) / 2,
        "theta_between_outputs": (at[0][:, :, None] * at[1][:, None] + at[1][:, :, None] * at[0][:, None]) / 2,
    }
    count = len(sigma)
    return {key: (n * value.mean(0), n * value.std(0) / np.sqrt(count)) for key, value in samples.items()}


@cache
def _first_order(name: str, depth: int) -> FiniteWidth:
    return kc.finite_width(kc.MLP(name, depth=depth, **SCALES), X)


def _z_scores(name: str, depth: int, predicted: FiniteWidth) -> dict[str, float]:
    """Largest |z| of each quantity: 2 m(2n) − m(n), which is free of the next order, against the coefficient of 1/n."""
    (small, few), (large, many) = ((n, _means(name, depth, n, count)) for n, count in WIDTHS.items())
    assert large == 2 * small
    found = {}
    for key in NAMES:
        value = 2 * many[key][0] - few[key][0]
        error = np.sqrt(4 * many[key][1] ** 2 + few[key][1] ** 2)
        off = np.abs(value - getattr(predicted, key))
        found[key] = float((off / np.where(error > 1e-9, error, 1e-9)).max())
    return found


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_order_of_finite_networks(name: str, depth: int) -> None:
    scores = _z_scores(name, depth, _first_order(name, depth))
    assert max(scores.values()) < 4.0, scores


@pytest.mark.long
def test_leaving_out_f_is_seen_in_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    # F moves the mean by one standard error of 10,000 networks; here are 60 times as many
    monkeypatch.setitem(WIDTHS, 12, 600_000)
    monkeypatch.setitem(WIDTHS, 24, 300_000)
    right, scores = _first_order("tanh", 4), {}
    monkeypatch.setattr(Coupled, "f", lambda self, *index: 0)
    wrong = kc.finite_width(kc.MLP("tanh", depth=4, **SCALES), X)
    for which, first_order in (("right", right), ("wrong", wrong)):
        scores[which] = _z_scores("tanh", 4, first_order)["theta"]
    assert scores["right"] < 4
    assert scores["wrong"] > 6


def test_limits_are_those_of_the_kernels() -> None:
    net = kc.MLP(["tanh", "gelu", "sin"], depth=4, **SCALES)
    fw, K = kc.finite_width(net, X), net.kernels(X)
    for name in ("sigma", "theta", "phi"):
        assert getattr(fw, f"{name}_limit") == pytest.approx(getattr(K, name), rel=1e-12)


def test_one_linear_hidden_layer_by_hand() -> None:
    # f = c/√n Σ_j v_j (u_j·x) with Θ̂ = |u·x|²/n + |v|²/n·x·x' : n Var = 2 (u·x)⁴ moments + 2 (x·x')²
    x = np.array([[2.0]])
    fw = kc.finite_width(kc.MLP("x", depth=2, beta=0), x)
    assert fw.theta_limit[0, 0] == pytest.approx(2 * 4.0, rel=1e-14)
    assert fw.theta_variance[0, 0] == pytest.approx(2 * 16.0 + 2 * 16.0, rel=1e-13)
    assert fw.theta[0, 0] == fw.sigma[0, 0] == 0


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_scale_invariant_functions_have_no_correction_on_the_diagonal(name: str, depth: int) -> None:
    # Guillen, Misof, Gerken (2025), arXiv 2508.11522: β = 0
    fw = kc.finite_width(kc.MLP(name, depth=depth, sigma_w=2**0.5, beta=0), X)
    assert np.abs(np.diagonal(fw.theta)).max() < 1e-12 * fw.theta_limit.max()
    assert np.abs(np.diagonal(fw.sigma)).max() < 1e-12 * fw.sigma_limit.max()
    if depth > 2:
        assert abs(fw.theta[0, 1]) > 1e-3


def test_what_kinks_leave_undefined_is_refused_by_name() -> None:
    fw = kc.finite_width(kc.MLP("relu", depth=3), X)
    with pytest.raises(SmoothnessError, match="relu"):
        _ = fw.phi
    assert fw.at(100).phi is None
    assert np.isfinite(fw.theta).all()


@pytest.mark.long
def test_of_kinks_without_end_there_is_what_exists() -> None:
    """n Var Θ̂ of one hidden layer, Θ̂ = C/n Σ_j (σ_j² + v_j² σ̇_j² q) at v_j ~ N(0, 1), by panels between the kinks."""
    weight, q = 1.44, 1.44 * 1.09 / 2 + 0.01
    fw = kc.finite_width(kc.MLP("relu(sin(x))", depth=2, sigma_w=1.2, beta=0.1), [[1.0, 0.3]])
    with pytest.raises(SmoothnessError, match="kinks are without end"):
        _ = fw.phi
    nodes, parts = np.polynomial.legendre.leggauss(40)
    z = (np.arange(-14, 14)[:, None] + (nodes + 1) / 2).ravel() * np.pi / 2
    density = np.tile(parts * np.pi / 4, 28) * np.exp(-z * z / (2 * q)) / np.sqrt(2 * np.pi * q)
    value, slope = np.maximum(np.sin(z), 0) ** 2, np.where(np.sin(z) > 0, np.cos(z), 0) ** 2
    means = [float(density @ one) for one in (value, slope, value * value, slope * slope, value * slope)]
    first, second, squares, fourth, mixed = means
    right = squares - first**2 + q * q * (3 * fourth - second**2) + 2 * q * (mixed - first * second)
    assert fw.theta_variance[0, 0] == pytest.approx(weight**2 * right, rel=1e-12)


@pytest.mark.parametrize("name", [pytest.param("tanh", marks=pytest.mark.long), "erf"])
def test_digits_and_floats_agree(name: str) -> None:
    net = kc.MLP(name, depth=3, **SCALES)
    fw, precise = kc.finite_width(net, X), kc.finite_width(net, X, dps=20)
    for key in NAMES:
        assert getattr(fw, key) == pytest.approx(getattr(precise, key).astype(float), rel=1e-11)


@pytest.mark.parametrize(
    ("depth", "name"),
    [
        *((2, name) for name in ("sin", "erf", "smooth_relu", "x^2 + x")),
        (3, "sin"),
        (3, "x^2 + x"),
        pytest.param(3, "erf", marks=pytest.mark.long),
        pytest.param(3, "smooth_relu", marks=pytest.mark.long),
    ],
)
def test_symbols_and_floats_agree(name: str, depth: int) -> None:
    net = kc.MLP(name, depth=depth, beta=0.1)
    fw = kc.finite_width(net, [[1.2]])
    unevaluated = depth == 3 and name in ("erf", "smooth_relu")
    for key in ("sigma", "theta", "phi") if unevaluated else ("sigma", "theta", "phi", "theta_variance"):
        value = kc.symbolic.finite_width(key, net).subs(kc.symbolic.q, 1.44 + 0.01).evalf(15)
        assert float(value) == pytest.approx(getattr(fw, key)[0, 0], rel=1e-9, abs=1e-13)


def test_relative_widths() -> None:
    # a first hidden layer twice as wide: the covariance of its kernel is half of it
    net = kc.MLP("tanh", depth=2, **SCALES)
    even, wide = kc.finite_width(net, X), kc.finite_width(net, X, relative_widths=[2.0])
    assert wide.theta_variance == pytest.approx(even.theta_variance / 2, rel=1e-13)
    at = even.at(50)
    assert at.theta_std == pytest.approx(np.sqrt(even.theta_variance / 50), rel=1e-13)
    assert at.theta == pytest.approx(even.theta_limit + even.theta / 50, rel=1e-13)


def test_equal_points_are_the_diagonal() -> None:
    fw = kc.finite_width(kc.MLP("tanh", depth=3), [X[0], X[1], X[0]])
    assert fw.theta[0, 2] == fw.theta[0, 0]
    assert fw.theta_variance[2, 1] == pytest.approx(fw.theta_variance[0, 1], rel=1e-13)


def test_digits_are_a_positive_number() -> None:
    with pytest.raises(InputError, match="dps"):
        kc.finite_width(kc.MLP("tanh"), X, dps=0)


@pytest.mark.parametrize("options", [{}, {"hessian": True}, {"dps": 20}], ids=str)
def test_one_layer_has_no_hidden_width(options):
    x, net = np.array([[1.0, 0.5, -0.3], [-0.2, 1.1, 0.8]]), kc.MLP([], depth=1, sigma_w=2.0, beta=0.5, n_out=2)
    fw = kc.finite_width(net, x, **options)
    linear = 4 * x @ x.T / 3 + 0.25
    for name, array in fw.arrays.items():
        right = linear if name in ("sigma_limit", "theta_limit") else np.zeros((2, 2))
        assert array.astype(float) == pytest.approx(right, rel=1e-14), name
    assert kc.symbolic.finite_width("theta_variance", net) == 0
    # moments of a linear network are the same for all
    y = np.array([[1.0, -1.0], [0.0, 1.0]])
    found, one = kc.hessian_moments_at_width(net, x, y, 10), kc.FiniteNetwork.random(net, (), 3).hessian_moments(x, y)
    assert [found.trace_i, found.trace_h2] == pytest.approx(list(one.trace_h[:2]), rel=1e-12)
    assert found.trace_s == found.trace_i_std == 0


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_without_biases_the_output_at_the_origin_is_zero_at_any_width(name: str) -> None:
    points = np.array([[1.0, 0.3], [0.0, 0.0], [0.4, -0.9]])
    net = kc.MLP(name, depth=3, sigma_w=1.0, beta=0)
    found, others = kc.finite_width(net, points), kc.finite_width(net, points[::2])
    assert found.arrays.keys() == others.arrays.keys() > {"sigma", "theta", "theta_variance"}
    for key, array in found.arrays.items():
        assert not array[1].any()
        assert not array[:, 1].any()
        np.testing.assert_array_equal(array[::2, ::2], others.arrays[key])


RESIDUAL = kc.Sequential(kc.layers.Dense(), kc.layers.Residual("tanh", kc.layers.Dense()), kc.layers.Dense())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: kc.finite_width(RESIDUAL, X),
            InputError,
            "expected a fully connected network, Dense, Nonlinearity, Dense, ..., Dense, got Dense, Residual, Dense; "
            "the first order in 1/n is known for these only; measure others with kc.validate",
        ),
        (
            lambda: kc.finite_width(kc.Sequential(kc.layers.Dense(), kc.layers.Dense()), X),
            InputError,
            "expected a fully connected network, Dense, Nonlinearity, Dense, ..., Dense, got Dense, Dense",
        ),
        (
            lambda: kc.finite_width(standard(kc.MLP("tanh"), (3, 3), 3), X),
            InputError,
            "expected a network in NTK parametrisation, got Dense … its rates depend on the width themselves",
        ),
        (
            lambda: kc.finite_width(kc.MLP("tanh"), X, relative_widths=[[1.0, 2.0]]),
            InputError,
            "expected relative_widths, a sequence of numbers, got [[1.0, 2.0]]",
        ),
        (
            lambda: kc.finite_width(kc.MLP("tanh", depth=3), X, relative_widths=[1.0, np.inf]),
            InputError,
            "expected 2 positive relative widths, one a hidden layer, got [1.0, inf]",
        ),
        (
            lambda: kc.finite_width(kc.MLP("tanh"), X, relative_widths=[0.0, 1.0]),
            InputError,
            "expected 2 positive relative widths, one a hidden layer, got [0.0, 1.0]",
        ),
        (
            lambda: kc.finite_width(kc.MLP("tanh"), [*X, X[0] / 2], dps=20),
            InputError,
            "expected one or two points with dps=, got 3; float64 takes Gram matrices",
        ),
        (
            lambda: _first_order("tanh", 2).xi,
            InputError,
            "expected a first order that has 'xi', got one without; finite_width(..., hessian=True) has it",
        ),
        (lambda: _first_order("tanh", 2).at(0), InputError, "expected a positive width, got 0"),
        (lambda: _first_order("tanh", 2).at(True), InputError, "expected a positive width, got True"),
        (lambda: _first_order("tanh", 2).at("9"), InputError, "expected a positive width, got '9'"),
        (lambda: _first_order("tanh", 2).at(np.inf), InputError, "expected a positive width, got inf"),
        (lambda: _first_order("tanh", 2).array("tau"), UnknownNameError, "expected the name of an array of the first"),
    ],
)
def test_what_is_refused_is_named(call, error, text):
    with pytest.raises(error) as said:
        call()
    start, _, end = text.partition(" … ")
    assert str(said.value).startswith(start)
    assert str(said.value).endswith(end)


def test_values_are_computed_at_first_use() -> None:
    asked = []
    lazy = Lazy(lambda a, b: asked.append((a, b)) or a + b)
    assert (len(lazy), asked) == (0, [])
    assert [lazy[1, 2], lazy[1, 2], lazy[3, 4]] == [3, 3, 7]
    assert asked == list(lazy) == [(1, 2), (3, 4)]
    assert dict(lazy) == {(1, 2): 3, (3, 4): 7}
    assert len(lazy) == 2


def test_a_result_names_its_axes_and_shows_what_it_has():
    fw = _first_order("tanh", 2)
    assert fw.dimensions() == dict.fromkeys(fw.arrays, ("row", "column"))
    assert repr(fw) == f"FiniteWidth({', '.join(fw.arrays)}: coefficients of 1/n; {len(X)} × {len(X)}; {fw.network!r})"
    assert not any(array.flags.writeable for array in fw.arrays.values())
    assert fw.relative_widths == ()
    at = fw.at(np.float32(8))
    assert at.width == 8.0
    assert at.upsilon is at.xi is None
    for name in ("sigma", "theta", "phi"):
        assert getattr(at, name) == pytest.approx(getattr(fw, f"{name}_limit") + getattr(fw, name) / 8, rel=1e-15)
    assert {name: axes for name, axes in at.dimensions().items() if axes != ("row", "column")} == {}
