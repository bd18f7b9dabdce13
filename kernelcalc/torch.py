r"""PyTorch's networks as networks here, and back (extra ``torch``).

Reading goes by the names of classes and their attributes and does not import PyTorch; writing does.

Notes
-----
PyTorch's default ``Linear`` draws weights and biases from U(-1/√n, 1/√n), of variance 1/(3n). With the layer as
:math:`z = \frac{σ_w}{\sqrt n} W^T α + β b` and W, b of variance 1 this is σ_w = 1/√3 and β = 1/√(3n), n the layer's own number
of inputs; without biases β = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.frameworks import known_function
from kernelcalc.activations.names import activation, as_activation
from kernelcalc.arrays import AnyArray
from kernelcalc.errors import InputError, MissingExtraError
from kernelcalc.finite import layers as finite_layers
from kernelcalc.finite.composition import Architecture, LayeredParameters
from kernelcalc.finite.network import FiniteNetwork, LayeredNetwork
from kernelcalc.kernels.layers import Dense, Layer, Nonlinearity
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.kernels.parametrisation import pytorch_defaults

__all__ = ["finite_network", "from_torch", "to_torch"]

# What has no part in the function of a fully connected network.
_TRANSPARENT = ("Identity",)
_REASONS = {
    "PReLU": "trains its slope; with a fixed one it is LeakyReLU(slope)",
    "Dropout": "is random in training",
    "AlphaDropout": "is random in training",
    "BatchNorm1d": "ties the points of a batch together",
    "LayerNorm": "has a gain and a bias of its own; without these it is kc.layers.LayerNorm()",
    "Conv1d": "has channels first; its limit is kc.layers.Conv(window, padding=...), points channels last",
    "Conv2d": "has channels first; its limit is kc.layers.Conv(window, padding=...), points channels last",
}


def from_torch(model: Any) -> Sequential:
    r"""The limit of a PyTorch network: its architecture, with σ_w and β of the default initialisation of its layers.

    Parameters
    ----------
    model : torch.nn.Sequential or torch.nn.Linear
        ``Linear`` layers with at most one activation between two of them; nested ``Sequential``, ``Identity`` and ``Flatten``
        are seen through.

    Returns
    -------
    MLP or Sequential
        An :class:`~kernelcalc.kernels.mlp.MLP` where all layers have the same σ_w and β, otherwise a composition of
        ``Dense(1/√3, 1/√(3n))`` and nonlinearities. Widths are no part of it: ``kc.predict(net, X, y, width=...)``.

    Raises
    ------
    InputError
        A part that cannot be read, by name; weights used twice; hooks; an activation behind the last layer.

    Examples
    --------
    >>> import torch                                                                          # doctest: +SKIP
    >>> from_torch(torch.nn.Sequential(torch.nn.Linear(3, 64, bias=False), torch.nn.GELU(),
    ...                                torch.nn.Linear(64, 1, bias=False)))                   # doctest: +SKIP
    MLP('gelu', depth=2, sigma_w=0.5773502691896258, beta=0, n_out=1)
    """
    linears, activations = _read(model)
    scales = [_scales(linear) for linear in linears]
    n_out = _size(linears[-1])[1]
    if len(set(scales)) == 1:
        return MLP(activations, len(linears), sigma_w=scales[0][0], beta=scales[0][1], n_out=n_out)
    layers: list[Layer] = [Dense(*scales[0])]
    for act, scale in zip(activations, scales[1:], strict=True):
        layers += [Nonlinearity(act), Dense(*scale)]
    return Sequential(*layers, n_out=n_out)


def finite_network(model: Any) -> FiniteNetwork:
    r"""The PyTorch network itself: its weights, as a finite network with the scales of :func:`from_torch`.

    .. math:: W = \frac{\sqrt n}{σ_w}\, w^T, \qquad b = b' / β

    for ``weight`` w and ``bias`` b'. Parameters become float64, copied.

    Parameters
    ----------
    model : torch.nn.Sequential or torch.nn.Linear
        As for :func:`from_torch`.

    Raises
    ------
    InputError, NotFiniteError
        As for :func:`from_torch`; parameters that are complex or have no values yet; NaN or infinity.
    """
    linears, activations = _read(model)
    net = from_torch(model)
    weights, biases = [], []
    for linear in linears:
        n, m = _size(linear)
        sigma_w, beta = _scales(linear)
        weights.append(_values(linear.weight).T * (np.sqrt(n) / sigma_w))
        biases.append(np.zeros(m) if linear.bias is None else _values(linear.bias) / beta)
    if isinstance(net, MLP):
        return FiniteNetwork(
            weights=tuple(weights),
            biases=tuple(biases),
            activations=tuple(activations),
            sigma_w=net.sigma_w,
            beta=net.beta,
        )
    made = Architecture.of(net, [_size(one)[1] for one in linears[:-1]], _size(linears[0])[0])
    return LayeredNetwork(
        weights=tuple(weights), biases=tuple(biases), activations=tuple(activations), architecture=made
    )


def to_torch(fin: FiniteNetwork) -> Any:
    r"""The same function as a ``torch.nn.Sequential``, with ``weight`` (σ_w/√n) Wᵀ and ``bias`` βb.

    Parameters
    ----------
    fin : FiniteNetwork
        Fully connected, float64 or float32, which the module is too.

    Returns
    -------
    torch.nn.Sequential
        ``Linear`` layers, without ``bias`` where β = 0, and activations: PyTorch's own where it has the function, otherwise
        modules that compute with NumPy on the CPU, with derivatives of any order to autograd and ``torch.func``.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    InputError
        No finite network; layers other than dense ones and nonlinearities, by name.

    Notes
    -----
    The gradient is in ``weight`` and ``bias``, not in W and b: a step of these counts n/σ_w² and 1/β² times one of W and b
    (:mod:`kernelcalc.kernels.parametrisation`).
    """
    if not isinstance(fin, FiniteNetwork):
        raise InputError("a kc.FiniteNetwork", type(fin).__name__, "kc.FiniteNetwork.random(net, widths, n_in)")
    scales = _finite_scales(fin)
    torch = _torch()
    modules: list[Any] = []
    for weight, bias, (scale, beta), act in zip(fin.weights, fin.biases, scales, (*fin.activations, None), strict=True):
        n, m = weight.shape
        linear = torch.nn.utils.skip_init(
            torch.nn.Linear, n, m, bias=beta != 0, dtype=getattr(torch, np.dtype(fin.dtype).name)
        )
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray((scale * weight).T)))
            if beta != 0:
                linear.bias.copy_(torch.from_numpy(beta * bias))
        modules.append(linear)
        if act is not None:
            modules.append(_module(act))
    return torch.nn.Sequential(*modules)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "torch", "a network of PyTorch") from error
    return torch


# Reading


def _leaves(model: Any) -> Iterator[Any]:
    kind = _kind(model)
    if getattr(model, "_forward_hooks", None) or getattr(model, "_forward_pre_hooks", None):
        raise InputError("modules without hooks", f"{kind} with a hook that may change its function")
    if kind == "Sequential":
        for part in model:
            yield from _leaves(part)
    elif kind == "Flatten":
        if (model.start_dim, model.end_dim) != (1, -1):
            raise InputError("Flatten of a whole point", f"start_dim={model.start_dim}, end_dim={model.end_dim}")
    elif kind not in _TRANSPARENT:
        yield model


def _kind(module: Any) -> str:
    """Name of PyTorch's own class; that of a class derived from one too, since it may compute anything."""
    kind = type(module)
    if str(kind.__module__).split(".")[:2] == ["torch", "nn"] or _own(module) is not None:
        return kind.__name__
    raise InputError("torch.nn.Sequential of torch.nn.Linear and activations", f"{kind.__module__}.{kind.__qualname__}")


