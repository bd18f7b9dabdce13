"""Figure 1 of Jacot, Gabriel, Hongler (ICLR 2020): moments of the Hessian through training.

Lines are Corollary 1 (corrected: see :func:`kernelcalc.mse_moments`), crosses are means over finite networks with their
standard errors. The paper has 14 × 14 digits, N = 256, L = 3, β = 0.1, and 250 networks of width 5000; the size of its
moments is that of ten one-hot outputs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernelcalc import datasets
from kernelcalc.activations.names import from_text
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
from kernelcalc.finite.ensembles.ensemble import moments_through_training
from kernelcalc.finite.ensembles.trials import trial_file
from kernelcalc.kernels.mlp import MLP
from kernelcalc.output.result import Result, Table
from kernelcalc.training.mse import mse_moments

# The paper's panels, left and right.
ACTIVATIONS = ("smooth_relu", "normalized smooth_relu")
PAPER_WIDTH, PAPER_TRIALS = 5000, 250
# Later than N/λ_max only S moves, and it has vanished; each unit of time costs steps of an explicit integrator.
CROSSES = (0.0, 0.2, 0.6, 2.0, 6.0, 20.0)
KMAX = 4
# From this width on, probes of the hidden units replace the sum over them (measured: an error of about 1e-4 of Tr S²).
PROBED_WIDTH = 2000


def run(
    *,
    width: int = 1000,
    trials: int = 20,
    points: int = 256,
    activations: Sequence[str] = ACTIVATIONS,
    times: Sequence[float] = CROSSES,
    seed: int = 0,
    workers: int = 1,
    dtype: str = "float64",
    folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Result:
    """Moments 1 to 4 through training, theory and finite networks.

    Parameters
    ----------
    width, trials : int
        Finite networks: hidden width and how many for each nonlinearity.
    points : int
        Number of digits.
    activations : sequence of str
        A panel each.
    times : sequence of float
        Gradient-flow times of the crosses.
    seed : int
        Of the networks.
    workers : int
        Processes.
    dtype : "float64" or "float32"
        Number type of the finite networks; float32 halves time and memory and moves moments by 1e-4 or less.
    folder : path, optional
        Finished networks are kept here, in a file for each nonlinearity and setting; another run with the same settings goes on
        from there.
    progress : bool
        Show bars.

    Returns
    -------
    Result
        Tables "figure1" (crosses: theory, mean, standard error and their distance in standard errors; the same of
        Tr I^k, and of Tr H^k − Tr I^k, which is due to S) and "figure1_theory" (lines).

    Raises
    ------
    InputError
        Fewer than two networks.
    """
    if trials < 2:
        raise InputError("at least two networks for a standard error", f"trials={trials}")
    x, labels = datasets.mnist14(points)
    y = datasets.one_hot(labels)
    at = np.asarray(times, dtype=np.float64)
    positive = at[at > 0]
    start, stop = (positive.min() / 3, positive.max() * 5) if positive.size else (0.05, 100.0)
    grid = np.unique(np.concatenate([[0.0], at, np.geomspace(start, stop, 50)]))
    parts = ("theory_i", "mean_i", "error_i", "theory_s", "mean_s", "error_s")
    crosses = Table("activation", "k", "time", "theory", "mean", "error", "z", *parts)
    lines = Table("activation", "k", "time", "trace_h", "trace_i", "trace_h_std")
    panels = []
    for text in activations:
        activation = from_text(text)
        net = MLP(activation, depth=3, beta=0.1, n_out=y.shape[1])
        trajectory = mse_moments(net.kernels(x), y, grid, kmax=KMAX)
        settings = {
            "activation": activation.name,
            "points": points,
            "width": width,
            "times": at.tolist(),
            "dtype": dtype,
        }
        wide = width >= PROBED_WIDTH
        # a step's error of 1e-3 in ‖θ‖ changes moments by some 1e-4, far less than initialisations differ
        finite = moments_through_training(
            net,
            x,
            y,
            at,
            width=width,
            trials=trials,
            rng=seed,
            kmax=KMAX,
            tol=1e-3,
            probes=4,
            # deflation keeps three vectors of the length of the parameters a column, 0.6 GB for 26 million
            deflation=4 if wide else 10,
            unit_probes=64 if wide else 0,
            dtype=dtype,
            workers=workers,
            path=None if folder is None else trial_file(folder, "figure1-networks", settings, seed),
            progress=progress,
        )
        panels.append((activation.name.replace("_", " "), trajectory, finite))
        where = np.searchsorted(grid, at)
        for k in range(KMAX):
            theory, error = trajectory.trace_h[k, where], finite.trace_h_std[k] / np.sqrt(trials)
            z = (finite.trace_h[k] - theory) / error
            limit_i = trajectory.trace_i[k, where]
            i, h = (finite.samples[name][:, k] for name in ("trace_i", "trace_h"))
            both = [v for part in ((limit_i, i), (theory - limit_i, h - i)) for v in _beside(*part)]
            crosses.extend(activation.name, k + 1, at, theory, finite.trace_h[k], error, z, *both)
            std = trajectory.trace_h_std[k]
            lines.extend(activation.name, k + 1, grid, trajectory.trace_h[k], trajectory.trace_i[k], std)

    def draw() -> Any:
        from kernelcalc.output.moments import curves_figure

        figure = curves_figure(panels)
        for ax, _ in zip(figure.axes, panels, strict=False):
            _apart(ax)
        return figure

    return Result(
        name="figure1",
        title=f"Moments of the Hessian through training: {points} digits, {y.shape[1]} outputs, L = 3; {trials} networks of "
        f"width {width}",
        tables={"figure1": crosses.columns(), "figure1_theory": lines.columns()},
        notes=(
            "error is the standard error of the mean over networks; z = (mean - theory)/error still has the finite width's "
            "bias of order 1/width in it",
            "in the picture crosses of different k are moved apart a little in time; they belong to the times of the table",
            "only the first two moments are moved by S; higher ones are those of I, which stands still in the limit",
            "..._i: Tr I^k, ..._s: Tr H^k - Tr I^k; in a finite network I drifts through training, by order 1/width, and takes "
            "the late crosses with it",
        ),
        draw=draw,
    )


def _beside(limit: Array, samples: Array) -> tuple[Array, Array, Array]:
    """Limit, mean and standard error of samples (trials, T)."""
    return (
        np.broadcast_to(limit, samples.shape[1]),
        samples.mean(axis=0),
        samples.std(axis=0, ddof=1) / np.sqrt(len(samples)),
    )


def _apart(ax: Any) -> None:
    """Crosses of one time side by side, or error bars of large fluctuations hide each other."""
    low, high = ax.get_xlim()
    for k, bars in enumerate(ax.containers):
        line, _, (segments,) = bars.lines
        shifted = _shifted(ax, np.asarray(line.get_xdata(), dtype=np.float64), k)
        line.set_xdata(shifted)
        ends = [segment[:, 1] for segment in segments.get_segments()]
        segments.set_segments([np.stack([[x, x], y], axis=1) for x, y in zip(shifted, ends, strict=True)])
        segments.set_alpha(0.6)
    ax.set_xlim(low, high)


def _shifted(ax: Any, times: Array, k: int) -> Array:
    # as far as 1.5 % of the axis, on its own scale
    to_axes = ax.transData + ax.transAxes.inverted()
    points = to_axes.transform(np.stack([times, np.full_like(times, ax.get_ylim()[1])], axis=1))
    points[:, 0] += 0.015 * np.where(points[:, 0] < 0.01, k, k - 1.5)
    return np.asarray(to_axes.inverted().transform(points)[:, 0])
