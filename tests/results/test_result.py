"""Every class of results as a user holds it: text, table, dimensions, picture, other processes, files."""

import copy
import dataclasses
import io
import json
import math
import pickle
import sys
import time
import tracemalloc
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.arrays import digest
from kernelcalc.errors import DataFileError, InputError, OutputFileError
from kernelcalc.finite import moments_through_training, spectral_density
from kernelcalc.kernels.symbolic import sphere
from kernelcalc.output.moments import plot_moments
from kernelcalc.results import result
from kernelcalc.results.result import Result
from kernelcalc.results.storage import MEMBER
from kernelcalc.studies.regression import predict_outputs
from kernelcalc.studies.sagun.registry import run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3))
Y = np.sign(RNG.normal(size=6))
NET = kc.MLP("tanh", depth=3, sigma_w=1.3)
K = NET.kernels(X)
FINITE = kc.FiniteNetwork.random(kc.MLP(["gelu", kc.Activation("x*erf(x/3)")], 3), (4, 5), n_in=3, rng=0)

MADE = {
    "kernels": lambda: K,
    "kinked kernels": lambda: kc.MLP("relu").kernels(X),
    "kernels of two sets": lambda: NET.kernels(X, X[:2]),
    "kernels with digits": lambda: NET.kernels(X[:2], dps=25, only=("sigma", "theta")),
    "mse_moments": lambda: kc.mse_moments(K, Y, [0.0, 1.0, math.inf]),
    "hessian_moments": lambda: kc.hessian_moments(K, Y, [0.0, 1.0], loss="binary", samples=4),
    "predict": lambda: kc.predict(NET, X, Y, width=20, networks=2),
    "predict binary": lambda: kc.predict(NET, X, Y, "binary", width=20, samples=3, times=[0.0, 1.0]),
    "held_out": lambda: kc.held_out(NET, X[:4], Y[:4], X[4:], Y[4:]),
    "held_out relu": lambda: kc.held_out(kc.MLP("relu"), X[:4], Y[:4], X[4:], Y[4:]),
    "predict_outputs": lambda: predict_outputs(NET, X[:4], Y[:4], X[4:]),
    "phase_diagram": lambda: kc.phase_diagram("tanh", [0.9, 1.1, 1.5], [0.0, 0.1]),
    "depth_profile": lambda: kc.phase.depth_profile("tanh", X, [1, 2, 4]),
    "fixed point": lambda: kc.phase.normalized_position("tanh"),
    "finite_width": lambda: kc.finite_width(kc.MLP("erf", 2), X[:3]),
    "finite_width relu": lambda: kc.finite_width(kc.MLP("relu", 2), X[:3]),
    "at a width": lambda: kc.finite_width(kc.MLP("erf", 2), X[:3]).at(100),
    "moments at a width": lambda: kc.hessian_moments_at_width(kc.MLP("erf", 2), X[:3], Y[:3], 100),
    "mean_field_moments": lambda: kc.mean_field_moments(K, Y),
    "spectrum_of_i": lambda: kc.spectrum_of_i(K, Y, Y),
    "mse_law": lambda: kc.mse_law(K, Y, 1.0, "loss"),
    "mercer": lambda: sphere.mercer(lambda t: t**2 + t, 3, kmax=4),
    "validate": lambda: kc.validate(kc.MLP("tanh", 2), X[:3], Y[:3], widths=(8, 16), trials=4, times=(0,)),
    "expectation": lambda: kc.gaussian_expectation("tanh", "erf", [1.0, 2.0], 1.0, 0.5, full_output=True),
    "one expectation": lambda: kc.gaussian_expectation("tanh", "erf", 1.0, 1.0, 0.5, full_output=True),
    "expectation with digits": lambda: kc.gaussian_expectation("erf", "erf", 1, 1, 0.5, full_output=True, dps=30),
    "finite moments": lambda: FINITE.hessian_moments(X, Y),
    "curvature": lambda: FINITE.curvature(X, Y),
    "training": lambda: FINITE.train(X, Y, [0.0, 1.0], record=record),
    "spectral density": lambda: spectral_density(FINITE.curvature(X, Y).h, probes=2, steps=5),
    "ensemble": lambda: moments_through_training(kc.MLP("tanh", 2), X, Y, [0.0, 0.5], width=6, trials=3),
    "trace moments": lambda: kc.distributed.trace_moments(NET.kernels(X, engine="dask").theta, exact=True),
    "initial moments": lambda: kc.distributed.initial_moments(NET.kernels(X, engine="dask"), Y),
    "eigenpairs": lambda: kc.distributed.top_eigenvalues(NET.kernels(X, engine="dask").theta, 2),
}
ALONE = {"fixed point", "moments at a width", "mean_field_moments", "one expectation", "expectation with digits"}


