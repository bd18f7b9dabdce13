r"""Class and cross-class structure of the Gauss–Newton part I: Papyan's hierarchy at infinite width.

With :math:`𝓗C_i = \sum_{c'} u_{ic'} u_{ic'}^T`, under softmax :math:`u_{ic'} = \sqrt{p_{ic'}/N}\, (e_{c'} - p_i)`, the matrix
:math:`I = \sum_{i c'} δ_{ic'} δ_{ic'}^T` is the second moment of :math:`δ_{ic'} = \sum_k u_{ic',k} ∇f_k(x_i)`. Over the n_c
points of class c (of C) these vectors have means :math:`δ_{cc'}`, whose mean over c' ≠ c is :math:`δ_c`, and exactly

.. math::
    I = \underbrace{\sum_c n_c (C - 1)\, δ_c δ_c^T}_{\text{class}}
      + \underbrace{\sum_{c' ≠ c} n_c (δ_{cc'} - δ_c)(·)^T}_{\text{cross-class}}
      + \underbrace{\sum_c n_c\, δ_{cc} δ_{cc}^T}_{\text{own class}}
      + \underbrace{\sum_{i c'} (δ_{ic'} - δ_{c_i c'})(·)^T}_{\text{within}}.

All inner products are sums of Θ_ij: in the limit of infinite width
:math:`δ_{ic'} \cdot δ_{jd'} = Θ_{ij}\, u_{ic'} \cdot u_{jd'}`.

References
----------
Papyan, "Traces of class/cross-class structure pervade deep learning spectra", J. Mach. Learn. Res. 21 (2020), Sections 3 to 5.
Jacot, Gabriel, Hongler (ICLR 2020), Proposition 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import softmax

from kernelcalc.arguments import floats
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, ShapeError, renamed
from kernelcalc.results.result import Result, axes, origin_of
from kernelcalc.training.checks import columns, gram
from kernelcalc.training.losses import Loss, resolve_loss
from kernelcalc.training.progress import warn_if_long

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Eigenvalues of the means' Gram matrix below this part of the largest are rounding.
_RANK = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClassHierarchy(Result):
    """Eigenvalues of I and of its four parts, descending.

    Attributes
    ----------
    values : ndarray, (R,)
        Of I.
    class_values : ndarray, (C,)
        Of the class part: the first group of outliers.
    cross_values : ndarray, (C(C-1),)
        Of the cross-class part: the second group, together with ``own_values``.
    own_values : ndarray, (C,)
        Of c' = c: small where the points are learned.
    within_values : ndarray, (R,)
        Of what is left: the bulk.
    predicted : ndarray, (C²,)
        Of the first three parts together, the spectrum of the means δ_cc' alone.
    class_share, mean_share : ndarray, (R,)
        How much of each eigenvector of I lies in the span of the C class means δ_c, and of all C² means δ_cc'.
    """

    DIMENSIONS = axes(
        values="rank",
        class_values="class",
        cross_values="pair",
        own_values="class",
        within_values="rank",
        predicted="mean",
        class_share="rank",
        mean_share="rank",
    )
    TABLE: ClassVar[str] = "rank"

    values: Array
    class_values: Array
    cross_values: Array
    own_values: Array
    within_values: Array
    predicted: Array
    class_share: Array
    mean_share: Array

    @property
    def traces(self) -> dict[str, float]:
        """Tr of the four parts, which add up to Tr I."""
        parts = ("class_values", "cross_values", "own_values", "within_values")
        return {name.removesuffix("_values"): float(getattr(self, name).sum()) for name in parts}

    def columns(self) -> dict[str, Array]:
        """A row a rank: I, its parts and the means' prediction, not a number where a part has fewer; shares of eigenvectors."""
        parts = {
            "eigenvalue": self.values, "class": self.class_values, "cross": self.cross_values, "own": self.own_values,
            "within": self.within_values, "predicted": self.predicted, "class_share": self.class_share,
            "mean_share": self.mean_share,
        }  # fmt: skip
        size = max(map(len, parts.values()))
        padded = {name: np.concatenate([v, np.full(size - len(v), np.nan)]) for name, v in parts.items()}
        return {"rank": np.arange(1, size + 1), **padded}

    def text(self) -> str:
        """Trace and largest eigenvalues of each part, in lines."""
        whole, count = self.values.sum(), len(self.class_values)
        lines = [f"Class structure of I (Papyan): {count} classes, Tr I = {whole:.5g}"]
        for name, trace in self.traces.items():
            values = getattr(self, f"{name}_values")
            largest = ", ".join(f"{v:.4g}" for v in values[:3])
            lines.append(f"  {name:<8} {trace / whole:6.1%} of the trace, the largest {largest}")
        first, all_means = (share[:count].mean() for share in (self.class_share, self.mean_share))
        lines.append(
            f"  the {count} leading eigenvectors of I lie to {first:.1%} in the span of the class means, to {all_means:.1%} in "
            "that of all means"
        )
        return "\n".join(lines)


