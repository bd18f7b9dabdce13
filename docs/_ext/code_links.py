"""Names of this package in running text, `kc.predict` or `kc.predict(net, X)`, lead to their entry of the API.

Names of other packages lead to their documentation, by the small inventories in docs/inventories; names in blocks of code are
linked by sphinx-codeautolink.
"""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.intersphinx import InventoryAdapter

import kernelcalc as kc


def spellings(name: str) -> list[str]:
    """``name`` as the API may have it: where the front door has it from, where it lives."""
    parts = name.removeprefix("kernelcalc.").removeprefix("kc.").split(".")
    try:
        value = reduce(getattr, parts, kc)
    except AttributeError:
        return []
    home, own = getattr(value, "__module__", None), getattr(value, "__qualname__", parts[-1])
    return [".".join(["kernelcalc", *parts]), f"{home}.{own}"]


def own_entry(app: Sphinx, docname: str, name: str) -> str | None:
    """Where the API has ``name``, seen from a page."""
    entries = app.env.domains.python_domain.objects
    for spelling in spellings(name) if name.startswith(("kc.", "kernelcalc.")) else ():
        if spelling in entries and entries[spelling].docname != docname:
            return f"{app.builder.get_relative_uri(docname, entries[spelling].docname)}#{entries[spelling].node_id}"
    return None


def foreign_entry(app: Sphinx, name: str) -> str | None:
    """Where the documentation of another package has ``name``."""
    for kind, entries in InventoryAdapter(app.env).main_inventory.items():
        if kind.startswith("py:") and name in entries:
            return entries[name].uri
    return None


def link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for literal in list(doctree.findall(nodes.literal)):
        found = re.fullmatch(r"([A-Za-z_]\w*(?:\.\w+)+)(\(.*\))?", literal.astext(), flags=re.DOTALL)
        if not found or isinstance(literal.parent, nodes.reference) or in_heading(literal):
            continue
        target = own_entry(app, docname, found[1]) or foreign_entry(app, found[1])
        if target:
            elsewhere = "://" in target
            reference = nodes.reference("", "", internal=not elsewhere, refuri=target, reftitle=found[1])
            literal.replace_self(reference)
            reference += literal


def in_heading(node: nodes.Node) -> bool:
    return isinstance(node.parent, nodes.title) or isinstance(node.parent.parent, nodes.title)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True}
