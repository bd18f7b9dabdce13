"""Moments of the Hessian through training for any networks, data and loss: Figure 1 for one's own setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kernelcalc.arrays import Array, digest
from kernelcalc.finite.ensembles.ensemble import FiniteMoments, moments_through_training
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.output.moments import curves_figure
from kernelcalc.output.style import printed
from kernelcalc.results.result import Result
from kernelcalc.studies.experiment import Show, silent
from kernelcalc.training.first_order import MomentsAtWidth, hessian_moments_at_width
from kernelcalc.training.flow import SampledTrajectory
from kernelcalc.training.law import mse_quantiles
from kernelcalc.training.losses import Loss
from kernelcalc.training.moments import moments
from kernelcalc.training.mse import training_times
from kernelcalc.training.trajectory import Trajectory

# What a loss without a closed form does by default: measured 20 s for softmax on two cores.
EXACT_TIMES, SAMPLED_TIMES, SAMPLED_POINTS = 60, 24, 100
TABLE_ROWS = 7
CROSS_TIMES = 8
# An explicit integrator needs about λ_max t/2N steps; beyond this many units N/λ_max crosses cost more than they tell.
HORIZON = 100.0
LEVELS = (0.05, 0.95)
# Allowed in a level: 1e-3 of a standard deviation there, a line's width (measured for the default data: 3e-5 of one).
LEVEL_ERROR = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """What one panel shows.

    Attributes
    ----------
    name : str
        Of the nonlinearity.
    trajectory : Trajectory
    finite : FiniteMoments, optional
        Networks at some of the times.
    quantiles : dict
        (kmax, T) arrays "q05", "q95" of one network, "mean_q05", "mean_q95" of the mean of several.
    at_width : MomentsAtWidth, optional
        Moments at t = 0 of networks of one width, to first order.
    """

    name: str
    trajectory: Trajectory
    finite: FiniteMoments | None = None
    quantiles: dict[str, Array] = field(default_factory=dict)
    at_width: MomentsAtWidth | None = None

    def __str__(self) -> str:
        """The moments at a few times, and those at one width."""
        trajectory = self.trajectory
        rows = np.unique(np.linspace(0, trajectory.times.size - 1, TABLE_ROWS).astype(int))
        head, lines = f"{'t':>10}", []
        for k in range(1, trajectory.kmax + 1):
            head += f"{'Tr H' if k == 1 else f'Tr H^{k}':>11}" + (f"{'± std':>9}" if k <= 2 else "")
        for i in rows:
            line = f"{trajectory.times[i]:>10.4g}"
            for k in range(trajectory.kmax):
                line += f"{trajectory.trace_h[k, i]:>11.4g}"
                line += f"{trajectory.trace_h_std[k, i]:>9.2g}" if k < 2 else ""
            lines.append(line + f"{trajectory.loss[i]:>11.3g}")
        if (at := self.at_width) is not None:
            lines.append(
                f"width {at.width:g}, t = 0, to first order: "
                f"Tr H {at.trace_h:.4g} ± {at.trace_h_std:.2g} (limit {at.limit['trace_h']:.4g}), "
                f"Tr I {at.trace_i:.4g} ± {at.trace_i_std:.2g} (limit {at.limit['trace_i']:.4g}), "
                f"Tr H^2 {at.trace_h2:.4g} (limit {at.limit['trace_h2']:.4g}), "
                f"Tr I^2 {at.trace_i2:.4g} (limit {at.limit['trace_i2']:.4g})"
            )
        return "\n".join([self.name, head + f"{'loss':>11}", *lines])

    def columns(self) -> dict[str, Any]:
        """Tidy columns; cells without a finite network, or where the first order is not known, are NaN."""
        columns: dict[str, Any] = self.trajectory.columns()
        columns = {"activation": np.full(columns["k"].size, self.name, dtype=object), **columns}
        if self.finite is not None:
            at = np.searchsorted(self.trajectory.times, self.finite.times)
            for name, rows in (("finite_mean", self.finite.trace_h), ("finite_std", self.finite.trace_h_std)):
                cells = np.full((self.trajectory.times.size, self.trajectory.kmax), np.nan)
                cells[at] = np.asarray(rows).T
                columns[name] = cells.ravel()
        if (known := self.at_width) is not None:
            start = self.trajectory.times == 0
            for name, values in (
                ("width_trace_h", [known.trace_h, known.trace_h2]),
                ("width_trace_i", [known.trace_i, known.trace_i2]),
                ("width_trace_s", [known.trace_s, known.trace_h2 - known.trace_i2]),
                ("width_trace_h_std", [known.trace_h_std]),
                ("width_trace_i_std", [known.trace_i_std]),
            ):
                cells = np.full((self.trajectory.times.size, self.trajectory.kmax), np.nan)
                shown = values[: self.trajectory.kmax]
                cells[start, : len(shown)] = shown
                columns[name] = cells.ravel()
        return columns | {name: rows.T.ravel() for name, rows in self.quantiles.items()}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CurvesReport(Result):
    """All panels, and of how many networks a mean was asked for.

    Attributes
    ----------
    title : str
        Data and network, in a line.
    curves : tuple of Curve
        One for each nonlinearity, all at the same times.
    average : int, optional
    """

    TABLE: ClassVar[str] = "activation time k"

    title: str
    curves: tuple[Curve, ...]
    average: int | None = None

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(self.TABLE.split()) for name in self.columns() if name not in self.coordinates()}

    def coordinates(self) -> dict[str, Any]:
        first = self.curves[0].trajectory
        names = np.array([curve.name for curve in self.curves])
        return {"activation": names, "time": first.times, "k": np.arange(1, first.kmax + 1)}

    def array(self, name: str) -> Any:
        """A column by nonlinearity, time and k."""
        return self.columns()[name].reshape([len(at) for at in self.coordinates().values()])

    def plot(self, ax: Any = None, *, activation: int = 0, **options: Any) -> Any:
        """Draw the panel of one nonlinearity; see :func:`kernelcalc.output.moments.plot_moments`. Returns the axes."""
        return self.curves[activation].trajectory.plot(ax, **options)

    def small_figure(self) -> Any:
        return self.figure()

    def __repr__(self) -> str:
        at = self.coordinates()
        return (
            f"CurvesReport({', '.join(at['activation'])}: {at['time'].size} times, k ≤ {at['k'].size}, {self.title!r})"
        )

    def __str__(self) -> str:
        return "\n\n".join([self.title, *map(str, self.curves)])

    def columns(self) -> dict[str, Any]:
        """Tidy columns of all curves."""
        parts = [curve.columns() for curve in self.curves]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def figure(self) -> Any:
        """A panel a nonlinearity, lines and bands of the theory, crosses of networks."""
        panels = [(printed(curve.name), curve.trajectory, curve.finite) for curve in self.curves]
        at_width = [curve.at_width for curve in self.curves]
        if not self.curves[0].quantiles:
            return curves_figure(panels, at_width=at_width)
        prefixes = ("", "mean_") if self.average is not None else ("",)
        bands = [[(curve.quantiles[f"{p}q05"], curve.quantiles[f"{p}q95"]) for p in prefixes] for curve in self.curves]
        labels = ("5–95 % of networks", f"mean of {self.average}")[: len(prefixes)]
        return curves_figure(panels, bands, labels, at_width)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Moments E Tr H(t)^k for several nonlinearities on the same data.

    Parameters
    ----------
    nets : mapping from str to Sequential
        A panel each, under this name.
    law : Loss
    times : (float, float, int), optional
        Start, stop and number of logarithmically spaced times, to which 0 is added; by default from the eigenvalues of Θ.
    kmax : int
        Highest moment.
    samples : int
        Initialisations drawn where the loss has no closed form.
    quantiles : bool
        Add those of one network.
    average : int, optional
        Add quantiles of the mean of so many networks (MSE).
    width, trials : int
        Add so many networks of that width, as crosses.
    first_order : int, optional
        Add moments at t = 0 at this width, to first order in 1/width (MSE, fully connected networks).
    workers : int
        Processes for them.
    seed : int
        Of all that is drawn.
    """

    nets: Mapping[str, Sequential]
    law: Loss
    times: tuple[float, float, int] | None = None
    kmax: int = 4
    samples: int = 64
    quantiles: bool = False
    average: int | None = None
    width: int | None = None
    trials: int = 20
    first_order: int | None = None
    workers: int = 1
    seed: int = 0

    def measure(self, x: Array, y: Array, show: Show = silent) -> CurvesReport:
        """On points (N, n_0) and encoded targets (N, n_out)."""
        kernels = [net.kernels(x) for net in show(self.nets.values(), "kernels")]
        grid = self._grid([limit.theta for limit in kernels])
        late = HORIZON * min(len(x) / float(np.linalg.norm(limit.theta, 2)) for limit in kernels)
        # sampled losses show a bar of their own, one step a time
        trajectories = [
            self._trajectory(limit, y, grid, show)
            for limit in (show(kernels, "moments") if self.law.is_quadratic else kernels)
        ]
        quantiles: list[dict[str, Array]] = [{} for _ in kernels]
        if self.quantiles or self.average is not None:
            pairs = list(zip(trajectories, kernels, strict=True))
            quantiles = [self._quantiles(trajectory, limit, y) for trajectory, limit in show(pairs, "quantiles")]
        at_width: list[MomentsAtWidth | None] = [None for _ in kernels]
        if self.first_order is not None:
            at_width = [
                hessian_moments_at_width(net, x, y, self.first_order)
                for net in show(self.nets.values(), "first order in 1/width")
            ]
        curves = tuple(
            Curve(
                name=name,
                trajectory=trajectory,
                finite=None if self.width is None else self._networks(net, x, y, trajectory, late, show),
                quantiles=bands,
                at_width=at,
            )
            for (name, net), trajectory, bands, at in zip(
                self.nets.items(), trajectories, quantiles, at_width, strict=True
            )
        )
        report = CurvesReport(title=self._title(x), curves=curves, average=self.average)
        return report.with_origin(networks=", ".join(map(repr, self.nets.values())), data=digest(x), seed=self.seed)

    def _title(self, x: Array) -> str:
        net = next(iter(self.nets.values()))
        setting = f"{len(x)} points in {x[0].size} dimensions, {net.n_out} output{'s'[: net.n_out - 1]}"
        network = (
            f"L = {net.depth}, sigma_w = {net.sigma_w:g}, beta = {net.beta:g}"
            if isinstance(net, MLP)
            else f"{net.depth} layers"
        )
        network += "" if self.law.is_quadratic else f", {self.law.name} loss, {self.samples} initialisations"
        return f"Moments of the Hessian through training: {setting}, {network}"

    def _grid(self, thetas: list[Array]) -> Array:
        if self.times is None:
            spans = np.array([training_times(theta, 2)[1:] for theta in thetas])
            count = EXACT_TIMES if self.law.is_quadratic else SAMPLED_TIMES
            start, stop = spans[:, 0].min(), spans[:, 1].max()
        else:
            start, stop, count = self.times
        return np.concatenate([[0.0], np.geomspace(start, stop, count)])

    def _trajectory(self, limit: Any, y: Array, grid: Array, show: Show) -> Trajectory:
        sampling = {"samples": self.samples, "rng": self.seed, "progress": show is not silent}
        trajectory = moments(limit, y, grid, self.law, kmax=self.kmax, **sampling)
        _ = trajectory.trace_h_std  # computed here, under the progress bar
        return trajectory

    def _quantiles(self, trajectory: Trajectory, limit: Any, y: Array) -> dict[str, Array]:
        """5 % and 95 % quantiles of Tr H^k, (kmax, T) each: of one network, and of the mean of :attr:`average`."""
        if isinstance(trajectory, SampledTrajectory):
            return dict(zip(("q05", "q95"), trajectory.quantiles("trace_h", LEVELS), strict=True))
        columns: dict[str, Array] = {}
        for prefix, copies in (("", 1), ("mean_", self.average)):
            if copies is None:
                continue
            low, high = trajectory.trace_i.copy(), trajectory.trace_i.copy()
            for k, moment in enumerate(("trace_s", "trace_s2")[: trajectory.kmax]):
                spread = mse_quantiles(limit, y, trajectory.times, moment, LEVELS, copies=copies, tol=LEVEL_ERROR)
                low[k] += spread[0]
                high[k] += spread[1]
            columns |= {f"{prefix}q05": low, f"{prefix}q95": high}
        return columns

    def _networks(
        self, net: Sequential, x: Array, y: Array, trajectory: Trajectory, late: float, show: Show
    ) -> FiniteMoments:
        assert self.width is not None
        times = trajectory.times
        early = np.flatnonzero(times <= max(late, times[1]))
        at = np.unique(early[np.linspace(0, early.size - 1, CROSS_TIMES).astype(int)])
        return moments_through_training(
            net,
            x,
            y,
            times[at],
            kmax=self.kmax,
            loss=self.law.name,
            width=self.width,
            trials=self.trials,
            rng=self.seed,
            workers=self.workers,
            progress=show is not silent,
        )
