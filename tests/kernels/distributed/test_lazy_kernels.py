"""Gram matrices as dask arrays: the numbers of the arrays in memory, what is computed when, refusals."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import (
    InputError,
    MissingExtraError,
    NotFiniteError,
    ShapeError,
    SmoothnessError,
    UnknownNameError,
)
from kernelcalc.gaussian.floats import sums as mehler
from kernelcalc.kernels import distributed as kd
from kernelcalc.kernels.distributed import blocks

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")

RNG = np.random.default_rng(0)
# Different lengths, so that Φ and Λ are not symmetric; equal points within a block and across blocks.
X = RNG.standard_normal((50, 4))
X[7] = X[3]
X[40] = X[3]
X2 = np.vstack([RNG.standard_normal((20, 4)), X[3:4]])
NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")
NET = kc.MLP("erf", depth=3)


@pytest.fixture(scope="module")
def in_memory():
    return NET.kernels(X)


def assert_close(found, expected, names=NAMES):
    for name in names:
        left, right = np.asarray(getattr(found, name)), getattr(expected, name)
        assert left.shape == right.shape
        assert np.abs(left - right).max() <= 1e-13 * np.abs(right).max(), name


@pytest.mark.parametrize(
    ("activation", "chunks"), [("tanh", 20), ("softplus", 50), ("erf", 16), ("smooth_relu", 64), ("x", 16)]
)
def test_same_numbers_as_in_memory(activation, chunks):
    net = kc.MLP(activation, depth=3)
    lazy = net.kernels(X, engine="dask", chunks=chunks)
    assert all(isinstance(getattr(lazy, name), da.Array) for name in NAMES)
    assert_close(lazy.compute(scheduler="sync"), net.kernels(X))


@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_points_of_one_norm(activation):
    """Large enough blocks of them are polynomials in the correlation."""
    x = RNG.standard_normal((300, 6))
    x *= np.sqrt(6) / np.linalg.norm(x, axis=1, keepdims=True)
    net = kc.MLP(activation, depth=3)
    found = net.kernels(x, engine="dask", chunks=200).compute(scheduler="sync")
    assert_close(found, net.kernels(x))
    # of a stationary kernel, here on a sphere, Φ is symmetric
    np.testing.assert_allclose(found.phi, found.phi.T, rtol=1e-12, atol=1e-14)


def test_two_data_sets():
    net = kc.MLP(["tanh", "erf"], depth=3, sigma_w=1.3)
    lazy = net.kernels(X, X2, engine="dask", chunks=16)
    assert lazy.shape == (50, 21)
    assert_close(lazy.compute(scheduler="sync"), net.kernels(X, X2))


def test_symmetry_is_exact_and_equal_points_have_equal_numbers():
    found = kc.MLP("tanh", depth=3).kernels(X, engine="dask", chunks=16).compute(scheduler="sync")
    for name in NAMES:
        matrix = getattr(found, name)
        if name not in ("phi", "lam"):
            np.testing.assert_array_equal(matrix, matrix.T)
        # 3 and 7 share a block; 40 is in another, whose series are its own
        same = matrix[np.ix_([3, 7, 40], [3, 7, 40])]
        np.testing.assert_array_equal(same[:2, :2], same[0, 0])
        # the order of a BLAS product's sums may depend on a row's place
        np.testing.assert_allclose(matrix[3], matrix[7], rtol=0, atol=4e-15 * np.abs(matrix).max())
        np.testing.assert_allclose(same, same[0, 0], rtol=4e-15)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(scheduler, in_memory):
    assert_close(NET.kernels(X, engine="dask", chunks=32).compute(scheduler=scheduler), in_memory)


@pytest.fixture
def asked(monkeypatch):
    """Names of the kernels computed, for every pair of blocks."""
    seen = []
    honest = blocks.kernel_block

    def counted(*arguments):
        seen.append(arguments[3])
        return honest(*arguments)

    monkeypatch.setattr(blocks, "kernel_block", counted)
    return seen


def test_one_task_computes_all_kernels_of_a_pair_and_its_mirror_image(asked, in_memory):
    assert_close(NET.kernels(X, engine="dask", chunks=10).compute(scheduler="sync"), in_memory)
    assert asked == [NAMES] * 15


def test_an_attribute_computes_nothing_beside_itself(asked, in_memory):
    lazy = NET.kernels(X, engine="dask", chunks=25)
    for name in NAMES:
        asked.clear()
        found = getattr(lazy, name).compute(scheduler="sync")
        assert asked == [(name,)] * 3
        right = getattr(in_memory, name)
        assert np.abs(found - right).max() <= 1e-13 * np.abs(right).max(), name
    asked.clear()
    with dask.config.set(scheduler="sync"):
        passes = kd.top_eigenvalues(lazy.theta, 3).passes
    assert asked == [("theta",)] * 3 * passes


def test_some_kernels_together(asked, in_memory):
    lazy = NET.kernels(X, engine="dask", chunks=25)
    arrays = lazy.together("phi", "sigma")
    found = dask.compute(arrays, scheduler="sync")[0]
    some = lazy.compute("phi", "sigma", scheduler="sync")
    assert asked == [("phi", "sigma")] * 6
    assert some.available == tuple(found) == ("phi", "sigma")
    for name, array in found.items():
        np.testing.assert_array_equal(array, getattr(some, name))
    assert_close(some, in_memory, ("phi", "sigma"))
    asked.clear()
    with dask.config.set(scheduler="sync"):
        kd.initial_moments(lazy, np.ones(50))
    assert asked == [("sigma", "theta", "phi", "upsilon", "xi")] * 3
    with pytest.raises(UnknownNameError, match="theta"):
        lazy.together("thta")
    with pytest.raises(InputError, match="add it to only="):
        NET.kernels(X, engine="dask", only="theta").compute("xi")
    assert tuple(NET.kernels(X, X2, engine="dask").together()) == NAMES
    assert repr(lazy) == repr(NET.kernels(X, engine="dask", chunks=50))


@pytest.mark.parametrize("rows", [40, 400])
def test_both_mirror_images_of_a_block(rows):
    """Whether the fold over the layers carried them or a second pass was needed."""
    x = RNG.standard_normal((rows, 3))
    found = blocks.kernel_block(NET, x[: rows // 2], x[rows // 2 :], NAMES, True)
    whole = NET.kernels(x)
    for name in ("phi", "lam"):
        right = getattr(whole, name)[rows // 2 :, : rows // 2].T
        assert np.abs(found[f"{name}_t"] - right).max() <= 1e-13 * np.abs(right).max()


def test_only_what_is_asked_for():
    lazy = NET.kernels(X, engine="dask", chunks=16, only=("theta", "phi"))
    assert lazy.available == ("theta", "phi")
    with pytest.raises(InputError, match="add it to only="):
        _ = lazy.xi
    relu = kc.MLP("relu", depth=2).kernels(X, engine="dask", chunks=16)
    assert relu.available == ("sigma", "theta")
    with pytest.raises(SmoothnessError, match="relu"):
        _ = relu.lam
    assert_close(relu.compute(scheduler="sync"), kc.MLP("relu", depth=2).kernels(X), ("sigma", "theta"))


def test_points_from_dask_and_zarr(tmp_path, in_memory):
    stored = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(13, 2))
    for points in (da.from_array(X, chunks=(11, 3)), stored):
        assert_close(NET.kernels(points, engine="dask", chunks=16).compute(scheduler="sync"), in_memory)
    whole = da.from_array(np.arange(8).reshape(4, 2), chunks=2)
    assert_close(
        NET.kernels(whole, engine="dask", chunks=3).compute(scheduler="sync"),
        NET.kernels(np.arange(8.0).reshape(4, 2)),
    )


@pytest.mark.parametrize(
    ("points", "options", "error", "message"),
    [
        (X, {"engine": "spark"}, InputError, "'numba', 'dask', 'dask\\+numba'"),
        (X, {"engine": "dask+numba", "dps": 30}, InputError, "dps"),
        (X, {"chunks": 0}, InputError, "chunks"),
        (X, {"chunks": 2.5}, InputError, "chunks"),
        (X, {"chunks": True}, InputError, "chunks"),
        (X, {"chunks": "rubbish"}, InputError, "chunks.*-1 .one block. or .auto"),
        (X, {"chunks": "rubbish", "engine": None}, InputError, "chunks.*'rubbish'"),
        (X, {"chunks": -2, "engine": "numba"}, InputError, "chunks"),
        (X, {"chunks": (16, 16, 16)}, InputError, "chunks"),
        (X, {"chunks": ((25, 25), (25, 25))}, InputError, "chunks"),
        (X, {"chunks": ()}, InputError, "chunks"),
        (X, {"chunks": (16, 20)}, InputError, "same chunks for rows and columns"),
        (X, {"dps": 30}, InputError, "dps"),
        (X, {"certified": True}, InputError, "certified"),
        (X, {"only": "thta"}, UnknownNameError, "theta"),
        (X, {"X2": X[:, :2]}, ShapeError, "4 inputs"),
        (X[0], {}, ShapeError, "X of shape"),
        (da.zeros(3), {}, ShapeError, "X of shape"),
        (da.zeros((3, 2), dtype=complex), {}, ShapeError, "complex"),
        (np.full((2, 2), np.nan), {}, NotFiniteError, "row 0"),
    ],
)
def test_wrong_input(points, options, error, message):
    with pytest.raises(error, match=message):
        NET.kernels(points, **{"engine": "dask"} | options)


def test_without_the_extra(monkeypatch):
    for name in ("dask", "dask.array"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[distributed\]"):
        NET.kernels(X, engine="dask")


def test_compiled_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[fast\]"):
        NET.kernels(X, engine="dask+numba")


def test_compiled_sums_on_the_workers(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    seen = []
    honest = mehler.compiled_sums()
    block = lambda *arrays: (seen.append(len(arrays[3])), honest.block(*arrays))  # noqa: E731
    monkeypatch.setattr(mehler, "compiled_sums", lambda: honest._replace(block=block))
    net = kc.MLP("tanh", depth=3)
    expected = net.kernels(X)
    assert seen == []
    lazy = net.kernels(X, engine="dask+numba", chunks=25)
    assert_close(lazy.compute(scheduler="sync"), expected)
    assert seen
    seen.clear()
    assert_close(kd.write_kernels(net, X, tmp_path / "K.zarr", engine="dask+numba", chunks=25), expected)
    assert seen
    with pytest.raises(InputError, match="dask"):
        kd.write_kernels(net, X, tmp_path / "K.zarr", engine="numba")


@pytest.mark.parametrize(
    ("chunks", "sides"),
    [
        (np.int64(16), (16, 16)),
        ((16,), (16, 16)),
        ([16, 7], (16, 7)),
        (-1, (50, 21)),
        ((16, -1), (16, 21)),
        ("auto", (50, 21)),
    ],
)
def test_chunks_as_dask_users_write_them(tmp_path, chunks, sides):
    lazy = NET.kernels(X, X2, engine="dask", chunks=chunks, only="theta")
    assert lazy.theta.chunksize == sides
    stored = kd.write_kernels(NET, X, tmp_path / "K.zarr", X2, chunks=chunks, only="theta")
    assert stored.theta.chunksize == sides
    assert_close(stored, NET.kernels(X, X2), ("theta",))


def test_optional_packages_are_only_imported_through_require():
    for path in Path(kd.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"dask", "distributed", "zarr"}, path


def test_layers_are_refused():
    with pytest.raises(InputError, match="layers"):
        _ = NET.kernels(X, engine="dask", chunks=16).layers
