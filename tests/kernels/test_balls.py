import sys

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import MissingExtraError, NotCertifiableError, SmoothnessError

flint = pytest.importorskip("flint")
arb = flint.arb

POINTS = np.array([[1.0, 2.0], [0.5, -1.0]])


def contains(ball, number, digits=28):
    """Whether a ball meets an mpmath number with so many correct digits."""
    with flint.ctx.workdps(50):
        known = arb(mpmath.nstr(number, 40)) * (1 + arb(0, 10.0**-digits)) + arb(0, 1e-30)
        return ball.overlaps(known)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "beta"), [("gelu", 1.5, 0.1), ("sin", 1.0, 0.3), (["erf", "smooth_relu"], 1.2, 0.0)]
)
def test_six_kernels_contain_the_many_digit_values(activation, sigma_w, beta):
    net = kc.MLP(activation, depth=3, sigma_w=sigma_w, beta=beta)
    enclosed, precise = net.kernels(POINTS, certified=True), net.kernels(POINTS, dps=30)
    assert enclosed.available == precise.available == ("sigma", "theta", "phi", "lam", "upsilon", "xi")
    for name in enclosed.available:
        balls, numbers = getattr(enclosed, name), getattr(precise, name)
        largest = max(abs(v) for v in numbers.flat)
        for ball, number in zip(balls.flat, numbers.flat, strict=True):
            assert contains(ball, number), (name, ball, number)
            assert ball.rad() <= 1e-15 * float(largest)


def test_tanh_contains_the_float64_and_the_many_digit_values():
    net = kc.MLP("tanh", depth=3, sigma_w=1.5)
    enclosed, plain = net.kernels(POINTS, certified=True), net.kernels(POINTS)
    for name in enclosed.available:
        balls = np.array([[float(b) for b in row] for row in getattr(enclosed, name)])
        np.testing.assert_allclose(balls, getattr(plain, name), rtol=1e-11, atol=1e-13)
        assert all(ball.rad() < 1e-15 for ball in getattr(enclosed, name).flat)
    precise = kc.MLP("tanh", depth=2, sigma_w=1.5).kernels(POINTS, dps=25)
    for name in precise.available:
        for ball, number in zip(getattr(enclosed.layers[1], name).flat, getattr(precise, name).flat, strict=True):
            assert contains(ball, number, digits=23), name


def test_relu_contains_the_many_digit_values():
    for points in (POINTS, np.array([[1.0, 2.0], [2.0, 4.0]]), np.array([[1.0, 2.0], [-1.0, -2.0]])):
        net = kc.MLP("relu", depth=4, sigma_w=2**0.5, beta=0.0)
        enclosed, precise = net.kernels(points, certified=True), net.kernels(points, dps=30)
        assert enclosed.available == ("sigma", "theta")
        for name in enclosed.available:
            for ball, number in zip(getattr(enclosed, name).flat, getattr(precise, name).flat, strict=True):
                # Parallel points: the reference itself has rounded a correlation of 1.
                assert contains(ball, number, digits=13 if points is not POINTS else 28)


def test_degenerate_pairs():
    """Opposite points of an odd network have ρ = −1 in every layer, equal points ρ = 1."""
    net = kc.MLP("tanh", depth=3, beta=0.0)
    a, b = [[1.0, 2.0]], [[-1.0, -2.0]]
    same, opposite = net.kernels(a, a, certified=True), net.kernels(a, b, certified=True)
    for name, sign in [("sigma", -1), ("theta", 1), ("phi", -1), ("lam", 1), ("upsilon", 1), ("xi", -1)]:
        first, second = getattr(same, name)[0, 0], getattr(opposite, name)[0, 0]
        if name in ("theta", "upsilon", "lam"):
            assert abs(first).overlaps(abs(second)) or second.rad() < 1e-15
        else:
            assert (sign * first).overlaps(second), name
    zero = kc.MLP("tanh", depth=2, beta=0.0).kernels([[0.0, 0.0]], certified=True)
    assert zero.sigma[0, 0].contains(0)


def test_two_sets_layers_and_names():
    net = kc.MLP("gelu", depth=3)
    both, every = net.kernels(POINTS[:1], POINTS[1:], certified=True), net.kernels(POINTS, certified=True)
    assert both.shape == (1, 1)
    for name in both.available:
        assert getattr(both, name)[0, 0].overlaps(getattr(every, name)[0, 1])
    assert len(every.layers) == 3
    assert every.layers[0].theta[0, 1].overlaps(arb((0.5 - 2.0) / 2) + arb(0.1) ** 2)
    assert net.kernels(POINTS, only="theta", certified=True).available == ("theta",)


def test_digits_on_request():
    ball = kc.MLP("sigmoid", depth=2).kernels(POINTS[:1], only="sigma", certified=True, dps=40).sigma[0, 0]
    assert ball.rad() < 1e-40 * float(ball)


def test_refusals(monkeypatch):
    with pytest.raises(SmoothnessError):
        kc.MLP("relu").kernels(POINTS, only="phi", certified=True)
    with pytest.raises(NotCertifiableError):
        kc.MLP("softsign").kernels(POINTS, certified=True)
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[certified\]"):
        kc.MLP("tanh").kernels(POINTS, certified=True)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[certified\]"):
        kc.gaussian_expectation("tanh", "tanh", 1, 1, 0, certified=True)


@pytest.mark.parametrize("name", ["hard_tanh", "elu"])
def test_kinked_functions_with_closed_forms(name):
    net = kc.MLP(name, depth=3, sigma_w=1.5)
    enclosed, precise = net.kernels(POINTS, certified=True), net.kernels(POINTS, dps=30)
    for kernel in enclosed.available:
        for ball, value in zip(getattr(enclosed, kernel).flat, getattr(precise, kernel).flat, strict=True):
            assert contains(ball, value)
            assert ball.rad() < 1e-14
