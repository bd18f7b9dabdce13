r"""Tangent kernels of the same networks as frameworks parametrise them: the weights and biases themselves are trained.

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
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import MLP


def standard_theta(net: MLP, points: ArrayLike, widths: Sequence[int]) -> Array:
    r"""Tangent kernel of the same network when w = (σ_w/√n) W and b' = βb are the trained parameters.

    Parameters
    ----------
    net : MLP
        Its σ_w and β are those of the initialisation.
    points : array_like, (N, n_0)
        Data.
    widths : sequence of int
        The L - 1 hidden widths.

    Returns
    -------
    ndarray, (N, N)
        Per output. It grows with the widths, which is why learning rates shrink with them in this parametrisation.

    Raises
    ------
    InputError
        Not L - 1 positive widths.

    Examples
    --------
    A linear model f = w·x + b' has ∇f·∇f' = x·x' + 1.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> standard_theta(MLP([], depth=1), [[1.0, 2.0]], [])
    array([[6.]])
    """
    return _fold(net, points, widths, net.sigma_w, [net.beta] * net.depth)[1]


def pytorch_kernels(net: MLP, points: ArrayLike, widths: Sequence[int]) -> tuple[Array, Array]:
    r"""Σ and Θ_std of the network as PyTorch's default ``Linear`` layers start it, whatever its own σ_w and β.

    Parameters
    ----------
    net : MLP
        Nonlinearities and depth.
    points : array_like, (N, n_0)
        Data.
    widths : sequence of int
        The L - 1 hidden widths.

    Returns
    -------
    sigma, theta : ndarray, (N, N)
        Covariance of an output at the start and tangent kernel in the weights and biases themselves.

    Raises
    ------
    InputError
        Not L - 1 positive widths.

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
    sizes = [np.shape(points)[-1], *widths]
    betas = [pytorch_defaults(n)["beta"] for n in sizes]
    return _fold(net, points, widths, pytorch_defaults(1)["sigma_w"], betas)


def pytorch_defaults(width: int) -> dict[str, float]:
    """σ_w and β of PyTorch's default ``Linear`` layer with this many inputs, both from U(-1/√n, 1/√n).

    Examples
    --------
    >>> pytorch_defaults(3)
    {'sigma_w': 0.577..., 'beta': 0.333...}
    """
    if width < 1:
        raise InputError("a width of at least 1", repr(width))
    return {"sigma_w": math.sqrt(1 / 3), "beta": math.sqrt(1 / (3 * width))}


def _fold(
    net: MLP, points: ArrayLike, widths: Sequence[int], sigma_w: float, betas: Sequence[float]
) -> tuple[Array, Array]:
    from kernelcalc.gaussian.expectation import gaussian_expectation
    from kernelcalc.kernels.gram import check_points

    x = check_points(points)
    if len(widths) != net.depth - 1 or any(w < 1 for w in widths):
        raise InputError(f"{net.depth - 1} positive hidden widths for depth {net.depth}", f"{tuple(widths)}")
    products = x @ x.T
    sigma, theta = sigma_w**2 / x.shape[1] * products + betas[0] ** 2, products + 1
    for act, width, beta in zip(net.activations, widths, betas[1:], strict=True):
        q = np.diagonal(sigma)
        derivative = act.derivative(1)
        e00, e11 = (gaussian_expectation(f, f, q[:, None], q[None, :], sigma) for f in (act, derivative))
        sigma, theta = sigma_w**2 * e00 + beta**2, sigma_w**2 * e11 * theta + width * e00 + 1
    return np.asarray(sigma), np.asarray(theta)
