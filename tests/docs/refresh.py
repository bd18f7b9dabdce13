"""``python -m tests.docs.refresh [PAGE ...]`` runs pages and writes outputs and pictures that changed."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from tests.docs.blocks import DOCS, pages, pictures_of, run


def refresh(page: Path) -> bool:
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        new = text
        for block in reversed(list(run(text, folder))):
            if block.found.count("Traceback (most") > block.code.count("Traceback (most"):
                print(f"{page}: an error that was not there\n{block.found}")
            new = new[: block.start] + block.found + new[block.end :]
        (DOCS / "pictures").mkdir(exist_ok=True)
        for picture in pictures_of(text):
            if (folder / picture).exists():
                shutil.copy(folder / picture, DOCS / "pictures" / picture)
            else:
                print(f"{page}: no block writes {picture}")
    page.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    warnings.simplefilter("error")
    for path in [Path(name).resolve() for name in sys.argv[1:]] or pages():
        print(path, "changed" if refresh(path) else "as it was")
