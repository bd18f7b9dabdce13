"""Which points are used and which are held out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelcalc import datasets
from kernelcalc.errors import InputError, NotFiniteError, ShapeError


def test_balanced_digits() -> None:
    x, labels = datasets.mnist14()
    some, theirs = datasets.balanced(x, labels, 3)
    assert np.bincount(theirs).tolist() == [3] * 10
    for label in range(10):
        np.testing.assert_array_equal(some[theirs == label], x[labels == label][:3])
    two, only = datasets.balanced(x, labels, 5, classes=[7, 1])
    assert sorted(set(only.tolist())) == [1, 7]
    assert len(two) == 10
    with pytest.raises(InputError, match="at least 200 points of every class"):
        datasets.balanced(x, labels, 200)
    with pytest.raises(InputError, match="labelled 11"):
        datasets.balanced(x, labels, 1, classes=[11])
    with pytest.raises(ShapeError):
        datasets.balanced(x, labels[:5], 1)


SORTED = np.repeat([0, 1, 2], 50)


def test_class_sorted_data_are_chosen_and_split_in_proportion() -> None:
    rows = datasets.choose(SORTED, 30)
    assert np.bincount(SORTED[rows]).tolist() == [10, 10, 10]
    train, test = datasets.split(SORTED, 30)
    assert np.bincount(SORTED[test]).tolist() == [10, 10, 10]
    assert np.bincount(SORTED[train]).tolist() == [40, 40, 40]
    # not the first of each class
    assert rows.tolist() != [*range(10), *range(50, 60), *range(100, 110)]


def test_selection_repeats_with_its_seed() -> None:
    np.testing.assert_array_equal(datasets.choose(SORTED, 9, rng=4), datasets.choose(SORTED, 9, rng=4))
    assert (datasets.choose(SORTED, 9, rng=4) != datasets.choose(SORTED, 9, rng=5)).any()
    names = np.array(["x", "y", "z"])[SORTED]
    np.testing.assert_array_equal(datasets.split(SORTED, 9)[1], datasets.split(names, 9)[1])
    np.testing.assert_array_equal(datasets.split(SORTED, 9)[1], datasets.split(datasets.one_hot(SORTED), 9)[1])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 5))
def test_shares(labels: list[int], n: int, seed: int) -> None:
    y = np.array(labels)
    n = min(n, len(y) - 1)
    train, test = datasets.split(y, n, rng=seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert len(test) == n
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) <= len(y) / 2 and n <= len(y) - len(classes):
        assert set(y[train]) == set(classes)
    if n:
        rows = datasets.choose(y, n, rng=seed)
        assert (np.diff(rows) > 0).all()
        assert len(rows) == n
        if len(classes) <= min(n, len(y) / 2):
            assert set(y[rows]) == set(classes)
            share = np.array([(y[rows] == c).sum() for c in classes]) - n * counts / len(y)
            # an exact share, rounded; what rare classes get beyond it the others lack
            rare = np.maximum(1 - n * counts / len(y), 0).sum()
            assert np.abs(share).max() < 1 + rare


def test_numbers_are_no_classes() -> None:
    y = np.linspace(0, 1, 40)
    assert not datasets.has_classes(y)
    assert datasets.has_classes(SORTED)
    train, test = datasets.split(y, 10, rng=1)
    assert len(train) == 30
    # drawn from all: neither the first nor the last fifth
    assert test.min() < 20 < test.max()


@pytest.mark.parametrize("n", [0, 151, -1, 2.0, True])
def test_bad_number_of_chosen_points(n: object) -> None:
    with pytest.raises(InputError, match="from 1 to 150"):
        datasets.choose(SORTED, n)  # type: ignore[arg-type]
    if n != 0:
        with pytest.raises(InputError, match="from 0 to 149"):
            datasets.split(SORTED, n)  # type: ignore[arg-type]


def test_labels_and_points_that_are_not_finite_or_no_numbers() -> None:
    for rows in (datasets.has_classes, lambda y: datasets.choose(y, 1), lambda y: datasets.split(y, 1)):
        with pytest.raises(NotFiniteError, match="finite labels"):
            rows(np.array([[0.0, 1.0], [1.0, np.nan]]))
        with pytest.raises(InputError, match="numbers"):
            rows(np.array([["a", 1], ["b", 2]], dtype=object))
    with pytest.raises(NotFiniteError, match="X, finite"):
        datasets.balanced([[np.inf]], [1], 1)
