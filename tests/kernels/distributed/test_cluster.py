"""A real cluster of two worker processes, and what happens when one is killed while it computes."""

import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.errors import InputError, MissingExtraError
from kernelcalc.finite.ensembles.trials import run_trials
from kernelcalc.kernels import distributed as kd
from kernelcalc.kernels.distributed import engine

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
pytest.importorskip("zarr")

X = np.random.default_rng(0).standard_normal((60, 5))
NET = kc.MLP("erf", depth=3)
NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")
PATIENCE = "120s"


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as local:
        yield local


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as one:
        yield one


class Watched(distributed.WorkerPlugin):
    """Writes down every pair of blocks computed; one worker stops in the middle of its third and waits for its end."""

    name = "watched"

    def __init__(self, folder):
        self.folder = folder

    def setup(self, worker):
        from kernelcalc.kernels.distributed import blocks, store

        def watched(net, x, x2, *options):
            found = blocks.kernel_block(net, x, x2, *options)
            pair = f"{x[0, 0]!r} {None if x2 is None else x2[0, 0]!r} {os.getpid()}\n"
            log = Path(self.folder, "computed")
            with log.open("a") as file:
                file.write(pair)
            mine = [line for line in log.read_text().splitlines() if line.endswith(f" {os.getpid()}")]
            if len(mine) == 3 and self._first():
                distributed.Event("victim waits").set()
                time.sleep(3600)
            return found

        store.kernel_block = watched

    def _first(self):
        try:
            with Path(self.folder, "victim").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return False
        return True


def test_a_killed_worker_loses_nothing(client, tmp_path):
    lazy = NET.kernels(X, engine="dask", chunks=10)
    expected = lazy.compute(scheduler="sync")
    client.register_plugin(Watched(str(tmp_path)))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lazy.to_zarr, tmp_path / "K.zarr", client=client)
        assert distributed.Event("victim waits", client=client).wait(PATIENCE)
        victim = int((tmp_path / "victim").read_text())
        os.kill(victim, signal.SIGKILL)
        stored = future.result(timeout=120)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(stored, name), getattr(expected, name))
    lines = (tmp_path / "computed").read_text().splitlines()
    computed = [line.rsplit(" ", 1)[0] for line in lines]
    # 21 pairs; the one in flight is computed twice, though the finished ones of the dead worker were forgotten with it
    assert len(computed) == 22
    assert len(set(computed)) == 21
    assert sum(line.endswith(f" {victim}") for line in lines) == 3
    # a run to the same folder finds everything done
    lazy.to_zarr(tmp_path / "K.zarr", client=client)
    assert len((tmp_path / "computed").read_text().splitlines()) == 22


def test_lazy_arrays_and_eigenvalues_on_the_cluster(cluster):
    """With a current client dask sends everything there by itself."""
    with distributed.Client(cluster) as current:
        assert engine.active_client() is current
        lazy = NET.kernels(da.from_array(X, chunks=(25, 5)), engine="dask", chunks=20)
        expected = NET.kernels(X)
        found = lazy.compute()
        for name in NAMES:
            right = getattr(expected, name)
            assert np.abs(getattr(found, name) - right).max() <= 1e-13 * np.abs(right).max()
        top = kd.top_eigenvalues(lazy.theta, 2)
        np.testing.assert_allclose(top.values, np.linalg.eigvalsh(expected.theta)[:-3:-1], rtol=1e-10)
    assert engine.active_client() is None


VALIDATION = {"widths": (8, 16), "trials": 6, "times": (0.0, 1.0), "rng": 3}
SMALL = (kc.MLP("tanh", depth=2), X[:3, :2], np.array([1.0, -1.0, 0.5]))


def rows(report):
    return np.array([(row.theory, *row.means, *row.errors, row.limit, row.z) for row in report.rows])


def test_ensembles_give_the_same_numbers_on_the_cluster(client, tmp_path):
    here = rows(kc.validate(*SMALL, **VALIDATION))
    path = tmp_path / "trials.jsonl"
    kc.validate(*SMALL, **VALIDATION | {"trials": 2}, path=path, client=client)
    assert len(path.read_text().splitlines()) == 3
    there = rows(kc.validate(*SMALL, **VALIDATION, path=path, engine="dask", client=client))
    assert len(path.read_text().splitlines()) == 7
    np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-12)


def test_ensembles_survive_a_killed_worker(client):
    victim = min(client.run(os.getpid).values())
    with engine.task_executor(None, client, 1) as executor:
        found = run_trials(Deadly(victim), 6, executor=executor)
    np.testing.assert_array_equal(found["value"], run_trials(Deadly(None), 6)["value"])
    client.wait_for_workers(2, timeout=120)
    assert victim not in client.run(os.getpid).values()


class Deadly:
    """A trial that kills one worker, and waits on the other until that has happened."""

    def __init__(self, victim):
        self.victim = victim

    def __call__(self, seed):
        if self.victim is not None:
            struck = distributed.Event("struck")
            if os.getpid() == self.victim:
                struck.set()
                os.kill(self.victim, signal.SIGKILL)
            assert struck.wait(PATIENCE)
        return {"value": np.random.default_rng(seed).standard_normal(3)}


def test_commands_use_a_running_cluster(cluster, tmp_path):
    np.savez(tmp_path / "x.npz", X=X, y=np.zeros(60))
    common = ["--scheduler", cluster.scheduler_address]
    out = tmp_path / "K.zarr"
    arguments = ["kernels", "-a", "erf", "--data", str(tmp_path / "x.npz"), "--engine", "dask+numba", "--chunks", "20"]
    done = CliRunner().invoke(main, [*arguments, "-o", str(out), *common])
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(kd.open_kernels(out).theta, NET.kernels(X).theta, rtol=1e-12)
    arguments = ["validate", "--depth", "2", "--widths", "8,16", "--trials", "4", "--times", "0", "--no-png"]
    done = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "v"), *common])
    assert done.exit_code in (0, 1), done.output
    assert "written:" in done.output
    assert engine.active_client() is None


def test_own_processes():
    with engine.task_executor("dask", None, 1) as executor:
        assert executor.submit(os.getpid).result() != os.getpid()
    with engine.task_executor(None, None, 1) as executor:
        assert executor is None


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks of signals")
def test_an_interrupt_is_for_the_parent_alone():
    with engine.local_client(2) as client:
        masks = client.run(lambda: signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), nanny=False)
        for worker in client.run(os.getpid).values():
            os.kill(worker, signal.SIGINT)
        assert client.submit(sum, (1, 2)).result(timeout=PATIENCE) == 3
    assert list(masks.values()) == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_what_dask_waited_for_is_not_said(caplog):
    with engine.local_client(1):
        pass
    log = logging.getLogger("asyncio")
    log.error("never retrieved", exc_info=distributed.client.AllExit())
    log.error("never retrieved", exc_info=ValueError())
    assert [type(record.exc_info[1]) for record in caplog.records if record.name == "asyncio"] == [ValueError]


def test_wrong_engine_and_missing_extra(monkeypatch):
    with pytest.raises(InputError, match='engine="dask"'):
        kc.validate(*SMALL, **VALIDATION, engine="spark")
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[distributed\]"):
        kc.validate(*SMALL, **VALIDATION, engine="dask")
