"""The report page holds everything in itself; numbers as JSON; help and completion say what a shell needs."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import click
import numpy as np
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.cli.terminal import Commands
from kernelcalc.errors import PrecisionWarning, warn


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "r.html"
    done = run("report", "-a", "erf", "--depth", 2, "-n", 20, "--networks", 0, "-o", path)
    assert done.exit_code == 0, done.output
    return path


def test_the_page_loads_nothing_and_has_all_parts(page: Path) -> None:
    text = page.read_text()
    tags = Tags(text).seen
    assert not {"script", "iframe", "object"} & {tag for tag, _ in tags}
    for tag, attributes in tags:
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert "url(" not in text
    assert "@import" not in text
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) >= 7
    for image in images:
        assert image["alt"]
        svg = base64.b64decode(str(image["src"]).split(",")[1]).decode()
        assert svg.startswith("<?xml")
        assert svg.count("<path") + svg.count("<use") > 3
        # what an SVG brings may not load anything either
        assert not re.search(r'(href|src)="(?!#|data:)', svg)
    for head in ("Predictions", "Curves", "Spectrum", "Order and chaos", "Formulas", "How to reproduce"):
        assert head in text
    assert "kernelcalc report --activation=erf --depth=2" in text


def test_a_browser_shows_the_figures(page: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--enable-logging=stderr",
    ]
    bare = tmp_path / "bare.html"
    # the same page with every picture drawn white, in its place
    bare.write_text(page.read_text().replace("</style>", "img { filter: brightness(0) invert(1) }</style>", 1))
    shots = []
    for source in (page, bare):
        shot = tmp_path / f"{source.stem}.png"
        # whole pages; no name is resolved, and nothing is asked for
        where = ["--window-size=1000,9000", "--host-resolver-rules=MAP * ~NOTFOUND", f"--screenshot={shot}"]
        done = subprocess.run(
            [browser, *options, *where, source.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
        assert "CONSOLE" not in done.stderr
        shots.append(shot)
    image = pytest.importorskip("matplotlib.image")
    seen, blank = (image.imread(shot)[..., :3] for shot in shots)
    assert seen.shape == blank.shape
    # rows of pixels that pictures alone have drawn on: one high band a figure, and lower ones of formulas
    rows = np.flatnonzero(np.abs(seen - blank).max(axis=(1, 2)) > 0.3)
    bands = np.split(rows, np.flatnonzero(np.diff(rows) > 25) + 1)
    heights = [band[-1] - band[0] for band in bands]
    figures = page.read_text().count("<figure>")
    assert sum(height > 200 for height in heights) == figures == 3
    assert len(bands) > figures


def test_json_alone_on_standard_output(tmp_path: Path) -> None:
    done = run("expect", "--f", "erf", "--q", 1, "--c", "0.5", "--json", "-")
    assert json.loads(done.stdout)["value"] == pytest.approx(float(kc.gaussian_expectation("erf", "erf", 1, 1, 0.5)))
    done = run("kernels", "-a", "relu", "--json", "-", "-o", tmp_path / "k")
    assert json.loads(done.stdout)["left_out"] == ["phi", "lam", "upsilon", "xi"]
    assert "left out: phi, lam, upsilon, xi" in done.stderr
    assert (tmp_path / "k.npz").exists()
    done = run("curves", "-a", "erf", "-n", 8, "--times", "1:10:2", "--json", "-", "-o", tmp_path / "c.csv")
    assert json.loads(done.stdout)["curves"]["time"][0] == 0.0
    # the one that makes a picture again hands the option on
    done = run("again", tmp_path / "c.csv", "-o", tmp_path / "d.csv", "--json", "-")
    assert json.loads(done.stdout)["curves"]["time"][0] == 0.0
    assert done.stderr.startswith("kernelcalc curves --activation=erf")
    every = [*main.commands.values(), *main.commands["figure"].commands.values()]
    names = {one.name for one in every if any("--json" in option.opts for option in one.params)}
    assert {one.name for one in every} - names == {"figure", "again"}


def test_completion_knows_activations_and_kernels() -> None:
    shell = BashComplete(main, {}, "kernelcalc", "_KERNELCALC_COMPLETE")
    assert next(item.value for item in shell.get_completions(["curves", "-a"], "gel")) == "gelu"
    assert "theta" in [item.value for item in shell.get_completions(["symbolic"], "th")]
    assert [item.value for item in shell.get_completions(["kernels", "--only"], "ups")] == ["upsilon"]


def test_bash_takes_the_line_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "lookup" / "commands.md").read_text()
    line = next(one for one in page.splitlines() if one.startswith('eval "$(_KERNELCALC_COMPLETE=bash_source'))
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    script = Path(sys.executable).parent
    typed = "COMP_WORDS=(kernelcalc curves -a gel); COMP_CWORD=3; _kernelcalc_completion kernelcalc"
    asked = f"{line}; {typed}; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(
        [bash, "-c", f'PATH="{script}:$PATH"; {asked}'], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["gelu"], done.stderr


def test_warnings_are_one_line() -> None:
    @click.group(cls=Commands)
    def group() -> None:
        pass

    @group.command()
    def careless() -> None:
        warn("three digits\n  are left", PrecisionWarning)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = CliRunner().invoke(group, ["careless"])
        assert done.stderr == "PrecisionWarning: three digits are left\n"
        # and what a script shows of them afterwards is its own again
        assert warnings.showwarning.__module__ == "warnings" or "kernelcalc" not in warnings.showwarning.__module__


def test_help_is_whole() -> None:
    text = run("--help").output
    assert "..." not in text.split("Commands:")[1]
    assert "Exit codes" in text


def test_latex_has_both_sides_and_definitions() -> None:
    lines = run("symbolic", "theta", "-a", "erf", "--depth", 3, "--latex").output.splitlines()
    assert lines[0] == r"\begin{align*}"
    assert lines[1].startswith(r"q &= \Sigma^{(1)}(x, x), \quad q' = ")
    assert any(line.startswith(r"\Theta^{(3)}(x, x') &=") for line in lines)
    assert any(r"\arcsin" in line for line in lines)
    assert max(map(len, lines)) < 260


def test_kinks_are_checked_as_far_as_the_theory_goes(tmp_path: Path) -> None:
    options = (
        "--depth",
        2,
        "--widths",
        "8,16",
        "--trials",
        20,
        "--times",
        "0",
        "--workers",
        1,
        "--no-picture",
        "-o",
        tmp_path,
    )
    done = run("validate", "-a", "relu", *options, "--all")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[1].startswith("passed: all")
    assert {line.split()[0] for line in lines if line.split()[1:2] == ["diagonal"]} == {"Σ", "Θ"}
