"""What a person may type wrongly: one named line, exit code 2, no traceback, no file; 30 and more ways for each command."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kernelcalc.cli import main
from kernelcalc.cli.terminal import Commands

FUNCTIONS = (
    "tanhh", "", "x +", "y", "x*y", "1/0", "x/(x-x)", "__import__('os')", "lambda x: x", "x; x", "(x", "x)", "relu(",
    "sin(x, x)", "smooth_relu(scale=)", "smooth_relu(scale=a)", "smooth_relu(scale=-1)", "smooth_relu(width=1)",
    "relu(scale=1)", "hermite(degree=-1)", "polynomial(coefficients=)", "normalized", "normalized 1", "where(x>0)",
    "where(x==0,x,1)", "x.real", "x[0]", "1e400*x", "'x'", "x if x else 0", "log(x)", "1/x", "\N{GREEK SMALL LETTER XI}",
    "x\x00", "[x]", "True", "@", "nan*x", "I*x",
)  # fmt: skip
NETWORK = (
    ("--depth", "0"), ("--depth", "-1"), ("--depth", "1" + "0" * 30),
    ("--depth", "1.5"), ("--depth", "two"), ("--sigma-w", "0"), ("--sigma-w", "-1"),
    ("--sigma-w", "nan"), ("--sigma-w", "inf"), ("--sigma-w", "1e40"), ("--sigma-w", "1e-320"), ("--sigma-w", "w"),
    ("--beta", "-0.1"),
    ("--beta", "nan"), ("--beta", "inf"), ("--beta", "b"),
)  # fmt: skip
DATA = (
    ("--data", "missing.csv"), ("--data", "."), ("--data", "empty.csv"), ("--data", "junk.npz"), ("--data", "words.csv"),
    ("--data", "nan.csv"), ("--data", "header.csv"), ("--data", "good.csv", "--labels", "nothing"),
    ("--data", "good.csv", "--columns", "nothing"), ("--data", "good.csv", "--drop", "nothing"), ("--data", ""),
    ("--data", "good.csv", "--decimal", ";"), ("--data", "https://example.com/good.csv"), ("--data", "x" * 300),
    ("--data", "/dev/zero"),
    ("--data", "good.csv", "--json", "good.csv"), ("--labels", "label"),
)  # fmt: skip
POINTS = (("-n", "0"), ("-n", "-1"), ("-n", "257"), ("-n", "some"), ("--data", "good.csv", "-n", "100"))
TARGETS = (
    ("--targets", "two"), ("--scale", "cube"), ("--loss", "hinge"), ("--loss", ""), ("--loss", "-(y-t)**2"),
    ("--loss", "y**"), ("--loss", "(z-t)**2"), ("--loss", "1"), ("--loss", "log(y)"), ("--loss", "y*t"),
)  # fmt: skip
JSON = (("--json", "."), ("--json", ""), ("--json", "x" * 300))
OUT = (("-o", "file/folder"), ("-o", "/dev/null/x"), ("-o",), ("-o", ""), ("-o", "x" * 300), ("-o", "x\0y"), *JSON)
LOOKS = (
    ("-o", "k.eps"), ("-o", "k.npz"), ("--format", "gif"), ("--format", ""), ("--style", "nothing"), ("--figure-width", "0.5"),
    ("--figure-width", "wide"), ("--figure-width", "nan"),
)  # fmt: skip
ODD = (("--nothing",), ("more",), ("--seed", "-1"), ("--seed", "s"))


# Texts in the place of a recipe: none of them may be run.
RECIPES = (
    "", "{", "[]", "{}", "null", "1", '"curves"', '{"version": "0"}', '{"version": "0", "command": "curves"}',
    '{"version": 1, "command": "curves", "arguments": []}', '{"version": "0", "command": "rm", "arguments": []}',
    '{"version": "0", "command": "", "arguments": []}', '{"version": "0", "command": ["curves"], "arguments": []}',
    '{"version": "0", "command": "curves", "arguments": "-a tanh"}', '{"version": "0", "command": "curves", "arguments": [1]}',
    '{"version": "0", "command": "again", "arguments": []}', '{"version": "0", "command": "report", "arguments": []}',
    '{"version": "0", "command": "curves", "arguments": ["--nothing"]}',
    *(
        f'{{"version": "0", "command": "phase", "arguments": ["{text}"]}}'
        for text in ("-o/tmp/x", "--out=x", "--json=x", "--resume=x", "--scheduler=x", "-a=tanhh", "more", "--sigma-w=0")
    ),
)  # fmt: skip


def activations(option: str = "-a") -> tuple[tuple[str, ...], ...]:
    return tuple((option, text) for text in FUNCTIONS)


WRONG: dict[str, tuple[tuple[str, ...], ...]] = {
    "spectrum": (
        ("--width", "1" + "0" * 40),
        *activations(), *NETWORK, *DATA, *POINTS, *TARGETS, *OUT, *ODD, *LOOKS, ("--width", "0"), ("--width", "w"),
        ("-a", "exp(x^2)"),
    ),
    "curves": (
        *activations(), *NETWORK, *DATA, *POINTS, *TARGETS, *OUT, *ODD, ("-a", "relu"), ("--times", "1"), ("--times", "2:1:5"),
        ("--times", "0:1:5"), ("--times", "1:2:1"), ("--times", "1:2:3:4"), ("--times", "a:b"), ("--kmax", "0"),
        ("--kmax", "21"), ("--samples", "1"), ("--band", "wide"), ("--average", "0"), ("--average", "2", "--loss", "softmax"),
        ("--finite", "0"), ("--trials", "1"), ("--workers", "0"), ("--finite", "8", "--loss", "log(cosh(y-t))"),
        ("--times", "nan:1:3"), ("--times", "1:inf:3"), ("--data", "good.csv", "-o", "good.csv"),
        ("--data", "good.csv", "-o", "./good.svg"), ("--data", "good.csv", "--labels", "labels.txt", "-o", "good.csv"),
        ("--style", "file"), ("--style", "junk.npz"),
    ),
    "report": (
        *activations()[:20], *NETWORK[:6], *DATA, *POINTS, *TARGETS[:4], *ODD[1:], ("missing.csv",), ("empty.csv",),
        ("good.csv", "--data", "good.csv"), ("-o", "page.pdf"), ("-o", "page"), ("-o", "."), ("-o", "file/x.html"),
        ("--style", "nothing"), ("--networks", "-1"), ("--samples", "1"),
    ),
    "again": (
        (), ("missing.png",), (".",), ("empty.csv",), ("junk.npz",), ("good.csv",), ("words.csv",), ("nan.csv",), ("file",),
        ("",), ("/dev/zero",), ("x" * 300,),
        *((f"bad{i}.svg",) for i in range(len(RECIPES))),
    ),
    "predict": (
        *activations(), *NETWORK, *DATA, *POINTS, *TARGETS, *ODD, ("--width", "0"), ("--samples", "1"), ("--held-out", "-1"),
        *JSON, ("--ridge", "nan"), ("--ridge", "inf"), ("--diag-reg", "nan"), ("--diag-reg", "-1"), ("--probability", "nan"),
        ("--loss", "softmax", "--ridge", "0.1"), ("--descents", "2"),
        ("-n", "10", "--held-out", "10"), ("--json", "file/x.json"), ("--json", "/dev/null/x.json"),
    ),
    "kernels": (
        ("-o", "k.csv"), ("-o", "k.zarr"), ("--json", "file/x"),
        *activations(), *NETWORK, *DATA, *OUT[:2], *ODD[:2], ("--only", "thetta"), ("--only", ""),
        ("--only", "sigma,thetta"), ("--only", ","), ("-o", "results/"),
        ("--data", "good.npz", "-o", "good.npz"), ("--data", "good.csv", "--labels", "good.npz", "-o", "./good"), *OUT[3:],
        ("--data", "good.npz", "--labels", "z"),
        ("--only", "phi", "-a", "relu"),
        ("--engine", "gpu"), ("--chunks", "0", "--engine", "dask"), ("--workers", "2"), ("--scheduler", "here"), ("-o", "."),
        ("--scale", "cube"),
    ),
    "phase": (
        *activations(), *OUT, *ODD[:2], *LOOKS, ("--sigma-w", "0"), ("--sigma-w", "-1"), ("--sigma-w", "nan"), ("--beta", "-1"),
        ("--beta", "inf"), ("--beta", "1e308"), ("--sigma-w", "1e308"),
        ("--sigma-w-range", "1"), ("--sigma-w-range", "2:1:3"), ("--sigma-w-range", "0:1:3"),
        ("--beta-range", "0:1:1"), ("--beta-range", "0:1:9999"), ("--beta-range", "a:b:c"), ("--beta-range", "nan:1:3"),
        ("-a", "step"), ("-a", "sign(x)"),
    ),
    "expect": (
        *(("--f", text, "--q", "1", "--c", "0.5") for text in FUNCTIONS if text not in ("log(x)", "1/x")),
        ("--f", "tanh", "--q", "1", "--c", "0", "--g", ""), ("--f", "tanh", "--q", "1", "--c", "0", "--qp", ""),
        ("--f", "tanh"), ("--f", "tanh", "--q", "1"), ("--f", "tanh", "--q", "-1", "--c", "0"),
        ("--f", "tanh", "--q", "1", "--c", "2"), ("--f", "tanh", "--q", "x", "--c", "0"),
        ("--f", "tanh", "--q", "", "--c", "0"),
        ("--f", "tanh", "--q", "1", "--c", "1/0"), ("--f", "tanh", "--q", "1", "--c", "nan"),
        ("--f", "exp(x^2)", "--q", "1", "--c", "0.5"), ("--f", "tanh", "--q", "1", "--c", "0.5", "--dps", "0"),
        ("--f", "tanh", "--q", "1", "--c", "0.5", "--i", "9"), ("--f", "tanh", "--q", "1", "--c", "0.5", "--j", "-1"),
        ("--f", "relu", "--q", "1", "--c", "0.5", "--i", "x"), ("--f", "1/x", "--q", "1", "--c", "0.5"),
        ("--f", "exp(x^2)", "--q", "1", "--c", "0.5", "--dps", "20"), ("--f", "tanh", "--q", "1e400", "--c", "0"),
        ("--f", "tanh", "--q", "inf", "--c", "0"), ("--f", "tanh", "--q", "1", "--qp", "0", "--c", "0.5"),
    ),
    "symbolic": (
        *(("theta", "-a", text) for text in FUNCTIONS if text not in ("log(x)", "1/x", "y")),
        (), ("theta",), ("thetta", "-a", "erf"), ("theta", "-a", "erf", "--depth", "0"), ("theta", "-a", "erf", "--depth", "x"),
        ("theta", "-a", "erf", "--sigma-w", "0"), ("theta", "-a", "erf", "--sigma-w", "-1"),
        ("theta", "-a", "erf", "--beta", "-1"), ("theta", "-a", "erf", "--beta", "1/0"), ("phi", "-a", "relu"),
        ("theta", "-a", "erf", "--sigma-w", "s"), ("theta", "-a", "erf", "more"),
    ),
    "validate": (
        *activations(), *NETWORK, *DATA[:-1], *OUT, *ODD, *LOOKS, ("-a", "step"), ("--depth", "1"), ("--widths", "8"),
        ("--widths", "8,8"), ("--widths", "8,x"), ("--widths", "0,8"), ("--widths", ""), ("--trials", "1"), ("--times", "-1"),
        ("--times", "inf"), ("--times", "nan"), ("--times", "a"), ("-n", "9"), ("-n", "0"), ("--workers", "0"),
        ("--scheduler", "here"), ("--resume", "file/x"), ("--resume", "/dev/zero"), ("--resume", "good.csv"),
    ),
    "figure": (
        (), ("4",), ("1", "-n", "257"), ("1", "-n", "3"), ("1", "--width", "1"), ("1", "--trials", "1"), ("1", "-a", "relu"),
        ("1", "-a", "tanhh"), ("1", "-a", ""), ("1", "--workers", "0"), ("1", "-o", "file/x"), ("1", "--seed", "-1"),
        ("1", "more"),
        ("2", "--widths", "64"), ("2", "--widths", "a,b"), ("2", "--widths", ""), ("2", "--widths", "8,1"), ("2", "-n", "0"),
        ("2", "--count", "0"), ("2", "--count", "500", "-n", "16"), ("2", "--trials", "1"), ("2", "-a", "tanhh"),
        ("2", "-a", "x*y"), ("2", "-o", "file/x"), ("2", "--nothing"), ("3", "--reach", "0"), ("3", "--reach", "-1"),
        ("3", "--reach", "nan"), ("3", "--reach", "inf"), ("3", "--grid", "2"), ("3", "-n", "3"), ("3", "-a", "tanhh"),
        ("3", "-o", "file/x"), ("3", "--width", "0"),
    ),
    "sagun": (
        (), ("outlier",), ("split", "more"), ("split", "--nothing"), *(("split", "-a", text) for text in FUNCTIONS[:8]),
        ("split", "--loss", "binary"), ("split", "-n", "0"), ("split", "-n", "257"), ("split", "--width", "0"),
        ("split", "--steps", "0"), ("split", "--widths", "2,3"), ("split", "--clusters", "2"), ("split", "--trials", "3"),
        ("split", "--stop", "0"), ("split", "--stop", "-1"), ("split", "--stop", "nan"), ("split", "-o", "file/x"),
        ("split", "--seed", "-1"), ("path", "--stop", "1e-4"), ("path", "-n", "1"), ("path", "-n", "256"),
        ("spectra", "--data", "digit"), ("spectra", "--data", ""), ("spectra", "--loss", "binary"),
        ("width", "--widths", "3,x"),
        ("width", "--widths", "0"), ("width", "--widths", ""), ("initial", "--widths", "3,4"), ("initial", "--widths", "3,3,3"),
        ("initial", "--trials", "1"), ("initial", "--workers", "0"), ("outliers", "--clusters", "1"),
        ("outliers", "--clusters", "x"),
        ("outliers", "--clusters", "1000"), ("separability", "--trials", "1"), ("heatmaps", "--width", "-1"),
        ("training", "--widths", "2,"),
    ),
}  # fmt: skip


def test_more_than_there_is_memory() -> None:
    group = Commands("group")

    @group.command()
    def large() -> None:
        raise MemoryError("Unable to allocate 1.43 TiB for an array")

    done = CliRunner().invoke(group, ["large"])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: expected settings that fit into memory, got: Unable to allocate 1.43 TiB")
    assert len(done.stderr.splitlines()) == 1


def test_thirty_of_each() -> None:
    assert WRONG.keys() == main.commands.keys()
    assert all(len(set(cases)) == len(cases) >= 30 for cases in WRONG.values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that are good and bad, and nothing else."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [",".join(f"{v:.3f}" for v in row) + f",{k % 2}" for k, row in enumerate(rng.standard_normal((6, 3)))]
    (tmp_path / "good.csv").write_text("\n".join(["a,b,c,label", *rows]))
    (tmp_path / "nan.csv").write_text("\n".join(["a,b,c,label", rows[0], "1,nan,2,0"]))
    (tmp_path / "words.csv").write_text("a,b,label\none,two,0\nthree,four,1\n")
    (tmp_path / "header.csv").write_text("a,b,label\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "labels.txt").write_text("0\n1\n" * 3)
    np.savez(tmp_path / "good.npz", X=rng.standard_normal((6, 3)), y=np.arange(6) % 2)
    (tmp_path / "junk.npz").write_bytes(b"no archive")
    (tmp_path / "file").write_text("")
    for i, text in enumerate(RECIPES):
        (tmp_path / f"bad{i}.svg").write_text(f"<dc:description>kernelcalc: {html.escape(text)}</dc:description>")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "arguments"),
    [pytest.param(name, case, id=f"{name}-{i}") for name, cases in WRONG.items() for i, case in enumerate(cases)],
)
def test_one_named_line(folder: Path, command: str, arguments: tuple[str, ...]) -> None:
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = CliRunner().invoke(main, [command, *arguments])
    said = f"{command} {arguments}: {result.output}"
    assert isinstance(result.exception, SystemExit), said + repr(result.exception)
    assert result.exit_code == 2, said
    if arguments:
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("Error: "), said
        assert len(last) > 20, said
    assert "Traceback" not in result.output
    # what was there is as it was
    assert all((folder / name).read_bytes() == content for name, content in before.items()), said
    # and no file or folder besides
    assert sorted(path.name for path in folder.rglob("*")) == sorted(before), said
