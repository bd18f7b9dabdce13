"""Repeated blocks beside loops over scalars in closed forms, and beside what Yang and Schoenholz (2017) prove."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from kernelcalc.errors import InputError
from kernelcalc.kernels.architecture import network_from_text
from kernelcalc.kernels.layers import Conv, Dense, LayerNorm, Nonlinearity, Residual
from kernelcalc.kernels.mlp import MLP
from kernelcalc.studies.phase import depth_profile, fixed_points
from kernelcalc.studies.stacks import repeated_block, stack_phase, stack_profile


def erf_mean(q, c):
    return 2 / math.pi * math.asin(2 * c / (1 + 2 * q))


def erf_slope(q, c):
    return 4 / math.pi / math.sqrt((1 + 2 * q) ** 2 - 4 * c * c)


def erf_stack(blocks, q, rho, *, sigma_w, beta, scale=1.0, norm=False, see=()):
    """q and q − c behind residual blocks, by a loop of its own."""
    gap, found = q * (1 - rho), {}
    for block in range(1, blocks + 1):
        at, e = (1.0, gap / q) if norm else (q, gap)
        now = erf_mean(at, at)
        q += scale**2 * (sigma_w**2 * now + beta**2)
        gap += scale**2 * sigma_w**2 * (now - erf_mean(at, at - e))
        if block in see:
            found[block] = q, gap / q
    return found


@pytest.mark.parametrize(("sigma_w", "beta", "scale"), [(1.0, 0.5, 1.0), (1.4, 0.9, 0.3), (1.1, 0.05, 0.5)])
def test_before_layernorm_small_differences_go_like_a_power_of_depth(sigma_w, beta, scale):
    stack = stack_phase(Residual(LayerNorm(), "erf", Dense(sigma_w, beta), scale=scale))
    added = sigma_w**2 * erf_mean(1, 1) + beta**2
    exponent = sigma_w**2 * erf_slope(1, 1) / added - 1
    assert (stack.growth, stack.power, stack.chi) == ("power", 1.0, 1.0)
    assert stack.exponent == pytest.approx(exponent, rel=1e-9)
    assert stack.phase == ("order" if exponent < 0 else "chaos")
    assert stack.depth_scale == math.inf
    far, near = 100_000, 10_000
    seen = erf_stack(far, 1.0, 1 - 1e-5, sigma_w=sigma_w, beta=beta, scale=scale, norm=True, see=(near, far))
    slope = math.log(seen[far][1] / seen[near][1]) / math.log(seen[far][0] / seen[near][0])
    assert slope == pytest.approx(exponent, abs=2e-3)


def test_chaos_before_layernorm_ends_at_the_plain_networks_correlation():
    stack = stack_phase(Residual(LayerNorm(), "erf", Dense(1.5, 0.3), scale=0.5))
    total = 2.25 * erf_mean(1, 1) + 0.09
    rho = brentq(lambda r: (2.25 * erf_mean(1, r) + 0.09) / total - r, -0.5, 0.99)
    assert stack.correlation == pytest.approx(rho, rel=1e-9)
    rate = 2.25 * erf_slope(1, rho) / total - 1
    assert stack.correlation_rate == pytest.approx(rate, rel=1e-6)
    seen = erf_stack(200_000, 1.0, rho + 0.01, sigma_w=1.5, beta=0.3, scale=0.5, norm=True, see=(20_000, 200_000))
    (near_q, near), (far_q, far) = seen.values()
    measured = math.log((1 - far - rho) / (1 - near - rho)) / math.log(far_q / near_q)
    assert measured == pytest.approx(rate, abs=1e-3)


@pytest.mark.parametrize(("name", "beta"), [("erf", 0.1), ("tanh", 1.0)])
def test_saturating_residual_branches_end_where_yang_and_schoenholz_say(name, beta):
    """Their Theorem: the fixed point of (2/π) arcsin, reached like a power of depth with δ*."""
    stack = stack_phase(Residual(name, Dense(1.0, beta)))
    total = 1 + beta**2
    rho = brentq(lambda r: (2 / math.pi * math.asin(r) + beta**2) / total - r, 0, 0.99)
    assert (stack.growth, stack.power, stack.exponent) == ("power", 1.0, math.inf)
    assert stack.correlation == pytest.approx(rho, abs=1e-6)
    delta = 1 - 2 / math.pi / math.sqrt(1 - rho**2) / total
    assert stack.correlation_rate == pytest.approx(-delta, abs=1e-6)


def test_relu_comes_together_like_one_over_depth_squared():
    """Yang and Schoenholz (2017): 1 − ρ ~ ℓ⁻²."""
    stack = stack_phase(Residual("relu", Dense(1.0, 0.0), scale=0.5))
    assert (stack.growth, stack.chi, stack.exponent, stack.phase) == ("geometric", 1.0, -2.0, "critical")
    assert stack.factor == pytest.approx(1 + 0.25 / 2, rel=1e-12)
    rho, seen = 0.5, {}
    for block in range(1, 200_001):
        angle = math.acos(rho)
        mapped = (math.sin(angle) + (math.pi - angle) * rho) / math.pi
        rho = (rho + 0.125 * mapped) / 1.125
        if block in (20_000, 200_000):
            seen[block] = 1 - rho
    assert math.log10(seen[200_000] / seen[20_000]) == pytest.approx(stack.exponent, abs=0.01)


@pytest.mark.parametrize("norm", [False, True])
def test_profile_is_what_a_loop_finds(norm):
    block = Residual(*([LayerNorm()] if norm else []), "erf", Dense(1.3, 0.2), scale=0.7)
    depths = [1, 7, 150, 40]
    profile = stack_profile(block, depths=depths, q=0.8, correlation=0.97)
    seen = erf_stack(150, 0.8, 0.97, sigma_w=1.3, beta=0.2, scale=0.7, norm=norm, see=depths)
    assert profile.q == pytest.approx([seen[d][0] for d in depths], rel=1e-12)
    assert 1 - profile.correlation == pytest.approx([seen[d][1] for d in depths], rel=1e-10)
    after = erf_stack(41, 0.8, 0.97, sigma_w=1.3, beta=0.2, scale=0.7, norm=norm, see=(40, 41))
    at = 1.0 if norm else after[40][0]
    growth = 1 + 0.49 * 1.69 * erf_slope(at, at) / (after[40][0] if norm else 1)
    assert profile.chi[3] == pytest.approx(growth * after[40][0] / after[41][0], rel=1e-10)


@pytest.mark.parametrize(("sigma_w", "beta"), [(1.0, 0.1), (2.0, 0.3)])
def test_plain_blocks_have_their_fixed_point(sigma_w, beta):
    [point] = fixed_points("erf", sigma_w, beta)
    stack = stack_phase("erf", Dense(sigma_w, beta))
    assert (stack.growth, stack.phase) == ("bounded", point.phase)
    assert (stack.q, stack.chi) == pytest.approx((point.q, point.chi), rel=1e-10)
    assert stack.depth_scale == pytest.approx(point.correlation_depth, rel=1e-8)
    rho = 0.7
    for _ in range(3000):
        rho = (sigma_w**2 * erf_mean(point.q, rho * point.q) + beta**2) / point.q
    assert stack.correlation == pytest.approx(rho, rel=1e-9)


def test_two_branches_a_block_and_factors():
    two = stack_phase(Residual(LayerNorm(), "erf", Dense(1, 0.2)), Residual(LayerNorm(), "erf", Dense(1, 0.2), scale=2))
    one = stack_phase(Residual(LayerNorm(), "erf", Dense(1, 0.2)))
    assert two.exponent == pytest.approx(one.exponent, rel=1e-6)


def test_blocks_of_networks():
    block = Residual(LayerNorm(), Nonlinearity("erf"), Dense(), scale=0.5)
    assert repeated_block(network_from_text("prelayernorm:4", "erf")) == ((block,), 4)
    assert repeated_block(network_from_text("dense; residual(erf, dense); erf; dense", "tanh"))[1] == 1
    assert repeated_block(MLP(["erf", "tanh", "erf", "tanh"], depth=5))[1] == 2


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ((), "ends in fresh weights"),
        (("tanh",), "ends in fresh weights"),
        ((Conv(3),), "without positions"),
        ((Residual("tanh", Conv(3)),), "without positions"),
        (("exp", Dense()), "at most geometrically"),
        ((Residual("x^2", Dense()),), "at most geometrically"),
    ],
)
def test_blocks_that_are_none(block, said):
    with pytest.raises(InputError, match=said):
        stack_phase(*block)


def test_profiles_refuse_what_is_no_covariance():
    block = Residual("erf", Dense())
    for wrong in ({"q": 0.0}, {"correlation": 1.1}, {"depths": [0]}, {"depths": []}, {"q": math.nan}):
        with pytest.raises(InputError):
            stack_profile(block, **({"depths": [1]} | wrong))


@pytest.mark.parametrize("stack", ["residual", "prelayernorm"])
def test_depth_profile_of_stacks(stack):
    """Θ of residual stacks of erf by a loop over Σ and Θ."""
    rng = np.random.default_rng(0)
    x, depths = rng.standard_normal((5, 3)), [3, 6]
    profile = depth_profile("erf", x, depths, sigma_w=1.2, beta=0.3, stack=stack)
    for depth, valley in zip(depths, profile.narrow_valley, strict=True):
        blocks = depth - 1
        sigma = theta = 1.44 * x @ x.T / 3 + 0.09
        for _ in range(blocks):
            s, t = normed(sigma, theta) if stack == "prelayernorm" else (sigma, theta)
            root = np.sqrt(np.outer(1 + 2 * np.diag(s), 1 + 2 * np.diag(s)))
            mean, slope = 2 / np.pi * np.arcsin(2 * s / root), 4 / np.pi / np.sqrt(root**2 - 4 * s**2)
            new = 1.44 * mean + 0.09
            sigma, theta = sigma + new / blocks, theta + (1.44 * t * slope + new) / blocks
        s, t = normed(sigma, theta) if stack == "prelayernorm" else (sigma, theta)
        values = np.linalg.eigvalsh(1.44 * (t + s) + 0.09)
        assert valley == pytest.approx(values[-1] / values[:-1].mean(), rel=1e-8)


def normed(sigma, theta):
    root = np.sqrt(np.outer(np.diag(sigma), np.diag(sigma)))
    return sigma / root, theta / root
