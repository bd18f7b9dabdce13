"""Mutants of a few lines, counted by hand."""

import ast

from tests.mutants.operators import mutants

SOURCE = '''
"""Text of a module."""
LIMIT = 3

def f(a: int, b: int = 1) -> int:
    """Text of a function."""
    if a < b and not a:
        return g(a, key=b)
    return a + 2
'''


def test_every_mutant_of_a_few_lines():
    found = [(one.function, ast.unparse(one.source)) for one in mutants(SOURCE)]
    texts = [text for _, text in found]
    # LIMIT: None, 4; b = 2; or, <=, a; of g each argument None and left out; a - 2, a + 3
    assert len(texts) == len(set(texts)) == 12
    for change in (
        "LIMIT = 4",
        "b: int=2",
        "a <= b",
        "a < b or",
        "and a:",
        "g(None, key=b)",
        "g(key=b)",
        "g(a)",
        "a - 2",
    ):
        assert sum(change in text for text in texts) == 1, change
    # what an import runs needs another way than what a call runs
    assert [function for function, _ in found] == [None] * 3 + [("f", 5)] * 9
    assert all("Text of a function" in text and ast.parse(text) for text in texts)


def test_the_source_itself_comes_back():
    *_, last = mutants(SOURCE)
    assert ast.unparse(last.source) == ast.unparse(ast.parse(SOURCE))
