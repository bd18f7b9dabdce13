r"""What a network is made of, with every formula of the theory once.

A formula takes the kernels ``k`` at pairs (x, x'), the kernels ``row`` at (x, x) and ``column`` at (x', x'), and what
the number type gives: the expectations :math:`E_{ij} = E[σ^{(i)}(a) σ^{(j)}(b)]`, (a, b) ~ N(0, Σ), of a nonlinearity,
the scales of a dense layer. It uses nothing but ``+``, ``-``, ``*`` and ``/``, so the same line runs on float64 arrays,
mpmath numbers, balls and SymPy symbols. A kernel's transpose is the same formula with x and x' exchanged. With
:math:`κ_x = Θ_{xx} + Φ_{xx}`, products entry by entry and Φᵀ(x, x') = Φ(x', x).

To add a layer, write a class here with a formula for each kernel that it defines.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 (Σ, Θ) and Appendix C, Lemmas 3 to 5 (Φ, Λ, Υ, Ξ), with the index of Σ̇
and Σ̈ in Υ as in the proof of Lemma 4. The layer step there is a :class:`Nonlinearity` followed by a :class:`Dense`;
:class:`Sum` and :class:`LayerNorm` are derived in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.frameworks import written_instead
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import InputError
from kernelcalc.kernels.layer import UNITY, Expectations, Layer, Order, Scales, checked_scale
from kernelcalc.kernels.positions import AveragePool, Conv, Flatten, GlobalAverage
from kernelcalc.kernels.texts import number, typed

__all__ = [
    "UNITY",
    "AveragePool",
    "Conv",
    "Dense",
    "Flatten",
    "GlobalAverage",
    "Layer",
    "LayerNorm",
    "Nonlinearity",
    "Order",
    "Residual",
    "Scale",
    "Scales",
    "Serial",
    "Sum",
    "as_layer",
]


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    r"""Fresh weights: :math:`z = \frac{σ_w}{\sqrt n} W^T α + β b`, all W and b independent N(0, 1).

    .. math::
        Σ' &= σ_w^2 Σ + β^2, \qquad Θ' = σ_w^2 (Θ + r_w Σ) + r_b β^2, \qquad Φ' = σ_w^2 Φ, \\
        Λ' &= σ_w^2 (Λ + r_w Φ), \qquad Υ' = σ_w^2 (Υ + 2 r_w Θ), \qquad Ξ' = σ_w^2 Ξ

    Parameters
    ----------
    sigma_w, beta : float
        σ_w > 0 and β ≥ 0.
    weight_rate : float
        r_w: how fast gradient descent moves W, relative to the parametrisation above (1). A framework that trains
        w = (σ_w/√n) W itself has n/σ_w².
    bias_gradient : float, optional
        r_b β², the squared derivative in the bias times its rate: β² by default, 1 where βb itself is trained.

    Raises
    ------
    InputError
        A scale or rate that is not finite, not positive (σ_w) or negative.
    """

    sigma_w: float = 1.0
    beta: float = 0.1
    weight_rate: float = 1.0
    bias_gradient: float | None = None

    fresh: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, zero in (("sigma_w", False), ("beta", True), ("weight_rate", True)):
            object.__setattr__(self, name, checked_scale(name, getattr(self, name), zero=zero))

    def __repr__(self) -> str:
        rates = "" if self.weight_rate == 1 else f", weight_rate={number(self.weight_rate)}"
        rates += "" if self.bias_gradient is None else f", bias_gradient={number(self.bias_gradient)}"
        return f"Dense(sigma_w={number(self.sigma_w)}, beta={number(self.beta)}{rates})"

    def sigma(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return s.weight * k.sigma + s.bias

    def theta(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return s.weight * (k.theta + s.weight_rate * k.sigma) + s.bias_gradient

    def phi(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return s.weight * k.phi

    def lam(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return s.weight * (k.lam + s.weight_rate * k.phi)

    def upsilon(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return s.weight * (k.upsilon + 2 * s.weight_rate * k.theta)

    def xi(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return s.weight * k.xi

    def sigma_dot(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return k.sigma_dot

    def sigma_ddot(self, k: Any, row: Any, column: Any, s: Scales) -> Any:
        return k.sigma_ddot


@dataclass(frozen=True, repr=False)
class Nonlinearity(Layer):
    r"""α = σ(z), z Gaussian with covariance Σ.

    .. math::
        Σ' &= E_{00}, \qquad Θ' = Θ E_{11}, \qquad Φ' = Φ E_{11} + κ_x E_{20}, \\
        Λ' &= Λ E_{11} + Θ (Φ E_{22} + κ_x E_{31}), \qquad Υ' = Υ E_{11} + Θ^2 E_{22}, \\
        Ξ' &= Ξ E_{11} + (Φ Φ^T + κ_x κ_{x'}) E_{22} + κ_{x'} Φ E_{13} + κ_x Φ^T E_{31}

    Parameters
    ----------
    activation : Activation or str
        σ, or its name.

    Raises
    ------
    InputError, UnknownNameError, ExpressionError
        What is no activation: see :func:`~kernelcalc.activations.names.as_activation`.
    """

    activation: Activation

    def __post_init__(self) -> None:
        act = as_activation(self.activation)
        if not act.form.known:
            examples = written_instead(act.name) or "for example 'tanh' or 'x*erf(x)', or as a SymPy expression"
            raise InputError(
                "a nonlinearity with an expression, whose derivatives and kinks are known",
                f"the function {act.name}",
                f"write it as a text, {examples}",
            )
        object.__setattr__(self, "activation", act)

    def __repr__(self) -> str:
        return f"Nonlinearity({typed(self.activation)})"

    def activations(self) -> Iterator[Activation]:
        yield self.activation

    def sigma(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return e[0, 0]

    def theta(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return k.theta * e[1, 1]

    def phi(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return k.phi * e[1, 1] + row.kappa * e[2, 0]

    def lam(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return k.lam * e[1, 1] + k.theta * (k.phi * e[2, 2] + row.kappa * e[3, 1])

    def upsilon(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return k.upsilon * e[1, 1] + k.theta * k.theta * e[2, 2]

    def xi(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return (
            k.xi * e[1, 1]
            + (k.phi * k.phi_t + row.kappa * column.kappa) * e[2, 2]
            + column.kappa * k.phi * e[1, 3]
            + row.kappa * k.phi_t * e[3, 1]
        )

    def sigma_dot(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return e[1, 1]

    def sigma_ddot(self, k: Any, row: Any, column: Any, e: Expectations) -> Any:
        return e[2, 2]


@dataclass(frozen=True)
class LayerNorm(Layer):
    r"""Gaussian pre-activations divided by their norm over the layer's units (no affine part; their mean vanishes in the
    limit).

    With :math:`r = (Σ_{xx} Σ_{x'x'})^{-1/2}` and :math:`k_x = κ_x/Σ_{xx}`, the corrections come from the trace of the
    Hessian of the variance:

    .. math::
        Σ' &= rΣ, \qquad Θ' = rΘ, \qquad Φ' = r(Φ - k_xΣ), \qquad Λ' = r(Λ - k_xΘ), \qquad Υ' = rΥ, \\
        Ξ' &= r(Ξ - k_{x'}Φ - k_xΦ^T + k_x k_{x'} Σ)
    """

    @staticmethod
    def _ratio(row: Any, column: Any, root: Callable[[Any], Any]) -> Any:
        return 1 / (root(row.sigma) * root(column.sigma))

    def sigma(self, k: Any, row: Any, column: Any, root: Callable[[Any], Any]) -> Any:
        return k.sigma * self._ratio(row, column, root)

    def theta(self, k: Any, row: Any, column: Any, root: Callable[[Any], Any]) -> Any:
        return k.theta * self._ratio(row, column, root)

    def phi(self, k: Any, row: Any, column: Any, root: Callable[[Any], Any]) -> Any:
        return (k.phi - row.kappa / row.sigma * k.sigma) * self._ratio(row, column, root)

    def lam(self, k: Any, row: Any, column: Any, root: Callable[[Any], Any]) -> Any:
        return (k.lam - row.kappa / row.sigma * k.theta) * self._ratio(row, column, root)

    def upsilon(self, k: Any, row: Any, column: Any, root: Callable[[Any], Any]) -> Any:
        return k.upsilon * self._ratio(row, column, root)

    def xi(self, k: Any, row: Any, column: Any, root: Callable[[Any], Any]) -> Any:
        left, right = row.kappa / row.sigma, column.kappa / column.sigma
        return (k.xi - right * k.phi - left * k.phi_t + left * right * k.sigma) * self._ratio(row, column, root)


@dataclass(frozen=True)
class Scale(Layer):
    """A constant factor: all six kernels of ``factor`` · α are ``factor``² times those of α."""

    factor: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _factor(self.factor))

    def formula(self, name: str) -> Callable[[Any, Any, Any, Any], Any]:
        return lambda k, row, column, square: square * getattr(k, name)


class Serial(Layer):
    """One layer after the other; without any, the identity."""

    def __init__(self, *layers: Layer | Activation | str) -> None:
        self.layers: tuple[Layer, ...] = tuple(map(as_layer, layers))

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        """Whether the last layer that counts is one of fresh weights; a factor behind it changes nothing."""
        ends = [layer for layer in self.layers if not isinstance(layer, Scale)]
        return bool(ends) and ends[-1].fresh

    def activations(self) -> Iterator[Activation]:
        for layer in self.layers:
            yield from layer.activations()

    def stored(self) -> dict[str, Any]:
        """What a file keeps."""
        return {"layers": self.layers}

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        """The layer that a file has kept."""
        return cls(*fields["layers"])

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Serial) and self.layers == other.layers

    def __hash__(self) -> int:
        return hash((type(self), self.layers))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"


class Sum(Serial):
    """Branches side by side whose outputs add; their kernels add if their last weights are independent.

    Raises
    ------
    InputError
        More than one branch that does not end in fresh weights: their outputs would be correlated.
    """

    def __init__(self, *branches: Layer | Activation | str) -> None:
        super().__init__(*branches)
        bare = [branch for branch in self.layers if not branch.fresh]
        if len(branches) < 2 or len(bare) > 1:
            raise InputError(
                "two or more branches, all but one of which end in fresh weights",
                f"{len(branches)} branches, of which {len(bare)} do not",
                "end the branch with Dense()",
            )

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        """Whether every branch ends in fresh weights."""
        return all(branch.fresh for branch in self.layers)


class Residual(Sum):
    r"""Stream + ``scale`` · branch, the branch ending in fresh weights: all six kernels of the two add.

    Parameters
    ----------
    *branch : Layer, Activation or str
        Layers of the branch, the last of them ``Dense``.
    scale : float
        Factor of the branch (1/√depth is common): its kernels count ``scale``² times.
    """

    branch: Serial
    scale: float

    def __init__(self, *branch: Layer | Activation | str, scale: float = 1.0) -> None:
        self.branch, self.scale = Serial(*branch), _factor(scale)
        super().__init__(Serial(), Serial(*self.branch.layers, *(() if self.scale == 1 else (Scale(self.scale),))))

    def stored(self) -> dict[str, Any]:
        return {"branch": self.branch.layers, "scale": self.scale}

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        return cls(*fields["branch"], scale=fields["scale"])

    def __repr__(self) -> str:
        factor = "" if self.scale == 1 else f", scale={number(self.scale)}"
        return f"Residual({', '.join(map(repr, self.branch.layers))}{factor})"


def dense_layers(layers: Iterable[Layer]) -> list[Dense]:
    """All layers of fresh weights, those of branches in their order.

    Examples
    --------
    >>> len(dense_layers([Dense(), Residual("tanh", Dense()), Dense()]))
    3
    """
    found: list[Dense] = []
    for layer in layers:
        if isinstance(layer, Dense):
            found.append(layer)
        elif isinstance(layer, Serial):
            found += dense_layers(layer.layers)
    return found


def as_layer(layer: Layer | Activation | str) -> Layer:
    """A layer, where an activation or its name stands for its nonlinearity.

    Raises
    ------
    InputError, UnknownNameError, ExpressionError
        Neither a layer nor an activation.
    """
    if isinstance(layer, Activation | str):
        return Nonlinearity(as_activation(layer))
    if not isinstance(layer, Layer):
        raise InputError("layers such as Dense(), Residual('tanh', Dense()), or a nonlinearity", repr(layer))
    return layer


def _factor(value: Any) -> float:
    """A finite factor of either sign; its sign changes no kernel."""
    checked_scale("factor", abs(value) if isinstance(value, Real) else value, zero=True)
    return float(value)
