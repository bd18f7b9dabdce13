"""The number of outliers of the Hessian against the number of clusters in the data (2017, Table 1 and Figures 2, 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.activations.names import as_activation
from kernelcalc.arrays import AnyArray
from kernelcalc.datasets import gaussian_clusters
from kernelcalc.finite.curvature.spectrum import eigenvalues
from kernelcalc.output.pictures import below, decade_ticks, grid
from kernelcalc.output.style import color_of, ink, line_width, marker_size
from kernelcalc.output.tables import Table, Verdict
from kernelcalc.studies.experiment import Experiment, Show, Tables, by_size
from kernelcalc.studies.sagun.claims import far_note, stop_note, untrained
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.paper_table import counted
from kernelcalc.studies.sagun.registry import experiment
from kernelcalc.studies.sagun.task import Task, descend, descend_until
from kernelcalc.studies.sample_covariance import sampled_outliers
from kernelcalc.studies.spectrum import count_outliers

# Part of the spectrum in which gaps and ratios are looked for: below, ratios are between roundings of zero.
SCREE = 100
PAPER_COLUMNS = ("gap_paper", "ratio_paper", "elbow_paper", "cutoff_paper")
COUNTED_BY = ("gap", "ratio", "cutoff")
# Ranks that the picture shows.
SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Setting:
    """An algorithm, a nonlinearity, the variance inside the clusters over that of their centres, how many clusters."""

    algorithm: str
    activation: Any
    cov: float
    clusters: int

    @property
    def batch(self) -> int | None:
        """Points of a step."""
        return 32 if self.algorithm == "SGD" else None

    @property
    def name(self) -> str:
        """Of the nonlinearity."""
        return as_activation(self.activation).name

    @property
    def words(self) -> str:
        """The setting in a line."""
        return f"{self.algorithm}, {self.name}, cov {self.cov:g}, {self.clusters} clusters"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained network, the limit after the same steps, and the data.

    Attributes
    ----------
    parameters : int
        P, of which ``values`` are the eigenvalues but for zeros.
    values, expected : arrays
        Eigenvalues of H and of I in the limit, descending.
    components : array
        Variances of the data along their principal components.
    first_loss : float
        C before training.
    taken : int
        Steps of training.
    losses : (float, float)
        C of network and limit.
    gradient : float
        ‖∇C‖.
    rank : int
        Bound on that of I.
    """

    setting: Setting
    parameters: int
    rank: int
    step: float
    taken: int
    values: AnyArray
    expected: AnyArray
    components: AnyArray
    first_loss: float
    losses: tuple[float, float]
    gradient: float

    @property
    def scree(self) -> AnyArray:
        """The network's large eigenvalues."""
        return scree_of(self.values)

    @property
    def counts(self) -> list[int]:
        """Outliers by each of :data:`COUNTED_BY`."""
        return [count_outliers(self.scree, rule) for rule in COUNTED_BY]

    @property
    def expected_counts(self) -> list[int]:
        """The same in the limit."""
        return [count_outliers(self.expected, rule) for rule in COUNTED_BY]

    @property
    def sampled(self) -> AnyArray:
        """Where as many of the limit's eigenvalues as clusters go were the P parameters independent samples of them."""
        rank = self.rank - self.expected.size
        population = np.concatenate([self.expected, np.zeros(max(rank, 0))])
        return sampled_outliers(
            population, population.size / self.parameters, min(self.setting.clusters, population.size - 1)
        )