def record(time, network):
    return {"norm": np.linalg.norm(network.parameters)}


@pytest.fixture(scope="module")
def made():
    found = {}

    def get(name):
        if name not in found:
            found[name] = MADE[name]()
        return found[name]

    return get


def assert_same(a, b):
    """Equal arrays, numbers and origin."""
    assert type(a) is type(b)
    assert a.origin == b.origin
    assert a.dimensions() == b.dimensions()
    for name in a.dimensions():
        np.testing.assert_array_equal(np.asarray(a.array(name)), np.asarray(b.array(name)))
    assert str(a.scalars()) == str(b.scalars())
    assert repr(a) == repr(b)


def test_every_result_class_is_here(made):
    """No class of results escapes these tests, however deep in another it stands."""
    seen = {type(made(name)) for name in MADE}
    report = made("predict")
    seen |= {type(report.ntk), type(report.measured)}
    ours = {one for one in _subclasses(Result) if one.__module__.startswith("kernelcalc.")}
    unseen = {"LazyKernels", "ReadoutKernels"}
    assert {one.__name__ for one in ours - seen} == unseen


def _subclasses(cls):
    for one in cls.__subclasses__():
        yield one
        yield from _subclasses(one)


@pytest.mark.parametrize("name", MADE)
def test_the_text_is_short(made, name):
    assert len(repr(made(name))) < (1600 if name == "validate" else 400)


def test_the_text_of_many_held_out_points_is_short():
    points = RNG.normal(size=(60, 3))
    found = kc.held_out(NET, points[:20], points[:20, 0], points[20:], points[20:, 0])
    assert len(repr(found)) < 300
    assert "mean 40 × 1" in repr(found)


@pytest.mark.parametrize("name", MADE)
def test_copies_by_pickle(made, name):
    for copied in (pickle.loads(pickle.dumps(made(name))), copy.copy(made(name)), copy.deepcopy(made(name))):
        assert_same(made(name), copied)


@pytest.mark.parametrize("name", MADE)
def test_files_keep_everything(made, name, tmp_path):
    path = made(name).save(tmp_path / "a.npz")
    back = kc.load(path)
    assert_same(made(name), back)
    # NumPy reads it too, without pickle
    with np.load(path, allow_pickle=False) as archive:
        content = json.loads(archive[MEMBER].tobytes())
    assert content["version"] == kc.__version__
    assert content["origin"] == made(name).origin


@pytest.mark.parametrize("name", MADE)
def test_tables_have_a_row_for_each_entry(made, name):
    pytest.importorskip("pandas")
    found = made(name)
    frame = found.to_dataframe()
    assert len(frame) > 0
    assert frame.attrs["result"] == type(found).__name__
    for column, values in found.columns().items():
        np.testing.assert_array_equal(frame[column].to_numpy(), values)


@pytest.mark.parametrize("name", MADE)
def test_datasets_name_every_axis(made, name):
    pytest.importorskip("xarray")
    found = made(name)
    dataset = found.to_xarray()
    for array, own in found.dimensions().items():
        assert dataset[array].dims == own
        np.testing.assert_array_equal(dataset[array].to_numpy(), np.asarray(found.array(array)))
    assert dataset.attrs["kernelcalc"] == kc.__version__
    assert found.origin.items() <= dataset.attrs.items()


@pytest.mark.parametrize("name", MADE)
def test_notebooks_show_a_table_and_a_picture(made, name):
    pytest.importorskip("matplotlib")
    text = made(name)._repr_html_()
    assert len(text) < 60_000
    assert ("<table" in text) == ("data:image/png;base64," in text) == (name not in ALONE)
    assert "pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("name", sorted(MADE.keys() - ALONE))
def test_plots_draw_on_the_axes_given(made, name):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.subplots()
    assert made(name).plot(ax) is ax
    assert ax.has_data()
    assert ax.get_xlabel()


