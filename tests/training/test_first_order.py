"""Moments at finite width beside networks of that width."""

from __future__ import annotations

import dataclasses

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


def test_traces_are_the_sums_of_the_formula() -> None:
    """Arrays of random numbers, so that every term counts; sums over points written out."""
    fw = kc.finite_width(kc.MLP("tanh", depth=2), X, hessian=True)
    rng = np.random.default_rng(0)
    # positive, for variances
    given = {name: rng.uniform(0.5, 1.5, (3, 3)) for name in fw.arrays}
    targets, outputs, points, width = rng.normal(size=(3, 2)), 2, 3, 7.0
    found = kc.hessian_moments_at_width(dataclasses.replace(fw, arrays=given), X, targets, width)

    def total(entry) -> float:
        return sum(entry(i, j, lambda name, i=i, j=j: given[name][i, j]) for i in range(3) for j in range(3))

    def own(a, b) -> float:
        return a + (outputs - 1) * b

    def m(i, j) -> float:
        return outputs * given["sigma_limit"][i, j] + targets[i] @ targets[j]

    def trace_s2(i, j, a) -> float:
        first = m(i, j) * a("upsilon") + outputs * a("sigma") * a("upsilon_limit")
        first += outputs * own(a("upsilon_with_outputs"), a("upsilon_between_outputs"))
        return m(i, j) * a("upsilon_limit") + first / width

    def var_s(i, j, a) -> float:
        phi, first_phi = given["phi_limit"], given["phi"]
        first = a("sigma") * a("xi_limit") + a("xi_with_sigma") + a("phi_with_transpose")
        first += first_phi[i, j] * phi[j, i] + phi[i, j] * first_phi[j, i] + outputs * a("phi_between_points")
        first = m(i, j) * a("xi") + outputs * first
        return m(i, j) * a("xi_limit") + outputs * phi[i, j] * phi[j, i] + first / width

    square, traces = outputs / points**2, {}
    for name, kernel in (("trace_i", "theta"), ("trace_s", "phi")):
        kernel = given[f"{kernel}_limit"] + given[kernel] / width
        traces[name] = outputs / points * sum(kernel[i, i] for i in range(3))
    traces["trace_h"] = traces["trace_i"] + traces["trace_s"]
    spread = total(
        lambda i, j, a: own(a("theta_variance"), a("theta_off_diagonal")) + 2 * a("theta_limit") * a("theta")
    )
    traces["trace_i2"] = square * (total(lambda i, j, a: a("theta_limit") ** 2) + spread / width)
    along = total(lambda i, j, a: own(a("hessian_along_gradients"), a("hessian_along_other_gradients")))
    traces["trace_is"] = square * along / width
    traces["trace_s2"] = total(trace_s2) / points**2
    traces["trace_h2"] = traces["trace_i2"] + 2 * traces["trace_is"] + traces["trace_s2"]
    var_i = square / width * total(lambda i, j, a: own(a("theta_between_points"), a("theta_between_outputs")))
    variance_s = total(var_s) / points**2
    both = square / width * total(lambda i, j, a: own(a("theta_with_phi"), a("theta_with_other_phi")))
    traces |= {"trace_i_std": var_i**0.5, "trace_s_std": variance_s**0.5}
    traces["trace_h_std"] = (var_i + variance_s + 2 * both) ** 0.5
    for name, value in traces.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12), name
    assert found.width == width
    assert found.limit.keys() == traces.keys()
    limit = kc.hessian_moments_at_width(dataclasses.replace(fw, arrays=given), X, targets, 1e300)
    for name in traces:
        assert found.limit[name] == pytest.approx(getattr(limit, name), rel=1e-12, abs=1e-100), name


def test_points_and_targets_belong_to_the_first_order() -> None:
    fw = kc.finite_width(kc.MLP("tanh", depth=2), X)
    with pytest.raises(kc.errors.InputError, match="the 3 points that the first order belongs to, got 2 points"):
        kc.hessian_moments_at_width(fw, X[:2], Y, 10)
    with pytest.raises(kc.errors.ShapeError, match=r"\bY\b"):
        kc.hessian_moments_at_width(fw, X, Y[:2], 10)
