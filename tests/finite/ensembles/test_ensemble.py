"""Ensembles: statistics, seeds, workers, resuming."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from stand_ins import SOFTPLUS, TANH, Architecture

from kernelcalc.arrays import digest
from kernelcalc.errors import DataFileError, InputError, KernelcalcError, OutputFileError, ShapeError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.ensembles.ensemble import MOMENT_FIELDS, FiniteMoments, moments_through_training, train_ensemble
from kernelcalc.finite.ensembles.records import EigenvalueRecord, MomentRecord
from kernelcalc.finite.ensembles.trials import run_trials, trial_seeds

NET = Architecture(activations=(SOFTPLUS,) * 2, sigma_w=1.0)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((10, 4)), RNG.standard_normal(10)
TIMES = (0.0, 1.0, 4.0)


def run(**options):
    return moments_through_training(NET, X, Y, TIMES, **({"width": 12, "trials": 4, "rng": 3} | options))


def draw(seed):
    """A cheap trial."""
    return {"value": np.random.default_rng(seed).standard_normal(3), "number": 1.0}


@pytest.fixture(scope="module")
def result():
    return run()


def test_statistics_are_those_of_single_networks(result):
    fin = FiniteNetwork.random(NET, 12, 4, np.random.default_rng(np.random.SeedSequence(3).spawn(2)[1].spawn(2)[0]))
    moments = [m for t, m in _direct(fin)]
    for name in MOMENT_FIELDS:
        expected = np.stack([np.asarray(getattr(m, name)) for m in moments], axis=-1)
        np.testing.assert_allclose(result.samples[name][1], expected, rtol=1e-10, atol=1e-14)
    assert result.samples["trace_h"].shape == (4, 4, 3)
    np.testing.assert_allclose(result.trace_h, result.samples["trace_h"].mean(axis=0))
    np.testing.assert_allclose(result.trace_h_std, np.std(result.samples["trace_h"], axis=0, ddof=1))
    np.testing.assert_allclose(result.trace_s2_std, np.std(result.samples["trace_s2"], axis=0, ddof=1))
    assert (result.width, result.trials) == (12, 4)
    assert np.all(np.diff(result.loss) < 0)


def _direct(fin):
    return fin.train(X, Y, TIMES, tol=1e-4, record=lambda t, now: (t, now.hessian_moments(X, Y))).records


def test_every_array_has_its_axes(result):
    """As long as what the axes are numbered by; all arrays but the times and the trials' own."""
    at = result.coordinates()
    assert (at["k"].tolist(), at["time"].tolist(), len(at)) == ([1, 2, 3, 4], list(TIMES), 2)
    arrays = {name for name, value in vars(result).items() if isinstance(value, np.ndarray)} - {"times"}
    assert arrays == set(FiniteMoments.DIMENSIONS)
    for name, axes in FiniteMoments.DIMENSIONS.items():
        assert getattr(result, name).shape == tuple(len(at[axis]) for axis in axes), name


def test_one_trial_has_no_spread(result):
    one = run(trials=1)
    np.testing.assert_allclose(one.trace_h, result.samples["trace_h"][0], rtol=1e-12)
    assert np.isnan(one.trace_h_std).all()


def test_workers_do_not_change_the_numbers(result):
    two = run(workers=2)
    for name in MOMENT_FIELDS:
        np.testing.assert_allclose(two.samples[name], result.samples[name], rtol=1e-10, atol=1e-14)


def test_an_executor_does_not_change_the_numbers(tmp_path, result):
    with ThreadPoolExecutor(2) as executor:
        there = run(executor=executor, path=tmp_path / "trials.jsonl")
        assert executor.submit(int).result() == 0
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 5
    for name in MOMENT_FIELDS:
        np.testing.assert_allclose(there.samples[name], result.samples[name], rtol=1e-10, atol=1e-14)


