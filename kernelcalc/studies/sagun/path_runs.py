"""Runs of GD and SGD for the experiment path: solutions, the line between two of them, spectra where they end.

What is measured; :mod:`kernelcalc.studies.sagun.path` tabulates and draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.spectrum import eigenvalues, extreme_eigenvalues
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.task import Task, descend, smallest

# Points on the line, a quarter beyond either end.
LINE = np.linspace(-0.25, 1.25, 31)
# Parameters up to which the edges are those of the dense matrix; eigenvalues at either edge.
DENSE_EDGES, EDGE = 800, 30
# Networks of each width for the approach to the limit.
TRIALS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run of descent: networks and limit after the same steps.

    Attributes
    ----------
    steps : tuple of int
        When the networks are taken, from 0 on.
    networks : list of FiniteNetwork
    outputs : list of (N, n_out) arrays
        Of the limit.
    """

    steps: tuple[int, ...]
    networks: list[FiniteNetwork]
    outputs: list[AnyArray]

    @classmethod
    def of(
        cls,
        limit: Limit,
        start: FiniteNetwork,
        y: AnyArray,
        size: float,
        at: Sequence[int],
        batch: int | None,
        rng: Any,
    ) -> Run:
        """From a network and the limit's outputs, with the same batches."""
        networks = descend(limit.task, start, size, at[-1], at=at, batch=batch, rng=rng)
        outputs = limit.descend(y, size, at[-1], at=at, batch=batch, rng=rng)
        return cls(steps=tuple(at), networks=networks, outputs=outputs)

    def after(self, step: int) -> tuple[FiniteNetwork, AnyArray]:
        """Network and outputs of the limit."""
        index = self.steps.index(step)
        return self.networks[index], self.outputs[index]

    @property
    def end(self) -> tuple[FiniteNetwork, AnyArray]:
        """The last of them."""
        return self.after(self.steps[-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """A network on its way or at its end, beside the limit.

    Attributes
    ----------
    losses : (float, float)
        C of network and limit.
    test : (float, float)
        C and accuracy on points not trained on.
    accuracy, gradient : float
        Of the points trained on; ‖∇C‖.
    """

    losses: tuple[float, float]
    test: tuple[float, float]
    accuracy: float
    gradient: float

    @classmethod
    def of(cls, limit: Limit, test: Task, network: FiniteNetwork, y: AnyArray) -> Solution:
        """A network, and the limit's outputs after the same steps."""
        task = limit.task
        return cls(
            losses=(task.loss_of(network), limit.loss(y)),
            test=(test.loss_of(network), accuracy(network, test)),
            accuracy=accuracy(network, task),
            gradient=task.gradient_norm(network),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """The straight line between two networks.

    Attributes
    ----------
    pair, step
        Which two, and after how many steps.
    ends : (Solution, Solution)
    profile, expected, correct : arrays
        Loss of networks and limit at :data:`LINE`, and accuracy on points not trained on.
    tops : (float, float, float, float)
        λ_max(H) at either end, and in the limit.
    distance : float
        Of the parameters.
    """

    pair: str
    step: int
    ends: tuple[Solution, Solution]
    profile: AnyArray
    expected: AnyArray
    correct: AnyArray
    tops: tuple[float, ...]
    distance: float

    @classmethod
    def of(
        cls,
        pair: str,
        step: int,
        limit: Limit,
        test: Task,
        left: tuple[FiniteNetwork, AnyArray],
        right: tuple[FiniteNetwork, AnyArray],
        joined: bool,
    ) -> Line:
        """Between two networks with the limit's outputs; only ``joined`` ones, of one start, have a limit between them."""
        (a, y_a), (b, y_b), task = left, right, limit.task
        between = [a.with_parameters((1 - s) * a.parameters + s * b.parameters) for s in LINE]
        return cls(
            pair=pair,
            step=step,
            ends=(Solution.of(limit, test, a, y_a), Solution.of(limit, test, b, y_b)),
            profile=np.array([task.loss_of(network) for network in between]),
            expected=np.array([limit.loss((1 - s) * y_a + s * y_b) if joined else np.nan for s in LINE]),
            correct=np.array([accuracy(network, test) for network in between]),
            tops=(*(task.largest(f)[0] for f in (a, b)), *(limit.eigenvalues(y, 1)[0] for y in (y_a, y_b))),
            distance=float(np.linalg.norm(a.parameters - b.parameters)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Edges:
    """Both edges of the spectrum at a solution: the largest eigenvalues, the limit's, the smallest."""

    run: str
    solution: Solution
    right: AnyArray
    expected: AnyArray
    left: AnyArray

    @classmethod
    def of(cls, name: str, limit: Limit, test: Task, network: FiniteNetwork, y: AnyArray) -> Edges:
        """At most :data:`EDGE` eigenvalues at either edge."""
        operator = limit.task.split(network).h
        count = min(EDGE, limit.task.n, operator.shape[0] - 1)
        if operator.shape[0] <= DENSE_EDGES:
            values = eigenvalues(operator)
            right, left = values[::-1][:count], values[:count]
        else:
            right, left = extreme_eigenvalues(operator, count, tol=1e-6), smallest(operator, count)
        solution = Solution.of(limit, test, network, y)
        return cls(run=name, solution=solution, right=right, expected=limit.eigenvalues(y, count), left=left)


@dataclass(frozen=True, kw_only=True, eq=False)
class Approach:
    """How far networks of one width are from the limit.

    Attributes
    ----------
    width : int
    distances, ratios : (TRIALS, stages) arrays
        ‖f − Y‖/‖Y − Y(0)‖, and losses over that of the limit.
    """

    width: int
    distances: AnyArray
    ratios: AnyArray

    @classmethod
    def of(cls, limit: Limit, width: int, size: float, stages: Sequence[int], seed: int) -> Approach:
        """Gradient descent from several starts, after the numbers of steps in ``stages``."""
        task, found = limit.task, []
        for k in range(TRIALS):
            start = task.draw(width, [seed, width, k])
            first = start(task.x)
            # a narrow, hence sharper network takes the same time in smaller steps
            pieces = max(1, int(np.ceil(2 * size * task.largest(start)[0])))
            at = [pieces * step for step in stages]
            networks = descend(task, start, size / pieces, at[-1], at=at)
            outputs = limit.descend(first, size / pieces, at[-1], at=at)
            apart = [np.linalg.norm(f(task.x) - y) / _moved(y, first) for f, y in zip(networks, outputs, strict=True)]
            ratio = [task.loss_of(f) / limit.loss(y) for f, y in zip(networks, outputs, strict=True)]
            found.append([apart, ratio])
        distances, ratios = np.moveaxis(np.array(found), 1, 0)
        return cls(width=width, distances=distances, ratios=ratios)

    @property
    def distance(self) -> AnyArray:
        """Root mean square of the distances, (stages,)."""
        return np.asarray(np.sqrt((self.distances**2).mean(axis=0)))


def barrier(profile: AnyArray) -> float:
    """Largest loss on the line between the ends less that of the worse end, at least 0.

    Examples
    --------
    >>> barrier(np.where(LINE == 0.5, 3.0, 1.0)), barrier(LINE)
    (2.0, 0.0)
    """
    inside = profile[(LINE > -1e-9) & (LINE < 1 + 1e-9)]
    return float(inside.max() - max(inside[0], inside[-1]))


def accuracy(network: FiniteNetwork, test: Task) -> float:
    """Part of the points whose largest output is that of their class."""
    return float((network(test.x).argmax(axis=1) == test.y.argmax(axis=1)).mean())


def _moved(y: AnyArray, first: AnyArray) -> float:
    return max(float(np.linalg.norm(y - first)), float(np.finfo(float).tiny))