def test_one_output_is_drawn_along_the_points(made):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    (line,) = made("held_out").plot(figure.subplots()).get_lines()
    np.testing.assert_array_equal(line.get_ydata(), made("held_out").mean[:, 0])


def test_a_single_number_has_no_picture(made):
    with pytest.raises(InputError, match="one or two axes"):
        made("mean_field_moments").plot()


def test_columns_are_the_entries_of_the_arrays():
    """Broadcasting by names, against loops."""
    frame = kc.phase_diagram("tanh", [0.9, 1.1, 1.5], [0.0, 0.1])
    rows = list(zip(*frame.columns().values(), strict=True))
    wanted = [
        (b, a, frame.chi[i, j], frame.q[i, j]) for i, b in enumerate([0.0, 0.1]) for j, a in enumerate([0.9, 1.1, 1.5])
    ]
    assert rows == wanted
    table = K.columns()
    for i in range(6):
        for j in range(6):
            assert table["theta"][6 * i + j] == K.theta[i, j]


def test_large_kernels_are_shown_at_once():
    """The beginning of a table of 9 million rows without making it, and its picture as an image."""
    pytest.importorskip("matplotlib")
    values = np.arange(9e6).reshape(3000, 3000)
    large = kc.LimitingKernels({"sigma": values, "theta": values}, refused={}, title="large")
    tracemalloc.start()
    start = time.process_time()
    text = large._repr_html_()
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "<p>9000000 rows</p>" in text
    assert "<td>0</td><td>6</td><td>6</td><td>6</td>" in text
    assert seconds < 5
    # a copy of the kernel for the picture, twice in single bytes of colour, and no more
    assert peak < 6 * values.nbytes


def test_kernels_that_are_not_computed_are_shown_without_computing():
    class Never:
        shape, dtype, ndim, dask = (10**6, 10**6), np.dtype(float), 2, None

        def __array__(self, *args, **options):
            raise AssertionError("computed")

    lazy = kc.MLP("tanh").kernels(np.ones((5, 2)), engine="dask")
    lazy.arrays = {"sigma": Never(), "theta": Never()}
    assert "LazyKernels" in lazy._repr_html_() or "LimitingKernels" in lazy._repr_html_()
    assert "<table" not in lazy._repr_html_()


def test_datasets_keep_dask_arrays_as_they_are():
    pytest.importorskip("xarray")
    dataset = NET.kernels(X, engine="dask").to_xarray()
    assert dataset["theta"].chunks is not None
    np.testing.assert_allclose(dataset["theta"].to_numpy(), K.theta, rtol=1e-12)


def test_results_of_experiments_travel():
    found = run("split", points=6, width=2, steps=2, activation="tanh")
    back = pickle.loads(pickle.dumps(found))
    assert str(back) == str(found)
    assert len(back.figure().axes) == len(found.figure().axes) > 0


def test_pictures_of_matrices_are_the_matrices():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    (image,) = K.plot(figure.subplots()).get_images()
    np.testing.assert_array_equal(image.get_array(), K.sigma)
    # the first row on top
    assert figure.axes[0].get_ylim() == (5.5, -0.5)


def test_an_array_with_fewer_axes_is_repeated():
    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
    class Two(Result):
        DIMENSIONS = result.axes(a="x y", b="y", c="y x")
        a: np.ndarray
        b: np.ndarray
        c: np.ndarray

        def coordinates(self):
            return {"y": ["p", "q"]}

    found = Two(a=np.arange(6).reshape(3, 2), b=np.array([7, 8]), c=np.arange(6).reshape(2, 3)).columns()
    assert {name: column.tolist() for name, column in found.items()} == {
        "x": [0, 0, 1, 1, 2, 2],
        "y": ["p", "q"] * 3,
        "a": [0, 1, 2, 3, 4, 5],
        "b": [7, 8] * 3,
        "c": [0, 3, 1, 4, 2, 5],
    }


def _half(trajectory):
    return trajectory.trace_s_std / 2, trajectory


def test_results_travel_between_processes(made):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        half, back = pool.submit(_half, made("mse_moments")).result()
        loss = pool.submit(_value, kc.convex_loss("log(cosh(y - t))")).result()
    np.testing.assert_array_equal(2 * half, made("mse_moments").trace_s_std)
    assert_same(made("mse_moments"), back)
    np.testing.assert_allclose(loss, math.log(math.cosh(0.5)), rtol=1e-14)


def _value(loss):
    return loss.value([0.5], [0.0])


