"""The site builds without a warning, its links lead somewhere, and nothing in it is fetched from elsewhere."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import kernelcalc as kc
from tests.docs.blocks import ROOT
from tests.docs.notebooks import cells


class Page(HTMLParser):
    """Names to link to, links, and what a browser fetches by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.fetched.add(given["href"])
        elif tag in ("img", "script", "iframe", "source") and "src" in given:
            self.fetched.add(given["src"])


def is_elsewhere(link: str) -> bool:
    return bool(re.match(r"(\w+:)?//|mailto:", link))


def dead_ends(site: Path) -> list[str]:
    """Links within the site without a target, and what would be fetched from elsewhere."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} fetches {one}" for one in page.fetched if is_elsewhere(one)]
        for link in {one for one in page.links | page.fetched if not is_elsewhere(one) and not one.startswith("data:")}:
            file, _, anchor = unquote(link).partition("#")
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                found.append(f"{name}: {link}")
    return sorted(found)


def test_site(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-d",
        str(tmp_path / "trees"),
        "docs",
        str(site),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert dead_ends(site.resolve()) == []
    assert (site / "_static" / "tex-svg.js").stat().st_size > 1e6  # formulas are set by a script that comes along
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"@import|url\([\"']?(https?:)?//", styles)
    reference = "\n".join(path.read_text(encoding="utf-8") for path in (site / "lookup" / "api").glob("*.html"))
    for name in set(kc.__all__) - {
        "__version__",
        "catalogue",
        "gaussian",
        "plot",
        "distribution",
        "losses",
        "spectrum",
    }:
        assert f'id="kernelcalc.{name}"' in reference or f".{name}" in reference, name
    tutorial = Page(site / "learn" / "what_will_it_do.html").links  # names in code and in text lead on
    assert {"../lookup/api/predictions.html#kernelcalc.predict"} <= tutorial
    assert any(link.startswith("https://numpy.org/") for link in tutorial)
    assert {"learn/finite_width.html", "notebooks/figure1.html"} <= Page(site / "gallery.html").links


@pytest.mark.parametrize("inventory", sorted((ROOT / "docs" / "inventories").glob("*.inv")), ids=lambda path: path.stem)
def test_names_of_other_packages_exist(inventory: Path) -> None:
    for line in inventory.read_text(encoding="utf-8").splitlines()[3:]:
        name, _, page = line.split()
        assert page.endswith(".html")
        if name.startswith("torch."):
            pytest.importorskip("torch")
        pkgutil.resolve_name(name)


def test_dead_ends_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="#gone">2</a><a href="b.html">3</a>'
        '<script src="https://example.org/x.js"></script></p>',
        encoding="utf-8",
    )
    assert dead_ends(tmp_path.resolve()) == [
        "a.html fetches https://example.org/x.js",
        "a.html: #gone",
        "a.html: b.html",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "outputs").glob("*.json")), ids=lambda path: path.stem)
def test_stored_outputs_are_of_the_notebook_as_it_is(path: Path) -> None:
    """Where this fails: ``python -m tests.docs.notebooks NAME``. That the cells run is tested with the notebooks."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    source = (ROOT / "notebooks" / f"{path.stem}.py").read_text(encoding="utf-8")
    assert [cell["code"] for cell in stored] == [text for kind, text in cells(source) if kind == "code"]
    for name in (name for cell in stored for name in cell["pictures"]):
        assert (path.parent / name).stat().st_size < 400_000
