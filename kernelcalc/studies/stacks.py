r"""Blocks of layers repeated without end: what becomes of the variance q and of a small difference between two inputs.

A block takes (q, c), the variance of two points of equal norm and their covariance, to (q', c'). With :math:`D = ∂c'/∂c` at
c = q a small 1 − ρ is multiplied by :math:`χ = D q/q'`. A plain block comes to a fixed point of q, and 1 − ρ is exponential in
depth. In a residual stack q grows. Where it grows like a power, q'/q → 1 and χ → 1: with log q as time,

.. math::
    \frac{dρ}{d\log q} = R(ρ) - ρ, \qquad R(ρ) = \frac{c' - c}{q' - q}, \qquad
    1 - ρ_ℓ \sim ℓ^{\,p\,(R'(1) - 1)} \quad\text{for } q_ℓ \sim ℓ^{\,p},

a power of depth instead of an exponential. A LayerNorm before every branch makes R the map of the plain network at q = 1:
ℓ such blocks do what log ℓ plain layers do.

References
----------
Yang, Schoenholz (NeurIPS 2017), "Mean field residual networks: on the edge of chaos": tanh has ρ → ρ* < 1 as a power of depth,
relu 1 − ρ ~ ℓ⁻².
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq

from kernelcalc.activations.activation import Activation
from kernelcalc.arguments import check_number
from kernelcalc.arrays import plain
from kernelcalc.errors import DivergentExpectationError, InputError
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.kernels.fold import ends_a_layer
from kernelcalc.kernels.layers import Dense, Layer, LayerNorm, Nonlinearity, Residual, Scale, Serial, Sum, as_layer
from kernelcalc.kernels.mlp import Sequential
from kernelcalc.kernels.network import positive_integer
from kernelcalc.output.phase import plot_stack
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

# Variances where the limit of a growing one is read; what is left of it falls like 1/√q.
_FAR = (1e12, 1e14)
# Hence how exactly limits read there are known.
_READ = 1e-6
# Where a fixed point of the variance is looked for, and what stands for q = 0.
_SEARCHED = np.geomspace(1e-8, 1e8, 129)
# Where the next order of ρ is read if χ = 1: between the rounding of ε² and the order after it.
_NEAR = (1e-4, 1e-6)


@dataclass(frozen=True, kw_only=True)
class StackPhase(Result):
    """A block repeated without end.

    Attributes
    ----------
    growth : str
        "bounded" (q → q*), "power" (q ~ ℓ^power) or "geometric" (q ~ factor^ℓ).
    q : float
        The variance reached from q = 1, infinite if it grows.
    power, factor : float
        As above; 0 and 1 where they do not apply.
    chi : float
        Growth of a small 1 − ρ a block, in the limit; 1 where q grows like a power.
    exponent : float
        Where χ = 1: 1 − ρ ~ ℓ^exponent for small 1 − ρ; infinite if faster than any power. NaN where χ ≠ 1.
    correlation : float
        Where ρ goes: 1 in order and at criticality, less in chaos.
    correlation_rate : float
        In chaos, |ρ − correlation| falls like rate^ℓ, or like ℓ^rate where q grows like a power; NaN in order.
    """

    growth: str
    q: float
    power: float
    factor: float
    chi: float
    exponent: float
    correlation: float
    correlation_rate: float

    @property
    def phase(self) -> str:
        """One of "order", "critical", "chaos": whether small differences shrink, exponentially or as a power, or grow."""
        way = self.exponent if self.growth == "power" else self.chi - 1
        if abs(way) <= _READ:
            return "critical"
        return "order" if way < 0 else "chaos"

    @property
    def depth_scale(self) -> float:
        """Blocks 1/|log χ| over which a small difference changes by e; infinite where it goes like a power of depth."""
        if self.chi <= 0:
            return 0.0
        return math.inf if abs(self.chi - 1) <= _READ else 1 / abs(math.log(self.chi))


@watched("activations with a closed form are faster")
def stack_phase(*block: Layer | Activation | str) -> StackPhase:
    """Order or chaos of a block of layers that is repeated without end.

    Parameters
    ----------
    *block : Layer, Activation or str
        Ends in fresh weights: ``"tanh", Dense()``, or ``Residual(LayerNorm(), "tanh", Dense())``.

    Raises
    ------
    InputError
        A block that does not end in fresh weights, layers with positions, a variance without bound in a few blocks.

    Notes
    -----
    Where q grows, limits are read at q = 1e14: to about six digits, χ = 1 within them.

    References
    ----------
    Yang, Schoenholz (NeurIPS 2017); Schoenholz, Gilmer, Ganguli, Sohl-Dickstein (ICLR 2017) for plain blocks.

    Examples
    --------
    >>> from kernelcalc.kernels.layers import Dense, LayerNorm, Residual
    >>> stack = stack_phase(Residual(LayerNorm(), "erf", Dense(1.0, 0.1)))
    >>> stack.growth, stack.chi, stack.phase, round(stack.exponent, 4)
    ('power', 1.0, 'chaos', 0.1999)
    >>> stack_phase(Residual("relu", Dense(1.0, 0.0))).exponent
    -2.0
    """
    layers = checked_block(block)
    q, grows = _variance(layers)
    if not grows:
        return _settled(layers, q)
    (near_q, near), (far_q, far) = ((at, _change(layers, at, at, slope=False)[0]) for at in _FAR)
    order = math.log(far / near) / math.log(far_q / near_q) if near > 0 else math.nan
    if not math.isfinite(order) or order > 1 + _READ:
        raise _too_fast(layers)
    if order < 1 - 1e-3:
        return _growing(layers, 1 / (1 - round(order, 5)))
    return _settled(layers, far_q, factor=1 + far / far_q)


def checked_block(block: Sequence[Layer | Activation | str]) -> tuple[Layer, ...]:
    """The layers of a block.

    Raises
    ------
    InputError
        None, without fresh weights at the end, or with layers of positions.
    """
    layers = tuple(map(as_layer, block))
    if not layers or not (layers[-1].fresh or isinstance(layers[-1], Residual)):
        raise InputError(
            "a block that ends in fresh weights", f"{Serial(*layers)!r}", "end it with Dense() or Residual(...)"
        )
    _check_known(layers)
    return layers


def _check_known(layers: Iterable[Layer]) -> None:
    for layer in layers:
        if isinstance(layer, Serial):
            _check_known(layer.layers)
        elif not isinstance(layer, Dense | Nonlinearity | LayerNorm | Scale):
            raise InputError("a block without positions", f"{layer!r}", "Dense, LayerNorm, Residual and nonlinearities")


def _through(layer: Layer, q: float, c: float, slope: bool) -> tuple[float, float, float]:
    """(q', c', ∂c'/∂c) behind a layer; the third is of no use unless asked for."""
    if isinstance(layer, Sum):
        parts = [
            _serial(branch.layers if isinstance(branch, Serial) else (branch,), q, c, slope) for branch in layer.layers
        ]
        return sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)
    if isinstance(layer, Serial):
        return _serial(layer.layers, q, c, slope)
    if isinstance(layer, Dense):
        weight, bias = layer.sigma_w**2, layer.beta**2
        return weight * q + bias, weight * c + bias, weight
    if isinstance(layer, Scale):
        return layer.factor**2 * q, layer.factor**2 * c, layer.factor**2
    if isinstance(layer, LayerNorm):
        return 1.0, c / q, 1 / q
    assert isinstance(layer, Nonlinearity)
    act = layer.activation
    return _mean(act, q, q), _mean(act, q, c), _mean(act.derivative(1), q, c) if slope else 0.0