def test_joblib_remembers_results(tmp_path):
    joblib = pytest.importorskip("joblib")
    calls = []

    def kernels(net, points):
        calls.append(net)
        return net.kernels(points)

    kernels = joblib.Memory(tmp_path, verbose=0).cache(kernels)
    first = kernels(NET, X)
    second = kernels(kc.MLP("tanh", depth=3, sigma_w=1.3), X)
    assert len(calls) == 1, "equal networks have to be written alike"
    assert_same(first, second)
    np.testing.assert_array_equal(second.layers[0].sigma, K.layers[0].sigma)


@pytest.mark.parametrize("loss", ["mse", "softmax", "log(1 + exp(-t*y))", "(y - t)**4/4"])
def test_losses_travel(loss):
    law = kc.losses.resolve_loss(loss)
    back = pickle.loads(pickle.dumps(law))
    y, t = np.array([[0.3, -2.0], [1.0, 50.0]]), law.encode([0, 1], 2) if loss == "softmax" else np.ones((2, 2))
    np.testing.assert_array_equal(back.slope(y, t), law.slope(y, t))
    np.testing.assert_array_equal(back.curvature(y, t), law.curvature(y, t))
    assert repr(back) == repr(law)


def test_kernels_that_have_travelled_know_their_layers():
    back = pickle.loads(pickle.dumps(NET.kernels(X)))
    np.testing.assert_array_equal(back.layers[1].theta, K.layers[1].theta)


def test_layers_are_not_in_files(tmp_path):
    back = kc.load(K.save(tmp_path / "K.npz"))
    with pytest.raises(InputError, match=r"net\.kernels\(X\)\.layers"):
        _ = back.layers
    # the rest is as before, refusals included
    np.testing.assert_array_equal(kc.mse_moments(back, Y, [1.0]).trace_h, kc.mse_moments(K, Y, [1.0]).trace_h)
    kinked = kc.load(kc.MLP("relu").kernels(X).save(tmp_path / "R.npz"))
    with pytest.raises(kc.errors.SmoothnessError, match="relu"):
        _ = kinked.phi


def test_files_of_finite_networks_compute_on(made, tmp_path):
    """Weights, nonlinearities and all: products with H after reading are those before."""
    back = kc.load(made("curvature").save(tmp_path / "split.npz"))
    vector = RNG.normal(size=FINITE.n_parameters)
    np.testing.assert_array_equal(back.h @ vector, made("curvature").h @ vector)
    run = kc.load(made("training").save(tmp_path / "run.npz"))
    np.testing.assert_array_equal(run.network(X), made("training").network(X))
    assert [one["norm"] for one in run.records] == [one["norm"] for one in made("training").records]


def test_digits_are_kept_exactly(made, tmp_path):
    with mpmath.workdps(25):
        want = made("kernels with digits").theta
    back = kc.load(made("kernels with digits").save(tmp_path / "d.npz")).theta
    assert [v._mpf_ for v in back.ravel()] == [v._mpf_ for v in want.ravel()]


def test_origin_says_network_data_and_seed():
    found = kc.hessian_moments(K, Y, [0.0], loss="binary", samples=2, rng=7)
    assert found.origin["network"] == repr(NET)
    assert found.origin["data"] == digest(X) != digest(X + 1)
    assert found.origin["seed"] == 7
    assert kc.hessian_moments(K, Y, [0.0], samples=2, rng=np.random.default_rng(1)).origin["seed"] == "Generator"


@pytest.mark.parametrize("path", ["k.csv", "k", "k.npy", "k.pdf"])
def test_other_endings_are_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.npz"):
        K.save(tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_named_and_leaves_the_old_file(made, tmp_path):
    path = made("training").save(tmp_path / "a.npz")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"result\.records\.0"):
        FINITE.train(X, Y, [0.0], record=lambda t, net: print).save(path)
    with pytest.raises(InputError, match=r"\.compute\(\)"):
        NET.kernels(X, engine="dask").save(path)
    assert path.read_bytes() == before
    with pytest.raises(OutputFileError):
        K.save(tmp_path / "nowhere" / "a.npz")


def _archive(path, **members):
    np.savez(path, **members)
    return path


