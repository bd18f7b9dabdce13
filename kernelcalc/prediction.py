r"""Predictions for a person who trains networks: learning rates, time scales, loss curves, outputs at test points.

Gradient descent on the parameters with learning rate η moves the outputs as gradient flow does in time η per step, as
long as η < 2/λ_max(H). In the limit λ_max(H) is that of :math:`𝓗C^{1/2} Θ 𝓗C^{1/2}`, because the operator norm of S
vanishes.

Notes
-----
Standard parametrisation. The network of the theory has weights (σ_w/√n) W with W ~ N(0, 1) and biases βb; frameworks
train w = (σ_w/√n) W and b' = βb themselves. The function is the same, but a step of w counts (n/σ_w²) times one of W, n
being the number of inputs of the layer, and a step of b' counts 1/β² times one of b. So the same gradient descent follows

.. math::
    Θ_{std}^{(ℓ+1)} = σ_w^2 E_{11} Θ_{std}^{(ℓ)} + \frac{n_ℓ}{σ_w^2} (Σ^{(ℓ+1)} - β^2) + 1

and its largest stable learning rate is 2/λ_max with Θ_std for Θ: at the start, and through training along the flow of
Θ_std. That flow has a time of its own, η_std a step; a report compares the two after as many steps at stable rates, that
is at times in the ratio λ_max(Θ)/λ_max(Θ_std). PyTorch's default ``Linear`` draws weights and biases
from U(-1/√n, 1/√n), of variance 1/(3n): σ_w = 1/√3 and β = 1/√(3n), a β that differs between the first layer and the
hidden ones; take the hidden width, or β = 0 in the limit.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1; Jacot, Gabriel, Hongler (NeurIPS 2018), Section 5 (time constants).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError, ShapeError, SmoothnessError
from .gradient_flow import SampledTrajectory, gradient_flow, gram, hessian_moments, initial_draws
from .losses import Loss, curvature_sqrt, resolve_loss
from .weighted_kernel import symmetric_weighted_kernel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .network import MLP

    Array = NDArray[np.float64]

# Below this many outputs a dense eigensolver is as fast as Lanczos and gives the whole spectrum.
_DENSE = 600
_NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")


def top_eigenvalue(theta: Array, hessian: Array) -> float:
    """λ_max of 𝓗C^½ Θ 𝓗C^½; ``hessian`` as :meth:`kernelcalc.losses.Loss.hessian` gives it for (N, n_out) outputs.

    Examples
    --------
    >>> top_eigenvalue(np.diag([1.0, 3.0]), np.array([[0.5], [0.25]]))
    0.75
    """
    has_blocks = hessian.ndim == 3
    root = curvature_sqrt(hessian, has_blocks)
    n, n_out = root.shape[:2]
    if not has_blocks:
        return max(float(np.linalg.eigvalsh(root[:, a, None] * theta * root[:, a])[-1]) for a in range(n_out))
    if n * n_out <= _DENSE:
        return float(np.linalg.eigvalsh(symmetric_weighted_kernel(theta, root, has_blocks=True))[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    def product(v: Array) -> Array:
        inner = np.einsum("iab,ib->ia", root, v.reshape(n, n_out))
        return np.asarray(np.einsum("iab,ib->ia", root, theta @ inner)).ravel()

    operator = LinearOperator((n * n_out, n * n_out), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n * n_out)
    return float(eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


def largest_learning_rate(theta: ArrayLike, outputs: ArrayLike, labels: ArrayLike, loss: Any = "mse") -> float:
    """2/λ_max(H): the largest stable step of gradient descent at these outputs.

    Parameters
    ----------
    theta : array_like, (N, N)
        Θ, or :func:`standard_theta` for the standard parametrisation.
    outputs : array_like, (N,) or (N, n_out)
        Y; only its shape matters under MSE.
    labels : array_like
        As the loss takes them.
    loss : str, Loss or expression
        See :func:`kernelcalc.losses.resolve_loss`.

    Examples
    --------
    >>> round(largest_learning_rate(np.diag([1.0, 4.0]), [0.0, 0.0], [0.0, 0.0]), 12)
    1.0
    """
    y = np.asarray(outputs, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    top = top_eigenvalue(np.asarray(theta, dtype=np.float64), resolve_loss(loss).hessian(y, labels))
    return 2 / top if top > 0 else math.inf


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

    Examples
    --------
    A linear model f = w·x + b' has ∇f·∇f' = x·x' + 1.

    >>> from kernelcalc.network import MLP
    >>> standard_theta(MLP([], depth=1), [[1.0, 2.0]], [])
    array([[6.]])
    """
    from .gaussian.expectation import gaussian_expectation

    x = np.asarray(points, dtype=np.float64)
    if len(widths) != net.depth - 1 or any(w < 1 for w in widths):
        raise InputError(f"{net.depth - 1} positive hidden widths for depth {net.depth}", f"{tuple(widths)}")
    layers = net.kernels(x, only=("sigma",)).layers
    weight, bias = net.sigma_w**2, net.beta**2
    result = (x.shape[1] / weight) * (layers[0].sigma - bias) + 1
    for act, width, before, after in zip(net.activations, widths, layers[:-1], layers[1:], strict=True):
        q = np.diagonal(before.sigma)
        derivative = act.derivative(1)
        e11 = gaussian_expectation(derivative, derivative, q[:, None], q[None, :], before.sigma)
        result = weight * e11 * result + (width / weight) * (after.sigma - bias) + 1
    return np.asarray(result)


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

    >>> from kernelcalc.network import MLP
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
    spectrum : ndarray
        Eigenvalues of Θ, descending.
    curvature : float
        Largest curvature of one point's loss: 1 for the MSE, ¼ and ½ for the cross-entropies, 1 where unknown.
    moments : SampledTrajectory
        Loss and moments at ``moments.times``; Tr S is zero where ``smooth`` is False.
    top : ndarray, (T,)
        λ_max(H) at these times, mean over initialisations.
    standard_top, standard_times : ndarray, (T,)
        λ_max(H) in the standard parametrisation at this width, mean over initialisations, at times of its own flow:
        those of ``moments.times`` after as many steps at a stable rate.
    smooth : bool
        Whether the nonlinearity has the derivatives that Tr S needs.
    """

    network: str
    loss_name: str
    n: int
    n_in: int
    n_out: int
    width: int
    spectrum: Array
    curvature: float
    moments: SampledTrajectory
    top: Array
    standard_top: Array
    standard_times: Array
    smooth: bool

    @property
    def learning_rates(self) -> Array:
        """Largest stable learning rates 2/λ_max(H) at the times, NTK parametrisation."""
        return 2 / self.top

    @property
    def standard_learning_rates(self) -> Array:
        """The same in the standard parametrisation, after as many steps."""
        return 2 / self.standard_top

    @property
    def standard_learning_rate(self) -> float:
        """The largest stable learning rate at the first time, normally the start, in the standard parametrisation."""
        return float(self.standard_learning_rates[0])

    @property
    def condition_number(self) -> float:
        """λ_max/λ_min of Θ, infinite when λ_min is zero to rounding."""
        least = self.spectrum[-1]
        return float(self.spectrum[0] / least) if least > self.n * 2.3e-16 * self.spectrum[0] else math.inf

    @property
    def time_constants(self) -> Array:
        """Times N/(c λ_j) in which mode j of Θ decays by e, c: ``curvature``; a cross-entropy flattens and takes longer."""
        floor = self.spectrum[0] * np.finfo(np.float64).tiny
        return self.n / (self.curvature * np.maximum(self.spectrum, floor))

    def __str__(self) -> str:
        m, tau = self.moments, self.time_constants
        shown = [j for j in (1, 2, 3, 5, 10, 30, 100, 300) if j <= self.n]
        lines = [
            f"{self.network}",
            f"{self.n} points of {self.n_in} inputs, {self.n_out} output{'s'[: self.n_out - 1]}, loss {self.loss_name}",
            "",
            "At the start",
            f"  largest eigenvalue of the Hessian          {self.top[0]:.4g}",
            f"  largest stable learning rate, NTK          {self.learning_rates[0]:.4g}",
            f"  the same, standard parametrisation         {self.standard_learning_rate:.4g}   (width {self.width})",
            f"  condition number of the tangent kernel     {self.condition_number:.4g}",
            "",
            "Time constants of the tangent kernel's modes (gradient-flow time; steps = time / learning rate)",
            "  mode  " + "".join(f"{j:>11d}" for j in shown),
            "  time  " + "".join(f"{tau[j - 1]:>11.4g}" for j in shown),
            "",
            f"Through training, mean ± standard deviation over {m.samples} initialisations",
            f"  {'time':>10} {'loss':>22} {'Tr H':>22} {'lambda_max':>11} {'rate, NTK':>11} {'standard':>11}",
        ]
        for i, t in enumerate(m.times):
            loss = f"{m.loss[i]:.4g} ± {m.loss_std[i]:.2g}"
            trace = f"{m.trace_h[0, i]:.4g} ± {m.trace_h_std[0, i]:.2g}"
            numbers = (self.top[i], self.learning_rates[i], self.standard_learning_rates[i])
            lines.append(f"  {t:>10.4g} {loss:>22} {trace:>22} " + " ".join(f"{v:>11.4g}" for v in numbers))
        if not self.smooth:
            lines += ["", "The nonlinearity is not smooth: Tr H is Tr I alone, Tr S has no limit for it."]
        return "\n".join(lines)


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
        See :func:`kernelcalc.losses.resolve_loss`.
    times : array_like, optional
        Gradient-flow times; by default 0 and six from the fastest mode's to a thousand times it.
    width : int
        Hidden width, for the standard parametrisation.
    samples, rng
        Initialisations and seed.
    n_out : int, optional
        Number of outputs; by default the network's, or where that is 1 what the labels show.
    progress : bool
        Show a bar (needs tqdm).

    Returns
    -------
    Prediction

    Examples
    --------
    >>> from kernelcalc.network import MLP
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
    curvature = law.curvature_bound if math.isfinite(law.curvature_bound) else 1.0
    if times is None:
        fastest = len(targets) / (curvature * spectrum[0])
        times = np.concatenate([[0.0], fastest * np.geomspace(1, 1000, 6)])
    moments = hessian_moments(kernels, targets, times, law, samples=samples, rng=rng, kmax=2, progress=progress)
    # λ_max varies little between initialisations: four of them give its mean to a percent or so.
    start = initial_draws(kernels, targets.shape[1], samples, rng)[0][:4]
    standard = standard_theta(net, x, [width] * (net.depth - 1))
    standard_times = moments.times * spectrum[0] / float(np.linalg.eigvalsh(standard)[-1])
    return Prediction(
        network=repr(net),
        loss_name=law.name,
        n=len(targets),
        n_in=x.shape[1],
        n_out=targets.shape[1],
        width=width,
        spectrum=spectrum,
        curvature=curvature,
        moments=moments,
        top=_top_through_training(theta, start, targets, law, moments.times),
        standard_top=_top_through_training(standard, start, targets, law, standard_times),
        standard_times=standard_times,
        smooth=smooth,
    )


def _top_through_training(theta: Array, start: Array, targets: Array, law: Loss, times: Array) -> Array:
    unique, where = np.unique(times, return_inverse=True)
    flow = gradient_flow(theta, start, targets, law, unique)
    top = [np.mean([top_eigenvalue(theta, law.hessian(y, targets)) for y in batch]) for _, batch in flow]
    return np.array(top)[where]


def with_defined_kernels(kernels: Any) -> Any:
    """The kernels; of a nonlinearity that is not smooth with Φ, Λ, Υ, Ξ set to zero, so that S drops out."""
    if "xi" in kernels.available:
        return kernels
    if "theta" not in kernels.available:
        raise SmoothnessError("a continuous nonlinearity", "one that jumps", "use erf or probit for a smooth step")
    zero = np.zeros(kernels.shape)
    return SimpleNamespace(**{name: getattr(kernels, name) if name in ("sigma", "theta") else zero for name in _NAMES})
