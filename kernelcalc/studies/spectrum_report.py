"""The spectrum of the Hessian at initialisation as a report: outliers of I, random-matrix references, the bulk of S."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from kernelcalc.arguments import random_generator
from kernelcalc.arrays import Array, digest
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.kernels.sizes import weight_sizes, weighted
from kernelcalc.output.spectrum import components_figure, plot_scree, spectrum_figure
from kernelcalc.output.style import printed
from kernelcalc.results.result import Result, axes, origin_of, seed_of
from kernelcalc.studies.class_structure import ClassHierarchy, class_hierarchy
from kernelcalc.studies.meanfield import mean_field_moments
from kernelcalc.studies.sample_covariance import MarchenkoPastur
from kernelcalc.studies.spectrum import (
    Spectrum,
    bulk_scale,
    cluster_spectrum,
    marchenko_pastur_edges,
    rank_bound_i,
    rank_bound_s,
    solution_dimension,
    spectrum_of_i,
)
from kernelcalc.training.losses import ConvexLoss, Loss, resolve_loss
from kernelcalc.training.start import covariance_root

# Eigenvalues of a population are told apart to this part of a decade, which its law does not show.
_TOLD_APART = 50
# Eigenvalues that differ by less are one.
_SAME = 1e-9
# Of the leading order, what the next one is from which it is told: 5 % of the whole deviation.
_NOTABLE = 0.3
_RULES = {"gap": "largest gap", "ratio": "largest ratio", "cutoff": "elbow of the rank plot"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpectrumReport(Result):
    """Spectrum of H = I + S at one initialisation in the limit, beside what is known of S at a width.

    Attributes
    ----------
    net : Sequential
    law : Loss
    shape : (int, int)
        Points and their inputs.
    point : tuple of int
        Shape of a point: more than one number where it has positions.
    width : int
        Of all hidden layers.
    found : Spectrum
        Of I.
    clusters : int
        Classes, 0 where there are nearly as many as points.
    class_means : array
        Eigenvalues of I were each class a single point, descending.
    trace_s2 : float
        0 where the nonlinearity is not smooth enough for Υ.
    mean_field : mapping or None
        Moments in the mean-field limit at that width, where the nonlinearity is smooth enough.
    """

    DIMENSIONS = axes(eigenvalue="rank", class_means="rank")

    net: Sequential
    law: Loss
    shape: tuple[int, int]
    point: tuple[int, ...]
    width: int
    found: Spectrum
    clusters: int
    class_means: Array
    trace_s2: float
    mean_field: Mapping[str, float] | None

    @classmethod
    def of(cls, net: Sequential, x: Array, y: Array, law: Loss, width: int, rng: Any = 0) -> SpectrumReport:
        """For points (N, n_0) and encoded targets (N, n_out); the outputs are drawn.

        Examples
        --------
        >>> import kernelcalc as kc
        >>> from kernelcalc.training.losses import resolve_loss
        >>> net = kc.MLP("erf", depth=1, beta=0.0)
        >>> report = SpectrumReport.of(net, np.eye(2), np.ones((2, 1)), resolve_loss("mse"), 8)
        >>> report.found.values.round(12).tolist(), report.parameters
        ([0.25, 0.25], 2)
        """
        n, n_out = y.shape
        kernels = net.kernels(x)
        start = _drawn(kernels.sigma, n_out, rng)
        classes, members = np.unique(y, axis=0, return_inverse=True)
        clusters = len(classes) if len(classes) <= n // 2 else 0
        trace_s2 = 0.0
        if "upsilon" in kernels.available and net.depth > 1:
            slope = law.gradient(start, y)
            # i, j: points; a: output
            trace_s2 = float(np.einsum("ia,ij,ja->", slope, kernels.upsilon, slope))
        smooth = net.depth > 1 and {"upsilon", "xi"} <= set(kernels.available)
        hessian = law.hessian(start, y)
        return cls(
            net=net,
            law=law,
            shape=(n, x[0].size),
            point=x.shape[1:],
            width=width,
            found=spectrum_of_i(kernels, start, y, law),
            clusters=clusters,
            class_means=cluster_spectrum(kernels.theta, hessian, members.ravel()) if clusters else np.zeros(0),
            trace_s2=trace_s2,
            mean_field=mean_field_moments(kernels, y, law).at_width(width) if smooth and isinstance(net, MLP) else None,
        ).with_origin(**origin_of(kernels), outputs=digest(start), loss_name=law.name, seed=seed_of(rng))

    @property
    def widths(self) -> list[int]:
        """Of the hidden layers of a fully connected network; for others no bound on the rank of S is known."""
        return [self.width] * (self.net.depth - 1) if isinstance(self.net, MLP) else []

    @property
    def parameters(self) -> int:
        """P of a network of that width."""
        layers = weighted(self.net.layers)
        sizes = weight_sizes(self.net.layers, self.point, [self.width] * (len(layers) - 1) + [self.net.n_out])
        return sum((a + (layer.beta > 0)) * b for layer, (a, b) in zip(layers, sizes, strict=True))

    @property
    def positive(self) -> Array:
        """Eigenvalues of I that are more than rounding."""
        return self.found.values[self.found.values > 1e-13 * self.found.values[0]]

    @property
    def outliers(self) -> dict[str, int]:
        """By each of the rules of :func:`~kernelcalc.studies.spectrum.count_outliers`."""
        return {rule: self.found.outliers(rule) for rule in _RULES}

    @property
    def bulk(self) -> float:
        """Root mean square of the eigenvalues of S; 0 where Tr S² is not known."""
        return bulk_scale(self.trace_s2, self.shape[0], self.widths) if self.trace_s2 and self.widths else 0.0

    def stored(self) -> dict[str, Any]:
        # losses are kept by what they are made from, not by their functions
        source = getattr(self.law, "expression", None)
        named = not isinstance(self.law, ConvexLoss) or source is not None
        return super().stored() | ({"law": self.law.name if source is None else str(source)} if named else {})

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        return cls(**fields | {"law": resolve_loss(fields["law"])})

    def array(self, name: str) -> Any:
        return self.columns()[name]

    def coordinates(self) -> dict[str, Any]:
        return {"rank": np.arange(1, self.found.values.size + 1)}

    def columns(self) -> dict[str, Array]:
        """Rank, eigenvalue of I, eigenvalue were each class a single point."""
        values = self.found.values
        padded = np.concatenate([self.class_means, np.full(values.size, np.nan)])[: values.size]
        return {"rank": np.arange(1, values.size + 1), "eigenvalue": values, "class_means": padded}

    def plot(self, ax: Any = None) -> Any:
        """Draw the eigenvalues of I against their rank; :meth:`figure` has the bulk and the law too. Returns the axes."""
        return plot_scree(self.found, ax)

    def small_figure(self) -> Any:
        return self.figure()

    def figure(self) -> Any:
        """The spectrum against its rank."""
        name = printed(self.net.activations[0].name) if self.net.activations else "linear"
        outputs = _count(self.net.n_out, "output")
        return spectrum_figure(
            self.found,
            title=rf"{name}, $L = {self.net.depth}$, {self.law.name} loss, {self.shape[0]} points, {outputs}, $t = 0$",
            predicted=self.class_means if self.clusters else None,
            outliers=self.outliers,
            bulk=self.bulk,
            width=self.width,
            law=self.sampled.cdf,
        )

    def components_figure(self, x: Array, count: int) -> Any:
        """The leading kernel principal components as pictures of the points (square ones), Σ_i v_i x_i each."""
        values, vectors = leading_components(self.found, count)
        return components_figure(values, np.array([v @ x for v in vectors]))

    @property
    def sampled(self) -> MarchenkoPastur:
        """Law of the eigenvalues of I were the parameters independent samples of this covariance, P of them."""
        return _told_apart(self.positive, self.positive.size / self.parameters)

    def __str__(self) -> str:
        n, n_in = self.shape
        return "\n".join(
            [
                f"Spectrum of the Hessian at initialisation: {_count(n, 'point')} in {n_in} dimensions, "
                f"{_count(self.net.n_out, 'output')}, {self.law.name} loss\n{self.net!r}\n",
                *_about_i(self),
                *_were_it_random(self),
                *_about_s(self),
            ]
        )


def hierarchy_at_start(net: Sequential, x: Array, y: Array, law: Loss, rng: Any = 0) -> ClassHierarchy:
    """Papyan's parts of I for the outputs that :meth:`SpectrumReport.of` draws, targets (N, n_out)."""
    kernels = net.kernels(x, only=("sigma", "theta"))
    classes = y.argmax(axis=1) if y.shape[1] > 1 else None
    return class_hierarchy(kernels, _drawn(kernels.sigma, y.shape[1], rng), y, law, classes=classes)


