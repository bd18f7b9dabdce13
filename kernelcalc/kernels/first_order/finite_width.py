r"""Kernels of networks of finite width, to first order in 1/n."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from kernelcalc.arrays import AnyArray
from kernelcalc.errors import DivergentExpectationError, InputError, SmoothnessError
from kernelcalc.gaussian.digits.expectation import GUARD_DIGITS
from kernelcalc.kernels.digits import DigitNumbers
from kernelcalc.kernels.first_order.layers import Hidden, behind, first_state, hidden_layers
from kernelcalc.kernels.first_order.numbers import DigitExpectations, FloatExpectations
from kernelcalc.kernels.first_order.recursion import State
from kernelcalc.kernels.fold import Numbers
from kernelcalc.kernels.layers import Dense
from kernelcalc.kernels.network import Network, positive_integer
from kernelcalc.kernels.points import Points, check_points, check_variances
from kernelcalc.machine import MULTIPRECISION
from kernelcalc.results.result import Result, axes

# Pairs of points that are folded together: some hundred arrays of this length are held.
PAIRS_AT_ONCE = 8192
# What is read off the last layer's state, by its indices of the pair (0, 1).
ENTRIES: dict[str, Callable[[State, int, int], Any]] = {
    "sigma": lambda s, x, y: s.sigma_1[x, y],
    "theta": lambda s, x, y: s.theta_1[x, y],
    "phi": lambda s, x, y: s.phi_1[x, y],
    "theta_variance": lambda s, x, y: s.a[x, y, x, y] + s.b[x, x, y, y] + s.b[x, y, y, x],
    "theta_between_points": lambda s, x, y: s.a[x, x, y, y] + 2 * s.b[x, y, x, y],
    "theta_between_outputs": lambda s, x, y: s.a[x, x, y, y],
    "theta_off_diagonal": lambda s, x, y: s.b[x, x, y, y],
    "sigma_limit": lambda s, x, y: s.sigma[x, y],
    "theta_limit": lambda s, x, y: s.theta[x, y],
    "phi_limit": lambda s, x, y: s.phi[x, y],
}
_WITH_TRANSPOSES = ("phi", "phi_limit")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AtWidth(Result):
    """Kernels of a network of one width, to first order: means, and standard deviations of one network.

    Attributes
    ----------
    width : float
        n.
    sigma, theta, phi : ndarray (N, N)
        E of one output: Σ + Σ¹/n, Θ + Θ¹/n, Φ + Φ¹/n.
    theta_std : ndarray (N, N)
        Of Θ̂(x, x') of one output over initialisations.
    """

    DIMENSIONS = axes(sigma="row column", theta="row column", phi="row column", theta_std="row column")

    width: float
    sigma: AnyArray
    theta: AnyArray
    phi: AnyArray | None
    theta_std: AnyArray


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FiniteWidth(Result):
    r"""Coefficients of 1/n of a network's kernels, for one output.

    Attributes
    ----------
    network : Network
        What was asked about.
    relative_widths : tuple of float
        Widths of the hidden layers over n.
    arrays : mapping of str to ndarray (N, N)
        All that is there, by the names of the properties.
    refused : mapping of str to error
        Why the others are not.

    Raises
    ------
    SmoothnessError, DivergentExpectationError
        On access of a property that needs derivatives which the nonlinearity does not have.
    """

    network: Network
    relative_widths: tuple[float, ...]
    arrays: Mapping[str, AnyArray]
    refused: Mapping[str, InputError]

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        return {name: ("row", "column") for name in self.arrays}

    def array(self, name: str) -> AnyArray:
        """The one of that name, refused where the nonlinearity has none."""
        if name in self.refused:
            raise self.refused[name]
        return self.arrays[name]

    @property
    def sigma(self) -> AnyArray:
        """Σ¹: E[f f'] = Σ + Σ¹/n + O(1/n²), (N, N)."""
        return self.array("sigma")

    @property
    def theta(self) -> AnyArray:
        """Θ¹: E[∇f·∇f'] = Θ + Θ¹/n + O(1/n²), (N, N)."""
        return self.array("theta")

    @property
    def phi(self) -> AnyArray:
        """Φ¹: E[g f'] = Φ + Φ¹/n + O(1/n²), (N, N); the row is g's argument."""
        return self.array("phi")

    @property
    def theta_variance(self) -> AnyArray:
        """n Var Θ̂(x, x') of one output, (N, N)."""
        return self.array("theta_variance")

    @property
    def theta_between_points(self) -> AnyArray:
        """n Cov(Θ̂(x, x), Θ̂(x', x')) of one output, (N, N)."""
        return self.array("theta_between_points")

    @property
    def theta_between_outputs(self) -> AnyArray:
        """n Cov(Θ̂_ii(x, x), Θ̂_jj(x', x')) of two outputs i ≠ j, (N, N)."""
        return self.array("theta_between_outputs")

    @property
    def theta_off_diagonal(self) -> AnyArray:
        """n E[Θ̂_ij(x, x')²] of two outputs i ≠ j, (N, N)."""
        return self.array("theta_off_diagonal")

    @property
    def sigma_limit(self) -> AnyArray:
        """Σ, (N, N)."""
        return self.array("sigma_limit")

    @property
    def theta_limit(self) -> AnyArray:
        """Θ, (N, N)."""
        return self.array("theta_limit")

    @property
    def phi_limit(self) -> AnyArray:
        """Φ, (N, N)."""
        return self.array("phi_limit")

    def at(self, width: float) -> AtWidth:
        """Means and standard deviations at one width n, to first order in 1/n.

        Raises
        ------
        InputError
            For a width that is not positive.
        """
        if isinstance(width, bool) or not isinstance(width, int | float | np.number) or not 0 < width < np.inf:
            raise InputError("a positive width", repr(width))
        return AtWidth(
            width=float(width),
            sigma=self.sigma_limit + self.sigma / width,
            theta=self.theta_limit + self.theta / width,
            phi=None if "phi" in self.refused else self.phi_limit + self.phi / width,
            theta_std=np.sqrt(np.maximum(self.theta_variance.astype(float), 0) / width),
        )

    def __repr__(self) -> str:
        n = len(self.sigma_limit)
        return f"FiniteWidth({', '.join(self.arrays)}: coefficients of 1/n; {n} × {n}; {self.network!r})"


def finite_width(net: Network, X: Any, *, relative_widths: Sequence[float] = (), dps: int | None = None) -> FiniteWidth:
    r"""First-order corrections in 1/n of the kernels of a fully connected network, and the fluctuations of its Θ̂.

    .. math::
        E\hatΣ = Σ + \frac{Σ^1}{n} + O(n^{-2}), \quad E\hatΘ = Θ + \frac{Θ^1}{n}, \quad E[g f'] = Φ + \frac{Φ^1}{n}, \quad
        \mathrm{Var}\, \hatΘ = \frac{1}{n}\, \texttt{theta\_variance}

    Parameters
    ----------
    net : MLP or Sequential of Dense and Nonlinearity
        Any σ_w, β and smooth nonlinearity a layer. With kinks what exists is given: Σ and Θ of points that are not parallel.
    X : array_like (N, n_0)
        Points.
    relative_widths : sequence of float
        Width of every hidden layer over n; all 1 by default.
    dps : int, optional
        Decimal digits, for one or two points: object arrays of mpmath numbers.

    Returns
    -------
    FiniteWidth

    Raises
    ------
    InputError
        For networks other than fully connected ones, widths that do not fit, or more than two points with ``dps``.
    SmoothnessError
        If a correction needs a derivative that does not exist.

    References
    ----------
    Yaida (2019); Roberts, Yaida, Hanin (2022), chapters 4 and 8; Guillen, Misof, Gerken (2025), arXiv 2508.11522. The recursion
    is in :mod:`kernelcalc.kernels.first_order.recursion`.

    Examples
    --------
    One hidden layer has no correction of the means, and a linear network's Θ̂ fluctuates exactly as n = 1 products of
    Gaussians do:

    >>> import kernelcalc as kc
    >>> fw = finite_width(kc.MLP("x", depth=2, beta=0), [[1.0]])
    >>> float(fw.theta[0, 0]), float(fw.theta_variance[0, 0])
    (0.0, 4.0)
    """
    hidden = hidden_layers(net, relative_widths)
    x = check_points(X)
    if dps is not None:
        positive_integer("dps", dps)
        if len(x) > 2:
            raise InputError("one or two points with dps=", f"{len(x)}", "float64 takes Gram matrices")
    first = net.layers[0]
    assert isinstance(first, Dense)
    store = _Store(len(x), float if dps is None else object)
    if dps is None:
        _floats(first, hidden, x, store)
    else:
        _digits(first, hidden, x, store, dps + GUARD_DIGITS)
    return FiniteWidth(
        network=net, relative_widths=tuple(map(float, relative_widths)), arrays=store.finished(), refused=store.refused
    )


class _Store:
    """The arrays that are being filled; one whose entries do not exist is dropped, with the reason."""

    def __init__(self, n: int, dtype: type) -> None:
        self.arrays: dict[str, AnyArray] = {name: np.empty((n, n), dtype=dtype) for name in ENTRIES}
        self.refused: dict[str, InputError] = {}

    def put(self, last: State, pair: tuple[int, int], i: Any, j: Any) -> None:
        """The entries (i, j), and (j, i), of a state at the pair (0, 1) or the point (0, 0)."""
        for name in list(self.arrays):
            try:
                self.arrays[name][i, j] = value = ENTRIES[name](last, *pair)
                if pair[0] != pair[1]:
                    symmetric = name not in _WITH_TRANSPOSES
                    self.arrays[name][j, i] = value if symmetric else ENTRIES[name](last, *pair[::-1])
            except (SmoothnessError, DivergentExpectationError) as error:
                self.refused[name] = error
                del self.arrays[name]

    def equal(self, i: AnyArray, j: AnyArray) -> None:
        """Pairs of equal points have the diagonal's entries."""
        for array in self.arrays.values():
            array[i, j] = array[j, i] = np.diagonal(array)[i]

    def finished(self) -> dict[str, AnyArray]:
        """The arrays, read-only from now on."""
        for array in self.arrays.values():
            array.flags.writeable = False
        return self.arrays


def _floats(first: Dense, hidden: list[Hidden], x: AnyArray, store: _Store) -> None:
    """Points once, then the pairs in blocks."""
    q = first.sigma_w**2 * Points.of(x).square + first.beta**2
    check_variances(q)
    everyone = np.arange(len(x))
    variances, state = [q], first_state({(0, 0): q})
    for layer in hidden:
        expect = FloatExpectations(layer.activation, variances[-1], everyone, everyone, variances[-1])
        state = behind(layer, state, expect, Numbers(), (0,))
        variances.append(state.sigma[0, 0])
    store.put(state, (0, 0), everyone, everyone)
    i, j = np.triu_indices(len(x), 1)
    same = np.concatenate([np.array([], dtype=bool), *(equal_to(x[k + 1 :], x[k]) for k in range(len(x)))])
    store.equal(i[same], j[same])
    i, j = i[~same], j[~same]
    for start in range(0, len(i), PAIRS_AT_ONCE):
        rows, columns = i[start : start + PAIRS_AT_ONCE], j[start : start + PAIRS_AT_ONCE]
        c = first.sigma_w**2 * np.einsum("pd,pd->p", x[rows], x[columns]) / x.shape[1] + first.beta**2
        state = first_state({(0, 0): q[rows], (0, 1): c, (1, 0): c, (1, 1): q[columns]})
        for layer, at_points in zip(hidden, variances, strict=False):
            expect = FloatExpectations(layer.activation, at_points, rows, columns, state.sigma[0, 1])
            state = behind(layer, state, expect, Numbers(), (0, 1))
        store.put(state, (0, 1), rows, columns)


def equal_to(x: AnyArray, point: AnyArray) -> AnyArray:
    """Which rows are this point."""
    return (x == point).all(axis=1)


def _digits(first: Dense, hidden: list[Hidden], x: AnyArray, store: _Store, digits: int) -> None:
    """mpmath numbers, one or two points."""
    with MULTIPRECISION, mpmath.workdps(digits + GUARD_DIGITS):
        numbers = DigitNumbers(digits)
        scales = numbers.scales(first)
        which = tuple(range(len(x)))
        state = first_state(
            {(a, b): scales.weight * numbers.product(x[a], x[b]) + scales.bias for a in which for b in which}
        )
        for layer in hidden:
            state = behind(layer, state, DigitExpectations(layer.activation, state.sigma, digits), numbers, which)
        for a in which:
            for b in which[a:]:
                store.put(state, (a, b), a, b)
