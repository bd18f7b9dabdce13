"""Names of data and activations: the same for the same, different for different, whatever the size."""

from dataclasses import dataclass

import numpy as np
import pytest

from kernelcalc.arrays import digest
from kernelcalc.errors import InputError
from kernelcalc.finite.ensembles.fingerprint import architecture

X = np.random.default_rng(0).standard_normal((20, 3))


@pytest.mark.parametrize("size", [1e-300, 1e-11, 1.0, 1e200])
def test_small_and_large_data_are_told_apart(size):
    assert digest(size * np.array([1.0, 2.0])) != digest(size * np.array([3.0, 4.0]))
    assert digest(size * X) != digest(size * X * (1 + 1e-9))
    assert digest(size * X, X) != digest(X, size * X) or size == 1


def test_zeros_and_shapes():
    assert digest([0.0, 1.0]) == digest([-0.0, 1]) == digest(np.array([False, True]))
    assert digest([[0.0, 1.0]]) != digest([0.0, 1.0]) != digest([[0.0], [1.0]])
    assert digest([0.0], [1.0]) != digest([0.0, 1.0])
    with pytest.raises(InputError):
        digest(["a"])


def test_rounding_is_forgiven():
    for value in (0.3, 1.0, 2.0, 1e-11, -7.0):
        assert digest([np.nextafter(value, 10)]) == digest([value]) == digest([np.nextafter(value, -10)])


@dataclass
class Net:
    activations: tuple
    sigma_w: float = 1.0
    beta: float = 0.1


def known(*activations, sizes=(3, 1)):
    return architecture(Net(activations), list(sizes))


def test_activations():
    relu = known(lambda x: np.maximum(x, 0.0))
    # rounding errors instead of zeros
    assert known(lambda x: np.maximum(x, 0.0) + 1e-17 * np.cos(7 * x)) == relu
    assert known(lambda x: np.clip(x, 0.0, 6.0)) != relu
    assert known(lambda x: np.maximum(x, 1e-9 * x)) != relu
    assert known(lambda x: 1e-14 * np.maximum(x, 0.0)) != relu
    assert known(np.tanh, np.sin) != known(np.sin, np.tanh)
    assert known(lambda x: np.exp(np.exp(x))) == known(lambda x: np.exp(np.exp(x)))
    assert known(np.tanh, sizes=(4, 1)) != known(np.tanh)
