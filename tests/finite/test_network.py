"""Construction, flat parameters, seeds."""

import numpy as np
import pytest
from stand_ins import alternating

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite import FiniteNetwork


def test_flat_order_is_weights_by_rows_then_biases():
    fin = FiniteNetwork.random(alternating(2, n_out=2), (3,), 4, rng=1)
    expected = np.concatenate([fin.weights[0].ravel(), fin.biases[0], fin.weights[1].ravel(), fin.biases[1]])
    assert fin.n_parameters == 4 * 3 + 3 + 3 * 2 + 2
    np.testing.assert_array_equal(fin.parameters, expected)
    again = fin.with_parameters(fin.parameters)
    for one, other in zip(fin.weights + fin.biases, again.weights + again.biases, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ShapeError):
        fin.with_parameters(np.zeros(3))


def test_a_seed_is_a_network():
    net = alternating(3)
    one, two = (
        FiniteNetwork.random(net, 5, 4, rng=7),
        FiniteNetwork.random(net, (5, 5), 4, rng=np.random.default_rng(7)),
    )
    np.testing.assert_array_equal(one.parameters, two.parameters)
    assert not np.array_equal(one.parameters, FiniteNetwork.random(net, 5, 4, rng=8).parameters)
    assert repr(one) == "FiniteNetwork(4-5-5-1, P=61, sigma_w=1.3, beta=0.3, float64)"


def test_parameters_are_standard_normal():
    theta = FiniteNetwork.random(alternating(3), 200, 100, rng=0).parameters
    n = theta.size
    assert abs(theta.mean()) * np.sqrt(n) < 4
    assert abs((theta**2).mean() - 1) * np.sqrt(n / 2) < 4


def test_arrays_are_read_only():
    fin = FiniteNetwork.random(alternating(2), 4, 3)
    with pytest.raises(ValueError, match="read-only"):
        fin.weights[0][0, 0] = 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (3,)}, "2 widths"),
        ({"widths": (3, 0)}, "at least 1"),
        ({"widths": (3, 3), "dtype": np.int64}, "float64 or float32"),
    ],
)
def test_bad_sizes(options, message):
    with pytest.raises(InputError, match=message):
        FiniteNetwork.random(alternating(3), n_in=4, **options)


def test_arrays_must_chain():
    with pytest.raises(ShapeError, match="chain"):
        FiniteNetwork(
            weights=[np.ones((2, 3)), np.ones((4, 1))],
            biases=[np.ones(3), np.ones(1)],
            activations=alternating(2).activations,
        )
    with pytest.raises(InputError, match="activations"):
        FiniteNetwork(weights=[np.ones((2, 3))], biases=[np.ones(3)], activations=alternating(2).activations)
