"""The table of activations is the catalogue's."""

from kernelcalc.activations.catalogue import ACTIVATIONS
from tests.docs.make_activations import page
from tests.docs.pages import DOCS


def test_the_page_is_current():
    written = (DOCS / "activations.md").read_text(encoding="utf-8")
    assert written == page()
    assert all(f"`{name}`" in written for name in ACTIVATIONS)
