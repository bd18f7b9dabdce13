"""How small expectations are at first sight, and below what they are 0: no number of digits tells a zero from what is small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath

# Where the size of f φ is looked for, in standard deviations.
LOOK_REACH, LOOK_STEP = 40.0, 0.5
# Digits of values there, which differences such as 1 − tanh² may lose.
SEEN_DIGITS = 330
# Digits that a first attempt need not be helped with.
MODEST_DIGITS = 6


def faintness(call: Callable[[Any], Sequence[Any]], std: Any, features: Sequence[Any] = ()) -> int:
    """Decimal places before the first digit of the largest f φ, 0 where there are few: an expectation has that many or so.

    ``features`` are places, as x, where narrow ones lie, which a grid does not meet.
    """
    largest = mpmath.mpf(0)
    places = [k * LOOK_STEP for k in range(-int(LOOK_REACH / LOOK_STEP), int(LOOK_REACH / LOOK_STEP) + 1)]
    with mpmath.workdps(SEEN_DIGITS):
        for z in (*(at / std for at in features), *map(mpmath.mpf, sorted(places, key=abs))):
            density = mpmath.exp(-(z**2) / 2)
            largest = max(largest, *(abs(value) * density for value in call(std * z)))
            if largest > mpmath.mpf(10) ** -MODEST_DIGITS:
                return 0
        return SEEN_DIGITS if largest == 0 else min(-int(mpmath.log10(largest)) - MODEST_DIGITS, SEEN_DIGITS)


def vanishing(dps: int) -> Any:
    """Below this, relative to √(E f² E g²), an expectation counts as 0.

    What is smaller and not 0 would have to cancel, or lie in a tail, to twice the digits asked for and forty more.
    """
    return mpmath.mpf(10) ** -(2 * dps + 40)