@lru_cache(maxsize=256)
def _mean(function: Activation, q: float, c: float) -> float:
    return float(gaussian_expectation(function, function, q, q, c))


def _serial(layers: Sequence[Layer], q: float, c: float, slope: bool) -> tuple[float, float, float]:
    growth = 1.0
    for layer in layers:
        q, c, own = _through(layer, q, c, slope)
        growth *= own
    return q, c, growth


def _change(layers: Sequence[Layer], q: float, c: float, slope: bool = True) -> tuple[float, float, float]:
    """(q' − q, c' − c, ∂c'/∂c − 1) of a block: what residual branches add, without the rounding of a large stream."""
    dq = dc = growth = 0.0
    for layer in layers:
        if isinstance(layer, Residual):
            more_q, more_c, own = _through(layer.layers[1], q + dq, c + dc, slope)
            dq, dc, growth = dq + more_q, dc + more_c, growth + (1 + growth) * own
        else:
            new_q, new_c, own = _through(layer, q + dq, c + dc, slope)
            dq, dc, growth = new_q - q, new_c - c, (1 + growth) * own - 1
    return dq, dc, growth


def _variance(layers: Sequence[Layer]) -> tuple[float, bool]:
    """Where the variance goes from q = 1, and whether that is without bound."""

    def gap(q: float) -> float:
        return _change(layers, q, q, slope=False)[0]

    at, start = gap(1.0), int(np.argmin(np.abs(_SEARCHED - 1)))
    # a map linear in q keeps every q: relu with σ_w = √2
    if abs(at) <= 1e-13:
        return 1.0, False
    way = _SEARCHED[start + 1 :] if at > 0 else _SEARCHED[start - 1 :: -1]
    last = 1.0
    for q in map(float, way):
        try:
            now = gap(q)
        except DivergentExpectationError as error:
            raise _too_fast(layers) from error
        if (now > 0) != (at > 0):
            low, high = sorted((last, q))
            return float(brentq(gap, low, high, xtol=1e-15 * low, rtol=1e-13)), False
        last = q
    return (math.inf, True) if at > 0 else (float(_SEARCHED[0]), False)


