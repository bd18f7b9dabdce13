r"""Figure 2 of Jacot, Gabriel, Hongler (ICLR 2020): the mutual orthogonality of I and S.

Left, as in the paper: Rayleigh quotients of the leading eigenvectors of I and of S (largest in magnitude). Right: how
Proposition 5 sets in. A mean over initialisations of a product of derivative tensors whose contractions form n_e clusters
with an even number of tensors and n_o with an odd one, m tensors in all, is of the order of n to the power
:math:`n_e + (n_o - m)/2` (Dyer and Gur-Ari). With an output f from the residual,

.. math:: \mathrm{Tr}\,I S \sim f\; ∇f·𝓗f\,∇f = O(1/n), \qquad \|I S\|_F^2 \sim ∇f·𝓗f\,𝓗f\,∇f = O(1/n)

while :math:`\|I\|_F` and :math:`\|S\|_F` have limits: the cosine of I and S vanishes as 1/n, the norm of their product
as :math:`n^{-1/2}`.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Proposition 5. Dyer, Gur-Ari, "Asymptotics of wide networks from Feynman diagrams"
(ICLR 2020) for the powers of the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernelcalc import datasets
from kernelcalc.activations.names import from_text
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.curvature.moments import gauss_newton_gram, pull_back
from kernelcalc.finite.curvature.spectrum import extreme_eigenvalues
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.kernels.mlp import MLP
from kernelcalc.output.result import Result, Table

# Exponents of the width derived above.
RATES = {"cosine": -1.0, "product": -0.5}


def leading_of_i(split: HessianSplit, count: int) -> Array:
    """Orthonormal eigenvectors of I to its largest eigenvalues, from the Gram matrix, (count, P)."""
    from scipy.linalg import eigh

    gram = gauss_newton_gram(split)
    values, vectors = eigh(gram, subset_by_index=(len(gram) - count, len(gram) - 1))
    return pull_back(split, vectors[:, ::-1] / np.sqrt(values[::-1]))


def rayleigh(split: HessianSplit, count: int, rng: Any = 0) -> dict[str, Array]:
    """vᵀIv and vᵀSv for the leading eigenvectors v of "I" and of "S" (in magnitude), (2, count) each."""
    of_s = extreme_eigenvalues(split.s, count, which="LM", vectors=True, tol=1e-3, rng=rng)[1].T
    found = {}
    for name, rows in (("I", leading_of_i(split, count)), ("S", np.ascontiguousarray(of_s))):
        quotients = [np.einsum("vp,vp->v", rows, split.product(rows, part)) for part in ("i", "s")]
        found[name] = np.array(quotients)
    return found


def angles(split: HessianSplit) -> dict[str, float]:
    """``cosine`` = Tr IS/(‖I‖‖S‖) and ``product`` = ‖IS‖_F/(‖I‖‖S‖), exactly."""
    from kernelcalc.finite.curvature.pairs import curvature_pairs

    gram = gauss_newton_gram(split)
    pairs = curvature_pairs(split)
    norms = np.linalg.norm(gram) * np.sqrt(pairs.s_s.sum())
    # I S = Jᵀ(J S) with J Jᵀ the Gram matrix
    pushed = split.product(pull_back(split, np.eye(len(gram))), "s")
    product = np.sqrt(np.vdot(pushed @ pushed.T, gram))
    return {"cosine": float(pairs.s_i.sum() / norms), "product": float(product / norms)}


def fitted_rate(widths: Sequence[int], values: Array, errors: Array) -> tuple[float, float]:
    """Exponent of a power law and its standard error, by weighted least squares of the logarithms."""
    design = np.stack([np.ones(len(widths)), np.log(widths)], axis=1) * (values / errors)[:, None]
    covariance = np.linalg.inv(design.T @ design)
    slope = covariance @ (design.T @ (np.log(values) * values / errors))
    return float(slope[1]), float(np.sqrt(covariance[1, 1]))


def run(
    *,
    width: int = 1000,
    points: int = 256,
    activation: str = "normalized smooth_relu",
    count: int = 20,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    trials: int = 24,
    seed: int = 0,
    progress: bool = False,
) -> Result:
    """Rayleigh quotients at one width; the angle between I and S at several.

    Parameters
    ----------
    width : int
        Of the network whose eigenvectors are shown (at initialisation, L = 3, one-hot digits).
    points : int
        Number of digits.
    activation : str
        The paper says "normalized ReLU"; of the normalised ReLU itself (``"normalized relu"``) S has no diagonal blocks.
    count : int
        Number of eigenvectors.
    widths : sequence of int
        For the rates; there the targets are parities of 32 digits, one output.
    trials : int
        Networks at each of these widths.
    seed : int
        Of the networks.
    progress : bool
        Show a bar.

    Returns
    -------
    Result
        Tables "figure2" (quotients) and "figure2_angles".

    Raises
    ------
    InputError
        Fewer than two networks or widths, or more eigenvectors than I has.
    """
    if trials < 2 or len(set(widths)) < 2:
        raise InputError(
            "at least two networks at each of at least two widths", f"trials={trials}, widths={tuple(widths)}"
        )
    chosen = from_text(activation)
    x, labels = datasets.mnist14(points)
    y = datasets.one_hot(labels)
    # I has rank N n_out at most
    if not 1 <= count <= y.size:
        raise InputError(
            f"1 to {y.size} eigenvectors, as I has at most (points) × (outputs) of them",
            f"count={count}",
            "take more points",
        )
    fin = FiniteNetwork.random(MLP(chosen, depth=3, beta=0.1, n_out=y.shape[1]), width, x.shape[1], rng=seed)
    found = rayleigh(fin.curvature(x, y), count, seed)
    table = Table("eigenvector_of", "index", "vIv", "vSv")
    for name, (with_i, with_s) in found.items():
        table.extend(name, np.arange(1, count + 1), with_i, with_s)
    single = MLP(chosen, depth=3, beta=0.1)
    few, few_labels = datasets.mnist14(min(32, points))
    parity = datasets.parity(few_labels)
    steps: Any = [(n, s) for n in widths for s in np.random.SeedSequence([seed, n]).spawn(trials)]
    if progress:
        from tqdm.auto import tqdm

        steps = tqdm(steps, desc="angles")
    seen = [angles(FiniteNetwork.random(single, n, few.shape[1], rng=s).curvature(few, parity)) for n, s in steps]
    rates = Table("what", "width", "rms", "error")
    fits = {}
    for name in RATES:
        squares = np.array([one[name] ** 2 for one in seen]).reshape(len(widths), trials)
        rms = np.sqrt(squares.mean(axis=1))
        error = squares.std(axis=1, ddof=1) / np.sqrt(trials) / (2 * rms)
        rates.extend(name, np.asarray(widths), rms, error)
        fits[name] = fitted_rate(widths, rms, error)
    angle_columns = rates.columns()

    def draw() -> Any:
        return _draw(found, angle_columns, fits, width)

    said = ", ".join(
        f"{name} {slope:.2f} ± {error:.2f} (derived {RATES[name]:g})" for name, (slope, error) in fits.items()
    )
    return Result(
        name="figure2",
        title=f"Rayleigh quotients of the first {count} eigenvectors of I and S: {chosen.name}, {points} digits, L = 3, width "
        f"{width}",
        tables={"figure2": table.columns(), "figure2_angles": angle_columns},
        notes=(
            "cosine is Tr IS/(‖I‖ ‖S‖), product is ‖IS‖/(‖I‖ ‖S‖), Frobenius norms, root mean squares over "
            f"{trials} initialisations",
            f"fitted powers of the width: {said}",
        ),
        draw=draw,
    )


def _draw(found: dict[str, Array], angle: dict[str, Array], fits: dict[str, tuple[float, float]], width: int) -> Any:
    from kernelcalc.output.style import COLORS, matplotlib_part

    figure = matplotlib_part("figure").Figure(figsize=(9.2, 3.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    left, right = figure.subplots(1, 2)
    for (name, (with_i, with_s)), color, marker in zip(found.items(), COLORS, "os", strict=False):
        left.plot(with_s, with_i, marker, color=color, ms=6, mew=0, alpha=0.75, label=f"of ${name}$")
    left.set(xlabel=r"$v^T S v$", ylabel=r"$v^T I v$", title=f"width {width}")
    # eigenvectors of I are in the middle, those of S low at both sides
    left.legend(frameon=False, loc="upper right", title=f"first {len(found['I'][0])}\neigenvectors", handletextpad=0.3)
    labels = {
        "cosine": r"$|\mathrm{Tr}\,IS| \,/\, \Vert I\Vert\Vert S\Vert$",
        "product": r"$\Vert IS\Vert \,/\, \Vert I\Vert\Vert S\Vert$",
    }
    for name, color in zip(RATES, COLORS[2:], strict=False):
        rows = angle["what"] == name
        n, rms, error = (angle[column][rows] for column in ("width", "rms", "error"))
        right.errorbar(n, rms, error, color=color, marker="o", ms=5, ls="none", capsize=2)
        line = rms[-1] * (n / n[-1]) ** RATES[name]
        right.plot(n, line, color=color, lw=1.2, label=f"{labels[name]}, line: $n^{{{RATES[name]:g}}}$")
    right.set(xscale="log", yscale="log", xlabel="width $n$", title="32 digits, one output")
    ticker = matplotlib_part("ticker")
    right.xaxis.set_major_locator(ticker.FixedLocator(sorted(set(angle["width"].tolist()))))
    right.xaxis.set_minor_locator(ticker.NullLocator())
    right.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    right.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    right.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    right.yaxis.set_minor_formatter(ticker.NullFormatter())
    # room for the legend above the upper line
    right.set_ylim(top=2.2 * right.get_ylim()[1])
    right.legend(frameon=False, fontsize=9, loc="upper right")
    return figure
