"""Short names of data, activations and architectures, to know again what a file of trials was computed from."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelcalc.arrays import DIGEST_BITS, AnyArray, digest

# Arguments at which activations are told apart; the outer ones for those that are clipped.
_ARGUMENTS = (np.linspace(-3, 3, 13), np.array([-20.0, -8.0, 8.0, 20.0]))


def architecture(net: Any, sizes: list[int]) -> dict[str, Any]:
    """What defines the networks drawn from an architecture, as JSON values; activations are known by their values."""
    return {
        "network": [*sizes, float(net.sigma_w), float(net.beta)]
        if hasattr(net, "sigma_w")
        else [*sizes, repr(net.layers)],
        "activations": digest(*(_values(act, at) for act in net.activations for at in _ARGUMENTS)),
    }


def _values(activation: Any, at: AnyArray) -> AnyArray:
    """Values relative to the largest: what should be 0 may be any rounding error."""
    with np.errstate(all="ignore"):
        values = np.asarray(activation(at), dtype=np.float64)
        exponent = np.frexp(np.abs(values).max())[1]
        return np.append(np.rint(np.ldexp(values, DIGEST_BITS - exponent)), exponent)