@experiment
@dataclass(frozen=True, kw_only=True)
class Outliers(Experiment):
    """Outliers of the trained network's Hessian by three rules, beside those of the limit.

    Clusters are classes. The limit is led from the network's own first outputs through the same batches; its outliers
    are those of 𝓗C^½ Θ 𝓗C^½ there, by the same rules. The third rule cuts off at the elbow of the scree plot: the elbow is
    the first eigenvalue of the bulk, and those above it are counted.

    Parameters
    ----------
    full : bool
        The paper's network 100-30-30-k with k = 2, 5, 10, 20, 50 clusters under GD and SGD, relu and tanh, covariances of
        the clusters 1 and 10 times that of the centres.
    clusters, points, width, steps
        Numbers of clusters, number of points, hidden width, steps of training.
    stop : float, optional
        ‖∇C‖ at which gradient descent ends before that; SGD takes all steps.
    """

    name = "outliers"
    summary = "the number of outliers against the number of clusters"

    full: bool = False
    seed: int = 0
    activation: Any = None
    loss: str = "softmax"
    clusters: tuple[int, ...] = by_size((2, 5, 10), (2, 5, 10, 20, 50))
    points: int = by_size(100, 500)
    width: int = by_size(15, 30)
    steps: int = by_size(300, 3000)
    stop: float | None = None

    @property
    def settings(self) -> list[Setting]:
        """One a row of the table."""
        rows: list[tuple[str, Any, float]] = [("GD", "relu", 1.0)]
        if self.full:
            rows = [("GD", "tanh", 1.0), ("GD", "relu", 1.0), ("SGD", "relu", 1.0), ("SGD", "relu", 10.0)]
        if self.activation is not None:
            rows = list(dict.fromkeys((algorithm, self.activation, cov) for algorithm, _, cov in rows))
        return [Setting(algorithm=a, activation=f, cov=cov, clusters=k) for a, f, cov in rows for k in self.clusters]

    def measure(self, show: Show) -> list[Trained]:
        return [self._trained(setting) for setting in show(self.settings, "networks")]

    def _trained(self, setting: Setting) -> Trained:
        k = setting.clusters
        x, labels = gaussian_clusters(self.points, k, 100, spread=np.sqrt(setting.cov), rng=[self.seed, k])
        task = Task.of(x, labels, loss=self.loss, activation=setting.activation)
        limit = Limit.of(task)
        start = task.draw(self.width, [self.seed, k, 1])
        step = limit.step_for([start])
        options: Any = {"batch": setting.batch, "rng": self.seed}
        if setting.batch is None:
            end, taken = descend_until(task, start, step, self.steps, self.stop)
        else:
            (end,), taken = descend(task, start, step, self.steps, **options), self.steps
        (y,) = limit.descend(start(task.x), step, taken, **options)
        values = eigenvalues(task.split(end).h)[::-1]
        return Trained(
            setting=setting,
            parameters=values.size + task.orthogonal(self.width),
            rank=self.points * (k - 1),
            step=step,
            taken=taken,
            values=values,
            expected=scree_of(limit.eigenvalues(y, min(SCREE, self.points * (k - 1)))),
            components=np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2 / self.points,
            first_loss=task.loss_of(start),
            losses=(task.loss_of(end), limit.loss(y)),
            gradient=task.gradient_norm(end),
        )

    def title(self, found: list[Trained]) -> str:
        return (
            f"Outliers of the Hessian against the number of clusters: {self.points} points in 100 dimensions, {self.loss} "
            f"loss,\ntwo hidden layers of width {self.width}, {self.steps} steps"
        )

    def table(self, found: list[Trained]) -> Tables:
        names = ("algorithm", "activation", "cov", "P", "clusters", "step", "mean", "std", "gap", "ratio", "elbow")
        theory = ("gap_theory", "ratio_theory", "elbow_theory", "top", "top_theory", "top_sampled")
        rows = Table(*names, "elbow_at", *theory, "loss", "loss_theory", "gradient", *PAPER_COLUMNS)
        scree = Table("algorithm", "activation", "cov", "clusters", "rank", "eigenvalue", "theory", "pca")
        for one in found:
            setting, p, own = one.setting, one.parameters, one.scree
            who = setting.algorithm, setting.name, setting.cov
            mean = one.values.sum() / p
            std = np.sqrt((one.values @ one.values) / p - mean**2)
            # the point of the scree plot that :func:`count_outliers` finds farthest below its chord
            elbow = one.counts[2]
            cutoff = own[elbow] if elbow < own.size else np.nan
            head = *who, p, setting.clusters, one.step, mean, std
            rows.add(
                *head,
                *one.counts,
                cutoff,
                *one.expected_counts,
                own[0],
                one.expected[0],
                one.sampled[0],
                *one.losses,
                one.gradient,
                *counted(*who, setting.clusters),
            )
            most = max(own.size, one.expected.size)
            columns = (own, one.expected, one.components)
            padded = [np.concatenate([v, np.full(most, np.nan)])[:most] for v in columns]
            scree.extend(*who, setting.clusters, np.arange(1, most + 1), *padded)
        return {"outliers": rows.columns(), "outliers_scree": scree.columns()}

    def notes(self, found: list[Trained]) -> tuple[str, ...]:
        multiplicity = (
            ("under mse the limit has every eigenvalue of Θ/N once an output: its first gap is after k equal ones",)
            if self.loss == "mse"
            else ()
        )
        return (
            "gap, ratio, elbow: eigenvalues above the largest difference, the largest ratio, the elbow of the scree plot, "
            f"among the {SCREE} largest; elbow_at: the eigenvalue at the elbow, the first one that is not counted (the "
            "paper's cut-off)",
            "..._theory: the same for 𝓗C^½ Θ 𝓗C^½ of the infinitely wide network after the same steps",
            "..._paper: what Table 1 of the paper has for this row, where it has one (its 19 rows with --full)",
            "top_sampled: the limit's largest eigenvalue as an outlier of a sample covariance of the P parameters "
            "(Silverstein's equation for the limit's other eigenvalues)",
            "step: of descent, at most ½/λ_max(H) of the start; cov: variance inside the clusters over that of their "
            "centres; mean, std: of all P eigenvalues; gradient: ‖∇C‖ at the end",
            "pca, in the table of the scree plot: variances of the data along their principal components",
            "only Θ enters, so relu is covered; that outliers of a narrow network grow unevenly, so that the largest "
            "difference may stand behind the first of them, is not",
            *multiplicity,
            *stop_note(self.stop, [(o.setting.words, o.taken) for o in found if o.setting.batch is None]),
            *far_note(
                (one.setting.words, {"loss": one.losses, "λ_max": (one.scree[0], one.expected[0])}) for one in found
            ),
        )

    def verdicts(self, found: list[Trained]) -> tuple[Verdict, ...]:
        ks = np.array([one.setting.clusters for one in found])
        counts = np.array([one.counts for one in found])
        limit = np.array([one.expected_counts for one in found])
        components = np.array([count_outliers(one.components, "gap") for one in found])
        early = next(filter(None, (untrained(one.first_loss, one.losses[0]) for one in found)), "")
        per_cluster = self.loss == "softmax"
        return (
            *(
                Verdict(
                    source="2017, Section 3.1, Figure 3",
                    claim=f"as many large eigenvalues as classes, exactly, by the {rule}",
                    measured=f"part of the rows with k (found {_listed(counts[:, i], ks)}; limit {_listed(limit[:, i], ks)})",
                    number=float((counts[:, i] == ks).mean()),
                    above=1.0,
                    undecided=early,
                )
                for i, rule in enumerate(("largest gap", "largest ratio", "elbow"))
            ),
            Verdict(
                source="2017, Table 1",
                claim="as many large eigenvalues as classes up to one, by the largest ratio",
                measured="largest distance from k",
                number=float(np.abs(counts[:, 1] - ks).max()),
                below=1.0,
                undecided=early,
            ),
            Verdict(
                source="2017, Table 1",
                claim="the authors' own counts, by the largest ratio, up to one",
                measured="part of the rows that they have",
                number=_like_the_papers(found),
                above=1.0,
                undecided=early,
            ),
            Verdict(
                source="the limit of infinite width, softmax",
                claim="k classes leave k - 1 outliers, as a shift of all outputs changes nothing",
                measured="part of the rows in which the limit has k - 1 by the largest gap",
                number=float((limit[:, 0] == ks - 1).mean()) if per_cluster else np.nan,
                above=1.0,
            ),
            Verdict(
                source="2017, Section 3.1, Figure 2",
                claim="the number of large principal components of the data does not match that of clusters",
                measured="part of the rows in which it does, by the largest gap",
                number=float((components == ks).mean()),
                below=1 - 1 / len(ks),
            ),
        )

    def draw(self, found: list[Trained]) -> Any:
        ks = sorted(set(self.clusters))
        lines = len(found) // len(self.clusters)
        figure, axes = grid(lines, len(ks), title="Outliers against clusters", ratio=0.77)
        for ax, one in zip(axes.ravel(), found, strict=True):
            _draw_scree(ax, one)
        for ax in axes[-1]:
            ax.set_xlabel("rank")
        for ax in axes[:, 0]:
            ax.set_ylabel("eigenvalue")
        below(figure, axes[0, 0])
        return figure


