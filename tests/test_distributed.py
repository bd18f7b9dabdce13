"""Gram matrices as dask arrays and in Zarr folders: the numbers of the arrays in memory, resumed runs, refusals."""

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import kernelcalc as kc
from kernelcalc import distributed as kd
from kernelcalc.cli import main
from kernelcalc.distributed import blocks, store
from kernelcalc.errors import (
    DataFileError,
    InputError,
    MissingExtraError,
    NotFiniteError,
    OutputFileError,
    ShapeError,
    SmoothnessError,
    UnknownNameError,
)

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
        np.testing.assert_array_equal(matrix[3], matrix[7])
        np.testing.assert_allclose(same, same[0, 0], rtol=4e-15)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(scheduler, in_memory):
    assert_close(NET.kernels(X, engine="dask", chunks=32).compute(scheduler=scheduler), in_memory)


@pytest.fixture
def calls(monkeypatch):
    """First coordinates of every pair of blocks computed."""
    seen = []

    def counted(net, x, x2, names, both=False):
        seen.append((x[0, 0], x[0, 0] if x2 is None else x2[0, 0]))
        return blocks.kernel_block(net, x, x2, names, both)

    monkeypatch.setattr(store, "kernel_block", counted)
    return seen


def test_one_task_computes_all_kernels_of_a_pair_and_its_mirror_image(monkeypatch, in_memory):
    seen = []
    honest = blocks.kernel_block

    def counted(*arguments):
        seen.append(arguments[3])
        return honest(*arguments)

    monkeypatch.setattr(blocks, "kernel_block", counted)
    assert_close(NET.kernels(X, engine="dask", chunks=10).compute(scheduler="sync"), in_memory)
    assert seen == [NAMES] * 15


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
        (X, {"engine": "spark"}, InputError, "'numba', 'dask'"),
        (X, {"chunks": 0}, InputError, "chunks"),
        (X, {"chunks": 2.5}, InputError, "chunks"),
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


def test_optional_packages_are_only_imported_through_require():
    for path in Path(kd.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"dask", "distributed", "zarr"}, path


def test_layers_are_refused():
    with pytest.raises(InputError, match="layers"):
        _ = NET.kernels(X, engine="dask", chunks=16).layers


# Zarr folders -------------------------------------------------------------------------------------------------------


def test_written_and_read(tmp_path, in_memory, calls):
    path = tmp_path / "sub" / "K.zarr"
    stored = kd.write_kernels(NET, X, path, chunks=16)
    assert len(calls) == len(set(calls)) == 10
    assert_close(stored, in_memory)
    computed = NET.kernels(X, engine="dask", chunks=16).compute(scheduler="sync")
    again = kd.open_kernels(path)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(again, name), getattr(computed, name))
        # any reader of Zarr sees the whole matrix
        np.testing.assert_array_equal(zarr.open_array(path / name, mode="r")[:], getattr(computed, name))
    assert [p.name for p in path.parent.iterdir()] == ["K.zarr"]
    with pytest.raises(InputError, match="still to be computed"):
        again.to_zarr(tmp_path / "copy.zarr")


def test_two_data_sets_are_written(tmp_path):
    stored = kd.write_kernels(NET, X, tmp_path / "K.zarr", X2, chunks=16, only=("lam", "xi"))
    assert stored.available == ("lam", "xi")
    assert_close(stored, NET.kernels(X, X2), ("lam", "xi"))


