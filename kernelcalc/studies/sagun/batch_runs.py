"""A small convolutional network trained with large batches, then with small ones; what the experiment batches measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse.linalg import eigsh

from kernelcalc.activations.names import as_activation
from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import mnist28, one_hot
from kernelcalc.errors import InputError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.curvature.spectrum import extreme_eigenvalues
from kernelcalc.finite.derivatives import Forward, Problem, forward
from kernelcalc.kernels.layers import Dense
from kernelcalc.kernels.mlp import Sequential
from kernelcalc.kernels.positions import Conv, Flatten
from kernelcalc.studies.experiment import Sample
from kernelcalc.studies.sagun.task import batches

# Moments of a run at which losses are taken; positions on the line between two solutions.
RECORDED, BETWEEN = 15, np.linspace(0.0, 1.0, 13)
# Points on which Hessians are taken, and eigenvalues at either edge.
CURVED, OUTER = 100, 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Pictures to train on and to test on, and the network: two convolutions, the first of stride 2, and a dense layer.

    Attributes
    ----------
    train, test : Problem
    start : FiniteNetwork
        In single precision.
    """

    train: Problem
    test: Problem
    start: Any

    @classmethod
    def of(
        cls, points: int, sample: Sample | None, channels: tuple[int, int], activation: Any, loss: str, seed: int
    ) -> Pictures:
        """Half of the sample to train on, or that many of the 28 × 28 digits averaged to 14 × 14; as many to test on.

        Raises
        ------
        InputError
            Points that are no square pictures, or fewer than four.
        """
        x, labels = _digits(2 * points) if sample is None else sample
        side = round(np.sqrt(x.shape[1]))
        if side**2 != x.shape[1] or side < 5:
            raise InputError("square pictures of at least 5 × 5 for convolutions", f"points of {x.shape[1]} numbers")
        if len(x) < 4:
            raise InputError("at least four pictures: one half is trained on", f"{len(x)}")
        x, y = x.reshape(-1, side, side, 1).astype(np.float32), one_hot(labels)
        inner: Any = {"padding": "circular", "sigma_w": 2**0.5, "beta": 0.1}
        hidden = as_activation(activation)
        net = Sequential(
            Conv(3, stride=1 + (side % 2 == 0), **inner), hidden, Conv(3, **inner), hidden, Flatten(),
            Dense(sigma_w=1.0, beta=0.1), n_out=y.shape[1],
        )  # fmt: skip
        shape: Any = (side, side, 1)
        start = FiniteNetwork.random(net, channels, shape, seed, np.float32)
        whole, half = Problem.of(start, x, y, loss), len(x) // 2
        return cls(train=whole.batch(np.arange(half)), test=whole.batch(np.arange(half, 2 * half)), start=start)

    @property
    def n(self) -> int:
        """Pictures trained on."""
        return len(self.train.x)

    def curvature(self, network: Any) -> HessianSplit:
        """The Hessian on the first :data:`CURVED` pictures."""
        return HessianSplit.at(network, self.train.batch(np.arange(min(CURVED, self.n))))

    def sharpness(self, network: Any) -> float:
        """λ_max(H)."""
        return float(extreme_eigenvalues(self.curvature(network).h, 1, tol=1e-3)[0])

    def edges(self, network: Any) -> tuple[AnyArray, AnyArray]:
        """The largest eigenvalues, descending, and the smallest, ascending, to a per cent of the largest."""
        operator, rng = self.curvature(network).h, np.random.default_rng(0)
        start = rng.standard_normal(operator.shape[0]).astype(np.float32)
        found = np.sort(
            eigsh(
                operator.linear_operator(),
                k=2 * OUTER,
                which="BE",
                v0=start,
                tol=1e-2,
                ncv=6 * OUTER,
                return_eigenvectors=False,
            )
        )
        return found[: -1 - OUTER : -1], found[:OUTER]

    def noise(self, run: Forward) -> tuple[float, float]:
        """‖∇C‖² and the trace of the covariance of single pictures' gradients: what a batch of B adds to it is 1/B of that."""
        rows = run.gradients(self.n * self.train.loss.gradient(run.outputs, self.train.targets)[None])[:, 0]
        mean = rows.mean(axis=0, dtype=np.float64)
        square = float(mean @ mean)
        return square, float(np.einsum("sp,sp->s", rows, rows).mean(dtype=np.float64)) - square


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """Losses and accuracies on pictures trained on and others, and if wanted ‖∇C‖² and Tr Cov of the pictures' gradients."""

    step: int
    loss: float
    loss_test: float
    accuracy: float
    accuracy_test: float
    square: float
    covariance: float

    @classmethod
    def of(cls, pictures: Pictures, network: Any, step: int, noise: bool) -> Moment:
        """After that many steps."""
        run = forward(network, pictures.train.x)
        loss, right = _judged(pictures.train, run)
        loss_test, right_test = _judged(pictures.test, forward(network, pictures.test.x))
        square, covariance = pictures.noise(run) if noise else (np.nan, np.nan)
        return cls(
            step=step, loss=loss, loss_test=loss_test, accuracy=right, accuracy_test=right_test, square=square,
            covariance=covariance,
        )  # fmt: skip

    def noise_over_gradient(self, batch: int) -> float:
        """√(Tr Cov/B) over ‖∇C‖."""
        return float(np.sqrt(self.covariance / batch / self.square))


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Training with one batch and one rate: the last network and the moments, the first before any step."""

    batch: int
    moments: list[Moment]
    end: Any

    @classmethod
    def of(
        cls, pictures: Pictures, start: Any, step: float, steps: int, batch: int, rng: Any, noise: bool = False
    ) -> Part:
        """Steps of SGD, which end where the parameters are no longer finite; noise at first only, unless asked for."""
        network, moments = start, [Moment.of(pictures, start, 0, True)]
        every = max(1, steps // RECORDED)
        with np.errstate(over="ignore", invalid="ignore"):
            for count, rows in enumerate(batches(pictures.n, batch, steps, rng), 1):
                part = pictures.train if isinstance(rows, slice) else pictures.train.batch(rows)
                slope = part.gradient(network)
                theta = network.parameters - np.float32(step) * slope
                if not np.isfinite(theta).all():
                    moments.append(replace(moments[-1], step=count, loss=np.inf, loss_test=np.inf))
                    break
                network = network.with_parameters(theta)
                if count % every == 0 or count == steps:
                    moments.append(Moment.of(pictures, network, count, noise))
        return cls(batch=batch, moments=moments, end=network)

    @property
    def at(self) -> Moment:
        """The first moment."""
        return self.moments[0]

    @property
    def last(self) -> Moment:
        """The last moment."""
        return self.moments[-1]

    @property
    def worst(self) -> float:
        """The largest loss afterwards over the one at first."""
        return max(m.loss for m in self.moments) / self.at.loss

    @property
    def worst_test(self) -> float:
        """The same on other pictures."""
        return max(m.loss_test for m in self.moments) / self.at.loss_test

    @property
    def back(self) -> float:
        """Steps from the largest loss until it is below that at first; not a number if it never rose or comes back."""
        losses = np.array([m.loss for m in self.moments])
        top = int(losses.argmax())
        below = np.flatnonzero(losses[top:] < losses[0]) + top
        return float(self.moments[below[0]].step) if top and below.size else np.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class Switch:
    """Small batches that go on where large ones ended, and the straight line between the two ends.

    Attributes
    ----------
    rate : float
        The step times λ_max of the start.
    step, sharpness : float
        Of descent; the step times λ_max where the batch is made smaller.
    large, small : Part
    line : array
        C at :data:`BETWEEN`.
    """

    rate: float
    step: float
    sharpness: float
    large: Part
    small: Part
    line: AnyArray

    @property
    def noise(self) -> float:
        """√(Tr Cov/B) over ‖∇C‖ at the switch, B the small batch."""
        return self.small.at.noise_over_gradient(self.small.batch)

    @property
    def settles(self) -> bool:
        """Whether the loss is lower at the end than at the switch."""
        return self.small.last.loss < self.small.at.loss

    @property
    def barrier(self) -> float:
        """Largest loss on the line less that of its worse end, over the loss before any training."""
        return float(self.line.max() - max(self.line[0], self.line[-1])) / self.large.at.loss


def switched(pictures: Pictures, large: Part, small: Part, rate: float, step: float, sharpness: float) -> Switch:
    """The line between the two ends, and all that is known of them."""
    a, b = large.end.parameters, small.end.parameters
    line = [pictures.train.value(large.end.with_parameters(((1 - s) * a + s * b).astype(np.float32))) for s in BETWEEN]
    return Switch(
        rate=rate, step=step, sharpness=sharpness, large=large, small=small, line=np.array(line)
    )  # fmt: skip


def _judged(part: Problem, run: Forward) -> tuple[float, float]:
    """C, and the part of the pictures whose largest output is that of their class."""
    outputs = run.outputs
    right = outputs.argmax(axis=1) == part.targets.argmax(axis=1)
    return part.loss.value(outputs, part.targets), float(right.mean())


def _digits(count: int) -> Sample:
    """28 × 28 digits averaged over 2 × 2 pixels, centred and scaled as a whole."""
    x, labels = mnist28(count, scale="raw")
    x = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
    return (x - x.mean()) / x.std(), labels
