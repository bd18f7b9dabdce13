"""What :func:`kernelcalc.predict` found, as numbers and as the report that ``print`` shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.errors import InputError
from kernelcalc.results.result import Result, axes
from kernelcalc.training.modes import FEW_DIGITS

if TYPE_CHECKING:
    from kernelcalc.arrays import Array
    from kernelcalc.studies.rates import LimitRates
    from kernelcalc.studies.validation.descents import StableRates
    from kernelcalc.studies.validation.sharpness import MeasuredTop
    from kernelcalc.training.trajectory import Trajectory

# What no number of the report says.
_CAUTION = (
    "  (No step is promised to be stable. Training moves lambda_max: deep networks with smooth nonlinearities sharpen in the",
    "  first steps, and above 2/lambda_max the loss rises until a flatter place is found (catapult) or diverges. With",
    "  PyTorch's layers, gelu, L = 4, width 256, that was seen at 0.4 of the limit's rate: try rates with --descents 5.)",
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction(Result):
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
    sample_condition : ndarray, (samples, T)
        Condition number of I at these times; a single row under MSE.
    ntk, standard, pytorch : LimitRates
        λ_max(H) at these times in the NTK parametrisation; in the standard one and with PyTorch's default layers at this
        width, at times of their own flows: those of ``moments.times`` after as many steps at such a rate. All are of the
        limit of infinite width, whose rates finite networks stay below. The last two are None for networks with positions.
    measured : MeasuredTop or None
        λ_max(H) of finite networks of this width at the start.
    stable : StableRates or None
        Rates that finite networks of this width were seen to stand; ``stable.rate("pytorch")``.
    digits : float
        Decimal digits that rounding of Θ leaves of the moments at the last time, about, under MSE.
    smooth : bool
        Whether the nonlinearity has the derivatives that Tr S needs.
    """

    DIMENSIONS = axes(
        top="time",
        top_std="time",
        conditions="time",
        learning_rates="time",
        standard_learning_rates="time",
        pytorch_learning_rates="time",
        spectrum="mode",
    )

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
    sample_condition: Array
    ntk: LimitRates
    standard: LimitRates | None
    pytorch: LimitRates | None
    measured: MeasuredTop | None
    stable: StableRates | None
    digits: float
    smooth: bool

    @property
    def sample_top(self) -> Array:
        """λ_max(H) of each initialisation in the NTK parametrisation, (samples, T)."""
        return self.ntk.sample_top

    @property
    def sample_standard_top(self) -> Array:
        """The same in the standard parametrisation."""
        return _known(self.standard).sample_top

    @property
    def sample_pytorch_top(self) -> Array:
        """The same for PyTorch's default layers."""
        return _known(self.pytorch).sample_top

    @property
    def standard_times(self) -> Array:
        """Times of the standard parametrisation's own flow, (T,)."""
        return _known(self.standard).times

    @property
    def pytorch_times(self) -> Array:
        """Times of the flow of PyTorch's default layers, (T,)."""
        return _known(self.pytorch).times

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
        """2 over the largest λ_max(H) of all initialisations at the times, in the limit: upper bounds of stable rates."""
        return self.ntk.rates

    @property
    def standard_learning_rates(self) -> Array:
        """The same in the standard parametrisation, after as many steps."""
        return _known(self.standard).rates

    @property
    def pytorch_learning_rates(self) -> Array:
        """The same for PyTorch's default layers, after as many steps."""
        return _known(self.pytorch).rates

    @property
    def standard_learning_rate(self) -> float:
        """That at the first time, normally the start: an upper bound, which a finite network need not stand."""
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
        return self.n / (finite_curvature(self.curvature) * np.maximum(self.spectrum, floor))

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        missing = () if self.standard is not None else ("standard_learning_rates", "pytorch_learning_rates")
        return {name: own for name, own in self.DIMENSIONS.items() if name not in missing}

    def coordinates(self) -> dict[str, Any]:
        return {"time": self.moments.times}

    def columns(self) -> dict[str, Array]:
        """One row a time: the loss, Tr H, λ_max(H), condition numbers and bounds of learning rates."""
        m = self.moments
        first = {"loss": m.loss, "loss_std": m.loss_std, "trace_h": m.trace_h[0], "trace_h_std": m.trace_h_std[0]}
        rest = super().columns()
        return {"time": rest.pop("time"), **first, **rest}

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the moments through training; see :func:`kernelcalc.output.moments.plot_moments`. Returns the axes."""
        return self.moments.plot(ax, **options)


def _known(rates: LimitRates | None) -> LimitRates:
    if rates is None:
        raise InputError(
            "a network on points (N, n_0) for rates in other parametrisations",
            "one with positions",
            "learning_rates are those of the NTK parametrisation",
        )
    return rates


def finite_curvature(bound: float) -> float:
    """The curvature that sets the scale of times: 1 where no bound is known."""
    return bound if math.isfinite(bound) else 1.0


def _lines(found: Prediction) -> list[str]:
    exact = found.samples is None
    top = f"{found.top[0]:.4g}" if exact else f"{found.top[0]:.4g} ± {found.top_std[0]:.2g}"
    lines = [
        f"{found.network}",
        f"{found.n} points of {found.n_in} inputs, {found.n_out} output{'s'[: found.n_out - 1]}, loss {found.loss_name}",
        "",
        "At the start, and at every later time: the Hessian's part I is constant under MSE" if exact
        else f"At the start; rates from the largest lambda_max of {found.samples} initialisations",
        f"  largest eigenvalue of the Hessian          {top}",
        f"  condition number of the tangent kernel     {found.condition_number:.4g}   ({_digits_lost(found)})",
        "Upper bounds of the largest stable learning rate: 2/lambda_max in the limit, reached only as the width grows",
        f"  NTK parametrisation                        {found.learning_rates[0]:.4g}",
        *_others(found),
        *_measured(found),
        *_tried(found),
        *(_CAUTION if found.stable is None else ()),
        "",
        *_modes(found),
        "",
        *_curves(found),
    ]  # fmt: skip
    if not exact:
        lines += ["", *_rates(found)]
    if not found.smooth:
        lines += [
            "",
            "The nonlinearity is not smooth enough for the theory's kernels of S (Phi, Lambda, Upsilon, Xi): Tr H above is",
            "Tr I alone. Where sigma'' = 0 almost everywhere, as for relu, Tr S = 0 and this is Tr H indeed; the limit of",
            "Tr S^2 is then that of `kernelcalc sagun split`.",
        ]
    return lines


def _others(found: Prediction) -> list[str]:
    if found.standard is None:
        return ["  (those of other parametrisations are known for networks without positions)"]
    return [
        f"  standard parametrisation                   {found.standard_learning_rate:.4g}   (width {found.width}; "
        "weights of standard deviation sigma_w/sqrt(n), biases beta)",
        f"  PyTorch's default layers                   {found.pytorch_learning_rate:.4g}   (width {found.width}; "
        "weights and biases uniform in ±1/sqrt(n); n: inputs of the layer)",
    ]


def _measured(found: Prediction) -> list[str]:
    if found.measured is None:
        return ["Not measured on finite networks, whose lambda_max is larger (networks=3, --networks 3)"]
    m = found.measured
    count = (
        "lambda_max of a finite network"
        if m.ntk.size == 1
        else f"the largest lambda_max of {m.ntk.size} finite networks"
    )
    lines = [f"Measured at the start: 2 over {count} of width {m.width}"]
    for name, title, limit in (
        ("ntk", "NTK parametrisation", found.ntk),
        ("standard", "standard parametrisation", found.standard),
        ("pytorch", "PyTorch's default layers", found.pytorch),
    ):
        factor = getattr(m, name).mean() / _known(limit).sample_top[:, 0].mean()
        lines.append(f"  {title:<43}{m.rate(name):.4g}   (lambda_max is {factor:.3g} times the limit's on average)")
    return lines


def _tried(found: Prediction) -> list[str]:
    if found.stable is None:
        return []
    s = found.stable
    lines = [
        f"Rates that hold: {100 * s.probability:g} % of networks of width {s.width} end {s.steps} full-batch steps below their "
        f"first loss",
        f"  (confidence {100 * s.confidence:g} %, {s.ntk.size} networks tried, log-normal thresholds; later steps not tried)",
    ]
    for name, title, limit in (
        ("ntk", "NTK parametrisation", found.learning_rates),
        ("standard", "standard parametrisation", found.standard_learning_rates),
        ("pytorch", "PyTorch's default layers", found.pytorch_learning_rates),
    ):
        rate = s.rate(name)
        lines.append(f"  {title:<43}{rate:.4g}   ({rate / limit[0]:.2g} times the limit's bound)")
    return lines


def _digits_lost(found: Prediction) -> str:
    if math.isinf(found.condition_number):
        return "rounding hides its least eigenvalues: no digit of the end of training is certain"
    lost = math.ceil(math.log10(found.condition_number))
    return f"the end of training loses about {lost} of 16 digits"


def _trust(found: Prediction) -> str:
    if found.samples is not None:
        return f"{found.samples} initialisations"
    # the four digits that are printed, and a few to spare
    if found.digits >= 4 + FEW_DIGITS:
        return "exact"
    return f"exact but for rounding, which leaves about {int(found.digits)} digits at the last time"


def _modes(found: Prediction) -> list[str]:
    tau, shown = found.time_constants, [j for j in (1, 2, 3, 5, 10, 30, 100, 300) if j <= found.n]
    kind, formula = "Time constants", f"N/(c lambda_j), c = {found.curvature:g} the largest curvature of the loss"
    if found.samples is None:
        formula = "N/lambda_j"
    elif math.isfinite(found.curvature):
        kind = "Least time constants"
    else:
        formula = "N/lambda_j, for a loss of curvature 1: this one's has no known bound"
    return [
        f"{kind} of the tangent kernel's modes (gradient-flow time; steps = time / learning rate)",
        "  mode  " + "".join(f"{j:>11d}" for j in shown),
        "  time  " + "".join(f"{tau[j - 1]:>11.4g}" for j in shown),
        f"  ({formula})",
    ]


def _curves(found: Prediction) -> list[str]:
    m = found.moments
    lines = [
        f"Through training, mean ± standard deviation of one network over initialisations ({_trust(found)})",
        f"  {'time':>10} {'loss':>22} {'Tr H':>22}",
    ]
    for i, t in enumerate(m.times):
        loss = f"{m.loss[i]:.4g} ± {m.loss_std[i]:.2g}"
        trace = f"{m.trace_h[0, i]:.4g} ± {m.trace_h_std[0, i]:.2g}"
        lines.append(f"  {t:>10.4g} {loss:>22} {trace:>22}")
    return lines


def _rates(found: Prediction) -> list[str]:
    every = [found.ntk, *(one for one in (found.standard, found.pytorch) if one is not None)]
    columns = ("rate, NTK", "standard", "PyTorch")[: len(every)]
    lines = [
        "Largest eigenvalue, condition number of I (median) and 2/lambda_max through training, in the limit: not safe steps",
        f"  {'time':>10} {'lambda_max':>22} {'condition':>11}" + "".join(f" {name:>11}" for name in columns),
    ]
    rates = np.stack([one.rates for one in every], axis=1)
    for i, t in enumerate(found.moments.times):
        top = f"{found.top[i]:.4g} ± {found.top_std[i]:.2g}"
        numbers = "".join(f" {v:>11.4g}" for v in (found.conditions[i], *rates[i]))
        lines.append(f"  {t:>10.4g} {top:>22}{numbers}")
    if len(every) == 1:
        return lines
    return [
        *lines,
        "  (standard, PyTorch: these two parametrisations, as above, after as many steps at such a rate as the NTK",
        "  parametrisation takes to the time in the first column. A network that sharpens first never gets there.)",
    ]
