"""The experiments' numbers, in tiny settings, against dense matrices and closed cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.studies.sagun import run, width_growth
from kernelcalc.studies.sagun import spectra as spectra_module
from kernelcalc.studies.sagun.heatmaps import _on_pixels, block_squares, layer_edges, residual_squares
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.spectra import exact_eigenvalues, spectrum_of
from kernelcalc.studies.sagun.task import Task, descend
from kernelcalc.studies.spectrum import count_outliers


def numerical_hessian(task: Task, network: FiniteNetwork, h: float = 1e-5) -> np.ndarray:
    """Central differences of the gradient."""
    theta, rows = network.parameters, []
    for p in range(theta.size):
        e = np.zeros_like(theta)
        e[p] = h
        up, down = (task.problem.gradient(network.with_parameters(theta + sign * e)) for sign in (1, -1))
        rows.append((up - down) / (2 * h))
    return (np.array(rows) + np.array(rows).T) / 2


def blob_task(n: int, std: float = 0.5, **options: object) -> Task:
    return Task.of(*kc.datasets.two_blobs(n, std=std, rng=0), **options)  # type: ignore[arg-type]


def test_split_is_that_of_a_numerical_hessian() -> None:
    found = run("split", points=12, width=2, steps=3, activation="tanh")
    task = Task.of(*kc.datasets.mnist14(12), activation="tanh")
    values = np.linalg.eigvalsh(numerical_hessian(task, task.draw(2, 0)))
    own = (found["time"] == "start") & (found["matrix"] == "H")
    assert found["top"][own] == pytest.approx(values[-1], rel=1e-6)
    assert found["bottom"][own] == pytest.approx(values[0], rel=1e-5)
    assert found["square"][own] == pytest.approx(values @ values, rel=1e-7)
    assert (found["negative"][own] >= (values < -1e-7).sum()).all()


def test_split_obeys_its_inequalities() -> None:
    found = run("split", points=20, width=5, steps=60)
    counts = {name: found[name].reshape(2, 3) for name in ("positive", "negative", "zero", "square", "top", "bottom")}
    h, i, s = 0, 1, 2
    # all P parameters are counted, zeros orthogonal to the data included
    assert ((counts["positive"] + counts["negative"] + counts["zero"]) == 197 * 5 + 30 + 6 * 9).all()
    assert (counts["negative"][:, i] == 0).all()
    assert (counts["negative"][:, h] <= counts["negative"][:, s]).all()
    # Weyl
    assert (counts["bottom"][:, h] >= counts["bottom"][:, s] - 1e-12).all()
    assert (counts["top"][:, h] <= counts["top"][:, i] + counts["top"][:, s] + 1e-12).all()
    shares = found.tables["split_spectra"]
    np.testing.assert_allclose(shares["from_i"] + shares["from_s"], shares["eigenvalue"], atol=1e-12)
    negative = shares["eigenvalue"] < 0
    assert (shares["from_s"][negative] <= shares["eigenvalue"][negative] + 1e-12).all()
    for matrix, column in (("I", "i"), ("S", "s"), ("H", "eigenvalue")):
        for when in ("start", "end"):
            own = (found["time"] == when) & (found["matrix"] == matrix)
            values = shares[column][shares["time"] == when]
            assert found["square"][own] == pytest.approx(values @ values)


def test_spectra_are_complete_and_have_the_zeros_of_the_data() -> None:
    found = run("spectra", points=15, widths=(3, 5), steps=5, data=("digits", "blobs"))
    values = found.tables["spectra_values"]
    for k, (name, loss, width, p, when) in enumerate(
        zip(*(found[c] for c in ("data", "loss", "width", "P", "time")), strict=True)
    ):
        own = (values["data"] == name) & (values["loss"] == loss)
        own &= (values["width"] == width) & (values["time"] == when)
        assert values["weight"][own].sum() == p
        assert found["zero"][k] >= found["zero_bound"][k]
        assert values["eigenvalue"][own].max() == found["top"][k]
    classes = len(set(kc.datasets.mnist14(15)[1].tolist()))
    assert set(found["P"]) == {197 * 3 + 12 + 4 * classes, 197 * 5 + 30 + 6 * classes, 29, 57}
    # the limit starts from the network's own outputs
    start = found["time"] == "start"
    np.testing.assert_allclose(found["training_loss"][start], found["loss_theory"][start], rtol=1e-10)


def test_spectra_against_a_numerical_hessian() -> None:
    found = run("spectra", points=10, widths=(2,), steps=1, data=("blobs",), activation="tanh")
    for loss in ("softmax", "mse"):
        task = blob_task(10, loss=loss, activation="tanh")
        direct = np.linalg.eigvalsh(numerical_hessian(task, task.draw(2, [0, 2])))
        values = found.tables["spectra_values"]
        own = (values["loss"] == loss) & (values["time"] == "start")
        np.testing.assert_allclose(values["eigenvalue"][own], direct, atol=1e-7)


def test_approximation_keeps_the_spectrums_ends_and_traces() -> None:
    task = Task.of(*kc.datasets.mnist14(20))
    network = task.draw(12, 0)
    exact, ones, complete = spectrum_of(task, network)
    values, weights, rest = spectrum_of(task, network, approximate=True)
    assert complete
    assert not rest
    np.testing.assert_allclose(values[-30:], exact[-30:], rtol=1e-5)
    np.testing.assert_allclose(values[:30], exact[:30], rtol=1e-5)
    assert weights.sum() == pytest.approx(ones.sum())
    near, exact_near = (w[np.abs(v) < 1e-3 * v[-1]].sum() for v, w in ((values, weights), (exact, ones)))
    assert near == pytest.approx(exact_near, rel=0.1)


def test_spectra_approximate_only_when_asked() -> None:
    options = {"points": 15, "widths": (20,), "steps": 2, "data": ("digits",), "losses": ("softmax",)}
    exact, rough = run("spectra", **options), run("spectra", **options, approximate=True)
    assert (exact["zero"] >= exact["zero_bound"]).all()
    assert (exact["negative"] > 0).all()
    assert np.isnan(rough["zero"]).all()
    np.testing.assert_allclose(rough["top"], exact["top"], rtol=1e-5)


@pytest.mark.parametrize("part", ["h", "s"])
def test_eigenvalues_in_place_are_those_of_a_numerical_hessian(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra_module, "_DENSE_ROWS", 7)
    task = blob_task(9, activation="tanh")
    network = task.draw(4, 0)
    direct = numerical_hessian(task, network)
    split = task.split(network)
    if part == "s":
        direct = direct - split.i.dense()
    found = exact_eigenvalues(getattr(split, part))
    np.testing.assert_allclose(found, np.linalg.eigvalsh(direct), atol=1e-7)


def test_spectra_say_which_networks_are_far_from_the_limit() -> None:
    options = {"points": 30, "steps": 100, "data": ("blobs",), "losses": ("mse",)}
    narrow, wide = run("spectra", **options, widths=(2,)), run("spectra", **options, widths=(40,))
    assert "far from the limit after training (network/limit): blobs, mse, k = 2: " in str(narrow)
    assert "far from the limit" not in str(wide)


def test_gradient_norm_is_that_of_differences() -> None:
    task = blob_task(6, activation="tanh")
    network = task.draw(3, 0)
    theta, h = network.parameters, 1e-6
    slopes = [
        (task.loss_of(network.with_parameters(theta + h * e)) - task.loss_of(network.with_parameters(theta - h * e)))
        / (2 * h)
        for e in np.eye(theta.size)
    ]
    assert task.gradient_norm(network) == pytest.approx(np.linalg.norm(slopes), rel=1e-7)
    found = run("training", points=6, widths=(3, 4), steps=2, activation="tanh")
    assert found["gradient"][0] == pytest.approx(task.gradient_norm(task.draw(3, [0, 3])))


def test_split_says_that_s_vanishes() -> None:
    text = str(run("split", loss="mse", points=4, width=2, steps=3))
    assert "nan" not in text
    assert "undefined, as S = 0" in text


def test_spectra_refuse_unknown_data() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'blobs'"):
        run("spectra", data=("blob",))


def test_initial_eigenvalue_under_mse_is_one_number() -> None:
    found = run("initial", points=10, widths=(8, 16, 32), trials=4, steps=2, loss="mse")
    theta = kc.MLP("relu", depth=3, sigma_w=2**0.5).kernels(blob_task(10).x).theta
    own = found["width"] == "theory"
    np.testing.assert_allclose(found["mean"][own], np.linalg.eigvalsh(theta)[-1] / 10, rtol=1e-10)
    np.testing.assert_allclose(found["std"][own], 0, atol=1e-12)
    assert found["networks"].tolist()[:3] == [4, 4, 4]


def test_initial_eigenvalues_are_those_of_dense_hessians() -> None:
    found = run("initial", points=8, widths=(2, 3, 30), trials=3, steps=4, seed=5, activation="tanh")
    values = found.tables["initial_values"]
    for name in ("width_2_start", "width_2_end", "theory_start"):
        assert (values[name][:3] > 0).all()
    task = Task.of(*kc.datasets.two_blobs(8, std=0.5, rng=5), activation="tanh")
    # the seeds are those of the trials of the ensembles
    seed = np.random.SeedSequence(5).spawn(3)[0].spawn(1)[0]
    network = task.draw(2, np.random.default_rng(seed))
    top = np.linalg.eigvalsh(numerical_hessian(task, network))[-1]
    assert values["width_2_start"][0] == pytest.approx(top, rel=1e-6)


def test_initial_law_is_that_of_wide_networks() -> None:
    found = run("initial", points=12, widths=(4, 24, 72), trials=50, steps=10, activation="tanh")
    assert (np.abs(found["z"][found["width"] == "extrapolated"]) < 4).all()


def test_initial_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    options = {"points": 8, "widths": (2, 3, 5), "trials": 3, "steps": 4, "activation": "tanh"}
    whole = run("initial", **options).tables["initial_values"]
    run("initial", **options, folder=tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(kept) == 6
    for path, text in kept.items():
        path.write_bytes(b"".join(text.splitlines(keepends=True)[:2]))
    # other settings have files of their own
    run("initial", **(options | {"loss": "mse"}), folder=tmp_path)
    again = run("initial", **options, folder=tmp_path).tables["initial_values"]
    assert {path: path.read_bytes() for path in kept} == kept
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values)


def test_initial_points_on_a_sphere() -> None:
    x, labels = kc.datasets.two_blobs(8, std=0.5, rng=0)
    task = Task.of(x, labels)
    found = run("initial", points=8, widths=(3, 6, 9), trials=3, steps=1, sphere=True)
    seeds = [s.spawn(3) for s in np.random.SeedSequence(0).spawn(3)]
    starts = [task.draw(3, np.random.default_rng(seed)) for seed in seeds[0]]
    # θ/‖θ‖ of a Gaussian is uniform on the sphere, whose radius is √P
    scaled = [f.with_parameters(f.parameters * np.sqrt(f.n_parameters) / np.linalg.norm(f.parameters)) for f in starts]
    tops = [np.linalg.eigvalsh(task.split(f).h.dense())[-1] for f in scaled]
    np.testing.assert_allclose(found.tables["initial_values"]["width_3_start"][:3], tops, rtol=1e-6)
    assert "on the sphere" in str(found)


def test_initial_needs_widths_to_extrapolate() -> None:
    with pytest.raises(InputError, match="three different widths"):
        run("initial", widths=(4, 8))


def test_training_starts_at_a_dense_hessian() -> None:
    found = run("training", points=10, widths=(3, 4), steps=10, activation="tanh")
    task = blob_task(10, activation="tanh")
    for width in (3, 4):
        values = np.linalg.eigvalsh(numerical_hessian(task, task.draw(width, [0, width])))
        row = np.flatnonzero((found["width"] == width) & (found["step"] == 0))[0]
        assert [found[f"top_{j}"][row] for j in range(1, 5)] == pytest.approx(values[-1:-5:-1], abs=1e-6)
        assert found["bottom"][row] == pytest.approx(values[0], abs=1e-6)
    np.testing.assert_array_equal(found["step"], 2 * list(range(11)))


def test_training_of_a_wide_network_is_the_limit() -> None:
    found = run("training", points=16, widths=(4, 150), steps=20, activation="tanh")
    wide = (found["width"] == 150) & (found["step"] >= 10)
    np.testing.assert_allclose(found["top_1"][wide], found["theory_1"][wide], rtol=0.15)
    np.testing.assert_allclose(found["loss"][wide], found["loss_theory"][wide], rtol=0.15)


def test_separability_raises_the_eigenvalues_in_limit_and_network() -> None:
    found = run("separability", points=20, stds=(0.2, 1.5), width=40, trials=3, steps=60)
    assert found["distance"][0] == pytest.approx(2 * 2**0.5 / 0.2)
    assert found["top"][1] > 5 * found["top"][0]
    assert found["top_theory"][1] > 5 * found["top_theory"][0]
    np.testing.assert_allclose(found["top"] / found["top_theory"], 1, atol=0.3)


def test_outliers_are_those_of_the_dense_hessian() -> None:
    found = run("outliers", clusters=(3,), points=12, width=20, steps=5)
    scree = found.tables["outliers_scree"]
    task = Task.of(*kc.datasets.gaussian_clusters(12, 3, 100, rng=[0, 3]))
    start = task.draw(20, [0, 3, 1])
    assert found["P"][0] == task.parameters(20) == 101 * 20 + 21 * 20 + 21 * 3
    assert scree["rank"].tolist() == list(range(1, len(scree["rank"]) + 1))
    # mean and standard deviation over all P eigenvalues, from traces
    (end,) = descend(task, start, Limit.of(task).step, 5)
    h = task.split(end).h.dense()
    assert found["mean"][0] == pytest.approx(np.trace(h) / found["P"][0])
    # the cut-off is the first eigenvalue below the outliers
    counted = count_outliers(scree["eigenvalue"][:100], "cutoff", found["elbow_at"][0])
    assert counted == found["elbow"][0] == 1 + np.flatnonzero(scree["eigenvalue"] > found["elbow_at"][0])[-1]
    assert found["elbow_at"][0] in scree["eigenvalue"]
    assert found["std"][0] == pytest.approx(np.sqrt(np.vdot(h, h) / found["P"][0] - found["mean"][0] ** 2))
    np.testing.assert_allclose(scree["eigenvalue"][:5], np.linalg.eigvalsh(h)[:-6:-1], rtol=1e-10)


@pytest.mark.parametrize("clusters", [3, 6])
def test_limit_has_one_outlier_less_than_clusters(clusters: int) -> None:
    found = run("outliers", clusters=(clusters,), points=60, width=5, steps=200)
    assert found["gap_theory"][0] == clusters - 1 == found["ratio_theory"][0]


def test_width_growth_against_dense_matrices() -> None:
    found = run("width", points=12, widths=(2, 4), trials=1, steps=2, activation="tanh")
    task = Task.of(*kc.datasets.mnist14(12), activation="tanh")
    for width in (2, 4):
        network = task.draw(width, [0, width, 0])
        h = numerical_hessian(task, network)
        values = np.linalg.eigvalsh(h)
        row = np.flatnonzero((found["width"] == width) & (found["time"] == "start"))[0]
        assert [found[name][row] for name in ("top", "second", "bottom")] == pytest.approx(
            [values[-1], values[-2], values[0]], abs=1e-6
        )
        s = h - task.split(network).i.dense()
        assert found["trace_s2"][row] == pytest.approx(np.vdot(s, s), rel=1e-5)
        everything = np.sort(np.append(values, np.zeros(task.orthogonal(width))))
        p = len(everything)
        assert p == task.parameters(width)
        middle = everything[int(np.ceil(0.95 * p)) - 1] - everything[int(np.ceil(0.05 * p)) - 1]
        assert found["range_90"][row] == pytest.approx(middle, abs=1e-6)
        assert found["bulk"][row] == pytest.approx(np.sqrt(np.vdot(s, s) / p), rel=1e-5)


def test_ranges_of_rounding_are_zero() -> None:
    # with 8 points in 196 dimensions more than nine of ten eigenvalues vanish
    found = run("width", points=8, widths=(3,), trials=1, steps=1)
    assert (found["range_90"] == 0).all()
    assert (found["bulk"] > 0).all()


def test_width_growth_lanczos_is_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"points": 40, "widths": (10,), "trials": 1, "steps": 2}
    dense = run("width", **options)
    monkeypatch.setattr(width_growth, "DENSE_ENDS", 10)
    lanczos = run("width", **options)
    for name in ("top", "bottom", "trace_s2"):
        np.testing.assert_allclose(lanczos[name], dense[name], rtol=1e-4)
    np.testing.assert_allclose(lanczos["range_90"], dense["range_90"], rtol=0.15)


def test_blocks_are_those_of_the_dense_matrix() -> None:
    task = Task.of(*kc.datasets.mnist14(12), activation="tanh")
    network = task.draw(3, 0)
    matrix, edges = task.split(network).i.dense(), layer_edges(network)
    parts = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    direct = [[np.vdot(matrix[p, q], matrix[p, q]) for q in parts] for p in parts]
    np.testing.assert_allclose(block_squares(task, network), direct, rtol=1e-10)
    matrix = task.split(network).s.dense()
    direct = [[np.vdot(matrix[p, q], matrix[p, q]) for q in parts] for p in parts]
    np.testing.assert_allclose(residual_squares(task, network, probes=2000), direct, rtol=0.1)
    images = kc.datasets.mnist14(12)[0]
    np.testing.assert_allclose(_on_pixels(network, images, task.x)(images), network(task.x), atol=1e-10)


def test_heatmaps_have_all_entries() -> None:
    found = run("heatmaps", points=8, widths=(2,), width=40, steps=2)
    assert found["block"].tolist() == 2 * ["1-1", "1-2", "1-3", "2-2", "2-3", "3-3"]
    entries = found.tables["heatmaps_entries"]
    assert len(entries["entry"]) == 2 * 18**2
    square = entries["entry"][entries["time"] == "before"].reshape(18, 18)
    np.testing.assert_array_equal(square, square.T)


@pytest.mark.parametrize("name", ["split", "training", "separability", pytest.param("path", marks=pytest.mark.long)])
def test_seeds_decide_everything(name: str) -> None:
    options = {"points": 10, "steps": 3}
    one, again, other = run(name, seed=1, **options), run(name, seed=1, **options), run(name, seed=2, **options)
    for column in next(iter(one.tables.values())):
        np.testing.assert_array_equal(one[column], again[column])
    numbers = [c for c in next(iter(one.tables.values())) if one[c].dtype.kind == "f"]
    assert any((one[c] != other[c]).any() for c in numbers)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("training", {"points": 12, "widths": (4, 8)}),
        ("separability", {"points": 12, "stds": (0.2, 0.3), "width": 8, "trials": 2}),
        ("risk", {"classes": 2, "inputs": 8, "points": 8, "width": 4}),
        ("outliers", {"points": 12, "clusters": (2,), "width": 6}),
        ("width", {"points": 8, "widths": (4, 8), "trials": 2}),
        ("heatmaps", {"points": 8, "widths": (6,), "width": 20}),
        ("split", {"points": 8, "width": 4}),
        ("spectra", {"points": 8, "widths": (3,), "data": ("blobs",), "losses": ("softmax",)}),
    ],
)
def test_descent_ends_at_a_gradient(name: str, options: dict[str, object]) -> None:
    found = run(name, **options, steps=400, stop=0.05)
    said = [note for note in found.notes if "steps until ‖∇C‖ ≤ 0.05" in note]
    taken = [int(part.rsplit(": ", 1)[1]) for part in said[0].split(", or all: ")[1].split("; ")]
    assert 0 < min(taken) < 400
    table = found.tables[name]
    if "gradient" in table:
        ends = table["gradient"] if "time" not in table else table["gradient"][table["time"] == "end"]
        # one step before it was above
        assert ends.min() <= 0.05 < 1.5 * ends.min()
