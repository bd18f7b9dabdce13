"""Moments of the Hessian along training, as a result object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import InputError, KernelcalcError, NotFiniteError
from kernelcalc.output.moments import plot_moments
from kernelcalc.results.result import Result, axes

if TYPE_CHECKING:
    from kernelcalc.arrays import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownDeviations:
    """Standard deviations that have been computed, as what :attr:`Trajectory.deviation` has to be.

    Attributes
    ----------
    values : mapping from str to ndarray
        By the name of the quantity.
    refused : mapping from str to str
        Why others are not there.
    """

    values: dict[str, Array]
    refused: dict[str, str]

    @classmethod
    def of(cls, deviation: Callable[[str], Array]) -> KnownDeviations:
        """Those of all three quantities."""
        if isinstance(deviation, cls):
            return deviation
        values, refused = {}, {}
        for name in ("trace_s", "trace_s2", "loss"):
            try:
                values[name] = np.asarray(deviation(name))
            except KernelcalcError as error:
                refused[name] = str(error)
        return cls(values=values, refused=refused)

    def __call__(self, name: str) -> Array:
        if name not in self.values:
            raise InputError("a standard deviation that could be computed", f"{name}: {self.refused.get(name, '')}")
        return self.values[name]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trajectory(Result):
    r"""Moments :math:`\mathrm{Tr}\,H^k = \mathrm{Tr}\,I^k + \mathrm{Tr}\,S^k` at a list of training times.

    Row ``k - 1`` of a (kmax, T) array is the k-th moment. All arrays are read-only.

    Attributes
    ----------
    times : ndarray, (T,)
        Gradient-flow times.
    trace_i : ndarray, (kmax, T)
        E Tr I(t)^k.
    trace_s, trace_s2 : ndarray, (T,)
        E Tr S(t) and E Tr S(t)²; Tr S^k vanishes in the limit for k ≥ 3.
    loss : ndarray, (T,)
        Expected loss.
    deviation : callable
        ``deviation(name)`` gives the standard deviation over initialisations of ``"trace_s"``, ``"trace_s2"`` or
        ``"loss"``; it is called on first access of the properties below.

    Raises
    ------
    NotFiniteError
        An array holds NaN or infinity: something overflowed.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.
    """

    DIMENSIONS = axes(
        trace_h="k time",
        trace_h_std="k time",
        trace_i="k time",
        trace_i_std="k time",
        trace_s="time",
        trace_s_std="time",
        trace_s2="time",
        trace_s2_std="time",
        loss="time",
        loss_std="time",
    )

    times: Array
    trace_i: Array
    trace_s: Array
    trace_s2: Array
    loss: Array
    deviation: Callable[[str], Array]

    def __post_init__(self) -> None:
        for name in ("times", "trace_i", "trace_s", "trace_s2", "loss"):
            object.__setattr__(self, name, _read_only(getattr(self, name), name))

    def coordinates(self) -> dict[str, Any]:
        return {"k": np.arange(1, self.kmax + 1), "time": self.times}

    def stored(self) -> dict[str, Any]:
        return super().stored() | {"deviation": KnownDeviations.of(self.deviation)}

    def __getstate__(self) -> dict[str, Any]:
        # functions do not travel between processes, what they return does
        return vars(self) | {"deviation": KnownDeviations.of(self.deviation)}

    @property
    def kmax(self) -> int:
        """Highest moment carried."""
        return int(self.trace_i.shape[0])

    @cached_property
    def trace_h(self) -> Array:
        """E Tr H(t)^k, shape (kmax, T)."""
        return _read_only(self.trace_i + self._trace_s_power, "trace_h")

    @cached_property
    def trace_s_std(self) -> Array:
        """Standard deviation of Tr S(t) over initialisations, shape (T,)."""
        return _read_only(self.deviation("trace_s"), "trace_s_std")

    @cached_property
    def trace_s2_std(self) -> Array:
        """Standard deviation of Tr S(t)² over initialisations, shape (T,)."""
        return _read_only(self.deviation("trace_s2"), "trace_s2_std")

    @cached_property
    def loss_std(self) -> Array:
        """Standard deviation of the loss over initialisations, shape (T,)."""
        return _read_only(self.deviation("loss"), "loss_std")

    @cached_property
    def trace_i_std(self) -> Array:
        """Standard deviation of Tr I(t)^k over initialisations, shape (kmax, T): zero, for I depends on Θ alone."""
        return _read_only(np.zeros_like(self.trace_i), "trace_i_std")

    @cached_property
    def trace_h_std(self) -> Array:
        """Standard deviation of Tr H(t)^k over initialisations, shape (kmax, T); zero for k ≥ 3."""
        return _read_only(self._first_two(self.trace_s_std, lambda: self.trace_s2_std), "trace_h_std")

    @cached_property
    def _trace_s_power(self) -> Array:
        return self._first_two(self.trace_s, lambda: self.trace_s2)

    def _first_two(self, first: Array, second: Callable[[], Array]) -> Array:
        rows = np.zeros_like(self.trace_i)
        rows[0] = first
        if self.kmax > 1:
            rows[1] = second()
        return rows

    def columns(self) -> dict[str, Array]:
        """Tidy columns, one row for each (time, k): the content of the data frame and of the CSV file.

        ``trace_i``, ``trace_s`` and ``trace_h`` are those of the k-th power; ``loss`` is repeated for every k.
        """
        s_std = self._first_two(self.trace_s_std, lambda: self.trace_s2_std)
        rows = {
            "trace_i": self.trace_i,
            "trace_i_std": self.trace_i_std,
            "trace_s": self._trace_s_power,
            "trace_s_std": s_std,
            "trace_h": self.trace_h,
            "trace_h_std": self.trace_h_std,
        }
        return {
            "time": np.repeat(self.times, self.kmax),
            "k": np.tile(np.arange(1, self.kmax + 1), self.times.size),
            **{name: values.T.ravel() for name, values in rows.items()},
            "loss": np.repeat(self.loss, self.kmax),
            "loss_std": np.repeat(self.loss_std, self.kmax),
        }

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the moments; see :func:`kernelcalc.output.moments.plot_moments`. Returns the axes."""
        return plot_moments(self, ax, **options)

    def __repr__(self) -> str:
        if not self.times.size:
            return f"Trajectory(no times, kmax={self.kmax})"
        first = int(np.argmin(self.times))
        moments = ", ".join(f"{value:.4g}" for value in self.trace_h[:, first])
        span = f"{self.times.size} times {self.times.min():.4g}..{self.times.max():.4g}"
        return f"Trajectory({span}, E Tr H^k at t={self.times[first]:.4g}: [{moments}])"

    def html_table(self) -> str:
        """Seven of the times."""
        rows = np.unique(np.linspace(0, self.times.size - 1, 7).astype(int)) if self.times.size else np.arange(0)
        head = "".join(f"<th>E Tr H<sup>{k}</sup></th>" for k in range(1, self.kmax + 1))
        body = ""
        for i in rows:
            cells = (self.times[i], *self.trace_h[:, i], self.loss[i])
            body += "<tr>" + "".join(f"<td>{value:.4g}</td>" for value in cells) + "</tr>"
        return f"<table><thead><tr><th>t</th>{head}<th>E C</th></tr></thead><tbody>{body}</tbody></table>"


def _read_only(values: Any, name: str) -> Array:
    out = np.array(values, dtype=np.float64)
    if np.isnan(out).any() or (name != "times" and np.isinf(out).any()):
        hint = "scale points and labels down, or take fewer moments"
        raise NotFiniteError(f"kernels and labels whose {name} is below 1.8e308", "an overflow", hint)
    out.flags.writeable = False
    return out
