"""What a composition of layers must fulfil to be a network, checked when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernelcalc.errors import InputError
from kernelcalc.kernels.layers import (
    AveragePool,
    Conv,
    Dense,
    Flatten,
    GlobalAverage,
    Layer,
    LayerNorm,
    Nonlinearity,
    Residual,
    Serial,
    Sum,
)
from kernelcalc.kernels.positions import PositionLayer


@dataclass(frozen=True)
class _State:
    """What is known of the features: Gaussian or not, whether they have positions (None: not yet known), flattened."""

    gaussian: bool
    positions: bool | None
    flat: bool = False


def check_layers(layers: Sequence[Layer]) -> None:
    """Whether the layers follow each other as the theory allows.

    Raises
    ------
    InputError
        Not layers, a first or last layer without fresh weights, positions that are not there or left over, LayerNorm or a
        nonlinearity behind a nonlinearity, ``Flatten`` before anything but ``Dense``, a branch that changes positions.
    """
    for layer in layers:
        if not isinstance(layer, Layer):
            raise InputError("layers such as Dense(), Nonlinearity('tanh'), Residual(...)", repr(layer))
    if not layers or not isinstance(layers[0], Dense | Conv):
        raise InputError("a network whose first layer is Dense or Conv", repr(layers[0]) if layers else "none")
    if not isinstance(layers[-1], Dense):
        raise InputError("a network whose last layer is Dense", repr(layers[-1]), "end it with Dense()")
    state = _State(gaussian=True, positions=None)
    for layer in layers:
        state = _behind(layer, state)
    if state.positions:
        raise InputError(
            "a network that ends without positions",
            "positions before its last Dense()",
            "put Flatten() or GlobalAverage() before it",
        )


def has_positions(layers: Sequence[Layer]) -> bool:
    """Whether the network is one for points with positions."""
    return any(
        isinstance(layer, PositionLayer) or (isinstance(layer, Serial) and has_positions(layer.layers))
        for layer in layers
    )


def _behind(layer: Layer, state: _State) -> _State:
    if state.flat and not isinstance(layer, Dense):
        raise InputError("Dense() behind Flatten()", repr(layer), f"put {layer!r} before it")
    if isinstance(layer, PositionLayer):
        return _behind_positions(layer, state)
    if isinstance(layer, Dense):
        return _State(gaussian=True, positions=state.positions)
    if isinstance(layer, Nonlinearity | LayerNorm):
        if not state.gaussian:
            raise InputError(
                f"{type(layer).__name__} of Gaussian pre-activations",
                f"{layer!r} behind a nonlinearity",
                "put Dense() or Conv() before it"
                if isinstance(layer, Nonlinearity)
                else "put it before the nonlinearity",
            )
        return _State(gaussian=isinstance(layer, LayerNorm), positions=state.positions)
    if isinstance(layer, Sum):
        return _behind_sum(layer, state)
    if isinstance(layer, Serial):
        for part in layer.layers:
            state = _behind(part, state)
    return state


def _behind_positions(layer: PositionLayer, state: _State) -> _State:
    if state.positions is False:
        raise InputError(
            f"points with positions before {layer!r}", "Flatten() or GlobalAverage() before it", "put it before these"
        )
    gaussian = isinstance(layer, Conv) or state.gaussian
    return _State(gaussian=gaussian, positions=layer.keeps_positions, flat=isinstance(layer, Flatten))


def _behind_sum(layer: Sum, state: _State) -> _State:
    for part in _inside(layer):
        if isinstance(part, AveragePool | GlobalAverage | Flatten):
            raise InputError(
                f"branches of {type(layer).__name__} that keep their positions",
                f"{part!r} in one",
                "put it behind the sum",
            )
        if (
            isinstance(part, Conv)
            and isinstance(layer, Residual)
            and (part.padding == "valid" or part.stride not in (1, (1, 1)))
        ):
            raise InputError(
                "a residual branch that keeps its positions", repr(part), "padding='circular' or 'zeros' and stride 1"
            )
    ends = [_behind(branch, state) for branch in layer.layers]
    return _State(
        gaussian=all(end.gaussian for end in ends),
        positions=True if any(end.positions for end in ends) else state.positions,
    )


def _inside(layer: Serial) -> list[Layer]:
    return [one for part in layer.layers for one in (_inside(part) if isinstance(part, Serial) else [part])]
