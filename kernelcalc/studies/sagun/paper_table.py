"""Table 1 of Sagun et al. (2017): outliers that the authors counted, a row for each of their nineteen networks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Counted(NamedTuple):
    """Outliers by the largest gap, the largest ratio and the elbow, and the eigenvalue at the elbow; nan where not given."""

    gap: float
    ratio: float
    elbow: float
    cutoff: float


NOT_THERE = Counted(np.nan, np.nan, np.nan, np.nan)

# By algorithm, activation, covariance of the clusters and number of clusters.
TABLE_1: dict[tuple[str, str, float, int], Counted] = {
    ("GD", "tanh", 1.0, 2): Counted(2, 3, np.nan, np.nan),
    ("GD", "tanh", 1.0, 5): Counted(2, 17, np.nan, np.nan),
    ("GD", "tanh", 1.0, 10): Counted(2, 4, np.nan, np.nan),
    ("GD", "tanh", 1.0, 20): Counted(3, 4, np.nan, np.nan),
    ("GD", "relu", 1.0, 2): Counted(3, 4, 2, 0.003),
    ("GD", "relu", 1.0, 5): Counted(6, 7, 5, 0.003),
    ("GD", "relu", 1.0, 10): Counted(11, 12, 10, 0.003),
    ("GD", "relu", 1.0, 20): Counted(4, 21, 21, 0.003),
    ("GD", "relu", 1.0, 50): Counted(50, 51, 49, 0.003),
    ("SGD", "relu", 1.0, 2): Counted(3, 4, 2, 0.002),
    ("SGD", "relu", 1.0, 5): Counted(6, 7, 7, 0.002),
    ("SGD", "relu", 1.0, 10): Counted(2, 14, 15, 0.002),
    ("SGD", "relu", 1.0, 20): Counted(2, 3, 21, 0.002),
    ("SGD", "relu", 1.0, 50): Counted(50, 51, 49, 0.002),
    ("SGD", "relu", 10.0, 2): Counted(2, 4, 2, 0.015),
    ("SGD", "relu", 10.0, 5): Counted(5, 6, 5, 0.015),
    ("SGD", "relu", 10.0, 10): Counted(2, 11, 9, 0.015),
    ("SGD", "relu", 10.0, 20): Counted(20, 21, 19, 0.015),
    ("SGD", "relu", 10.0, 50): Counted(50, 51, 49, 0.005),
}


def counted(algorithm: str, activation: str, cov: float, clusters: int) -> Counted:
    """The authors' row, or nan.

    Examples
    --------
    >>> counted("GD", "relu", 1.0, 10).ratio
    12
    """
    return TABLE_1.get((algorithm, activation, cov, clusters), NOT_THERE)
