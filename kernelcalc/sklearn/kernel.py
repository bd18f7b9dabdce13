r"""A network's kernel for scikit-learn's Gaussian processes and kernel machines."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
from kernelcalc.kernels.gradients import diagonal_of, kernel_gradient
from kernelcalc.kernels.layers import Dense, Layer, Residual, Serial, Sum, dense_layers
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.kernels.points import check_points

BOUNDS = (1e-3, 1e2)


class NetworkKernel(Kernel):
    r"""k(x, x') = Θ(x, x') or Σ(x, x') of a network, plus noise on the diagonal, with σ_w, β and the noise to be fitted.

    .. math:: k(X, X) = Θ_{σ_w, β}(X, X) + \texttt{noise} · \mathrm{Id}

    Gradients in the logarithms of the hyperparameters are exact (:mod:`kernelcalc.kernels.gradients`).

    Parameters
    ----------
    net : MLP or Sequential
        With one σ_w and one β in all dense layers.
    kernel : {"theta", "sigma"}
        The tangent kernel, or the covariance of the outputs at the start.
    sigma_w, beta : float, optional
        In place of the network's own.
    noise : float
        Variance added where a point meets itself within one call.
    sigma_w_bounds, beta_bounds, noise_bounds : (float, float) or "fixed"
        Where a Gaussian process searches. A hyperparameter that is 0 is fixed.

    Raises
    ------
    InputError
        Another kernel; layers of different scales; a negative noise.

    References
    ----------
    Jacot, Gabriel, Hongler (2018), "Neural tangent kernel"; Rasmussen and Williams (2006), chapter 5.

    Examples
    --------
    >>> import kernelcalc as kc
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> X = [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    >>> kernel = NetworkKernel(kc.MLP("erf", depth=2), noise=0.01, beta_bounds="fixed")
    >>> gp = GaussianProcessRegressor(kernel).fit(X, [0.0, 1.0, 0.5])
    >>> gp.predict(X).shape
    (3,)
    """

    net: Sequential
    kernel: str
    sigma_w: float
    beta: float
    noise: float
    sigma_w_bounds: tuple[float, float] | str
    beta_bounds: tuple[float, float] | str
    noise_bounds: tuple[float, float] | str

    def __init__(
        self,
        net: Sequential,
        kernel: str = "theta",
        sigma_w: float | None = None,
        beta: float | None = None,
        noise: float = 0.0,
        sigma_w_bounds: tuple[float, float] | str = BOUNDS,
        beta_bounds: tuple[float, float] | str = BOUNDS,
        noise_bounds: tuple[float, float] | str = (1e-8, 1e2),
    ) -> None:
        if kernel not in ("theta", "sigma"):
            raise InputError("kernel 'theta' or 'sigma'", repr(kernel))
        own = scales_of(net)
        self.net, self.kernel = net, kernel
        self.sigma_w = own[0] if sigma_w is None else sigma_w
        self.beta = own[1] if beta is None else beta
        self.noise = noise
        self.sigma_w_bounds, self.beta_bounds, self.noise_bounds = sigma_w_bounds, beta_bounds, noise_bounds

    def _hyperparameter(self, name: str) -> Hyperparameter:
        bounds = getattr(self, f"{name}_bounds")
        return Hyperparameter(name, "numeric", bounds if getattr(self, name) > 0 else "fixed")

    @property
    def hyperparameter_sigma_w(self) -> Hyperparameter:
        """σ_w."""
        return self._hyperparameter("sigma_w")

    @property
    def hyperparameter_beta(self) -> Hyperparameter:
        """β."""
        return self._hyperparameter("beta")

    @property
    def hyperparameter_noise(self) -> Hyperparameter:
        """Variance of the noise."""
        return self._hyperparameter("noise")

    @property
    def network(self) -> Sequential:
        """The network with this σ_w and β."""
        return with_scales(self.net, float(self.sigma_w), float(self.beta))

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """k(X, Y), and its gradient (N, N, hyperparameters) in the logarithms of those that are not fixed."""
        x = check_points(X)
        if not float(self.noise) >= 0:
            raise InputError("noise ≥ 0", repr(self.noise))
        if not eval_gradient:
            found = self.network.kernels(x, None if Y is None else check_points(Y, "Y"), only=self.kernel)
            value = np.array(found[self.kernel])
            if Y is None:
                value[np.diag_indices_from(value)] += self.noise
            return value
        if Y is not None:
            raise InputError("a gradient of k(X, X)", "another set of points Y")
        value, gradient = kernel_gradient(self.network, x, kernel=self.kernel)
        value = value + self.noise * np.eye(len(x))
        slopes = {
            "beta": self.beta * gradient[..., 1],
            "noise": self.noise * np.eye(len(x)),
            "sigma_w": self.sigma_w * gradient[..., 0],
        }
        free = [slopes[one.name] for one in self.hyperparameters if not one.fixed]
        return value, np.stack(free, axis=-1) if free else np.empty((*value.shape, 0))

    def diag(self, X: Any) -> Array:
        """k(x, x) of every point, noise included, as scikit-learn's white noise has it."""
        return diagonal_of(self.network, X, self.kernel) + float(self.noise)

    def is_stationary(self) -> bool:
        """Whether k depends on x − x' only: it does not."""
        return False

    def __repr__(self) -> str:
        return f"NetworkKernel({self.kernel}, sigma_w={self.sigma_w:.3g}, beta={self.beta:.3g}, noise={self.noise:.3g})"


def scales_of(net: Sequential) -> tuple[float, float]:
    """σ_w and β, which all dense layers share.

    Raises
    ------
    InputError
        No network, or one with different scales.
    """
    if not isinstance(net, Sequential):
        raise InputError("a network such as kc.MLP('tanh')", type(net).__name__)
    found = {(layer.sigma_w, layer.beta) for layer in dense_layers(net.layers)}
    if len(found) != 1:
        raise InputError("a network with one sigma_w and one beta in all dense layers", f"{len(found)} different")
    return found.pop()


def with_scales(net: Sequential, sigma_w: float, beta: float) -> Sequential:
    """The same network with other scales in all dense layers."""
    if isinstance(net, MLP):
        return net.replace(sigma_w=sigma_w, beta=beta)

    def changed(layer: Layer) -> Layer:
        if isinstance(layer, Dense):
            return Dense(sigma_w, beta)
        if isinstance(layer, Residual):
            return Residual(*map(changed, layer.branch.layers), scale=layer.scale)
        return type(layer)(*map(changed, layer.layers)) if isinstance(layer, Serial | Sum) else layer

    return Sequential(*map(changed, net.layers), n_out=net.n_out)
