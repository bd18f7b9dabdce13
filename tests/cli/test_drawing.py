"""Pictures of the command line: formats, widths, styles, what is written inside, and made once more from that."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.errors import DataFileError, InputError, UnknownNameError
from kernelcalc.output.files import write_figure
from kernelcalc.output.moments import curves_figure, plot_moments
from kernelcalc.output.phase import phase_figure
from kernelcalc.output.recipe import BESIDE, recipe_of
from kernelcalc.output.spectrum import plot_density, spectrum_figure
from kernelcalc.output.style import COLORS, LEAST_TEXT, WIDTHS, applied, color_of, inches_of

plt = pytest.importorskip("matplotlib.pyplot")
FEW = ("-n", 8, "--times", "1:10:2")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def size_of(path: Path) -> tuple[float, float]:
    """Inches, from the file's own header."""
    data = path.read_bytes()
    if path.suffix == ".png":
        at = data.index(b"pHYs") + 4
        dots = np.array(struct.unpack(">II", data[16:24])) / np.array(struct.unpack(">II", data[at : at + 8])) / 0.0254
        return float(dots[0]), float(dots[1])
    text = data.decode("latin-1")
    if path.suffix == ".svg":
        return tuple(float(text.split(f'{side}="')[1].split("pt")[0]) / 72 for side in ("width", "height"))
    return tuple(float(v) / 72 for v in text.split("/MediaBox [ 0 0 ")[1].split(" ]")[0].split())


def pictures() -> dict[str, object]:
    """One whole figure of each kind."""
    x, labels = kc.datasets.mnist14(12)
    kernels = kc.MLP("tanh", depth=2, n_out=10).kernels(x)
    y = kc.datasets.one_hot(labels)
    moments = kc.mse_moments(kernels, y, [0.0, 1.0, 10.0, 100.0])
    plane = kc.phase_diagram("erf", np.linspace(0.5, 2, 7), np.linspace(0, 1, 5))
    spectrum = kc.spectrum_of_i(kernels, np.zeros_like(y), y, "mse")
    return {
        "curves": lambda: curves_figure([("smooth ReLU", moments, None), ("normalized smooth ReLU", moments, None)]),
        "phase": lambda: phase_figure(plane, plane, 1.0, 0.1, "the paper's setting"),
        "spectrum": lambda: spectrum_figure(
            spectrum, title="a title that is much longer than one column is wide, at least"
        ),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, object]:
    return pictures()


@pytest.mark.parametrize(
    ("width", "style"),
    [
        ("column", ()),
        ("column", ("dark_background",)),
        ("column", ("ggplot", "grayscale")),
        ("text", ()),
        pytest.param("text", ("dark_background",), marks=pytest.mark.long),
        pytest.param("text", ("ggplot", "grayscale"), marks=pytest.mark.long),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one) or "house",
)
@pytest.mark.parametrize("name", ["curves", "phase", "spectrum"])
def test_text_is_legible_and_nothing_is_cut_off(
    tmp_path: Path, drawn: dict[str, object], name: str, width: str, style: tuple[str, ...]
) -> None:
    with applied(style, inches_of(width)):
        figure = drawn[name]()
        write_figure(tmp_path / "a.png", figure)
        shown = [t for t in figure.findobj(plt.Text) if t.get_visible() and t.get_text().strip()]
        assert len(shown) > 10
        assert min(t.get_fontsize() for t in shown) >= LEAST_TEXT
        box = figure.get_tightbbox()
        wide, high = figure.get_size_inches()
        assert wide == WIDTHS[width]
        assert box.x0 >= -0.01
        assert box.y0 >= -0.01
        assert box.x1 <= wide + 0.01
        assert box.y1 <= high + 0.01


def test_a_style_decides_colours_and_sizes(drawn: dict[str, object]) -> None:
    with applied(("dark_background",)):
        first = plt.rcParams["axes.prop_cycle"].by_key()["color"][0]
        figure = drawn["curves"]()
        assert figure.axes[0].lines[0].get_color() == plt.matplotlib.colors.to_hex(first) != COLORS[0]
        assert figure.get_facecolor() == (0.0, 0.0, 0.0, 1.0)
    with applied():
        assert color_of(0) == COLORS[0].lower()
    with plt.rc_context({"lines.linewidth": 3.5, "axes.titlesize": 13.0}):
        figure = drawn["curves"]()
        assert figure.axes[0].lines[0].get_linewidth() == 3.5
        assert figure.axes[0].title.get_fontsize() == 13.0
        with applied():
            # what a matplotlibrc says stays
            assert plt.rcParams["lines.linewidth"] == 3.5
    with plt.rc_context({"axes.prop_cycle": plt.cycler(color=["#123456"]), "font.size": 4.0}), applied():
        assert color_of(3) == "#123456"


def test_scienceplots_by_name(tmp_path: Path, drawn: dict[str, object]) -> None:
    pytest.importorskip("scienceplots")
    done = run("curves", "-a", "erf", *FEW, "--style", "science", "--figure-width", "column", "-o", tmp_path / "a.svg")
    assert done.exit_code == 0, done.output
    # its first colour, as its style file has it; labels without the LaTeX that it asks for
    assert "#0c5da5" in (tmp_path / "a.svg").read_text().lower()
    with applied(("science", "ieee"), inches_of("column")):
        assert plt.rcParams["xtick.direction"] == "in"
        figure = drawn["curves"]()
        write_figure(tmp_path / "a.png", figure)
        shown = [t for t in figure.findobj(plt.Text) if t.get_visible() and t.get_text().strip()]
        assert min(t.get_fontsize() for t in shown) >= LEAST_TEXT
        assert figure.get_tightbbox().x1 <= WIDTHS["column"] + 0.01


