"""The README's commands, links and size; that its blocks do what they show is tested with all pages (tests/docs)."""

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, blocks_of, pages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A path in single backquotes; the tables of files that commands write have none.
NAMED = re.compile(r"`(?:python )?((?:kernelcalc|benchmarks|notebooks|tests|docs)/[\w./]+\w)`")


def test_setup_commands_are_the_ones_ci_runs():
    """Both commands start from nothing but python3; .ci/run runs the second."""
    lines = [line for block in blocks_of(README) if block.language == "sh" for line in block.code.splitlines()]
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("kernelcalc curves")
    # pictures, data files, progress bars; not what distributes and compiles
    assert '".[plot,table,progress]"' in commands[0]
    assert "pytest" in commands[1]
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert shutil.which("python3")


def test_is_read_in_three_minutes():
    words = re.sub(r"```.*?```", "", README, flags=re.DOTALL).split()
    assert 400 < len(words) < 700


def test_says_where_the_architecture_is():
    assert "## Architecture" in README
    assert "docs/contribute/house.md" in README
    assert "cli/           one module a command" in (DOCS / "contribute" / "house.md").read_text(encoding="utf-8")


def links(page):
    # without code and formulas
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$\n]*\$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\((?!\w+:)([^)#\s]+)[^)]*\)", text)


@pytest.mark.parametrize(
    "page", [*pages(), ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT).with_suffix(""))
)
def test_links_and_files_named_exist(page):
    for target in links(page):
        made = "notebooks/" in target and (ROOT / "notebooks" / Path(target).name).with_suffix(".py").exists()
        assert made or (page.parent / target).exists(), target
    for target in NAMED.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target
