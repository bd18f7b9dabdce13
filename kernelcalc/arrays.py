"""What all folders say about float64 arrays: their type, and the distance of 1 to the next number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# single precision, whole numbers and objects as well
AnyArray = np.ndarray[Any, Any]

EPS = float(np.finfo(np.float64).eps)
