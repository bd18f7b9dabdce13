"""Networks from text, read by a whitelist: ``residual:10``, or ``dense; residual(layernorm, tanh, dense); dense``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import from_text
from kernelcalc.errors import InputError, UnknownNameError
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
)
from kernelcalc.kernels.mlp import MLP, Sequential

# Stands for the nonlinearity that is said elsewhere.
PLACEHOLDER = "activation"
MOST_BLOCKS, DEEPEST = 10_000, 20
_SHORT = re.compile(r"([a-z_]+)\s*:\s*(\S+)")
_LAYER = re.compile(r"([a-z_]+)\s*(?:\((.*)\))?", re.DOTALL)
_OPTION = re.compile(r"([a-z_]+)\s*=([^=].*)")
# Names of whole stacks: what one block is, and whether a LayerNorm comes before the last weights.
STACKS = ("plain", "residual", "prelayernorm")


def network_from_text(
    architecture: str | None,
    activation: Activation | str,
    *,
    depth: int = 3,
    sigma_w: float = 1.0,
    beta: float = 0.1,
    n_out: int = 1,
) -> Sequential:
    r"""A network from a text.

    Parameters
    ----------
    architecture : str or None
        ``plain:K``, ``residual:K`` or ``prelayernorm:K``: K blocks between two dense layers, each (nonlinearity, dense), the
        same as a residual branch of scale 1/√K, or that with LayerNorm before the nonlinearity and before the last dense layer.
        Or layers with ``;`` between them: ``dense``, ``layernorm``, ``residual(layer, layer, ..., scale=0.5)``,
        ``conv(3, padding=zeros, stride=2)``, ``averagepool(2)``, ``globalaverage``, ``flatten``; a nonlinearity by its name or
        expression, or ``activation`` for the one given. ``dense`` and ``conv`` take ``sigma_w=`` and ``beta=``. None: an
        :class:`~kernelcalc.kernels.mlp.MLP`.
    activation : Activation or str
        The nonlinearity.
    depth : int
        Weight layers of the MLP.
    sigma_w, beta : float
        Of all layers that say nothing else.
    n_out : int
        Number of outputs.

    Raises
    ------
    InputError, UnknownNameError
        A text that is none of these, or that makes no network.

    Examples
    --------
    >>> network_from_text("dense; residual(layernorm, tanh, dense(beta=0)); dense", "erf").layers[1]
    Residual(LayerNorm(), Nonlinearity('tanh'), Dense(sigma_w=1, beta=0))
    >>> network_from_text("residual:4", "erf").layers[4]
    Residual(Nonlinearity('erf'), Dense(sigma_w=1, beta=0.1), scale=0.5)
    """
    act = from_text(activation) if isinstance(activation, str) else activation
    if architecture is None:
        return MLP(act, depth=depth, sigma_w=sigma_w, beta=beta, n_out=n_out)
    reader = _Reader(act, sigma_w, beta)
    short = _SHORT.fullmatch(architecture.strip())
    if short is not None and short[1] not in ("normalized", "normalised"):
        return Sequential(*reader.stack(short[1], short[2]), n_out=n_out)
    return Sequential(*map(reader.layer, _split(architecture, ";")), n_out=n_out)


class _Reader:
    """Reads layers with the same defaults."""

    def __init__(self, activation: Activation, sigma_w: float, beta: float) -> None:
        self.activation, self.scales = activation, {"sigma_w": sigma_w, "beta": beta}

    def stack(self, kind: str, count: str) -> list[Layer]:
        """K blocks between two dense layers."""
        if kind not in STACKS:
            raise UnknownNameError("a stack of blocks", kind, STACKS)
        if not count.isascii() or not count.isdigit() or not 0 < int(count) <= MOST_BLOCKS:
            raise InputError(f"a number of blocks from 1 to {MOST_BLOCKS}", repr(count), "for example residual:10")
        dense, act, k = Dense(**self.scales), Nonlinearity(self.activation), int(count)
        if kind == "plain":
            return [dense, *[act, dense] * k]
        norm: list[Layer] = [LayerNorm()] if kind == "prelayernorm" else []
        return [dense, *[Residual(*norm, act, dense, scale=k**-0.5)] * k, *norm, dense]

    def layer(self, text: str, nested: int = 0) -> Layer:
        """One layer."""
        if nested > DEEPEST:
            raise InputError(f"at most {DEEPEST} branches within each other", "more")
        found = _LAYER.fullmatch(text)
        if text == PLACEHOLDER:
            return Nonlinearity(self.activation)
        if found is None or found[1] not in _READERS:
            return Nonlinearity(from_text(text))
        parts, options = [], {}
        for part in _split(found[2] or "", ","):
            option = _OPTION.fullmatch(part)
            if option is None:
                parts.append(part)
            else:
                options[option[1]] = option[2].strip()
        return _READERS[found[1]](self, parts, options, nested)

    def residual(self, parts: list[str], options: dict[str, str], nested: int) -> Layer:
        """Layers of the branch and a scale."""
        scale = _numbers(options, {"scale": 1.0})["scale"]
        return Residual(*(self.layer(part, nested + 1) for part in parts), scale=scale)

    def dense(self, parts: list[str], options: dict[str, str], nested: int) -> Layer:
        """Fresh weights, with their own scales if said."""
        _at_most(parts, 0, "dense(sigma_w=1.5, beta=0.1)")
        return Dense(**_numbers(options, self.scales))

    def conv(self, parts: list[str], options: dict[str, str], nested: int) -> Layer:
        """A window and options."""
        _at_most(parts, 1, "conv(3, padding=zeros)", least=1)
        padding = options.pop("padding", "circular").strip("'\"")
        stride = _whole(options.pop("stride", "1"))
        return Conv(_whole(parts[0]), padding=padding, stride=stride, **_numbers(options, self.scales))

    def pool(self, parts: list[str], options: dict[str, str], nested: int) -> Layer:
        """A window and a stride."""
        _at_most(parts, 1, "averagepool(2)", least=1)
        stride = options.pop("stride", None)
        _numbers(options, {})
        return AveragePool(_whole(parts[0]), None if stride is None else _whole(stride))

    def bare(self, layer: type[Layer], parts: list[str], options: dict[str, str]) -> Layer:
        """A layer without parameters."""
        _at_most([*parts, *options], 0, layer.__name__.lower())
        return layer()


def _bare(layer: type[Layer]) -> Callable[[_Reader, list[str], dict[str, str], int], Layer]:
    return lambda reader, parts, options, nested: reader.bare(layer, parts, options)


_READERS: dict[str, Callable[[_Reader, list[str], dict[str, str], int], Layer]] = {
    "dense": _Reader.dense,
    "residual": _Reader.residual,
    "conv": _Reader.conv,
    "averagepool": _Reader.pool,
    "layernorm": _bare(LayerNorm),
    "globalaverage": _bare(GlobalAverage),
    "flatten": _bare(Flatten),
}


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators outside of brackets.

    Raises
    ------
    InputError
        Brackets that do not close, or an empty part.
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise InputError("brackets that close", repr(text))
    parts = [part.strip() for part in parts]
    if parts == [""]:
        return []
    if "" in parts:
        raise InputError(f"a layer on both sides of every {separator!r}", repr(text))
    return parts


def _at_most(parts: list[str], most: int, example: str, least: int = 0) -> None:
    if not least <= len(parts) <= most:
        raise InputError(f"a layer such as {example}", f"it with {', '.join(parts) or 'nothing'}")


def _whole(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise InputError("a whole number of positions", repr(text))
    return int(text)


def _numbers(options: dict[str, str], defaults: dict[str, float]) -> dict[str, Any]:
    found = dict(defaults)
    for name, value in options.items():
        if name not in defaults:
            raise UnknownNameError("a parameter of this layer", name, defaults or ["none"])
        try:
            found[name] = float(value)
        except ValueError as error:
            raise InputError(f"a number {name}", repr(value)) from error
    return found
