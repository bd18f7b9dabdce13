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
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh

from kernelcalc import datasets
from kernelcalc.activations.names import from_text
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
from kernelcalc.finite.curvature.deflation import gauss_newton_gram, pull_back
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.curvature.pairs import curvature_pairs
from kernelcalc.finite.curvature.spectrum import extreme_eigenvalues
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.kernels.mlp import MLP
from kernelcalc.output.pictures import grid
from kernelcalc.output.style import color_of, line_width, marker_size, matplotlib_part
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Sample, Show, Tables, called

# Exponents of the width derived above.
RATES = {"cosine": -1.0, "product": -0.5}
# Points of the networks whose angles are measured.
FEW = 32
# One part in so many of the other counts as small; standard errors of a power, and what the next order in 1/n may add.
SMALL_SHARE, CERTAIN, NEXT_ORDER = 0.3, 3.0, 0.12


def leading_of_i(split: HessianSplit, count: int) -> Array:
    """Orthonormal eigenvectors of I to its largest eigenvalues, from the Gram matrix, (count, P)."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Quotients (2, count) of the eigenvectors of I and of S, and the angles of every network, {name: (widths, trials)}."""

    activation: str
    quotients: dict[str, Array]
    angles: dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Figure2(Experiment):
    """Rayleigh quotients at one width; the angle between I and S at several.

    Tables "figure2" (quotients) and "figure2_angles".

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
    sample : (points, labels), optional
        Instead of digits; for the rates its first 32, with the parity of their class.

    Raises
    ------
    InputError
        Fewer than two networks or widths, or more eigenvectors than I has.
    """

    name = "figure2"
    summary = "Rayleigh quotients of eigenvectors of I and S, and the angle between them"

    width: int = 1000
    points: int = 256
    activation: str = "normalized smooth_relu"
    count: int = 20
    widths: Sequence[int] = (32, 64, 128, 256, 512)
    trials: int = 24
    seed: int = 0
    sample: Sample | None = None

    def __post_init__(self) -> None:
        if self.trials < 2 or len(set(self.widths)) < 2:
            raise InputError(
                "at least two networks at each of at least two widths",
                f"trials={self.trials}, widths={tuple(self.widths)}",
            )

    def measure(self, show: Show) -> Found:
        chosen = from_text(self.activation)
        x, labels = self.sample or datasets.mnist14(self.points)
        y = datasets.one_hot(labels)
        # I has rank N n_out at most
        if not 1 <= self.count <= y.size:
            raise InputError(
                f"1 to {y.size} eigenvectors, as I has at most (points) × (outputs) of them",
                f"count={self.count}",
                "take more points",
            )
        net = MLP(chosen, depth=3, beta=0.1, n_out=y.shape[1])
        fin = FiniteNetwork.random(net, self.width, x.shape[1], rng=self.seed)
        quotients = rayleigh(fin.curvature(x, y), self.count, self.seed)
        single = MLP(chosen, depth=3, beta=0.1)
        few, few_labels = self._few()
        parity = datasets.parity(few_labels)
        jobs = [(n, s) for n in self.widths for s in np.random.SeedSequence([self.seed, n]).spawn(self.trials)]
        seen = [
            angles(FiniteNetwork.random(single, n, few.shape[1], rng=s).curvature(few, parity))
            for n, s in show(jobs, "angles")
        ]
        shape = len(self.widths), self.trials
        found = {name: np.array([one[name] for one in seen]).reshape(shape) for name in RATES}
        return Found(activation=chosen.name, quotients=quotients, angles=found)

    def _few(self) -> Sample:
        """Points for the rates, with the number of their class."""
        if self.sample is None:
            return datasets.mnist14(min(FEW, self.points))
        x, labels = self.sample
        return x[:FEW], np.unique(labels, return_inverse=True)[1][:FEW]

    def title(self, found: Found) -> str:
        return (
            f"Rayleigh quotients of the first {self.count} eigenvectors of I and S: {found.activation}, "
            f"{called(self.sample, self.points)}, L = 3, width {self.width}"
        )

    def table(self, found: Found) -> Tables:
        table = Table("eigenvector_of", "index", "vIv", "vSv")
        for name, (with_i, with_s) in found.quotients.items():
            table.extend(name, np.arange(1, self.count + 1), with_i, with_s)
        rates = Table("what", "width", "rms", "error")
        for name, values in found.angles.items():
            squares = values**2
            rms = np.sqrt(squares.mean(axis=1))
            error = squares.std(axis=1, ddof=1) / np.sqrt(self.trials) / (2 * rms)
            rates.extend(name, np.asarray(self.widths), rms, error)
        return {"figure2": table.columns(), "figure2_angles": rates.columns()}

    def fits(self, found: Found) -> dict[str, tuple[float, float]]:
        """Fitted exponents of the width and their standard errors."""
        table = self.table(found)["figure2_angles"]
        own = {name: table["what"] == name for name in RATES}
        return {name: fitted_rate(self.widths, table["rms"][r], table["error"][r]) for name, r in own.items()}

    def notes(self, found: Found) -> tuple[str, ...]:
        said = ", ".join(
            f"{name} {slope:.2f} ± {error:.2f} (derived {RATES[name]:g})"
            for name, (slope, error) in self.fits(found).items()
        )
        return (
            "cosine is Tr IS/(‖I‖ ‖S‖), product is ‖IS‖/(‖I‖ ‖S‖), Frobenius norms, root mean squares over "
            f"{self.trials} initialisations",
            f"fitted powers of the width: {said}",
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        sizes = {name: np.sqrt((quotients**2).mean(axis=1)) for name, quotients in found.quotients.items()}
        fits = self.fits(found)
        shares = [
            Verdict(
                source="ICLR 2020, Figure 2",
                claim=f"directions where {name} is large are directions where {other} is small",
                measured=f"root mean square of the quotients of {other} over those of {name}, width {self.width},",
                number=float(sizes[name][1 - own] / sizes[name][own]),
                below=SMALL_SHARE,
            )
            for own, (name, other) in enumerate((("I", "S"), ("S", "I")))
        ]
        rates = [
            Verdict(
                source="ICLR 2020, Proposition 5; the rate derived here",
                claim=f"I and S become orthogonal: {name} ~ n^{RATES[name]:g}",
                measured="fitted power less the derived one",
                number=slope - RATES[name],
                above=-(CERTAIN * error + NEXT_ORDER),
                below=CERTAIN * error + NEXT_ORDER,
            )
            for name, (slope, error) in fits.items()
        ]
        return (*shares, *rates)

    def draw(self, found: Found) -> Any:
        figure, axes = grid(1, 2, ratio=0.85)
        _draw_quotients(axes[0, 0], found.quotients, self.width)
        _draw_angles(axes[0, 1], self.table(found)["figure2_angles"])
        return figure


def _draw_quotients(ax: Any, quotients: dict[str, Array], width: int) -> None:
    for i, (name, (with_i, with_s)) in enumerate(quotients.items()):
        ax.plot(with_s, with_i, "os"[i], color=color_of(i), ms=marker_size(1), mew=0, alpha=0.75, label=f"of ${name}$")
    ax.set(xlabel=r"$v^T S v$", ylabel=r"$v^T I v$", title=f"width {width}")
    # eigenvectors of I are in the middle, those of S low at both sides
    words = f"first {len(quotients['I'][0])}\neigenvectors"
    ax.legend(loc="upper right", title=words, handletextpad=0.3)


def _draw_angles(ax: Any, angle: dict[str, Array]) -> None:
    labels = {
        "cosine": r"$|\mathrm{Tr}\,IS| \,/\, \Vert I\Vert\Vert S\Vert$",
        "product": r"$\Vert IS\Vert \,/\, \Vert I\Vert\Vert S\Vert$",
    }
    for i, (name, rate) in enumerate(RATES.items()):
        rows, color = angle["what"] == name, color_of(2 + i)
        n, rms, error = (angle[column][rows] for column in ("width", "rms", "error"))
        ax.errorbar(n, rms, error, color=color, marker="o", ms=marker_size(0.83), ls="none", capsize=2)
        label = f"{labels[name]}, line: $n^{{{rate:g}}}$"
        ax.plot(n, rms[-1] * (n / n[-1]) ** rate, color=color, lw=line_width(0.8), label=label)
    ax.set(xscale="log", yscale="log", xlabel="width $n$", title="32 digits, one output")
    ticker = matplotlib_part("ticker")
    plain = ticker.FuncFormatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_major_locator(ticker.FixedLocator(sorted(set(angle["width"].tolist()))))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter(plain)
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(plain)
    ax.yaxis.set_minor_formatter(ticker.NullFormatter())
    # room for the legend above the upper line
    ax.set_ylim(top=2.2 * ax.get_ylim()[1])
    ax.legend(loc="upper right")
