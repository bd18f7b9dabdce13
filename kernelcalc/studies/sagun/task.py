r"""A learning task: points, labels, loss and network, for finite widths and for the limit alike.

The networks are in NTK parametrisation, :math:`z^{(ℓ+1)} = σ_w W^{(ℓ)T} α^{(ℓ)}/\sqrt{n_ℓ} + β b^{(ℓ)}` with W, b of
variance 1. Sagun et al. trained the weights :math:`w = σ_w W/\sqrt n` themselves: the functions that such a network starts
from are the same, its Hessian is larger by a factor of about the width, and only here has its right edge a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse.linalg import eigsh

from kernelcalc.arguments import random_generator
from kernelcalc.arrays import AnyArray, plain
from kernelcalc.datasets import balanced, mnist14, one_hot
from kernelcalc.errors import InputError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import CurvatureOperator, HessianSplit
from kernelcalc.finite.curvature.spectrum import eigenvalues, extreme_eigenvalues
from kernelcalc.finite.derivatives import Problem
from kernelcalc.kernels.mlp import MLP
from kernelcalc.studies.experiment import Sample

# Parameters up to which dense eigenvalues are faster than Lanczos for a few of them (measured).
_DENSE_NETWORK = 250
# Relative to the largest eigenvalue in size, below this an eigenvalue is rounding.
ROUNDED_ZERO = 1e-11
# Half the band around zero, relative to the largest eigenvalue, that counts as near zero.
NEAR_ZERO = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Points, targets, loss and architecture.

    Attributes
    ----------
    x : (N, r) array
        Coordinates of the points in their span (:func:`in_span`).
    n_in : int
        Inputs before that.
    labels : (N,) array
    y : (N, n_out) array
        One-hot targets.
    loss : str
        "softmax" or "mse".
    net : MLP
    """

    x: AnyArray
    n_in: int
    labels: AnyArray
    y: AnyArray
    loss: str
    net: MLP

    @classmethod
    def of(
        cls,
        points: Any,
        labels: Any,
        *,
        loss: str = "softmax",
        activation: Any = "relu",
        depth: int = 3,
        **options: Any,
    ) -> Task:
        """Points (N, n_in) with class labels (N,); σ_w = √2, critical for relu, and β = 0.1 unless given."""
        if loss not in ("softmax", "mse"):
            raise InputError("the loss 'softmax' or 'mse'", repr(loss))
        y = one_hot(labels)
        if y.shape[1] < 2:
            raise InputError("labels of at least two classes", "one class")
        settings = {"sigma_w": 2**0.5, "beta": 0.1} | options
        net = MLP(activation, depth=depth, n_out=y.shape[1], **settings)
        points = plain(points, "points").astype(np.float64)
        return cls(x=in_span(points), n_in=points.shape[1], labels=np.asarray(labels), y=y, loss=loss, net=net)

    def subset(self, rows: slice | AnyArray) -> Task:
        """The task on some of its points, in the same coordinates."""
        return replace(self, x=self.x[rows], labels=self.labels[rows], y=self.y[rows])

    @property
    def n(self) -> int:
        """N."""
        return len(self.x)

    @property
    def n_out(self) -> int:
        """Number of classes."""
        return int(self.y.shape[1])

    @property
    def softmax(self) -> bool:
        """Whether the loss is the cross-entropy, blind to a common shift of a point's outputs."""
        return self.loss == "softmax"

    @property
    def activation_name(self) -> str:
        """Of the hidden layers."""
        return self.net.activations[0].name

    def hidden(self, width: int) -> list[int]:
        """Widths of the hidden layers."""
        return [width] * (self.net.depth - 1)

    def parameters(self, width: int) -> int:
        """P of the network on all its inputs."""
        sizes = [self.n_in, *self.hidden(width), self.n_out]
        return sum((a + 1) * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def orthogonal(self, width: int) -> int:
        """Number of first-layer weights' directions orthogonal to all points: exact zeros of the Hessian."""
        first = [*self.hidden(width), self.n_out][0]
        return (self.n_in - self.x.shape[1]) * first

    def draw(self, width: int, rng: Any = 0) -> FiniteNetwork:
        """A random network on the points' span.

        Weights orthogonal to the data do not matter: their rotation is again N(0, 1), descent never moves them.
        """
        return FiniteNetwork.random(self.net, self.hidden(width), self.x.shape[1], rng)

    @cached_property
    def problem(self) -> Problem:
        """C as a function of the parameters of any network of the task."""
        return Problem.of(self.draw(1), self.x, self.y, self.loss)

    def split(self, network: FiniteNetwork) -> HessianSplit:
        """H = I + S."""
        return HessianSplit.at(network, self.problem)

    def largest(self, network: FiniteNetwork, count: int = 1) -> AnyArray:
        """The largest eigenvalues of H, descending: dense for small networks, else by Lanczos to six digits."""
        operator = self.split(network).h
        if operator.shape[0] <= _DENSE_NETWORK:
            return eigenvalues(operator)[::-1][:count]
        return np.asarray(extreme_eigenvalues(operator, count, tol=1e-6))

    def loss_of(self, network: FiniteNetwork) -> float:
        """C."""
        return self.problem.value(network)

    def gradient_norm(self, network: FiniteNetwork) -> float:
        """‖∇C‖ with respect to the parameters W, b of variance 1; for weights σ_w W/√n_ℓ themselves √n_ℓ/σ_w times as much."""
        return float(np.linalg.norm(self.problem.gradient(network)))


def smallest(operator: CurvatureOperator, count: int, tol: float = 1e-6) -> AnyArray:
    """The smallest eigenvalues, ascending, by Lanczos in a large basis.

    Negative eigenvalues of a trained network are small and crowded: in SciPy's default basis of 2 count + 1 vectors each
    restart gains next to nothing (measured: minutes instead of seconds).
    """
    p = operator.shape[0]
    start = np.random.default_rng(0).standard_normal(p)
    options: Any = {"k": count, "which": "SA", "v0": start, "tol": tol, "ncv": min(p, max(200, 2 * count + 1))}
    return np.sort(eigsh(operator.linear_operator(), return_eigenvectors=False, **options))


def digits(points: int | None, full: bool, sample: Sample | None = None) -> Sample:
    """The first ``points`` digits; by default all 256, or four of each class in the small setting. Or the sample given."""
    if sample is not None:
        return sample
    if points is not None or full:
        return mnist14(256 if points is None else points)
    return balanced(*mnist14(), 4)


def in_span(points: AnyArray) -> AnyArray:
    r"""Coordinates z (N, r) of points in their span, r their rank, with :math:`z z^T/r = x x^T/n_0`.

    A network on z with r inputs is the network on x in rotated first-layer weights: same outputs, same Hessian but for
    zeros.

    Examples
    --------
    >>> x = np.array([[3.0, 4.0, 0.0, 0.0], [6.0, 8.0, 0.0, 0.0]])
    >>> z = in_span(x)
    >>> z.shape, np.allclose(z @ z.T, x @ x.T / 4)
    ((2, 1), True)
    """
    u, s, _ = np.linalg.svd(points, full_matrices=False)
    rank = int((s > 1e-10 * s[0]).sum())
    if rank == points.shape[1]:
        return points
    return np.asarray(u[:, :rank] * s[:rank] * np.sqrt(rank / points.shape[1]))


def batches(n: int, size: int | None, steps: int, rng: Any = 0) -> Iterator[AnyArray | slice]:
    """Rows of every step: all of them, or without replacement in a new order every epoch (the rest is dropped).

    Examples
    --------
    >>> [sorted(rows.tolist()) for rows in batches(4, 4, 2)], list(batches(4, None, 1))
    ([[0, 1, 2, 3], [0, 1, 2, 3]], [slice(None, None, None)])
    """
    if size is None or size > n:
        for _ in range(steps):
            yield slice(None)
        return
    generator = random_generator(rng)
    order, at = np.arange(n), n
    for _ in range(steps):
        if at + size > n:
            order, at = generator.permutation(n), 0
        yield order[at : at + size]
        at += size


def descend(
    task: Task,
    network: FiniteNetwork,
    step: float,
    steps: int,
    *,
    at: Sequence[int] | None = None,
    batch: int | None = None,
    rng: Any = 0,
) -> list[FiniteNetwork]:
    """Gradient descent, or SGD, from a network; the networks after the numbers of steps in ``at`` (default: the last).

    :meth:`kernelcalc.studies.sagun.limit.Limit.descend` does the same steps in the limit.
    """
    wanted, seen = [steps] if at is None else list(at), []
    theta = network.parameters
    for count, rows in enumerate(batches(task.n, batch, steps, rng)):
        seen += [network.with_parameters(theta.copy())] * wanted.count(count)
        part = task.problem if isinstance(rows, slice) else task.problem.batch(rows)
        theta = theta - step * part.gradient(network.with_parameters(theta))
    return seen + [network.with_parameters(theta)] * wanted.count(steps)


def descend_until(
    task: Task, network: FiniteNetwork, step: float, most: int, gradient_norm: float | None = None
) -> tuple[FiniteNetwork, int]:
    """Gradient descent that stops at ‖∇C‖ ≤ ``gradient_norm`` or after ``most`` steps; the network and how many it took."""
    if gradient_norm is None:
        return descend(task, network, step, most)[0], most
    options: dict[str, Any] = {"loss": task.loss, "method": "gd", "step": step, "gradient_norm": gradient_norm}
    run = network.train(task.x, task.y, [most * step], **options)
    return run.network, round(run.times[-1] / step)
