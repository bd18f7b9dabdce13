r"""An ensemble of initialisations of one architecture, all networks in one pass.

Arrays are those of :class:`~kernelcalc.finite.network.FiniteNetwork` with the network as first axis. What this saves is
the overhead of Python and NumPy in each call, which matters for few points. Measured on one core, 64 networks with two
hidden layers of width 64, outputs, gradients and tangent kernels: 3 to 5 times as fast as one by one for 5 points, 1.6 to 2
times for 32, 1.1 to 1.7 times for 256. Hessian moments are matrix products already and are taken one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.errors import InputError, IntegrationError, ShapeError
from kernelcalc.finite.arrays import AnyArray, finite_array, finite_number, whole_number
from kernelcalc.finite.curvature.moments import HessianMoments
from kernelcalc.finite.ensembles.trials import trial_seeds
from kernelcalc.finite.losses import Loss, get_loss
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.finite.training import flow


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkBatch:
    """Networks of one architecture.

    Parameters
    ----------
    first : FiniteNetwork
        Any of them: for sizes, activations, σ_w and β.
    parameters : (E, P) array
        A flat parameter vector a network; copied, and kept as read-only in the number type of ``first``.

    Raises
    ------
    ShapeError
        Another shape.
    InputError, NotFiniteError
        Other than finite real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> one = FiniteNetwork(weights=[np.ones((2, 1))], biases=[np.zeros(1)], activations=[], sigma_w=2**0.5, beta=0.0)
    >>> NetworkBatch(first=one, parameters=np.array([[1.0, 1, 0], [2, 3, 0]]))(np.array([[1.0, 10.0]])).round(12).ravel()
    array([11., 32.])
    """

    first: FiniteNetwork
    parameters: AnyArray

    def __post_init__(self) -> None:
        theta = finite_array(self.parameters, "parameters", self.first.dtype)
        if theta.ndim != 2 or theta.shape[1] != self.first.n_parameters or not len(theta):
            raise ShapeError(f"parameters of shape (E, {self.first.n_parameters})", f"shape {theta.shape}")
        theta = np.array(theta, order="C")
        theta.flags.writeable = False
        object.__setattr__(self, "parameters", theta)

    def _at(self, theta: AnyArray) -> NetworkBatch:
        """The same networks with parameters neither copied nor checked, for loops that own them and do not write to them."""
        other, view = object.__new__(NetworkBatch), theta.view()
        view.flags.writeable = False
        vars(other).update(first=self.first, parameters=view)
        return other

    @classmethod
    def random(
        cls,
        net: Any,
        size: int,
        widths: int | Sequence[int] = (64, 64),
        n_in: int = 196,
        rng: Any = 0,
        dtype: Any = np.float64,
    ) -> NetworkBatch:
        """``size`` networks, the i-th from the i-th seed spawned from ``rng``; see :meth:`FiniteNetwork.random`."""
        size = whole_number(size, "size")
        if size < 1:
            raise InputError("at least one network", f"size={size}")
        networks = [
            FiniteNetwork.random(net, widths, n_in, np.random.default_rng(s), dtype) for s in trial_seeds(rng, size)
        ]
        return cls(first=networks[0], parameters=np.stack([one.parameters for one in networks]))

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, index: int) -> FiniteNetwork:
        """One of the networks."""
        return self.first.with_parameters(self.parameters[index])

    def __call__(self, X: Any) -> AnyArray:
        """Outputs, (E, N, n_out)."""
        return self._forward(self.first.points(X))[2]

    def loss(self, X: Any, Y: Any, loss: str | Loss = "mse") -> AnyArray:
        """C of every network, (E,)."""
        chosen, targets = self._targets(X, Y, loss)
        return np.array([chosen.value(outputs, targets) for outputs in self(X)])

    def gradient(self, X: Any, Y: Any, loss: str | Loss = "mse") -> AnyArray:
        """∂C/∂θ of every network, (E, P)."""
        chosen, targets = self._targets(X, Y, loss)
        return self._gradient(self.first.points(X), targets, chosen)

    def ntk(self, X: Any) -> AnyArray:
        """Empirical NTK, (E, N, N) for one output, else (E, N, N, n_out, n_out)."""
        x, net = self.first.points(X), self.first
        z, a, outputs = self._forward(x)
        n_out, n = net.n_out, len(x)
        unit = np.eye(n_out, dtype=net.dtype)[:, None, None, :]
        # ζ[a, e, s, i]
        zeta = self._backward(z, np.broadcast_to(unit, (n_out, *outputs.shape)))
        total: Any = 0.0
        for layer, c in enumerate(net.scales):
            kernel = c * c * (a[layer] @ a[layer].swapaxes(-1, -2)) + net.beta**2
            flat = zeta[layer + 1].transpose(1, 0, 2, 3).reshape(len(self), n_out * n, -1)
            gram = (flat @ flat.swapaxes(1, 2)).reshape(len(self), n_out, n, n_out, n)
            total = total + (kernel[:, None, :, None, :] if kernel.ndim == 3 else kernel[None, None, :, None, :]) * gram
        return np.asarray(total[:, 0, :, 0] if n_out == 1 else total.transpose(0, 2, 4, 1, 3))

    def hessian_moments(
        self, X: Any, Y: Any, kmax: int = 4, loss: str | Loss = "mse", **options: Any
    ) -> list[HessianMoments]:
        """The moments of every network; see :func:`~kernelcalc.finite.curvature.moments.hessian_moments`."""
        return [self[i].hessian_moments(X, Y, kmax, loss, **options) for i in range(len(self))]

    def descend(self, X: Any, Y: Any, steps: int, step: float, loss: str | Loss = "mse") -> NetworkBatch:
        """The networks after ``steps`` steps of gradient descent, each on its own loss.

        Raises
        ------
        InputError
            A negative number of steps, a step that is not positive and finite.
        IntegrationError
            The parameters overflow.
        """
        steps, step = whole_number(steps, "steps"), finite_number(step, "step")
        if steps < 0 or not step > 0:
            raise InputError("steps >= 0 and a positive step", f"steps={steps}, step={step}")
        chosen, targets = self._targets(X, Y, loss)
        x, now = self.first.points(X), self
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps):
                theta = now.parameters - self.first.dtype.type(step) * now._gradient(x, targets, chosen)
                now = self._at(theta)
        if not np.isfinite(now.parameters).all():
            raise IntegrationError(f"parameters overflow within {steps} steps; try a step below {step:g}")
        return now

    def flow(self, X: Any, Y: Any, time: float, loss: str | Loss = "mse", tol: float = 1e-4) -> NetworkBatch:
        """The networks after gradient flow of that length, each on its own loss, in common steps.

        ``tol`` bounds the error of a step in ‖θ‖₂ over all networks together, hence of each of them.

        Raises
        ------
        InputError
            A time that is negative or not finite, a tol that is not positive.
        IntegrationError
            As :func:`~kernelcalc.finite.training.train`.
        """
        time, tol = finite_number(time, "time"), finite_number(tol, "tol")
        if time < 0 or not tol > 0:
            raise InputError("a finite time >= 0 and a positive tol", f"time={time}, tol={tol}")
        chosen, targets = self._targets(X, Y, loss)
        x, shape = self.first.points(X), self.parameters.shape

        def velocity(theta: AnyArray) -> AnyArray:
            return -self._at(theta.reshape(shape))._gradient(x, targets, chosen).ravel()

        (end,) = flow(velocity, self.parameters.ravel(), np.array([time]), tol)
        return NetworkBatch(first=self.first, parameters=end.reshape(shape))

    def _targets(self, X: Any, Y: Any, loss: str | Loss) -> tuple[Loss, AnyArray]:
        chosen = get_loss(loss)
        return chosen, chosen.targets(Y, len(np.asarray(X)), self.first)

    def _forward(self, x: AnyArray) -> tuple[list[AnyArray], list[AnyArray], AnyArray]:
        """Pre-activations (index 0 is a placeholder), activations, outputs."""
        net = self.first
        weights, biases = net.split(self.parameters)
        z, a = [x], [x]
        for layer, c in enumerate(net.scales):
            pre = c * (a[-1] @ weights[layer]) + net.beta * biases[layer][:, None, :]
            if layer < net.depth - 1:
                z.append(pre)
                a.append(np.asarray(net.activations[layer](pre)).astype(pre.dtype, copy=False))
        return z, a, pre

    def _backward(self, z: list[AnyArray], cotangent: AnyArray) -> list[AnyArray]:
        """η^ℓ by layer number; index 0 is a placeholder."""
        net = self.first
        weights, _ = net.split(self.parameters)
        eta = [cotangent] * (net.depth + 1)
        for layer in range(net.depth - 1, 0, -1):
            slope = np.asarray(net.activations[layer - 1].derivative(1)(z[layer])).astype(cotangent.dtype, copy=False)
            eta[layer] = slope * (net.scales[layer] * (eta[layer + 1] @ weights[layer].swapaxes(1, 2)))
        return eta

    def _gradient(self, x: AnyArray, targets: AnyArray, loss: Loss) -> AnyArray:
        net = self.first
        z, a, outputs = self._forward(x)
        eta = self._backward(z, np.stack([loss.gradient(one, targets) for one in outputs]))
        result = np.empty_like(self.parameters)
        weights, biases = net.split(result)
        for layer, c in enumerate(net.scales):
            np.multiply(c, a[layer].swapaxes(-1, -2) @ eta[layer + 1], out=weights[layer])
            np.multiply(net.beta, eta[layer + 1].sum(axis=1), out=biases[layer])
        return result
