"""Labels as a vector, and targets made of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kernelcalc import datasets
from kernelcalc.errors import InputError, NotFiniteError, ShapeError


def test_targets() -> None:
    np.testing.assert_array_equal(datasets.one_hot(["b", "a", "b"]), [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(datasets.parity([0, 1, 2, 7.0]), [1, -1, 1, -1])
    with pytest.raises(InputError, match="whole-number"):
        datasets.parity([0.5])
    with pytest.raises(InputError, match="whole-number"):
        datasets.parity(["a"])
    with pytest.raises(ShapeError, match="labels"):
        datasets.one_hot(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("labels", "signs"),
    [
        ([1, -1], [1, -1]),
        ([-1.0, 1.0, -1.0], [-1, 1, -1]),
        (np.array([[1], [-1]]), [1, -1]),
        ([-1, -1], [-1, -1]),
        ([1, 1], [-1, -1]),
        ([True, False], [-1, 1]),
        (np.array([0, 255], dtype=np.uint8), [1, -1]),
    ],
)
def test_parity_keeps_signs(labels: object, signs: list[int]) -> None:
    np.testing.assert_array_equal(datasets.parity(labels), signs)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [[-1, 0, 1], [-3, 2], [-1, 2], [-2, -1]])
def test_parity_refuses_other_negative_labels(labels: list[int]) -> None:
    with pytest.raises(InputError, match=r"whole numbers ≥ 0, or 1 and -1"):
        datasets.parity(labels)


@pytest.mark.parametrize("targets", [datasets.one_hot, datasets.parity])
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([1, np.nan], NotFiniteError, "nan in row 1"),
        ([np.inf, 1.0], NotFiniteError, "inf in row 0"),
        (["a", 1], InputError, "'a' in row 0 and 1 in row 1"),
        ([2, 1, "b"], InputError, "2 in row 0 and 'b' in row 2"),
        (["a", np.nan], InputError, "all numbers or all text"),
        (np.array(["a", 1], dtype=object), InputError, "all numbers or all text"),
        ([1, None], InputError, "None in row 1"),
        (["a", None], InputError, "None in row 1"),
        ([1 + 2j, 0], InputError, "complex"),
        ([[1, 2], [3]], InputError, "array"),
        (np.ma.masked_equal([1, 2], 2), InputError, "1 masked"),
        ([], ShapeError, "labels"),
        ([[0, 1], [1, 0]], ShapeError, "labels"),
    ],
)
def test_labels_that_are_none(targets, labels: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        targets(labels)


def test_labels_in_a_column_and_of_objects() -> None:
    np.testing.assert_array_equal(datasets.one_hot([[7], [3], [7]]), [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(datasets.one_hot(np.array(["b", "a"], dtype=object)), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(datasets.one_hot(np.array([2, 1.5], dtype=object)), [[0, 1], [1, 0]])
    assert datasets.are_classes(np.array([[0], [1]]))
    assert not datasets.are_classes(np.array([[0.5], [1.0]]))
    # text in a pandas column, of whatever type
    for text in (pd.Series(["a", "b"]), pd.Series(["a", "b"], dtype=object), pd.Series(["a", "b"], dtype="category")):
        assert datasets.are_classes(text)
    for unknown in ([1, np.nan], [np.inf, 0.5]):
        with pytest.raises(NotFiniteError, match="row"):
            datasets.are_classes(np.array(unknown))
    # as many as digits, however few the points; not 214 values of 442 measurements
    assert datasets.are_classes(np.arange(10))
    assert not datasets.are_classes(np.arange(442.0) % 214)
    assert datasets.are_classes(np.arange(1000) % 100)
