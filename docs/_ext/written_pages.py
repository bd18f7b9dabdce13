"""Pages that are written by a build: of notebooks, of all pictures, and of names of the front door that no other page has.

A page of notebooks/*.py (percent format) is its text and code with the outputs that are stored in docs/outputs; ``python -m
tests.docs.notebooks`` stores them, so that a build is quick.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import kernelcalc as kc

ROOT = Path(__file__).parents[2]


def cells(source: str) -> list[tuple[str, str]]:
    """(kind, text) of every cell: "markdown" without its comment signs, "code" as it is."""
    found = []
    for part in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()))
        elif body.strip():
            found.append(("code", body.strip()))
    return found


def page(path: Path, outputs: Path) -> str:
    """Markdown of one notebook."""
    stored: list[dict[str, Any]] = json.loads(outputs.read_text(encoding="utf-8")) if outputs.exists() else []
    lines, count = [], 0
    for kind, text in cells(path.read_text(encoding="utf-8")):
        if kind == "markdown":
            lines.append(text)
            continue
        lines.append(f"```python\n{text}\n```")
        if count < len(stored) and stored[count]["code"] == text:
            if stored[count]["text"]:
                lines.append(f"```text\n{stored[count]['text']}\n```")
            lines += [f"![output](../outputs/{name})" for name in stored[count]["pictures"]]
        count += 1
    lines.append(
        f"*This page is the file `notebooks/{path.name}`: run it with python, or open it in Jupyter with jupytext.*"
    )
    return "\n\n".join(lines) + "\n"


def gallery(docs: Path) -> str:
    """All pictures that pages make, each with a link to the page whose code makes it."""
    sections = []
    for title, folder in (("Tutorials", "learn"), ("Notebooks", "notebooks")):
        cards = []
        pages = {path.stem: path.read_text(encoding="utf-8") for path in (docs / folder).glob("*.md")}
        headings = {name: re.findall(r"^# (.+)", text, re.MULTILINE)[0] for name, text in pages.items()}
        for name, heading in sorted(headings.items(), key=lambda item: item[1]):
            for alt, picture in re.findall(r"!\[(.*?)\]\(\.\./(\S+)\)", pages[name]):
                words = "" if alt == "output" else f"{alt}\n"
                cards.append(
                    f":::{{grid-item-card}} {heading}\n:img-top: {picture}\n:class-img-top: picture\n"
                    f":link: {folder}/{name}\n:link-type: doc\n{words}:::"
                )
        sections.append("\n".join([f"## {title}", "", "::::{grid} 1 2 2 3", ":gutter: 3", "", *cards, "::::", ""]))
    return "# Pictures\n\nEach leads to the page whose code makes it.\n\n" + "\n".join(sections)


def further_names(folder: Path) -> str:
    """What ``kc`` has and no page of the API names."""
    pages = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md") if path.name != "further.md")
    lines = []
    for name in sorted(set(kc.__all__) - {"__version__"}):
        value = getattr(kc, name)
        home = getattr(value, "__module__", value.__name__)
        if isinstance(value, ModuleType) or f"kernelcalc.{name}\n" in pages or f"automodule:: {home}\n" in pages:
            continue
        kind = "autoclass" if isinstance(value, type) else "autofunction"
        lines += [f".. {kind}:: kernelcalc.{name}", *(["   :members:"] if kind == "autoclass" else []), ""]
    body = "\n".join(["```{eval-rst}", *lines, "```"]) if lines else "None."
    return f"# Further names of the front door\n\n{body}\n"


def write(target: Path, text: str) -> None:
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def write_pages(app: Sphinx) -> None:
    docs = Path(app.srcdir)
    (docs / "notebooks").mkdir(exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        write(docs / "notebooks" / f"{path.stem}.md", page(path, docs / "outputs" / f"{path.stem}.json"))
    write(docs / "gallery.md", gallery(docs))
    write(docs / "lookup" / "api" / "further.md", further_names(docs / "lookup" / "api"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
