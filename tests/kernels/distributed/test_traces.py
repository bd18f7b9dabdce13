"""Traces, moments and eigenvalues from blocks, beside dense linear algebra."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

import kernelcalc as kc
from kernelcalc.errors import InputError, NotFiniteError, PrecisionError, ShapeError
from kernelcalc.kernels import distributed as kd

da = pytest.importorskip("dask.array")
config = pytest.importorskip("dask.config")
Callback = pytest.importorskip("dask.callbacks").Callback

N = 120
POINTS, LABELS = kc.datasets.mnist14(N)
NET = kc.MLP("softplus", depth=3)


@pytest.fixture(scope="module")
def kernels():
    return NET.kernels(POINTS)


@pytest.fixture(scope="module")
def theta(kernels):
    return da.from_array(kernels.theta, chunks=50)


@pytest.fixture(scope="module")
def values(kernels):
    return np.linalg.eigvalsh(kernels.theta)[::-1]


def test_operator(kernels, theta):
    operator = kd.kernel_operator(theta)
    assert isinstance(operator, LinearOperator)
    v = np.random.default_rng(0).standard_normal((N, 3))
    for right in (v[:, 0], v):
        np.testing.assert_allclose(operator @ right, kernels.theta @ right, rtol=1e-12)
        np.testing.assert_allclose(operator.T @ right, kernels.theta @ right, rtol=1e-12)


def test_operator_on_kernels_that_are_not_stored(kernels):
    lazy = NET.kernels(POINTS, engine="dask", chunks=50, only="theta")
    v = np.ones(N)
    np.testing.assert_allclose(kd.kernel_operator(lazy.theta) @ v, kernels.theta @ v, rtol=1e-12)


@pytest.mark.parametrize("method", ["randomized", "lanczos"])
@pytest.mark.parametrize("count", [1, 8])
def test_top_eigenvalues(theta, values, kernels, method, count):
    found = kd.top_eigenvalues(theta, count, method=method)
    np.testing.assert_allclose(found.values, values[:count], rtol=1e-10)
    assert np.all(found.residuals <= 1e-8 * values[0])
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(count), atol=1e-12)
    residuals = np.linalg.norm(kernels.theta @ found.vectors - found.vectors * found.values, axis=0)
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-12 * values[0])


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_residuals_bound_the_error_before_convergence(theta, values, passes):
    found = kd.top_eigenvalues(theta, 8, tol=0.0, max_passes=passes)
    assert found.passes == passes
    distance = np.abs(found.values[:, None] - values).min(axis=1)
    assert np.all(distance <= found.residuals + 1e-13 * values[0])
    assert found.residuals.max() > 1e-9 * values[0]
    rest = found.others(float(np.sum(values**2)))
    # all but as many eigenvalues as are listed
    assert np.sum(values > rest) <= 8


def test_the_bound_on_all_others_is_sharp_for_one_other():
    found = kd.top_eigenvalues(np.diag([5.0, 4.0, 1.0]), 2)
    assert found.others(42.0) == pytest.approx(1.0, abs=1e-6)


def test_all_eigenvalues_of_a_small_matrix():
    matrix = np.diag([3.0, 1.0, 2.0])
    for method in ("randomized", "lanczos"):
        np.testing.assert_allclose(kd.top_eigenvalues(matrix, 3, method=method).values, [3, 2, 1], rtol=1e-14)


def test_exact_moments(theta, values):
    expected = [np.sum(values**k) for k in (1, 2, 3, 4)]
    found = kd.trace_moments(theta, exact=True)
    np.testing.assert_allclose(found.values, expected, rtol=1e-13)
    assert not found.errors.any()
    np.testing.assert_allclose(kd.trace_moments(theta, 2).values, expected[:2], rtol=1e-13)
    y = kc.datasets.one_hot(LABELS)
    trajectory = kc.mse_moments(NET.kernels(POINTS), y, [0.0])
    np.testing.assert_allclose(found.trace_i(y.shape[1]), trajectory.trace_i[:, 0], rtol=1e-12)


def test_probed_moments_are_unbiased_and_their_errors_honest():
    """On a slowly decaying spectrum, where the probes matter."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    spectrum = 1 / np.arange(1, 61) ** 0.5
    matrix = da.from_array((turn * spectrum) @ turn.T, chunks=25)
    exact = np.array([np.sum(spectrum**k) for k in (3, 4)])
    runs = [kd.trace_moments(matrix, rank=4, probes=12, rng=seed) for seed in range(60)]
    found, errors = (np.array([getattr(run, name)[2:] for run in runs]) for name in ("values", "errors"))
    assert np.all(errors > 1e-4 * exact)
    spread = found.std(axis=0, ddof=1)
    assert np.all(np.abs(found.mean(axis=0) - exact) < 4 * spread / np.sqrt(len(runs)))
    # the variance of 60 draws is itself known to a fifth, 2/√60 with heavier tails than a normal law's a little less
    ratio = (errors**2).mean(axis=0) / spread**2
    assert np.all(np.abs(np.log(ratio)) < np.log(2))


def test_deflation_makes_probes_precise(theta, values):
    found = kd.trace_moments(theta, rank=24, probes=16, rng=3)
    exact = np.array([np.sum(values**k) for k in (1, 2, 3, 4)])
    assert np.all(np.abs(found.values - exact) <= 5 * found.errors + 1e-13 * exact)
    assert np.all(found.errors < 1e-4 * exact)


