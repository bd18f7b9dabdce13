"""Coefficients by the trapezoidal rule against closed forms."""

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.floats.series import hermite_series
from kernelcalc.gaussian.floats.steps import TERM_BLOCK, by_steps


def wave(w: float, terms: int) -> np.ndarray:
    """E[cos(wZ) h_k(Z)] + E[sin(wZ) h_k(Z)] = ± w^k e^{−w²/2}/√k!."""
    k = np.arange(terms)
    sign = np.array([1.0, 1.0, -1.0, -1.0])[k % 4]
    return sign * np.cumprod(np.concatenate([[np.exp(-(w**2) / 2)], w / np.sqrt(k[1:])]))


@pytest.mark.parametrize("w", [0.5, 4.0, 20.0])
@pytest.mark.parametrize("terms", [48, TERM_BLOCK + 1, 2050])
def test_waves_are_good_to_rounding(w: float, terms: int) -> None:
    """Also those near the end of a series of 2050 terms, whose polynomials turn 45 times in a unit."""
    found, energy, _, moved = by_steps(Activation("sin(x) + cos(x)"), np.array([w]), terms)
    assert np.linalg.norm(found[0] - wave(w, terms)) < 16 * EPS
    assert energy[0] == pytest.approx(1, abs=4 * EPS)
    assert moved[0] < 16 * EPS


def test_rows_settle_by_themselves() -> None:
    """1/(1 + x²) at std 10 has poles 0.1 from the line; std 1 must not wait for it, nor be spoiled."""
    act, std = Activation("1/(1 + x**2)"), np.array([1.0, 10.0])
    both, alone = by_steps(act, std, 200), by_steps(act, std[:1], 200)
    for many, one in zip(both, alone, strict=True):
        np.testing.assert_allclose(many[0], one[0], rtol=0, atol=4 * EPS)
    # each row says how far its own coefficients moved
    moved = by_steps(act, np.array([1.0, 100.0]), 200)[3]
    assert moved[0] < 16 * EPS < 1e-6 < moved[1]


def test_a_feature_between_the_first_nodes_is_not_missed() -> None:
    """A bump of width 0.01 halfway between nodes of the widest steps changes nothing that they see."""
    act = Activation("tanh(x) + exp(-20000*(x - 23/32)**2)")
    series = hermite_series(act, np.array([0.99, 1.0]), length=96)
    missed = hermite_series(Activation("tanh(x)"), np.array([0.99, 1.0]), length=96)
    # the bump is narrow beside the first polynomials: √(π/20000) φ(23/32) h_k(23/32)
    at, mass = 23 / 32, np.sqrt(np.pi / 20000)
    density = np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi)
    added = (series.coefficients - missed.coefficients)[1, :2]
    np.testing.assert_allclose(added, mass * density * np.array([1, at]), rtol=1e-4)


@pytest.mark.parametrize("speed", [60, 92, 97, 104, 193, 209, 395, 410, 800])
def test_waves_too_fast_for_the_nodes_are_never_taken_for_slow_ones(speed: int) -> None:
    """At a step of 1/8, cos(97 z) looks like cos(3.5 z), and so it does at 1/16."""
    terms, act = 192, Activation("cos(x) + tanh(x/1000)")
    found, _, _, moved = by_steps(act, np.array([float(speed)]), terms)
    slow, _, _, _ = by_steps(Activation("tanh(x/1000)"), np.array([float(speed)]), terms)
    # E[cos(wZ) h_k(Z)] is w^k e^{−w²/2}/√k! at most
    assert np.linalg.norm(found - slow) < 1e-13 or moved[0] > 1e-3


@pytest.mark.parametrize(
    ("f", "g", "std"),
    [
        ("x*erf(x)", "x*cos(x)", 92.2),
        ("tanh(x/50)", "sin(x)", 97.0),
        ("tanh(x)", "sin(x) + x/1000", 104.0),
    ],
)
def test_fast_waves_average_out(f: str, g: str, std: float) -> None:
    """Waves that turn many times within the width of b given a: what is left is below e^{−100}, but for E[tanh(a) b]."""
    rho = 0.96
    found = kc.gaussian_expectation(
        Activation(f) if f != "softplus(x)" else "softplus",
        Activation(g),
        std**2,
        std**2,
        rho * std**2,
        full_output=True,
    )
    z = np.linspace(-12, 12, 200001)
    slow = np.sum(np.tanh(std * z) * std * z / 1000 * rho * np.exp(-(z**2) / 2)) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    assert abs(found.value - (slow if f == "tanh(x)" else 0.0)) <= found.error + 1e-12
    assert found.error < 1e-9
