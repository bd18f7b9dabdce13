"""Kernels in Zarr folders: resumed and damaged runs, folders of other runs, the command."""

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
from kernelcalc.cli import main
from kernelcalc.errors import DataFileError, InputError, NotFiniteError, OutputFileError
from kernelcalc.kernels import distributed as kd
from kernelcalc.kernels.distributed import blocks, store

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")

RNG = np.random.default_rng(0)
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
        assert np.abs(left - right).max() <= 1e-13 * np.abs(right).max(), name


@pytest.fixture
def calls(monkeypatch):
    """First coordinates of every pair of blocks computed."""
    seen = []

    def counted(net, x, x2, *options):
        seen.append((x[0, 0], x[0, 0] if x2 is None else x2[0, 0]))
        return blocks.kernel_block(net, x, x2, *options)

    monkeypatch.setattr(store, "kernel_block", counted)
    return seen


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
    with pytest.raises(DataFileError, match="6 of 10 pairs of blocks missing; the same to_zarr call"):
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


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [Path.unlink, cut])
@pytest.mark.parametrize(
    ("chunk", "pairs"),
    [("theta/c/1/2", 1), pytest.param("theta/c/2/1", 1, marks=pytest.mark.long), ("done/c/1/2", 1), ("xi/c/3", 4)],
)
def test_lost_files_are_noticed_and_written_again(tmp_path, calls, damage, chunk, pairs):
    path = tmp_path / "K.zarr"
    kd.write_kernels(NET, X, path, chunks=16)
    expected = {name: zarr.open_array(path / name, mode="r")[:] for name in NAMES}
    # a folder of the files of a whole row is damaged file by file
    for file in sorted((path / chunk).iterdir()) if (path / chunk).is_dir() else [path / chunk]:
        damage(file)
    with pytest.raises(DataFileError, match=f"{pairs} of 10 pairs of blocks missing.*the same to_zarr call"):
        kd.open_kernels(path)
    calls.clear()
    stored = kd.write_kernels(NET, X, path, chunks=16)
    assert len(calls) == pairs
    for name in NAMES:
        np.testing.assert_array_equal(getattr(stored, name), expected[name])
    calls.clear()
    kd.write_kernels(NET, X, path, chunks=16)
    assert calls == []


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_file_damaged_after_opening_is_named(tmp_path, damage):
    stored = kd.write_kernels(NET, X, tmp_path / "K.zarr", chunks=16)
    damage(tmp_path / "K.zarr" / "theta" / "c" / "1" / "2")
    for use in (
        lambda: stored.theta.compute(),
        lambda: kd.top_eigenvalues(stored.theta),
        lambda: stored.theta[20:, 33:].sum().compute(),
    ):
        with pytest.raises(DataFileError, match=r"a block of theta in .*K\.zarr"):
            use()
    np.testing.assert_array_equal(stored.theta[:16], NET.kernels(X, engine="dask", chunks=16).theta[:16])


def test_a_lost_array_is_named(tmp_path):
    kd.write_kernels(NET, X, tmp_path / "K.zarr", chunks=16, only="theta")
    (tmp_path / "K.zarr" / "theta" / "zarr.json").unlink()
    for attempt in (
        lambda: kd.open_kernels(tmp_path / "K.zarr"),
        lambda: kd.write_kernels(NET, X, tmp_path / "K.zarr", chunks=16, only="theta"),
    ):
        with pytest.raises(DataFileError, match="array theta"):
            attempt()


KILLED = """
import os, signal, sys
import dask, numpy as np, kernelcalc as kc
from kernelcalc import distributed
from kernelcalc.kernels.distributed import store
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
