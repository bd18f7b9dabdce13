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


def test_what_is_kept_of_an_architecture():
    """Sizes and scales as they are, or what the layers are written as; of each activation values from −20 to 20, by digits."""
    found = known(np.tanh)
    assert found["network"] == [3, 1, 1.0, 0.1]
    assert set(found) == {"network", "activations"}

    class Layers:
        layers = ("first", "second")
        activations = (np.tanh,)

    other = architecture(Layers(), [3, 2])
    assert other == {"network": [3, 2, "('first', 'second')"], "activations": found["activations"]}
    # told apart at every place that is looked at, and the size as well
    for at in [*np.linspace(-3, 3, 13), -20.0, -8.0, 8.0, 20.0]:
        assert known(lambda x, at=at: np.tanh(x) + (x == at)) != found, at
    assert known(lambda x: 2 * np.tanh(x)) != found
    # 2⁻⁴⁰ of the largest value's power of two shows, a thousandth of that does not
    assert known(lambda x: np.tanh(x) + 2.0**-39 * (x == 0)) != found
    assert known(lambda x: np.tanh(x) + 2.0**-51 * (x == 0)) == found
