r"""The kernels that a network carries from layer to layer: one table, and the values at pairs of points and on the diagonal.

For one output (all are ⊗ Id over outputs), with f the function and g(x) = Tr Hf(x) the trace of its Hessian in the parameters.
What a kernel needs of the layer before and which expectations it costs stands nowhere: it is read off the formulas in
:mod:`kernelcalc.kernels.layers`.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 and Appendix C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One row of the table.

    Attributes
    ----------
    name, letter : str
        Its name here and its Greek letter in LaTeX.
    meaning : str
        What it is.
    symmetric : bool
        Whether k(x, x') = k(x', x); if not, the row is g's argument.
    smoothness : int
        The nonlinearity must have this many continuous derivatives (-1: may jump).
    default : bool
        Computed when nothing else is asked for; the others describe the last nonlinearity only.
    """

    name: str
    letter: str
    meaning: str
    symmetric: bool = True
    smoothness: int = 4
    default: bool = True


KERNELS: dict[str, Kernel] = {}
# Φ(x', x) and Λ(x', x) at the pairs (x, x').
TRANSPOSED: dict[str, str] = {}
_PLAIN: dict[str, str] = {}


def add_kernel(kernel: Kernel) -> None:
    """A row of the table; every layer that defines the kernel has a formula of its name."""
    KERNELS[kernel.name] = kernel
    if not kernel.symmetric:
        TRANSPOSED[kernel.name] = f"{kernel.name}_t"
        _PLAIN[f"{kernel.name}_t"] = kernel.name


for _row in (
    Kernel(name="sigma", letter="Sigma", meaning="E[f(x) f(x')]", smoothness=-1),
    Kernel(name="theta", letter="Theta", meaning="∇f(x)·∇f(x')", smoothness=0),
    Kernel(name="phi", letter="Phi", meaning="E[g(x) f(x')]", symmetric=False),
    Kernel(name="lam", letter="Lambda", meaning="∇g(x)·∇f(x')", symmetric=False),
    Kernel(name="upsilon", letter="Upsilon", meaning="Tr(Hf(x) Hf(x'))"),
    Kernel(name="xi", letter="Xi", meaning="E[g(x) g(x')]"),
    Kernel(name="sigma_dot", letter="dot Sigma", meaning="E[σ'(a) σ'(b)]", smoothness=0, default=False),
    Kernel(name="sigma_ddot", letter="ddot Sigma", meaning="E[σ''(a) σ''(b)]", smoothness=0, default=False),
):
    add_kernel(_row)
KERNEL_NAMES = tuple(name for name, kernel in KERNELS.items() if kernel.default)


def turned(name: str) -> str:
    """The name of k(x', x) where ``name`` is that of k(x, x').

    Examples
    --------
    >>> turned("theta"), turned("phi"), turned("phi_t")
    ('theta', 'phi_t', 'phi')
    """
    return TRANSPOSED.get(name, _PLAIN.get(name, name))


def plain(name: str) -> str:
    """The row of the table that a name or a transpose's name belongs to."""
    return _PLAIN.get(name, name)


def with_transposes(names: Iterable[str]) -> frozenset[str]:
    """These kernels and, for those that are not symmetric, their transposes."""
    known = frozenset(names)
    return known | {turned(name) for name in known}


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class DiagonalKernels:
    """Σ, Θ, Φ at (x, x), one value a point; ``theta`` and ``phi`` are ``None`` where nothing needs them."""

    sigma: Any = None
    theta: Any = None
    phi: Any = None

    @property
    def kappa(self) -> Any:
        """κ_x = Θ_xx + Φ_xx."""
        return self.theta + self.phi

    def take(self, index: Any, shape: tuple[int, ...] | None = None) -> DiagonalKernels:
        """The values of these points, in another shape if asked for."""

        def part(values: Any) -> Any:
            return None if values is None else values[index] if shape is None else values[index].reshape(shape)

        return DiagonalKernels(sigma=part(self.sigma), theta=part(self.theta), phi=part(self.phi))


class Spread:
    """:class:`DiagonalKernels` of many pairs of few points: each attribute once, when it is asked for.

    Parameters
    ----------
    at : DiagonalKernels
        Of the points.
    spread : callable
        Values of the points at the pairs.
    """

    def __init__(self, at: DiagonalKernels, spread: Callable[[Any], Any]) -> None:
        self._at, self._spread = at, spread

    def __getattr__(self, name: str) -> Any:
        values = self._spread(getattr(self._at, name))
        setattr(self, name, values)
        return values


DIAGONAL = ("sigma", "theta", "phi")


class PairKernels:
    """The kernels at pairs (x, x') as attributes, ``None`` where not carried; ``phi_t`` and ``lam_t`` are Φ(x', x), Λ(x', x).

    ``origin`` is what a number type remembers of how Σ arose, to find nearly parallel points again.
    """

    def __init__(self, *, origin: Any = None, **values: Any) -> None:
        self.origin = origin
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        # only for what is not carried
        if name not in KERNELS and name not in _PLAIN:
            raise AttributeError(name)
        return None

    @property
    def values(self) -> dict[str, Any]:
        """What is carried, by name."""
        return {name: value for name, value in vars(self).items() if name != "origin"}

    def transposed(self) -> PairKernels:
        """The same with x and x' exchanged."""
        return PairKernels(**{turned(name): value for name, value in self.values.items()})


def no_weights_yet(sigma: Any, zero: Any) -> PairKernels:
    """The input: Σ = x·x'/n_0, and no parameters, so all else is 0."""
    names = [*KERNELS, *TRANSPOSED.values()]
    zeros = {name: zero for name in names if KERNELS[plain(name)].default and name != "sigma"}
    return PairKernels(sigma=sigma, **zeros)
