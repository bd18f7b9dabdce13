"""What the README shows is what happens."""

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_examples():
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    examples = "\n".join(blocks("pycon"))
    assert examples.count(">>>") > 10
    outcome = runner.run(parser.get_doctest(examples, {}, "README.md", "README.md", 0))
    assert outcome.failed == 0


def test_main_job_as_shown(tmp_path):
    """The table printed by `kernelcalc curves` is the one in the README, and both files come with it."""
    shown = blocks("text")[0].strip()
    done = subprocess.run(
        [sys.executable, "-m", "kernelcalc.cli", "curves"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == shown
    written = shown.splitlines()[-1].removeprefix("written: ").split()
    assert [Path(w).suffix for w in written] == [".csv", ".png"]
    assert all((tmp_path / w).stat().st_size > 1000 for w in written)


def test_setup_commands_are_the_ones_ci_runs():
    """Both commands start from nothing but python3; .ci/run runs the second."""
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("kernelcalc curves")
    # pictures, data files, progress bars; not what distributes and compiles
    assert '".[plot,table,progress]"' in commands[0]
    assert "pytest" in commands[1]
    assert "README.md" in (ROOT / ".ci" / "run").read_text()
    assert shutil.which("python3")


def test_links_and_files_named_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    for target in re.findall(r"`((?:kernelcalc|benchmarks|notebooks|tests)/[\w./]+)`", README):
        assert (ROOT / target).exists(), target
