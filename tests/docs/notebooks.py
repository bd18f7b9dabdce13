"""``python -m tests.docs.notebooks [NAME ...]`` runs notebooks and stores what their cells print and draw for the site."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib

from tests.docs.blocks import DOCS, ROOT

matplotlib.use("Agg")
sys.path.insert(0, str(DOCS / "_ext"))

from matplotlib.figure import Figure
from written_pages import cells

OUTPUTS = DOCS / "outputs"
# Pixels that a page has for the width of a picture.
WIDE = 800


def run_cell(code: str, session: dict[str, Any]) -> tuple[str, list[Figure]]:
    """What a cell prints with the text of its last expression, and the figures it leaves."""
    from matplotlib import pyplot as plt

    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    out, value = io.StringIO(), None
    with contextlib.redirect_stdout(out):
        exec(compile(tree, "notebook", "exec"), session)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "notebook", "eval"), session)
            drawn = isinstance(value, Figure) or repr(value).startswith(
                ("<Axes", "array([<Axes", "[<matplotlib", "<matplotlib", "Text(")
            )
            if value is not None and not drawn:
                print(value if hasattr(value, "_repr_html_") else repr(value))
    figures = [plt.figure(number) for number in plt.get_fignums()]
    plt.close("all")
    if isinstance(value, Figure) and value not in figures:
        figures.append(value)
    return out.getvalue().rstrip(), figures


def store(path: Path) -> None:
    session: dict[str, Any] = {"__name__": "__main__"}
    stored = []
    for old in OUTPUTS.glob(f"{path.stem}-*.png"):
        old.unlink()
    for kind, code in cells(path.read_text(encoding="utf-8")):
        if kind != "code":
            continue
        text, figures = run_cell(code, session)
        names = [f"{path.stem}-{len(stored)}-{number}.png" for number in range(len(figures))]
        for name, figure in zip(names, figures, strict=True):
            dots = WIDE / figure.get_figwidth()
            figure.savefig(OUTPUTS / name, dpi=dots, bbox_inches="tight", metadata={"Software": None})
        stored.append({"code": code, "text": text, "pictures": names})
    (OUTPUTS / f"{path.stem}.json").write_text(
        json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    OUTPUTS.mkdir(exist_ok=True)
    names = sys.argv[1:] or [path.stem for path in sorted((ROOT / "notebooks").glob("*.py"))]
    for name in names:
        began = time.process_time()
        store(ROOT / "notebooks" / f"{name}.py")
        print(name, f"{time.process_time() - began:.0f} s")
