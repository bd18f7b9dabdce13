"""Exact fractions and the balls they become, beside Python's fractions."""

import operator
from fractions import Fraction

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, PrecisionError
from kernelcalc.kernels import balls as module
from kernelcalc.kernels.balls import BallNumbers, Exact, ball

flint = pytest.importorskip("flint")
arb = flint.arb

OPERATIONS = [operator.add, operator.sub, operator.mul, operator.truediv]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_fractions_stay_fractions_until_they_meet_a_ball(operation):
    a, b = Fraction(1, 3), Fraction(-7, 5)
    for left, right, known in (
        (Exact(a), Exact(b), operation(a, b)),
        (Exact(a), 2, operation(a, 2)),
        (2, Exact(a), operation(2, a)),
    ):
        assert operation(left, right) == Exact(known)
    for left, right, known in ((Exact(a), arb(3), operation(a, 3)), (arb(3), Exact(a), operation(3, a))):
        found = operation(left, right)
        assert isinstance(found, arb)
        assert found.contains(arb(flint.fmpq(known.numerator, known.denominator)))
        assert found.rad() < 1e-13


def test_balls_of_fractions():
    assert ball(Exact(Fraction(3, 8))) == arb(0.375)
    kept = arb(2)
    assert ball(kept) is kept


def test_numbers_of_data():
    numbers = BallNumbers(20)
    assert numbers.number(0.1) == Exact(Fraction(0.1))
    assert numbers.finished(Exact(Fraction(1, 4))) == arb(0.25)
    roots = numbers.root(np.array([Exact(Fraction(9, 4)), arb(4)], dtype=object))
    assert roots.dtype == object
    assert [float(one) for one in roots] == [1.5, 2.0]
    a, b = np.array([0.1, 0.2, 0.3]), np.array([3.0, -5.0, 7.0])
    known = (Fraction(0.1) * 3 - Fraction(0.2) * 5 + Fraction(0.3) * 7) / 3
    assert numbers.product(a, b) == Exact(known)


@pytest.mark.parametrize(
    ("middle", "radius", "digits", "narrow"),
    [
        (1.0, 0.9e-12, 12, True),
        (1.0, 1.2e-12, 12, False),
        (1e6, 0.9e-6, 12, True),
        (1e-20, 1e-31, 12, False),
        (0.0, 0.9e-32, 12, True),
        (0.0, 1.1e-32, 12, False),
    ],
)
def test_how_narrow_is_judged_by_the_largest_of_all(middle, radius, digits, narrow):
    """By 10^−digits of it, or 20 digits beyond these where all is as good as 0."""
    assert module._narrow(np.array([[arb(middle, radius), arb(middle / 3)]], dtype=object), digits) is narrow
    assert module._narrow(np.array([[arb(middle / 3), arb(middle, radius)]], dtype=object), digits) is narrow


@pytest.mark.parametrize("digits", [0, 501])
def test_digits_out_of_range(digits):
    with pytest.raises(InputError, match=rf"^expected a number of digits 1 ≤ dps ≤ 500, got {digits}$"):
        module.certified_layers(kc.MLP([], depth=1), np.ones((1, 2)), None, ("sigma",), digits)


@pytest.mark.parametrize("digits", [1, 500])
def test_digits_at_the_ends_of_the_range(digits):
    """Of one linear layer, (1/10)² in doubles among them: (σ_w²|x|² + β²)."""
    net = kc.MLP([], depth=1, sigma_w=0.1, beta=0.5)
    found = net.kernels([[3.0]], certified=True, dps=digits).sigma[0, 0]
    with flint.ctx.workdps(600):
        known = Fraction(0.1) ** 2 * 9 + Fraction(1, 4)
        assert found.contains(arb(flint.fmpq(known.numerator, known.denominator)))
        assert found.rad() <= found * arb(10) ** -digits


def test_digits_that_are_not_reached(monkeypatch):
    """Attempts with 2w + 5 digits after w, five of them."""
    asked = []

    class Numbers(BallNumbers):
        def __init__(self, digits):
            asked.append(digits)
            super().__init__(digits)

    monkeypatch.setattr(module, "BallNumbers", Numbers)
    monkeypatch.setattr(module, "_narrow", lambda array, digits: False)
    with pytest.raises(PrecisionError, match=r"^enclosures of the kernels with 7 digits were not reached$"):
        kc.MLP([], depth=1).kernels([[3.0]], certified=True, dps=7)
    start = 7 + module.BALL_GUARD_DIGITS
    assert asked == [start, 2 * start + 5, 4 * start + 15, 8 * start + 35, 16 * start + 75]