def test_trials_side_by_side_are_those_of_each_network_alone():
    """Wide networks at few points take the steps of their flows side by side, narrow ones alone."""

    def record(t, network):
        return {"theta": network.parameters}

    points, targets = X[:3], Y[:3]
    for width, trials in ((40, 17), (12, 2)):
        found = train_ensemble(NET, points, targets, TIMES, width=width, trials=trials, rng=3, record=record)
        for number, seed in enumerate(trial_seeds(3, trials)):
            fin = FiniteNetwork.random(NET, width, 4, np.random.default_rng(seed.spawn(3)[0]))
            alone = fin.train(points, targets, TIMES, tol=1e-4, record=lambda t, now: now.parameters)
            np.testing.assert_allclose(found["theta"][number], alone.records, rtol=0, atol=1e-9)
            np.testing.assert_allclose(found["loss"][number], alone.loss, rtol=1e-8)
            np.testing.assert_array_equal(found["times"][number], TIMES)


# f = w x without bias: C = w² mean(x²)/2, the Hessian is mean(x²)
ONE = Architecture(activations=(), sigma_w=1.0, beta=0.0)
ONE_X, ONE_Y = np.array([[1.0], [2.0]]), np.zeros(2)


def seen(t, network):
    """A hook: all parameters, and a number."""
    return {"theta": network.parameters, "weight": network.weights[0][0, 0], "t": t}


def train_one(times, **options):
    return train_ensemble(ONE, ONE_X, ONE_Y, times, **({"width": (), "trials": 20, "record": seen} | options))


def test_gradient_descent_of_one_weight():
    found = train_one([0.0, 0.11, 0.3], method="gd", step=0.1)
    assert found["theta"].shape == (20, 3, 2)
    assert found["weight"].shape == found["loss"].shape == (20, 3)
    np.testing.assert_allclose(found["times"], np.tile([0.0, 0.1, 0.3], (20, 1)))
    np.testing.assert_array_equal(found["t"], found["times"])
    np.testing.assert_allclose(found["weight"], found["weight"][:, :1] * (1 - 0.1 * 2.5) ** np.array([0, 1, 3]))
    np.testing.assert_allclose(found["loss"], found["weight"] ** 2 * 2.5 / 2)


def test_without_a_step_it_is_that_of_the_hessian():
    found = train_one([4.0], method="gd")
    # 1/λ = 0.4: ten steps straight to the minimum
    np.testing.assert_allclose(found["times"], 4.0, rtol=1e-12)
    np.testing.assert_allclose(found["weight"], 0, atol=1e-15)


def test_the_flow_of_one_weight():
    found = train_one([0.0, 1.0], tol=1e-9)
    np.testing.assert_allclose(found["weight"][:, 1], found["weight"][:, 0] * np.exp(-2.5), atol=1e-7)


def test_sgd_takes_every_trial_its_own_order():
    found = train_one([0.0, 0.1, 0.2, 0.3, 0.4], method="sgd", step=0.1, batch_size=1)
    ratio = (found["weight"][:, 1:] / found["weight"][:, :-1]).round(12)
    # a step on one point is a factor of 1 - 0.1 x²; an epoch has both
    assert {tuple(row) for row in ratio.reshape(-1, 2)} == {(0.9, 0.6), (0.6, 0.9)}
    assert len({tuple(row) for row in ratio}) == 4
    # not that of the other trials, nor of the number of trials or processes
    for options in ({"workers": 2, "trials": 5}, {"trials": 5}):
        again = train_one([0.0, 0.1, 0.2, 0.3, 0.4], method="sgd", step=0.1, batch_size=1, **options)
        np.testing.assert_allclose(again["weight"], found["weight"][:5], rtol=1e-12)


@pytest.mark.parametrize("method", ["flow", "gd", "sgd"])
def test_moments_by_every_method(method):
    options = {"width": (), "trials": 3, "method": method, "step": 0.1, "batch_size": 1, "kmax": 3}
    found = moments_through_training(ONE, ONE_X, ONE_Y, [0.0, 0.2], **options)
    assert found.samples["trace_h"].shape == (3, 3, 2)
    np.testing.assert_allclose(found.trace_h, np.tile([[2.5], [2.5**2], [2.5**3]], 2))
    np.testing.assert_array_equal(found.times, [0.0, 0.2])
    assert found.width == ()


