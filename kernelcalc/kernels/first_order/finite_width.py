r"""Kernels of networks of finite width, to first order in 1/n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arguments import flag
from kernelcalc.arrays import AnyArray
from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.kernels.first_order.entries import ENTRIES, HESSIAN_ENTRIES, OWN_LIMITS
from kernelcalc.kernels.first_order.gram import Computation
from kernelcalc.kernels.first_order.layers import hidden_layers
from kernelcalc.kernels.gram import KernelComputation
from kernelcalc.kernels.layers import Dense
from kernelcalc.kernels.network import Network, positive_integer
from kernelcalc.kernels.points import check_points
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes


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
    upsilon, xi : ndarray (N, N), optional
        Υ + Υ¹/n, Ξ + Ξ¹/n, where the first order was asked for with ``hessian=True``.
    """

    DIMENSIONS = axes(
        sigma="row column",
        theta="row column",
        phi="row column",
        theta_std="row column",
        upsilon="row column",
        xi="row column",
    )

    width: float
    sigma: AnyArray
    theta: AnyArray
    phi: AnyArray | None
    theta_std: AnyArray
    upsilon: AnyArray | None = None
    xi: AnyArray | None = None


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

    Notes
    -----
    With ``hessian=True`` there are also, in ``arrays`` and by :meth:`array`, for outputs k and l ≠ k, points x of the row and
    x' of the column, n times: Cov(Υ̂_kk(x, x'), f_k f_k') as ``upsilon_with_outputs`` and E[Υ̂_kl(x, x') f_k f_l'] as
    ``upsilon_between_outputs``; Cov(Ξ̂, Σ̂) as ``xi_with_sigma``, Cov(Φ̂(x, x'), Φ̂(x', x)) as ``phi_with_transpose`` and
    Cov(Φ̂(x, x), Φ̂(x', x')) as ``phi_between_points``, of means over the last weights; E[∇f_k'ᵀ Hf_k ∇f_k' f_k] as
    ``hessian_along_gradients``, with ∇f_l' in place of ∇f_k' as ``hessian_along_other_gradients``; Cov(Θ̂_kk(x, x), f_k' g_k')
    as ``theta_with_phi`` and Cov(Θ̂_kk(x, x), f_l' g_l') as ``theta_with_other_phi``.

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
        """The one of that name, refused where the nonlinearity has none or where it was not asked for.

        Raises
        ------
        SmoothnessError
            The nonlinearity has too few derivatives for it.
        InputError
            It needs ``hessian=True``.
        UnknownNameError
            Another name.
        """
        if name in self.refused:
            raise self.refused[name]
        if name in HESSIAN_ENTRIES and name not in self.arrays:
            raise InputError(
                f"a first order that has {name!r}", "one without", "finite_width(..., hessian=True) has it"
            )
        if name not in self.arrays:
            raise UnknownNameError("an array of the first order", name, self.arrays)
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
    def upsilon(self) -> AnyArray:
        """Υ¹: E[Tr Hf Hf'] = Υ + Υ¹/n + O(1/n²), (N, N); with ``hessian=True``."""
        return self.array("upsilon")

    @property
    def xi(self) -> AnyArray:
        """Ξ¹: E[g g'] = Ξ + Ξ¹/n + O(1/n²), (N, N); with ``hessian=True``."""
        return self.array("xi")

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

    @property
    def upsilon_limit(self) -> AnyArray:
        """Υ, (N, N); with ``hessian=True``."""
        return self.array("upsilon_limit")

    @property
    def xi_limit(self) -> AnyArray:
        """Ξ, (N, N); with ``hessian=True``."""
        return self.array("xi_limit")

    def at(self, width: float) -> AtWidth:
        """Means and standard deviations at one width n, to first order in 1/n.

        Raises
        ------
        InputError
            For a width that is not positive.
        """
        if isinstance(width, bool) or not isinstance(width, int | float | np.number) or not 0 < width < np.inf:
            raise InputError("a positive width", repr(width))
        more = {name: self.arrays.get(name) for name in ("phi", "upsilon", "xi")}
        means = {
            name: None if first is None else self.array(f"{name}_limit") + first / width for name, first in more.items()
        }
        return AtWidth(
            width=float(width),
            sigma=self.sigma_limit + self.sigma / width,
            theta=self.theta_limit + self.theta / width,
            **means,
            theta_std=np.sqrt(np.maximum(self.theta_variance.astype(float), 0) / width),
        )

    def __repr__(self) -> str:
        n = len(self.sigma_limit)
        return f"FiniteWidth({', '.join(self.arrays)}: coefficients of 1/n; {n} × {n}; {self.network!r})"


@watched("fewer points and activations with a closed form are faster")
def finite_width(
    net: Network, X: Any, *, relative_widths: Sequence[float] = (), dps: int | None = None, hessian: bool = False
) -> FiniteWidth:
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
        Decimal digits of each array's largest entry, for one or two points: object arrays of mpmath numbers.
    hessian : bool
        Whether Υ¹, Ξ¹ and the covariances that moments of the Hessian take are wanted too; a few times as long.

    Returns
    -------
    FiniteWidth

    Raises
    ------
    InputError
        For networks other than fully connected ones, widths that do not fit, or more than two points with ``dps``.
    SmoothnessError
        If a correction needs a derivative that does not exist.
    PrecisionError
        If more cancels than a higher precision makes up for.

    Warns
    -----
    PrecisionWarning
        If what is computed again with every expectation moved by its stated error differs by more than 1e-10 of an array's
        largest entry; looked for at variances above 100, where an expectation has lost more than 1e-10 of itself, and where
        points are nearly parallel (1 - ρ² below 0.05), which matters to kinks and fast functions.

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
    names = (*ENTRIES, *HESSIAN_ENTRIES) if flag("hessian", hessian) else tuple(ENTRIES)
    computation = Computation(first=first, hidden=hidden, x=x, names=names)
    store = computation.floats() if dps is None else computation.digits(dps)
    limits = {name: kernel for name, kernel in OWN_LIMITS.items() if dps is None and name in store.arrays}
    if limits:
        (kernels,) = KernelComputation(net, x, None, tuple(limits.values())).run(layers=False)
        store.arrays.update({name: kernels[kernel] for name, kernel in limits.items()})
    return FiniteWidth(
        network=net, relative_widths=tuple(map(float, relative_widths)), arrays=store.finished(), refused=store.refused
    )
