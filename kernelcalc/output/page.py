"""One HTML page with everything in it: pictures and formulas as embedded SVG, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelcalc.output.files import atomic_file
from kernelcalc.output.style import finish, matplotlib_part, setting

# What the page may load: what it brings.
_NOTHING_ELSE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_LOOK = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 52rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: .9rem; }
.formula { display: block; margin: .6rem 0 .6rem 1.5rem; max-width: calc(100% - 1.5rem); }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.35; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
nav a { margin-right: 1rem; }
@media print { pre { white-space: pre-wrap; } }
"""


def paragraph(text: str) -> str:
    """Words.

    Examples
    --------
    >>> paragraph("a < b")
    '<p>a &lt; b</p>'
    """
    return f"<p>{html.escape(text)}</p>"


def verbatim(text: str) -> str:
    """Text as it is."""
    return f"<pre>{html.escape(text)}</pre>"


def settings_table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def picture(figure: Any, caption: str) -> str:
    """A matplotlib figure at its own size, with its caption, which is also what a screen reader says."""
    finish(figure)
    width = figure.get_size_inches()[0]
    text = html.escape(caption, quote=True)
    return (
        f'<figure><img src="{_embedded(figure)}" alt="{text}" style="width:{96 * width:.0f}px">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def formula(latex: str) -> str:
    """A formula in the part of LaTeX that matplotlib sets, which is its alternative text."""
    figure = matplotlib_part("figure").Figure(figsize=(0.1, 0.1))
    figure.patch.set_alpha(0.0)
    figure.text(0, 0, f"${latex}$", fontsize=12, color=setting("text.color"))
    source = _embedded(figure, bbox_inches="tight", pad_inches=0.02, transparent=True)
    return f'<img class="formula" src="{source}" alt="{html.escape(latex, quote=True)}">'


def page(title: str, sections: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The whole page: a heading and its parts, in HTML, for each section."""
    names = [f"part{i + 1}" for i in range(len(sections))]
    links = "".join(
        f'<a href="#{name}">{html.escape(head)}</a>' for name, (head, _) in zip(names, sections, strict=True)
    )
    body = "\n".join(
        f'<section id="{name}"><h2>{html.escape(head)}</h2>\n' + "\n".join(parts) + "\n</section>"
        for name, (head, parts) in zip(names, sections, strict=True)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_ELSE}">\n'
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n<style>{_LOOK}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


def write_page(path: str | os.PathLike[str], text: str) -> Path:
    """Write it, whole or not at all.

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(text.encode())
    return Path(path)


def _embedded(figure: Any, **options: Any) -> str:
    held = io.BytesIO()
    figure.savefig(held, format="svg", metadata={"Date": None}, **options)
    return "data:image/svg+xml;base64," + base64.b64encode(held.getvalue()).decode()
