"""The fully connected network of the theory, as a description: depth, nonlinearities, σ_w, β, number of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import InputError, ShapeError, SmoothnessError, UnknownNameError
from kernelcalc.kernels.gram import KernelComputation, LimitingKernels, check_points, refused_kernels
from kernelcalc.kernels.state import KERNEL_NAMES

ENGINES = (None, "numba", "dask", "dask+numba")


class MLP:
    r"""A multilayer perceptron in NTK parametrisation, in the limit of infinite hidden widths.

    .. math::
        α^{(0)} = x, \quad \tilde α^{(ℓ+1)} = \frac{σ_w}{\sqrt{n_ℓ}} W^{(ℓ)T} α^{(ℓ)} + β b^{(ℓ)}, \quad
        α^{(ℓ)} = σ(\tilde α^{(ℓ)}), \quad f = \tilde α^{(L)},

    all W, b independent N(0, 1).

    Parameters
    ----------
    activation : Activation, str, or a sequence of depth − 1 of them
        The nonlinearity of every hidden layer, or one for each.
    depth : int
        L, the number of weight layers; depth 1 is a linear model, depth 2 has one hidden layer.
    sigma_w : float
        σ_w > 0 (1 in the paper).
    beta : float
        β ≥ 0 (0.1 in the paper).
    n_out : int
        n_L, the number of outputs.

    Raises
    ------
    InputError
        For a depth below 1, a wrong number of activations, σ_w ≤ 0, β < 0 or n_out < 1.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 2 (σ_w = 1, β = 0.1 there).

    Examples
    --------
    >>> net = MLP("relu", depth=2, beta=0.0)
    >>> K = net.kernels([[1.0, 0.0], [0.0, 1.0]])
    >>> K.sigma.round(6).tolist()
    [[0.25, 0.079577], [0.079577, 0.25]]
    """

    def __init__(
        self,
        activation: Activation | str | Sequence[Activation | str],
        depth: int = 3,
        *,
        sigma_w: float = 1.0,
        beta: float = 0.1,
        n_out: int = 1,
    ) -> None:
        self.depth = _integer("depth", depth)
        self.n_out = _integer("n_out", n_out)
        self.sigma_w, self.beta = _real("sigma_w", sigma_w), _real("beta", beta)
        if self.sigma_w <= 0:
            raise InputError("sigma_w > 0", repr(sigma_w))
        if self.beta < 0:
            raise InputError("beta ≥ 0", repr(beta))
        hidden = self.depth - 1
        if isinstance(activation, list | tuple):
            if len(activation) != hidden:
                raise InputError(f"{hidden} activations for depth={self.depth}", f"{len(activation)}")
            self.activations = tuple(as_activation(a) for a in activation)
        else:
            self.activations = (as_activation(activation),) * hidden

    def kernels(
        self,
        X: Any,
        X2: Any = None,
        *,
        only: Sequence[str] | None = None,
        dps: int | None = None,
        certified: bool = False,
        engine: str | None = None,
        chunks: Any = 2048,
    ) -> LimitingKernels:
        """Gram matrices of the limiting kernels at depth L.

        Parameters
        ----------
        X : array_like (N, n_0)
            Points, the rows of the kernels.
        X2 : array_like (M, n_0), optional
            Points of the columns; X again by default, with symmetric matrices computed once.
        only : sequence of str, optional
            Names among "sigma", "theta", "phi", "lam", "upsilon", "xi": nothing that these do not need is computed. By
            default all six, or as many as the nonlinearity's smoothness allows; access of the others then raises.
        dps : int, optional
            Decimal digits: object arrays of mpmath numbers, for a few points (a second or so a pair).
        certified : bool
            Object arrays of ``flint.arb`` balls that provably contain the kernels, for a few points (extra
            ``certified``; analytic nonlinearities, and relu-like ones with closed forms). Radii are below 10^−dps
            (15 digits by default) of a kernel's largest entry.
        engine : {None, "numba", "dask", "dask+numba"}
            NumPy by default. With "numba" (extra ``fast``) machine code sums the series of large Gram matrices, to the same
            values within 1e-13. With "dask" (extra ``distributed``) the attributes are dask arrays, not yet computed, for
            Gram matrices beyond memory: see :mod:`kernelcalc.kernels.distributed`. X and X2 may then be dask or Zarr
            arrays too. With "dask+numba" the workers sum series in machine code.
        chunks : int, "auto", or a tuple of two of these
            Points in a block of the dask arrays (of rows, of columns): "auto" is 2048, -1 one block. Not used without dask.

        Returns
        -------
        LimitingKernels
            Read-only float64 arrays of shape (N, M). Memory: these arrays, blocks of fixed size, and without a closed form
            some hundred numbers a point for each layer and order of derivative. With
            ``engine="dask"`` a :class:`~kernelcalc.kernels.distributed.lazy_kernels.LazyKernels`. The kernels of the
            same two points in another call or block may differ in the last digits (by some 3e-15 of the largest entry).

        Raises
        ------
        ShapeError, NotFiniteError
            For data of the wrong shape or with NaN or infinity.
        SmoothnessError
            If a kernel named in ``only`` is undefined for the nonlinearity.
        UnknownNameError
            For an unknown kernel name.
        MissingExtraError, NotCertifiableError
            With ``certified``: python-flint is missing, or the nonlinearity has no provable bounds. With ``engine``: numba or
            dask is missing.
        InputError
            An unknown engine, chunks that are none, or an engine together with ``dps`` or ``certified``.

        References
        ----------
        Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 and Appendix C, Lemmas 3 to 5.
        """
        if engine not in ENGINES:
            raise InputError(f"engine= one of {', '.join(map(repr, ENGINES))}", repr(engine))
        if engine is not None and (dps is not None or certified):
            raise InputError("engine= for float64 kernels", "dps= or certified=", "these are for a few points")
        from kernelcalc.kernels.distributed.engine import block_sides

        block_sides(chunks)
        if engine in ("dask", "dask+numba"):
            from kernelcalc.kernels.distributed.lazy_kernels import lazy_kernels

            refused = refused_kernels(self.activations)
            names, compiled = self._names(only, refused), engine == "dask+numba"
            return lazy_kernels(self, X, X2, names, refused=refused, chunks=chunks, compiled=compiled)
        x = check_points(X)
        x2 = None if X2 is None else check_points(X2, "X2")
        if x2 is not None and x2.shape[1] != x.shape[1]:
            raise ShapeError(f"X2 with {x.shape[1]} inputs, as X has", f"{x2.shape[1]}")
        refused = refused_kernels(self.activations)
        names = self._names(only, refused)
        if certified:
            return self._certified(x, x2, names, refused, dps)
        if dps is not None:
            return self._precise(x, x2, names, refused, _integer("dps", dps))
        computation = KernelComputation(self, x, x2, names, compiled=engine == "numba")

        def pack(arrays: dict[str, np.ndarray], title: str) -> LimitingKernels:
            return LimitingKernels(arrays, refused=refused, title=title)

        def layers() -> tuple[LimitingKernels, ...]:
            every = computation.run(layers=True)
            return tuple(pack(arrays, f"layer {ell} of {self!r}") for ell, arrays in enumerate(every, start=1))

        (arrays,) = computation.run(layers=False)
        return LimitingKernels(arrays, refused=refused, title=repr(self), layers=layers)

    def _precise(
        self, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], refused: dict[str, str], dps: int
    ) -> LimitingKernels:
        from kernelcalc.kernels.digits import precise_layers

        return _with_layers(precise_layers(self, x, x2, names, dps), refused, f"{self!r}, {dps} digits")

    def _certified(
        self, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], refused: dict[str, str], dps: int | None
    ) -> LimitingKernels:
        from kernelcalc.gaussian.balls.expectation import DEFAULT_DIGITS
        from kernelcalc.kernels.balls import certified_layers

        digits = DEFAULT_DIGITS if dps is None else _integer("dps", dps)
        return _with_layers(certified_layers(self, x, x2, names, digits), refused, f"{self!r}, certified")

    @staticmethod
    def _names(only: Sequence[str] | None, refused: dict[str, str]) -> tuple[str, ...]:
        if only is None:
            return tuple(name for name in KERNEL_NAMES if name not in refused)
        if not isinstance(only, str | list | tuple | set | frozenset):
            raise InputError("kernel names in only=", repr(only))
        names = (only,) if isinstance(only, str) else tuple(dict.fromkeys(only))
        if not names:
            raise InputError("at least one kernel name in only=", "none")
        for name in names:
            if name not in KERNEL_NAMES:
                raise UnknownNameError("a kernel", name, KERNEL_NAMES)
            if name in refused:
                raise SmoothnessError(*refused[name].split("|"))
        return names

    def __repr__(self) -> str:
        names = list(dict.fromkeys(a.name for a in self.activations)) or ["linear"]
        shown = names[0] if len(names) == 1 else [a.name for a in self.activations]
        return f"MLP({shown!r}, depth={self.depth}, sigma_w={self.sigma_w:g}, beta={self.beta:g}, n_out={self.n_out})"


def _with_layers(layers: list[dict[str, np.ndarray]], refused: dict[str, str], title: str) -> LimitingKernels:
    every = tuple(LimitingKernels(arrays, refused=refused, title=title) for arrays in layers)
    return LimitingKernels(layers[-1], refused=refused, title=title, layers=lambda: every)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"an integer {name} ≥ 1", repr(value))
    return int(value)


def _real(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"a real number {name}", repr(value)) from error
    if not abs(number) <= 1e30:
        raise InputError(f"a finite {name} below 1e30", repr(value))
    return number
