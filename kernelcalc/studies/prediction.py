r"""Predictions for a person who trains networks: learning rates, time scales, loss curves, outputs at test points.

Gradient descent on the parameters with learning rate η moves the outputs as gradient flow does in time η per step, as
long as η < 2/λ_max(H). In the limit λ_max(H) is that of :math:`𝓗C^{1/2} Θ 𝓗C^{1/2}`, because the operator norm of S
vanishes.

Frameworks train the weights themselves: see :mod:`kernelcalc.kernels.parametrisation`.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1; Jacot, Gabriel, Hongler (NeurIPS 2018), Section 5 (time constants).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.errors import InputError, ShapeError, SmoothnessError
from kernelcalc.kernels.parametrisation import pytorch_kernels, standard_theta
from kernelcalc.training.checks import gram
from kernelcalc.training.flow import gradient_flow, hessian_moments
from kernelcalc.training.losses import Loss, resolve_loss
from kernelcalc.training.mse import mse_moments
from kernelcalc.training.sharpness import condition_number, top_eigenvalue
from kernelcalc.training.start import covariance_root, initial_draws
from kernelcalc.training.trajectory import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import MLP

_NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")


def largest_learning_rate(theta: ArrayLike, outputs: ArrayLike, labels: ArrayLike, loss: Any = "mse") -> float:
    """2/λ_max(H): the largest stable step of gradient descent at these outputs.

    Parameters
    ----------
    theta : array_like, (N, N)
        Θ, or :func:`kernelcalc.kernels.parametrisation.standard_theta` for the standard parametrisation.
    outputs : array_like, (N,) or (N, n_out)
        Y; only its shape matters under MSE.
    labels : array_like
        As the loss takes them.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`.

    Examples
    --------
    >>> round(largest_learning_rate(np.diag([1.0, 4.0]), [0.0, 0.0], [0.0, 0.0]), 12)
    1.0
    """
    y = np.asarray(outputs, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    top = top_eigenvalue(np.asarray(theta, dtype=np.float64), resolve_loss(loss).hessian(y, labels))
    return 2 / top if top > 0 else math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class TestPrediction:
    """Gaussian law of f and g at test points, for a network trained on the MSE; outputs are independent.

    Attributes
    ----------
    mean : ndarray, (M, n_out)
    covariance : ndarray, (M, M)
        Over initialisations, of each output.
    g_mean, g_covariance : ndarray or None
        The same for g = Tr Hf; None for a nonlinearity that is not smooth.
    """

    __test__ = False

    mean: Array
    covariance: Array
    g_mean: Array | None
    g_covariance: Array | None


def predict_outputs(
    net: MLP, points: ArrayLike, targets: ArrayLike, test_points: ArrayLike, time: float = math.inf
) -> TestPrediction:
    r"""Law of the trained network at test points: kernel regression stopped at a time, under MSE.

    With R = Θ^{-1}(Id - e^{-tΘ/N}) on the data, :math:`B = Θ_{*X} R` and :math:`D = Λ_{*X} R`,

    .. math::
        f_t(x_*) = f_0(x_*) - B (Y(0) - Y^*), \qquad g_t(x_*) = g_0(x_*) - D (Y(0) - Y^*).

    Parameters
    ----------
    net : MLP
        The network.
    points, targets : array_like, (N, n_0) and (N,) or (N, n_out)
        Training data.
    test_points : array_like, (M, n_0)
        Where to predict.
    time : float
        Gradient-flow time; infinity is the end of training.

    Notes
    -----
    At infinity eigenvalues of Θ below N·eps·λ_max count as zero.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3 and Corollary 1.

    Examples
    --------
    At a training point the trained network has learned its target.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> prediction = predict_outputs(MLP("erf", depth=2), [[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], [[1.0, 0.0]])
    >>> prediction.mean.round(12)
    array([[1.]])
    """
    if math.isnan(time) or time < 0:
        raise InputError("a time ≥ 0", repr(time))
    y = resolve_loss("mse").encode(targets)
    inner, cross, outer = net.kernels(points), net.kernels(test_points, points), net.kernels(test_points)
    if len(y) != inner.shape[0]:
        raise ShapeError(f"{inner.shape[0]} targets", f"{len(y)}")
    values, vectors = np.linalg.eigh(inner.theta)
    n = len(y)
    null = values <= n * np.finfo(np.float64).eps * values[-1]
    safe = np.where(null, 1.0, values)
    grown = -np.expm1(-safe * time / n) / safe
    ramp = np.where(null, 0.0 if math.isinf(time) else time / n, grown)

    def law(drift: Array, start_with_y: Array, start: Array) -> tuple[Array, Array]:
        b = drift @ (vectors * ramp) @ vectors.T
        mixed = start_with_y @ b.T
        return b @ y, start - mixed - mixed.T + b @ inner.sigma @ b.T

    mean, covariance = law(cross.theta, cross.sigma, outer.sigma)
    smooth = "xi" in outer.available
    g_mean, g_covariance = law(cross.lam, cross.phi, outer.xi) if smooth else (None, None)
    return TestPrediction(mean=mean, covariance=covariance, g_mean=g_mean, g_covariance=g_covariance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What :func:`predict` found; ``print`` shows the report.

    Attributes
    ----------
    network, loss_name : str
    n, n_in, n_out : int
    width : int
    samples : int or None
        Initialisations drawn; None under MSE, where everything is exact.
    spectrum : ndarray
        Eigenvalues of Θ, descending.
    curvature : float
        c, largest curvature of one point's loss: 1 for the MSE, ¼ and ½ for the cross-entropies, infinite where unknown.
    moments : Trajectory
        Loss and moments at ``moments.times``; Tr S is zero where ``smooth`` is False.
    sample_top, sample_condition : ndarray, (samples, T)
        λ_max(H) and condition number of I at these times; a single row under MSE.
    sample_standard_top, sample_pytorch_top : ndarray, (samples, T)
        λ_max(H) in the standard parametrisation and with PyTorch's default layers at this width, at times of their own
        flows: those of ``moments.times`` after as many steps at a stable rate.
    standard_times, pytorch_times : ndarray, (T,)
        These times.
    smooth : bool
        Whether the nonlinearity has the derivatives that Tr S needs.
    """

    network: str
    loss_name: str
    n: int
    n_in: int
    n_out: int
    width: int
    samples: int | None
    spectrum: Array
    curvature: float
    moments: Trajectory
    sample_top: Array
    sample_condition: Array
    sample_standard_top: Array
    sample_pytorch_top: Array
    standard_times: Array
    pytorch_times: Array
    smooth: bool

    @property
    def top(self) -> Array:
        """λ_max(H) at the times, mean over initialisations."""
        return np.asarray(self.sample_top.mean(axis=0))

    @property
    def top_std(self) -> Array:
        """Its standard deviation over initialisations; zero under MSE."""
        return np.asarray(self.sample_top.std(axis=0, ddof=1)) if self.samples else np.zeros_like(self.top)

    @property
    def conditions(self) -> Array:
        """Condition number of I at the times, median over initialisations."""
        return np.asarray(np.median(self.sample_condition, axis=0))

    @property
    def learning_rates(self) -> Array:
        """Largest learning rates at the times stable for every initialisation, 2 over the largest λ_max(H) seen."""
        return np.asarray(2 / self.sample_top.max(axis=0))

    @property
    def standard_learning_rates(self) -> Array:
        """The same in the standard parametrisation, after as many steps."""
        return np.asarray(2 / self.sample_standard_top.max(axis=0))

    @property
    def pytorch_learning_rates(self) -> Array:
        """The same for PyTorch's default layers, after as many steps."""
        return np.asarray(2 / self.sample_pytorch_top.max(axis=0))

    @property
    def standard_learning_rate(self) -> float:
        """The largest stable learning rate at the first time, normally the start, in the standard parametrisation."""
        return float(self.standard_learning_rates[0])

    @property
    def pytorch_learning_rate(self) -> float:
        """The same for PyTorch's default layers."""
        return float(self.pytorch_learning_rates[0])

    @property
    def condition_number(self) -> float:
        """λ_max/λ_min of Θ, infinite when λ_min is zero to rounding."""
        least = self.spectrum[-1]
        return float(self.spectrum[0] / least) if least > self.n * EPS * self.spectrum[0] else math.inf

    @property
    def time_constants(self) -> Array:
        """Times N/(c λ_j) in which mode j of Θ decays by e, c: ``curvature``; a cross-entropy flattens and takes longer.

        Where c is unknown, those of a loss of curvature 1.
        """
        floor = self.spectrum[0] * np.finfo(np.float64).tiny
        return self.n / (_finite_curvature(self.curvature) * np.maximum(self.spectrum, floor))

    def __str__(self) -> str:
        exact = self.samples is None
        top = f"{self.top[0]:.4g}" if exact else f"{self.top[0]:.4g} ± {self.top_std[0]:.2g}"
        lines = [
            f"{self.network}",
            f"{self.n} points of {self.n_in} inputs, {self.n_out} output{'s'[: self.n_out - 1]}, loss {self.loss_name}",
            "",
            "At the start, and at every later time: the Hessian's part I is constant under MSE" if exact
            else f"At the start; rates from the largest lambda_max of {self.samples} initialisations",
            f"  largest eigenvalue of the Hessian          {top}",
            f"  largest stable learning rate, NTK          {self.learning_rates[0]:.4g}",
            f"  the same, standard parametrisation         {self.standard_learning_rate:.4g}   (width {self.width}; "
            "weights of standard deviation sigma_w/sqrt(n), biases beta)",
            f"  the same, PyTorch's default layers         {self.pytorch_learning_rate:.4g}   (width {self.width}; "
            "weights and biases uniform in ±1/sqrt(n))",
            f"  condition number of the tangent kernel     {self.condition_number:.4g}",
            "  (n: inputs of the layer. Rates are those of infinite width: lambda_max of a finite network is larger,",
            "  for relu and ten outputs by 10 to 30 % at width 1000.)",
            "",
            *self._modes(),
            "",
            *self._curves(),
        ]  # fmt: skip
        if not exact:
            lines += ["", *self._rates()]
        if not self.smooth:
            lines += [
                "",
                "The nonlinearity is not smooth enough for the theory's kernels of S (Phi, Lambda, Upsilon, Xi): Tr H above is",
                "Tr I alone. Where sigma'' = 0 almost everywhere, as for relu, Tr S = 0 and this is Tr H indeed; the limit of",
                "Tr S^2 is then that of `kernelcalc sagun split`.",
            ]
        return "\n".join(lines)

    def _modes(self) -> list[str]:
        tau, shown = self.time_constants, [j for j in (1, 2, 3, 5, 10, 30, 100, 300) if j <= self.n]
        kind, formula = "Time constants", f"N/(c lambda_j), c = {self.curvature:g} the largest curvature of the loss"
        if self.samples is None:
            formula = "N/lambda_j"
        elif math.isfinite(self.curvature):
            kind = "Least time constants"
        else:
            formula = "N/lambda_j, for a loss of curvature 1: this one's has no known bound"
        return [
            f"{kind} of the tangent kernel's modes (gradient-flow time; steps = time / learning rate)",
            "  mode  " + "".join(f"{j:>11d}" for j in shown),
            "  time  " + "".join(f"{tau[j - 1]:>11.4g}" for j in shown),
            f"  ({formula})",
        ]

    def _curves(self) -> list[str]:
        m = self.moments
        how = "exact" if self.samples is None else f"{self.samples} initialisations"
        lines = [
            f"Through training, mean ± standard deviation of one network over initialisations ({how})",
            f"  {'time':>10} {'loss':>22} {'Tr H':>22}",
        ]
        for i, t in enumerate(m.times):
            loss = f"{m.loss[i]:.4g} ± {m.loss_std[i]:.2g}"
            trace = f"{m.trace_h[0, i]:.4g} ± {m.trace_h_std[0, i]:.2g}"
            lines.append(f"  {t:>10.4g} {loss:>22} {trace:>22}")
        return lines

    def _rates(self) -> list[str]:
        columns = ("rate, NTK", "standard", "PyTorch")
        lines = [
            "Largest eigenvalue, condition number of I (median) and largest stable rates through training",
            f"  {'time':>10} {'lambda_max':>22} {'condition':>11}" + "".join(f" {name:>11}" for name in columns),
        ]
        rates = np.stack([self.learning_rates, self.standard_learning_rates, self.pytorch_learning_rates], axis=1)
        for i, t in enumerate(self.moments.times):
            top = f"{self.top[i]:.4g} ± {self.top_std[i]:.2g}"
            numbers = "".join(f" {v:>11.4g}" for v in (self.conditions[i], *rates[i]))
            lines.append(f"  {t:>10.4g} {top:>22}{numbers}")
        return [
            *lines,
            "  (standard, PyTorch: rates of these two parametrisations, as above, after as many steps at a stable rate as",
            "  the NTK parametrisation takes to the time in the first column)",
        ]


def predict(
    net: MLP,
    points: ArrayLike,
    labels: ArrayLike,
    loss: Any = "mse",
    *,
    times: ArrayLike | None = None,
    width: int = 1000,
    samples: int = 8,
    rng: Any = 0,
    n_out: int | None = None,
    progress: bool = False,
) -> Prediction:
    """Learning rates, time scales and expected curves for a network on a data set.

    Parameters
    ----------
    net : MLP
        The network.
    points : array_like, (N, n_0)
        Training data.
    labels : array_like
        As the loss takes them.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`. Under MSE everything is exact (Corollary 1).
    times : array_like, optional
        Gradient-flow times; by default 0 and six from the fastest mode's to a thousand times it.
    width : int
        Hidden width, for the standard parametrisation and PyTorch's.
    samples, rng
        Initialisations and seed, for a loss other than the MSE.
    n_out : int, optional
        Number of outputs; by default the network's, or where that is 1 what the labels show.
    progress : bool
        Show a bar (needs tqdm) for a loss other than the MSE.

    Returns
    -------
    Prediction

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1, Corollary 1.

    Examples
    --------
    >>> from kernelcalc.kernels.mlp import MLP
    >>> report = predict(MLP("erf", depth=2), [[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], width=100)
    >>> print(report)
    MLP(...
    2 points of 2 inputs, 1 output, loss mse
    ...
    """
    law = resolve_loss(loss)
    x = np.asarray(points, dtype=np.float64)
    targets = law.encode(labels, n_out or (net.n_out if net.n_out > 1 else None))
    held = net.kernels(x)
    smooth = "xi" in held.available
    kernels = with_defined_kernels(held)
    theta = gram(kernels, "theta", len(targets))
    spectrum = np.asarray(np.linalg.eigvalsh(theta)[::-1], dtype=np.float64)
    if times is None:
        fastest = len(targets) / (_finite_curvature(law.curvature_bound) * spectrum[0])
        times = np.concatenate([[0.0], fastest * np.geomspace(1, 1000, 6)])
    standard = standard_theta(net, x, [width] * (net.depth - 1))
    pytorch_sigma, pytorch = pytorch_kernels(net, x, [width] * (net.depth - 1))
    exact = law.name == "mse"
    if exact:
        moments: Trajectory = mse_moments(kernels, targets, times, kmax=2)
        draws = pytorch_draws = np.zeros((1, *targets.shape))
    else:
        moments = hessian_moments(kernels, targets, times, law, samples=samples, rng=rng, kmax=2, progress=progress)
        draws = initial_draws(kernels, targets.shape[1], samples, rng)[0]
        noise = np.random.default_rng(rng).standard_normal(draws.shape)
        pytorch_draws = covariance_root(pytorch_sigma) @ noise
    standard_times, pytorch_times = (
        moments.times * spectrum[0] / float(np.linalg.eigvalsh(matrix)[-1]) for matrix in (standard, pytorch)
    )
    top, conditions = _through_training(
        theta, draws, targets, law, moments.times, (top_eigenvalue, condition_number), constant=exact
    )
    (standard_top,) = _through_training(
        standard, draws, targets, law, standard_times, (top_eigenvalue,), constant=exact
    )
    (pytorch_top,) = _through_training(
        pytorch, pytorch_draws, targets, law, pytorch_times, (top_eigenvalue,), constant=exact
    )
    return Prediction(
        network=repr(net),
        loss_name=law.name,
        n=len(targets),
        n_in=x.shape[1],
        n_out=targets.shape[1],
        width=width,
        samples=None if exact else samples,
        spectrum=spectrum,
        curvature=law.curvature_bound,
        moments=moments,
        sample_top=top,
        sample_condition=conditions,
        sample_standard_top=standard_top,
        sample_pytorch_top=pytorch_top,
        standard_times=standard_times,
        pytorch_times=pytorch_times,
        smooth=smooth,
    )


def _finite_curvature(bound: float) -> float:
    return bound if math.isfinite(bound) else 1.0


def _through_training(
    theta: Array,
    start: Array,
    targets: Array,
    law: Loss,
    times: Array,
    of: tuple[Callable[[Array, Array], float], ...],
    *,
    constant: bool,
) -> list[Array]:
    """Functions of (Θ, 𝓗C) at the times along the flow of Θ, (samples, T) each; ``constant``: 𝓗C does not change."""
    if constant:
        h = law.hessian(start[0], targets)
        return [np.full((1, times.size), function(theta, h)) for function in of]
    unique, where = np.unique(times, return_inverse=True)
    result = np.empty((len(of), len(start), unique.size))
    for i, (_, batch) in enumerate(gradient_flow(theta, start, targets, law, unique)):
        for j, y in enumerate(batch):
            h = law.hessian(y, targets)
            result[:, j, i] = [function(theta, h) for function in of]
    return list(result[..., where])


def with_defined_kernels(kernels: Any) -> Any:
    """The kernels; of a nonlinearity that is not smooth with Φ, Λ, Υ, Ξ set to zero, so that S drops out."""
    if "xi" in kernels.available:
        return kernels
    if "theta" not in kernels.available:
        raise SmoothnessError("a continuous nonlinearity", "one that jumps", "use erf or probit for a smooth step")
    zero = np.zeros(kernels.shape)
    return SimpleNamespace(**{name: getattr(kernels, name) if name in ("sigma", "theta") else zero for name in _NAMES})
