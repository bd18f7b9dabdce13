"""Outputs that cannot be written, or that would be written over each other or over an input, are refused before the work."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kernelcalc.cli import main
from kernelcalc.cli.dataset import DataOptions

COMMANDS = {
    "curves": ["-n", "6", "-o", "x.csv"],
    "kernels": ["-o", "x.npz"],
    "phase": ["-o", "x.csv"],
    "spectrum": ["-n", "6", "-o", "x.csv"],
    "report": ["-o", "x.html"],
    "validate": ["-o", "x.csv"],
    "predict": [],
}


@pytest.fixture
def idle(monkeypatch, tmp_path):
    """A folder where nothing may be computed: data are read first."""
    monkeypatch.chdir(tmp_path)

    def read(*_):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(DataOptions, "load", read)
    return tmp_path


def refused(*words):
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_takes_nothing(idle, command):
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full here")
    assert "cannot write /dev/full: No space left" in refused(command, *COMMANDS[command], "--json", "/dev/full")


@pytest.mark.parametrize("command", [name for name, words in COMMANDS.items() if words])
@pytest.mark.parametrize("ending", [None, "csv"])
def test_two_outputs_into_one_file(idle, command, ending):
    out = COMMANDS[command][-1]
    target = out if ending is None else f"x.{ending}"
    assert "another output" in refused(command, *COMMANDS[command], "--json", f"./{target}")
    assert not list(idle.iterdir())


def test_two_outputs_into_one_file_of_validate(idle):
    assert "another output" in refused("validate", "-o", "x.png", "--json", "x.json")
    assert "two files" in refused("validate", "-o", "x.csv", "--resume", "x.csv")
    assert "another output" in refused("validate", "-o", "x.csv", "--resume", "t.jsonl", "--json", "t.jsonl")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "phase"])
def test_outputs_in_the_place_of_an_input(idle, command):
    Path("x.csv").write_text("1,2\n3,4\n")
    data = ["x.csv"] if command == "report" else ["--data", "x.csv"]
    assert "a file that is read" in refused(command, *data, "--json", "x.csv")
    assert Path("x.csv").read_text() == "1,2\n3,4\n"


def test_files_with_names_of_the_command_own_are_not_written_over(tmp_path, monkeypatch):
    """These are known at the end only: the table stays."""
    monkeypatch.chdir(tmp_path)
    Path("points.csv").write_text("1,2\n3,4\n")
    words = ["kernels", "-a", "erf", "--data", "points.csv", "--no-header", "-o", "k", "--only", "sigma"]
    assert "just written" in refused(*words, "--json", "k.npz")
    assert Path("k.npz").read_bytes().startswith(b"PK")
    done = CliRunner().invoke(main, [*words, "--json", "k.json"])
    assert done.exit_code == 0, done.output
    assert json.loads(Path("k.json").read_text())["kernels"].keys() == {"sigma"}


def test_devices_that_take_everything():
    done = CliRunner().invoke(main, ["predict", "-n", "4", "-a", "erf", "--json", "/dev/null"])
    assert done.exit_code == 0, done.output