def test_an_own_style_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.mplstyle"
    own.write_text("axes.facecolor: 112233\nlines.linewidth: 3.25\nfigure.figsize: 4.5, 3\n")
    done = run("curves", "-a", "erf", *FEW, "--style", own, "-o", tmp_path / "a.svg")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "a.svg").read_text()
    assert "#112233" in text
    assert "stroke-width: 3.25" in text
    assert size_of(tmp_path / "a.svg")[0] == pytest.approx(4.5, abs=0.01)


def test_a_style_is_left_behind_with_its_block() -> None:
    before = dict(plt.rcParams)
    with applied(("dark_background",), 3.0):
        assert plt.rcParams["figure.figsize"][0] == 3.0
    assert dict(plt.rcParams) == before
    with pytest.raises(UnknownNameError, match="ggplot"), applied(("ggplott",)):
        pass


@pytest.mark.parametrize("text", ["", "wide", "0.5", "inf", "nan", "-3"])
def test_widths_out_of_range(text: str) -> None:
    with pytest.raises(InputError, match="column"):
        inches_of(text)


def test_panels_are_drawn_on_given_axes() -> None:
    x, labels = kc.datasets.mnist14(8)
    kernels = kc.MLP("erf", depth=2).kernels(x)
    figure, (left, right) = plt.subplots(1, 2)
    moments = kc.mse_moments(kernels, kc.datasets.parity(labels), [0.0, 1.0])
    assert plot_moments(moments, ax=left) is left
    y = kc.datasets.parity(labels)[:, None]
    assert plot_density(kc.spectrum_of_i(kernels, np.zeros_like(y), y, "mse"), ax=right) is right
    assert len(figure.axes) == 2
    plt.close(figure)


def test_a_picture_is_made_again_from_itself(tmp_path: Path) -> None:
    looks = ("--style", "ggplot", "--figure-width", "column", "--format", "svg,png")
    done = run("curves", "-a", "x*erf(x)", *FEW, *looks, "--sigma-w", 1.25, "-o", tmp_path / "fig.pdf")
    assert done.exit_code == 0, done.output
    paths = [tmp_path / f"fig.{ending}" for ending in ("pdf", "png", "svg")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fig.csv", f"fig{BESIDE}", *(p.name for p in paths)]
    for path in paths:
        assert size_of(path)[0] == pytest.approx(WIDTHS["column"], abs=0.01)
        made = json.loads(recipe_of(path))
        assert made["version"] == kc.__version__
        assert "--activation=x*erf(x)" in made["arguments"]
        assert "--beta=0.1" in made["arguments"]
        again = run("again", path)
        assert again.exit_code == 0, again.output
        assert path.with_stem("fig-again").read_bytes() == path.read_bytes()
    assert (tmp_path / "fig-again.csv").read_bytes() == (tmp_path / "fig.csv").read_bytes()
    # other looks win over the recorded ones
    assert run("again", paths[0], "--figure-width", "4.5", "-o", tmp_path / "wide.png").exit_code == 0
    assert size_of(tmp_path / "wide.png")[0] == pytest.approx(4.5, abs=0.01)


def test_a_table_is_made_again_and_only_shown_on_request(tmp_path: Path) -> None:
    assert run("curves", "-a", "tanh", *FEW, "--seed", 3, "-o", tmp_path / "k.csv").exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.csv", f"k{BESIDE}"]
    known = json.loads((tmp_path / f"k{BESIDE}").read_text())
    assert known["kernelcalc"]["seed"] == 3
    columns = [one["name"] for one in known["tables"][0]["tableSchema"]["columns"]]
    assert columns == (tmp_path / "k.csv").read_text().splitlines()[0].split(",")
    shown = run("again", tmp_path / "k.csv", "--show").output
    assert "kernelcalc curves --activation=tanh" in shown
    assert not (tmp_path / "k-again.csv").exists()
    assert run("again", tmp_path / "k.csv").exit_code == 0
    assert (tmp_path / "k-again.csv").read_bytes() == (tmp_path / "k.csv").read_bytes()


def test_changed_data_are_said(tmp_path: Path) -> None:
    data = tmp_path / "p.csv"
    data.write_text("a,b,label\n1,2,0\n2,1,1\n0,1,0\n1,1,1\n")
    done = run("spectrum", "--data", data, "--no-png", "-o", tmp_path / "s.csv")
    assert done.exit_code == 0, done.output
    assert "has changed" not in run("again", tmp_path / "s.csv").output
    data.write_text("a,b,label\n1,2,0\n2,1,1\n0,1,0\n1,3,1\n")
    assert f"{data} has changed since" in run("again", tmp_path / "s.csv").output


def test_several_formats_and_names(tmp_path: Path) -> None:
    done = run("curves", "-a", "erf", *FEW, "--format", "svg,pdf", "-o", tmp_path / "folder")
    assert done.exit_code == 0, done.output
    names = ["curves.csv", f"curves{BESIDE}", "curves.pdf", "curves.svg"]
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == sorted(names)
    # a number behind a dot is no ending
    assert run("curves", "-a", "erf", *FEW, "--no-picture", "-o", tmp_path / "run-0.1").exit_code == 0
    assert (tmp_path / "run-0.1" / "curves.csv").exists()
    with pytest.raises(DataFileError, match="no recipe"):
        recipe_of(data := write_plain(tmp_path / "plain.png"))
    assert data.exists()


def write_plain(path: Path) -> Path:
    from matplotlib.figure import Figure

    Figure(figsize=(1, 1)).savefig(path)
    return path