def _drawn(sigma: Array, n_out: int, rng: Any) -> Array:
    return np.asarray(covariance_root(sigma) @ random_generator(rng).standard_normal((len(sigma), n_out)))


def _about_i(report: SpectrumReport) -> Iterator[str]:
    n_out, positive = report.net.n_out, report.positive
    yield "I = J^T (Hessian of C) J: the outliers"
    yield _line("nonzero eigenvalues", f"{positive.size}   (at most N n_out = {rank_bound_i(report.shape[0], n_out)})")
    shown = ", ".join(f"{positive[i]:.4g}" for i in (0, positive.size // 2, -1))
    yield _line("largest, median, smallest", shown)
    yield _line("Tr I, Tr I^2", f"{report.found.moment(1):.5g}, {report.found.moment(2):.5g}")
    for rule, count in report.outliers.items():
        yield _line(f"outliers by {_RULES[rule]}", str(count))
    solutions = solution_dimension(report.parameters, report.shape[0], n_out)
    yield _line("dimension of the solutions", f"at least P - N n_out = {solutions}")
    if report.clusters:
        possible = report.clusters * (n_out - 1 if report.law.has_blocks else n_out)
        words = f"{possible} nonzero eigenvalues, {largest_of(report.class_means)}"
        yield _line("were each class a single point", words)


def _were_it_random(report: SpectrumReport) -> Iterator[str]:
    positive = report.positive
    gamma, mean = positive.size / report.parameters, report.found.moment(1) / positive.size
    low, high = marchenko_pastur_edges(gamma, mean)
    yield (
        f"\nWere its gradients independent: {positive.size} vectors of {report.parameters} parameters, width {report.width}"
    )
    above = (positive > high).sum()
    yield _line("eigenvalues (Marchenko-Pastur)", f"{low:.4g} to {high:.4g}   ({above} are above)")
    edges = report.sampled.edges
    yield _line("the same of this covariance", f"{edges[0]:.4g} to {edges[1]:.4g}")
    yield _line("a direction stands out from (BBP)", f"{1 + gamma**0.5:.4g} times the mean eigenvalue {mean:.4g}")


def _about_s(report: SpectrumReport) -> Iterator[str]:
    if not isinstance(report.net, MLP) and report.trace_s2:
        yield "\nS: the bulk, whose rank has a known bound for fully connected networks only"
        yield _line("Tr S^2", f"{report.trace_s2:.5g}")
    if not report.widths:
        return
    yield f"\nS: the bulk, hidden layers of width {report.width}"
    yield _line("rank at most", f"2 N (n_1 + ... + n_(L-1)) = {rank_bound_s(report.shape[0], report.widths)}")
    if report.bulk > 0:
        yield _line("Tr S^2", f"{report.trace_s2:.5g}")
        times = report.positive[0] / report.bulk
        yield _line("root mean square eigenvalue", f"{report.bulk:.4g}   (largest of I: {times:.3g} times that)")
    else:
        yield (
            "  the nonlinearity is not smooth enough for the theory's Upsilon to exist. Where sigma'' = 0 almost\n"
            "  everywhere, as for relu, Tr S = 0 and Tr S^2 has the limit that `kernelcalc sagun split` gives"
        )
    if report.mean_field is not None:
        at = report.mean_field
        yield f"\nMean-field limit: outputs divided by sqrt(width), learning rate times the width, {report.width}"
        yield _line("Tr H", f"{at['trace_h_mean']:.4g} ± {at['trace_h_std']:.4g}")
        if at["trace_s_std"] > _NOTABLE * at["trace_h_std"]:
            yield _line("  a part of the next order", f"± {at['trace_s_std']:.2g}")
        yield _line("Tr H^2, leading order", f"{at['trace_h2']:.5g}")


def largest_of(values: Array) -> str:
    """The three largest of descending values, equal ones counted.

    Examples
    --------
    >>> largest_of([2.0, 2.0, 1.0, 0.5, 0.5])
    'the largest 2 (2 times), 1, 0.5 (2 times)'
    """
    found: list[tuple[float, int]] = []
    for value in values:
        if found and abs(value - found[-1][0]) <= 1e-9 * abs(found[-1][0]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif len(found) == 3:
            break
        else:
            found.append((float(value), 1))
    return "the largest " + ", ".join(f"{value:.4g}" + (f" ({k} times)" if k > 1 else "") for value, k in found)


def _line(name: str, value: str) -> str:
    return f"  {name:<36}{value}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def leading_components(found: Spectrum, count: int) -> tuple[Array, Array]:
    """Different eigenvalues of I (count,), and of each eigenvector the weights (count, N) in its own direction of outputs.

    Outputs that do not couple share their eigenvalues: one component of each is shown.
    """
    values, components = found.values, found.components
    own = np.concatenate([[True], values[1:] < values[:-1] * (1 - _SAME)])
    chosen = np.flatnonzero(own)[:count]
    parts = []
    for one in components[chosen]:
        # the direction of outputs that holds most of it
        _, _, direction = np.linalg.svd(one, full_matrices=False)
        weights = one @ direction[0]
        parts.append(weights * np.sign(weights[np.argmax(np.abs(weights))]))
    return values[chosen], np.array(parts)


def _told_apart(values: Array, gamma: float) -> MarchenkoPastur:
    """The law of a population whose eigenvalues within a fiftieth of a decade count as one."""
    _, index = np.unique(np.round(_TOLD_APART * np.log10(values)), return_inverse=True)
    count = np.bincount(index)
    return MarchenkoPastur.of(np.bincount(index, weights=values) / count, gamma, count)
