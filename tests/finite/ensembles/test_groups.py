"""Trials that are run together against the same trials one by one."""

import json

import numpy as np
import pytest
from stand_ins import alternating

import kernelcalc.finite.ensembles.kernels as module
from kernelcalc.errors import InputError, IntegrationError
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


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"workers": 0}, {"group": 0}, {"group": -3}, {"group": 2.5}])
def test_counts_below_one(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        run_trials(drawn, **{"trials": 3, "together": all_drawn, **wrong})
