"""Data: digits that come with the package, synthetic points, targets, selections, files of the user.

Imports errors and arrays only. A file a noun: digits, synthetic, scaling (of points), labels, selection (of rows);
reading (files), with data (what was read), columns (their roles), dialect (of text), tables, arrayfiles, images.
"""

from kernelcalc.datasets.data import Data
from kernelcalc.datasets.digits import mnist14, mnist28
from kernelcalc.datasets.labels import are_classes, label_vector, one_hot, parity
from kernelcalc.datasets.reading import load
from kernelcalc.datasets.scaling import rescale
from kernelcalc.datasets.selection import balanced, choose, has_classes, split
from kernelcalc.datasets.synthetic import gaussian_clusters, random_patterns, two_blobs

__all__ = [
    "Data",
    "are_classes",
    "balanced",
    "choose",
    "gaussian_clusters",
    "has_classes",
    "label_vector",
    "load",
    "mnist14",
    "mnist28",
    "one_hot",
    "parity",
    "random_patterns",
    "rescale",
    "split",
    "two_blobs",
]