def test_finished_blocks_are_not_computed_again(tmp_path, calls, monkeypatch):
    path = tmp_path / "K.zarr"
    honest = store._put

    def interrupted(array, folder, pair, block):
        # in the middle of the fifth pair: Σ is written, Θ is not
        if len(calls) == 5 and array.basename == "theta":
            raise KeyboardInterrupt
        honest(array, folder, pair, block)

    lazy = NET.kernels(X, engine="dask", chunks=16)
    with monkeypatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(store, "_put", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lazy.to_zarr(path)
    first = list(calls)
    with pytest.raises(DataFileError, match="6 of 10 pairs of blocks missing"):
        kd.open_kernels(path)
    calls.clear()
    stored = lazy.to_zarr(path)
    # the one that was cut short is computed again, no other
    assert len(calls) == 6
    assert set(calls) & set(first) == {first[-1]}
    expected = lazy.compute(scheduler="sync")
    for name in NAMES:
        np.testing.assert_array_equal(getattr(stored, name), getattr(expected, name))
    calls.clear()
    lazy.to_zarr(path)
    assert calls == []


KILLED = """
import os, signal, sys
import dask, numpy as np, kernelcalc as kc
from kernelcalc import distributed
from kernelcalc.distributed import store
honest, count = store._put, 0
def deadly(array, folder, pair, block):
    global count
    count += 1
    if count == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    honest(array, folder, pair, block)
store._put = deadly
dask.config.set(scheduler="sync")
distributed.write_kernels(kc.MLP("erf", depth=3), np.load(sys.argv[1]), sys.argv[2], chunks=16)
"""


def test_a_killed_process_is_continued(tmp_path, calls):
    np.save(tmp_path / "x.npy", X)
    path = tmp_path / "K.zarr"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "x.npy", path], check=False, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    marked = int(zarr.open_group(path, mode="r")["done"][:].sum())
    # 6 arrays a pair on the diagonal, 12 beside it: the 20th write is in the second or third pair
    assert marked in (1, 2)
    stored = kd.write_kernels(NET, X, path, chunks=16)
    assert len(calls) == 10 - marked
    expected = NET.kernels(X, engine="dask", chunks=16).compute(scheduler="sync")
    for name in NAMES:
        np.testing.assert_array_equal(getattr(stored, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("net", "points", "options", "what"),
    [
        (kc.MLP("probit", depth=3), X, {}, "network"),
        (kc.MLP("erf", depth=2), X, {}, "network"),
        (kc.MLP("erf", depth=3, beta=0.1 + 1e-15), X, {}, "network"),
        (NET, X + 1e-15, {}, "points"),
        (NET, X[:40], {}, "points"),
        (NET, X, {"X2": X}, "points2"),
        (NET, X, {"only": ("theta",)}, "names"),
        (NET, X, {"chunks": 20}, "chunks"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path_factory, net, points, options, what):
    path = tmp_path_factory.getbasetemp() / "another.zarr"
    kd.write_kernels(NET, X, path, chunks=16)
    with pytest.raises(DataFileError, match=rf"another one \(.*{what}"):
        kd.write_kernels(net, points, path, **{"chunks": 16} | options)


def test_another_version_is_refused(tmp_path, monkeypatch):
    kd.write_kernels(NET, X, tmp_path / "K.zarr", chunks=32, only="sigma")
    monkeypatch.setattr(store, "__version__", "0.0.0")
    with pytest.raises(DataFileError, match=r"\(version\)"):
        kd.write_kernels(NET, X, tmp_path / "K.zarr", chunks=32, only="sigma")


def test_the_same_points_from_elsewhere_continue(tmp_path, calls):
    path = tmp_path / "K.zarr"
    kd.write_kernels(NET, X, path, chunks=16, only="sigma")
    calls.clear()
    kd.write_kernels(kc.MLP("erf", depth=3), da.from_array(X, chunks=(7, 4)), path, chunks=16, only="sigma")
    assert calls == []


def test_other_folders_are_left_alone(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    for attempt in (lambda: kd.write_kernels(NET, X, other), lambda: kd.open_kernels(other)):
        with pytest.raises(DataFileError, match="a folder of kernels"):
            attempt()
    with pytest.raises(DataFileError, match="a folder of kernels"):
        kd.open_kernels(tmp_path / "none")
    zarr.create_group(tmp_path / "group")
    with pytest.raises(DataFileError, match="a folder of kernels"):
        kd.write_kernels(NET, X, tmp_path / "group")
    assert [p.name for p in other.iterdir()] == ["notes.txt"]
    with pytest.raises(OutputFileError, match="cannot write"):
        kd.write_kernels(NET, X, "/proc/none/K.zarr")


def test_points_that_are_not_finite_are_named(tmp_path):
    bad = X.copy()
    bad[33, 1] = np.inf
    with pytest.raises(NotFiniteError, match="row 33"):
        kd.write_kernels(NET, da.from_array(bad, chunks=(9, 4)), tmp_path / "K.zarr", chunks=16)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFiniteError, match="in a block"):
        NET.kernels(da.from_array(bad, chunks=(9, 4)), engine="dask", chunks=16).compute(scheduler="sync")


def test_progress(tmp_path, capsys):
    NET.kernels(X, engine="dask", chunks=25, only="theta").to_zarr(tmp_path / "K.zarr", progress=True)
    assert "3/3" in capsys.readouterr().err


# Command line -------------------------------------------------------------------------------------------------------


def command(*arguments):
    return CliRunner().invoke(main, ["kernels", *map(str, arguments)])


def test_command(tmp_path):
    np.savez(tmp_path / "x.npz", X=X, y=np.zeros(50))
    common = ("-a", "erf", "--data", tmp_path / "x.npz")
    path = tmp_path / "K.zarr"
    done = command(*common, "--engine", "dask", "--chunks", 16, "--workers", 1, "-o", path)
    assert done.exit_code == 0, done.output
    plain = command(*common, "-o", tmp_path / "K.npz")
    assert done.output.splitlines()[:-1] == plain.output.splitlines()[:-1]
    assert_close(kd.open_kernels(path), NET.kernels(X))
    other = ("-a", "probit", "--data", tmp_path / "x.npz")
    refused = command(*other, "--engine", "dask", "--chunks", 16, "--workers", 1, "-o", path)
    assert refused.exit_code == 2
    assert "another one (network)" in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", 2), "--engine dask"),
        (("--engine", "dask", "--scheduler", "nonsense://x"), "tcp://host:8786"),
        (("--engine", "spark"), "spark"),
        (("--engine", "dask", "--chunks", 0), "0"),
    ],
)
def test_command_refuses_in_one_line(tmp_path, arguments, message):
    done = command("-o", tmp_path / "K.zarr", *arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output
    assert not os.listdir(tmp_path)


def test_record_is_readable(tmp_path):
    kd.write_kernels(NET, X, tmp_path / "K.zarr", chunks=32, only="theta")
    attributes = json.loads((tmp_path / "K.zarr" / "zarr.json").read_text())["attributes"]["kernelcalc"]
    assert attributes["network"]["depth"] == 3
    assert attributes["version"] == kc.__version__
