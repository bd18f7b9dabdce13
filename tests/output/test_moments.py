"""What the plots show, read from the drawn artists."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from kernelcalc.errors import InputError, MissingExtraError
from kernelcalc.output.moments import curves_figure, plot_finite, plot_moments, plot_start
from kernelcalc.training.trajectory import Trajectory

TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 1e3, 6)])


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


def example(first: float = 30.0, times: np.ndarray = TIMES) -> Trajectory:
    ones = np.ones(times.size)
    return Trajectory(
        times=times,
        trace_i=np.outer([first, 5.0, 3.0, 1.0], ones),
        trace_s=ones,
        trace_s2=2 * ones,
        loss=ones,
        deviation=lambda name: 0.5 * ones,
    )


def lines(ax: object) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_ydata() for line in ax.get_lines() if line.get_label().startswith("$")}


def test_lines_are_the_moments() -> None:
    traj = example()
    drawn = lines(plot_moments(traj))
    assert list(drawn) == ["$k = 1$", "$k = 2$", "$k = 3$", "$k = 4$"]
    for row, values in zip(traj.trace_h, drawn.values(), strict=True):
        np.testing.assert_array_equal(values, row)


def test_given_axes_are_used_and_returned() -> None:
    _, ax = plt.subplots()
    assert plot_moments(example(), ax, k=2) is ax
    assert list(lines(ax)) == ["$k = 2$"]
    assert example().plot(ax) is ax
    assert "Tr" in ax.get_ylabel()
    assert "t" in ax.get_xlabel()


def test_band_is_one_standard_deviation_for_the_first_two_moments() -> None:
    ax = plot_moments(example())
    assert len(ax.collections) == 2
    values = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert {30.5, 31.5} <= set(values)
    assert len(plot_moments(example(), band=False).collections) == 0


def test_times_out_of_order_and_infinite() -> None:
    shuffled = np.array([10.0, np.inf, 0.0, 1.0, 100.0])
    (line,) = (one for one in plot_moments(example(times=shuffled), k=3).get_lines() if one.get_label() == "$k = 3$")
    np.testing.assert_array_equal(line.get_xdata(), [0.0, 1.0, 10.0, 100.0])


@pytest.mark.parametrize(
    ("trajectory", "xscale", "yscale"),
    [
        (example(), "symlog", "log"),
        (example(times=np.geomspace(1, 100, 5)), "log", "log"),
        (example(times=np.linspace(1, 4, 5)), "linear", "log"),
        (example(times=np.array([0.0, 1.5, 9.0])), "symlog", "log"),
        (example(first=-2.0), "symlog", "linear"),
        (example(first=-1e4), "symlog", "symlog"),
        (example(first=1e4), "symlog", "log"),
    ],
)
def test_scales_follow_the_range(trajectory: Trajectory, xscale: str, yscale: str) -> None:
    ax = plot_moments(trajectory)
    assert ax.get_xscale() == xscale
    assert ax.get_yscale() == yscale
    ax.figure.canvas.draw()


def test_narrow_range_is_linear() -> None:
    assert plot_moments(example(), k=[3, 4]).get_yscale() == "linear"


def test_finite_crosses_with_standard_errors() -> None:
    moments = SimpleNamespace(
        times=np.array([0.0, 1.0]),
        trace_h=np.array([[1.0, 2.0], [3.0, 4.0]]),
        trace_h_std=np.array([[0.4, 0.4], [0.8, 0.8]]),
        trials=16,
        width=8,
    )
    ax = plot_finite(moments)
    assert [line.get_ydata().tolist() for line in ax.get_lines()] == [[1.0, 2.0], [3.0, 4.0]]
    bars = [segment[:, 1].tolist() for bar in ax.collections for segment in bar.get_segments()]
    np.testing.assert_allclose(bars, [[0.9, 1.1], [1.9, 2.1], [2.8, 3.2], [3.8, 4.2]])
    figure = curves_figure([("with", example(), moments), ("without", example(), None)])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "width 8, mean of 16"
    assert [ax.get_title() for ax in figure.axes] == ["with", "without"]


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_figure_has_one_panel_each(panels: int) -> None:
    figure = curves_figure([(f"panel {i}", example(), None) for i in range(panels)])
    assert len(figure.axes) == panels
    assert plt.get_fignums() == []


def test_moment_that_is_not_there() -> None:
    with pytest.raises(InputError, match="from 1 to 4"):
        plot_moments(example(), k=5)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"kernelcalc\[plot\]"):
        plot_moments(example())


def test_moments_at_a_width_are_diamonds_at_the_start() -> None:
    ax = plot_moments(example())
    start = SimpleNamespace(width=100.0, trace_h=33.0, trace_i=32.0, trace_i2=6.0, trace_i_std=2.0, trace_h2=9.0)
    assert plot_start(start, ax) is ax
    diamonds = [line for line in ax.get_lines() if line.get_marker() == "D"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in diamonds] == [
        (0.0, 33.0),
        (0.0, 32.0),
        (0.0, 9.0),
        (0.0, 6.0),
    ]
    figure = curves_figure([("a", example(), None), ("b", example(), None)], at_width=[start, None])
    assert "width 100" in " ".join(text.get_text() for text in figure.legends[0].get_texts())
