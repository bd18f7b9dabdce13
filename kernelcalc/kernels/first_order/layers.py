"""The first order through a network's layers: states before and behind each, nothing computed before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernelcalc.activations.activation import Activation
from kernelcalc.arguments import floats, shown
from kernelcalc.errors import InputError
from kernelcalc.kernels.first_order.coupled import Coupled
from kernelcalc.kernels.first_order.features import Entry, Index
from kernelcalc.kernels.first_order.recursion import Expectations, State, Tensor
from kernelcalc.kernels.fold import Numbers
from kernelcalc.kernels.layers import Dense, Nonlinearity
from kernelcalc.kernels.network import Network, check_network


class Lazy(Mapping[Any, Any]):
    """Values by a formula of their key's parts, each computed at first use; there is one for every key."""

    def __init__(self, formula: Callable[..., Any]) -> None:
        self._formula = formula
        self._known: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        if key not in self._known:
            self._known[key] = self._formula(*key)
        return self._known[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """A hidden layer: its nonlinearity, the weights behind it, and n over its width."""

    activation: Activation
    weights: Dense
    ratio: Any


def hidden_layers(network: Network, relative_widths: Sequence[float]) -> list[Hidden]:
    """The hidden layers of a fully connected network.

    Raises
    ------
    InputError
        For a network that is no alternation of weights and nonlinearities, or widths that do not fit it.
    """
    check_network(network)
    layers = network.layers
    pairs = list(zip(layers[1::2], layers[2::2], strict=False))
    if len(layers) % 2 == 0 or not all(isinstance(a, Nonlinearity) and isinstance(b, Dense) for a, b in pairs):
        raise InputError(
            "a fully connected network, Dense, Nonlinearity, Dense, ..., Dense",
            ", ".join(type(layer).__name__ for layer in layers),
            "the first order in 1/n is known for these only; measure others with kc.validate",
        )
    for layer in layers:
        if isinstance(layer, Dense) and (layer.weight_rate != 1 or layer.bias_gradient is not None):
            raise InputError(
                "a network in NTK parametrisation", repr(layer), "its rates depend on the width themselves"
            )
    if floats(relative_widths, "relative_widths", "a sequence of numbers").ndim != 1:
        raise InputError("relative_widths, a sequence of numbers", shown(relative_widths))
    widths = tuple(relative_widths) or (1.0,) * len(pairs)
    if len(widths) != len(pairs) or not all(0 < float(w) < float("inf") for w in widths):
        raise InputError(f"{len(pairs)} positive relative widths, one a hidden layer", repr(relative_widths))
    return [
        Hidden(activation=a.activation, weights=b, ratio=1 if w == 1 else 1 / w)
        for (a, b), w in zip(pairs, widths, strict=True)
        if isinstance(a, Nonlinearity) and isinstance(b, Dense)
    ]


def first_state(sigma: Tensor) -> State:
    """Behind the first weights: Θ = Σ, and nothing of first order, since outputs there are Gaussian at any width."""
    limits: dict[Entry, Any] = {}
    for (p1, p2), value in sigma.items():
        limits |= {("sigma", p1, p2): value, ("theta", p1, p2): value}
        limits |= dict.fromkeys([("phi", p1, p2), ("upsilon", p1, p2), ("xi", p1, p2)], 0)
    nothing = Lazy(lambda *_: 0)
    return State(limits=limits, first=nothing, between=nothing, **dict.fromkeys(_COUPLED, nothing))


def behind(hidden: Hidden, state: State, expect: Expectations, numbers: Numbers, points: Index) -> State:
    """The state behind one hidden layer and its weights."""
    scales = numbers.scales(hidden.weights)
    layer = Coupled(state, expect, scales.weight, hidden.ratio, points)
    return State(
        limits=Lazy(lambda name, p1, p2: layer.limit_behind(name, p1, p2, scales.bias)),
        first=Lazy(layer.first_behind),
        between=Lazy(layer.between_behind),
        **{name: Lazy(getattr(layer, name)) for name in _COUPLED},
    )


_COUPLED = ("f", "b", "e", "r", "t", "q")
