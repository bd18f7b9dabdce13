"""Every class of results as a user holds it: text, table, dimensions, picture, other processes, files."""

import copy
import dataclasses
import json
import math
import pickle
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError
from kernelcalc.output.moments import plot_moments
from kernelcalc.results import result
from kernelcalc.results.result import Result
from kernelcalc.results.storage import MEMBER
from kernelcalc.studies.sagun.registry import run
from tests.results.cases import ALONE, MADE, NET, RNG, K, X, Y, assert_same


def test_every_result_class_is_here(made):
    """No class of results escapes these tests, however deep in another it stands."""
    seen = {type(made(name)) for name in MADE}
    report = made("predict")
    seen |= {type(report.ntk), type(report.measured), type(report.stable)}
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


def test_origin_says_network_data_and_seed():
    found = kc.hessian_moments(K, Y, [0.0], loss="binary", samples=2, rng=7)
    assert found.origin["network"] == repr(NET)
    assert found.origin["data"] == digest(X) != digest(X + 1)
    assert found.origin["seed"] == 7
    assert kc.hessian_moments(K, Y, [0.0], samples=2, rng=np.random.default_rng(1)).origin["seed"] == "Generator"


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
