"""What is read off the state behind the last layer, and the arrays that it fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.errors import DivergentExpectationError, InputError, SmoothnessError
from kernelcalc.kernels.first_order.recursion import State

# What is read off the last layer's state, by its indices of the pair (0, 1).
ENTRIES: dict[str, Callable[[State, int, int], Any]] = {
    "sigma": lambda s, x, y: s.first["sigma", x, y],
    "theta": lambda s, x, y: s.first["theta", x, y],
    "phi": lambda s, x, y: s.first["phi", x, y],
    "theta_variance": lambda s, x, y: s.own_covariance(("theta", x, y), ("theta", x, y)),
    "theta_between_points": lambda s, x, y: s.own_covariance(("theta", x, x), ("theta", y, y)),
    "theta_between_outputs": lambda s, x, y: s.covariance(("theta", x, x), ("theta", y, y)),
    "theta_off_diagonal": lambda s, x, y: s.b[x, x, y, y],
    "sigma_limit": lambda s, x, y: s.limits["sigma", x, y],
    "theta_limit": lambda s, x, y: s.limits["theta", x, y],
    "phi_limit": lambda s, x, y: s.limits["phi", x, y],
}
# The same with what second derivatives of outputs do.
HESSIAN_ENTRIES: dict[str, Callable[[State, int, int], Any]] = {
    "upsilon": lambda s, x, y: s.first["upsilon", x, y],
    "xi": lambda s, x, y: s.first["xi", x, y],
    "upsilon_with_outputs": lambda s, x, y: s.own_covariance(("upsilon", x, y), ("sigma", x, y)),
    "upsilon_between_outputs": lambda s, x, y: s.r[x, x, y, y],
    "xi_with_sigma": lambda s, x, y: s.covariance(("xi", x, y), ("sigma", x, y)),
    "phi_with_transpose": lambda s, x, y: s.covariance(("phi", x, y), ("phi", y, x)),
    "phi_between_points": lambda s, x, y: s.covariance(("phi", x, x), ("phi", y, y)),
    "upsilon_limit": lambda s, x, y: s.limits["upsilon", x, y],
    "xi_limit": lambda s, x, y: s.limits["xi", x, y],
    "hessian_along_gradients": lambda s, x, y: s.t[x, y, y, x] + 2 * s.q[x, y, y, x],
    "hessian_along_other_gradients": lambda s, x, y: s.t[x, y, y, x],
    "theta_with_phi": lambda s, x, y: s.own_covariance(("theta", x, x), ("phi", y, y)),
    "theta_with_other_phi": lambda s, x, y: s.covariance(("theta", x, x), ("phi", y, y)),
}
# Limits that the kernels' own computation has, in floats with more digits of nearly parallel points.
OWN_LIMITS = {"sigma_limit": "sigma", "theta_limit": "theta"}
READ = {**ENTRIES, **HESSIAN_ENTRIES}
_WITH_TRANSPOSES = frozenset(
    {"phi", "phi_limit", "theta_with_phi", "theta_with_other_phi"}
    | {"hessian_along_gradients", "hessian_along_other_gradients"}
)


class Filled:
    """The arrays that are being filled; one whose entries do not exist is dropped, with the reason."""

    def __init__(self, names: Sequence[str], n: int, dtype: type) -> None:
        self.arrays: dict[str, AnyArray] = {name: np.empty((n, n), dtype=dtype) for name in names}
        self.refused: dict[str, InputError] = {}

    def put(self, last: State, pair: tuple[int, int], i: Any, j: Any) -> None:
        """The entries (i, j), and (j, i), of a state at the pair (0, 1) or the point (0, 0)."""
        for name in list(self.arrays):
            try:
                self.arrays[name][i, j] = value = READ[name](last, *pair)
                if pair[0] != pair[1]:
                    symmetric = name not in _WITH_TRANSPOSES
                    self.arrays[name][j, i] = value if symmetric else READ[name](last, *pair[::-1])
            except (SmoothnessError, DivergentExpectationError) as error:
                self.refused[name] = error
                del self.arrays[name]

    def equal(self, i: AnyArray, j: AnyArray) -> None:
        """Pairs of equal points have the diagonal's entries."""
        for array in self.arrays.values():
            array[i, j] = array[j, i] = np.diagonal(array)[i]

    def finished(self) -> dict[str, AnyArray]:
        """The arrays, read-only from now on; a correction goes with its limit."""
        for name in [one for one in self.arrays if f"{one}_limit" in self.refused]:
            self.refused[name] = self.refused[f"{name}_limit"]
            del self.arrays[name]
        for array in self.arrays.values():
            array.flags.writeable = False
        return self.arrays
