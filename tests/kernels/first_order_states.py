"""The recursion of the first order at one pair of points, layer by layer."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import kernelcalc as kc
from kernelcalc.kernels.first_order.coupled import Coupled
from kernelcalc.kernels.first_order.layers import behind, first_state, hidden_layers
from kernelcalc.kernels.first_order.numbers import FloatExpectations
from kernelcalc.kernels.first_order.recursion import State
from kernelcalc.kernels.fold import Numbers
from tests.kernels import finite_propagation

X = np.array([[1.0, 0.3, -0.5], [0.2, -1.1, 0.7]])
SCALES = {"sigma_w": 1.3, "beta": 0.3}
FUNCTIONS = {"tanh": finite_propagation.tanh, "sin": finite_propagation.sine, "softplus": finite_propagation.softplus}


@cache
def layers_and_states(name: str, depth: int) -> tuple[list[Coupled], list[State]]:
    """Hidden layers, and the states before the first, between and behind them; entries are arrays of one pair."""
    c = SCALES["sigma_w"] ** 2 * X @ X.T / 3 + SCALES["beta"] ** 2
    states = [first_state({(i, j): np.array([c[i, j]]) for i in (0, 1) for j in (0, 1)})]
    layers = []
    one, other = np.array([0]), np.array([1])
    for hidden in hidden_layers(kc.MLP(name, depth=depth, **SCALES), ()):
        state = states[-1]
        q = np.array([state.limits["sigma", p, p][0] for p in (0, 1)])
        expect = FloatExpectations(hidden.activation, q, one, other, state.limits["sigma", 0, 1])
        layers.append(Coupled(state, expect, SCALES["sigma_w"] ** 2, 1, (0, 1)))
        states.append(behind(hidden, state, expect, Numbers(), (0, 1)))
    return layers, states


def table(entries: Any, indices: int) -> np.ndarray:
    """All entries of a tensor as an array (2, ..., 2)."""
    return np.array([np.ravel(entries(*at))[0] for at in np.ndindex(*(2,) * indices)]).reshape((2,) * indices)
