from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from scipy.integrate import quad

import kernelcalc as kc
from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.kernels.layers import Conv, Dense, Flatten
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.studies.spectrum import (
    bbp_outlier,
    bulk_scale,
    cluster_spectrum,
    count_outliers,
    marchenko_pastur_density,
    marchenko_pastur_edges,
    rank_bound_i,
    rank_bound_s,
    solution_dimension,
    spectrum_of_i,
)
from kernelcalc.studies.spectrum_report import SpectrumReport
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.start import initial_draws

N = 12


@pytest.fixture(scope="module")
def kernels():
    return MLP("erf", depth=3).kernels(np.random.default_rng(0).normal(size=(N, 4)))


@pytest.mark.parametrize(("loss", "n_out"), [("mse", 1), ("mse", 3), ("binary", 1), ("binary", 2), ("softmax", 4)])
def test_values_are_those_of_the_nonsymmetric_product(kernels, loss, n_out):
    y = np.random.default_rng(1).normal(size=(N, n_out))
    labels = np.arange(N) % n_out if loss == "softmax" else np.arange(N * n_out).reshape(N, n_out) % 2
    spectrum = spectrum_of_i(kernels, y, labels, loss)
    h = resolve_loss(loss).hessian(y, labels)
    blocks = h if h.ndim == 3 else np.array([np.diag(v) for v in h])
    product = np.einsum("iab,ij->iajb", blocks, kernels.theta).reshape(N * n_out, N * n_out)
    literal = np.sort(np.linalg.eigvals(product).real)[::-1]
    np.testing.assert_allclose(spectrum.values, literal, atol=1e-12 * literal[0])
    assert spectrum.moment(2) == pytest.approx(np.trace(product @ product), rel=1e-12)
    flat = spectrum.components.reshape(N * n_out, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(N * n_out), atol=1e-12)
    # the component u of λ makes 𝓗C^½ u an eigenvector of the product
    root = resolve_loss(loss).hessian_sqrt(y, labels)
    u = spectrum.components[0]
    image = (np.einsum("iab,ib->ia", root, u) if h.ndim == 3 else root * u).ravel()
    np.testing.assert_allclose(product @ image, spectrum.values[0] * image, atol=1e-12)


def test_one_dimensional_outputs(kernels):
    np.testing.assert_allclose(
        spectrum_of_i(kernels, np.zeros(N), np.zeros(N)).values, np.linalg.eigvalsh(kernels.theta)[::-1] / N, rtol=1e-9
    )
    with pytest.raises(ShapeError):
        spectrum_of_i(kernels, np.zeros(3), np.zeros(3))


def test_rank_bounds_and_bulk():
    assert rank_bound_i(5, 3) == 15
    # a 3-30-25-3 network on two points: the dense Hessian's S has rank 216
    assert rank_bound_s(2, (30, 25)) == 220
    assert bulk_scale(8.0, 2, (1,)) == pytest.approx(np.sqrt(2))
    np.testing.assert_allclose(bulk_scale([0.0, 4.0], 1, (2,)), [0, 1])
    with pytest.raises(InputError):
        bulk_scale(1.0, 2, ())
    with pytest.raises(InputError):
        rank_bound_s(2, (0,))


def test_outlier_counts():
    bulk = np.linspace(0.5, 1, 50)
    values = np.concatenate([[80, 75, 70], bulk])
    assert [count_outliers(values, m) for m in ("gap", "ratio", "cutoff")] == [3, 3, 3]
    assert count_outliers(values, "cutoff", 72) == 2
    # zeros and rounding are not a gap of their own
    assert count_outliers([4.0, 2.0, 1.9, 1e-17, -1e-17], "ratio") == 1
    assert [count_outliers(v) for v in ([], [0.0], [3.0], [3.0, 0.0])] == [0, 0, 1, 1]
    for call in (lambda: count_outliers(values, "elbow"), lambda: count_outliers([], "elbow")):
        with pytest.raises(InputError):
            call()
    with pytest.raises(NotFiniteError):
        count_outliers([1.0, np.nan])
    # a cut-off holds for a single eigenvalue too
    assert [count_outliers([3.0], "cutoff", at) for at in (2.0, 5.0)] == [1, 0]


