"""Less noisy samples of the same mean, by subtracting correlated variables whose mean is known to be zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_FOLDS = 5
# Samples a control below which the estimated coefficients would add about as much noise as they take away.
_SAMPLES_PER_CONTROL = 5


def without_noise(values: ArrayLike, controls: ArrayLike) -> NDArray[np.float64]:
    r"""Values :math:`v_i - β_i · c_i`, with the least-squares coefficients β_i of the folds that i is not in.

    As β_i does not depend on sample i, the mean is unchanged: E v_i − β_i · E c_i = E v.

    Parameters
    ----------
    values : array_like, (T,)
        Independent samples.
    controls : array_like, (T, C)
        Variables of mean zero, drawn together with them.

    Returns
    -------
    ndarray, (T,)
        The values themselves if T is below five times C.

    References
    ----------
    Glasserman, "Monte Carlo Methods in Financial Engineering" (2003), Section 4.1.

    Examples
    --------
    >>> c = np.random.default_rng(0).standard_normal((40, 1))
    >>> without_noise(3 + 2 * c[:, 0], c).round(12).tolist() == [3.0] * 40
    True
    """
    v, c = np.asarray(values, dtype=np.float64), np.asarray(controls, dtype=np.float64)
    if len(v) < _SAMPLES_PER_CONTROL * c.shape[1]:
        return v
    fold: Any = np.arange(len(v)) % _FOLDS
    result = np.empty_like(v)
    for k in range(_FOLDS):
        own, others = fold == k, fold != k
        design = np.column_stack([np.ones(others.sum()), c[others]])
        beta = np.linalg.lstsq(design, v[others], rcond=None)[0]
        result[own] = v[own] - c[own] @ beta[1:]
    return result