def _own(module: Any) -> Activation | None:
    """The nonlinearity of a module that :func:`to_torch` has made."""
    found = getattr(module, "kernelcalc_activation", None)
    return found if isinstance(found, Activation) else None


def _read(model: Any) -> tuple[list[Any], list[Activation]]:
    """The L linear modules, and the L - 1 nonlinearities between them, linear where there is none."""
    linears: list[Any] = []
    between: dict[int, Activation] = {}
    for module in _leaves(model):
        if _kind(module) == "Linear":
            if any(module is one or module.weight is one.weight for one in linears):
                raise InputError("layers with weights of their own", f"Linear{_size(module)} used twice")
            linears.append(module)
            continue
        act, place = _nonlinearity(module), len(linears)
        if not linears or place in between:
            where = "before the first Linear" if not linears else "behind another activation"
            raise InputError("activations that each follow a Linear", f"{_kind(module)} {where}")
        between[place] = act
    if not linears:
        raise InputError("at least one torch.nn.Linear", _kind(model))
    if len(linears) in between:
        raise InputError(
            "a Linear at the end",
            f"{between[len(linears)].name} behind it",
            "leave it to the loss, and read the model without it: model[:-1]",
        )
    return linears, [between.get(place, activation("linear")) for place in range(1, len(linears))]