def test_a_width_for_every_layer():
    def sizes(t, network):
        return {"sizes": network.sizes}

    found = train_ensemble(NET, X, Y, [0.0], width=[7, 5], trials=2, record=sizes)
    np.testing.assert_array_equal(found["sizes"], [[[4, 7, 5, 1]]] * 2)
    assert run(width=(7, 5), trials=2).width == (7, 5)


def test_eigenvalues_through_training():
    def dense(t, network):
        return {"dense": np.linalg.eigvalsh(network.hessian(X, Y))[::-1][:3]}

    options = {"width": 5, "trials": 2, "rng": 1}
    expected = train_ensemble(NET, X, Y, TIMES, record=dense, **options)["dense"]
    found = train_ensemble(NET, X, Y, TIMES, record=EigenvalueRecord(X=X, Y=Y, count=3), workers=2, **options)
    np.testing.assert_allclose(found["eigenvalues"], expected, rtol=1e-9)


def test_every_trial_has_its_own_probes(result):
    record = MomentRecord(X=X, Y=Y)
    assert record.for_trial(np.random.SeedSequence(0)).rng != record.for_trial(np.random.SeedSequence(1)).rng
    found = train_ensemble(NET, X, Y, TIMES, width=12, trials=4, rng=3, record=record)
    for name in MOMENT_FIELDS:
        np.testing.assert_array_equal(np.moveaxis(found[name], 1, -1), result.samples[name])


class Own:
    """A hook that is another one for each trial."""

    def for_trial(self, seed):
        return lambda t, network: {"state": float(seed.generate_state(1)[0])}

    def __call__(self, t, network):
        raise AssertionError


def test_a_trial_has_the_hook_of_its_seed():
    found = train_one([0.0, 1.0], trials=3, rng=3, record=Own())["state"]
    known = [seed.spawn(3)[1].generate_state(1)[0] for seed in trial_seeds(3, 3)]
    np.testing.assert_array_equal(found, np.tile(np.array(known, dtype=float)[:, None], 2))


