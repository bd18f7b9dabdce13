r"""Learning rates that hold: gradient descent tried on finite networks of the width asked for.

The limit's 2/λ_max(H) is reached only as the width grows, and it speaks of the start only: S adds to λ_max(H), the first steps
may sharpen it, and above 2/λ_max(H) the loss rises until descent has found a flatter place (catapult) or diverges. No bound is
known that holds all of this; a descent of some dozens of steps does.

References
----------
Lewkowycz, Bahri, Dyer, Sohl-Dickstein, Gur-Ari (2020), "The large learning rate phase of deep learning" (catapult).
Hahn, Meeker (1991), "Statistical intervals", 4.6 (one-sided tolerance bounds of a normal distribution).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, random_generator
from kernelcalc.errors import InputError, NotFiniteError, SlowMethodWarning, warn
from kernelcalc.finite.derivatives import Problem
from kernelcalc.results.result import Result, axes
from kernelcalc.studies.validation.sharpness import (
    PARAMETRISATIONS,
    as_finite,
    drawn_networks,
    network_work,
    top_of,
)
from kernelcalc.training.progress import with_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelcalc.arrays import Array
    from kernelcalc.finite.network import FiniteNetwork
    from kernelcalc.kernels.mlp import Sequential
    from kernelcalc.training.losses import Loss

# Networks from which a quantile of all can be told.
LEAST_DESCENTS = 3
# Rates tried, as multiples of 2/λ_max(H) of the network, and how often the range is halved.
_LEAST, _MOST, _TRIED = 0.01, 4.0, 8
# Losses over which the end of a descent is averaged, and beyond how many times the first one it is given up.
_END, _GIVEN_UP = 5, 1e3
# Each time a network does not stand the rate found, this much less is taken.
_BACK = 0.9
# Gradients of one network, about; points times weights times gradients that take ten seconds on one core, and seconds that any
# gradient takes (measured).
_GRADIENTS, _TEN_SECONDS, _OVERHEAD = 300, 2e10, 1e-3


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StableRates(Result):
    """The largest rates at which drawn networks of one width did not diverge, (networks,) for each parametrisation.

    Attributes
    ----------
    width, steps : int
        Of the hidden layers; steps of full-batch descent.
    probability, confidence : float
        Which part of all networks stands :meth:`rate`, and how certain that is.
    ntk, standard, pytorch : ndarray
        Thresholds η, within 3 %.
    held : ndarray, (3,)
        Factors by which :meth:`rate` is below the tolerance bound because a drawn network did not stand that.
    """

    DIMENSIONS = axes(ntk="network", standard="network", pytorch="network", held="parametrisation")

    width: int
    steps: int
    probability: float
    confidence: float
    ntk: Array
    standard: Array
    pytorch: Array
    held: Array

    def coordinates(self) -> dict[str, Any]:
        return {"parametrisation": np.array(PARAMETRISATIONS)}

    def rate(self, parametrisation: str) -> float:
        r"""The rate :math:`e^{m - k s}`, m and s mean and standard deviation of log η over networks.

        k is the factor of the one-sided tolerance bound of a normal distribution.
        """
        bound = tolerance_bound(getattr(self, parametrisation), self.probability, self.confidence)
        return bound * float(self.held[PARAMETRISATIONS.index(parametrisation)])


def stable_rates(
    net: Sequential,
    points: Array,
    targets: Array,
    loss: Loss,
    width: int,
    *,
    networks: int = 5,
    steps: int = 50,
    probability: float = 0.95,
    confidence: float = 0.9,
    rng: Any = 0,
    progress: bool = False,
) -> StableRates:
    """Rates at which full-batch gradient descent from a random start does not diverge, with a stated probability.

    Of each drawn network the largest rate is found, by halving a range of rates around 2/λ_max(H), at which the loss stays
    finite for ``steps`` steps and is at their end below its start. What happens later is not tried.

    Parameters
    ----------
    net, points, targets, loss, width
        As for :func:`~kernelcalc.studies.validation.sharpness.measure_top`.
    networks : int
        Networks of each parametrisation, at least 3.
    steps : int
        Steps of each descent, at least 10.
    probability, confidence : float
        Part of all networks that stand the rate, and the confidence in that, in (0, 1).
    rng : seed or Generator
        Of the networks.
    progress : bool
        Show a bar (needs tqdm).

    Raises
    ------
    InputError
        Arguments outside the above; a network that does not descend at any rate tried.
    UnsupportedError
        A composition other than ``Dense, Nonlinearity, ..., Dense``.
    """
    check_count("networks (descents)", networks, LEAST_DESCENTS)
    check_count("steps", steps, 2 * _END)
    for name, value in (("probability", probability), ("confidence", confidence)):
        if not 0 < value < 1:
            raise InputError(f"{name} between 0 and 1", f"{name}={value!r}")
    if not progress and networks * _seconds(net, points, width) > 15:
        warn(
            f"descents of {networks} networks of width {width} on {len(points)} points take some "
            f"{networks * _seconds(net, points, width):.0f} s; take fewer points, or progress=True",
            SlowMethodWarning,
        )
    generator, own, single = random_generator(rng), as_finite(loss), points.astype(np.float32)
    drawn: dict[str, list[tuple[Descent, float]]] = {name: [] for name in PARAMETRISATIONS}
    for _ in with_bar(range(networks), "descents", progress):
        for name, network, scale in drawn_networks(net, points.shape[1], targets.shape[1], width, generator):
            descent = Descent(network=network, problem=Problem.of(network, single, targets, own), scale=scale)
            drawn[name].append((descent, descent.threshold(2 / top_of(network, scale, points, targets, own), steps)))
    found = {name: np.array([eta for _, eta in pairs]) for name, pairs in drawn.items()}
    held = []
    for name, pairs in drawn.items():
        rate, factor = tolerance_bound(found[name], probability, confidence), 1.0
        # thresholds need not be sharp: what is told must hold for every network seen
        while any(one.diverges(rate * factor, steps) for one, _ in pairs):
            factor *= _BACK
        held.append(factor)
    return StableRates(
        width=width,
        steps=steps,
        probability=float(probability),
        confidence=float(confidence),
        held=np.array(held),
        **found,
    )


def tolerance_bound(values: Array, probability: float, confidence: float) -> float:
    """Lower one-sided tolerance bound of log-normal values.

    Examples
    --------
    The factor for ten values, 95 % and 90 % confidence is 2.568 (Hahn, Meeker, Table A.12).

    >>> values = np.exp(np.linspace(-1, 1, 10))
    >>> spread = np.log(values).std(ddof=1)
    >>> round(float(-np.log(tolerance_bound(values, 0.95, 0.9)) / spread), 3)
    2.568
    """
    from scipy.stats import nct, norm

    n, logs = len(values), np.log(values)
    factor = nct.ppf(confidence, n - 1, norm.ppf(probability) * math.sqrt(n)) / math.sqrt(n)
    # thresholds are known to the width of the last range only
    known = math.log(_MOST / _LEAST) / 2**_TRIED
    return float(np.exp(logs.mean() - factor * max(float(logs.std(ddof=1)), known / math.sqrt(12))))


def _seconds(net: Sequential, points: Array, width: int) -> float:
    one = 10 * network_work(net, points, width) / _TEN_SECONDS + _OVERHEAD
    return len(PARAMETRISATIONS) * _GRADIENTS * one


@dataclass(frozen=True, kw_only=True, eq=False)
class Descent:
    """Full-batch gradient descent on (W, b)/scale from a network's parameters."""

    network: FiniteNetwork
    problem: Problem
    scale: Array

    def losses(self, rate: float, steps: int) -> Iterator[float]:
        """The loss at the start and after every step, until it is given up."""
        network, steps_of = self.network, (rate * self.scale**2).astype(np.float32)
        first = self.problem.value(network)
        yield first
        for _ in range(steps):
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    moved = network.parameters - steps_of * self.problem.gradient(network).astype(np.float32)
                    network = network.with_parameters(moved)
                    value = self.problem.value(network)
            except NotFiniteError:
                value = math.inf
            yield value
            if not value <= _GIVEN_UP * first:
                return

    def diverges(self, rate: float, steps: int) -> bool:
        """Whether the loss leaves all bounds, or ends above its start."""
        found = list(self.losses(rate, steps))
        return len(found) <= steps or not np.isfinite(found[-1]) or float(np.mean(found[-_END:])) > found[0]

    def threshold(self, scale: float, steps: int) -> float:
        """The largest rate found that does not diverge, by halving in the logarithm."""
        low, high = math.log(_LEAST), math.log(_MOST)
        if self.diverges(scale * _LEAST, steps):
            raise InputError(
                f"a network that descends at {_LEAST} of 2/λ_max(H)",
                "one that diverges",
                "scale points or targets down",
            )
        for _ in range(_TRIED):
            middle = (low + high) / 2
            low, high = (low, middle) if self.diverges(scale * math.exp(middle), steps) else (middle, high)
        return scale * math.exp(low)
