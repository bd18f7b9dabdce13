"""Trials that are run together against the same trials one by one."""

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from stand_ins import alternating

import kernelcalc.finite.ensembles.kernels as module
from kernelcalc.errors import InputError, IntegrationError, MissingExtraError
from kernelcalc.finite.ensembles import trials
from kernelcalc.finite.ensembles.kernels import kernels_through_training
from kernelcalc.finite.ensembles.trials import run_trials


def drawn(seed):
    """Depends on what the seed spawns, which a second call must spawn again."""
    return {"values": np.random.default_rng(seed.spawn(1)[0]).standard_normal(3)}


def all_drawn(seeds):
    return [drawn(seed) for seed in seeds]


class Counting:
    def __init__(self, bad=None):
        self.groups, self.bad, self.seen = [], bad, 0

    def together(self, seeds):
        self.groups.append(len(seeds))
        if self.bad is not None:
            raise IntegrationError("one of them")
        return all_drawn(seeds)

    def alone(self, seed):
        self.seen += 1
        if self.seen - 1 == self.bad:
            raise IntegrationError(f"trial {self.bad}")
        return drawn(seed)


@pytest.mark.parametrize("workers", [1, 2])
def test_groups_change_nothing(workers):
    expected = run_trials(drawn, 11, rng=3)["values"]
    found = run_trials(drawn, 11, rng=3, together=all_drawn, group=4, workers=workers)["values"]
    np.testing.assert_array_equal(found, expected)


def test_the_size_of_groups():
    count = Counting()
    run_trials(count.alone, 11, together=count.together, group=4)
    assert count.groups == [4, 4, 3]
    assert not count.seen


def test_an_error_is_that_of_the_trial_and_those_before_it_are_kept(tmp_path):
    path, count = tmp_path / "trials.jsonl", Counting(bad=2)
    with pytest.raises(IntegrationError, match="trial 2"):
        run_trials(count.alone, 6, rng=3, together=count.together, group=6, path=path)
    kept = {row["trial"]: row["values"] for row in map(json.loads, path.read_text().splitlines()[1:])}
    expected = run_trials(drawn, 2, rng=3)["values"]
    assert list(kept) == [0, 1]
    np.testing.assert_array_equal([kept[0], kept[1]], expected)
    # and taken up again
    whole = run_trials(drawn, 6, rng=3, together=all_drawn, group=6, path=path)["values"]
    np.testing.assert_array_equal(whole, run_trials(drawn, 6, rng=3)["values"])


def test_networks_of_a_group(monkeypatch):
    rng = np.random.default_rng(1)
    arguments = alternating(3), rng.standard_normal((3, 2)), rng.standard_normal(3), [0.0, 1.0, 5.0]
    options = {"widths": (40, 64), "trials": 5, "rng": 2}
    found = kernels_through_training(*arguments, **options)
    monkeypatch.setattr(module, "_MOST_TRIALS", 1)
    expected = kernels_through_training(*arguments, **options)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = np.abs(values).max()
        # Tr H^k comes from probes whose directions amplify rounding; Υ and Tr S² from float32
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-7 * scale, err_msg=name)


@pytest.mark.parametrize(
    "wrong",
    [{"trials": 0}, {"workers": 0}, {"group": 0}, {"group": -3}, {"group": 2.5}, {"trials": 2.5}, {"workers": 1.5}],
    ids=str,
)
def test_counts_below_one(wrong):
    with pytest.raises(InputError, match=rf"\b{next(iter(wrong))}\b"):
        run_trials(drawn, **{"trials": 3, "together": all_drawn, **wrong})


def test_other_refusals_say_what_came(monkeypatch):
    with pytest.raises(InputError, match=r"^expected trial, a function of a seed, got 3\.5$"):
        run_trials(3.5, 1)
    with pytest.raises(InputError, match=r"^expected executor, a concurrent\.futures\.Executor, got 3\.5$"):
        run_trials(drawn, 2, executor=3.5)
    with pytest.raises(InputError, match=r"^expected at least one trial, .*, got trials=0, workers=2, group=3$"):
        run_trials(drawn, 0, workers=2, group=3)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(
        MissingExtraError, match=r"^a progress bar needs the package tqdm; .* 'kernelcalc\[progress\]'$"
    ):
        run_trials(drawn, 2, progress=True)


