"""Coefficients by the trapezoidal rule against closed forms."""

import numpy as np
import pytest

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
