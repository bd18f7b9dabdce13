r"""The same networks as frameworks parametrise them: the weights and biases themselves are trained.

Notes
-----
The network of the theory has weights (σ_w/√n) W with W ~ N(0, 1) and biases βb; frameworks train w = (σ_w/√n) W and
b' = βb themselves, n being the number of inputs of the layer. The function is the same, but a step of w counts n/σ_w²
times one of W, and a step of b' counts 1/β² times one of b. So the same gradient descent follows, with a β for each layer,

.. math::
    Σ^{(ℓ+1)} = σ_w^2 E_{00} + β_{ℓ+1}^2, \qquad Θ_{std}^{(ℓ+1)} = σ_w^2 E_{11} Θ_{std}^{(ℓ)} + n_ℓ E_{00} + 1,

from :math:`Σ^{(1)} = σ_w^2 x·x'/n_0 + β_1^2` and :math:`Θ_{std}^{(1)} = x·x' + 1`, and its largest stable learning rate is
2/λ_max with Θ_std for Θ: at the start, and through training along the flow of Θ_std, which has a time of its own, η_std a
step.

PyTorch's default ``Linear`` draws weights and biases from U(-1/√n, 1/√n), of variance 1/(3n): σ_w = 1/√3 and
β = 1/√(3n) with the layer's own n.

These are rates of :class:`~kernelcalc.kernels.layers.Dense`, so all six kernels follow: f and its Hessian are taken in
the trained parameters. Υ and Ξ of frameworks' parameters grow with the widths too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kernelcalc.errors import InputError, renamed
from kernelcalc.kernels.layers import Dense, Layer, Residual, Serial, dense_layers
from kernelcalc.kernels.mlp import Sequential
from kernelcalc.kernels.network import positive_integer
from kernelcalc.kernels.points import check_points
from kernelcalc.kernels.sizes import weight_sizes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


def standard(net: Sequential, widths: Sequence[int], n_in: int) -> Sequential:
    r"""The network whose kernels are those in the parameters w = (σ_w/√n) W and b' = βb.

    Parameters
    ----------
    net : MLP or Sequential
        Without positions; its σ_w and β are those of the initialisation.
    widths : sequence of int
        The L - 1 hidden widths: of every ``Dense`` but the last, in order, branches included.
    n_in : int
        n_0.

    Raises
    ------
    InputError
        Not L - 1 positive widths, branches of other widths; a network with positions.

    Examples
    --------
    A linear model f = w·x + b' has ∇f·∇f' = x·x' + 1.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> standard(MLP([], depth=1), [], 2).kernels([[1.0, 2.0]]).theta
    array([[6.]])
    """
    net.require_vectors("the standard parametrisation")
    return _with_rates(net, widths, n_in, lambda layer, n: (layer.sigma_w, layer.beta))


def pytorch(net: Sequential, widths: Sequence[int], n_in: int) -> Sequential:
    r"""The same for PyTorch's default ``Linear`` layers, whatever the network's own σ_w and β.

    Parameters
    ----------
    net : MLP or Sequential
        Without positions: its layers, whatever their scales.
    widths : sequence of int
        The L - 1 hidden widths: of every ``Dense`` but the last, in order, branches included.
    n_in : int
        n_0.

    Raises
    ------
    InputError
        Not L - 1 positive widths, branches of other widths; a network with positions.

    Notes
    -----
    The weights of the first layer are uniform, not Gaussian, and n_0 is finite: Σ is the covariance of its
    preactivations exactly, their law is Gaussian to order 1/n_0.
    """
    net.require_vectors("PyTorch's parametrisation")
    return _with_rates(net, widths, n_in, lambda layer, n: tuple(pytorch_defaults(n).values()))


def _with_rates(
    net: Sequential, widths: Sequence[int], n_in: int, scales: Callable[[Dense, int], tuple[float, ...]]
) -> Sequential:
    if not hasattr(widths, "__iter__"):
        hidden = len(dense_layers(net.layers)) - 1
        raise InputError(f"widths, a sequence of {hidden} whole numbers", f"{widths!r}", f"try widths=[n] * {hidden}")
    sizes = iter(weight_sizes(net.layers, (n_in,), [*widths, net.n_out]))

    def rated(layer: Layer) -> Layer:
        if isinstance(layer, Dense):
            n, _ = next(sizes)
            sigma_w, beta = scales(layer, n)
            return Dense(sigma_w, beta, weight_rate=n / sigma_w**2, bias_gradient=1.0)
        if isinstance(layer, Residual):
            return Residual(*map(rated, layer.branch.layers), scale=layer.scale)
        return type(layer)(*map(rated, layer.layers)) if isinstance(layer, Serial) else layer

    return Sequential(*map(rated, net.layers), n_out=net.n_out)


@renamed(points="X")
def standard_theta(net: Sequential, X: ArrayLike, widths: Sequence[int]) -> Array:
    r"""Tangent kernel of the same network when w = (σ_w/√n) W and b' = βb are the trained parameters.

    Parameters
    ----------
    net : MLP or Sequential
        Without positions; its σ_w and β are those of the initialisation.
    X : array_like, (N, n_0)
        Data.
    widths : sequence of int
        The L - 1 hidden widths: of every ``Dense`` but the last, in order, branches included.

    Returns
    -------
    ndarray, (N, N)
        Per output. It grows with the widths, which is why learning rates shrink with them in this parametrisation.

    Raises
    ------
    InputError
        Not L - 1 positive widths, branches of other widths; a network with positions.

    Examples
    --------
    A linear model f = w·x + b' has ∇f·∇f' = x·x' + 1.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> standard_theta(MLP([], depth=1), [[1.0, 2.0]], [])
    array([[6.]])
    """
    x = check_points(X, positions=net.has_positions)
    return standard(net, widths, x.shape[1]).kernels(x, only="theta").theta


@renamed(points="X")
def pytorch_kernels(net: Sequential, X: ArrayLike, widths: Sequence[int]) -> tuple[Array, Array]:
    r"""Σ and Θ_std of the network as PyTorch's default ``Linear`` layers start it, whatever its own σ_w and β.

    Parameters
    ----------
    net : MLP or Sequential
        Without positions: its layers, whatever their scales.
    X : array_like, (N, n_0)
        Data.
    widths : sequence of int
        The L - 1 hidden widths: of every ``Dense`` but the last, in order, branches included.

    Returns
    -------
    sigma, theta : ndarray, (N, N)
        Covariance of an output at the start and tangent kernel in the weights and biases themselves.

    Raises
    ------
    InputError
        Not L - 1 positive widths, branches of other widths; a network with positions.

    Notes
    -----
    The weights of the first layer are uniform, not Gaussian, and n_0 is finite: Σ is the covariance of its
    preactivations exactly, their law is Gaussian to order 1/n_0.

    Examples
    --------
    One layer: Σ = (x·x' + 1)/3n.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> pytorch_kernels(MLP([], depth=1), [[1.0, 2.0]], [])
    (array([[1.]]), array([[6.]]))
    """
    x = check_points(X, positions=net.has_positions)
    kernels = pytorch(net, widths, x.shape[1]).kernels(x, only=("sigma", "theta"))
    return kernels.sigma, kernels.theta


def pytorch_defaults(width: int) -> dict[str, float]:
    """σ_w and β of PyTorch's default ``Linear`` layer with this many inputs, both from U(-1/√n, 1/√n).

    Raises
    ------
    InputError
        A width that is no whole number of at least 1.

    Examples
    --------
    >>> pytorch_defaults(3)
    {'sigma_w': 0.577..., 'beta': 0.333...}
    """
    width = positive_integer("width", width)
    return {"sigma_w": math.sqrt(1 / 3), "beta": math.sqrt(1 / (3 * width))}
