"""Mutants: one operator, number, text or argument of a file changed at a time; the tests must notice."""
