"""What to look at during training: hooks ``record(t, network)`` that return numbers and arrays by name."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from kernelcalc.arguments import check_count, check_name, check_number, random_generator
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError
from kernelcalc.finite.arrays import AnyArray, finite_array
from kernelcalc.finite.curvature.hessian import PARTS, Part
from kernelcalc.finite.curvature.moments import hessian_moments
from kernelcalc.finite.curvature.spectrum import SPECTRUM_ENDS, extreme_eigenvalues
from kernelcalc.finite.losses import Loss, get_loss
from kernelcalc.finite.network import FiniteNetwork

# Fields of HessianMoments kept for every trial and time.
MOMENT_FIELDS = ("trace_i", "trace_h", "trace_h_error", "trace_s", "trace_s2", "trace_is", "loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class MomentRecord:
    """The fields :data:`MOMENT_FIELDS` of :func:`~kernelcalc.finite.curvature.moments.hessian_moments`.

    In an ensemble every trial has its own probes; they are the same at all times, which makes the sampled error smooth.

    Parameters
    ----------
    X, Y : arrays
        Points and targets.
    kmax, loss, probes, deflation, unit_probes, whole_probes, rng
        See :func:`~kernelcalc.finite.curvature.moments.hessian_moments`.

    Raises
    ------
    InputError, NotFiniteError, UnknownNameError
        X that is no finite numbers, an unknown loss, other things than counts, no seed.
    """

    X: AnyArray
    Y: Any
    kmax: int = 4
    loss: str | Loss = "mse"
    probes: int = 8
    deflation: int = 32
    unit_probes: int = 0
    whole_probes: int = 0
    rng: Any = 0

    def __post_init__(self) -> None:
        _check_problem(self)
        random_generator(self.rng)
        for name in ("kmax", "probes", "deflation", "unit_probes", "whole_probes"):
            check_count(name, getattr(self, name), int(name == "kmax"))

    def __call__(self, t: float, network: FiniteNetwork) -> dict[str, Any]:
        """The moments of one network."""
        moments = hessian_moments(
            network,
            self.X,
            self.Y,
            kmax=self.kmax,
            loss=self.loss,
            probes=self.probes,
            deflation=self.deflation,
            unit_probes=self.unit_probes,
            whole_probes=self.whole_probes,
            rng=self.rng,
        )
        return {name: getattr(moments, name) for name in MOMENT_FIELDS}

    def for_trial(self, seed: np.random.SeedSequence) -> MomentRecord:
        """The same with a trial's own probes."""
        return replace(self, rng=int(seed.generate_state(1)[0]))

    def settings(self) -> dict[str, Any]:
        """What defines the record, as JSON values."""
        return _settings(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class EigenvalueRecord:
    """Ends of the spectrum of H, I or S: ``{"eigenvalues": (count,) array}``, descending.

    Parameters
    ----------
    X, Y : arrays
        Points and targets.
    count, which, tol
        See :func:`~kernelcalc.finite.curvature.spectrum.extreme_eigenvalues`.
    part : "h", "i" or "s"
        Of which matrix.
    loss : str or Loss
        "mse", "binary", "softmax" or one's own.

    Raises
    ------
    InputError, NotFiniteError, UnknownNameError
        X that is no finite numbers; names that are not known; other things than numbers.

    Examples
    --------
    >>> fin = FiniteNetwork(weights=[np.ones((2, 1))], biases=[np.zeros(1)], activations=[], beta=0.0, sigma_w=2**0.5)
    >>> record = EigenvalueRecord(X=np.array([[2.0, 0.0], [0.0, 1.0]]), Y=np.zeros(2), count=1)
    >>> record(0.0, fin)["eigenvalues"].round(12)
    array([2.])
    """

    X: AnyArray
    Y: Any
    count: int = 10
    which: str = "LA"
    part: Part = "h"
    loss: str | Loss = "mse"
    tol: float = 0.0

    def __post_init__(self) -> None:
        _check_problem(self)
        check_count("count", self.count, 1)
        check_name("an end of the spectrum", self.which, SPECTRUM_ENDS)
        check_name("a part of the Hessian", self.part, PARTS)
        object.__setattr__(self, "tol", check_number("tol", self.tol))

    def __call__(self, t: float, network: FiniteNetwork) -> dict[str, Any]:
        """The eigenvalues of one network."""
        operator = network.curvature(self.X, self.Y, self.loss).operator(self.part)
        return {"eigenvalues": extreme_eigenvalues(operator, self.count, which=self.which, tol=self.tol)}

    def settings(self) -> dict[str, Any]:
        """What defines the record, as JSON values."""
        return _settings(self)


def _check_problem(record: MomentRecord | EigenvalueRecord) -> None:
    """Refuse points that are none and losses that are not known, before any network is trained."""
    finite_array(record.X, "X")
    if record.Y is None:
        raise InputError("Y, targets", "None")
    get_loss(record.loss)


def _settings(record: Any) -> dict[str, Any]:
    values = {
        one.name: getattr(record, one.name) for one in fields(record) if one.name not in ("X", "Y", "loss", "rng")
    }
    return values | {"data": digest(record.X, record.Y), "loss": get_loss(record.loss).name}
