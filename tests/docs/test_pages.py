"""What the pages of docs/ and the README show is what happens, pictures too."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from kernelcalc import errors
from tests.docs.blocks import DOCS, ROOT, Checker, blocks_of, pages, pictures_of, run

PAGES = [page for page in pages() if blocks_of(page.read_text(encoding="utf-8"))]


def difference(one: Path, other: Path) -> float:
    """Mean difference of the pixels of two pictures, 1 where their sizes differ."""
    from matplotlib.image import imread

    a, b = imread(one)[..., :3], imread(other)[..., :3]
    return float(np.abs(a - b).mean()) if a.shape == b.shape else 1.0


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT).with_suffix("")))
def test_page(page: Path, tmp_path: Path) -> None:
    """Where this fails after an intended change: ``python -m tests.docs.refresh PAGE`` writes outputs and pictures anew."""
    text = page.read_text(encoding="utf-8")
    for block in run(text, tmp_path):
        assert block.found.rstrip() == block.code.rstrip()
    for name in pictures_of(text):
        assert (tmp_path / name).exists(), f"{name} is shown but no block of the page writes it"
        assert difference(tmp_path / name, DOCS / "pictures" / name) < 0.01, name


def test_pictures_are_shown() -> None:
    shown = {name for page in pages() for name in pictures_of(page.read_text(encoding="utf-8"))}
    assert {path.name for path in (DOCS / "pictures").glob("*.png")} == shown


def test_a_wrong_output_is_seen(tmp_path: Path) -> None:
    text = "```pycon\n>>> 1 + 1\n3\n```\n\n```console\n$ kernelcalc --version\nkernelcalc 99\n```\n"
    found = [block.found for block in run(text, tmp_path)]
    assert found[0] == ">>> 1 + 1\n2\n"
    assert "99" not in found[1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("top 6.49, 3 points", "top 6.4901, 3 points", True),
        ("0.6952 ± 6.1e-16", "0.6952 ± 0.0", True),
        ("top 6.49, 3 points", "top 6.58, 3 points", False),
        ("top 6.49, 3 points", "top 6.49, 4 points", False),
        ("[0.5, 0.25]", "[0.5]", False),
    ],
)
def test_last_digits_and_rounding_belong_to_the_machine(one: str, other: str, same: bool) -> None:
    assert Checker().check_output(one + "\n", other + "\n", 0) is same


def anchors(page: Path) -> set[str]:
    """What links to headings of a page end in."""
    headings = re.findall(r"^#{1,3} (.*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_questions_have_answers() -> None:
    """Each leads to a page of the site or a heading there, and the README's first screen to the questions."""
    questions = re.split(r"^\d+\. ", (DOCS / "questions.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(questions) == 26
    for question in questions:
        links = re.findall(r"\]\(([\w/]+\.md)#?([^)]*)\)", question)
        assert links, question
        assert len(links) == question.count("]("), question
        for name, heading in links:
            assert not heading or heading in anchors(DOCS / name), question
            assert (DOCS / name).exists(), question
    assert "docs/questions.md" in "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])


def test_every_error_and_warning_stands_on_its_page() -> None:
    """With when it comes and what to do."""
    page = (DOCS / "lookup" / "errors.md").read_text(encoding="utf-8")
    rows = {
        line.split("|")[1].strip(" `"): line.split("|")[2:4] for line in page.splitlines() if line.startswith("| `")
    }
    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert rows.keys() == {name for name in classes if not name.startswith("_")}
    assert all(len(cell.strip()) > 8 for row in rows.values() for cell in row)
