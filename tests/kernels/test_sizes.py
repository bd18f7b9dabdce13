"""Numbers of parameters beside those of the finite networks themselves, which count on their own."""

import numpy as np
import pytest

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite import FiniteNetwork
from kernelcalc.kernels.layers import AveragePool, Conv, Dense, Flatten, GlobalAverage, LayerNorm, Residual
from kernelcalc.kernels.mlp import Sequential
from kernelcalc.kernels.sizes import weight_sizes, weighted

NETWORKS = {
    "residual": (Sequential(Dense(), Residual(LayerNorm(), "tanh", Dense()), "tanh", Dense(), n_out=2), (5,)),
    "flatten": (Sequential(Conv(3), "tanh", Conv(2, padding="valid", stride=2), "tanh", Flatten(), Dense()), (8, 3)),
    "pool": (
        Sequential(Conv((3, 1)), "tanh", AveragePool(2), Conv(1), Residual("tanh", Conv(2)), GlobalAverage(), Dense()),
        (4, 6, 2),
    ),
}


@pytest.mark.parametrize(("net", "shape"), NETWORKS.values(), ids=NETWORKS)
def test_as_many_parameters_as_the_finite_network(net, shape):
    fin = FiniteNetwork.random(net, 7, shape, rng=0)
    sizes = weight_sizes(net.layers, shape, [7] * (len(weighted(net.layers)) - 1) + [net.n_out])
    assert [w.shape for w in fin.weights] == sizes
    assert sum((n + 1) * m for n, m in sizes) == fin.n_parameters == np.size(fin.parameters)


def test_named_errors():
    layers = NETWORKS["flatten"][0].layers
    with pytest.raises(InputError, match="2 positive hidden widths"):
        weight_sizes(layers, (8, 3), (4, 1))
    with pytest.raises(ShapeError, match="stride"):
        weight_sizes(layers, (7, 3), (4, 4, 1))


def test_sizes_by_hand():
    """Windows of 2 × 3, 2 × 2 and 3 × 3 positions; 10 × 10 of them, then 5 × 5, and 2 × 2 where the last window fits."""
    branch, valid = Residual("tanh", Conv(2)), Conv(3, padding="valid", stride=2)
    net = Sequential(Conv((2, 3)), AveragePool(2), branch, valid, "tanh", Flatten(), Dense())
    assert weighted(net.layers) == [Conv((2, 3)), Conv(2), valid, Dense()]
    assert weight_sizes(net.layers, (10, 10, 2), (3, 3, 5, 1)) == [(6 * 2, 3), (4 * 3, 3), (9 * 3, 5), (4 * 5, 1)]
    net = Sequential(Conv(3), "tanh", GlobalAverage(), Dense(), "tanh", Dense())
    assert weight_sizes(net.layers, (8, 2), (4, 5, 1)) == [(3 * 2, 4), (4, 5), (5, 1)]
    # without a weight of its own
    net = Sequential(Dense(), Residual(LayerNorm(), "tanh", Dense()), LayerNorm(), Dense())
    assert weight_sizes(net.layers, (5,), (1, 1, 1)) == [(5, 1), (1, 1), (1, 1)]


def test_whole_texts_of_refusals():
    residual = Sequential(Dense(), Residual("tanh", Dense()), "tanh", Dense()).layers
    for shape, units, text in (
        ((5,), (4, 3, 1), "branches of equally many units, got [3, 4]; give their layers the same widths"),
        ((5,), (4, 1), "2 positive hidden widths, one a layer of weights but the last, got (4,)"),
        ((5,), (4, 0, 1), "2 positive hidden widths, one a layer of weights but the last, got (4, 0)"),
        ((0,), (4, 4, 1), "2 positive hidden widths, one a layer of weights but the last, got (4, 4)"),
    ):
        with pytest.raises(InputError) as caught:
            weight_sizes(residual, shape, units)
        assert str(caught.value) == f"expected {text}"