def test_files_are_told_apart_by_setting_and_seed(tmp_path):
    names = {
        trials.trial_file(tmp_path, *rest).name
        for rest in (
            ("a", {"width": 3}, 0),
            ("a", {"width": 4}, 0),
            ("a", {"width": 3}, 1),
            ("b", {"width": 3}, 0),
            # spawned, so that its first trial is another one
            ("a", {"width": 3}, np.random.SeedSequence(0).spawn(1)[0]),
        )
    }
    assert len(names) == 5
    again = trials.trial_file(tmp_path, "a", {"width": 3}, 0)
    assert again.parent == tmp_path
    assert again.name in names
    assert re.fullmatch(r"a-[0-9a-f]{8}\.jsonl", again.name)
    for wrong, text in (
        ((3, "a", {}, 0), "^expected folder, the name of a file or folder, got 3$"),
        ((tmp_path, 3, {}, 0), "^expected name, a text, got 3$"),
        ((tmp_path, "a", {"width": {3}}, 0), r"settings that JSON can hold: .*, got \{'width': \{3\}\}$"),
        ((tmp_path, "a", {}, -1), r"^expected rng, a seed .*, got -1$"),
    ):
        with pytest.raises(InputError, match=text):
            trials.trial_file(*wrong)


def test_threads_of_workers(monkeypatch):
    """What the user has set stays; the rest is shared out, and taken back."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    for count, said in ((3, "3"), (0, "1")):
        with trials._threads(count):
            seen = [os.environ[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")]
        assert seen == ["7", said, said]
        assert os.environ == before


def test_groups_leave_no_worker_without(monkeypatch):
    """Of 3 workers each is to have some four groups, of as many trials as asked for at most."""
    with ThreadPoolExecutor(3) as executor:
        for count, group, sizes in ((24, 5, [2] * 12), (24, 1, [1] * 24), (100, 5, [5] * 20), (7, 5, [1] * 7)):
            work = Counting()
            run_trials(work.alone, count, together=work.together, group=group, workers=3, executor=executor)
            # those of one trial are not run together
            assert work.groups == [size for size in sizes if size > 1]
            assert work.seen == sizes.count(1)


def test_workers_share_the_cores(monkeypatch):
    """Seven cores for three workers, or for the two that there is work for; none for one group of trials."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(trials, "processors", lambda: 7)
    pools = []

    def pool(count, **options):
        """Threads in the place of processes, which would read the file anew."""
        pools.append((count, os.environ["OMP_NUM_THREADS"], options))
        return ThreadPoolExecutor(count)

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", pool)
    expected = run_trials(drawn, 6, rng=3)["values"]
    for count, made in ((6, (3, "2")), (2, (2, "3")), (1, None)):
        pools.clear()
        found = run_trials(drawn, count, rng=3, workers=3)["values"]
        np.testing.assert_array_equal(found, expected[:count])
        assert [one[:2] for one in pools] == ([] if made is None else [made])
        for *_, options in pools:
            assert options["mp_context"].get_start_method() == "spawn"
            assert options["initializer"] is trials._begin_worker
            # the end that a worker listens at; both are closed when all is done
            assert [(end.readable, end.writable, end.closed) for end in options["initargs"]] == [(True, False, True)]


def test_which_main_scripts_workers_can_read(monkeypatch, tmp_path):
    (tmp_path / "script.py").touch()
    there, gone = str(tmp_path / "script.py"), str(tmp_path / "gone.py")

    def main(read=None, **attributes):
        script = SimpleNamespace(**attributes)
        monkeypatch.setitem(sys.modules, "__main__", script)
        monkeypatch.setitem(sys.modules, "__mp_main__", read or script)
        return trials._can_start()

    assert main() is True
    assert main(__file__=there) is True
    assert main(__file__=gone, __spec__="of python -m") is True
    text = rf"^the script has no file \({gone}\) that worker processes could read: all trials run one after the other$"
    with pytest.warns(UserWarning, match=text):
        assert main(__file__=gone) is False
    # while a worker reads the script
    with pytest.raises(
        SystemExit, match=r"^in a script, what starts workers stands under if __name__ == .*\(workers=1: none\)$"
    ):
        main(read=SimpleNamespace(), __file__=there)
