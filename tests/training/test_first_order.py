"""Moments at finite width beside networks of that width."""

from __future__ import annotations

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.finite import NetworkBatch
from tests.kernels import finite_propagation

X = np.array([[1.0, 0.3, -0.5], [0.2, -1.1, 0.7], [-0.4, 0.6, 0.9]])
Y = np.zeros((3, 2))


def _finite(n: int, networks: int) -> tuple[dict[str, np.ndarray], float]:
    rng = np.random.default_rng(n)
    parts = [
        finite_propagation.propagate(X, finite_propagation.tanh, (n, n), 2, 200, rng, sigma_w=1.4, beta=0.2)
        for _ in range(networks // 200)
    ]
    theta, phi = (np.concatenate([part[key] for part in parts]) for key in ("theta", "phi"))
    trace_i = np.einsum("bssii->b", theta) / 3
    return {
        "trace_i": trace_i,
        "trace_s": 2 * np.einsum("bss->b", phi) / 3,
        "trace_i2": np.einsum("bstij->b", theta**2) / 9,
    }, float(trace_i.var())


def test_means_and_spread_of_finite_networks() -> None:
    net = kc.MLP("tanh", depth=3, sigma_w=1.4, beta=0.2)
    fw = kc.finite_width(net, X)
    (few, spread_few), (many, spread_many) = _finite(20, 8000), _finite(40, 4000)
    predicted = kc.hessian_moments_at_width(fw, X, Y, 40)
    for name in few:
        limit = predicted.limit[name]
        # 2 · 40 (m − limit) − 20 (m − limit): free of the next order
        value = 80 * (many[name].mean() - limit) - 20 * (few[name].mean() - limit)
        error = np.hypot(80 * many[name].std() / 4000**0.5, 20 * few[name].std() / 8000**0.5)
        assert abs(value - 40 * (getattr(predicted, name) - limit)) < 3.5 * error, name
        assert abs(getattr(predicted, name) - limit) > 1e-3
    # n Var of a nearly Gaussian quantity: relative error √(2/networks) each
    assert 2 * 40 * spread_many - 20 * spread_few == pytest.approx(40 * predicted.trace_i_std**2, rel=0.15)


NAMES = ("trace_i", "trace_s", "trace_h", "trace_i2", "trace_is", "trace_s2", "trace_h2")
SIGNS = np.array([[1.0, 0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0, 0]])


def _traces(net: kc.MLP, n: int, networks: int) -> dict[str, np.ndarray]:
    """Of exact Hessians, one network after the other; and squares of deviations from the mean."""
    batch = NetworkBatch.random(net, networks, (n,) * (net.depth - 1), n_in=3, rng=n)
    found = batch.hessian_moments(X[:2], SIGNS, kmax=2)
    traces = {
        "trace_i": np.array([one.trace_i[0] for one in found]),
        "trace_h": np.array([one.trace_h[0] for one in found]),
        "trace_i2": np.array([one.trace_i[1] for one in found]),
        "trace_h2": np.array([one.trace_h[1] for one in found]),
        **{name: np.array([getattr(one, name) for one in found]) for name in ("trace_s", "trace_is", "trace_s2")},
    }
    return traces | {f"{name}_std": (traces[name] - traces[name].mean()) ** 2 for name in NAMES[:3]}


@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.long)])
def test_moments_of_exact_hessians(depth: int, long: bool) -> None:
    """All traces and their spread with six outputs, where what couples outputs is the larger part."""
    net = kc.MLP("tanh", depth=depth, sigma_w=1.4, beta=0.2, n_out=6)
    networks, (n, twice) = 20_000 if long else 1000, (6, 12)
    few, many = _traces(net, n, networks), _traces(net, twice, networks)
    unit = kc.hessian_moments_at_width(net, X[:2], SIGNS, 1)
    power = {}
    for name in few:
        limit, value = (one**2 if name.endswith("_std") else one for one in (unit.limit[name], getattr(unit, name)))
        first = value - limit
        found = 2 * twice * (many[name].mean() - limit) - n * (few[name].mean() - limit)
        error = np.hypot(2 * twice * many[name].std(), n * few[name].std()) / networks**0.5
        assert abs(found - first) < 4 * error, name
        power[name] = abs(first) / error
    expected = {"trace_i2": 9, "trace_is": 12, "trace_h2": 4, "trace_i_std": 7}
    if long:
        expected |= {"trace_s2": 8, "trace_h_std": 7}
    for name, least in expected.items():
        assert power[name] > least, name


def test_an_order_without_second_derivatives_leaves_their_moments_open() -> None:
    net = kc.MLP("tanh", depth=2)
    found = kc.hessian_moments_at_width(kc.finite_width(net, X), X, Y, 10)
    assert np.isnan([found.trace_s2, found.trace_is, found.trace_h2, found.trace_s_std, found.trace_h_std]).all()
    whole = kc.hessian_moments_at_width(net, X, Y, 10)
    assert (found.trace_s, found.trace_i2) == pytest.approx((whole.trace_s, whole.trace_i2), rel=1e-14)


def test_the_limit_is_that_of_the_trajectories() -> None:
    net = kc.MLP("tanh", depth=3)
    found = kc.hessian_moments_at_width(net, X, Y, 1e12)
    traj = kc.mse_moments(net.kernels(X), Y, [0.0])
    assert found.trace_h == pytest.approx(traj.trace_h[0, 0], rel=1e-9)
    assert found.trace_i2 == pytest.approx(traj.trace_i[1, 0], rel=1e-9)
    assert found.trace_s2 == pytest.approx(traj.trace_s2[0], rel=1e-9)
    assert found.trace_h2 == pytest.approx(traj.trace_h[1, 0], rel=1e-9)
    assert found.trace_s_std == pytest.approx(traj.trace_s_std[0], rel=1e-9)
    assert found.trace_h_std == pytest.approx(traj.trace_h_std[0, 0], rel=1e-9)


def test_kinks_leave_traces_of_s_undefined() -> None:
    found = kc.hessian_moments_at_width(kc.MLP("relu", depth=3), X, Y, 100)
    assert np.isnan(found.trace_s)
    assert found.trace_i > 0


def test_wrong_calls_are_named() -> None:
    with pytest.raises(kc.errors.ShapeError):
        kc.hessian_moments_at_width(kc.MLP("tanh"), X, Y[:2], 100)
    with pytest.raises(kc.errors.InputError, match="width"):
        kc.hessian_moments_at_width(kc.MLP("tanh"), X, Y, -1)
