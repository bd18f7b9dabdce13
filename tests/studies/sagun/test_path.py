"""Paths between solutions, in tiny settings, against descents and dense matrices made here."""

from __future__ import annotations

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError
from kernelcalc.studies.sagun import run
from kernelcalc.studies.sagun.limit import Limit
from kernelcalc.studies.sagun.path_runs import LINE, barrier
from kernelcalc.studies.sagun.task import Task, descend
from kernelcalc.studies.spectrum import count_outliers


def test_path_ends_and_barriers() -> None:
    found = run("path", points=24, width=30, steps=40)
    lines = found.tables["path_lines"]
    for pair, step, a, b, height in zip(
        *(found[n] for n in ("pair", "step", "loss_a", "loss_b", "barrier")), strict=True
    ):
        own = (lines["pair"] == pair) & (lines["step"] == step)
        losses = lines["loss"][own]
        assert losses[np.argmin(np.abs(LINE))] == pytest.approx(a)
        assert losses[np.argmin(np.abs(LINE - 1))] == pytest.approx(b)
        assert height >= 0
        assert height == barrier(losses)
    known = ~np.isnan(found["barrier_theory"])
    # convex on the line
    assert found["barrier_theory"][known].max() == 0
    assert found["pair"][~known].tolist() == ["two starts"] * (~known).sum()
    # two starts are orthogonal: the distance is that of two Gaussian vectors
    p = 30 * (24 + 20) + 31 * 30
    far = found["distance"][found["pair"] == "two starts"]
    assert (far > 0.8 * np.sqrt(2 * p)).all()
    assert found["barrier"][-1] > 5 * found["barrier"][:-3].max()


def test_path_runs_are_descents_and_their_edges_those_of_dense_hessians() -> None:
    found = run("path", points=16, width=5, steps=10)
    both = Task.of(*kc.datasets.mnist14(32))
    task, test = both.subset(slice(16)), both.subset(slice(16, None))
    start = task.draw(5, [0, 0])
    step = Limit.of(task).step_for([start, task.draw(5, [0, 7])])
    large = descend(task, start, step, 10, batch=8, rng=[0, 3])[0]
    ends = {"GD": descend(task, start, step, 10)[0], "large batch": large}
    ends["SGD"] = descend(task, start, step, 10, batch=1, rng=[0, 1])[0]
    table, edges, course = (found.tables[f"path_{name}"] for name in ("ends", "edges", "training"))
    for i, (name, network) in enumerate(ends.items()):
        values = np.linalg.eigvalsh(task.split(network).h.dense())
        own = edges["run"] == name
        np.testing.assert_allclose(edges["right"][own], values[::-1][:16], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(edges["left"][own], values[:16], rtol=1e-9, atol=1e-12)
        assert table["run"][i] == name
        assert table["ratio"][i] == count_outliers(values[::-1][:16], "ratio")
        assert table["loss_test"][i] == pytest.approx(test.loss_of(network))
        last = np.flatnonzero(course["run"] == name)[-1]
        assert course["loss"][last] == pytest.approx(task.loss_of(network))
        assert course["from_start"][last] == pytest.approx(np.linalg.norm(network.parameters - start.parameters))
    second = descend(task, large, step, 10, batch=1, rng=[0, 1])[0]
    last = np.flatnonzero(course["run"] == "large, then small")[-1]
    assert course["step"][last] == 20
    assert course["apart"][last] == pytest.approx(np.linalg.norm(second.parameters - large.parameters))
    accurate = (second(task.x).argmax(axis=1) == task.labels).mean()
    assert course["accuracy"][last] == pytest.approx(accurate)


def test_path_approaches_the_limit_like_the_root_of_the_width() -> None:
    found = run("path", points=16, width=128, steps=20)
    approach = found.tables["path_approach"]
    assert approach["width"].tolist() == [32] * 3 + [128] * 3
    ratio = approach["distance"][:3] / approach["distance"][3:]
    # 2 in the end; means over a few networks
    assert ((ratio > 1.4) & (ratio < 2.9)).all()


@pytest.mark.parametrize("points", [1, 256])
def test_path_needs_points_to_train_and_to_test_on(points: int) -> None:
    with pytest.raises(InputError, match="2 to 255 points"):
        run("path", points=points)


def test_path_on_points_of_ones_own() -> None:
    x, labels = kc.datasets.gaussian_clusters(20, 2, 6, rng=0)
    found = run("path", sample=(x, labels), width=6, steps=4)
    assert "10 points" in found.title
    # accuracies are parts of the ten points that are not trained on
    tested = found.tables["path_training"]["accuracy_test"] * 10
    np.testing.assert_allclose(tested, tested.round(), atol=1e-9)
    own = Task.of(x, labels)
    half = own.subset(slice(10))
    first = found.tables["path_training"]["loss"][0]
    assert first == pytest.approx(half.loss_of(own.draw(6, [0, 0])), rel=1e-12)
