"""Ensembles: statistics, seeds, workers, resuming."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from stand_ins import SOFTPLUS, Architecture

from kernelcalc.errors import DataFileError, InputError, OutputFileError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.ensemble import FIELDS, moments_through_training
from kernelcalc.finite.trials import run_trials, trial_seeds

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
    for name in FIELDS:
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


def test_one_trial_has_no_spread(result):
    one = run(trials=1)
    np.testing.assert_allclose(one.trace_h, result.samples["trace_h"][0], rtol=1e-12)
    assert np.isnan(one.trace_h_std).all()


def test_workers_do_not_change_the_numbers(result):
    two = run(workers=2)
    for name in FIELDS:
        np.testing.assert_allclose(two.samples[name], result.samples[name], rtol=1e-10, atol=1e-14)


def test_an_executor_does_not_change_the_numbers(tmp_path, result):
    with ThreadPoolExecutor(2) as executor:
        there = run(executor=executor, path=tmp_path / "trials.jsonl")
        assert executor.submit(int).result() == 0
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 5
    for name in FIELDS:
        np.testing.assert_allclose(there.samples[name], result.samples[name], rtol=1e-10, atol=1e-14)


def test_a_killed_run_resumes(tmp_path, result):
    path = tmp_path / "trials.jsonl"
    run(trials=3, path=path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(line).get("trial") for line in lines] == [None, 0, 1, 2]
    # killed while writing the last line
    path.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    resumed = run(path=path)
    assert sorted(json.loads(line)["trial"] for line in path.read_bytes().splitlines()[1:]) == [0, 1, 2, 3]
    for name in FIELDS:
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
    run_trials(draw, 2, progress=True)
    assert "2/2" in capsys.readouterr().err
