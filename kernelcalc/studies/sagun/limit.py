r"""The limit of infinite width on a task: outputs through descent, the eigenvalues of I, the size of S.

The nonzero spectrum of I is that of :math:`𝓗C^{1/2} Θ 𝓗C^{1/2}` at the outputs Y(t), Y(0) is Gaussian with covariance Σ, and
a step of gradient descent is :math:`Y ← Y - η Θ ∇C(Y)`. This needs Σ and Θ only, hence also holds for relu. Of the other
kernels relu has none; but almost everywhere σ̈ = 0, and with that as second derivative (as every program that
differentiates relu has it) S consists of the blocks between layers, for which

.. math:: \mathrm{Tr}\,S = 0, \qquad \mathrm{Tr}\,S^2 → ∇C^T Υ_0 ∇C, \qquad Υ_0^+ = σ_w^2 Σ̇ ∘ (Υ_0 + 2Θ),

the recursion of Υ without its term in σ̈.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1, Propositions 1 and 4, Lemma 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from kernelcalc.arguments import random_generator
from kernelcalc.arrays import AnyArray
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.limiting import LimitingKernels
from kernelcalc.studies.sagun.task import Task, batches
from kernelcalc.studies.spectrum import cluster_spectrum
from kernelcalc.training.losses import Loss, curvature_sqrt, resolve_loss
from kernelcalc.training.start import covariance_root
from kernelcalc.training.weighted import symmetric_weighted_kernel

# Size up to which all eigenvalues are computed densely even if only the largest are wanted.
_DENSE_KERNEL = 700


@dataclass(frozen=True, kw_only=True, eq=False)
class Limit:
    """The infinitely wide network on a task.

    Attributes
    ----------
    task : Task
    kernels : LimitingKernels
    law : Loss
    """

    task: Task
    kernels: LimitingKernels
    law: Loss

    @classmethod
    def of(cls, task: Task) -> Limit:
        """Kernels at the task's points."""
        only = [
            "sigma",
            "theta",
            *(["upsilon"] if smooth(task) else []),
            *(["sigma_dot"] if task.net.activations else []),
        ]
        return cls(task=task, kernels=task.net.kernels(task.x, only=only), law=resolve_loss(task.loss))

    @property
    def theta(self) -> AnyArray:
        """Θ (N, N)."""
        return self.kernels.theta

    @cached_property
    def factors(self) -> list[AnyArray]:
        """σ_w² Σ̇ of every hidden layer, (N, N) each."""
        return [self.task.net.sigma_w**2 * layer.sigma_dot for layer in self.kernels.layers[1:]]

    @cached_property
    def layer_kernels(self) -> list[AnyArray]:
        """Parts of Θ from the parameters of each layer; they sum to Θ."""
        parts = [layer.sigma for layer in self.kernels.layers]
        for ell in range(len(parts)):
            for factor in self.factors[ell:]:
                parts[ell] = parts[ell] * factor
        return parts

    @cached_property
    def upsilon(self) -> AnyArray:
        """Υ, or Υ₀ (σ̈ = 0) for a nonlinearity with kinks."""
        if smooth(self.task):
            return self.kernels.upsilon
        return np.asarray(self.between_layers.sum(axis=(0, 1)))

    @property
    def between_layers(self) -> AnyArray:
        r"""Kernels of the blocks of S for σ̈ = 0, (L, L, N, N): :math:`\|S_{ab}\|_F^2 → ∇C^T Θ_{\min(a, b)} ∇C`, a ≠ b.

        That is the recursion of Υ without σ̈, by layers: weights behind a layer see its parameters through σ̇ as those in
        front do. The blocks on the diagonal vanish, and the sum is Υ₀.
        """
        parts = np.stack(self.layer_kernels)
        index = np.arange(len(parts))
        blocks = parts[np.minimum(index[:, None], index)]
        blocks[index, index] = 0.0
        return blocks

    @cached_property
    def step(self) -> float:
        """½ N/(κ λ_max(Θ)) with κ the loss's largest curvature: a quarter of the stability bound of the limit."""
        largest = float(np.linalg.norm(self.theta, 2))
        return 0.5 * self.task.n / (self.law.curvature_bound * largest)

    def step_for(self, starts: Iterable[FiniteNetwork]) -> float:
        """:attr:`step`, or ½/λ_max(H) of the sharpest of the networks if that is less.

        Narrow networks fluctuate: a step that is safe in the limit can throw one far away from where it began.
        """
        return self.step_under(self.task.largest(start)[0] for start in starts)

    def step_under(self, sharpest: Iterable[float]) -> float:
        """The same from the networks' λ_max(H)."""
        return min([self.step, *(0.5 / float(value) for value in sharpest)])

    def cap_note(self, step: float) -> tuple[str, ...]:
        """What is to be said of a step that :meth:`step_for` made smaller: nothing, or one sentence."""
        if step >= self.step:
            return ()
        return (
            f"the step is ½/λ_max(H) of the sharpest start, {step / self.step:.2g} of what the limit would take: narrow "
            "networks are sharper",
        )

    def starts(self, samples: int, rng: Any = 0) -> AnyArray:
        """Draws of Y(0), (samples, N, n_out)."""
        root = covariance_root(self.kernels.sigma)
        noise = random_generator(rng).standard_normal((samples, self.task.n, self.task.n_out))
        return np.asarray(root @ noise)

    def descend(
        self,
        start: AnyArray,
        step: float,
        steps: int,
        *,
        at: Sequence[int] | None = None,
        batch: int | None = None,
        rng: Any = 0,
    ) -> list[AnyArray]:
        """Outputs (..., N, n_out) after the numbers of steps in ``at``: the same steps as a network's, in the limit."""
        wanted, seen = [steps] if at is None else list(at), []
        y, targets = np.asarray(start), self.task.y
        for count, rows in enumerate(batches(self.task.n, batch, steps, rng)):
            seen += [y] * wanted.count(count)
            slope = self.law.slope(y[..., rows, :], targets[rows])
            y = y - step / slope.shape[-2] * (self.theta[:, rows] @ slope)
        return seen + [y] * wanted.count(steps)

    def loss(self, outputs: AnyArray) -> Any:
        """C of outputs (..., N, n_out)."""
        return self.law.value(outputs, self.task.y)

    def eigenvalues(
        self, outputs: AnyArray, count: int | None = None, *, parts: tuple[int, int] | None = None
    ) -> AnyArray:
        """The largest ``count`` (default: all) nonzero eigenvalues of I at outputs (N, n_out), descending.

        Under softmax these are N (n_out − 1), else N n_out.
        """
        if not self.law.has_blocks:
            values = np.linalg.eigvalsh(self.theta)[::-1] / self.task.n
            return np.repeat(np.maximum(values, 0.0), self.task.n_out)[:count]
        root = curvature_sqrt(self._blocks(outputs), True)
        size = self.task.n * (self.task.n_out - 1)
        if count is None or size <= _DENSE_KERNEL or 3 * count > size:
            matrix = symmetric_weighted_kernel(self.theta, root, has_blocks=True)
            return np.maximum(np.linalg.eigvalsh(matrix)[::-1], 0.0)[:count]

        def apply(v: AnyArray) -> AnyArray:
            vectors = np.einsum("iab,ib->ia", root, v.reshape(root.shape[:2]))
            return np.einsum("iab,ib->ia", root, self.theta @ vectors).ravel()

        start = np.random.default_rng(0).standard_normal(size)
        operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
        found = eigsh(operator, k=count, which="LA", v0=start, return_eigenvectors=False)
        return np.asarray(np.sort(found)[::-1])

    def top(self, outputs: AnyArray) -> AnyArray:
        """λ_max(I) for a batch of outputs (S, N, n_out), (S,)."""
        if not self.law.has_blocks:
            return np.full(len(outputs), self.eigenvalues(outputs[0], 1)[0])
        return np.array([self.eigenvalues(y, 1)[0] for y in outputs])

    def class_means(self, outputs: AnyArray) -> AnyArray:
        """Eigenvalues of I were each class one point; see :func:`kernelcalc.studies.spectrum.cluster_spectrum`."""
        return cluster_spectrum(self.theta, self.law.hessian(outputs, self.task.y), self.task.labels)

    def block_squares(self, outputs: AnyArray) -> AnyArray:
        r"""‖I_ab‖_F² of the blocks between layers a, b, (L, L): Tr 𝓗CΘ_a 𝓗CΘ_b with Θ_a the layers' parts of Θ."""
        h = self.law.hessian(outputs, self.task.y)
        # i, j: points; c, d: outputs; p, q: layers
        inner = np.einsum("icd,jcd->ij", h, h) if self.law.has_blocks else h @ h.T
        parts = np.stack(self.layer_kernels)
        return np.einsum("pij,qij,ij->pq", parts, parts, inner)

    def residual_square(self, outputs: AnyArray) -> Any:
        """Tr S² = ∇CᵀΥ∇C of outputs (..., N, n_out)."""
        slope = self.law.gradient(outputs, self.task.y)
        return np.einsum("...ia,ij,...ja->...", slope, self.upsilon, slope)

    def residual_block_squares(self, outputs: AnyArray) -> AnyArray:
        """‖S_ab‖_F² of the blocks between layers, (L, L); not a number where σ̈ has a part in them (:func:`smooth`)."""
        kernels = self.between_layers
        if smooth(self.task):
            return np.full(kernels.shape[:2], np.nan)
        slope = self.law.gradient(outputs, self.task.y)
        return np.einsum("ia,pqij,ja->pq", slope, kernels, slope)

    def _blocks(self, outputs: AnyArray) -> AnyArray:
        # 𝓗C vanishes along (1, ..., 1): an orthonormal basis of the rest
        n_out = self.task.n_out
        basis = np.linalg.svd(np.eye(n_out) - 1 / n_out)[0][:, : n_out - 1]
        return np.asarray(basis.T @ self.law.hessian(outputs, self.task.y) @ basis)


def smooth(task: Task) -> bool:
    """Whether the theory of S holds for the task's nonlinearity."""
    return "upsilon" not in task.net.refused
