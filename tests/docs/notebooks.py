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
OUTPUTS = DOCS / "outputs"


def run_cell(code: str, session: dict[str, Any]) -> str:
    """What a cell prints, and the text of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(tree, "notebook", "exec"), session)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "notebook", "eval"), session)
            if value is not None and not code.rstrip().endswith(";"):
                print(value if hasattr(value, "_repr_html_") else repr(value))
    return out.getvalue().rstrip()


def store(path: Path) -> None:
    from matplotlib import pyplot as plt
    from written_pages import cells

    session: dict[str, Any] = {"__name__": "__main__"}
    stored = []
    for old in OUTPUTS.glob(f"{path.stem}-*.png"):
        old.unlink()
    for kind, code in cells(path.read_text(encoding="utf-8")):
        if kind != "code":
            continue
        text, names = run_cell(code, session), []
        for number in plt.get_fignums():
            names.append(f"{path.stem}-{len(stored)}-{number}.png")
            plt.figure(number).savefig(OUTPUTS / names[-1], dpi=100, bbox_inches="tight", metadata={"Software": None})
        plt.close("all")
        drawn = text.startswith(("<Axes", "array([<Axes", "[<Axes", "<matplotlib", "Text("))
        stored.append({"code": code, "text": "" if drawn else text, "pictures": names})
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