def _too_fast(layers: Sequence[Layer]) -> InputError:
    return InputError(
        "a block whose variance grows at most geometrically",
        f"{Serial(*layers)!r}",
        "a smaller sigma_w, or LayerNorm before it",
    )


def _growing(layers: Sequence[Layer], power: float) -> StackPhase:
    """q ~ ℓ^power: everything follows from R(ρ) at a large q."""

    def slope(rho: float, q: float) -> float:
        dq, _, growth = _change(layers, q, rho * q)
        return growth * q / dq - 1

    near, far = (slope(1.0, q) for q in _FAR)
    exponent = math.copysign(math.inf, far) if abs(far) > 2 * abs(near) and abs(far) > 1 else power * far
    rho = _stable_correlation(layers, _FAR[1]) if exponent > _READ else 1.0
    return StackPhase(
        growth="power",
        q=math.inf,
        power=power,
        factor=1.0,
        chi=1.0,
        exponent=exponent,
        correlation=rho,
        correlation_rate=power * slope(rho, _FAR[1]) if rho < 1 else math.nan,
    )


def _settled(layers: Sequence[Layer], q: float, factor: float | None = None) -> StackPhase:
    """At a fixed point q, or where q grows by a factor: ρ is iterated by one map."""
    dq, _, growth = _change(layers, q, q)
    chi = (1 + growth) / (1 + dq / q)
    if abs(chi - 1) <= _READ:
        chi = 1.0
    exponent, rho, rate = math.nan, 1.0, math.nan
    if chi == 1.0:
        left = [(dq * (1 - e) - _change(layers, q, (1 - e) * q)[1]) / (q + dq) for e in _NEAR]
        if left[0] < 0 and left[1] < 0:
            order = math.log(left[0] / left[1]) / math.log(_NEAR[0] / _NEAR[1])
            exponent = round(-1 / (order - 1), 3) if order > 1 + _READ else math.nan
    elif chi > 1:
        rho = _stable_correlation(layers, q)
        rate = (1 + _change(layers, q, rho * q)[2]) / (1 + dq / q)
    return StackPhase(
        growth="bounded" if factor is None else "geometric",
        q=q if factor is None else math.inf,
        power=0.0,
        factor=1.0 if factor is None else factor,
        chi=chi,
        exponent=exponent,
        correlation=rho,
        correlation_rate=rate,
    )


