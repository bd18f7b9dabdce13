"""What the proofs say vanishes, measured against the width: the tensors Ω, Γ, Ψ, Remark 1's union of spectra, the norm of S."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.activations.names import from_text
from kernelcalc.arrays import Array
from kernelcalc.errors import InputError
from kernelcalc.finite.network import FiniteNetwork
from kernelcalc.kernels.mlp import MLP
from kernelcalc.output.pictures import grid, signed_scale
from kernelcalc.output.style import color_of, legend_below, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Show, Tables
from kernelcalc.studies.figures.figure2 import CERTAIN, fitted_rate

# What is measured, in order, and how formulas write it.
FORMULAS = {
    "omega": r"$\Omega = \nabla f\, \mathcal{H}f\, \nabla f$",
    "gamma": r"$\Gamma = \nabla f\, \mathcal{H}f\, \mathcal{H}f\, \nabla f$",
    "psi": r"$\Psi = \mathrm{Tr}\, \mathcal{H}f^4$",
    "norm_s": r"$\|S\|_{op}$",
    "spread_s": r"$(\mathrm{Tr}\, S^2)^2/\mathrm{Tr}\, S^4$",
    "union": "distance of spectra",
    "third": r"$|\mathrm{Tr}\, S^3|$",
    "fourth": r"$\mathrm{Tr}\, S^4$",
}
TENSORS = ("omega", "gamma", "psi")
OF_S = ("norm_s", "spread_s", "union")
# A symmetric spectrum is one to rounding; that of a smooth nonlinearity is not by this part of its norm.
MIRRORED, UNEVEN = 1e-10, 1e-3
# Points and inputs: a tensor has N⁴ entries, a network P² second derivatives.
POINTS, INPUTS = 3, 4


def tensors(jacobian: Array, hessians: Array) -> dict[str, float]:
    """Root mean squares over points of Ω (Lemma 1), Γ (Lemma 2) and Ψ (Lemma 5), from ∂f (N, P) and its Hessians (N, P, P)."""
    pushed = hessians @ jacobian.T  # (N, P, N)
    omega = np.einsum("ip,jpk->ijk", jacobian, pushed)
    gamma = np.einsum("apb,cpd->abcd", pushed, pushed)
    pairs = np.array([[a @ b for b in hessians] for a in hessians]).reshape(len(hessians) ** 2, -1)
    turned = np.array([[(a @ b).T for b in hessians] for a in hessians]).reshape(pairs.shape)
    psi = pairs @ turned.T
    return {name: float(np.sqrt(np.mean(t**2))) for name, t in zip(TENSORS, (omega, gamma, psi), strict=True)}


def union_distance(h: Array, i: Array, s: Array) -> float:
    """How far the sorted eigenvalues of H are from the union of those of I and S, over those of S (Remark 1).

    Zeros of both are counted once: the P largest in absolute value of the 2P are compared.
    """
    both = np.concatenate([np.linalg.eigvalsh(i), np.linalg.eigvalsh(s)])
    kept = np.sort(both[np.argsort(-np.abs(both))[: len(h)]])
    return float(np.linalg.norm(np.linalg.eigvalsh(h) - kept) / np.linalg.norm(s))


def asymmetry(values: Array) -> float:
    """Largest distance of a spectrum from its mirror image, over its norm."""
    v = np.sort(values)
    return float(np.abs(v + v[::-1]).max() / np.abs(v).max())


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Everything by name, (widths, trials); spectra of H, I, S of the first widest network; asymmetries of shallow networks."""

    activation: str
    values: dict[str, Array]
    spectra: dict[str, Array]
    shallow: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Lemmas(Experiment):
    """Ω, Γ, Ψ, ‖S‖ and the spectra of H, I and S at several widths, at initialisation under MSE.

    Tables "lemmas" (geometric means over networks), "lemmas_spectra" and "lemmas_shallow".

    Parameters
    ----------
    widths : sequence of int
        Of the two hidden layers; all second derivatives are held, P² numbers a point.
    trials : int
        Networks of each width.
    activation : str
        Smooth.
    seed : int
        Of points and networks.

    Raises
    ------
    InputError
        Fewer than two networks or widths.
    """

    name = "lemmas"
    summary = "the tensors of Lemmas 1, 2 and 5, Remark 1 and the spectrum of S against the width"

    widths: Sequence[int] = (8, 16, 32)
    trials: int = 24
    activation: str = "tanh"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 2 or len(set(self.widths)) < 2:
            raise InputError("at least two networks at each of at least two widths", f"{self.trials}, {self.widths}")

    def measure(self, show: Show) -> Found:
        net = MLP(from_text(self.activation), depth=3, sigma_w=1.3, beta=0.1)
        x = np.random.default_rng([self.seed, 1]).normal(size=(POINTS, INPUTS))
        jobs = [(n, t) for n in self.widths for t in range(self.trials)]
        seen: list[dict[str, float]] = []
        spectra: dict[str, Array] = {}
        for n, trial in show(jobs, "networks"):
            fin = FiniteNetwork.random(net, n, INPUTS, rng=[self.seed, n, trial])
            numbers, own = self._network(fin, x)
            seen.append(numbers)
            if n == max(self.widths) and not spectra:
                spectra = own
        shape = len(self.widths), self.trials
        values = {name: np.array([one[name] for one in seen]).reshape(shape) for name in FORMULAS}
        shallow = {}
        for name in ("relu", self.activation):
            one = FiniteNetwork.random(MLP(from_text(name), depth=2), 16, INPUTS, rng=[self.seed, 2])
            s = one.curvature(x, np.ones(POINTS)).s.dense()
            shallow[name] = asymmetry(np.linalg.eigvalsh(s))
        return Found(activation=net.activations[0].name, values=values, spectra=spectra, shallow=shallow)

    @staticmethod
    def _network(fin: FiniteNetwork, x: Array) -> tuple[dict[str, float], dict[str, Array]]:
        y = np.where(np.arange(len(x)) % 2, 1.0, -1.0)
        jacobian, hessians = fin.jacobian(x)[:, 0], fin.output_hessian(x)[:, 0]
        s = np.einsum("n,npq->pq", fin(x)[:, 0] - y, hessians) / len(x)
        i = jacobian.T @ jacobian / len(x)
        eigen = np.linalg.eigvalsh(s)
        # of the mean-field start, where outputs vanish: ∇C = -Y*/N
        start = np.linalg.eigvalsh(np.einsum("n,npq->pq", -y, hessians) / len(x))
        # in units of Θ, Υ and ‖S‖, whose limits are positive, and whose fluctuations networks share with these numbers
        theta, upsilon = np.sum(jacobian**2) / len(x), np.sum(hessians**2) / len(x)
        units = {"omega": theta * upsilon**0.5, "gamma": theta * upsilon, "psi": upsilon**2}
        size = np.sqrt(np.sum(start**2))
        numbers = {name: value / units[name] for name, value in tensors(jacobian, hessians).items()} | {
            "norm_s": float(np.abs(start).max() / size),
            "spread_s": float(np.sum(start**2) ** 2 / np.sum(start**4)),
            "union": union_distance(i + s, i, s),
            "third": float(abs(np.sum(start**3)) / size**3),
            "fourth": float(np.sum(start**4) / size**4),
        }
        return numbers, {"H": np.linalg.eigvalsh(i + s), "I": np.linalg.eigvalsh(i), "S": eigen}

    def title(self, found: Found) -> str:
        return (
            f"What vanishes as the width grows: {found.activation}, L = 3, {POINTS} points, one output, "
            f"{self.trials} networks of each width"
        )

    def table(self, found: Found) -> Tables:
        rows = Table("what", "width", "typical", "error")
        for name, values in found.values.items():
            # their tails are heavy in narrow networks: the geometric mean over networks
            logs = np.log(values)
            typical = np.exp(logs.mean(axis=1))
            error = typical * logs.std(axis=1, ddof=1) / np.sqrt(self.trials)
            rows.extend(name, np.asarray(self.widths), typical, error)
        spectra = Table("of", "rank", "eigenvalue")
        for name, values in found.spectra.items():
            spectra.extend(name, np.arange(1, values.size + 1), values[::-1])
        shallow = Table("activation", "asymmetry")
        for name, value in found.shallow.items():
            shallow.add(name, value)
        return {"lemmas": rows.columns(), "lemmas_spectra": spectra.columns(), "lemmas_shallow": shallow.columns()}

    def fits(self, found: Found) -> dict[str, tuple[float, float]]:
        """Fitted exponents of the width and their standard errors."""
        table = self.table(found)["lemmas"]
        rows = {name: table["what"] == name for name in FORMULAS}
        return {name: fitted_rate(self.widths, table["typical"][r], table["error"][r]) for name, r in rows.items()}

    def notes(self, found: Found) -> tuple[str, ...]:
        said = ", ".join(f"{name} {slope:.2f} ± {error:.2f}" for name, (slope, error) in self.fits(found).items())
        return (
            "typical: geometric mean over networks; omega, gamma, psi: root mean squares over points of Ω, Γ, Ψ, in "
            "units of Θ Υ^½, Θ Υ and Υ², as networks have them",
            "‖IS‖² is a contraction of Γ, Tr S⁴ of Ψ",
            "union: distance of the spectrum of H from the union of those of I and S, over ‖S‖",
            "norm_s, spread_s, third, fourth: operator norm of S, its number of eigenvalues (Tr S²)²/Tr S⁴, |Tr S³|, Tr S⁴, "
            "in units of ‖S‖, all at ∇C = -Y*/N, the same for all networks: in the mean-field limit Tr H^k is w^(k/2) times "
            "Tr S^k, which the "
            "theory gives for k ≤ 2 only",
            f"fitted powers of the width: {said}",
        )

    def verdicts(self, found: Found) -> tuple[Verdict, ...]:
        fits = self.fits(found)
        vanishing = {
            "omega": ("Lemma 1", "Ω vanishes"),
            "gamma": ("Lemma 2", "Γ vanishes"),
            "psi": ("Lemma 5", "Ψ vanishes"),
            "norm_s": ("Section 3.2", "the eigenvalues of S shrink"),
            "union": ("Remark 1", "the spectrum of H becomes the union of those of I and S"),
            "third": ("Section 3.3, beyond it", "Tr H³/w^(3/2) vanishes in the mean-field limit"),
            "fourth": ("Section 3.3, beyond it", "Tr H⁴/w² vanishes in the mean-field limit"),
        }
        rates = [
            Verdict(
                source=f"ICLR 2020, {source}",
                claim=claim,
                measured=f"fitted power of the width plus {CERTAIN:g} standard errors",
                number=fits[name][0] + CERTAIN * fits[name][1],
                below=0.0,
            )
            for name, (source, claim) in vanishing.items()
        ]
        slope, error = fits["spread_s"]
        smooth = found.shallow.get(self.activation, np.nan)
        return (
            *rates,
            Verdict(
                source="ICLR 2020, Section 3.2",
                claim="ever more eigenvalues of S",
                measured=f"fitted power of their number (Tr S²)²/Tr S⁴ less {CERTAIN:g} standard errors",
                number=slope - CERTAIN * error,
                above=0.0,
            ),
            Verdict(
                source="ICLR 2020, Section 3.2",
                claim="S of a shallow ReLU network is symmetric about 0",
                measured="largest distance from its mirror image over its norm",
                number=found.shallow["relu"],
                below=MIRRORED,
            ),
            Verdict(
                source="ICLR 2020, Section 3.2",
                claim="that of a smooth nonlinearity is not",
                measured=f"the same for {found.activation}",
                number=smooth if self.activation != "relu" else np.nan,
                above=UNEVEN,
            ),
        )

    def draw(self, found: Found) -> Any:
        figure, axes = grid(1, 3, ratio=0.9)
        table = self.table(found)["lemmas"]
        for ax, names in ((axes[0, 0], TENSORS), (axes[0, 1], OF_S)):
            for index, name in enumerate(names):
                rows = table["what"] == name
                ax.errorbar(
                    table["width"][rows], table["typical"][rows], table["error"][rows], fmt="o-", color=color_of(index),
                    ms=marker_size(0.8), lw=line_width(0.8), label=FORMULAS[name],
                )  # fmt: skip
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("width")
        _draw_spectra(axes[0, 2], found.spectra)
        pairs = [pair for ax in axes[0] for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
        legend_below(figure, [handle for handle, _ in pairs], labels=[label for _, label in pairs])
        return figure


def _draw_spectra(ax: Any, spectra: dict[str, Array]) -> None:
    """Remark 1: H beside I and S, their nonzero eigenvalues against rank from both ends."""
    top = max(float(np.abs(values).max()) for values in spectra.values())
    both = np.concatenate([spectra["I"], spectra["S"]])
    both = np.sort(both[np.argsort(-np.abs(both))[: spectra["H"].size]])[::-1]
    rank = np.arange(1, both.size + 1)
    ax.plot(rank, both, ".", color=color_of(1), ms=marker_size(1.0), label="union of $I$ and $S$")
    ax.plot(rank, np.sort(spectra["H"])[::-1], "x", color=color_of(0), ms=marker_size(0.5), label="$H = I + S$")
    signed_scale(ax, "y", 1e-3 * top)
    ax.set_xlabel("rank")
    ax.set_ylim(-1.3 * top, 1.3 * top)
    ax.set_ylabel("eigenvalue")
