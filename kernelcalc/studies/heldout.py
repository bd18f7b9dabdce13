r"""What a trained wide network says at points it was not trained on, as a short report.

With :math:`W = \int_0^t ∇C(Y)` the trained network has :math:`f_t(x_*) = f_0(x_*) - Θ_{*X} W` and
:math:`g_t(x_*) = g_0(x_*) - Λ_{*X} W`, g = Tr Hf. Under MSE both are Gaussian and their law is kernel regression
(:func:`kernelcalc.studies.regression.predict_outputs`); for another loss (Y(0), G(0), f_0, g_0) is drawn and followed.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from kernelcalc.arguments import check_count, check_number, random_generator
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, NotFiniteError, ShapeError, renamed
from kernelcalc.kernels.network import check_network
from kernelcalc.kernels.points import check_points
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes, seed_of
from kernelcalc.studies.regression import pointwise_law
from kernelcalc.training.checks import with_defined_kernels
from kernelcalc.training.flow import gradient_flow
from kernelcalc.training.losses import Loss, resolve_loss
from kernelcalc.training.modes import FEW_DIGITS
from kernelcalc.training.start import initial_draws

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import Sequential

_SHOWN_POINTS = 5


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeldOut(Result):
    """Outputs and g = Tr Hf of the trained network at M points; ``print`` shows a short table.

    Attributes
    ----------
    time : float
        Gradient-flow time of training; infinity is its end.
    samples : int or None
        Initialisations drawn; None where the law is kernel regression (MSE).
    condition_number, digits : float or None
        Condition number of Θ (ridge included), and the decimal digits that rounding leaves of kernel regression, about.
    targets, mean, std : ndarray, (M, n_out)
        Encoded targets; mean and standard deviation of the outputs over initialisations.
    g_mean, g_std : ndarray, (M, n_out), or None
        The same of g; None for a nonlinearity that is not smooth.
    loss, network_loss : float
        Of the mean output (an infinite ensemble), and expected of one network; under a cross-entropy the negative
        log-likelihood. Under MSE the second is the first plus half the sum of a point's variances.
    accuracy, network_accuracy : float or None
        Share of the points whose class the mean output, and on average one network, gets right; None where targets are
        not classes.
    """

    DIMENSIONS = axes(
        mean="point output", std="point output", targets="point output", g_mean="point output", g_std="point output"
    )

    time: float
    samples: int | None
    condition_number: float | None
    digits: float | None
    targets: Array
    mean: Array
    std: Array
    g_mean: Array | None
    g_std: Array | None
    loss: float
    network_loss: float
    accuracy: float | None
    network_accuracy: float | None

    def _trust(self) -> tuple[str, list[str]]:
        """How the numbers were found, and what must be said of them."""
        if self.samples is not None:
            return f"{self.samples} initialisations", []
        digits = 0.0 if self.digits is None else self.digits
        if digits >= FEW_DIGITS:
            return f"kernel regression, exact to about {int(digits)} digits", []
        left = f"about {int(digits)} digits are certain" if digits >= 1 else "no digit is certain"
        return "kernel regression, NOT exact", [
            f"  {left}: the tangent kernel's condition number is {self.condition_number:.2g}. Train for a finite time, add a",
            "  ridge, or scale the points so that they do not nearly coincide (raw instead of sphere).",
        ]

    def __str__(self) -> str:
        how, doubts = self._trust()
        when = "at the end of training" if math.isinf(self.time) else f"after training for time {self.time:.4g}"
        many = "infinitely many" if self.samples is None else str(self.samples)
        scores = [
            f"  {name:<41}loss {loss:.4g}" + ("" if accuracy is None else f", accuracy {accuracy:.1%}")
            for name, loss, accuracy in (
                ("one network, expected", self.network_loss, self.network_accuracy),
                (f"mean output of {many} networks", self.loss, self.accuracy),
            )
        ]
        several = self.mean.shape[1] > 1
        head = f"  {'point':>5} {'target':>8} {'output ± std':>22}"
        head += "" if self.g_mean is None else f" {'Tr Hf ± std':>22}"
        lines = [f"{len(self.mean)} held-out points {when} ({how})", *doubts, *scores, head]
        for i in range(min(_SHOWN_POINTS, len(self.mean))):
            # Of several outputs the one of the point's class.
            a = int(np.argmax(self.targets[i])) if several else 0
            line = f"  {i:>5} {a if several else f'{self.targets[i, 0]:.4g}':>8} "
            line += f"{f'{self.mean[i, a]:.4g} ± {self.std[i, a]:.2g}':>22}"
            if self.g_mean is not None and self.g_std is not None:
                line += f" {f'{self.g_mean[i, a]:.4g} ± {self.g_std[i, a]:.2g}':>22}"
            lines.append(line)
        if several:
            lines.append("  (the output of the point's own class)")
        return "\n".join(lines)


@watched("fewer points and samples are faster")
@renamed(points="X", labels="Y", test_points="X_test", test_labels="Y_test")
def held_out(
    net: Sequential,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    Y_test: ArrayLike,
    loss: Any = "mse",
    *,
    time: float = math.inf,
    samples: int = 8,
    rng: Any = 0,
    ridge: float = 0.0,
    diag_reg: float = 0.0,
) -> HeldOut:
    """Predictions of the trained network at held-out points, and how good they are.

    Parameters
    ----------
    net : MLP or Sequential
        The network.
    X, Y : array_like, (N, n_0) and as the loss takes them
        Training data.
    X_test, Y_test : array_like, (M, n_0) and likewise
        Held-out data.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`.
    time : float
        Gradient-flow time; for a loss other than the MSE it must be finite.
    samples, rng
        Initialisations and seed, for a loss other than the MSE.
    ridge, diag_reg : float
        See :func:`kernelcalc.studies.regression.predict_outputs`; under MSE.

    Raises
    ------
    ShapeError, InputError, NotFiniteError
        Data that do not fit together, a time below zero or (other than for the MSE) infinite or with a ridge.

    Warns
    -----
    PrecisionWarning
        Rounding leaves fewer than three digits of kernel regression.

    Examples
    --------
    A held-out point equal to a training point is learned.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> x = [[1.0, 0.0], [0.0, 1.0]]
    >>> found = held_out(MLP("erf", depth=2), x, [1.0, -1.0], x[:1], [1.0])
    >>> found.mean.round(12), found.accuracy
    (array([[1.]]), 1.0)
    """
    check_network(net)
    law, time = resolve_loss(loss), check_number("time", time, finite=False)
    positions = net.has_positions
    check_count("samples", samples, 2)
    random_generator(rng)
    x, new = (check_points(v, name, positions=positions) for v, name in ((X, "X"), (X_test, "X_test")))
    n_out = net.n_out if net.n_out > 1 else None
    y = law.encode(Y, n_out)
    t = law.encode(Y_test, y.shape[1])
    if len(t) != len(new):
        raise ShapeError(f"Y_test of {len(new)} rows, as X_test has", f"{len(t)}")
    condition: float | None = None
    digits: float | None = None
    if law.is_quadratic:
        exact = pointwise_law(net, x, y, new, time, ridge=ridge, diag_reg=diag_reg, g=True)
        condition, digits = exact.condition_number, exact.digits
        mean, std, drawn = exact.mean, _every_output(exact.std, t.shape), None
        g_mean = exact.g_mean
        g_std = None if exact.g_std is None else _every_output(exact.g_std, t.shape)
        network_loss = float(law.point_values(mean, t).mean() + np.sum(std**2, axis=1).mean() / 2)
        network_accuracy = _gaussian_accuracy(mean, std[:, 0], t)
    else:
        if ridge or diag_reg:
            raise InputError("a ridge under MSE", f"the loss {law.name}")
        f, g = sampled_outputs(net, x, y, new, law, time, samples, rng)
        mean, std, drawn = f.mean(axis=0), f.std(axis=0, ddof=1), samples
        g_mean, g_std = (None, None) if g is None else (g.mean(axis=0), g.std(axis=0, ddof=1))
        network_loss = float(law.point_values(f, np.broadcast_to(t, f.shape)).mean())
        network_accuracy = _accuracy(f, t)
    return HeldOut(
        time=time,
        samples=drawn,
        condition_number=condition,
        digits=digits,
        targets=t,
        mean=mean,
        std=std,
        g_mean=g_mean,
        g_std=g_std,
        loss=float(law.point_values(mean, t).mean()),
        network_loss=network_loss,
        accuracy=_accuracy(mean, t),
        network_accuracy=network_accuracy,
    ).with_origin(
        network=repr(net), data=digest(x, y, new, t), loss_name=law.name, seed=None if drawn is None else seed_of(rng)
    )


def sampled_outputs(
    net: Sequential, x: Array, y: Array, new: Array, law: Loss, time: float, samples: int, rng: Any
) -> tuple[Array, Array | None]:
    """Draws (samples, M, n_out) of f and g at the new points after training on (x, y)."""
    if not math.isfinite(time):
        raise NotFiniteError("a finite time", f"{time}", "the end of training exists in closed form for the MSE only")
    n = len(x)
    kernels = net.kernels(np.concatenate([x, new]))
    smooth = "xi" in kernels.available
    kernels = with_defined_kernels(kernels)
    f0, g0 = initial_draws(kernels, y.shape[1], samples, rng)
    ((w, _),) = gradient_flow(np.asarray(kernels.theta)[:n, :n], f0[:, :n], y, law, np.array([time]))
    f = f0[:, n:] - np.matmul(np.asarray(kernels.theta)[n:, :n], w)
    return f, g0[:, n:] - np.matmul(np.asarray(kernels.lam)[n:, :n], w) if smooth else None


def _every_output(std: Array | None, shape: tuple[int, ...]) -> Array:
    assert std is not None
    return np.broadcast_to(std[:, None], shape)


def _kind(targets: Array) -> str | None:
    if targets.shape[1] > 1:
        one_hot = np.isin(targets, (0.0, 1.0)).all() and (targets.sum(axis=1) == 1).all()
        return "classes" if one_hot else None
    return "signs" if np.isin(targets, (-1.0, 1.0)).all() else None


def right_answers(outputs: Array, targets: Array) -> NDArray[np.bool_] | None:
    """Which of outputs (..., M, n_out) name their point's class, (..., M); None where targets are not classes."""
    kind = _kind(targets)
    if kind is None:
        return None
    right = outputs.argmax(axis=-1) == targets.argmax(axis=1) if kind == "classes" else np.sign(outputs) == targets
    return np.asarray(right if kind == "classes" else right[..., 0])


def _accuracy(outputs: Array, targets: Array) -> float | None:
    """Share of right answers, of outputs (..., M, n_out)."""
    right = right_answers(outputs, targets)
    return None if right is None else float(right.mean())


def class_shares(mean: Array, std: Array) -> Array:
    r"""Share of networks whose largest output is each class, (M, n_out), of independent Gaussian outputs.

    .. math:: P(f_a > f_b \text{ for all } b \ne a) = \int φ(z) \prod_b Φ(z + (μ_a - μ_b)/s) dz

    Parameters
    ----------
    mean : ndarray (M, n_out)
    std : ndarray (M,)
        Of every output at a point.
    """
    safe = np.maximum(std, np.finfo(np.float64).tiny ** 0.5)[:, None]
    # The trapezoidal rule is exact to rounding for a smooth integrand that decays like a Gaussian.
    z, step = np.linspace(-9, 9, 181, retstep=True)
    weight = np.exp(-(z**2) / 2) * step / math.sqrt(2 * math.pi)
    shares = np.empty_like(mean)
    for a in range(mean.shape[1]):
        lead = np.delete((mean[:, a : a + 1] - mean) / safe, a, axis=1)
        shares[:, a] = ndtr(z + lead[:, :, None]).prod(axis=1) @ weight
    return shares


def _gaussian_accuracy(mean: Array, std: Array, targets: Array) -> float | None:
    """Expected share of right answers of independent Gaussian outputs, of equal variance at a point."""
    kind = _kind(targets)
    if kind is None:
        return None
    if kind == "signs":
        safe = np.maximum(std, np.finfo(np.float64).tiny ** 0.5)[:, None]
        return float(ndtr(targets * mean / safe).mean())
    return float(class_shares(mean, std)[targets.astype(bool)].mean())
