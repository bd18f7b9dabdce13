"""The result object: moments of H from those of I and S, tables, representations."""

from __future__ import annotations

import pickle
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from kernelcalc.errors import InputError, MissingExtraError
from kernelcalc.results.storage import load
from kernelcalc.training.trajectory import KnownDeviations, Trajectory


def example(kmax: int = 3, calls: list[str] | None = None) -> Trajectory:
    deviations = {"trace_s": [0.5, 0.25], "trace_s2": [5.0, 2.5], "loss": [1.0, 0.0]}

    def deviation(name: str) -> np.ndarray:
        if calls is not None:
            calls.append(name)
        return np.array(deviations[name])

    return Trajectory(
        times=np.array([0.0, 2.0]),
        trace_i=np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])[:kmax],
        trace_s=np.array([10.0, 20.0]),
        trace_s2=np.array([100.0, 200.0]),
        loss=np.array([4.0, 0.0]),
        deviation=deviation,
    )


def test_moments_of_h() -> None:
    np.testing.assert_array_equal(example().trace_h, [[11, 21], [102, 202], [3, 3]])
    np.testing.assert_array_equal(example().trace_h_std, [[0.5, 0.25], [5, 2.5], [0, 0]])
    for kmax in (1, 2):
        np.testing.assert_array_equal(example(kmax=kmax).trace_h, [[11, 21], [102, 202]][:kmax])


def test_deviations_are_computed_once_and_only_when_read() -> None:
    calls: list[str] = []
    traj = example(calls=calls)
    repr(traj)
    _ = traj.trace_h
    assert calls == []
    for _ in range(2):
        np.testing.assert_array_equal(traj.trace_s2_std, [5.0, 2.5])
        np.testing.assert_array_equal(traj.loss_std, [1.0, 0.0])
    assert calls == ["trace_s2", "loss"]
    calls.clear()
    _ = example(kmax=1, calls=calls).trace_h_std
    assert calls == ["trace_s"]


def test_read_only() -> None:
    traj = example()
    for name in ("times", "trace_i", "trace_s", "trace_s2", "trace_h", "trace_h_std", "loss", "trace_s_std"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(traj, name)[0] = 1.0
    with pytest.raises(FrozenInstanceError):
        traj.times = np.zeros(2)  # type: ignore[misc]


def test_data_frame() -> None:
    frame = example().to_dataframe()
    moments = ["trace_i", "trace_i_std", "trace_s", "trace_s_std", "trace_h", "trace_h_std"]
    assert list(frame.columns) == ["time", "k", *moments, "loss", "loss_std"]
    row = frame[(frame.time == 2.0) & (frame.k == 2)].iloc[0]
    assert row.tolist() == [2.0, 2.0, 2.0, 0.0, 200.0, 2.5, 202.0, 2.5, 0.0, 0.0]
    row = frame[(frame.time == 0.0) & (frame.k == 3)].iloc[0]
    assert row.tolist() == [0.0, 3.0, 3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0, 1.0]
    assert len(frame) == 6


def test_axes_and_coordinates() -> None:
    rows = {f"trace_{name}{std}": ("k", "time") for name in "hi" for std in ("", "_std")}
    lines = {f"{name}{std}": ("time",) for name in ("trace_s", "trace_s2", "loss") for std in ("", "_std")}
    assert example().dimensions() == rows | lines
    found = example().coordinates()
    assert found.keys() == {"k", "time"}
    np.testing.assert_array_equal(found["k"], [1, 2, 3])
    np.testing.assert_array_equal(found["time"], [0.0, 2.0])


def test_files_and_copies_keep_deviations_or_why_there_are_none(tmp_path: Path) -> None:
    def deviation(name: str) -> np.ndarray:
        if name == "loss":
            raise InputError("a kernel xi")
        return np.array([0.5, 0.25])

    first = pickle.loads(pickle.dumps(replace(example(), deviation=deviation)))
    for copied in (first, pickle.loads(pickle.dumps(first)), load(first.save(tmp_path / "a.npz"))):
        np.testing.assert_array_equal(copied.trace_s2_std, [0.5, 0.25])
        with pytest.raises(
            InputError, match=r"^expected a standard deviation that could be computed, got loss: expected a kernel xi$"
        ):
            _ = copied.loss_std
        np.testing.assert_array_equal(copied.trace_h, example().trace_h)
    with pytest.raises(InputError, match=r"got another: $"):
        KnownDeviations.of(deviation)("another")


def test_plot_draws_on_the_axes_given() -> None:
    ax = pytest.importorskip("matplotlib.figure").Figure().subplots()
    assert example().plot(ax, k=2) is ax
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), [102, 202])


def test_data_frame_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[table\]"):
        example().to_dataframe()


def test_representations() -> None:
    assert repr(example()) == "Trajectory(2 times 0..2, E Tr H^k at t=0: [11, 102, 3])"
    html = example()._repr_html_()
    table = (
        "<table><thead><tr><th>t</th><th>E Tr H<sup>1</sup></th><th>E Tr H<sup>2</sup></th><th>E Tr H<sup>3</sup></th>"
        "<th>E C</th></tr></thead><tbody><tr><td>0</td><td>11</td><td>102</td><td>3</td><td>4</td></tr>"
        "<tr><td>2</td><td>21</td><td>202</td><td>3</td><td>0</td></tr></tbody></table>"
    )
    assert table in html
    many = np.arange(20.0)
    long = Trajectory(
        times=many, trace_i=[many], trace_s=many, trace_s2=many, loss=many, deviation=lambda name: np.zeros(20)
    )
    assert [row.split("</td>")[0] for row in long.html_table().split("<tr><td>")[1:]] == [
        "0",
        "3",
        "6",
        "9",
        "12",
        "15",
        "19",
    ]
    empty = Trajectory(
        times=[], trace_i=np.zeros((4, 0)), trace_s=[], trace_s2=[], loss=[], deviation=lambda name: np.zeros(0)
    )
    assert repr(empty) == "Trajectory(no times, kmax=4)"
    assert "<table>" in empty._repr_html_()
