"""The front door: networks whose limiting kernels can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Self

import numpy as np
from sympy import srepr

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import shown
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels.arithmetic import Arithmetic, Balls, Floats, resolve_arithmetic
from kernelcalc.kernels.balls import certified_layers
from kernelcalc.kernels.convolution import PositionComputation
from kernelcalc.kernels.digits import precise_layers
from kernelcalc.kernels.distributed.engine import block_sides
from kernelcalc.kernels.distributed.store import kernels as lazy_kernels
from kernelcalc.kernels.fold import ends_a_layer
from kernelcalc.kernels.formulas import network_latex
from kernelcalc.kernels.gram import KernelComputation
from kernelcalc.kernels.layers import Dense, Layer, Nonlinearity, as_layer
from kernelcalc.kernels.limiting import LimitingKernels
from kernelcalc.kernels.network import Network, positive_integer
from kernelcalc.kernels.points import check_points
from kernelcalc.kernels.texts import number, typed
from kernelcalc.patience import watched

# Far more than any network has; each of its layers is an object.
MOST_LAYERS = 100_000


@dataclass(frozen=True, init=False, repr=False)
class Sequential(Network):
    r"""Layers one after the other, in the limit of infinite width.

    Parameters
    ----------
    *layers : Layer, Activation or str
        From :mod:`kernelcalc.kernels.layers`; an activation or its name stands for a nonlinearity. The first and the last
        are ``Dense``.
    n_out : int
        Number of outputs.

    Raises
    ------
    InputError
        What is no layer, or a network that does not begin and end with fresh weights.

    Examples
    --------
    >>> from kernelcalc.kernels.layers import Residual
    >>> net = Sequential(Dense(1.3, 0.4), Residual(Dense(), "tanh", Dense()), Dense())
    >>> net.kernels([[1.0, 0.0], [0.0, 1.0]], only="sigma").sigma.shape
    (2, 2)
    """

    def __init__(self, *layers: Layer | Activation | str, n_out: int = 1) -> None:
        object.__setattr__(self, "layers", tuple(as_layer(layer) for layer in layers))
        object.__setattr__(self, "n_out", n_out)
        self.__post_init__()

    def stored(self) -> dict[str, Any]:
        """What a file keeps."""
        return {"layers": self.layers, "n_out": self.n_out}

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        """The network that a file has kept."""
        return cls(*fields["layers"], n_out=fields["n_out"])

    @property
    def depth(self) -> int:
        """Number of layers of weights; a sum of branches is one, whatever is in it."""
        return sum(ends_a_layer(layer) for layer in self.layers)

    @watched("fewer points or points of one norm, only=... and activations with a closed form are faster")
    def kernels(
        self,
        X: Any,
        X2: Any = None,
        *,
        only: Sequence[str] | str | None = None,
        arithmetic: Arithmetic | None = None,
        dps: int | None = None,
        certified: bool = False,
        engine: str | None = None,
        chunks: Any = 2048,
    ) -> LimitingKernels:
        """Gram matrices of the limiting kernels at the last layer.

        Parameters
        ----------
        X : array_like (N, n_0)
            Points, the rows of the kernels.
        X2 : array_like (M, n_0), optional
            Points of the columns; X again by default, with symmetric matrices computed once.
        only : sequence of str, optional
            Names among "sigma", "theta", "phi", "lam", "upsilon", "xi" (and "sigma_dot", "sigma_ddot"): nothing that these do
            not need is computed. By default the six, or as many as the nonlinearity's smoothness allows; access of the
            others then raises.
        arithmetic : Floats, Digits or Balls, optional
            In which numbers, see :mod:`kernelcalc.kernels.arithmetic`: float64 by default. ``dps``, ``certified`` and
            ``engine="numba"`` are short for them.
        dps : int, optional
            Decimal digits: object arrays of mpmath numbers, for a few points (a second or so a pair).
        certified : bool
            Object arrays of ``flint.arb`` balls that provably contain the kernels, for a few points (extra
            ``certified``; analytic nonlinearities, and relu-like ones with closed forms). Radii are below 10^−dps
            (15 digits by default) of a kernel's largest entry.
        engine : {None, "numba", "dask", "dask+numba"}
            With "numba" (extra ``fast``) machine code sums the series of Gram matrices, to the same values within 1e-13; by
            default it does from 2^23 pairs on, where numba is installed. With "dask" (extra ``distributed``) the
            attributes are dask arrays, not yet computed, for Gram matrices beyond memory: see
            :mod:`kernelcalc.kernels.distributed`. X and X2 may then be dask or Zarr arrays too. With "dask+numba" the
            workers sum series in machine code.
        chunks : int, "auto", or a tuple of two of these
            Points in a block of the dask arrays (of rows, of columns): "auto" is 2048, -1 one block. Not used without dask.

        Returns
        -------
        LimitingKernels
            Read-only float64 arrays of shape (N, M). Memory: these arrays, blocks of fixed size, and without a closed form
            some hundred numbers a point for each layer and order of derivative. With ``engine="dask"`` a
            :class:`~kernelcalc.kernels.distributed.lazy_kernels.LazyKernels`. The kernels of the same two points in another
            call or block may differ in the last digits (by some 3e-15 of the largest entry). Deep in chaos nearly parallel
            points lose more: one rounding of Σ^(l), ε of it, comes out of the layers above multiplied by Σ̇^(l+1) ... Σ̇^(L), and
            Θ = Σ_l Σ^(l) Σ̇^(l+1) ... Σ̇^(L), so Σ is good to some ε Θ and Θ to some ε Θ/Σ of itself, not to ε (3e-11 for
            sin(2x + 1), L = 5, σ_w = 2.5, |x|² = 3 n_0). It is the matrix's conditioning as float64; ``dps`` does not have it.

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
            An unknown engine, chunks that are none, or keywords that contradict each other.

        Warns
        -----
        PrecisionWarning
            If rounding may change kernels by more than 1e-10 of themselves, as those of networks with positions and several
            nonlinearities with kinks where windows of two points are nearly parallel (angles between 1e-9 and 1e-5), and of
            residual and normalised networks with kinks or deep in chaos; what is said may be far above what there is.

        References
        ----------
        Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2 and Appendix C, Lemmas 3 to 5.
        """
        numbers, blocks = resolve_arithmetic(arithmetic, dps=dps, certified=certified, engine=engine)
        block_sides(chunks)
        refused, names = self.refused, self.names(only)
        if blocks:
            compiled = isinstance(numbers, Floats) and bool(numbers.compiled)
            return lazy_kernels(self, X, X2, only=only, chunks=chunks, compiled=compiled)
        x = check_points(X, positions=self.has_positions)
        x2 = None if X2 is None else check_points(X2, "X2", positions=self.has_positions)
        if x2 is not None and x2.shape[1:] != x.shape[1:]:
            raise ShapeError(f"X2 with {_inputs(x)}, as X has", _inputs(x2))
        if self.has_positions:
            return self._with_positions(x, x2, names, numbers)

        data = (x,) if x2 is None else (x, x2)
        if isinstance(numbers, Floats):
            (arrays,) = KernelComputation(self, x, x2, names, compiled=numbers.compiled).run(layers=False)
            layers = partial(_every_layer, self, x, x2, names, numbers.compiled)
            return LimitingKernels(arrays, refused=refused, title=self, layers=layers, data=data)
        if isinstance(numbers, Balls):
            every, title = certified_layers(self, x, x2, names, numbers.dps), f"{self!r}, certified"
        else:
            every, title = precise_layers(self, x, x2, names, numbers.dps), f"{self!r}, {numbers.dps} digits"
        layers = partial(_numbered, self, every)
        return LimitingKernels(every[-1], refused=refused, title=title, layers=layers, data=data)

    def _with_positions(
        self, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], numbers: Arithmetic
    ) -> LimitingKernels:
        if not isinstance(numbers, Floats):
            self.require_vectors("kernels in other numbers than float64")
        assert isinstance(numbers, Floats)
        arrays = PositionComputation(self, x, x2, names, numbers.compiled).run()
        data = (x,) if x2 is None else (x, x2)
        return LimitingKernels(arrays, refused=self.refused, title=self, layers=_no_layers, data=data)

    def _repr_latex_(self) -> str:
        return network_latex(self.layers, self.n_out)

    def __repr__(self) -> str:
        outputs = "" if self.n_out == 1 else f", n_out={self.n_out}"
        return f"Sequential({', '.join(map(repr, self.layers))}{outputs})"


def require_plain(net: Network, purpose: str) -> tuple[Dense, ...]:
    """The dense layers of a network ``Dense, Nonlinearity, Dense, ..., Dense``, each with scales of its own.

    Raises
    ------
    InputError
        Another composition of layers.
    """
    dense = tuple(layer for layer in net.layers[::2] if isinstance(layer, Dense))
    between = [layer for layer in net.layers[1::2] if isinstance(layer, Nonlinearity)]
    if len(dense) + len(between) != len(net.layers) or len(dense) != len(between) + 1:
        raise InputError(
            f"a fully connected network, kc.MLP, for {purpose}", repr(net), "net.kernels(X) knows its limit"
        )
    return dense


def _numbered(network: Network, every: list[dict[str, np.ndarray]]) -> tuple[LimitingKernels, ...]:
    return tuple(
        LimitingKernels(arrays, refused=network.refused, title=f"layer {ell} of {network!r}")
        for ell, arrays in enumerate(every, start=1)
    )


def _no_layers() -> NoReturn:
    raise InputError(
        "kernels behind layers without positions",
        "a network with positions",
        "ask a shorter network, closed by Dense()",
    )


def _inputs(x: np.ndarray) -> str:
    return f"{x.shape[1]} inputs" if x.ndim == 2 else f"points of shape {x.shape[1:]}"


def _every_layer(
    network: Network, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], compiled: bool | None
) -> tuple[LimitingKernels, ...]:
    return _numbered(network, KernelComputation(network, x, x2, names, compiled=compiled).run(layers=True))


@dataclass(frozen=True, init=False, repr=False)
class MLP(Sequential):
    r"""A multilayer perceptron in NTK parametrisation, in the limit of infinite hidden widths.

    .. math::
        α^{(0)} = x, \quad \tilde α^{(ℓ+1)} = \frac{σ_w}{\sqrt{n_ℓ}} W^{(ℓ)T} α^{(ℓ)} + β b^{(ℓ)}, \quad
        α^{(ℓ)} = σ(\tilde α^{(ℓ)}), \quad f = \tilde α^{(L)},

    all W, b independent N(0, 1): ``Dense, Nonlinearity, Dense, ..., Dense``.

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
    >>> net.replace(depth=3)
    MLP('relu', depth=3, sigma_w=1, beta=0, n_out=1)
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
        hidden = positive_integer("depth", depth) - 1
        if hidden >= MOST_LAYERS:
            raise InputError(f"a depth from 1 to {MOST_LAYERS}", shown(depth))
        if isinstance(activation, list | tuple):
            if len(activation) != hidden:
                raise InputError(f"{hidden} activations for depth={depth}", f"{len(activation)}")
            # each text is read once
            texts = {a for a in activation if isinstance(a, str)}
            read = {text: Nonlinearity(as_activation(text)) for text in texts}
            chosen = [read[a] if isinstance(a, str) else Nonlinearity(as_activation(a)) for a in activation]
        else:
            chosen = [Nonlinearity(as_activation(activation))] * hidden
        dense = Dense(sigma_w, beta)
        layers: list[Layer] = [dense]
        for one in chosen:
            layers += [one, dense]
        super().__init__(*layers, n_out=n_out)

    def stored(self) -> dict[str, Any]:
        numbers = {"depth": self.depth, "sigma_w": self.sigma_w, "beta": self.beta, "n_out": self.n_out}
        return {"activation": list(self.activations), **numbers}

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        return cls(**fields)

    @property
    def sigma_w(self) -> float:
        """σ_w."""
        return self._dense.sigma_w

    @property
    def beta(self) -> float:
        """β."""
        return self._dense.beta

    @property
    def _dense(self) -> Dense:
        dense = self.layers[0]
        assert isinstance(dense, Dense)
        return dense

    def record(self) -> dict[str, Any]:
        """What the kernels depend on, as JSON values."""
        acts = [srepr(act.expr) for act in self.activations]
        return {"depth": self.depth, "sigma_w": self.sigma_w, "beta": self.beta, "activations": acts}

    def replace(
        self,
        *,
        activation: Activation | str | Sequence[Activation | str] | None = None,
        depth: int | None = None,
        sigma_w: float | None = None,
        beta: float | None = None,
        n_out: int | None = None,
    ) -> MLP:
        """The same network but for these parameters; other nonlinearities if a depth asks for another number of them.

        Raises
        ------
        InputError
            As the constructor, or a changed depth of a network with different nonlinearities.
        """
        if activation is None:
            activation = self.activations[0] if len(set(self.activations)) == 1 else list(self.activations)
        return MLP(
            activation,
            self.depth if depth is None else depth,
            sigma_w=self.sigma_w if sigma_w is None else sigma_w,
            beta=self.beta if beta is None else beta,
            n_out=self.n_out if n_out is None else n_out,
        )

    def __repr__(self) -> str:
        names = [typed(act) for act in self.activations] or ["'linear'"]
        shown = names[0] if len(set(self.activations)) <= 1 else f"[{', '.join(names)}]"
        scales = f"sigma_w={number(self.sigma_w)}, beta={number(self.beta)}"
        return f"MLP({shown}, depth={self.depth}, {scales}, n_out={self.n_out})"