def test_foreign_files_are_refused_by_name(tmp_path):
    good = K.save(tmp_path / "good.npz")
    whole = good.read_bytes()
    (tmp_path / "text.npz").write_text("a,b\n1,2\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    cases = [tmp_path / "text.npz", tmp_path / "empty.npz", tmp_path / "array.npy", tmp_path / "missing.npz", tmp_path]
    cases.append(_archive(tmp_path / "other.npz", X=np.zeros(3)))
    cases.append(_archive(tmp_path / "object.npz", **{MEMBER: np.array([print], dtype=object)}))
    cases.append(_archive(tmp_path / "junk.npz", **{MEMBER: np.frombuffer(b"[1, 2", dtype=np.uint8)}))
    cases.append(_archive(tmp_path / "list.npz", **{MEMBER: np.frombuffer(b"[1, 2]", dtype=np.uint8)}))
    for count in (1, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / f"cut{count}.npz").write_bytes(whole[:count])
        cases.append(tmp_path / f"cut{count}.npz")
    for path in cases:
        with pytest.raises(DataFileError) as caught:
            kc.load(path)
        assert path.name in str(caught.value)


def _changed(path, change):
    """A copy of the file whose text was changed."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    content = json.loads(members[MEMBER].tobytes())
    change(content)
    members[MEMBER] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    return _archive(path.with_name("changed.npz"), **members)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "Popen"),
        ("kernelcalc.output.files", "atomic_file"),
        ("kernelcalc.output.files", "Path"),
        ("kernelcalc.nowhere", "Result"),
        ("kernelcalc.errors", "InputError"),
    ],
)
def test_files_cannot_name_anything_but_results(tmp_path, module, name):
    def change(content):
        content["result"] |= {"module": module, "class": name}

    with pytest.raises(DataFileError):
        kc.load(_changed(K.save(tmp_path / "K.npz"), change))


def test_damaged_files_are_read_or_refused(made, tmp_path):
    """Bytes changed at random, and pieces of the text left out, put in or nested without end."""
    path, changes = made("training").save(tmp_path / "a.npz"), np.random.default_rng(0)
    whole, damaged = path.read_bytes(), tmp_path / "b.npz"
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    text, refused = members[MEMBER].tobytes().decode(), 0
    texts = ["[" * 100_000, '{"form": 1, "version": "", "origin": {}, "result": ' + "[" * 900 + "]" * 900 + "}", "3"]
    for _ in range(150):
        at, length = changes.integers(len(text)), changes.integers(0, 12)
        texts.append(text[:at] + changes.choice(["", "null", "1e999", "[]", '"a"', "$"]) + text[at + length :])
    for changed in texts:
        np.savez(damaged, **{**members, MEMBER: np.frombuffer(changed.encode(), dtype=np.uint8)})
        refused += _is_refused(damaged)
    for _ in range(150):
        content = bytearray(whole)
        content[changes.integers(len(whole))] = changes.integers(256)
        damaged.write_bytes(bytes(content))
        refused += _is_refused(damaged)
    assert refused > 200


def _is_refused(path):
    try:
        kc.load(path)
    except DataFileError:
        return True
    return False


def test_files_of_another_form_or_with_other_fields_are_refused(tmp_path):
    path = K.save(tmp_path / "K.npz")
    with pytest.raises(DataFileError, match="form 99"):
        kc.load(_changed(path, lambda content: content.update(form=99)))
    with pytest.raises(DataFileError, match="version"):
        kc.load(_changed(path, lambda content: content["result"]["fields"].update(more=1)))
    with pytest.raises(DataFileError):
        kc.load(
            _changed(path, lambda content: content["result"]["fields"]["arrays"]["items"]["theta"].update(name="x"))
        )


def test_nothing_is_pickled(made, tmp_path):
    path = made("training").save(tmp_path / "a.npz")
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)


def test_tables_and_datasets_name_the_extra_that_is_missing(monkeypatch):
    for module, method in (("pandas", K.to_dataframe), ("xarray", K.to_xarray)):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(kc.errors.MissingExtraError, match=module):
            method()


def test_a_read_trajectory_is_drawn_as_before(made, tmp_path):
    matplotlib = pytest.importorskip("matplotlib.figure")
    back = kc.load(made("hessian_moments").save(tmp_path / "t.npz"))
    lines = [
        [line.get_ydata().tolist() for line in plot_moments(one, matplotlib.Figure().subplots()).get_lines()]
        for one in (back, made("hessian_moments"))
    ]
    assert lines[0] == lines[1]
    assert lines[0]
