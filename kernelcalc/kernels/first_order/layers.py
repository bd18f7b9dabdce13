"""The first order through a network's layers: states before and behind each, nothing computed before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import InputError
from kernelcalc.kernels.first_order.recursion import Index, Layer, State, Tensor
from kernelcalc.kernels.fold import Numbers
from kernelcalc.kernels.layers import Dense, Nonlinearity, Scales
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.state import DiagonalKernels, PairKernels


class Lazy(Mapping[Index, Any]):
    """Entries by a formula of their indices, each computed at first use."""

    def __init__(self, formula: Callable[..., Any], points: Index) -> None:
        self._formula, self._points = formula, points
        self._known: dict[Index, Any] = {}

    def __getitem__(self, index: Index) -> Any:
        if index not in self._known:
            self._known[index] = self._formula(*index)
        return self._known[index]

    def __iter__(self) -> Iterator[Index]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _AtPair(Mapping[tuple[int, int], Any]):
    """E_ij = E[σ^(i) σ^(j)] at two points, as the layers' formulas read them."""

    def __init__(self, layer: Layer, p1: int, p2: int) -> None:
        self._layer, self._pair = layer, (p1, p2)

    def __getitem__(self, order: tuple[int, int]) -> Any:
        return self._layer.e(zip(order, self._pair, strict=True))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(())

    def __len__(self) -> int:
        return 0


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
    zero = dict.fromkeys(sigma, 0)
    return State(sigma=sigma, theta=sigma, phi=zero)


def behind(hidden: Hidden, state: State, expect: Any, numbers: Numbers, points: Index) -> State:
    """The state behind one hidden layer and its weights."""
    scales = numbers.scales(hidden.weights)
    layer = Layer(state, expect, scales.weight, hidden.ratio, points)
    limits = {name: Lazy(_limit(name, hidden, layer, scales), points) for name in ("sigma", "theta", "phi")}
    made = {name: Lazy(getattr(layer, name), points) for name in _TENSORS}
    return State(**limits, **made)


_TENSORS = ("v", "d", "a", "f", "b", "w", "sigma_1", "theta_1", "phi_1")


def _limit(name: str, hidden: Hidden, layer: Layer, scales: Scales) -> Callable[[int, int], Any]:
    """The limit's kernel behind the layer, by the formulas of the theory's layers."""
    nonlinearity, state = Nonlinearity(hidden.activation), layer.state

    def diagonal(point: int) -> DiagonalKernels:
        at = point, point
        return DiagonalKernels(theta=state.theta[at], phi=state.phi[at]) if name == "phi" else DiagonalKernels()

    def entry(p1: int, p2: int) -> Any:
        k = PairKernels(sigma=state.sigma[p1, p2], theta=state.theta[p1, p2])
        if name == "phi":
            k = PairKernels(theta=k.theta, phi=state.phi[p1, p2])
        e = _AtPair(layer, p1, p2)
        read = {"sigma": ("sigma",), "theta": ("sigma", "theta"), "phi": ("phi",)}[name]
        after = PairKernels(**{one: nonlinearity.formula(one)(k, diagonal(p1), diagonal(p2), e) for one in read})
        return hidden.weights.formula(name)(after, None, None, scales)

    return entry