METHODS = ("gap", "ratio", "cutoff")


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([5, 5, 0, 0], 2),
        ([3, 2, 0, 0, 0, 0], 2),
        ([0, 0, 2, 0, 3], 2),
        ([5, 5, 1e-17, -1e-17, -3e-16], 2),
        ([7, 7, 7] + 9 * [-1e-18], 3),
        ([0, 0, 0], 0),
        ([], 0),
        ([-1e-20, 0], 0),
        ([4], 1),
        ([4, 0], 1),
        ([2, 2, 2], 3),
        ([2, 2 * (1 - 1e-15), 2, 0], 3),
        ([1e-300, 1e-300, 0, 0], 2),
    ],
)
def test_zeros_are_eigenvalues_too(values, count):
    assert [count_outliers(values, m) for m in METHODS] == [count] * 3


def test_a_bulk_above_zero_is_the_bulk():
    # as softmax leaves one zero a point: the ratio of a small eigenvalue to them says nothing
    values = np.concatenate([[9.0, 8.0], np.geomspace(1e-2, 1e-9, 20), np.zeros(22)])
    assert [count_outliers(values, m) for m in METHODS] == [2, 2, 2]


@pytest.mark.parametrize(("name", "sigma_w"), [("tanh", 0.7), ("erf", 1.0), ("smooth_relu", 1.0)])
def test_deep_in_order_one_eigenvalue_an_output_dominates(name, sigma_w):
    """Remark 2: Θ tends to a constant matrix, whose one eigenvalue every output has."""
    x = np.random.default_rng(2).normal(size=(20, 5))
    k = MLP(name, 30, sigma_w=sigma_w, n_out=10).kernels(x * np.sqrt(5) / np.linalg.norm(x, axis=1, keepdims=True))
    found = spectrum_of_i(k, np.zeros((20, 10)), np.zeros((20, 10)))
    assert [found.outliers(m) for m in METHODS] == [10, 10, 10]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("loss", ["mse", "softmax"])
def test_clusters_predict_the_number_and_size_of_outliers(classes, loss):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 8)
    centres = rng.normal(size=(classes, 40))
    x = centres[labels] + 0.02 * rng.normal(size=(len(labels), 40))
    kernels = MLP("erf", depth=3).kernels(x)
    n_out = classes if loss == "softmax" else 1
    outputs = np.zeros((len(labels), n_out))
    targets = labels if loss == "softmax" else np.cos(labels)
    values = spectrum_of_i(kernels, outputs, targets, loss).values
    expected = classes * (classes - 1) if loss == "softmax" else classes
    assert count_outliers(values, "ratio") == expected
    predicted = cluster_spectrum(kernels.theta, resolve_loss(loss).hessian(outputs, targets), labels)
    assert (predicted > 1e-10 * predicted[0]).sum() == expected
    np.testing.assert_allclose(predicted[:expected], values[:expected], rtol=0.02)


