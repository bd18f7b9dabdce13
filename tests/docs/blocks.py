"""The code blocks of a page, run in order in one session and one empty folder.

``pycon`` blocks are doctests; ``python`` blocks are executed, where the package they need is; ``console`` blocks are
commands of kernelcalc behind ``$``, whose output is the one shown (``...`` stands for anything); ``sh`` blocks install: the
extras they name must exist. Pictures that a page shows from ``pictures/`` are those its blocks write.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from kernelcalc.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_BLOCK = re.compile(r"^(?P<fence>```+)(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=fence)[ ]*$", re.DOTALL | re.MULTILINE)
_PICTURE = re.compile(r"\]\((?:\.\./|docs/)*pictures/([\w.-]+\.png)\)")
_DECIMAL = re.compile(r"(?<![\w.])[-+]?(\d+\.\d+(e[-+]?\d+)?|\d+e[-+]?\d+)(?![\w.])")
RUN = ("pycon", "python", "console", "sh")
SHOWN = ("text", "csv", "c", "json", "bibtex", "yaml", "ini", "toml", "eval", "rst")


@dataclass
class Block:
    """A fenced block, and what it should read."""

    language: str
    code: str
    start: int
    end: int
    found: str = ""


def blocks_of(text: str) -> list[Block]:
    return [Block(m["language"], m["code"], m.start("code"), m.end("code")) for m in _BLOCK.finditer(text)]


def pictures_of(text: str) -> list[str]:
    """Names of the pictures that a page shows."""
    return _PICTURE.findall(text)


def pages() -> list[Path]:
    """Every page with text of its own, and the README."""
    written = {DOCS / "notebooks", DOCS / "lookup" / "api"}
    return [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if page.parent not in written)]


class Checker(doctest.OutputChecker):
    """Decimals may differ in their last digits from machine to machine, and what is rounding altogether; all else is text."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if super().check_output(want, got, optionflags):
            return True
        texts, numbers = zip(*(_apart(text) for text in (want, got)), strict=True)
        if len(numbers[0]) != len(numbers[1]) or not super().check_output(*texts, optionflags):
            return False
        pairs = zip(*numbers, strict=True)
        return all(abs(a - b) <= 2e-3 * abs(a) or max(abs(a), abs(b)) < 1e-12 for a, b in pairs)


def _apart(text: str) -> tuple[str, list[float]]:
    return _DECIMAL.sub("#", text), [float(found[0]) for found in _DECIMAL.finditer(text)]


class _Doctests(doctest.DocTestRunner):
    """Keeps for every example what should stand below it."""

    def __init__(self) -> None:
        super().__init__(checker=Checker(), verbose=False, optionflags=OPTIONS)
        self.wants: list[str] = []

    def report_success(self, out: Any, test: Any, example: doctest.Example, got: str) -> None:
        self.wants.append(example.want)

    def report_failure(self, out: Any, test: Any, example: doctest.Example, got: str) -> None:
        self.wants.append(got)

    def report_unexpected_exception(self, out: Any, test: Any, example: doctest.Example, exc_info: Any) -> None:
        kind, value, _ = exc_info
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        self.wants.append(f"Traceback (most recent call last):\n    ...\n{name}: {value}\n")


def _pycon(code: str, session: dict[str, Any]) -> str:
    examples = doctest.DocTestParser().get_examples(code)
    runner = _Doctests()
    test = doctest.DocTest(examples, session, "page", None, 0, code)
    test.globs = session  # names live on from block to block
    runner.run(test, out=lambda text: None, clear_globs=False)
    lines = []
    for example, want in zip(examples, runner.wants, strict=True):
        first, *rest = example.source.splitlines()
        lines += [f">>> {first}", *(f"... {line}".rstrip() for line in rest), *want.rstrip("\n").splitlines()]
    return "\n".join(lines) + "\n"


def _console(code: str) -> str:
    lines = []
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command += "\n" + more
        words = shlex.split(command.replace("\\\n", " "))
        assert words[0] == "kernelcalc", words[0]
        output = CliRunner().invoke(main, words[1:], prog_name="kernelcalc").output
        same = Checker().check_output(shown.strip() + "\n", output.strip() + "\n", OPTIONS)
        lines += [f"$ {command}", *(shown if same else output).strip("\n").splitlines()]
    return "\n".join(lines) + "\n"


def _is_missing(code: str) -> bool:
    """Whether a block that begins with ``# needs PACKAGE`` cannot run here."""
    found = re.match(r"# needs (\w+)", code)
    return found is not None and find_spec(found[1]) is None


def _check_extras(code: str) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extras in re.findall(r"\[([\w,]+)\]", code):
        assert set(extras.split(",")) <= set(known), extras


def run(text: str, folder: Path) -> Iterator[Block]:
    """Every block of a page after it ran, ``found`` being what it should read."""
    session: dict[str, Any] = {"__name__": "__main__"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks_of(text):
            assert block.language in RUN + SHOWN, block.language
            block.found = block.code
            if block.language == "pycon":
                block.found = _pycon(block.code, session)
            elif block.language == "python" and not _is_missing(block.code):
                exec(compile(block.code, "page", "exec"), session)
            elif block.language == "console":
                block.found = _console(block.code)
            elif block.language == "sh":
                _check_extras(block.code)
            yield block
    finally:
        os.chdir(before)
