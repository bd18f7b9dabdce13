"""What one-dimensional rules know of functions."""

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.floats import nodes
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


def test_panels_of_any_shape():
    """Rows of breakpoints: ∫ x⁵ over each row's panels, in order; nodes and weights that nobody can change."""
    breaks = np.array([[-1.0, 0.5, 2.0], [0.0, 0.0, 3.0]])
    at, weights = nodes.panels(breaks, 4)
    assert at.shape == weights.shape == (2, 8)
    assert (np.diff(at, axis=1) >= 0).all()
    np.testing.assert_allclose((at**5 * weights).sum(axis=1), [(2**6 - 1) / 6, 3**6 / 6], rtol=1e-14)
    np.testing.assert_allclose(weights.reshape(2, 2, 4).sum(axis=2), np.diff(breaks, axis=1), rtol=1e-14)
    for one in nodes.legendre(5):
        assert not one.flags.writeable


@pytest.mark.parametrize("level", [0, 2])
def test_trapezoidal_rule(level):
    """160 · 2^level steps from −13 to 13, in which E z⁴ is 3 to rounding."""
    z, weights = nodes.trapezoid(level)
    assert len(z) == len(weights) == 160 * 2**level + 1
    assert (z[0], z[-1]) == (-13, 13)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    assert (weights * density).sum() == pytest.approx(1, rel=1e-15)
    assert (weights * density * z**4).sum() == pytest.approx(3, rel=1e-14)


def test_kinks_in_standard_deviations():
    """(kink − mean)/std; 0 where a kink is the mean, and out of reach where nothing varies."""
    act = kc.Activation("Abs(x-1)+Abs(x+2)")
    found = nodes.scaled_kinks(act, np.array([0.5, 2.0, 0.0]), np.array([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(found, [[-4.0, 2.0], [-1.5, 0.0], [nodes.Z_MAX, 0.0]])
    np.testing.assert_array_equal(nodes.scaled_kinks(act, np.array([4.0])), [[-0.5, 0.25]])


@pytest.mark.parametrize("stretch", [0.0, 8.0, 24.0])
def test_rule_on_the_half_line(stretch):
    """∫ φ f from 0 on, of f that vary at 1 or at e^(−stretch): 1/√z-like powers, and e^(−z/s) by its closed form."""
    z, weights = nodes.half_line(40, stretch)
    assert (np.diff(z) > 0).all()
    assert weights.sum() == pytest.approx(0.5, rel=1e-14)
    assert (weights * z**4).sum() == pytest.approx(1.5, rel=1e-14)
    scale = mp.exp(-stretch)
    known = (
        mp.exp(1 / (2 * scale**2)) * mp.erfc(1 / (scale * mp.sqrt(2))) / 2
        if stretch < 20
        else scale / mp.sqrt(2 * mp.pi)
    )
    assert (weights * np.exp(-z / float(scale))).sum() == pytest.approx(float(known), rel=1e-12)


def test_room_for_features_far_below_the_deviation():
    """None up to 1e4; then e^(−stretch) is e^(−3)/std or less, and by e^8 at most."""
    assert [nodes.log_stretch(std) for std in (1.0, 1e4)] == [0.0, 0.0]
    for std in (1.01e4, 1e5, 1e9):
        room = nodes.log_stretch(std)
        assert room % 8 == 0
        assert np.log(std) + 3 <= room < np.log(std) + 11