def test_clusters_of_identical_points_are_exact():
    rng = np.random.default_rng(3)
    labels = np.array([0, 0, 0, 1, 2, 2])
    kernels = MLP("erf", depth=3).kernels(rng.normal(size=(3, 4))[labels])
    y, _ = initial_draws(kernels, 3, 2)
    h = resolve_loss("softmax").hessian(y[0], labels)
    predicted = cluster_spectrum(kernels.theta, h, labels)
    values = spectrum_of_i(kernels, y[0], labels, "softmax").values
    np.testing.assert_allclose(predicted[:6], values[:6], rtol=1e-9)
    assert values[6] < 1e-12 * values[0]
    with pytest.raises(ShapeError):
        cluster_spectrum(kernels.theta, h, labels[:4])


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.5])
def test_marchenko_pastur_mass_and_moments(gamma):
    low, high = marchenko_pastur_edges(gamma, 2.0)

    def moment(k):
        return quad(
            lambda a: x(a) ** k * marchenko_pastur_density(x(a), gamma, 2.0) * (high - low) * np.sin(2 * a),
            0,
            np.pi / 2,
        )[0]

    def x(a):
        return low + (high - low) * np.sin(a) ** 2

    assert moment(0) == pytest.approx(min(1, 1 / gamma), rel=1e-6)
    assert moment(1) == pytest.approx(2.0, rel=1e-6)
    assert moment(2) == pytest.approx(4 * (1 + gamma), rel=1e-6)
    np.testing.assert_array_equal(marchenko_pastur_density([low / 2 - 0.1, high + 0.1], gamma, 2.0), 0)


def test_bbp_outlier_of_a_sampled_covariance():
    rng, p, n = np.random.default_rng(0), 300, 1000
    spikes = np.array([6.0, 3.0, 1.2])
    scale = np.ones(p)
    scale[:3] = np.sqrt(spikes)
    z = rng.normal(size=(n, p)) * scale
    top = np.linalg.eigvalsh(z.T @ z / n)[::-1][:3]
    np.testing.assert_allclose(top, bbp_outlier(spikes, p / n), rtol=0.08)
    edge = (1 + np.sqrt(0.3)) ** 2
    assert bbp_outlier(1 + np.sqrt(0.3), 0.3) == pytest.approx(edge)
    assert bbp_outlier(1 + np.sqrt(0.3) + 1e-6, 0.3) == pytest.approx(edge, rel=1e-9)
    with pytest.raises(InputError):
        bbp_outlier(2.0, 0.0)


class Scalar:
    """As a tensor of no dimension: a number to float, and to nothing else."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return self.value


@pytest.mark.parametrize("kind", [Fraction, Decimal, Scalar])
def test_ratios_of_any_kind_of_number(kind):
    """Edges (1 ± ½)², an outlier at 3 (1 + ¼/2), the density of a semicircle's kind."""
    quarter = kind(0.25)
    assert bbp_outlier(3.0, quarter) == pytest.approx(3.375)
    assert marchenko_pastur_edges(quarter, kind(2.0)) == pytest.approx((0.5, 4.5))
    found = marchenko_pastur_density([1.0], quarter)
    assert found == pytest.approx(np.sqrt(1.25 * 0.75) / (np.pi / 2))


def test_solutions_form_a_manifold():
    """At C = 0 the null space of H has at least P - N n_out dimensions: the targets are its outputs."""
    net = kc.MLP("tanh", depth=2, n_out=2)
    fin = kc.FiniteNetwork.random(net, (5,), n_in=3, rng=0)
    x = np.random.default_rng(1).normal(size=(4, 3))
    y = fin(x)  # its own outputs: C = 0 here
    null = int((np.abs(np.linalg.eigvalsh(fin.hessian(x, y))) < 1e-12).sum())
    assert null == solution_dimension(fin.n_parameters, 4, 2) == fin.n_parameters - 8
    assert solution_dimension(5, 4, 2) == 0


def test_report_of_a_convolution_counts_its_parameters():
    net = Sequential(Conv(3), "tanh", Flatten(), Dense(beta=0.0))
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 2))
    report = SpectrumReport.of(net, x, np.ones((6, 1)), resolve_loss("mse"), 5)
    assert report.shape == (6, 32)
    # 9 offsets of 2 channels and a bias, 5 units; then 16 positions of 5 channels
    assert report.parameters == (9 * 2 + 1) * 5 + 16 * 5
    assert "6 points in 32 dimensions" in str(report)
    top = np.linalg.eigvalsh(np.asarray(net.kernels(x).theta))[-1] / 6
    assert report.found.values[0] == pytest.approx(top, rel=1e-9)
