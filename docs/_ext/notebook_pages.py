"""Pages of notebooks/*.py (percent format): their text and code, with the outputs that are stored in docs/outputs.

``python -m tests.docs.notebooks`` stores outputs; a build only puts them in place, so that it is quick.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

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


def write_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "notebooks"
    folder.mkdir(exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        text = page(path, Path(app.srcdir) / "outputs" / f"{path.stem}.json")
        target = folder / f"{path.stem}.md"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
