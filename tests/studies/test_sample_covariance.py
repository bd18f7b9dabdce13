"""Marčenko and Pastur's law of any population: closed forms, Silverstein's equation by mpmath, sampled matrices."""

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.studies.sample_covariance import MarchenkoPastur
from kernelcalc.studies.spectrum_report import SpectrumReport
from kernelcalc.training.losses import resolve_loss

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("gamma", [0.2, 0.9, 1.0, 2.5])
def test_of_ones_it_is_the_closed_form(gamma):
    law = MarchenkoPastur.of(np.full(7, 2.0), gamma)
    low, high = kc.spectrum.marchenko_pastur_edges(gamma, 2.0)
    np.testing.assert_allclose(law.edges, (low, high), rtol=1e-9, atol=1e-7)
    x = np.linspace(low, high, 12)[1:-1]
    np.testing.assert_allclose(law.density(x), kc.spectrum.marchenko_pastur_density(x, gamma, 2.0), rtol=1e-9)
    assert law.atom == pytest.approx(max(0, 1 - 1 / gamma))
    np.testing.assert_allclose(law.cdf([high + 1, -1.0]), [1.0, 0.0], atol=2e-4)
    spikes = np.array([1 + 1.01 * np.sqrt(gamma), 9.0])
    np.testing.assert_allclose(law.outlier(2 * spikes), 2 * kc.spectrum.bbp_outlier(spikes, gamma), rtol=1e-9)


def by_roots(x, gamma, tau, weights):
    """Im m/πγ of the root above the axis of (xm + 1)Π(1 + τm) = γ Σ w τ m Π'(1 + τm), to 30 digits."""
    with mpmath.workdps(30):
        whole = np.poly1d([1])
        for t in tau:
            whole = np.polymul(whole, [t, 1])
        right = np.poly1d([0])
        for t, w in zip(tau, weights, strict=True):
            rest = np.poly1d([gamma * w * t, 0])
            for other in set(tau) - {t}:
                rest = np.polymul(rest, [other, 1])
            right = np.polyadd(right, rest)
        roots = mpmath.polyroots(
            np.polysub(np.polymul([x, 1], whole), right).coeffs.tolist(), maxsteps=200, extraprec=60
        )
        return max(float(mpmath.im(m)) for m in roots) / np.pi / gamma


@pytest.mark.parametrize("gamma", [0.05, 0.6, 3.0])
def test_silversteins_equation(gamma):
    tau, weights = [0.5, 1.0, 4.0], [0.3, 0.5, 0.2]
    law = MarchenkoPastur.of(tau, gamma, weights)
    mass, first = 0.0, 0.0
    for a, b in law.support:
        for x in np.linspace(a, b, 7)[1:-1]:
            assert float(law.density(x)) == pytest.approx(by_roots(x, gamma, tau, weights), rel=1e-9)
        assert by_roots(a - 1e-4 * a, gamma, tau, weights) < 1e-12 < by_roots(a + 1e-4 * a, gamma, tau, weights)
        assert by_roots(b + 1e-4 * b, gamma, tau, weights) < 1e-12 < by_roots(b - 1e-4 * b, gamma, tau, weights)
        nodes, w = np.polynomial.legendre.leggauss(80)
        u = (nodes + 1) * np.pi / 4
        x = a + (b - a) * np.sin(u) ** 2
        f = law.density(x) * (b - a) * np.sin(2 * u) * w * np.pi / 4
        mass, first = mass + f.sum(), first + f @ x
    assert mass + law.atom == pytest.approx(1, abs=1e-9)
    # E tr S = tr Σ
    assert first == pytest.approx(np.dot(tau, weights), rel=1e-9)


def test_a_sampled_matrix():
    p, n = 800, 2000
    population = np.concatenate([np.full(p // 2, 1.0), np.full(p // 4, 6.0), np.zeros(p // 4)])
    law = MarchenkoPastur.of(population, p / n)
    root = np.sqrt(population)[:, None]
    values = np.linalg.eigvalsh(root * (lambda z: z @ z.T / n)(RNG.normal(size=(p, n))) * root.T)
    assert len(law.support) == 2
    # edges fluctuate by n^(-2/3)
    (a, b), (c, d) = law.support
    positive = values[values > 1e-9]
    np.testing.assert_allclose([positive[0], positive[-1]], [a, d], rtol=0.04)
    assert not ((positive > 1.03 * b) & (positive < 0.97 * c)).any()
    assert law.atom == pytest.approx(0.25)
    grid = np.linspace(0.01, d, 40)
    np.testing.assert_allclose(law.cdf(grid), [(values < x).mean() for x in grid], atol=0.01)


def test_spikes_and_their_directions():
    p, n = 500, 1000
    population = np.where(np.arange(p) % 2, 1.0, 3.0)
    spikes = np.array([12.0, 7.0, 3.2])
    law = MarchenkoPastur.of(population, p / n)
    root = np.sqrt(np.concatenate([spikes, population[3:]]))[:, None]
    found = []
    for _ in range(4):
        values, vectors = np.linalg.eigh(root * (lambda z: z @ z.T / n)(RNG.normal(size=(p, n))) * root.T)
        found.append([values[-1], values[-2], vectors[0, -1] ** 2, vectors[1, -2] ** 2])
    mean = np.mean(found, axis=0)
    np.testing.assert_allclose(mean[:2], law.outlier(spikes[:2]), rtol=0.04)
    np.testing.assert_allclose(mean[2:], law.overlap(spikes[:2]), atol=0.05)
    # 3.2 hides
    assert np.isnan(law.outlier(3.2))
    assert law.overlap(3.2) == 0


@pytest.mark.parametrize("wrong", [[-1.0], [0.0], [np.nan], []])
def test_what_is_no_population(wrong):
    with pytest.raises((InputError, NotFiniteError)):
        MarchenkoPastur.of(wrong, 0.5)
    with pytest.raises(InputError):
        MarchenkoPastur.of([1.0], 0.0)
    with pytest.raises(ShapeError):
        MarchenkoPastur.of([1.0], 0.5, [1.0, 2.0])


def test_the_report_of_a_spectrum_draws_the_law_of_its_population():
    x, labels = kc.datasets.mnist14()
    net = kc.MLP("tanh", depth=2, n_out=1)
    report = SpectrumReport.of(net, x[:40], labels[:40, None] % 2.0, resolve_loss("mse"), 2)
    # 40 eigenvalues, 2·197 + 3 parameters: a tenth; edges move by a third at least
    assert report.sampled.gamma == pytest.approx(40 / report.parameters)
    assert report.sampled.edges[1] > 1.01 * report.positive[0]
    assert report.sampled.edges[0] < 0.9 * report.positive[-1]
    assert f"the same of this covariance         {report.sampled.edges[0]:.4g} to" in str(report)
    (label,) = [t.get_label() for t in report.figure().axes[1].patches if "independent" in str(t.get_label())]
    assert label == "sampled by independent parameters"