def _stable_correlation(layers: Sequence[Layer], q: float) -> float:
    """The fixed point of ρ next below the unstable one at 1."""

    def gap(rho: float) -> float:
        dq, dc, _ = _change(layers, q, rho * q, slope=False)
        return dc - rho * dq

    last = 1 - 1e-6
    for rho in (*(1 - np.geomspace(1e-4, 0.1, 7)), *np.linspace(0.8, -1, 19)):
        if gap(float(rho)) >= 0:
            return float(brentq(gap, float(rho), last, xtol=1e-13))
        last = float(rho)
    return -1.0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StackProfile(Result):
    """Variance, χ and correlation of two points behind so many blocks.

    Attributes
    ----------
    depth : ndarray, (D,)
        Numbers of blocks.
    q, chi, correlation : ndarray, (D,)
        χ is that of the next block, at this q.
    """

    DIMENSIONS = axes(q="depth", chi="depth", correlation="depth")

    depth: NDArray[np.intp]
    q: Array
    chi: Array
    correlation: Array

    def coordinates(self) -> dict[str, Any]:
        return {"depth": self.depth}

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """1 − ρ against depth; see :func:`kernelcalc.output.phase.plot_stack`. Returns the axes."""
        return plot_stack(self, ax, **options)


@watched("fewer depths and activations with a closed form are faster")
def stack_profile(
    *block: Layer | Activation | str, depths: Sequence[int], q: float = 1.0, correlation: float = 0.5
) -> StackProfile:
    """Two points of equal variance q before the first block, and what so many blocks make of them.

    Parameters
    ----------
    *block : Layer, Activation or str
        As of :func:`stack_phase`.
    depths : sequence of int
        Numbers of blocks, at least 1.
    q, correlation : float
        q > 0 and −1 ≤ ρ ≤ 1.

    Raises
    ------
    InputError
        Arguments outside the above.

    Examples
    --------
    >>> from kernelcalc.kernels.layers import Dense, LayerNorm, Residual
    >>> stack_profile(Residual(LayerNorm(), "erf", Dense(1.0, 0.1)), depths=[1, 100]).q.round(4)
    array([ 1.4746, 48.4559])
    """
    layers = checked_block(block)
    counts = [positive_integer("number of blocks", depth) for depth in np.ravel(plain(depths, "depths")).tolist()]
    if not counts:
        raise InputError("at least one depth", "none")
    q, correlation = check_number("q", q), check_number("correlation", correlation, -1.0)
    if q == 0 or not -1 <= correlation <= 1:
        raise InputError("q > 0 and a correlation from -1 to 1", f"q={q!r}, correlation={correlation!r}")
    found, c, last = {}, correlation * q, max(counts)
    for depth in range(1, last + 1):
        dq, dc, _ = _change(layers, q, c, slope=False)
        q, c = q + dq, c + dc
        if depth in counts:
            dq, _, growth = _change(layers, q, q)
            found[depth] = q, (1 + growth) / (1 + dq / q), c / q
    columns = np.array([found[depth] for depth in counts])
    return StackProfile(depth=np.array(counts), q=columns[:, 0], chi=columns[:, 1], correlation=columns[:, 2])


def repeated_block(net: Sequential) -> tuple[tuple[Layer, ...], int]:
    """The block of layers that a network repeats between its first and its last weights, and how often.

    Examples
    --------
    >>> from kernelcalc.kernels.mlp import MLP
    >>> repeated_block(MLP("erf", depth=4))
    ((Nonlinearity('erf'), Dense(sigma_w=1, beta=0.1)), 3)
    """
    rest, best = net.layers[1:], (net.layers[1:], 1)
    for tail in range(min(3, len(rest))):
        body = rest[: len(rest) - tail]
        for size in range(1, len(body) + 1):
            count, odd = divmod(len(body), size)
            if not odd and body == body[:size] * count and ends_a_layer(body[-1]):
                if (count, -size) > (best[1], -len(best[0])):
                    best = body[:size], count
                break
    return best