@renamed(labels="Y")
def class_hierarchy(
    kernels: Any, outputs: ArrayLike, Y: ArrayLike, loss: Any = "softmax", *, classes: ArrayLike | None = None
) -> ClassHierarchy:
    r"""Decompose I into class, cross-class, own-class and within-class parts.

    Parameters
    ----------
    kernels : LimitingKernels or ndarray
        Anything with the (N, N) array ``theta``; or the tangent kernel (N, N, n_out, n_out) of a finite network.
    outputs : array_like, (N, n_out)
        f at the points.
    Y : array_like
        As the loss takes them.
    loss : str, Loss or expression
        Other losses than softmax use the columns of 𝓗C^½ as u.
    classes : array_like, (N,), optional
        By default the largest entry of each target.

    Raises
    ------
    InputError, ShapeError
        One output; a class without points; shapes that do not fit.

    References
    ----------
    Papyan (2020), Sections 3 to 5.

    Examples
    --------
    Two classes, each one point twice: no variation within them.

    >>> from types import SimpleNamespace
    >>> two = np.repeat(np.repeat(np.eye(2), 2, axis=0), 2, axis=1)
    >>> found = class_hierarchy(SimpleNamespace(theta=two), np.zeros((4, 2)), [0, 0, 1, 1])
    >>> {name: round(abs(trace), 12) for name, trace in found.traces.items()}
    {'class': 0.25, 'cross': 0.0, 'own': 0.25, 'within': 0.0}
    """
    law = resolve_loss(loss)
    y = columns(outputs, what="outputs")
    n, n_out = y.shape
    if n_out < 2:
        raise InputError("at least two outputs", "one", "a class structure needs an output a class")
    targets = law.encode(Y, n_out)
    labels = targets.argmax(axis=1) if classes is None else np.asarray(classes)
    if labels.shape != (n,):
        raise ShapeError(f"{n} classes", f"{labels.shape}")
    counts = np.bincount(labels.astype(np.int64), minlength=n_out)
    if counts.size > n_out or (counts == 0).any():
        raise InputError(f"points of every class 0 to {n_out - 1}", f"{counts.tolist()}")
    warn_if_long(12.0 * (n * n_out) ** 3, f"the hierarchy of {n} points and {n_out} classes", "fewer points are faster")
    products = _products(kernels, _directions(law, y, targets))
    means = (labels[:, None] == np.arange(n_out)) / counts  # (N, C)
    # averages over the points of c for every c' ≠ c, (N C, ·), with the weights that make the parts add up to I
    cross = np.einsum("ic,ab->iacb", means, np.eye(n_out)).reshape(n * n_out, n_out, n_out)
    own = cross[:, np.arange(n_out), np.arange(n_out)]
    away = (cross.sum(axis=2) - own) / (n_out - 1)
    apart = cross - away[:, :, None]
    off = ~np.eye(n_out, dtype=bool)
    root = np.sqrt(counts)
    rest = np.eye(n * n_out) - np.einsum("icb,jcb,c->ij", cross, cross, counts)
    values, vectors = np.linalg.eigh(products)
    return ClassHierarchy(
        values=np.maximum(values[::-1], 0.0),
        class_values=_spectrum(products, away * root * np.sqrt(n_out - 1)),
        cross_values=_spectrum(products, (apart * root[:, None])[:, off]),
        own_values=_spectrum(products, own * root),
        within_values=_spectrum(products, rest),
        predicted=_spectrum(products, (cross * root[:, None]).reshape(n * n_out, -1)),
        class_share=_share(values, vectors, products, away)[::-1],
        mean_share=_share(values, vectors, products, cross.reshape(n * n_out, -1))[::-1],
    ).with_origin(**origin_of(kernels), outputs=digest(y), loss_name=law.name)


def _directions(law: Loss, y: Array, targets: Array) -> Array:
    """u, (N, C, n_out): Σ_c' u uᵀ = 𝓗C."""
    if law.name != "softmax":
        root = law.hessian_sqrt(y, targets)
        return root if law.has_blocks else np.einsum("ik,kl->ikl", root, np.eye(y.shape[1]))
    p = softmax(y, axis=1)
    return np.asarray(np.sqrt(p / len(y))[:, :, None] * (np.eye(y.shape[1]) - p[:, None, :]))


def _products(kernels: Any, u: Array) -> Array:
    """Inner products of all δ, (N C, N C)."""
    n, count, n_out = u.shape
    if isinstance(kernels, np.ndarray):
        full = floats(kernels, "a tangent kernel", "numbers")
        if full.shape != (n, n, n_out, n_out):
            raise ShapeError(f"a tangent kernel ({n}, {n}, {n_out}, {n_out})", f"{full.shape}")
        found = np.einsum("iak,ijkl,jbl->iajb", u, full, u, optimize=True)
    else:
        theta = gram(kernels, "theta", n)
        found = theta[:, None, :, None] * np.einsum("iak,jbk->iajb", u, u)
    matrix = found.reshape(n * count, n * count)
    return np.asarray((matrix + matrix.T) / 2)


def _spectrum(products: Array, combinations: Array) -> Array:
    """Eigenvalues of Σ_m v_m v_mᵀ, v_m = Σ_i combinations[i, m] δ_i."""
    values = np.linalg.eigvalsh(combinations.T @ products @ combinations)
    return np.maximum(values[::-1], 0.0)


def _share(values: Array, vectors: Array, products: Array, combinations: Array) -> Array:
    """Squared length of every eigenvector of I, Σ_i w_i δ_i/√λ, in the span of combinations of the δ."""
    size, basis = np.linalg.eigh(combinations.T @ products @ combinations)
    kept = size > _RANK * size[-1]
    # w is an eigenvector of the Gram matrix: inner products with the δ are √λ w
    lengths = np.sqrt(np.maximum(values, 0.0)) * (combinations.T @ vectors)
    return np.asarray(np.sum((basis[:, kept].T @ lengths) ** 2 / size[kept, None], axis=0))