def _listed(counts: AnyArray, ks: AnyArray) -> str:
    return ", ".join(f"{count} for {k}" for count, k in zip(counts, ks, strict=True))


def _like_the_papers(found: list[Trained]) -> float:
    """Part of the paper's rows, of those that were trained, whose count by the ratio is the paper's up to one."""
    rows = [one.setting for one in found]
    theirs = np.array([counted(r.algorithm, r.name, r.cov, r.clusters).ratio for r in rows])
    ours = np.array([one.counts[1] for one in found])
    known = ~np.isnan(theirs)
    return float((np.abs(ours - theirs) <= 1)[known].mean()) if known.any() else np.nan


def scree_of(values: AnyArray) -> AnyArray:
    """The positive ones among the :data:`SCREE` largest eigenvalues, descending."""
    top = np.sort(values)[::-1][:SCREE]
    return np.asarray(top[top > 1e-9 * top[0]])


def _draw_scree(ax: Any, one: Trained) -> None:
    setting, k = one.setting, one.setting.clusters
    for values, style, color, label in (
        (one.expected, {"marker": ".", "ms": marker_size(0.83)}, 1, "limit"),
        (one.scree, {"marker": "x", "ms": marker_size(0.75), "mew": 1.1}, 0, "network"),
    ):
        shown = values[:SHOWN]
        ax.semilogy(np.arange(1, shown.size + 1), shown, ls="none", color=color_of(color), label=label, **style)
    sampled = one.sampled
    ax.semilogy(
        np.arange(1, sampled.size + 1),
        sampled,
        "+",
        color=color_of(3),
        ms=marker_size(1.0),
        label="limit, P samples of it",
    )
    data = one.components[:SHOWN]
    scaled = data * one.scree[0] / data[0]
    words = "principal components of the data, scaled"
    ax.semilogy(np.arange(1, data.size + 1), scaled, color=ink(0.4), lw=line_width(0.67), label=words)
    ax.axvline(k + 0.5, color=ink(0.5), lw=line_width(0.67), ls=":", label="number of clusters")
    ax.axvline(one.counts[2] + 0.5, color=color_of(2), lw=line_width(0.73), ls="--", label="elbow, network")
    ax.axvline(one.expected_counts[2] + 0.5, color=color_of(1), lw=line_width(0.73), ls="-.", label="elbow, limit")
    ax.set_title(f"{setting.algorithm}, {setting.name}, cov {setting.cov:g}: {k} clusters")
    decade_ticks(ax)
