"""Which blocks there are, who does them, and where their numbers go: counted entry by entry."""

import threading

import numpy as np
import pytest

from kernelcalc.errors import DivergentExpectationError
from kernelcalc.kernels import blocks
from kernelcalc.kernels.blocks import Matrix, check_finite, even_sides, sides_for

RNG = np.random.default_rng(7)
SHAPES = [((7, 7), True), ((5, 9), False), ((9, 5), False), ((70, 70), True), ((1, 1), True)]


def counted(matrix, panels):
    seen = np.zeros(matrix.shape, dtype=int)
    for rows, columns in panels:
        seen[rows, columns] += 1
    return seen


def once(seen, symmetric):
    """Every entry once, or at least every one of the upper triangle, none twice."""
    return seen.max() == 1 and (seen[np.triu_indices(len(seen))] if symmetric else seen).min() == 1


@pytest.mark.parametrize(("shape", "symmetric"), SHAPES)
@pytest.mark.parametrize("room", [1, 100, 160, 2**28])
def test_panels(monkeypatch, shape, symmetric, room):
    """Of 5 bytes a point; sides of blocks of 3 × 4 divide those of panels."""
    monkeypatch.setattr(blocks, "PANEL_BYTES", room)
    matrix = Matrix(shape=shape, symmetric=symmetric, sides=(3, 4))
    panels = list(matrix.panels(5))
    assert once(counted(matrix, panels), symmetric)
    points = shape[0] if symmetric else sum(shape)
    if points * 5 <= room:
        assert panels == [(slice(0, shape[0]), slice(0, shape[1]))]
        return
    for rows, columns in panels:
        # at least as many points as there have to be for one block
        assert 5 * (rows.stop - rows.start + columns.stop - columns.start) <= max(room, 40)
        assert rows.start % 4 == columns.start % 4 == 0
    if room == 100:
        assert max(rows.stop - rows.start for rows, _ in panels) == min(8, shape[0])


@pytest.mark.parametrize(("shape", "symmetric"), SHAPES)
@pytest.mark.parametrize("workers", [1, 3])
def test_every_block_of_a_matrix_and_of_a_panel(monkeypatch, shape, symmetric, workers):
    monkeypatch.setattr(blocks, "processors", lambda: workers)
    matrix = Matrix(shape=shape, symmetric=symmetric, sides=(3, 4))
    done, threads = [], set()

    def work(rows, columns):
        threads.add(threading.get_ident())
        assert rows.stop - rows.start <= 3
        assert columns.stop - columns.start <= 4
        # what overflows says nothing here
        assert np.float64(1e308) * np.float64(1e308) == np.inf
        assert np.isnan(np.float64(np.inf) - np.float64(np.inf))
        done.append((rows, columns))

    matrix.every_block(work)
    seen = counted(matrix, done)
    assert once(seen, symmetric)
    if workers == 1 or len(done) < 4:
        assert threads == {threading.get_ident()}
    else:
        assert threading.get_ident() not in threads
    done.clear()
    panel = slice(0, shape[0]), slice(shape[1] // 2, shape[1])
    matrix.every_block(work, panel)
    within = np.zeros(shape, dtype=int)
    within[panel] = 1
    np.testing.assert_array_equal(counted(matrix, done), within)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_block_ends_all(monkeypatch, workers):
    monkeypatch.setattr(blocks, "processors", lambda: workers)

    def work(rows, columns):
        raise KeyError(rows.start)

    with pytest.raises(KeyError, match="0"):
        Matrix(shape=(90, 90), symmetric=True, sides=(3, 4)).every_block(work)


@pytest.mark.parametrize("sides", [(3, 4), (4, 4), (100, 130)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_where_numbers_go(sides, symmetric):
    """k(x, x') from the upper triangle, k(x', x) in its mirror image, more columns than are mirrored at once."""
    n = 300 if sides[0] == 100 else 11
    square = RNG.normal(size=(n, n))
    matrix = Matrix(shape=(n, n), symmetric=symmetric, sides=sides)
    found = np.full((n, n), np.nan)

    def work(rows, columns):
        # of what lies below the diagonal something else is known, which must not count
        upper = np.triu(square)[rows, columns] + np.tril(np.full((n, n), 9.0), -1)[rows, columns] if symmetric else None
        block = square[rows, columns] if upper is None else upper
        turned = square.T[rows, columns].copy()
        if symmetric:
            turned[np.tril(np.ones((n, n), dtype=bool), -1)[rows, columns]] = 9.0
        matrix.write(found, block.copy(), turned, rows, columns)

    matrix.every_block(work)
    np.testing.assert_array_equal(found, square)


def test_what_is_not_finite_is_refused():
    text = "expected finite kernels, got overflow; smaller points or a smaller σ_w keep them finite"
    for bad in (np.nan, np.inf, -np.inf):
        values = np.ones((2, 3))
        assert check_finite(values) is None
        values[1, 2] = bad
        for call in (
            lambda values=values: check_finite(values),
            lambda values=values: Matrix(shape=(2, 3), symmetric=False).write(
                np.empty((2, 3)), values, values, slice(0, 2), slice(0, 3)
            ),
        ):
            with pytest.raises(DivergentExpectationError) as caught:
                call()
            assert str(caught.value) == text


def test_sides():
    assert (sides_for(1023), sides_for(1024)) == ((128, 256), (256, 256))
    matrix = Matrix(shape=(5, 5), symmetric=True)
    assert (matrix.sides, matrix.packed) == ((128, 256), False)
    # ⌈rows / ⌈rows/256⌉⌉
    assert [even_sides(rows)[0] for rows in (1, 256, 257, 512, 513, 1000)] == [1, 256, 129, 256, 171, 250]
