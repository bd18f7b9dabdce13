"""Short names of data, activations and architectures, to know again what a file of trials was computed from."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from kernelcalc.finite.arrays import AnyArray, real_array

# Leading bits kept of a mantissa's 53: NumPy's functions differ between machines in the last few.
_BITS = 40
# Arguments at which activations are told apart; the outer ones for those that are clipped.
_ARGUMENTS = (np.linspace(-3, 3, 13), np.array([-20.0, -8.0, 8.0, 20.0]))


def digest(*arrays: Any) -> str:
    """A short name of the contents: every number to 12 digits, whatever its size, and the shapes.

    Examples
    --------
    >>> digest([1e-11, 2e-11]) == digest([3e-11, 4e-11])
    False
    >>> digest([0.1 + 0.2]) == digest([0.3])
    True
    """
    found = hashlib.sha256()
    for values in arrays:
        array = real_array(values, "data").astype(np.float64)
        mantissa, exponent = np.frexp(array)
        rounded = np.ldexp(np.rint(np.ldexp(mantissa, _BITS)), exponent - _BITS)
        found.update(f"{array.shape}".encode())
        # + 0.0 makes 0.0 of -0.0
        found.update((rounded + 0.0).astype("<f8").tobytes())
    return found.hexdigest()[:16]


def architecture(net: Any, sizes: list[int]) -> dict[str, Any]:
    """What defines the networks drawn from an architecture, as JSON values; activations are known by their values."""
    return {
        "network": [*sizes, float(net.sigma_w), float(net.beta)],
        "activations": digest(*(_values(act, at) for act in net.activations for at in _ARGUMENTS)),
    }


def _values(activation: Any, at: AnyArray) -> AnyArray:
    """Values relative to the largest: what should be 0 may be any rounding error."""
    with np.errstate(all="ignore"):
        values = np.asarray(activation(at), dtype=np.float64)
        exponent = np.frexp(np.abs(values).max())[1]
        return np.append(np.rint(np.ldexp(values, _BITS - exponent)), exponent)
