"""The command validate: points, files, exit codes, refusals."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.cli.validate import spiral

X, Y = spiral()


def command(*arguments):
    return CliRunner().invoke(main, ["validate", *map(str, arguments)])


SMALL = ("--depth", 2, "--widths", "8,16", "--trials", 20, "--times", "0,1", "--workers", 1)


def test_command(tmp_path):
    done = command(*SMALL, "-a", "softplus", "-o", tmp_path / "out", "--resume", tmp_path / "trials.jsonl")
    assert done.exit_code == 0, done.output
    lines = done.output.strip().splitlines()
    names = [tmp_path / "out" / f"validate.{ending}" for ending in ("csv", "json", "png")]
    assert lines[-1] == " ".join(["written:", *map(str, names)])
    assert all(name.stat().st_size > 0 for name in names)
    assert "passed: all" in done.output
    with names[0].open(encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    direct = kc.validate(kc.MLP("softplus", depth=2), X, Y, (8, 16), 20, (0, 1))
    assert [float(cell["z"]) for cell in cells] == [row.z for row in direct.rows]
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 21


def test_command_on_digits_and_files(tmp_path):
    done = command(*SMALL, "--data", "digits", "-n", 2, "--no-png", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    assert "2 points in 196 dimensions" in done.output
    np.savetxt(tmp_path / "p.csv", np.column_stack([X, 0.3 * Y]), delimiter=",")
    done = command(*SMALL, "--data", tmp_path / "p.csv", "--labels", "last", "-n", 3, "--no-png", "-o", tmp_path)
    assert "3 points in 2 dimensions" in done.output


def test_command_says_when_the_theory_fails(tmp_path, monkeypatch):
    import kernelcalc.studies.validation.validate as module

    honest = module.theory_values
    monkeypatch.setattr(module, "theory_values", lambda *a: {q: 2 * value for q, value in honest(*a).items()})
    done = command(*SMALL, "--no-png", "-o", tmp_path)
    assert done.exit_code == 1
    assert "FAILED" in done.output
    assert done.output.strip().splitlines()[-1].startswith("written:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-a", "step"), "step"),
        (("-a", "tnah"), "tanh"),
        (("--depth", 1), "hidden layer"),
        (("--widths", "8"), "two different widths"),
        (("--widths", "a,b"), "64,128,256"),
        (("--times", "0,inf"), "times"),
        (("--trials", 1), "trials"),
        (("--data", "no-such.csv"), "no-such.csv"),
        (("--labels", "y"), "--data FILE"),
        (("-n", 9), "at most 5 points"),
        (("-o", "/proc/none"), "writable"),
    ],
)
def test_command_refuses_in_one_line(tmp_path, arguments, message):
    done = command(*SMALL, "-o", tmp_path, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.output