def _nonlinearity(module: Any) -> Activation:
    own = _own(module)
    if own is not None:
        return own
    kind = _kind(module)
    if kind in _REASONS:
        raise InputError("Linear layers and activations", f"{kind}, which {_REASONS[kind]}")
    known = known_function(module)
    if known is None:
        raise InputError("Linear layers and activations", kind)
    return activation(known[0], **known[1])


def _size(linear: Any) -> tuple[int, int]:
    return int(linear.in_features), int(linear.out_features)


def _scales(linear: Any) -> tuple[float, float]:
    found = pytorch_defaults(_size(linear)[0])
    return found["sigma_w"], 0.0 if linear.bias is None else found["beta"]


def _values(parameter: Any) -> AnyArray:
    if parameter.is_complex():
        raise InputError("real parameters", f"dtype {parameter.dtype}")
    if parameter.is_meta:
        raise InputError("parameters with values", "parameters on the device meta")
    return np.array(parameter.detach().cpu().double().numpy())


# Writing


def _finite_scales(fin: FiniteNetwork) -> list[tuple[float, float]]:
    """(σ_w/√n, β) of every layer."""
    if not isinstance(fin, LayeredParameters):
        return [(scale, fin.beta) for scale in fin.scales]
    found: list[tuple[float, float]] = []
    before: type | None = None
    for layer in fin.architecture.root.layers:
        kind = type(layer)
        expected = finite_layers.Nonlinearity if before is finite_layers.Dense else finite_layers.Dense
        if kind is not expected:
            raise InputError(f"Dense and nonlinearities in turn, here {expected.__name__}", kind.__name__)
        if isinstance(layer, finite_layers.Dense):
            found.append((layer.scale, layer.beta))
        before = kind
    return found


def _module(act: Any) -> Any:
    """PyTorch's own module for the function, or one that computes with NumPy."""
    nn = _torch().nn
    if isinstance(act, Activation):
        for make in _natives(nn):
            module = make()
            if as_activation(module).expr == act.expr:
                return module
    return _pointwise()(act)


def _natives(nn: Any) -> Sequence[Callable[[], Any]]:
    # Softplus is left out: PyTorch's is x beyond a threshold, which is no softplus to 1e-12.
    return (
        nn.Tanh,
        nn.ReLU,
        nn.GELU,
        lambda: nn.GELU(approximate="tanh"),
        nn.Sigmoid,
        nn.SiLU,
        nn.Mish,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.LeakyReLU,
        nn.ReLU6,
        nn.Hardtanh,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Softsign,
        nn.LogSigmoid,
    )


@cache
def _pointwise() -> type:
    torch = _torch()

    class Derivative(torch.autograd.Function):  # type: ignore[name-defined]
        """σ^{(k)}, whose derivative is σ^{(k+1)}."""

        @staticmethod
        def forward(z: Any, act: Any, order: int) -> Any:
            function = act.derivative(order) if order else act
            return torch.from_numpy(np.array(function(z.detach().numpy()))).to(z.dtype)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            z, ctx.act, ctx.order = inputs
            ctx.save_for_backward(z)
            ctx.save_for_forward(z)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (z,) = ctx.saved_tensors
            return grad * Derivative.apply(z, ctx.act, ctx.order + 1), None, None

        @staticmethod
        def jvp(ctx: Any, dz: Any, *_: Any) -> Any:
            (z,) = ctx.saved_tensors
            return dz * Derivative.apply(z, ctx.act, ctx.order + 1)

        @staticmethod
        def vmap(info: Any, dims: Any, z: Any, act: Any, order: int) -> Any:
            return Derivative.apply(z, act, order), dims[0]

    class Pointwise(torch.nn.Module):  # type: ignore[name-defined]
        """A nonlinearity of kernelcalc."""

        def __init__(self, act: Any) -> None:
            super().__init__()
            self.kernelcalc_activation = act

        def forward(self, z: Any) -> Any:
            return Derivative.apply(z, self.kernelcalc_activation, 0)

        def extra_repr(self) -> str:
            return str(getattr(self.kernelcalc_activation, "name", self.kernelcalc_activation))

    return Pointwise
