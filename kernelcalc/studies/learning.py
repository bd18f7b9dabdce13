r"""Learning curves: loss and accuracy through training, on the training data and on held-out data, with bands over networks.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kernelcalc.arguments import check_can, check_count, check_number, floats, random_generator
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, ShapeError, renamed
from kernelcalc.kernels.network import check_network
from kernelcalc.kernels.points import check_points
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes, seed_of
from kernelcalc.studies.heldout import right_answers
from kernelcalc.training.checks import gram, sorted_times, times_of
from kernelcalc.training.descent import Descent
from kernelcalc.training.flow import gradient_flow
from kernelcalc.training.losses import Loss, resolve_loss
from kernelcalc.training.modes import Modes
from kernelcalc.training.start import along_points, covariance_root

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import Sequential


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LearningCurves(Result):
    """Loss and accuracy of networks through training; the same ``samples`` initialisations are followed throughout.

    Attributes
    ----------
    times : ndarray, (T,)
    levels : ndarray, (2,)
        Of the bands: quantiles over networks.
    samples : int
    train_loss, loss : ndarray, (T,)
        Of one network, expected, on training and on held-out data; exact under MSE, else means over the samples.
    train_loss_band, loss_band : ndarray, (2, T)
        Quantiles over the samples.
    ensemble_loss : ndarray, (T,)
        Of the mean output on held-out data: exact under MSE.
    accuracy, ensemble_accuracy : ndarray, (T,), or None
        Mean share of right answers of one network, and that of the mean output, on held-out data; None where targets are not
        classes.
    accuracy_band : ndarray, (2, T), or None
    """

    DIMENSIONS = axes(
        times="time",
        train_loss="time",
        train_loss_band="level time",
        loss="time",
        loss_band="level time",
        ensemble_loss="time",
        accuracy="time",
        accuracy_band="level time",
        ensemble_accuracy="time",
        levels="level",
    )
    TABLE: ClassVar[str] = "time"

    times: Array
    levels: Array
    samples: int
    train_loss: Array
    train_loss_band: Array
    loss: Array
    loss_band: Array
    ensemble_loss: Array
    accuracy: Array | None
    accuracy_band: Array | None
    ensemble_accuracy: Array | None

    def coordinates(self) -> dict[str, Any]:
        """Times, and levels of the bands."""
        return {"time": self.times, "level": self.levels}

    def columns(self) -> dict[str, Array]:
        """A row a time: losses on both data sets with their bands, accuracies where targets are classes."""
        named: dict[str, Array] = {"time": self.times, "train_loss": self.train_loss, "loss": self.loss}
        named |= {"loss_low": self.loss_band[0], "loss_high": self.loss_band[1], "ensemble_loss": self.ensemble_loss}
        if self.accuracy is not None and self.accuracy_band is not None and self.ensemble_accuracy is not None:
            low, high = self.accuracy_band
            named |= {"accuracy": self.accuracy, "accuracy_low": low, "accuracy_high": high}
            named |= {"ensemble_accuracy": self.ensemble_accuracy}
        return named

    def text(self) -> str:
        """The columns but those of the mean output as lines, with what they mean."""
        shown = {name: column for name, column in self.columns().items() if not name.startswith("ensemble")}
        widths = [max(len(name) + 2, 11) for name in shown]
        rows = ["".join(f"{name:>{w}}" for name, w in zip(shown, widths, strict=True))]
        for row in zip(*shown.values(), strict=True):
            rows.append("".join(f"{v:>{w}.4g}" for v, w in zip(row, widths, strict=True)))
        low, high = self.levels
        about = (
            "Learning curve of one network, expected: train_loss on the points trained on, the rest on those held out; "
            f"low, high: {low:.0%} and {high:.0%} of {self.samples} networks drawn"
        )
        return "\n".join([about, *rows])


@watched("fewer points, times and samples are faster")
@renamed(points="X", labels="Y", test_points="X_test", test_labels="Y_test")
def learning_curves(
    net: Sequential,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    Y_test: ArrayLike,
    times: ArrayLike,
    loss: Any = "mse",
    *,
    samples: int = 64,
    levels: tuple[float, float] = (0.05, 0.95),
    rng: Any = 0,
    ridge: float = 0.0,
    diag_reg: float = 0.0,
    descent: Descent | None = None,
) -> LearningCurves:
    r"""Loss and accuracy through training on both data sets, expected and with quantiles over networks.

    Initial outputs :math:`(Y(0), f_0(x_*)) \sim N(0, Σ)` are drawn for each output, and every draw follows its own training,
    :math:`f_t(x_*) = f_0(x_*) - Θ_{*X} W(t)` with :math:`W = \int ∇C(Y)`: in closed form under MSE, where
    :math:`W = R_t (Y(0) - Y^*)` as for :func:`~kernelcalc.studies.regression.predict_outputs`, integrated otherwise.

    Parameters
    ----------
    net : MLP or Sequential
        The network.
    X, Y, X_test, Y_test : array_like
        Training data (N) and held-out data (M), labels as the loss takes them.
    times : array_like, (T,)
        Gradient-flow times, infinity included under MSE.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`.
    samples, rng
        Initialisations and seed; quantiles of 64 have a standard error of a third of a standard deviation at 5 %.
    levels : (float, float)
        Quantiles of the bands.
    ridge, diag_reg, descent
        Under MSE, as for :func:`~kernelcalc.studies.regression.predict_outputs`.

    Raises
    ------
    ShapeError, InputError, NotFiniteError
        Data that do not fit together, levels outside [0, 1], a ridge or steps with a loss other than the MSE.

    Warns
    -----
    PrecisionWarning
        Rounding leaves fewer than three digits, under MSE.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.

    Examples
    --------
    >>> from kernelcalc.kernels.mlp import MLP
    >>> x = [[1.0, 0.0], [0.0, 1.0]]
    >>> found = learning_curves(MLP("erf", depth=2), x, [1.0, -1.0], x[:1], [1.0], [0.0, float("inf")])
    >>> float(found.loss.round(12)[1]) + 0.0, float(found.accuracy[1])
    (0.0, 1.0)
    """
    check_network(net)
    law = resolve_loss(loss)
    x, new = (check_points(v, k, positions=net.has_positions) for v, k in ((X, "X"), (X_test, "X_test")))
    y = law.encode(Y, net.n_out if net.n_out > 1 else None)
    t = law.encode(Y_test, y.shape[1])
    if (len(y), len(t)) != (len(x), len(new)):
        raise ShapeError(f"{len(x)} and {len(new)} labels", f"{len(y)} and {len(t)}")
    check_count("samples", samples, 2)
    check_can("descent", descent, "modes", "a kernelcalc.Descent")
    bounds = floats(levels, "levels", "two numbers")
    if bounds.shape != (2,) or not (0 <= bounds[0] <= bounds[1] <= 1):
        raise InputError("two levels between 0 and 1, increasing", repr(levels))
    kernels = net.kernels(np.concatenate([x, new]), only=("sigma", "theta"))
    sigma, theta = gram(kernels, "sigma"), gram(kernels, "theta")
    start = along_points(
        covariance_root(sigma), random_generator(rng).standard_normal((samples, len(sigma), y.shape[1]))
    )
    if law.is_quadratic:
        modes = Modes.of(theta[: len(x), : len(x)], _whole_ridge(theta[: len(x), : len(x)], ridge, diag_reg), descent)
        when = times_of(times, endless=True)
        when = when if descent is None else descent.at(when)
        modes.warn(float(when.max()), "learning curves", "use earlier times, ridge= or diag_reg=")
        columns = _exact(sigma, theta, modes, start, y, t, law, when)
    else:
        if ridge or diag_reg or descent is not None:
            raise InputError("ridge, diag_reg and descent under MSE", f"the loss {law.name}")
        unique, where = sorted_times(times)
        when = unique[where]
        found = list(_sampled(theta, start, y, t, law, unique))
        columns = iter([found[i] for i in where])
    return _gathered(when, bounds, samples, list(columns), t).with_origin(
        network=repr(net), data=digest(x, y, new, t), loss_name=law.name, seed=seed_of(rng)
    )


# Of one time: samples' training loss and held-out loss (S,), their outputs (S, M, n_out), exact means of both losses or None,
# and the mean output (M, n_out) with its loss.
_Moment = tuple["Array", "Array", "Array", tuple[float, float] | None, "Array", float]


def _whole_ridge(theta: Array, ridge: float, diag_reg: float) -> float:
    return check_number("ridge", ridge) + check_number("diag_reg", diag_reg) * float(np.diagonal(theta).mean())


def _exact(
    sigma: Array, theta: Array, modes: Modes, start: Array, y: Array, t: Array, law: Loss, times: Array
) -> Iterator[_Moment]:
    n, n_out = y.shape
    vectors = modes.vectors
    # Θ to every point, Σ to every point, in the eigenbasis of the training points
    reach, mixed, inner = theta[:, :n] @ vectors, sigma[:, :n] @ vectors, vectors.T @ sigma[:n, :n] @ vectors
    residual = along_points(vectors.T, start[:, :n] - y)
    targets = np.concatenate([y, t])
    for ramp in modes.flow(times)[1]:
        kept = ramp if modes.hidden else np.where(modes.null, 0.0, ramp)
        b = reach * kept
        outputs = start - along_points(b, residual)
        mean = b @ (vectors.T @ y)
        variance = np.diagonal(sigma) - 2 * np.sum(mixed * b, axis=1) + np.sum(b @ inner * b, axis=1)
        own = law.point_values(mean, targets) + n_out * np.maximum(variance, 0.0) / 2
        exact = float(own[:n].mean()), float(own[n:].mean())
        yield (*_losses(outputs, y, t, law), exact, mean[n:], float(law.point_values(mean[n:], t).mean()))


def _sampled(theta: Array, start: Array, y: Array, t: Array, law: Loss, times: Array) -> Iterator[_Moment]:
    n = len(y)
    for w, _ in gradient_flow(theta[:n, :n], start[:, :n], y, law, times):
        outputs = start - along_points(theta[:, :n], w)
        mean = outputs[:, n:].mean(axis=0)
        yield (*_losses(outputs, y, t, law), None, mean, float(law.point_values(mean, t).mean()))


def _losses(outputs: Array, y: Array, t: Array, law: Loss) -> tuple[Array, Array, Array]:
    n = len(y)
    inner, new = outputs[:, :n], outputs[:, n:]
    values = [law.point_values(f, np.broadcast_to(v, f.shape)).mean(axis=1) for f, v in ((inner, y), (new, t))]
    return values[0], values[1], new


def _gathered(times: Array, levels: Array, samples: int, found: list[_Moment], t: Array) -> LearningCurves:
    train, test = (np.array([one[i] for one in found]) for i in (0, 1))
    known = [one[3] for one in found]
    means = np.array([(a.mean(), b.mean()) if k is None else k for a, b, k in zip(train, test, known, strict=True)])
    right = [right_answers(one[2], t) for one in found]
    shares = None if right[0] is None else np.array([r.mean(axis=1) for r in right if r is not None])
    own = [right_answers(one[4], t) for one in found]
    return LearningCurves(
        times=times,
        levels=levels,
        samples=samples,
        train_loss=means[:, 0],
        train_loss_band=np.quantile(train, levels, axis=1),
        loss=means[:, 1],
        loss_band=np.quantile(test, levels, axis=1),
        ensemble_loss=np.array([one[5] for one in found]),
        accuracy=None if shares is None else shares.mean(axis=1),
        accuracy_band=None if shares is None else np.quantile(shares, levels, axis=1),
        ensemble_accuracy=None if shares is None else np.array([r.mean() for r in own if r is not None]),
    )