def test_an_ensemble_resumes(tmp_path):
    path = tmp_path / "trials.jsonl"
    options = {"method": "gd", "step": 0.1, "path": path, "settings": {"version": np.int64(1)}}
    train_one([0.1], trials=2, **options)
    expected = train_one([0.1], trials=4, method="gd", step=0.1)
    found = train_one([0.1], trials=4, **options)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert len(path.read_text().splitlines()) == 5
    # what the method does not use does not matter
    train_one([0.1], trials=4, **options | {"tol": 1e-3, "batch_size": 3})
    changes = {
        "training": ({"step": 0.2}, {"method": "flow"}, {"method": "sgd"}),
        "record": ({"settings": {"version": 2}}, {"record": MomentRecord(X=ONE_X, Y=ONE_Y)}),
        "dtype": ({"dtype": np.float32},),
    }
    for name, some in changes.items():
        for change in some:
            with pytest.raises(DataFileError, match=f"others \\({name}"):
                train_one([0.1], trials=4, **options | change)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "flo"},
        {"width": 2.5},
        {"width": (3, 3)},
        {"record": None},
        {"loss": "mes"},
        {"step": np.nan},
        {"dtype": int},
        {"X": np.ones(3)},
        {"Y": np.ones(3)},
        {"Y": [np.nan, 1.0]},
        {"times": [1.0, 0.0]},
    ],
    ids=str,
)
def test_what_cannot_be_run_leaves_no_file(tmp_path, change):
    arguments = {"X": ONE_X, "Y": ONE_Y, "times": [0.0], "width": (), "trials": 1, "record": seen} | change
    with pytest.raises(KernelcalcError):
        train_ensemble(ONE, **arguments, path=tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_refusals_say_what_came():
    for change, error, text in (
        ({"record": 3.5}, InputError, r"record\(t, network\), a callable, got 3\.5"),
        ({"X": np.ones(3)}, ShapeError, r"points of shape \(N, n_in\), got shape \(3,\); one row a point"),
        ({"X": np.ones((0, 2))}, ShapeError, r"points of shape \(N, n_in\), got shape \(0, 2\)"),
    ):
        with pytest.raises(error, match=text):
            train_ensemble(
                ONE, **{"X": ONE_X, "Y": ONE_Y, "times": [0.0], "width": (), "trials": 1, "record": seen} | change
            )
    with pytest.raises(InputError, match=r"samples, arrays by the names trace_i, trace_h, .*, loss, got dict"):
        FiniteMoments.from_samples(np.zeros(1), 3, {"loss": np.zeros((2, 1))})
    for call in (moments_through_training, lambda *args, **more: train_ensemble(*args, record=seen, **more)):
        with pytest.raises(InputError, match=r"^expected X: real numbers, got dtype complex128"):
            call(ONE, 1j * ONE_X, ONE_Y, [0.0], width=(), trials=1)
    given = {name: np.zeros((2, 1)) for name in MOMENT_FIELDS}
    with pytest.raises(InputError, match=r"^expected times: real numbers, got dtype complex128"):
        FiniteMoments.from_samples(np.zeros(1) * 1j, 3, given)


class Hook:
    def __call__(self, t, network):
        return {"value": 1.0}


class Other(Hook):
    pass


def also(t, network):
    return seen(t, network)


@pytest.mark.parametrize("hooks", [(seen, also), (Hook(), Other())], ids=["functions", "objects"])
def test_hooks_are_known_by_name(tmp_path, hooks):
    ours, theirs = hooks
    train_one([0.0], trials=1, record=ours, path=tmp_path / "file")
    train_one([0.0], trials=1, record=ours, path=tmp_path / "file")
    with pytest.raises(DataFileError, match=r"others \(record\)"):
        train_one([0.0], trials=1, record=theirs, path=tmp_path / "file")


def test_the_number_type_is_that_of_the_networks():
    for dtype, size in ((np.float32, 4), (np.float64, 8)):
        found = train_one([0.0], trials=2, dtype=dtype, record=lambda t, now: {"size": now(ONE_X).itemsize})
        np.testing.assert_array_equal(found["size"], size)


def test_what_a_file_says_of_its_run(tmp_path):
    """Every argument that moments depend on, in the header."""
    labels = np.where(Y > 0, 1, -1)
    options = {"kmax": 2, "probes": 3, "deflation": 5, "unit_probes": 2, "whole_probes": 4, "tol": 1e-3}
    more = {"width": (3, 2), "trials": 1, "loss": "binary", "dtype": np.float32, "path": tmp_path / "file"}
    moments_through_training(NET, X, labels, [0.0, 0.5], **options, **more, rng=7)
    header = json.loads((tmp_path / "file").read_text().splitlines()[0])
    tol = options.pop("tol")
    assert header["seed"] == "(7, (0,))"
    assert header["settings"].pop("activations") is not None
    assert header["settings"] == {
        "network": [4, 3, 2, 1, 1.0, NET.beta],
        "data": digest(X, labels),
        "times": [0.0, 0.5],
        "loss": "binary",
        "training": {"method": "flow", "tol": tol},
        "dtype": "float32",
        "record": {"name": "MomentRecord", "data": digest(X, labels), "loss": "binary", **options},
    }
    moments_through_training(
        NET, X, Y, [0.0], width=3, trials=1, method="sgd", step=0.1, batch_size=5, path=tmp_path / "2"
    )
    training = json.loads((tmp_path / "2").read_text().splitlines()[0])["settings"]["training"]
    assert training == {"method": "sgd", "step": 0.1, "batch_size": 5}


def test_times_of_steps_of_ones_own_are_their_mean():
    """Without a step each network takes its own, so that it looks at other times."""
    found = run(method="gd", trials=3)
    seen_at = found.samples["times"]
    assert len(np.unique(seen_at[:, 1])) == 3
    np.testing.assert_allclose(found.times, seen_at.mean(axis=0), rtol=1e-12)
    assert found.samples["loss"].shape == seen_at.shape == (3, 3)
    origin = found.origin
    assert (origin["seed"], origin["data"], origin["network"]) == (3, digest(X, Y), f"{NET!r}, widths 12")


def test_samples_need_no_error_of_the_probes():
    given = {name: np.arange(6.0).reshape(3, 2) for name in MOMENT_FIELDS if name != "trace_h_error"}
    found = FiniteMoments.from_samples(np.arange(2.0), 4, given)
    # 0, 2, 4 and 1, 3, 5
    for name in ("loss", "trace_i"):
        np.testing.assert_array_equal(getattr(found, name), [2.0, 3.0])
        np.testing.assert_allclose(getattr(found, f"{name}_std"), [2.0, 2.0], rtol=1e-15)
    assert (found.trials, found.width) == (3, 4)
    # arrays have no one answer to whether they are equal, and what is known stays
    assert found != FiniteMoments.from_samples(np.arange(2.0), 4, given)
    with pytest.raises(FrozenInstanceError):
        found.trials = 4


def test_hooks_return_numbers_by_name():
    for wrong in (None, 1.0, {}, {"value": "a"}):
        with pytest.raises(InputError):
            train_one([0.0], record=lambda t, network, wrong=wrong: wrong)


def test_ready_hooks_are_picklable():
    for record in (MomentRecord(X=X, Y=Y, kmax=2), EigenvalueRecord(X=X, Y=Y, count=2)):
        fin = FiniteNetwork.random(Architecture(activations=(TANH,)), 5, 4)
        here, there = (one(0.0, fin) for one in (record, pickle.loads(pickle.dumps(record))))
        for name in here:
            np.testing.assert_array_equal(here[name], there[name])


def test_a_killed_run_resumes(tmp_path, result):
    path = tmp_path / "trials.jsonl"
    run(trials=3, path=path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(line).get("trial") for line in lines] == [None, 0, 1, 2]
    # killed while writing the last line
    path.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    resumed = run(path=path)
    assert sorted(json.loads(line)["trial"] for line in path.read_bytes().splitlines()[1:]) == [0, 1, 2, 3]
    for name in MOMENT_FIELDS:
        np.testing.assert_array_equal(resumed.samples[name], result.samples[name])


def test_finished_trials_are_not_run_again(tmp_path):
    path, seen = tmp_path / "trials.jsonl", []

    def counted(seed):
        seen.append(seed.spawn_key)
        return draw(seed)

    run_trials(counted, 3, path=path)
    again = run_trials(counted, 5, path=path)
    assert seen == [(0,), (1,), (2,), (3,), (4,)]
    np.testing.assert_array_equal(again["value"], run_trials(draw, 5)["value"])
    assert again["number"].shape == (5,)


def test_an_interruption_loses_only_the_running_trial(tmp_path):
    path, calls = tmp_path / "trials.jsonl", []

    def breaks(seed):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(seed)

    with pytest.raises(KeyboardInterrupt):
        run_trials(breaks, 4, path=path)
    assert len(path.read_bytes().splitlines()) == 3
    np.testing.assert_array_equal(run_trials(draw, 4, path=path)["value"], run_trials(draw, 4)["value"])


def test_other_settings_are_refused(tmp_path):
    path = tmp_path / "trials.jsonl"
    run(trials=1, path=path)
    with pytest.raises(DataFileError, match="network"):
        run(trials=1, path=path, width=13)
    with pytest.raises(DataFileError, match="seed"):
        run(trials=1, path=path, rng=4)
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(DataFileError, match="JSON-lines"):
        run(trials=1, path=tmp_path / "other")
    assert (tmp_path / "other").read_text() == "hello\n"
    with pytest.raises(OutputFileError, match="missing"):
        run(trials=1, path=tmp_path / "missing" / "file")


def test_seeds():
    few, many = trial_seeds(5, 2), trial_seeds(5, 4)
    assert [s.spawn_key for s in few] == [s.spawn_key for s in many[:2]]
    root = np.random.SeedSequence(5)
    assert trial_seeds(root, 2)[1].spawn_key == trial_seeds(root, 2)[1].spawn_key == (1,)
    assert len(trial_seeds(np.random.default_rng(5), 3)) == 3


def test_bad_numbers():
    with pytest.raises(InputError, match="trial"):
        run(trials=0)
    with pytest.raises(InputError, match="worker"):
        run(workers=0)


def test_progress(capsys):
    for call in (
        lambda: run_trials(draw, 2, progress=True),
        lambda: train_one([0.0], trials=2, progress=True),
        lambda: run(trials=2, progress=True),
    ):
        call()
        shown = capsys.readouterr().err
        assert shown.startswith("\rfinite networks: ")
        assert "2/2" in shown