@pytest.mark.parametrize("n_out", [1, 10])
def test_initial_moments(kernels, n_out):
    y = kc.datasets.one_hot(LABELS) if n_out == 10 else LABELS - 4.5
    expected = kc.mse_moments(kernels, y, [0.0])
    found = kd.initial_moments(NET.kernels(POINTS, engine="dask", chunks=50), y)
    np.testing.assert_allclose(found.trace_i, expected.trace_i[:2, 0], rtol=1e-12)
    np.testing.assert_allclose(found.trace_h, expected.trace_h[:2, 0], rtol=1e-12)
    for name in ("trace_s", "trace_s_std", "trace_s2", "loss"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name)[0], rtol=1e-12)


def test_without_xi_the_deviation_is_unknown():
    lazy = NET.kernels(POINTS[:20], engine="dask", chunks=8, only=("sigma", "theta", "phi", "upsilon"))
    found = kd.initial_moments(lazy, np.ones(20))
    assert np.isnan(found.trace_s_std)
    assert np.isfinite(found.trace_s)


def spoiled(value, at=(70, 3)):
    matrix = np.eye(N)
    matrix[at] = matrix[at[::-1]] = value
    return da.from_array(matrix, chunks=50)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("use", "where"),
    [
        (lambda matrix: kd.trace_moments(matrix, 1), "NaN"),
        (lambda matrix: kd.trace_moments(matrix, exact=True), "NaN"),
        (kd.trace_moments, "row 3$"),
        (kd.top_eigenvalues, "row 3$"),
        (lambda matrix: kd.top_eigenvalues(matrix, method="lanczos"), "row 3$"),
        (lambda matrix: kd.kernel_operator(matrix) @ np.ones(N), "row 3$"),
    ],
)
def test_what_is_not_finite_is_refused(value, use, where):
    with pytest.raises(NotFiniteError, match=where):
        use(spoiled(value))


@pytest.mark.parametrize("name", ["sigma", "theta", "phi", "upsilon", "xi"])
def test_moments_of_what_is_not_finite_are_refused(kernels, name):
    arrays = {each: getattr(kernels, each) for each in ("sigma", "theta", "phi", "upsilon", "xi")}
    with pytest.raises(NotFiniteError, match="NaN"):
        kd.initial_moments(SimpleNamespace(**arrays | {name: spoiled(np.nan)}), np.ones(N))


def test_passes_over_blocks_that_are_computed(theta):
    read = []
    counted = theta.map_blocks(lambda block: (read.append(block.shape), block)[1], dtype=float, meta=np.empty((0, 0)))
    for use, passes in (
        (lambda: kd.trace_moments(counted, 2), 1),
        (lambda: kd.trace_moments(counted), 3),
        (lambda: kd.trace_moments(counted, exact=True), 4),
        (lambda: kd.top_eigenvalues(counted, 3), kd.top_eigenvalues(theta, 3).passes),
    ):
        read.clear()
        use()
        assert 9 * (passes - 1) < len(read) <= 9 * passes
    assert passes <= 6


def test_exact_moments_hold_two_rows_of_blocks():
    """Not the whole matrix, which is read again for every row."""
    count, held = 12, []
    matrix = da.from_array(np.eye(24), chunks=2).map_blocks(np.copy)

    def watch(key, value, graph, state, worker):
        held.append(sum(isinstance(k, tuple) and k[0] == matrix.name for k in state["cache"]))

    with Callback(posttask=watch), config.set(scheduler="sync"):
        found = kd.trace_moments(matrix, exact=True)
    np.testing.assert_array_equal(found.values, 24)
    assert max(held) <= 2 * count + 1


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda: kd.top_eigenvalues(np.eye(3), 4), InputError, "1 to 3"),
        (lambda: kd.top_eigenvalues(np.eye(3), 1.5), InputError, "count"),
        (lambda: kd.top_eigenvalues(np.eye(3), 1, method="qr"), InputError, "lanczos"),
        (lambda: kd.top_eigenvalues(np.eye(3), 1, tol=-1), InputError, "tol"),
        (lambda: kd.top_eigenvalues(np.ones((2, 3)), 1), ShapeError, "square"),
        (lambda: kd.trace_moments(np.eye(3), 5), InputError, "kmax"),
        (lambda: kd.trace_moments(np.eye(3), probes=1), InputError, "probes"),
        (lambda: kd.trace_moments(np.ones(3)), ShapeError, "square"),
        (lambda: kd.initial_moments(NET.kernels(POINTS[:2]), [1.0]), ShapeError, "Y"),
        (lambda: kd.initial_moments(NET.kernels(POINTS[:2]), [1.0, np.nan]), NotFiniteError, "Y"),
    ],
)
def test_wrong_input(attempt, error, message):
    with pytest.raises(error, match=message):
        attempt()


def test_lanczos_says_when_it_does_not_converge():
    matrix = np.diag(1 + 1e-7 * np.arange(200.0))
    with pytest.raises(PrecisionError, match="Lanczos"):
        kd.top_eigenvalues(matrix, 4, method="lanczos", tol=1e-12, max_passes=1)
