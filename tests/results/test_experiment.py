"""What experiments hand back: tables, text, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kernelcalc as kc
from kernelcalc.errors import InputError, ShapeError, UnknownNameError
from kernelcalc.output.pictures import decade_ticks, grid, signed_bins, signed_scale
from kernelcalc.output.tables import Table, Verdict, verdict_columns
from kernelcalc.results.experiment import ExperimentResult


def result(draw: object = None) -> ExperimentResult:
    columns = {"who": ["a", "b"], "value": [0.123456789, np.nan], "n": [1, 2]}
    other = {"x": np.linspace(0, 1, 3)}
    return ExperimentResult(
        name="some",
        title="Title",
        tables={"some": columns, "other": other},
        notes=("a note",),
        draw=draw or grid_figure,
    )


def grid_figure() -> object:
    figure, axes = grid(1, 2, title="two")
    axes[0, 0].plot([1, 2])
    return figure


def test_pictures_in_notebooks_have_the_width_of_a_page_unless_the_user_says_otherwise() -> None:
    from matplotlib import pyplot as plt

    assert result().figure().get_figwidth() >= 6.75
    with plt.rc_context({"figure.figsize": (3.0, 2.0)}):
        assert result().figure().get_figwidth() == 3.0


def test_files_are_what_the_tables_say(tmp_path: Path) -> None:
    written = result().write(tmp_path)
    assert [path.name for path in written] == ["some.csv", "other.csv", "some.png"]
    assert (tmp_path / "some.csv").read_text() == "who,value,n\na,0.123456789,1\nb,,2\n"
    assert pd.read_csv(tmp_path / "other.csv")["x"].tolist() == [0.0, 0.5, 1.0]
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def draw() -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        result(draw).write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in result(draw).write(tmp_path, picture=False)] == ["some.csv", "other.csv"]


def test_text_has_the_main_table_and_the_notes() -> None:
    lines = str(result()).splitlines()
    assert lines[0] == "Title"
    assert lines[2:5] == ["who   value  n", "a    0.1235  1", "b         -  2"]
    assert lines[-1] == "- a note"


def test_long_tables_are_cut_in_the_terminal_only() -> None:
    long = ExperimentResult(name="long", title="", tables={"long": {"x": np.arange(100)}}, notes=(), draw=grid_figure)
    assert "... 100 rows in all, see long.csv" in str(long)
    assert len(long["x"]) == 100


def test_columns_and_data_frames() -> None:
    some = result()
    assert some["n"].tolist() == [1, 2]
    assert some.to_dataframe("other").shape == (3, 1)
    assert some.to_dataframe().columns.tolist() == ["who", "value", "n"]
    with pytest.raises(UnknownNameError, match="did you mean 'value'"):
        some["valu"]
    with pytest.raises(UnknownNameError, match="other"):
        some.to_dataframe("othr")
    with pytest.raises(ValueError, match="read-only"):
        some["n"][0] = 5


def test_uneven_columns_are_refused() -> None:
    with pytest.raises(ShapeError, match="equal length"):
        ExperimentResult(name="a", title="", tables={"a": {"x": [1], "y": [1, 2]}}, notes=(), draw=grid_figure)
    with pytest.raises(ValueError, match="zip"):
        Table("a", "b").add(1)


def test_bins_hold_every_value_once_and_zeros_in_the_middle() -> None:
    values = np.array([-2.0, -1e-9, 0.0, 0.5, 3.0])
    edges = signed_bins(values, 1e-3)
    counts = np.histogram(values, edges)[0]
    assert counts.sum() == 5
    assert counts[np.searchsorted(edges, 0.0) - 1] == 2
    positive = edges[edges > 0]
    np.testing.assert_allclose(positive[1:] / positive[:-1], positive[1] / positive[0])


@pytest.mark.parametrize(("low", "high"), [(0.0015, 0.09), (3e-4, 0.3), (0.02, 0.045)])
def test_logarithmic_axes_have_several_ticks(low: float, high: float) -> None:
    _, axes = grid(1, 1)
    ax = axes[0, 0]
    ax.semilogy([0, 1], [low, high])
    decade_ticks(ax)
    bottom, top = ax.get_ylim()
    inside = [t for t in ax.get_yticks() if bottom <= t <= top]
    assert len(inside) >= 2


def test_ticks_of_both_signs_do_not_collide() -> None:
    _, axes = grid(1, 1)
    ax = axes[0, 0]
    ax.set_xlim(-20.0, 500.0)
    signed_scale(ax, "x", 0.01)
    assert ax.get_xticks().tolist() == [-10.0, -0.1, 0.0, 0.1, 10.0]


@pytest.mark.parametrize(
    ("number", "bounds", "why", "outcome"),
    [
        (1.0, {"above": 1.0}, "", "reproduced"),
        (0.9, {"above": 1.0}, "", "not reproduced"),
        (1.1, {"above": 0.0, "below": 1.0}, "", "not reproduced"),
        (0.5, {"above": 0.0, "below": 1.0}, "", "reproduced"),
        (0.5, {"below": 1.0}, "too short a run", "cannot be decided here"),
        (np.nan, {"below": 1.0}, "", "cannot be decided here"),
    ],
)
def test_verdicts(number: float, bounds: dict[str, float], why: str, outcome: str) -> None:
    verdict = Verdict(source="page 3", claim="it is so", measured="ratio", number=number, undecided=why, **bounds)
    assert verdict.outcome == outcome
    assert str(verdict).startswith(f"{outcome}: it is so (page 3); ratio ")
    columns = verdict_columns([verdict])
    assert {name: column.tolist() for name, column in columns.items()}["verdict"] == [outcome]


def test_verdicts_are_the_last_thing_that_is_said() -> None:
    verdict = Verdict(source="page 3", claim="it is so", measured="ratio", number=0.5, above=1.0)
    some = ExperimentResult(
        name="a", title="", tables={"a": {"x": [1]}}, notes=("b",), draw=grid_figure, verdicts=(verdict,)
    )
    assert str(some).splitlines()[-3:] == [
        "",
        "What becomes of the claims in this run:",
        "- not reproduced: it is so (page 3); ratio 0.5, wanted at least 1",
    ]


def test_a_result_from_a_file_has_the_picture_as_it_was_drawn(tmp_path: Path) -> None:
    from matplotlib.image import imread

    first = result()
    back = kc.load(first.save(tmp_path / "a.npz"))
    drawn = first.figure()
    drawn.savefig(tmp_path / "a.png", dpi=150)
    back.figure().savefig(tmp_path / "b.png", dpi=150)
    pixels = [imread(tmp_path / name) for name in ("a.png", "b.png")]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1 / 255
    assert np.ptp(pixels[0]) > 0.9
    assert str(back) == str(first)
    # and once more, from what was read
    again = kc.load(back.save(tmp_path / "b.npz"))
    np.testing.assert_array_equal(again.drawn, back.drawn)


def test_a_file_without_a_picture_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernelcalc.errors import MissingExtraError

    def missing() -> object:
        raise MissingExtraError("matplotlib", "plot", "a picture")

    back = kc.load(result(missing).save(tmp_path / "a.npz"))
    with pytest.raises(InputError, match="without one"):
        back.figure()


def test_every_table_is_a_frame_and_has_its_rows_as_an_axis() -> None:
    found = result()
    assert found.to_dataframe()["n"].tolist() == [1, 2]
    assert found.to_dataframe("other")["x"].tolist() == [0.0, 0.5, 1.0]
    assert found.to_dataframe("other").attrs["title"] == "Title"
    with pytest.raises(UnknownNameError, match="other"):
        found.to_dataframe("othr")
    dataset = found.to_xarray()
    assert dataset["value"].dims == ("some_row",)
    assert dataset["other.x"].dims == ("other_row",)
    assert dataset["who"].to_numpy().tolist() == ["a", "b"]


def test_plots_take_columns_of_numbers() -> None:
    from matplotlib.figure import Figure

    ax = result().plot(Figure().subplots())
    # against value, the first column of numbers; who is text
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [0.123456789, np.nan])
    np.testing.assert_array_equal(line.get_ydata(), [1, 2])
    assert ax.get_xlabel() == "value"
    words = ExperimentResult(name="a", title="", tables={"a": {"who": ["b"]}}, notes=(), draw=grid_figure)
    with pytest.raises(InputError, match="column of numbers"):
        words.plot(Figure().subplots())
