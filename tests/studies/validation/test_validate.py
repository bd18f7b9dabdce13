"""Theory beside finite networks: it passes, it fails when the theory is wrong, and what it writes and refuses."""

import csv
import json
import math
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import expm

import kernelcalc as kc
from kernelcalc.cli.validate import spiral
from kernelcalc.errors import (
    DataFileError,
    InputError,
    MissingExtraError,
    NotFiniteError,
    ShapeError,
    SmoothnessError,
)
from kernelcalc.finite.ensembles.kernels import kernels_through_training
from kernelcalc.studies.validation.comparison import Quantity, compare, z_limit
from kernelcalc.studies.validation.control_variates import without_noise
from kernelcalc.studies.validation.validate import first_orders, predicted_values, sample_values

NET = kc.MLP("tanh", depth=3)
X, Y = spiral()
N = len(X)
WIDTHS, TIMES, TRIALS = (32, 64, 96), np.array([0.0, 1.0, 5.0]), 80


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(report of validate, what its networks left in the file)."""
    path = tmp_path_factory.mktemp("validate") / "trials.jsonl"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kc.errors.SlowMethodWarning)  # some eight seconds
        report = kc.validate(NET, X, Y, WIDTHS, TRIALS, TIMES, rng=0, path=path)
    size = path.stat().st_size
    options = {"widths": WIDTHS, "trials": TRIALS, "rng": 0, "path": path}
    raw = kernels_through_training(NET, X, Y[:, None], TIMES, **options)
    assert path.stat().st_size == size
    return report, raw


@pytest.fixture(scope="module")
def raw(saved):
    return saved[1]


@pytest.fixture(scope="module")
def run(saved):
    """(report of validate, samples of the same networks)."""
    return saved[0], sample_values(saved[1], X, TIMES)


@pytest.fixture(scope="module")
def kernels():
    return NET.kernels(X)


def with_changes(kernels, moments=(), **changes):
    """Predicted values with some kernels or moments replaced."""
    names = ("sigma", "theta", "phi", "lam", "upsilon", "xi")
    changed = SimpleNamespace(**{name: getattr(kernels, name) for name in names} | changes)
    trajectory = kc.mse_moments(kernels, Y, TIMES)
    fields = ("times", "trace_i", "trace_s", "trace_s2", "loss", "trace_h")
    values = {name: np.array(getattr(trajectory, name)) for name in fields} | dict(moments)
    values["trace_h"][0] = values["trace_i"][0] + values["trace_s"]
    values["trace_h"][1] = values["trace_i"][1] + values["trace_s2"]
    return predicted_values(changed, SimpleNamespace(**values), X)


def z_scores(theory, samples, name):
    return {row.quantity: row.z for row in compare(theory, samples, WIDTHS).rows if row.quantity.name == name}


def test_the_theory_passes(run):
    report, _ = run
    assert report.passed, report.text()
    assert report.failures == ()
    names = {row.quantity.name for row in report.rows}
    moments = {f"trace_{part}{k}" for part in "ih" for k in range(1, 5)} | {"trace_s", "trace_s2", "loss"}
    assert names == {"sigma", "theta", "phi", "lam", "upsilon", "xi"} | moments
    for name in ("theta", "lam", *moments):
        assert {row.quantity.time for row in report.rows if row.quantity.name == name} == set(TIMES)


def test_first_orders_stand_beside_the_slopes(run):
    report, _ = run
    known = [row for row in report.rows if not math.isnan(row.first_order)]
    assert {row.quantity.name for row in known} == {
        *("sigma", "theta", "phi", "upsilon", "xi"),
        *("trace_i1", "trace_i2", "trace_s", "trace_s2", "trace_h1", "trace_h2"),
    }
    assert all(row.quantity.time == 0 and abs(row.first_order_z) < 4 for row in known)
    assert f"{known[0].first_order:.2g}" in report.text()
    assert all(math.isnan(row.first_order_z) for row in report.rows if row not in known)


def test_first_orders_of_a_linear_network_by_hand():
    # Θ̂ = z² + v² with z, v of n units each: E Θ̂² = 4 + 4/n
    found = first_orders(kc.MLP("x", depth=2, beta=0), np.ones((1, 1)), np.zeros((1, 1)))
    assert found[Quantity("trace_i2")] == pytest.approx(4, rel=1e-12)
    assert found[Quantity("theta", "diagonal")] == found[Quantity("trace_i1")] == 0
    # kinks leave Σ and Θ, other layers nothing
    relu = first_orders(kc.MLP("relu", depth=3), X, Y[:, None])
    assert {quantity.name for quantity in relu} == {"sigma", "theta"}
    layers = kc.layers
    stack = kc.Sequential(layers.Dense(), layers.Residual("tanh", layers.Dense()), layers.Dense())
    assert first_orders(stack, X, Y[:, None]) == {}


def test_the_samples_are_the_report(run, kernels):
    report, samples = run
    again = compare(with_changes(kernels), samples, WIDTHS)
    assert [(row.quantity, row.z) for row in again.rows] == [(row.quantity, row.z) for row in report.rows]


def corollary_1(kernels, sign):
    """E Tr S(t) as printed (sign = +1) and corrected (−1), literally."""
    m = kernels.sigma + np.outer(Y, Y)
    values = []
    for t in TIMES:
        e = expm(-t * kernels.theta / N)
        drift = (np.eye(N) + sign * e) @ np.linalg.inv(kernels.theta) @ kernels.lam.T @ e @ m
        values.append((np.trace(e @ kernels.phi.T) - np.trace(drift)) / N)
    return np.array(values)


def test_printed_corollary_1_is_rejected(run, kernels):
    _, samples = run
    right, wrong = (with_changes(kernels, {"trace_s": corollary_1(kernels, sign)}) for sign in (-1, 1))
    assert all(abs(z) < 4 for z in z_scores(right, samples, "trace_s").values())
    for name in ("trace_s", "trace_h1"):
        z = z_scores(wrong, samples, name)
        assert abs(z[Quantity(name, "", 0.0)]) > 10
        assert abs(z[Quantity(name, "", 1.0)]) > 10
    assert not compare(wrong, samples, WIDTHS).passed


def upsilon(kernels, shift):
    """Υ as a sum over layers, with Σ̇^(m), Σ̈^(m) at Σ^(m−1): as printed (shift = 0) and corrected (1)."""
    sigma = [X @ X.T / X.shape[1], *(layer.sigma for layer in kernels.layers)]
    q = [np.diag(s) for s in sigma]

    def expectation(m, order):
        f = NET.activations[0].derivative(order)
        return kc.gaussian_expectation(f, f, q[m - 1][:, None], q[m - 1][None, :], sigma[m - 1])

    total, depth = 0.0, NET.depth
    for ell in range(1, depth):
        theta = kernels.layers[ell - 1].theta
        term = theta**2 * expectation(ell + shift, 2) + 2 * theta * expectation(ell + shift, 1)
        for m in range(ell + 1, depth):
            term = term * expectation(m + shift, 1)
        total = total + term
    return total


def test_printed_indices_of_upsilon_are_rejected(run, kernels):
    _, samples = run
    right, wrong = (with_changes(kernels, upsilon=upsilon(kernels, shift)) for shift in (1, 0))
    assert all(abs(z) < 4 for z in z_scores(right, samples, "upsilon").values())
    z = z_scores(wrong, samples, "upsilon")
    assert all(abs(z[Quantity("upsilon", part)]) > 10 for part in ("diagonal", "off-diagonal"))
    assert not compare(wrong, samples, WIDTHS).passed
    # through Tr S² too
    changed = SimpleNamespace(
        **{name: getattr(kernels, name) for name in ("sigma", "theta", "phi", "lam", "xi")}, upsilon=upsilon(kernels, 0)
    )
    trace_s2 = np.array(kc.mse_moments(changed, Y, TIMES).trace_s2)
    z = z_scores(with_changes(kernels, {"trace_s2": trace_s2}), samples, "trace_s2")
    assert abs(z[Quantity("trace_s2", "", 0.0)]) > 10


@pytest.mark.parametrize("name", ["phi", "lam"])
def test_a_transposed_kernel_is_rejected(run, kernels, name):
    _, samples = run
    wrong = with_changes(kernels, **{name: getattr(kernels, name).T})
    assert abs(z_scores(wrong, samples, name)[Quantity(name, "skew", 0.0)]) > 5


@pytest.mark.parametrize("name", ["sigma", "theta", "phi", "lam", "upsilon", "xi"])
def test_one_wrong_entry_is_seen(run, kernels, name):
    _, samples = run
    wrong = np.array(getattr(kernels, name))
    wrong[0, -1] += 0.3 * np.abs(wrong).max()
    wrong[-1, 0] = wrong[0, -1]
    z = z_scores(with_changes(kernels, **{name: wrong}), samples, name)
    assert max(map(abs, z.values())) > 6


def test_time_without_the_number_of_points_is_rejected(run, kernels):
    """e^{−tΘ} as printed, for e^{−tΘ/N}."""
    _, samples = run
    traj = kc.mse_moments(kernels, Y, N * TIMES)
    wrong = with_changes(kernels, {"loss": np.array(traj.loss), "trace_s2": np.array(traj.trace_s2)})
    for name in ("loss", "trace_s2"):
        assert abs(z_scores(wrong, samples, name)[Quantity(name, "", 1.0)]) > 8


def test_several_outputs():
    x = np.array([[1.0, 0.5], [-0.5, 1.5], [0.3, -0.4]])
    y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    report = kc.validate(kc.MLP("softplus", depth=2, n_out=2), x, y, (16, 32), 60, (0, 1), kmax=2)
    assert report.passed, report.text()


def test_z_scores_of_a_true_theory_are_standard_normal():
    rng = np.random.default_rng(0)
    widths, count = np.array([10.0, 30.0, 50.0]), 3000
    bias, center, spread = rng.standard_normal((3, count))
    theory = {Quantity(f"q{i}"): center[i] for i in range(count)}
    samples = {
        Quantity(f"q{i}"): center[i] + bias[i] / widths + np.exp(spread[i]) * rng.standard_normal((400, 3))
        for i in range(count)
    }
    slopes = {Quantity(f"q{i}"): bias[i] for i in range(count)}
    report = compare(theory, samples, widths, first_order=slopes)
    for name in ("z", "first_order_z"):
        z = np.array([getattr(row, name) for row in report.rows])
        assert abs(z.mean()) < 4 / np.sqrt(count)
        # three variances of 400 draws each
        assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / count) + 3 / 400
    assert report.passed
    assert report.z_limit == z_limit(2 * count, 400) > 4
    # a wrong first order fails alone
    wrong = slopes | {Quantity("q7"): bias[7] + 10 * report.rows[7].bias_error}
    assert [row.quantity.name for row in compare(theory, samples, widths, first_order=wrong).failures] == ["q7"]


def test_control_variates_keep_the_mean_and_the_error_honest():
    rng = np.random.default_rng(0)
    z, spread = [], []
    for _ in range(2000):
        controls = rng.standard_normal((60, 4))
        # heavy-tailed and not linear in the controls
        values = 1 + controls @ [2.0, -1.0, 0.0, 3.0] + controls[:, 0] ** 2 * controls[:, 1] + rng.standard_normal(60)
        quiet = without_noise(values, controls)
        error = quiet.std(ddof=1) / np.sqrt(60)
        z.append((quiet.mean() - 1) / error)
        spread.append(error / (values.std(ddof=1) / np.sqrt(60)))
    assert abs(np.mean(z)) < 4 / np.sqrt(len(z))
    # Student's t with 59 degrees of freedom has variance 1.035
    assert 0.9 < np.var(z) < 1.2
    assert np.mean(spread) < 0.7
    np.testing.assert_array_equal(without_noise(values[:19], controls[:19]), values[:19])


def test_quieter_samples_have_the_same_means(run, raw):
    _, samples = run
    for name, factor in (("trace_s", 0.1), ("trace_s2", 0.5), ("loss", 0.1)):
        quiet, noisy = samples[Quantity(name)], raw[name][..., 0]
        error = noisy.std(axis=0) / np.sqrt(TRIALS)
        assert np.all(quiet.std(axis=0) / np.sqrt(TRIALS) < factor * error)
        assert np.all(np.abs(quiet.mean(axis=0) - noisy.mean(axis=0)) < 4 * error)


def test_few_trials_raise_the_limit():
    assert z_limit(100, 5) > z_limit(100, 50) > z_limit(100, 10**6) == 4.0


def test_resolution_is_the_error_that_half_of_the_rows_reject():
    names = [Quantity(f"q{i}") for i in range(40)]
    rng = np.random.default_rng(4)
    truth = {name: 1.0 + i for i, name in enumerate(names)}
    samples = {name: truth[name] + 0.1 * (1 + i) * rng.standard_normal((50, 3)) for i, name in enumerate(names)}
    report = compare(truth, samples, (10, 20, 40))
    assert report.passed
    for factor, rejected in ((0.3, range(5)), (3.0, range(35, 41))):
        off = {name: value * (1 + factor * report.resolution) for name, value in truth.items()}
        assert len(compare(off, samples, (10, 20, 40)).failures) in rejected


def test_few_networks_are_said_to_reject_little():
    values = np.random.default_rng(0).standard_normal((3, 2))
    assert "raise trials" in compare({Quantity("a"): 0.1}, {Quantity("a"): values}, (10, 20)).text()
    values = np.random.default_rng(0).standard_normal((100, 2))
    assert "raise trials" not in compare({Quantity("a"): 0.1}, {Quantity("a"): values}, (10, 20)).text()


def test_exact_numbers_and_nan():
    ones = np.ones((5, 2))
    keys = [
        Quantity("k"),
        Quantity("k", "vanishes"),
        Quantity("zero"),
        Quantity("tiny"),
        Quantity("off"),
        Quantity("nan"),
    ]
    theory = dict(zip(keys, [1.0, 1e-18, 0.0, 2e-20, 1.001, math.nan], strict=True))
    report = compare(theory, dict(zip(keys, [ones, 0 * ones, 0 * ones, 1e-20 * ones, ones, ones], strict=True)), (2, 4))
    assert [row.passed for row in report.rows] == [True, True, True, False, False, False]
    assert "FAILED: 3 of 6 quantities" in repr(report)


def test_linear_networks_one_point_and_a_point_at_zero():
    """Many kernels vanish identically; nothing divides by zero."""
    report = kc.validate(kc.MLP("x", depth=2, beta=0.0), [[0.0, 0.0], [1.0, 2.0]], [1.0, -1.0], (8, 16), 40, (0, 1))
    assert report.passed, report.text()
    assert {row.limit for row in report.rows if row.quantity.name in ("phi", "lam", "xi")} == {0.0}
    assert kc.validate(kc.MLP("tanh", depth=2), [[1.0, 2.0]], [1.0], (8, 16), 40, (0, 1)).passed


def test_report_as_frame_files_and_text(run, tmp_path, monkeypatch):
    report, _ = run
    frame = report.to_dataframe()
    assert len(frame) == len(report.table) == len(report.rows)
    row = report.row("theta", "diagonal", 1.0)
    same = frame[(frame.quantity == "theta") & (frame.part == "diagonal") & (frame.time == 1.0)].iloc[0]
    assert (same.theory, same.mean_64, same.error_64, same.limit, same.z) == (
        row.theory, row.means[1], row.errors[1], row.limit, row.z,
    )  # fmt: skip
    with report.to_csv(tmp_path / "a.csv").open(encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    assert [float(cell["z"]) for cell in cells] == [row.z for row in report.rows]
    stored = json.loads(report.to_json(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert stored["passed"] is True
    assert [record["bias"] for record in stored["table"]] == [row.bias for row in report.rows]
    text = report.text()
    assert len(text.splitlines()) == len(report.rows) + 4
    assert max(map(len, text.splitlines())) <= 120
    assert len(repr(report).splitlines()) <= 12
    with pytest.raises(InputError, match="quantity"):
        report.row("thta")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pandas"):
        report.to_dataframe()


def test_plots(run):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    report, _ = run
    axes = report.plot()
    assert len(axes) == 12
    ax = pyplot.subplots()[1]
    row = report.row("upsilon", "form")
    assert report.plot(ax, row) is ax
    means = ax.containers[0].lines[0]
    np.testing.assert_allclose(np.array(means.get_xdata(), dtype=float), 1 / np.array(WIDTHS))
    np.testing.assert_allclose(np.array(means.get_ydata(), dtype=float), row.means)
    limit = ax.containers[1].lines[0]
    assert (limit.get_xdata()[0], limit.get_ydata()[0]) == (0, row.limit)
    assert any(set(line.get_ydata()) == {row.theory} for line in ax.get_lines())
    pyplot.close("all")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"widths": (8,)}, InputError, "two different widths"),
        ({"widths": (8, 8)}, InputError, "two different widths"),
        ({"widths": (8, 0)}, InputError, "widths"),
        ({"widths": 8}, InputError, "widths"),
        ({"trials": 1}, InputError, "trials"),
        ({"trials": 2.5}, InputError, "trials"),
        ({"workers": 0}, InputError, "workers"),
        ({"kmax": 0}, InputError, "kmax"),
        ({"times": (0, -1)}, InputError, "times"),
        ({"times": (0, math.inf)}, InputError, "times"),
        ({"times": ()}, InputError, "times"),
        ({"times": ("soon",)}, InputError, "times"),
        ({"X": [[1.0, math.nan], [0.0, 1.0]]}, NotFiniteError, "row 0"),
        ({"X": [1.0, 2.0]}, ShapeError, "X"),
        ({"Y": [1.0]}, ShapeError, "Y"),
        ({"Y": [[1.0, 0.0], [0.0, 1.0]]}, InputError, "n_out"),
        ({"Y": [1.0, math.nan]}, NotFiniteError, "Y"),
        ({"net": kc.MLP("tanh", depth=1)}, InputError, "hidden layer"),
        ({"net": kc.MLP("step")}, SmoothnessError, "step"),
    ],
)
def test_wrong_input(changes, error, message):
    arguments = {"net": kc.MLP("tanh", depth=2), "X": [[1.0, 0.0], [0.0, 1.0]], "Y": [1.0, 0.0], "widths": (4, 8)}
    with pytest.raises(error, match=message):
        kc.validate(**arguments | {"trials": 2, "times": (0,)} | changes)


def test_compare_refuses_what_does_not_fit():
    a, b = Quantity("a"), Quantity("b")
    with pytest.raises(InputError, match="one of them"):
        compare({a: 1.0}, {b: np.ones((3, 2))}, (1, 2))
    with pytest.raises(ShapeError, match="samples"):
        compare({a: 1.0}, {a: np.ones((3, 3))}, (1, 2))
    with pytest.raises(InputError, match="two trials"):
        compare({a: 1.0}, {a: np.ones((1, 2))}, (1, 2))


def test_a_file_of_another_run_is_refused(tmp_path):
    path = tmp_path / "trials.jsonl"
    options = {"widths": (4, 8), "trials": 2, "times": (0,), "path": path}
    kc.validate(kc.MLP("tanh", depth=2), X, Y, **options)
    with pytest.raises(DataFileError, match="activations"):
        kc.validate(kc.MLP("erf", depth=2), X, Y, **options)
