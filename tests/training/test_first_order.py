"""Moments at finite width beside networks of that width."""

from __future__ import annotations

import numpy as np
import pytest

import kernelcalc as kc
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
    for name, limit in predicted.limit.items():
        if name == "trace_h":
            continue
        # 2 · 40 (m − limit) − 20 (m − limit): free of the next order
        value = 80 * (many[name].mean() - limit) - 20 * (few[name].mean() - limit)
        error = np.hypot(80 * many[name].std() / 4000**0.5, 20 * few[name].std() / 8000**0.5)
        assert abs(value - 40 * (getattr(predicted, name) - limit)) < 3.5 * error, name
        assert abs(getattr(predicted, name) - limit) > 1e-3
    # n Var of a nearly Gaussian quantity: relative error √(2/networks) each
    assert 2 * 40 * spread_many - 20 * spread_few == pytest.approx(40 * predicted.trace_i_std**2, rel=0.15)


def test_the_limit_is_that_of_the_trajectories() -> None:
    net = kc.MLP("tanh", depth=3)
    found = kc.hessian_moments_at_width(net, X, Y, 1e12)
    traj = kc.mse_moments(net.kernels(X), Y, [0.0])
    assert found.trace_h == pytest.approx(traj.trace_h[0, 0], rel=1e-9)
    assert found.trace_i2 == pytest.approx(traj.trace_i[1, 0], rel=1e-9)


def test_kinks_leave_traces_of_s_undefined() -> None:
    found = kc.hessian_moments_at_width(kc.MLP("relu", depth=3), X, Y, 100)
    assert np.isnan(found.trace_s)
    assert found.trace_i > 0


def test_wrong_calls_are_named() -> None:
    with pytest.raises(kc.errors.ShapeError):
        kc.hessian_moments_at_width(kc.MLP("tanh"), X, Y[:2], 100)
    with pytest.raises(kc.errors.InputError, match="width"):
        kc.hessian_moments_at_width(kc.MLP("tanh"), X, Y, -1)
