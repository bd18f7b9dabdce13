"""In which numbers kernels are computed: options as objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kernelcalc.arguments import flag
from kernelcalc.errors import InputError
from kernelcalc.gaussian.balls.expectation import DEFAULT_DIGITS
from kernelcalc.kernels.network import positive_integer

# What the keyword engine= may say: machine code for series, and where blocks are computed.
ENGINES = (None, "numba", "dask", "dask+numba")


@dataclass(frozen=True)
class Floats:
    """float64 arrays.

    Parameters
    ----------
    compiled : bool, optional
        Sum series of large Gram matrices in numba's machine code (extra ``fast``), to the same values within 1e-13; by
        default where numba is installed and the matrix is large enough.
    """

    compiled: bool | None = None


@dataclass(frozen=True)
class Digits:
    """Object arrays of mpmath numbers with this many decimal digits, for a few points.

    Raises
    ------
    InputError
        ``dps`` that is no whole number of at least 1.
    """

    dps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "dps", positive_integer("dps", self.dps))


@dataclass(frozen=True)
class Balls:
    """Object arrays of ``flint.arb`` balls that provably contain the kernels (extra ``certified``).

    Raises
    ------
    InputError
        ``dps`` that is no whole number of at least 1.
    """

    dps: int = DEFAULT_DIGITS

    def __post_init__(self) -> None:
        object.__setattr__(self, "dps", positive_integer("dps", self.dps))


Arithmetic = Floats | Digits | Balls


def resolve_arithmetic(
    arithmetic: Arithmetic | None, *, dps: int | None, certified: bool, engine: str | None
) -> tuple[Arithmetic, bool]:
    """The numbers that the front door's keywords ask for, and whether in blocks through dask.

    Raises
    ------
    InputError
        An unknown engine or arithmetic, or keywords that contradict each other.
    """
    certified = flag("certified", certified)
    if engine is not None and (not isinstance(engine, str) or engine not in ENGINES):
        raise InputError(f"engine= one of {', '.join(map(repr, ENGINES))}", repr(engine))
    if arithmetic is not None and not isinstance(arithmetic, Floats | Digits | Balls):
        raise InputError("arithmetic= Floats(), Digits(30) or Balls(15)", repr(arithmetic))
    if arithmetic is not None and (dps is not None or certified or engine in ("numba", "dask+numba")):
        raise InputError("arithmetic= alone", "it beside dps=, certified= or engine=", "say it once")
    if certified:
        chosen: Any = Balls() if dps is None else Balls(dps)
    elif dps is not None:
        chosen = Digits(dps)
    else:
        chosen = arithmetic or Floats(compiled=True if engine in ("numba", "dask+numba") else None)
    if engine is not None and not isinstance(chosen, Floats):
        raise InputError("engine= for float64 kernels", "dps= or certified=", "these are for a few points")
    return chosen, engine in ("dask", "dask+numba")
