"""What one-dimensional rules know of functions."""

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.floats.layer import _growth, angle_growth
from kernelcalc.gaussian.floats.nodes import chebyshev_coefficients
from kernelcalc.gaussian.symmetry import symmetry


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("tanh(x)", (-1, 1, -1, 1)),
        ("log(1 + x**2)", (1, -1, 1)),
        ("log(1 + exp(x))", (0, 0, 0)),
        ("x*atan(x)", (1, -1)),
    ],
)
def test_which_functions_are_even_or_odd(text: str, signs: tuple[int, ...]) -> None:
    act = kc.Activation(text)
    assert tuple(symmetry(act.derivative(k)) for k in range(len(signs))) == signs


@pytest.mark.parametrize("octave", [-6, 0, 3, 9])
def test_growth_of_small_angles(octave: int) -> None:
    """q E[σ'²]/E[σ²] of tanh, by mpmath."""
    std = mp.mpf(2) ** (mp.mpf(octave) / 2)
    ends = [0, *(end for end in (1 / std, 4 / std, 16 / std) if end < 12), 12]
    size = mp.quad(lambda z: mp.tanh(std * z) ** 2 * mp.npdf(z), ends)
    slope = mp.quad(lambda z: mp.sech(std * z) ** 4 * mp.npdf(z), ends)
    act = kc.activation("tanh")
    assert _growth(act, octave) == pytest.approx(float(std**2 * slope / size), rel=1e-9)
    # the larger of both ends of the octaves
    q = np.array([2.0**octave * 0.7, 2.0**octave * 0.9])
    assert angle_growth(act, q) == _growth(act, octave)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_coefficients_of_chebyshev_polynomials(n):
    wanted = np.random.default_rng(n).normal(size=(3, n))
    at = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    found = chebyshev_coefficients(np.polynomial.chebyshev.chebval(at, wanted.T))
    np.testing.assert_allclose(found, wanted, atol=1e-15 * n)
