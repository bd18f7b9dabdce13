r"""λ_max(H) of finite networks at the start, beside the limit's: how far to trust its largest learning rate.

The limit drops S, whose operator norm is :math:`O(1/\sqrt n)` beside I in the NTK parametrisation. In the parametrisations
that frameworks use, I grows with n and S with √n only where the weights carry I; with PyTorch's small weights the biases do,
and S stays comparable to I at the widths that are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from kernelcalc.arguments import check_count, random_generator
from kernelcalc.errors import SlowMethodWarning, warn
from kernelcalc.finite.losses import Loss as FiniteLoss
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.kernels.mlp import require_plain
from kernelcalc.results.result import Result, axes
from kernelcalc.training.progress import with_bar

if TYPE_CHECKING:
    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import Sequential
    from kernelcalc.training.losses import Loss

# Lanczos' dimension and the accuracy asked of it: the eigenvalue is then right to 1e-4 (measured), and networks differ by
# percents.
_BASIS = 8
_LANCZOS = 1e-2
PARAMETRISATIONS = ("ntk", "standard", "pytorch")

# Points times parameters up to which three networks, and one, take a few seconds (one core: a second for 5e7 of each).
_SMALL, _LARGE = 6e7, 4e8


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MeasuredTop(Result):
    """λ_max(H) at the start of networks of one width, (networks,) for each parametrisation."""

    DIMENSIONS = axes(ntk="network", standard="network", pytorch="network")

    width: int
    ntk: Array
    standard: Array
    pytorch: Array

    def rate(self, parametrisation: str) -> float:
        """2 over the largest λ_max(H) measured."""
        return float(2 / getattr(self, parametrisation).max())


def measure_top(
    net: Sequential,
    points: Array,
    targets: Array,
    loss: Loss,
    width: int,
    *,
    networks: int = 3,
    rng: Any = 0,
    progress: bool = False,
) -> MeasuredTop:
    """λ_max of the whole Hessian of a few finite networks at the start, by Lanczos.

    Parameters
    ----------
    net : MLP or Sequential
        ``Dense, Nonlinearity, ..., Dense``: nonlinearities, depth, number of outputs, and the σ_w and β of the NTK and the
        standard parametrisation.
    points : ndarray, (N, n_0)
        Data.
    targets : ndarray, (N, n_out)
        As the loss encodes them.
    loss : Loss
        Any loss.
    width : int
        Of all hidden layers.
    networks : int
        How many initialisations, at least 1; standard and NTK parametrisation share theirs.
    rng : seed or Generator
        Of the networks.
    progress : bool
        Show a bar (needs tqdm).

    Examples
    --------
    A linear model of one layer has the limit's I exactly, and no S: here λ_max = (x·x + 1)/N in the standard parametrisation.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> from kernelcalc.training.losses import resolve_loss
    >>> one = np.ones((1, 1))
    >>> found = measure_top(MLP([], depth=1, beta=0.5), 2 * one, one, resolve_loss("mse"), 1, networks=1)
    >>> [round(float(v), 3) for v in (found.ntk[0], found.standard[0], found.pytorch[0])]
    [4.25, 5.0, 5.0]
    """
    check_count("networks", networks, 1)
    require_plain(net, "λ_max(H) of finite networks")
    work = network_work(net, points, width)
    if not progress and networks * work > 1.5 * _LARGE:
        warn(
            f"λ_max(H) of {networks} networks of width {width} on {len(points)} points takes more than ten seconds; "
            "take fewer points or networks, or progress=True",
            SlowMethodWarning,
        )
    generator, own = random_generator(rng), as_finite(loss)
    found: dict[str, list[float]] = {name: [] for name in PARAMETRISATIONS}
    for _ in with_bar(range(networks), "networks", progress):
        for name, network, scale in drawn_networks(net, points.shape[1], targets.shape[1], width, generator):
            found[name].append(top_of(network, scale, points, targets, own))
    return MeasuredTop(width=width, **{name: np.array(values) for name, values in found.items()})


def drawn_networks(
    net: Sequential, n_in: int, n_out: int, width: int, generator: np.random.Generator
) -> list[tuple[str, FiniteNetwork, Array]]:
    """A network of each parametrisation in single precision, z = Wᵀa/√n + b, and what multiplies the trained parameters.

    Trained are (W, b)/scale: their gradient is scale · ∂C, their Hessian D H D with D = diag(scale). The NTK and the standard
    parametrisation share their weights.
    """
    dense = require_plain(net, "finite networks in several parametrisations")
    sizes = [n_in, *[width] * (net.depth - 1), n_out]
    roots = np.sqrt(sizes[:-1])

    def network(weights: list[Array], biases: list[Array]) -> FiniteNetwork:
        single = [tuple(v.astype(np.float32) for v in part) for part in (weights, biases)]
        return FiniteNetwork(weights=single[0], biases=single[1], activations=net.activations, sigma_w=1.0, beta=1.0)

    normal = network(
        [one.sigma_w * generator.standard_normal(shape) for one, shape in zip(dense, pairwise(sizes), strict=True)],
        [one.beta * generator.standard_normal(m) for one, m in zip(dense, sizes[1:], strict=True)],
    )
    even = network(
        [generator.uniform(-1, 1, shape) for shape in pairwise(sizes)],
        [generator.uniform(-1, 1, m) / root for m, root in zip(sizes[1:], roots, strict=True)],
    )
    found = []
    for name, one, weight, bias in (
        ("ntk", normal, [layer.sigma_w for layer in dense], [layer.beta for layer in dense]),
        ("standard", normal, roots, np.ones(net.depth)),
        ("pytorch", even, roots, np.ones(net.depth)),
    ):
        layers = zip(weight, bias, pairwise(sizes), strict=True)
        scale = [v for c, b, (n, m) in layers for v in (np.full(n * m, c), np.full(m, b))]
        found.append((name, one, np.concatenate(scale)))
    return found


def top_of(network: FiniteNetwork, scale: Array, points: Array, targets: Array, loss: FiniteLoss) -> float:
    """λ_max(D H D) by Lanczos."""
    return _top(network.curvature(points.astype(np.float32), targets, loss).h, scale)


def affordable_networks(net: Sequential, points: Array, width: int) -> int:
    """How many networks of this width can be measured within some seconds: 3, 1 or 0."""
    work = network_work(net, points, width)
    return 3 if work <= _SMALL else int(work <= _LARGE)


def network_work(net: Sequential, points: Array, width: int) -> int:
    """Points times weights: what a pass costs."""
    sizes = [points.shape[1], *[width] * (net.depth - 1), net.n_out]
    return len(points) * sum(n * m for n, m in pairwise(sizes))


def _top(hessian: Any, scale: Array) -> float:
    """λ_max of D H D, D = diag(scale)."""

    def product(vector: Array) -> Array:
        return np.asarray(scale * (hessian @ (scale * vector.ravel()).astype(np.float32)), dtype=np.float64)

    size = len(scale)
    if size < 2 * _BASIS:
        return float(np.linalg.eigvalsh(np.array([product(row) for row in np.eye(size)]))[-1])
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    # a small Krylov space: the largest eigenvalue stands apart
    return float(eigsh(operator, k=1, which="LA", ncv=_BASIS, tol=_LANCZOS, v0=start, return_eigenvectors=False)[0])


def as_finite(loss: Loss) -> FiniteLoss:
    """The loss as finite networks take it."""

    def root(outputs: Array, targets: Array) -> Array:
        half = loss.hessian_sqrt(outputs, targets)
        return half if loss.has_blocks else half[:, :, None] * np.eye(half.shape[1])

    return FiniteLoss(
        name=loss.name,
        prepare=lambda labels, n, n_out: loss.encode(labels, n_out),
        value=loss.value,
        gradient=loss.gradient,
        hessian_root=root,
    )
