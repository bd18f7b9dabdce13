"""Whether a change of the code moved any number: store a few thousand of them, change the code, compare.

    python benchmarks/same_numbers store before.npz
    python benchmarks/same_numbers compare before.npz [--rtol 1e-14]

Numbers come from the public names only (``kc.*`` and the command line), from every path that the kernels, expectations,
moments and finite networks take, at small sizes. ``compare`` prints a row for each group of numbers: how many there are, how
many are the same bits, the largest difference over the largest entry of the array it stands in, and the largest relative
difference of a single entry. The exit code is 1 if the former exceeds ``--rtol`` (0 by default), if text differs (names of
methods, and numbers of mpmath and of ball arithmetic, which are kept exactly), or if a number is missing or not finite any
more. ``--only`` takes the groups whose name contains a text.

Both runs must be made on one machine with the same libraries, which is checked: other processors round differently. One
thread of BLAS is used, for its sums depend on the number of threads. Left out are matrices too large for one panel of
series (thousands of points), pictures, and the mean of Tr H in the mean-field limit.
The whole takes one to one and a half minutes of one core.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is loaded
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import sys
from pathlib import Path

import expectations_of  # noqa: F401  groups enter themselves
import kernels_of  # noqa: F401
import networks_of  # noqa: F401
import theory_of  # noqa: F401
from files_of import compare, store


def main() -> int:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("store", "compare"))
    parser.add_argument("file", type=Path, help="An .npz file.")
    parser.add_argument("--rtol", type=float, default=0.0, help="Largest difference that passes (default: 0).")
    parser.add_argument("--only", default="", metavar="TEXT", help="Only groups with this in their name.")
    arguments = parser.parse_args()
    if arguments.action == "store":
        return store(arguments.file, arguments.only)
    return compare(arguments.file, arguments.rtol, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
