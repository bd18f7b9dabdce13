"""Points that every kind of file has, and what is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc import datasets

X = [[1.5, 2.0], [3.0, 4.0], [5.0, -6.25]]


def read(folder: Path, text: str, name: str = "points.csv", **options: Any) -> datasets.Data:
    path = folder / name
    path.write_bytes(text.encode())
    return datasets.load(path, **options)


def check(data: datasets.Data, points: object, labels: object) -> None:
    x, y = data
    np.testing.assert_array_equal(x, points)
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert (y is None) == (labels is None)
    if labels is not None:
        np.testing.assert_array_equal(y, labels)
